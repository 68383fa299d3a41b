"""The seat: what `gt` runs in the pane of its witness. Real panes, the real archive, the lines the real `gt` typed."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import kit, screens
from tools.kit import count_open_files, wait_for

import witness as w

# What agents got on their standard input from the real `gt`, a string a line.
TYPED = json.loads((Path(__file__).parent / "data/typed-gt-1.0.1.json").read_text(encoding="utf-8"))
ENV = {"WITNESS_INTERVAL": "600", "WITNESS_START_GRACE": "0", "NO_COLOR": "1"}
RUNS = "this seat runs the daemon"
WATCHES = "another process is the daemon; this seat watches it"
STOPPED = "a person stopped it; this seat waits for `witness start`"


class Pane:
    """A seat in a pane of its own, as `gt` starts it."""

    def __init__(self, rig, pyz, words=(), folder=None, env=None, session="de-witness", size=(80, 24)):
        self.tmux, self.session, self.pyz = rig.tmux, session, pyz
        self.target = f"={session}:"
        settings = {**ENV, "WITNESS_TMUX_SOCKET": rig.tmux.socket, "GT_SESSION": session, **(env or {})}
        argv = ["env", *(f"{key}={value}" for key, value in settings.items()), sys.executable, str(pyz), "seat", *words]
        where = ("-x", size[0], "-y", size[1], "-c", folder or rig.path / "witness")
        self.tmux.run("new-session", "-d", "-s", session, *where, "--", *argv)
        self.tmux.remember()
        wait_for(lambda: "\u276f" in self.screen(), 20, "the prompt")
        self.one = kit.process(self.pid)

    @property
    def pid(self) -> int:
        return int(self.tmux.run("display-message", "-p", "-t", self.target, "#{pane_pid}"))

    def screen(self) -> str:
        return self.tmux.run("capture-pane", "-p", "-t", self.target)

    def says(self, text: str, timeout: float = 20) -> str:
        """Wait until the screen shows a text, and return the screen."""
        wait_for(lambda: text in self.screen(), timeout, f"{text!r} on\n{self.screen()}")
        return self.screen()

    def type(self, line: str) -> None:
        """Type a line and Enter, as `gt` does; its ESC at the end is a key of its own."""
        text = line.rstrip("\x1b")
        if text:
            self.tmux.run("send-keys", "-t", self.target, "-l", "--", text)
        if text != line:
            self.tmux.run("send-keys", "-t", self.target, "Escape")
        self.tmux.run("send-keys", "-t", self.target, "Enter")

    def count(self) -> int:
        """Return how many lines it says were typed."""
        found = re.search(r"^typed: (\d+) line", self.screen(), re.MULTILINE)
        return int(found.group(1)) if found else 0


class Words:
    """The words of a seat that is asked in this process."""

    rig, sets, json, colour, width = "", (), False, False, 80


@pytest.fixture
def seat(rig, pyz):
    """Take the seat of the rig: seat(*words, …) == the pane; what it started ends with the test."""
    (rig.path / "witness").mkdir()
    panes = []

    def take(*words, **options) -> Pane:
        panes.append(Pane(rig, pyz, words, **options))
        return panes[-1]

    yield take
    rig.tmux.remember()
    for pane in panes:
        kit.end(*kit.tree(pane.one.pid), grace_s=5)


def log(rig) -> str:
    path = rig.state / "witness.log"
    return path.read_text() if path.exists() else ""


def looks(rig) -> int:
    """Return how often the daemon has looked."""
    try:
        return json.loads((rig.state / "witness-view.json").read_text())["loop"]["ticks"]
    except (OSError, ValueError, KeyError):
        return 0


def masked(screen: str, rig) -> str:
    """Return a screen without what differs from run to run: times, pids, folders, and where they break the lines."""
    head, rest = screen.split("\nrig ", 1)
    screen = head.replace("\n  ", " ") + "\nrig " + rest.replace(str(rig.path), "RIG")
    screen = re.sub(r"\b\d\d:\d\d:\d\d\b", "TIME", screen)
    screen = re.sub(r"\b\d+[smh]\b", "AGE", screen)
    screen = re.sub(r"\bpid \d+, version [\d.]+", "pid PID, version VERSION", screen)
    screen = re.sub(r"(?<=\S) {2,}", "  ", screen)
    return re.sub(r"\n{3,}", "\n\n", screen) + "\n"


def assert_golden(name: str, pane: Pane, rig) -> None:
    """Compare the whole screen with the one that is kept; its size is told by its name."""
    screen = pane.says("\ntyped: ")
    columns, rows = map(int, re.findall(r"\d+", name))
    lines = screen.split("\n")
    assert (len(lines), lines[-1]) == (rows, "\u276f")
    assert max(map(len, lines)) <= columns
    assert name in screens.SEATS
    assert masked(screen, rig) == (screens.FOLDER / f"{name}.txt").read_text(encoding="utf-8")


# ---- what it shows --------------------------------------------------------------------------------------------------


def test_seat_is_the_daemon_and_its_live_view(rig, seat, witness):
    rig.add_polecat("alpha", [kit.PYTHON, "-c", "import time; time.sleep(600)"])
    pane = seat("[GAS TOWN] witness (rig: demo) <- deacon", "--with", "--flags")
    pane.says(RUNS)
    screen = pane.says("alpha")
    one = rig.daemon()
    assert one.pid in {child.pid for child in kit.tree(pane.pid)}
    assert witness("status", rig=rig).status == 0
    assert screen.split("\n")[-1] == "\u276f"
    pane.type("POLECAT_DONE alpha exit=COMPLETED")
    pane.says("POLECAT_DONE")
    wait_for(lambda: looks(rig) >= 2, 20, "the look")
    pane.says("next in")
    assert_golden("seat-80x24", pane, rig)


def test_seat_is_cut_to_the_pane_and_survives_a_resize(rig, seat):
    pane = seat()
    pane.says(RUNS)
    pane.type("Check your hook with `gt hook`. If work is present, begin immediately." * 3 + "\x1b")
    pane.says("typed: 1 line, ")
    rig.tmux.run("resize-window", "-t", pane.target, "-x", "60", "-y", "15")
    wait_for(lambda: pane.screen().split("\n")[14:] == ["\u276f"], 20, "the small screen")
    pane.says("next in")
    assert_golden("seat-60x15", pane, rig)

    def fits(rows) -> bool:
        lines = pane.screen().split("\n")
        return len(lines) == rows and lines[-1] == "\u276f" and (rows < 4 or lines[0].startswith("witness running"))

    for columns, rows in ((20, 4), (10, 1), (200, 50), (80, 24)):
        rig.tmux.run("resize-window", "-t", pane.target, "-x", columns, "-y", rows)
        wait_for(lambda: fits(rows), 20, f"{columns}x{rows}")  # noqa: B023
    assert kit.is_alive(pane.one)


def test_prompt_is_seen_in_a_pane_of_another_locale(seat):
    """In Latin-1 it was the six letters of an escape, and `gt` waited for a prompt."""
    seat(env={"LC_ALL": "C", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}).says(RUNS)


def test_seat_survives_its_client_killed(rig, seat):
    pane = seat()
    pane.says(RUNS)
    argv = ["script", "-qec", f"tmux -L {rig.tmux.socket} attach -t {pane.target}", "/dev/null"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={**os.environ}) as client:
        try:
            pid = wait_for(
                lambda: rig.tmux.run("list-clients", "-t", pane.target, "-F", "#{client_pid}"), 20, "the client"
            )
            os.kill(int(pid), signal.SIGKILL)
        finally:
            client.kill()
    pane.type("after")
    pane.says(": after")
    assert kit.is_alive(pane.one)


# ---- what is typed into it ------------------------------------------------------------------------------------------


def test_every_line_that_gt_types_is_seen(rig, seat):
    pane = seat()
    pane.says(RUNS)
    wait_for(lambda: looks(rig), 20, "the first look")
    assert {"", "\x1b", "<system-reminder>"} < set(TYPED)
    assert any(line.endswith("patrol.\x1b") for line in TYPED)
    for number, line in enumerate(dict.fromkeys(TYPED), 1):
        before, seen = pane.screen(), looks(rig)
        pane.type(line)
        wait_for(lambda: pane.count() == number, 10, f"the change for {line!r}")  # noqa: B023
        after = pane.screen()
        assert after != before
        shown = w.fit(w.clean_line(line), 40).rstrip("\u2026") or "(blank)"
        assert shown in after, after
        assert "\u202e" not in after
        if number % 5 == 0:
            wait_for(lambda: looks(rig) > seen, 20, "the look")  # noqa: B023


def test_burst_of_lines_is_seen_whole(rig, seat):
    pane = seat()
    pane.says(RUNS)
    rig.tmux.run("set-buffer", "-b", "many", "x\n" * 500)
    rig.tmux.run("paste-buffer", "-b", "many", "-t", pane.target)
    wait_for(lambda: pane.count() == 500, 20, "every line")


def test_lines_are_one_look_a_second(rig, monkeypatch):
    monkeypatch.chdir(rig.path)
    made = w.Seat(w.Host(), Words(), "witness")
    made._open()
    clock, sent = [100.0], []
    monkeypatch.setattr(made.host, "mono", lambda: clock[0], raising=False)
    monkeypatch.setattr(w, "signal_daemon", lambda store, number: sent.append((clock[0], number)))
    for _ in range(30):
        made._heed("look")
        made._serve()
        clock[0] += 0.125
    for _ in range(30):
        made._serve()
        clock[0] += 0.125
    assert sent == [(at, signal.SIGUSR1) for at in (100.0, 101.0, 102.0, 103.0, 104.0)]


def test_keys_that_end_other_programs_do_not_end_it(rig, seat):
    pane = seat()
    pane.says(RUNS)
    for key in ("C-c", "C-d", "C-z", "C-\\", "q"):
        rig.tmux.run("send-keys", "-t", pane.target, key)
    os.kill(pane.pid, signal.SIGINT)
    pane.says("\u276f q")
    rig.tmux.run("send-keys", "-t", pane.target, "BSpace", "Enter")
    pane.says("(blank)")
    assert pane.pid == pane.one.pid
    assert kit.is_alive(pane.one)


def feed(*pieces: bytes) -> list:
    typed = w.Typed()
    return [line for piece in pieces for line in typed.feed(piece, 1.0)]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"look\r",), ["look"]),
        ((b"look\x1b", b"\r"), ["look"]),
        ((b"look\x1b\r\r",), ["look", ""]),
        ((b"\x1b[200~pasted\rtwice\x1b[201~\r",), ["pasted", "twice"]),
        ((b"\x1b[20", b"0~pasted\x1b[", b"201~\r"), ["pasted"]),
        ((b"a\x1b[Ab\x1bOPc\x1b[1;5Cd\r",), ["abcd"]),
        ((b"\x1b", b"[GAS TOWN] witness\r"), ["[GAS TOWN] witness"]),
        ((b"\xe2\x9d", b"\xaf\r"), ["\u276f"]),
        ((b"\xff\r",), ["\ufffd"]),
        ((b"wrong\x15right\r", b"no\x03yes\n"), ["right", "yes"]),
        ((b"ab\x7fc\r",), ["ac"]),
        ((b"x" * 10000, b"\r"), ["x" * w.LINE_KEPT]),
    ],
)
def test_what_is_typed_becomes_lines(pieces, lines):
    assert feed(*pieces) == lines


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_any_bytes_are_counted_shown_and_bounded(pieces):
    typed = w.Typed()
    ended = [line for piece in pieces for line in typed.feed(piece, 1.0)]
    assert typed.count == len(ended) == len(re.findall(rb"[\r\n]", b"".join(pieces)))
    assert typed.say().isprintable()
    assert len(typed.line) <= w.LINE_KEPT
    assert len(typed.rest) < 20


def test_secret_that_is_typed_is_not_shown():
    typed = w.Typed()
    typed.feed(b"password: hunter2hunter2\r", 1.0)
    assert "hunter2" not in typed.say()


# ---- health checks --------------------------------------------------------------------------------------------------


def activity(pane: Pane) -> int:
    return int(pane.tmux.run("display-message", "-p", "-t", pane.target, "#{session_activity}"))


@pytest.mark.parametrize("env", [{}, {"GT_SESSION": ""}], ids=["by its session", "by its pane"])
def test_health_check_is_answered_by_activity_of_the_session(seat, env):
    """Output in a detached session does not count as activity: `gt` called each seat dead."""
    pane = seat(env=env)
    pane.says(RUNS)
    before = activity(pane)
    time.sleep(2)
    assert activity(pane) == before  # it draws, and that is not enough
    for _ in range(3 if not env else 1):
        pane.type("HEALTH_CHECK: respond with any action to confirm responsiveness\x1b")
        pane.says(": HEALTH_CHECK")
        before = activity(pane)
        wait_for(lambda: activity(pane) > before, 15, "the activity")  # noqa: B023
    assert kit.is_alive(pane.one)


def test_flood_of_health_checks_is_answered_as_one():
    seat = w.Seat(w.Host(), Words(), "witness")
    for _ in range(1000):
        seat._heed("HEALTH_CHECK")
    assert len(seat.answers) <= 6


def test_hanging_answer_is_ended_and_hinders_nothing(rig, seat, tmp):
    tools = tmp / "bin"
    tools.mkdir()
    script = f'case "$*" in *" -C attach "*) echo $$ >>{tmp}/pids; exec sleep 600;; esac\nexit 1\n'
    (tools / "tmux").write_text("#!/bin/sh\n" + script)
    (tools / "tmux").chmod(0o755)
    pane = seat(env={"PATH": f"{tools}:{os.environ['PATH']}"})
    pane.says(RUNS)
    pane.type("HEALTH_CHECK")
    pid = int(wait_for(lambda: kit.lines_of(tmp / "pids"), 20, "the answer").split()[0])
    pane.type("still here")
    pane.says(": still here", 5)
    wait_for(lambda: kit.start_time(pid) is None, 30, "its end")


# ---- who is the daemon ----------------------------------------------------------------------------------------------


def test_killed_seat_takes_its_daemon_along_and_the_next_one_is_the_daemon(rig, seat):
    pane = seat()
    pane.says(RUNS)
    one = wait_for(rig.daemon, 20, "the daemon")
    os.kill(pane.pid, signal.SIGKILL)
    wait_for(lambda: not kit.is_alive(one), 20, "the daemon's end")
    assert "stopped: daemon: its seat is gone\n" in log(rig)
    assert not (rig.state / "witness.pid").exists()
    seat(session="again").says(RUNS)
    assert wait_for(rig.daemon, 20, "the next daemon") != one


def test_daemon_that_is_killed_is_started_anew(rig, seat):
    pane = seat()
    pane.says(RUNS)
    one = wait_for(rig.daemon, 20, "the daemon")
    os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: rig.daemon() not in (None, one), 20, "another daemon")
    pane.says(RUNS)
    assert "!" not in pane.says("next in")


def test_seat_beside_a_daemon_watches_it_and_takes_over_when_it_is_killed(rig, seat, witness):
    assert witness("start", rig=rig, env=ENV).status == 0
    one = rig.daemon()
    wait_for(lambda: looks(rig), 20, "the first look")
    pane = seat()
    pane.says(WATCHES)
    before = looks(rig)
    pane.type("look")
    wait_for(lambda: looks(rig) > before, 20, "the look of the other's daemon")
    assert rig.daemon() == one
    os.kill(one.pid, signal.SIGKILL)
    pane.says(RUNS)
    assert rig.daemon() != one


def test_stop_is_remembered_until_the_next_start(rig, seat, witness):
    pane = seat()
    pane.says(RUNS)
    wait_for(rig.daemon, 20, "the daemon")
    assert witness("stop", rig=rig).status == 0
    pane.says(STOPPED)
    time.sleep(w.STOP_NOTED_S + 2 * w.SEAT_S)
    assert rig.daemon() is None
    assert_golden("seat-stopped-80x24", pane, rig)
    assert witness("start", rig=rig, env=ENV).status == 0
    one = rig.daemon()
    pane.says(WATCHES)
    assert rig.daemon() == one


@pytest.mark.parametrize(
    ("verdicts", "stopped", "starts"),
    [
        (("not running",), False, {0: 1}),
        (("dead",), False, {0: 1}),
        (("running", "dead"), False, {1: 1}),
        (("running", "not running"), False, {1: 0, 1 + w.STOP_NOTED_S: 1}),
        (("hanging", "not running"), False, {1: 0, 1 + w.STOP_NOTED_S: 1}),
        (("running", "not running"), True, {1: 0, 100: 0}),
        (("unknown",), False, {0: 0, 100: 0}),
    ],
)
def test_who_stops_a_daemon_has_time_to_write_that_down(rig, monkeypatch, verdicts, stopped, starts):
    """`witness stop` sees the daemon end, and only then notes that it was on purpose."""
    monkeypatch.chdir(rig.path)
    made = w.Seat(w.Host(), Words(), "witness")
    made._open()
    clock, tries, known = [0.0], [], list(verdicts)
    monkeypatch.setattr(made.host, "mono", lambda: clock[0], raising=False)
    monkeypatch.setattr(made, "_start", lambda: tries.append(clock[0]))
    monkeypatch.setattr(made.desk.store, "read_holds", lambda: {"stopped": stopped})
    monkeypatch.setattr(w, "see_daemon", lambda _: w.DaemonSight(verdict=known.pop(0) if len(known) > 1 else known[0]))
    for _ in verdicts[1:]:
        made._keep()
    for at, count in starts.items():
        clock[0] = at
        made._keep()
        assert len(tries) == count, at


def test_restart_by_a_person_is_not_raced(rig, seat, witness):
    pane = seat()
    pane.says(RUNS)
    wait_for(rig.daemon, 20, "the daemon")
    assert witness("restart", rig=rig, env=ENV).status == 0
    pane.says(WATCHES)


def test_daemon_gets_the_servers_address_and_nothing_else_of_beads(rig, seat):
    kept = {"GT_DOLT_PORT": "13410", "BEADS_DOLT_PORT": "13410", "BEADS_CREDENTIALS_FILE": "/c"}
    lost = {"BD_DOLT_AUTO_COMMIT": "off", "BD_ACTOR": "demo/witness", "BEADS_DIR": "/x"}
    seat(env={**kept, **lost}).says(RUNS)
    one = wait_for(rig.daemon, 20, "the daemon")
    words = Path(f"/proc/{one.pid}/environ").read_bytes().decode().split("\0")
    has = dict(word.partition("=")[::2] for word in words)
    assert {name: has.get(name) for name in (*kept, *lost)} == {**kept, **dict.fromkeys(lost)}
    assert os.readlink(f"/proc/{one.pid}/cwd") == "/"


def test_nothing_that_the_daemon_starts_keeps_its_lifeline(rig, seat, witness):
    """A tmux server with the other end would have kept the daemon from hearing of its seat's end."""
    env = {
        "WITNESS_INTERVAL": "1",
        "WITNESS_AGENT_COMMAND": json.dumps([kit.PYTHON, "-c", "import time; time.sleep(600)"]),
        **{f"WITNESS_{name}": "0" for name in ("MIN_FREE_DISK", "MIN_FREE_MEMORY", "MAX_LOAD_PER_CORE")},
    }
    witness("add", "one", rig=rig)
    pane = seat(env=env)
    wait_for(lambda: "spawned:" in log(rig), 30, "the spawn")
    pane.type("HEALTH_CHECK")
    one = rig.daemon()
    os.kill(pane.pid, signal.SIGKILL)
    wait_for(lambda: not kit.is_alive(one), 20, "the daemon's end")
    wait_for(lambda: w.is_locked(str(rig.state / "witness.lock")) is False, 5, "the lock to be free")


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_seat_without_a_rig_says_so_and_waits_for_one(rig, seat, tmp):
    folder = tmp / "later"
    folder.mkdir()
    pane = seat(folder=folder)
    pane.says("! no rig: ")
    pane.type("hello")
    pane.says(": hello")
    rig.git("init", "--quiet", cwd=folder)
    pane.says(RUNS)
    assert "!" not in pane.screen()
    rig.path = folder  # its daemon ends with the test


