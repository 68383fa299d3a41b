"""Observe, decide, save, perform, wait: what one round does, and what ends or outlives it."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from tools import stand
from tools.kit import wait_for

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


@pytest.fixture
def loop(station):
    """Make a loop in this process, its lock held, its signals handled by hand."""
    lock_fd = w.take_lock(station.store.path("witness.lock"))
    made = w.Loop(station, lock_fd, station.store.read_config, [].append)
    made.wake_fd, made.write_fd = os.pipe()
    os.set_blocking(made.wake_fd, False)
    yield made
    for fd in (lock_fd, made.wake_fd, made.write_fd):
        try:
            os.close(fd)
        except OSError:
            continue


def test_memory_is_saved_before_anything_is_done(rig, station, monkeypatch):
    rig.add_polecat("alpha")
    saved = []
    monkeypatch.setattr(station.store, "save", saved.append)
    monkeypatch.setattr(
        w, "perform", lambda station, action: saved.append(action) or w.Outcome(kind="x", subject="x", ok=True, at=0.0)
    )
    stand.run_rounds(station)
    assert isinstance(saved[0], w.Memory)
    assert [type(one).__name__ for one in saved[1:]] == ["SweepTrash"]


def test_nothing_is_done_where_the_memory_cannot_be_saved(rig, station, monkeypatch):
    done = []
    monkeypatch.setattr(w, "perform", lambda station, action: done.append(action))

    def fail(_memory):
        raise w.StateError("disk full")

    monkeypatch.setattr(station.store, "save", fail)
    with pytest.raises(w.StateError):
        stand.run_rounds(station)
    assert done == []


def test_round_without_acting_changes_nothing_on_disk(rig, station):
    rig.add_polecat("alpha")
    before = sorted(os.listdir(station.store.folder))
    seen, decision, _ = stand.run_rounds(station, act=False, person=True)
    assert [type(action).__name__ for action in decision.actions] == ["LookTwice"]
    assert seen.sightings["alpha"].session == w.ABSENT
    assert sorted(os.listdir(station.store.folder)) == before


def test_outcomes_come_back_in_the_next_observation(rig, station):
    rig.add_polecat("alpha", stand.SLEEP)
    station.use(w.make_config({**stand.CALM, "stuck_after": 1, "tmux_socket": rig.tmux.socket}, "t", {}))
    stand.run_rounds(station)
    wait_for(lambda: any(kind == "nudged" for kind, _ in stand.events(station)) or stand.run_rounds(station) is None, 8)
    assert "delivered" in station.memory.polecats["alpha"].nudge_result or "unconfirmed" in (
        station.memory.polecats["alpha"].nudge_result
    )


def test_a_bug_is_logged_escalated_once_and_survived(station, loop, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("a bug of ours")

    real = w.decide
    monkeypatch.setattr(w, "decide", fail)
    waits = []
    for _ in range(3):
        more, due_at = loop._tick(False)
        waits.append(round(due_at - time.time()))
        assert more is False
    assert waits == [60, 120, 240]  # it backs off, and never spins
    with open(station.store.path("witness.log"), encoding="utf-8") as file:
        text = file.read()
    assert text.count("ZeroDivisionError: a bug of ours") == 3
    assert "Traceback" in text
    mayor = os.path.join(station.store.folder, "mail", "mayor", "new")
    assert len(os.listdir(mayor)) == 1
    monkeypatch.setattr(w, "decide", real)
    loop._tick(False)
    assert loop.troubles == 0
    assert station.store.load().exceptions == 3


def test_failed_save_is_said_in_one_line_and_tried_again(station, loop, monkeypatch):
    def fail(_memory):
        raise w.StateError("/x/witness.json: No space left on device", "free the disk")

    monkeypatch.setattr(station.store, "save", fail)
    loop._tick(False)
    with open(station.store.path("witness.log"), encoding="utf-8") as file:
        assert file.read().endswith("/x/witness.json: No space left on device; free the disk\n")
    monkeypatch.undo()
    loop._tick(False)
    assert loop.troubles == 0


def test_stop_ends_between_two_actions(rig, station, loop):
    loop.caught.append(signal.SIGTERM)
    with pytest.raises(w.StopActingError, match="asked to stop"):
        loop._guard(w.SweepTrash(subject="x"))
    loop._guard(None)
    loop._handle_signals()
    assert loop.stopping == "got SIGTERM"


def test_busy_tick_lock_waits_for_its_holder(station, loop):
    station.config.values["interval"] = 0.1
    fd = w.take_tick_lock(station, 0)
    more, due_at = loop._tick(False)
    assert more is False
    assert 0 < due_at - time.time() <= 1.1
    with pytest.raises(w.BusyError):
        w.take_tick_lock(station, 0.05)
    os.close(fd)
    station.tick_lock_fd = None
    loop._tick(False)
    assert station.store.read_view()["last_tick_at"]


@pytest.mark.parametrize(
    ("asked", "slept", "clock", "gap"),
    [
        (0.01, 0.0, 0.0, False),
        (0.01, 200.0, 0.0, True),
        (0.01, 0.0, 300.0, True),
        (0.01, 0.0, -300.0, True),
        (0.01, 50.0, 50.0, False),
    ],
)
def test_gap_is_a_sleep_far_longer_than_asked(station, loop, monkeypatch, asked, slept, clock, gap):
    start = (time.monotonic(), time.time())
    calls = {"mono": 0, "now": 0}

    def mono():
        calls["mono"] += 1
        return start[0] + (slept if calls["mono"] > 1 else 0)

    def now():
        calls["now"] += 1
        return start[1] + (clock if calls["now"] > 1 else 0)

    monkeypatch.setattr(station.host, "mono", mono)
    monkeypatch.setattr(station.host, "now", now)
    assert loop._wait(asked) is gap


def test_signal_ends_the_wait(loop):
    os.write(loop.write_fd, b"\x01")
    began = time.monotonic()
    loop._wait(30)
    assert time.monotonic() - began < 5


def test_long_action_is_shown_before_it_begins(station, loop):
    loop._tick(False)
    before = w.parse_rfc3339(station.store.read_view()["expected_by_at"])
    loop._show_busy(w.SweepTrash(subject="x"))
    assert w.parse_rfc3339(station.store.read_view()["expected_by_at"]) > before + 300


def test_look_that_failed_is_not_taken_again_at_once():
    def outcome(kind, ok):
        return w.Outcome(kind=kind, subject="x", ok=ok, at=0.0)

    assert w.asks_for_more([outcome("look", True)]) is True
    assert w.asks_for_more([outcome("nudge", False)]) is True
    assert w.asks_for_more([outcome("look", False), outcome("sweep", True)]) is False
    assert w.asks_for_more([]) is False


def test_view_says_when_the_next_look_is_due(station, loop):
    loop._tick(False)
    view = station.store.read_view()
    late_s = w.parse_rfc3339(view["expected_by_at"]) - w.parse_rfc3339(view["last_tick_at"])
    assert late_s == pytest.approx(30 + 60 + 20, abs=1)
    assert json.dumps(view["polecats"]) == "[]"
