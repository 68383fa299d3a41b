"""What a one-shot command needs: the rig, the settings, rounds under the tick lock."""

from __future__ import annotations

import os

import pytest

import witness as w


@pytest.fixture
def desk(rig, monkeypatch):
    monkeypatch.chdir(rig.path)
    monkeypatch.setenv("WITNESS_TMUX_SOCKET", rig.tmux.socket)
    monkeypatch.setenv("WITNESS_START_GRACE", "0")
    return w.Desk(w.Host(), "", [], "witness")


def test_rounds_hold_the_tick_lock_and_give_it_back(desk, rig):
    station = desk.station()
    seen_locked = []
    answer = desk.run_rounds(
        station,
        {"duties": frozenset()},
        prepare=lambda memory: seen_locked.append(w.is_locked(desk.store.path("witness.tick.lock"))) or memory,
    )
    assert seen_locked == [True]
    assert w.is_locked(desk.store.path("witness.tick.lock")) is False
    assert answer[0].person is True


def test_rounds_go_on_while_outcomes_ask_for_more(desk, rig):
    rig.add_polecat("alpha")
    station = desk.station()
    _, decision, done = desk.run_rounds(station, {"duties": frozenset({"health"})})
    assert [type(action).__name__ for action, _ in done] == ["LookTwice", "SendLetter"]
    assert decision.verdicts["alpha"].state == "dead"


def test_settings_and_sets_are_read(rig, monkeypatch):
    monkeypatch.chdir(rig.path)
    desk = w.Desk(w.Host(), "", ["max_workers=9"], "witness")
    assert desk.config().max_workers == 9
    assert not os.path.exists(desk.rig.state)


def test_busy_rig_is_told(desk, monkeypatch):
    station = desk.station()
    station.config.values["tool_timeout"] = -9.9
    fd = w.take_lock(desk.store.path("witness.tick.lock"))
    with pytest.raises(w.BusyError):
        desk.run_rounds(station, {})
    os.close(fd)


def test_folder_that_is_gone_is_told_unless_the_rig_is_named(rig, tmp, monkeypatch):
    """A shell stands in a worktree that was retired meanwhile."""
    (tmp / "gone").mkdir()
    monkeypatch.chdir(tmp / "gone")
    (tmp / "gone").rmdir()
    with pytest.raises(w.UsageError, match="the working directory is gone"):
        w.Desk(w.Host(), "", [], "witness")
    assert w.Desk(w.Host(), str(rig.path), [], "witness").rig.name == "demo"
    monkeypatch.setenv("WITNESS_RIG", str(rig.path))
    assert w.Desk(w.Host(), "", [], "witness").rig.name == "demo"


def test_what_runs_outside_is_waited_for(desk, monkeypatch):
    station = desk.station()
    asked = []

    def ended(decision):
        asked.append(decision)
        return len(asked) == 3

    desk.run_rounds(station, {"duties": frozenset()}, until=ended)
    assert len(asked) == 3
    assert w.is_locked(desk.store.path("witness.tick.lock")) is False


def test_rounds_without_acting_do_nothing(desk, rig):
    rig.add_polecat("alpha")
    station = desk.station()
    _, decision, done = desk.run_rounds(station, {"duties": frozenset({"health"})}, act=False)
    assert [type(action).__name__ for action, _ in done] == ["LookTwice"]
    assert [type(action).__name__ for action in decision.actions] == ["SendLetter"]
    assert not os.path.exists(desk.store.path("witness.json"))
    assert not os.path.exists(desk.store.path("mail"))