def test_broken_settings_are_shown_and_mended_ones_taken(rig, seat):
    rig.state.mkdir(mode=0o700)
    settings = rig.state / "witness-config.json"
    settings.write_text('{"max_worker": 3}')
    pane = seat()
    assert "unknown setting 'max_worker'" in pane.says("! unknown setting")
    assert "this seat starts the daemon in " in pane.screen()
    assert rig.daemon() is None
    settings.write_text("{}")
    pane.says(RUNS, 40)
    assert "!" not in pane.screen()


def test_daemon_that_cannot_come_up_says_why_and_is_tried_again(rig, seat):
    rig.state.mkdir(mode=0o700)
    (rig.state / "witness.json").mkdir()
    pane = seat()
    pane.says("! ")
    assert "witness.json" in pane.says("this seat starts the daemon in ")
    (rig.state / "witness.json").rmdir()
    pane.says(RUNS, 60)
    assert "!" not in pane.screen()


def test_daemon_that_does_not_come_up_is_tried_ever_less_often(rig, monkeypatch):
    monkeypatch.chdir(rig.path)
    made = w.Seat(w.Host(), Words(), "witness")
    made._open()
    clock, tries = [0.0], []
    monkeypatch.setattr(made.host, "mono", lambda: clock[0], raising=False)
    monkeypatch.setattr(made.desk, "prepare", lambda: tries.append(clock[0]) or made.missing)
    while clock[0] < 300:
        assert made._keep().startswith("this seat starts the daemon in ")
        clock[0] += 1
    assert tries == [0, 2, 6, 14, 30, 62, 122, 182, 242]
    assert "missing" in made.troubles["daemon"]


