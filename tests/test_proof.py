"""The first promise, state by state: refused with what clears it, or retired with nothing lost."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import fates, kit, stand, states
from tools.kit import wait_for

import witness as w

BLOCKED = sorted(name for name, one in states.STATES.items() if one.kind)
HARMLESS = sorted(name for name, one in states.STATES.items() if not one.kind)
FORCEABLE = {kind for kind, (_, _, forceable) in w.BLOCKERS.items() if forceable}
SETTINGS = {"provisioned": ["CLAUDE.md"]}


@pytest.fixture
def worker(rig):
    (rig.path / ".gitignore").write_text(states.IGNORED)
    rig.commit("base", {"a.txt": "a\n", "b.txt": "b\n"})
    stand.make_station(rig)  # it keeps polecats/ out of a commit of everything
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


def retire(rig, settings=None, **changes) -> w.Outcome:
    station = stand.make_station(rig, **SETTINGS, **(settings or {}))
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
    if state.works:
        states.clear(rig, worker, state.cleared or remedy)
        assert state.kind not in {kind for kind, _, _ in retire(rig).data.get("blockers", ())}


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


class DeafHost(w.Host):
    """A host on which one of the calls, by its number, is not answered."""

    def __init__(self, how: str = ""):
        self.at, self.how, self.asked = 0, how, []

    def run(self, argv, *args, **options):
        self.asked.append(tuple(argv))
        if len(self.asked) != self.at:
            return super().run(argv, *args, **options)
        failure = {"fails": "", "hangs": "no answer within 10 s", "is missing": "not found"}[self.how]
        status = None if failure else 128
        return w.Ran(argv=tuple(argv), status=status, out=b"", err=b"fatal: injected", failure=failure)


@pytest.fixture
def much(make):
    """Make work of every kind that can stand beside the others; return the kinds."""
    names = ["a stash in a submodule", "a stash on no branch", "a bisect", "an edit", "a new file", "a precious file"]
    names += ["a repository in an ignored folder", "a locked worktree", "a process of somebody else"]
    return {make(name).kind for name in [*names, "a mirror of which a fetch prunes"]}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read from /proc")
@pytest.mark.parametrize("how", ["fails", "hangs", "is missing"])
def test_no_answer_of_git_makes_work_invisible(rig, worker, much, how):
    station = stand.make_station(rig, **SETTINGS)
    begun, tree = stand.begin(station, "alpha"), stand.tree_of(station, "alpha")
    before = states.snapshot(rig, worker.path), refs(rig)

    def look(host: DeafHost, at: int) -> set:
        tools = stand.make_station(rig, host, **SETTINGS).tools
        host.asked.clear()
        host.at = at
        return {finding.kind for finding in w.inspect_worktree(tools, begun, tree)}

    whole = DeafHost()
    assert much <= look(whole, 0)
    calls = list(whole.asked)
    assert len(calls) > 10
    for number, call in enumerate(calls, 1):
        found = look(DeafHost(how=how), number)
        assert "look" in found or much <= found, (call, much - found)
    assert (states.snapshot(rig, worker.path), refs(rig)) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read from /proc")
def test_tmux_server_that_was_started_inside_does_not_block(rig, worker):
    """Whoever starts the first session from a worktree leaves the server's own folder there."""
    rig.tmux.run("new-session", "-d", "-s", "gt-demo-alpha", *stand.SLEEP, cwd=worker.path)
    rig.tmux.remember()
    server = int(rig.tmux.run("display-message", "-p", "#{pid}"))
    assert os.readlink(f"/proc/{server}/cwd") == str(worker.path)
    outcome = retire(rig)
    assert outcome.data["result"] == "retired", outcome


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_file_system_that_is_mounted_inside_blocks_until_it_is_taken_away(rig, worker):
    place = worker.path / "build" / "disk"
    place.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False)
    if done.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        (place / "work").write_text(states.WORK)
        for force in (False, True):
            outcome = retire(rig, force=force)
            assert [row[0] for row in outcome.data["blockers"]] == ["mount"], outcome
        assert (place / "work").read_text() == states.WORK
        remedy = outcome.data["blockers"][0][2]
        assert remedy == f"umount {place}"
        states.clear(rig, worker, remedy)
        assert retire(rig).data["result"] == "retired"
    finally:
        subprocess.run(["umount", str(place)], check=False, capture_output=True)


