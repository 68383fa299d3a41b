"""Observe, decide, save, perform, wait: what one round does, and what ends or outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tools import kit, stand
from tools.kit import count_open_files, wait_for

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
    for fd in (lock_fd, made.wake_fd, made.write_fd, made.watch_fd):
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


def test_lost_retirements_are_looked_for_until_git_can_be_asked(rig, station, monkeypatch):
    worker = rig.add_polecat("alpha")
    lost = stand.begin(station, "alpha", step="move")
    asked = []

    def find(_tools, known):
        asked.append(known)
        if len(asked) < 3:
            raise w.ToolError("git for-each-ref: exit 1")
        return [lost], []

    monkeypatch.setattr(w, "find_unfinished", find)
    monkeypatch.setattr(w, "perform", lambda station, action: w.Outcome(kind="x", subject="x", ok=True, at=0.0))
    stand.run_rounds(station, 5)
    assert len(asked) == 3
    assert station.memory.retirements == {"alpha": lost}
    assert worker.path.exists()
    told = [(kind, subject) for kind, subject in stand.events(station) if kind in ("degraded", "taken-up")]
    assert told == [("degraded", "unfinished retirements"), ("taken-up", "alpha")]


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


def test_end_of_the_seat_ends_the_wait_and_the_loop(station, loop, monkeypatch):
    loop.life_fd, other = os.pipe()
    ticks = []
    monkeypatch.setattr(loop, "_tick", lambda gap: ticks.append(gap) or (False, time.time() + 600))
    monkeypatch.setattr(loop, "watch_mailbox", lambda: os.close(other) if len(ticks) == 0 else None)
    began = time.monotonic()
    assert loop.run() == 0
    assert time.monotonic() - began < 60
    assert (ticks, loop.stopping) == ([False], "its seat is gone")
    os.close(loop.life_fd)


def test_nothing_is_begun_once_the_seat_is_gone(loop):
    loop.life_fd, other = os.pipe()
    action = w.Nudge(subject="alpha", text="", pane=None, agents=(), via="mail")
    loop._guard(action)
    os.close(other)
    loop._guard(None)  # what was decided is saved
    with pytest.raises(w.StopActingError, match="its seat is gone"):
        loop._guard(action)
    os.close(loop.life_fd)


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


@pytest.fixture
def pager(rig, tmp):
    """Make a station whose escalations also go to a command, with a letter waiting; the file grows a line each."""
    command = tmp / "page"
    command.write_text(f"#!/bin/sh\necho paged >>{tmp / 'pages'}\n")
    command.chmod(0o755)
    station = stand.make_station(rig, escalate_command=[str(command)])
    letters = {key: w.Letter(to="mayor/", subject=key, body="b", at=1.0, event="opened") for key in ("k1", "k2")}
    station.remember(station.store.load().but(pending=letters))
    return station


def pages(tmp):
    return (tmp / "pages").read_text().count("paged") if (tmp / "pages").exists() else 0


def test_bug_in_one_action_does_not_repeat_those_before_it(rig, tmp, pager, monkeypatch):
    """What came of them was lost with the tick; a person was paged again at every tick."""
    send = w.PERFORM[w.SendLetter]

    def fail(station, action):
        if action.subject == "k2":
            raise ZeroDivisionError("a bug of ours")
        return send(station, action)

    monkeypatch.setitem(w.PERFORM, w.SendLetter, fail)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            stand.run_rounds(pager)
    assert pages(tmp) == 1
    assert list(pager.memory.pending) == ["k2"]
    monkeypatch.undo()
    stand.run_rounds(pager, 2)
    assert (pages(tmp), pager.memory.pending) == (2, {})


def test_disk_that_fills_up_after_an_action_does_not_repeat_it(rig, tmp, pager, monkeypatch):
    stand.run_rounds(pager)
    assert pages(tmp) == 2
    write = pager.host.write

    def fail(path, *words, **options):
        if path.endswith("witness.json"):
            raise OSError(28, "No space left on device", path)
        write(path, *words, **options)

    monkeypatch.setattr(pager.host, "write", fail)
    for _ in range(2):
        with pytest.raises(w.StateError):
            stand.run_rounds(pager)
    monkeypatch.undo()
    stand.run_rounds(pager)
    assert (pages(tmp), pager.memory.pending) == (2, {})


def test_what_decide_stumbles_over_is_not_put_before_it_again(rig, station, monkeypatch):
    real, seen = w.decide, []

    def fail(observation, *words):
        seen.append(observation)
        if observation.outcomes:
            raise ZeroDivisionError("a bug of ours")
        return real(observation, *words)

    monkeypatch.setattr(w, "decide", fail)
    station.outcomes = (w.Outcome(kind="x", subject="x", ok=True, at=0.0),)
    with pytest.raises(ZeroDivisionError):
        stand.run_rounds(station)
    stand.run_rounds(station)
    assert [len(one.outcomes) for one in seen] == [1, 0]


@pytest.fixture
def calm_loop(loop, monkeypatch):
    """Make a loop that notes its waits instead of waiting, and stops after the third."""
    waits = []

    def wait(wait_s):
        waits.append(wait_s)
        if len(waits) == 3:
            loop.stopping = "enough"
        return False

    monkeypatch.setattr(loop, "_wait", wait)
    loop.waits = waits
    return loop


def test_back_off_after_a_bug_is_waited_for(station, calm_loop, monkeypatch):
    monkeypatch.setattr(w, "decide", lambda *_: 1 / 0)
    assert calm_loop.run() == 0
    assert calm_loop.waits == [pytest.approx(wait_s, abs=2) for wait_s in (60, 120, 240)]


def test_quiet_rig_is_looked_at_once_an_interval(station, calm_loop):
    assert calm_loop.run() == 0
    assert [round(wait_s) for wait_s in calm_loop.waits] == [30, 30, 30]
    assert station.store.load().state == "stopped"


def test_outcomes_are_weighed_at_once_but_not_for_ever(station, calm_loop, monkeypatch):
    monkeypatch.setattr(w, "FOLLOW_UPS", 1)
    monkeypatch.setattr(w, "asks_for_more", lambda _: True)
    calm_loop.run()
    assert calm_loop.waits[0] == 0
    assert [round(wait_s) for wait_s in calm_loop.waits[1:]] == [30, 30]


def test_gap_found_by_the_wait_is_told_to_the_next_tick(station, loop, monkeypatch):
    gaps = []

    def tick(gap):
        gaps.append(gap)
        loop.stopping = "enough" if len(gaps) == 3 else ""
        return False, 0.0

    monkeypatch.setattr(loop, "_tick", tick)
    monkeypatch.setattr(loop, "_wait", lambda _: len(gaps) == 1)
    loop.run()
    assert gaps == [False, True, False]


def test_lost_lock_ends_the_loop_without_another_wait(station, calm_loop, capfd):
    os.remove(station.store.path("witness.lock"))
    assert calm_loop.run() == 1
    assert calm_loop.waits == []
    assert "is gone or replaced: another Witness may be running" in capfd.readouterr().err


def test_bug_in_the_escalation_of_a_bug_is_survived(station, loop, monkeypatch):
    monkeypatch.setattr(station.store, "load", lambda: 1 / 0)
    loop._tick(False)
    assert loop.troubles == 1
    with open(station.store.path("witness.log"), encoding="utf-8") as file:
        assert "it could not be escalated: division by zero" in file.read()


def test_signals_are_heeded_while_another_acts_for_long(station, loop):
    """`stop` once waited for as long as a one-shot command went on retiring."""
    fd = w.take_lock(station.store.path("witness.tick.lock"))
    began = time.monotonic()
    more, due_at = loop._tick(False)  # at an interval of 30 s
    assert time.monotonic() - began < 5
    assert (more, due_at <= time.time() + 1) == (False, True)
    os.close(fd)


def test_manager_is_told_how_it_goes(rig, station, loop):
    told = []
    loop.notify = told.append
    rig.add_polecat("alpha")
    loop._tick(False)
    loop.reload_config = lambda: w.make_config({"max_workers": 7}, "f", {})
    loop.caught.append(signal.SIGHUP)
    loop._handle_signals()
    assert told[-3:] == ["WATCHDOG=1\nSTATUS=1 polecats", "RELOADING=1", "READY=1"]
    assert station.config.max_workers == 7


def test_mailbox_folder_that_cannot_be_watched_is_no_trouble(station, loop):
    with open(os.path.join(station.store.folder, "mail"), "w", encoding="utf-8"):
        pass
    loop.watch_mailbox()
    assert loop.watch_fd == -1


def test_mailbox_is_watched_by_one_file_that_is_of_its_present_folder(station, loop):
    loop.watch_mailbox()
    files = count_open_files()
    folder = os.path.join(station.mailbox.folder(station.mailbox.address), "new")
    for _ in range(3):
        os.rmdir(folder)
        loop.watch_mailbox()
        loop.watch_mailbox()
        assert os.path.samestat(os.fstat(loop.watch_fd), os.stat(folder))
        assert count_open_files() == files


def test_a_day_takes_no_more_memory_than_its_first_hundred_ticks(tmp):
    """Two simulated hours with 200 workers coming and going; `./build.sh bench` lives the whole day."""
    folder = os.path.dirname(w.__file__)
    prelude = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {folder!r}); import witness"]
    subprocess.run(prelude, check=True, timeout=60)  # compiles it: that takes more memory than a day
    argv = [sys.executable, "-I", "-S", str(kit.ROOT / "tests" / "steady.py"), folder, str(tmp), "2"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    day = json.loads(done.stdout)
    assert day["hours"] == 2.0
    assert day["troubles"] == 0
    # So much has happened that what each of these leaves behind would show.
    assert {"state", "instance", "escalated", "resolved", "requested", "refused", "forwarded"} <= set(day["events"])
    assert sum(day["events"].values()) > 200
    settled, last = day["settled"], day["last"]
    assert last["blocks"] < 1.03 * settled["blocks"]
    assert last["resident_kib"] < 1.03 * settled["resident_kib"]
    assert last["memory_bytes"] < 2 * settled["memory_bytes"]