def test_bug_while_it_draws_is_shown_logged_once_and_outlived(rig, monkeypatch):
    monkeypatch.chdir(rig.path)
    rig.state.mkdir(mode=0o700)

    def fail(*_):
        raise TypeError("a bug")

    seat = w.Seat(w.Host(), Words(), "witness")
    monkeypatch.setattr(w, "look_at_daemon", fail)
    monkeypatch.setattr(w.Seat, "_start", lambda self: None)
    for _ in range(3):
        lines = seat._compose(80, 24).split("\n")
    assert lines[0] == "! bug: TypeError: a bug"
    assert lines[-1] == w.PROMPT
    assert log(rig).count("TypeError: a bug") == 1


def test_seat_without_a_terminal_says_what_works_there(witness, rig):
    done = witness("seat", "any", "--words", rig=rig)
    assert done == (2, "", "witness: the seat needs a terminal; `witness start` runs the daemon without one\n")
    assert rig.daemon() is None


# ---- its end --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shell(rig, pyz, seat):
    """Run a seat from an interactive shell, which shows how it and the terminal were left."""
    tmux = rig.tmux
    tmux.run("new-session", "-d", "-s", "sh", "-x", 80, "-y", 24, "-c", rig.path, "bash", "--norc", "--noprofile", "-i")
    settings = " ".join(f"{name}={value}" for name, value in {**ENV, "WITNESS_TMUX_SOCKET": tmux.socket}.items())
    command = f"{settings} {shlex.quote(sys.executable)} {pyz} seat; echo left with $?"
    tmux.run("send-keys", "-t", "=sh:", f"PS1=; stty -a >before; {command}; stty -a >after", "Enter")
    wait_for(lambda: RUNS in tmux.run("capture-pane", "-p", "-t", "=sh:"), 20, "the seat")
    tmux.remember()
    bash = int(tmux.run("display-message", "-p", "-t", "=sh:", "#{pane_pid}"))
    (one,) = [one for one in kit.tree(bash) if b"\0seat\0" in Path(f"/proc/{one.pid}/cmdline").read_bytes()]
    return one


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_the_daemon_first_and_leaves_the_terminal_as_it_was(rig, shell, number):
    one = wait_for(rig.daemon, 20, "the daemon")
    os.kill(shell.pid, number)
    wait_for(lambda: not kit.is_alive(shell), 20, "the seat's end")
    assert not kit.is_alive(one)
    assert re.search(r"stopped: daemon: (got SIGTERM|asked to stop)\n", log(rig))
    wait_for(lambda: "left with 0" in rig.tmux.run("capture-pane", "-p", "-t", "=sh:"), 10, "the end")
    wait_for(lambda: kit.lines_of(rig.path / "after"), 10, "stty")
    assert (rig.path / "after").read_text() == (rig.path / "before").read_text()
    screen = rig.tmux.run("capture-pane", "-p", "-t", "=sh:")
    assert RUNS not in screen  # the other page of the terminal is gone
    flags = "#{cursor_flag} #{alternate_on}"
    assert rig.tmux.run("display-message", "-p", "-t", "=sh:", flags) == "1 0"