def test_branch_that_cannot_be_pushed_does_not_block(rig, worker):
    rig.commit("work", {"w": states.WORK}, cwd=worker.path)
    rig.git("remote", "add", "origin", "/no/such/place")
    outcome = retire(rig, settings={"push_on_retire": True})
    assert outcome.data["result"] == "retired", outcome
    assert "; not pushed: git push: exit 128: fatal" in outcome.detail, outcome
    assert states.survives(rig)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_recovery_that_is_killed_anywhere_is_simply_done_again(rig, worker, make, after):
    """It left half a worktree, and then refused to overwrite it."""
    for name in ("an edit", "a new file", "a staged file that is gone again", "a precious file"):
        make(name)
    states.write(worker.path / "x.log", "ignored\n")
    before = states.snapshot(rig, worker.path)
    assert retire(rig, force=True).data["result"] == "retired"
    base = [line for line in rig.git("worktree", "list", "--porcelain").splitlines() if line.startswith("worktree ")]
    number, killed = 0, True
    while killed:
        number, killed = number + 1, False
        host = stand.FaultyHost()
        station = stand.make_station(rig, host, **SETTINGS)
        host.number, host.at, host.after = 0, number, after
        try:
            w.recover_worktree(station.tools, "alpha")
        except stand.KilledError:
            killed = True
            if not worker.path.exists():
                w.recover_worktree(stand.make_station(rig, **SETTINGS).tools, "alpha")
        assert states.snapshot(rig, worker.path) == before, number
        assert os.listdir(rig.state / "recovering") == []
        there = rig.git("worktree", "list", "--porcelain").splitlines()
        assert [line for line in there if line.startswith("worktree ")] == [*base, f"worktree {worker.path}"]
        assert not [line for line in there if line.startswith(("prunable", "locked"))]
        # As it was before, but for the branch, which is there now.
        rig.git("worktree", "remove", "--force", worker.path)
    assert number > 20
    assert rig.git("fsck", "--no-dangling") == ""


# ---- writers that do not wait ----------------------------------------------------------------------------------------

WRITER = Path(__file__).parent / "agents" / "writer.py"


def find_lost(rig, log) -> list:
    """Return the words of a writer that are in no object a ref reaches, no kept folder and no worktree."""
    words = set(log.read_text().split()) - {"ready"}
    places = [states.read_objects(rig)]
    for folder in (rig.state / "retiring", rig.state / "rescued", rig.path / "polecats"):
        places += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return sorted(word for word in words if not any(word.encode() in place for place in places))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are read from /proc")
@pytest.mark.parametrize("kind", ["edit", "create", "commit", "stash", "term", "free"])
@pytest.mark.parametrize("force", [False, True], ids=["asked", "forced"])
def test_no_word_of_a_writer_is_lost(rig, tmp, worker, kind, force):
    log = tmp / "log"
    rig.tmux.new_session(worker.session, worker.path, [kit.PYTHON, str(WRITER), kind, str(log)])
    wait_for(log.exists, 20, "the writer's first word")
    time.sleep(random.uniform(0, 0.3))
    outcome = retire(rig, force=force)
    assert outcome.data["result"] in ("retired", "refused", "failed"), outcome
    if kind == "term":
        assert outcome.data["result"] == ("retired" if force else "refused"), outcome
    if force and kind in ("edit", "create", "free"):
        assert outcome.data["result"] == "retired", outcome
    if outcome.data["result"] == "retired":
        shutil.rmtree(rig.state / "retiring")  # as it is after a day
        states.prune(rig)
    rig.tmux.run("kill-server", check=False)
    kit.end(*(one for one, words, _ in kit.leftovers(tmp) if str(WRITER) in words))
    assert find_lost(rig, log) == []
    assert rig.git("fsck", "--no-dangling") == ""


# ---- the branch ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(fates.FATES))
def test_branch_is_deleted_only_where_its_content_is_elsewhere(rig, worker, tmp, name):
    origin, fate = tmp / "origin.git", fates.FATES[name]
    rig.git("init", "--quiet", "--bare", origin)
    rig.git("remote", "add", "origin", origin)
    rig.git("push", "--quiet", "origin", "main")
    rig.git("remote", "set-head", "origin", "main")
    tip = rig.commit("work", {"w": fates.WORK + "\n"}, cwd=worker.path)
    fate.make(rig, worker, origin)
    branch = rig.git("branch", "--show-current", cwd=worker.path)
    last = rig.git("rev-parse", "HEAD", cwd=worker.path)
    before = {line.split()[0]: line.split()[1] for line in refs(rig).splitlines()}
    outcome = retire(rig)
    assert outcome.data["result"] == "retired", outcome
    settled = outcome.data["branch"]
    assert settled["result"] == fate.result, settled
    assert fate.reason in settled["reason"], settled
    after = {line.split()[0]: line.split()[1] for line in refs(rig).splitlines()}
    gone = {f"refs/heads/{branch}"} if fate.result == "deleted" else set()
    assert {ref for ref in before if before[ref] != after.get(ref)} == gone
    shutil.rmtree(rig.state / "retiring")
    (rig.state / "retiring").mkdir()
    states.prune(rig)
    for commit in (tip, last):
        assert rig.git("cat-file", "-t", commit) == "commit"
        assert rig.git("for-each-ref", "--contains", commit, "refs/witness/retired/") or commit != last
    if fate.recovered:
        w.recover_worktree(stand.make_station(rig, **SETTINGS).tools, "alpha")
        assert (rig.git("branch", "--show-current", cwd=worker.path), rig.git("rev-parse", branch)) == (branch, last)


