"""The program `bd`: its version learnt and learnt again, its environment, and its peace while it hangs."""

from __future__ import annotations

import os
import time

import pytest
from tools import kit

import witness as w


class Host(w.Host):
    """A host whose calls are counted, and whose monotonic clock can be moved."""

    def __init__(self):
        self.calls, self.ahead_s = [], 0.0

    def run(self, argv, *args, **options):
        self.calls.append(tuple(argv))
        return super().run(argv, *args, **options)

    def mono(self):
        return super().mono() + self.ahead_s


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def bd(tmp, program, host):
    return w.Bd(host, str(tmp), 5.0)


def script(program, text: str) -> None:
    """Put a shell script in the place of bd."""
    path = program.folder / "bd"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_version_is_asked_once(bd, host):
    assert bd.meet() == bd.meet() == ""
    assert (bd.version, bd.dialect.since, bd.note) == ("1.0.5", (1, 0, 4), "")
    assert host.calls == [("bd", "version")]


def test_program_that_was_exchanged_is_asked_again(bd, program, host):
    bd.meet()
    program.use("0.47.1")
    time.sleep(0.01)
    os.utime(program.folder / "bd", (1, 1))
    assert bd.meet() == ""
    assert (bd.version, bd.dialect.since) == ("0.47.1", (0, 42, 0))
    assert len(host.calls) == 2


def test_program_that_failed_is_asked_its_version_again(bd, tmp, host):
    bd.meet()
    assert bd.ask(("bd", "ready", "--json")).kind == w.UNKNOWN
    bd.meet()
    assert host.calls.count(("bd", "version")) == 2


def test_missing_program_says_so_and_comes_back(bd, program, monkeypatch, tmp):
    bd.meet()
    before = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp / "empty"))
    assert bd.meet() == "bd is not on the PATH"
    monkeypatch.setenv("PATH", before)
    assert bd.meet() == ""


def test_file_that_cannot_be_run_is_no_program(bd, program):
    (program.folder / "bd").chmod(0o644)
    rest = [folder for folder in os.environ["PATH"].split(":") if os.path.exists(f"{folder}/bd")]
    assert rest == [str(program.folder)]
    assert bd.meet() == "bd is not on the PATH"
    (program.folder / "bd").unlink()
    (program.folder / "bd").mkdir()
    assert bd.meet() == "bd is not on the PATH"


@pytest.mark.parametrize(
    "text", ["echo hello", "echo bd version banana", "exit 3", "echo 'Error: schema skew' >&2; exit 1"]
)
def test_program_that_tells_no_version_is_unknown(bd, program, text):
    script(program, text)
    assert bd.meet().startswith("bd version: ")
    assert bd.dialect is None


def test_newer_program_gets_the_newest_row_and_a_note(bd, program):
    program.use("2.1.0")
    assert bd.meet() == ""
    assert bd.dialect is w.BD_DIALECTS[-1]
    assert "2.1.0 is newer" in bd.note


def test_only_where_the_server_is_reaches_it(bd, program, monkeypatch):
    for name, value in {
        "BEADS_DOLT_SERVER_HOST": "db.example",
        "BEADS_DOLT_PASSWORD": "secret",
        "BEADS_CREDENTIALS_FILE": "/c",
        "BEADS_DIR": "/elsewhere",
        "BD_ACTOR": "somebody",
        "BD_JSON_ENVELOPE": "1",
        "GT_ROLE": "x",
    }.items():
        monkeypatch.setenv(name, value)
    script(program, "env")
    lines = bd.run("bd", "ready").text().splitlines()
    seen = {line.partition("=")[0]: line.partition("=")[2] for line in lines}
    ours = {name: value for name, value in seen.items() if name.startswith(("BD_", "BEADS_", "GT_"))}
    assert ours == {
        **w.BD_ENVIRONMENT,
        "BEADS_DOLT_SERVER_HOST": "db.example",
        "BEADS_DOLT_PASSWORD": "secret",
        "BEADS_CREDENTIALS_FILE": "/c",
    }