def test_seat_ends_with_its_terminal(rig, seat):
    pane = seat()
    pane.says(RUNS)
    one = wait_for(rig.daemon, 20, "the daemon")
    rig.tmux.run("new-session", "-d", "-s", "other", "sleep", "600")
    rig.tmux.run("kill-session", "-t", "=de-witness")
    wait_for(lambda: not kit.is_alive(pane.one), 20, "the seat's end")
    assert not kit.is_alive(one)
    assert re.search(r"stopped: daemon: (got SIGTERM|asked to stop|its seat is gone)\n", log(rig))


# ---- its words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "rig"),
    [
        (["seat"], ""),
        (["seat", "long prompt --with flags"], ""),
        (["seat", "--with", "--json", "-x", "flags"], ""),
        (["seat", "--rig", "/x", "do", "it"], "/x"),
        (["seat", "do", "it", "--rig", "/x"], "/x"),
        (["seat", "do", "--rig=/x", "it"], "/x"),
        (["seat", "do", "--rig"], ""),
        (["seat", "do", "install"], ""),
        (["seat", "", "--help"], ""),
        (["seat", "--rig", "install"], "install"),
    ],
)
def test_seat_takes_any_words(argv, rig):
    words = w.read_seat(argv)
    assert (words.command, words.verb, words.rig) == ("seat", None, rig)