@pytest.mark.parametrize("commit", ["another", "the same"])
def test_branch_that_somebody_takes_between_look_and_deletion_is_kept(rig, worker, tmp, commit, monkeypatch):
    """Moved on, or deleted and made anew in another worktree at the very same commit."""
    rig.commit("work", {"w": fates.WORK + "\n"}, cwd=worker.path)
    rig.git("merge", "--quiet", "--ff-only", worker.branch)
    decide_fate = w.decide_fate

    def decide_late(facts):
        answer = decide_fate(facts)
        if commit == "another":
            rig.git("update-ref", f"refs/heads/{worker.branch}", rig.git("commit-tree", "-m", "new", "HEAD^{tree}"))
        else:
            rig.git("worktree", "add", "--quiet", "--force", tmp / "taken", worker.branch)
        return answer

    monkeypatch.setattr(w, "decide_fate", decide_late)
    outcome = retire(rig)
    assert outcome.data["result"] == "retired", outcome
    assert outcome.data["branch"]["result"] == "kept", outcome
    assert rig.git("rev-parse", "--verify", worker.branch)


# ---- repositories of every kind --------------------------------------------------------------------------------------

CLONES = {
    "shallow": ("--depth", "1"),
    "partial": ("--filter=blob:none",),
    "alternates": ("--shared",),
    "bare": ("--bare",),
    "mirror": ("--mirror",),
    "sha256": (),
}


@pytest.mark.parametrize("kind", CLONES)
def test_every_kind_of_repository_keeps_the_work(rig, kind):
    source = rig.path.parent / "source"
    rig.path.rename(source)
    if kind == "sha256":
        shutil.rmtree(source / ".git")
        rig.git("init", "--quiet", "--object-format=sha256", cwd=source)
    rig.commit("base", {"a.txt": "a\n", ".gitignore": states.IGNORED}, cwd=source)
    rig.commit("tip", {"b.txt": "b\n"}, cwd=source)
    rig.git("config", "uploadpack.allowFilter", "true", cwd=source)
    bare = kind in ("bare", "mirror")
    target = rig.path / ".repo.git" if bare else rig.path
    rig.path.mkdir()
    # An alternate is a path of this machine; everything else goes over the protocol, as from elsewhere.
    url = str(source) if kind == "alternates" else f"file://{source}"
    rig.git("clone", "--quiet", *CLONES[kind], url, str(target), cwd=rig.path.parent)
    (rig.path / "polecats").mkdir(exist_ok=True)
    if kind == "mirror":
        rig.git("config", "--add", "remote.origin.fetch", "^refs/witness/*", cwd=target)
    path, branch = rig.path / "polecats/alpha", "polecat/alpha"
    rig.git("worktree", "add", "--quiet", "-b", branch, str(path), "main", cwd=target)
    tip = rig.commit("work", {"w": "committed\n"}, cwd=path)
    (path / "draft").write_text(states.WORK + "\n")
    (path / "a.txt").write_text("edited\n")
    before = states.snapshot(rig, path)
    refused = retire(rig)
    assert {row[0] for row in refused.data["blockers"]} == {"modified", "untracked"}, refused
    outcome = retire(rig, force=True)
    assert (outcome.data["result"], outcome.data["branch"]["result"]) == ("retired", "kept"), outcome
    shutil.rmtree(rig.state / "retiring")
    (rig.state / "retiring").mkdir()
    states.prune(rig, target)
    w.recover_worktree(stand.make_station(rig, **SETTINGS).tools, "alpha")
    assert states.snapshot(rig, path) == before
    assert rig.git("rev-parse", branch, cwd=target) == tip
    assert rig.git("fsck", "--no-dangling", cwd=target) == ""
