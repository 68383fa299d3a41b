"""The first promise, state by state: refused with what clears it, or retired with nothing lost."""

from __future__ import annotations

import shutil

import pytest
from tools import stand, states

import witness as w

BLOCKED = sorted(name for name, one in states.STATES.items() if one.kind)
HARMLESS = sorted(name for name, one in states.STATES.items() if not one.kind)
FORCEABLE = {kind for kind, (_, _, forceable) in w.BLOCKERS.items() if forceable}
SETTINGS = {"provisioned": ["CLAUDE.md"]}


@pytest.fixture
def worker(rig):
    (rig.path / ".gitignore").write_text(states.IGNORED)
    rig.commit("base", {"a.txt": "a\n", "b.txt": "b\n"})
    return rig.add_polecat("alpha")


@pytest.fixture
def make(rig, worker):
    """Bring the worker into a state by its name; whoever was started for it is ended."""
    started = []

    def call(name: str) -> states.State:
        one = states.STATES[name]
        started.extend(one.make(rig, worker) or ())
        return one

    yield call
    for process in started:
        process.kill()
        process.wait(10)


def retire(rig, **changes) -> w.Outcome:
    station = stand.make_station(rig, **SETTINGS)
    return w.retire_worktree(station.tools, stand.begin(station, "alpha", **changes), lambda _: None)


def refs(rig) -> str:
    return rig.git("for-each-ref", "--format=%(refname) %(objectname)")


@pytest.mark.parametrize("name", BLOCKED)
def test_work_is_refused_with_what_clears_it_and_stays_untouched(rig, worker, make, name):
    state = make(name)
    before = states.snapshot(rig, worker.path), refs(rig)
    outcome = retire(rig)
    assert outcome.data["result"] == "refused", outcome
    said = {kind: (evidence, remedy) for kind, evidence, remedy in outcome.data["blockers"]}
    assert state.kind in said, said
    evidence, remedy = said[state.kind]
    assert state.evidence in evidence, evidence
    assert (states.snapshot(rig, worker.path), refs(rig)) == before
    assert remedy


@pytest.mark.parametrize("name", sorted(name for name in BLOCKED if states.STATES[name].works))
def test_what_clears_it_clears_it(rig, worker, make, name):
    state = make(name)
    kinds = {kind: remedy for kind, _, remedy in retire(rig).data["blockers"]}
    states.clear(rig, worker, state.cleared or kinds[state.kind])
    after = {kind for kind, _, _ in retire(rig).data.get("blockers", ())}
    assert state.kind not in after


@pytest.mark.parametrize("name", sorted(name for name, one in states.STATES.items() if one.lost and one.works))
def test_removal_without_looking_would_lose_it(rig, worker, make, name):
    make(name)
    assert worker.path.exists()
    states.remove_without_looking(rig, worker)
    assert not states.survives(rig)


@pytest.mark.parametrize("name", BLOCKED)
def test_force_loses_nothing(rig, worker, make, name):
    state = make(name)
    before = states.snapshot(rig, worker.path)
    outcome = retire(rig, force=True)
    forced = {kind for kind, _, _ in outcome.data.get("blockers", ())} == set()
    assert forced == (outcome.data["result"] == "retired"), outcome
    if not forced:
        assert outcome.data["result"] == "refused"
        assert states.snapshot(rig, worker.path) == before
        return
    assert state.kind in FORCEABLE
    assert_all_comes_back(rig, worker, state, before)


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_twin_does_not_block_and_loses_nothing(rig, worker, make, name):
    state = make(name)
    before = states.snapshot(rig, worker.path)
    outcome = retire(rig)
    assert outcome.data["result"] == "retired", outcome
    assert_all_comes_back(rig, worker, state, before)


def assert_all_comes_back(rig, worker, state, before) -> None:
    assert not worker.path.exists()
    if state.works:
        assert states.survives(rig)
    # The folder that is kept for a day has gone: only refs and rescued/ are left to come back from.
    kept = rig.state / "retiring"
    shutil.rmtree(kept)
    kept.mkdir()
    states.prune(rig)
    w.recover_worktree(stand.make_station(rig, **SETTINGS).tools, "alpha")
    after = states.snapshot(rig, worker.path)
    assert after[2] == before[2]
    assert after[1] == before[1] or state.denied
    gone = {path for path in before[0] if path not in after[0]}
    assert {path for path in gone if not path.endswith((b".o", b".log"))} == set()
    assert {path: before[0][path] for path in after[0]} == after[0]
    assert rig.git("fsck", "--no-dangling") == ""