def test_operator_may_let_bd_start_the_server(bd, program, monkeypatch):
    monkeypatch.setenv("BEADS_DOLT_AUTO_START", "1")
    script(program, "env")
    assert "BEADS_DOLT_AUTO_START=1" in bd.run("bd", "ready").text().splitlines()


def test_it_runs_in_the_rig(bd, program, tmp):
    script(program, "pwd")
    assert bd.run("bd", "ready").text().strip() == os.path.realpath(tmp)


def test_program_that_hangs_is_left_in_peace_for_longer_and_longer(bd, program, host):
    script(program, "exec sleep 60")
    bd.timeout_s = 0.2
    assert bd.ask(("bd", "ready")).reason == "bd ready: no answer within 0.2 s"
    calls = len(host.calls)
    assert "it hung; it is asked again in" in bd.ask(("bd", "ready")).reason
    assert len(host.calls) == calls
    host.ahead_s += 0.5
    assert "no answer" in bd.ask(("bd", "ready")).reason
    host.ahead_s += 0.5
    assert "it hung" in bd.ask(("bd", "ready")).reason  # 0.8 s now
    host.ahead_s += 0.5
    script(program, "echo '[]'")
    assert bd.ask(("bd", "ready")).kind == "issues"
    script(program, "exec sleep 60")
    assert "no answer" in bd.ask(("bd", "ready")).reason
    host.ahead_s += 0.5
    assert "no answer" in bd.ask(("bd", "ready")).reason  # from the beginning


def test_rest_grows_while_only_the_version_is_told(bd, program, host):
    """A version asks no database: told between two hangs, it once kept the rest at its shortest for ever."""
    script(program, '[ "$1" = version ] && echo "bd version 1.0.5" || exec sleep 60')
    bd.timeout_s = 0.2
    rests = []
    for _ in range(4):
        assert bd.meet() == ""
        bd.ask(("bd", "ready"))
        rests.append(bd._rests_until - host.mono())
        host.ahead_s += rests[-1]
    assert [round(rest) for rest in rests] == [0, 1, 2, 3]
    bd._hung = 30
    bd.ask(("bd", "ready"))
    assert bd._rests_until - host.mono() <= w.LONGEST_REST_S == 320.0


def test_a_hundred_megabytes_are_unknown(bd, program):
    script(program, "head -c 100000000 /dev/zero | tr '\\0' '['")
    answer = bd.ask(("bd", "ready"))
    assert (answer.kind, answer.issues) == (w.UNKNOWN, ())
    assert "printed more than" in answer.reason


def test_nothing_of_it_is_left_running(bd, program, tmp):
    script(program, f"(sleep 600 & echo $! > {tmp}/pid; wait)")
    bd.timeout_s = 0.3
    bd.ask(("bd", "ready"))
    pid = int((tmp / "pid").read_text())
    kit.wait_for(lambda: not (found := kit.process(pid)) or not kit.is_alive(found), what="its end")


def test_list_that_is_printed_again_is_not_read_again(bd, program, monkeypatch):
    """Ten thousand ready issues are five megabytes, and mostly the same as in the last look."""
    script(program, 'echo "[{\\"id\\": \\"de-1\\", \\"title\\": \\"$(cat "$0.title")\\"}]"')
    title = program.folder / "bd.title"
    title.write_text("one")
    first = bd.ask(("bd", "ready"))
    assert bd.ask(("bd", "ready")) is first
    assert bd.ask(("bd", "ready", "--limit", "0")) is not first
    title.write_text("two")
    assert [issue.title for issue in bd.ask(("bd", "ready")).issues] == ["two"]
    script(program, "echo '[]'; exit 1")
    assert bd.ask(("bd", "ready")).kind == w.UNKNOWN
    assert bd.ask(("bd", "show", "de-1")) is not bd.ask(("bd", "show", "de-1"))