@pytest.mark.parametrize(
    "argv",
    [["seat", "install"], ["seat", "remove", "--json"], ["seat", "--json", "install"], ["seat", "--rig=/", "remove"]],
)
def test_install_and_remove_are_words_of_their_own(argv):
    assert w.read_seat(argv) is None
    assert w.read_words(argv).verb in argv


def test_help_alone_shows_help(witness):
    assert w.read_seat(["seat", "--help"]) is None
    assert "usage: witness seat" in witness("seat", "--help").stdout


def test_daemon_that_cannot_be_started_leaves_its_lock_to_the_next_try(rig, monkeypatch):
    """The seat kept the lock, took it for another daemon's, and watched that one for ever."""
    monkeypatch.chdir(rig.path)
    seat, clock = w.Seat(w.Host(), Words(), "witness"), [0.0]
    seat._open()
    seat.desk.prepare()
    monkeypatch.setattr(seat.host, "mono", lambda: clock[0], raising=False)
    path = rig.state / "witness.log"
    path.unlink(missing_ok=True)
    path.mkdir()
    before = count_open_files()
    for clock[0] in (0.0, 100.0, 200.0):
        seat._keep()
        assert "witness.log" in seat.troubles["daemon"]
        assert w.is_locked(seat.desk.store.path(w.LOCK_FILE)) is False
    assert count_open_files() == before
