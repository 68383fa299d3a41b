"""One look at everything: what it costs, and what it sees."""

from __future__ import annotations

import os
import sys

import pytest

import witness as w

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class CountingHost(w.Host):
    """A host that remembers every outside call."""

    def __init__(self):
        self.calls = []

    def run(self, argv, *args, **options):
        self.calls.append(os.path.basename(argv[0]))
        return super().run(argv, *args, **options)


@pytest.fixture
def station(rig):
    host = CountingHost()
    found = w.find_rig(host, str(rig.path), {}, "/")
    config = w.make_config({"tmux_socket": rig.tmux.socket}, "f", {})
    w.check_ground(host, found, config)
    return w.Station(host, found, config)


@pytest.mark.parametrize("number", [1, 50])
def test_a_tick_asks_tmux_once_and_git_never(rig, station, number):
    for index in range(number):
        rig.add_polecat(f"w{index}", SLEEP if index < 3 else None)
    w.observe(station, w.Memory())  # the first also asks the versions
    station.host.calls.clear()
    seen = w.observe(station, w.Memory())
    assert station.host.calls == ["tmux"]
    assert len(seen.sightings) == number
    assert {port.state for name, port in seen.ports.items() if name != "spawner"} == {w.PRESENT}


def test_workers_are_seen_as_they_are(rig, station):
    alpha, beta = rig.add_polecat("alpha", SLEEP), rig.add_polecat("beta")
    rig.commit("x", {"x": "x"}, cwd=beta.path)
    seen = w.observe(station, w.Memory())
    one, other = seen.sightings["alpha"], seen.sightings["beta"]
    assert (one.session, one.pane.pid, one.worktree.branch) == (w.PRESENT, alpha.pane_pid, "polecat/alpha")
    assert one.pane_start > 0
    assert (other.session, other.pane, other.process_lives) == (w.ABSENT, None, False)
    assert abs(other.worktree.git_at - seen.now) < 5


def test_what_is_no_polecat_is_said_and_never_looked_into(rig, station, repo, tmp):
    top = rig.path / "polecats"
    (top / "empty").mkdir()
    (top / "a file").write_text("x")
    (top / "-x").mkdir()
    (top / "witness").mkdir()
    os.symlink(tmp, top / "link")
    rig.git("init", "--quiet", top / "own")
    other = repo("other")
    other.git("worktree", "add", "--quiet", "-b", "x", top / "foreign")
    (top / ".claude").mkdir()
    rig.add_polecat("alpha")
    seen = w.observe(station, w.Memory())
    assert list(seen.sightings) == ["alpha"]
    reasons = dict(seen.strangers)
    assert reasons["link"] == "it is a symbolic link"
    assert reasons["own"] == "it is a repository of its own, no linked worktree"
    assert "no worktree of this rig" in reasons["foreign"]
    assert set(reasons) == {"a file", "-x", "witness", "link", "own", "foreign", "empty"}


def test_recorded_pane_is_followed_when_others_are_split_off(rig, station):
    """A split pane once made an agent look dead."""
    alpha = rig.add_polecat("alpha", SLEEP)
    rig.tmux.run("split-window", "-t", f"={alpha.session}:", "--", *SLEEP)
    seen = w.observe(station, w.Memory())
    sighting = seen.sightings["alpha"]
    assert len(sighting.panes) == 2
    assert sighting.pane.pid == alpha.pane_pid


def test_process_that_outlives_its_session_is_seen(rig, station):
    alpha = rig.add_polecat("alpha")
    start = w.read_process(station.host, os.getpid()).start
    track = w.Track(pane_pid=os.getpid(), pane_start=start)
    assert w.observe(station, w.Memory(polecats={alpha.name: track})).sightings["alpha"].process_lives is True
    track = w.Track(pane_pid=os.getpid(), pane_start=start + 1)
    assert w.observe(station, w.Memory(polecats={alpha.name: track})).sightings["alpha"].process_lives is False


def test_unreadable_polecats_folder_makes_git_unknown(rig, station):
    os.rmdir(rig.path / "polecats")
    (rig.path / "polecats").write_text("x")
    assert w.observe(station, w.Memory()).ports["git"].state == w.UNKNOWN


def test_missing_tool_is_unknown_and_asked_again(rig, station, monkeypatch):
    real = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nowhere")
    seen = w.observe(station, w.Memory())
    assert (seen.ports["tmux"].state, seen.ports["git"].state) == (w.UNKNOWN, w.UNKNOWN)
    assert "missing" in seen.ports["tmux"].reason
    monkeypatch.setenv("PATH", real)
    seen = w.observe(station, w.Memory())
    assert (seen.ports["tmux"].state, seen.ports["git"].state) == (w.PRESENT, w.PRESENT)
    assert seen.ports["git"].version[0].isdigit()


def test_worker_whose_record_is_nested_too_deep_is_seen_like_any_other(rig, station):
    """One such file, in one worktree, once ended every tick of the whole rig."""
    worker = rig.add_polecat("alpha", SLEEP)
    (worker.path / ".gastown").mkdir()
    (worker.path / ".gastown" / "state.json").write_text("[" * 100000)
    sighting = w.observe(station, w.Memory()).sightings["alpha"]
    assert (sighting.worktree.record, sighting.worktree.trouble) == ({}, "")
