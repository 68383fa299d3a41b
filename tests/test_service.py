"""The daemon's commands as answers: statuses, settings, records."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tools import kit
from tools.kit import wait_for

import witness as w

KEYS = {"schema", "command", "ok", "rig", "daemon", "verdict"}


def test_status_without_a_daemon_says_what_to_do_and_makes_nothing(witness, rig):
    done = witness("status", rig=rig)
    assert done.status == 3
    assert done.stdout.startswith(f"witness not running, rig demo in {rig.path}\n")
    assert "`witness start`" in done.stdout
    assert not rig.state.exists()


def test_status_as_data_has_the_keys_of_its_schema(witness, rig):
    rig.add_polecat("alpha", [sys.executable, "-c", "import time; time.sleep(60)"])
    assert json.loads(witness("status", "--json", rig=rig).stdout).keys() == KEYS
    witness("start", rig=rig)
    wait_for(
        lambda: (
            (rig.state / "witness-view.json").exists() and "polecats" in (rig.state / "witness-view.json").read_text()
        )
    )
    data = json.loads(witness("status", "--json", rig=rig).stdout)
    assert KEYS | {"paused", "ports", "polecats", "queue", "stats"} <= data.keys()
    assert (data["schema"], data["command"], data["ok"]) == (1, "status", True)
    assert data["daemon"].keys() >= {"running", "pid", "version", "started_at", "last_tick_at", "last_tick_age_s"}
    assert data["ports"].keys() == {"tmux", "git", "queue", "mailbox", "spawner"}
    assert all(port.keys() >= {"state", "version", "reason"} for port in data["ports"].values())
    (alpha,) = data["polecats"]
    assert alpha.keys() >= {
        "name",
        "state",
        "issue",
        "branch",
        "session",
        "instance",
        "progress_at",
        "progress_age_s",
        "nudged_at",
        "escalated_at",
        "screen",
        "blockers",
        "next",
    }
    assert data["queue"].keys() >= {"ready", "spawnable", "reason"}


def test_failure_as_data_names_kind_message_and_remedy(witness, tmp):
    done = witness("start", "--json", cwd=tmp)
    data = json.loads(done.stdout)
    assert (done.status, done.stderr, data["ok"]) == (2, "", False)
    assert data["error"].keys() == {"kind", "message", "remedy"}
    assert data["error"]["kind"] == "usage"


def test_config_is_shown_with_origins_set_and_checked(witness, rig):
    assert witness("config", "set", "max_workers", "6", rig=rig) == (0, "max_workers is 6\n", "")
    done = witness("config", "get", "max_workers", "interval", "tmux_socket", rig=rig, env={"WITNESS_INTERVAL": "9"})
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows == [
        ["max_workers", "6", f"{rig.state}/witness-config.json"],
        ["interval", "9", "WITNESS_INTERVAL"],
        ["tmux_socket", f'"{rig.tmux.socket}"', "WITNESS_TMUX_SOCKET"],
    ]
    assert witness("config", "check", rig=rig).status == 0
    done = witness("config", "set", "max_worker", "6", rig=rig)
    assert (done.status, "did you mean max_workers?" in done.stderr) == (78, True)
    assert witness("config", "get", "nope", rig=rig).status == 78
    assert json.loads((rig.state / "witness-config.json").read_text()) == {"max_workers": 6}


def test_events_and_logs_are_printed_and_followed(witness, rig, pyz):
    witness("pause", "--reason", "one", rig=rig)
    witness("resume", rig=rig)
    done = witness("events", rig=rig)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["paused", "resumed"]
    assert "paused: rig: one" in witness("logs", rig=rig).stdout
    with subprocess.Popen(
        [sys.executable, str(pyz), "events", "-f", "-n", "1"], cwd=rig.path, stdout=subprocess.PIPE, text=True
    ) as child:
        assert "resumed" in child.stdout.readline()
        os.rename(rig.state / "witness-events.jsonl", rig.state / "witness-events.jsonl.1")  # a rotation
        witness("pause", "--reason", "two", rig=rig)
        assert "two" in child.stdout.readline()
        child.terminate()


def test_no_file_yet_prints_nothing(witness, rig):
    assert witness("events", rig=rig) == (0, "", "")
    assert json.loads(witness("events", "--json", rig=rig).stdout)["events"] == []


def test_events_and_logs_as_data_are_one_object(witness, rig):
    witness("pause", "--reason", "one", rig=rig)
    witness("resume", rig=rig)
    with open(rig.state / "witness-events.jsonl", "a", encoding="utf-8") as file:
        file.write('{"at": "2026\n[1]\n' + "[" * 100000 + "\n")  # torn by a full disk, or somebody else's
    data = json.loads(witness("events", "-n", "4", "--json", rig=rig).stdout)
    assert (data["schema"], data["command"], data["ok"]) == (1, "events", True)
    assert data["events"][0].keys() == {"at", "kind", "subject", "text"}
    assert data["events"][0]["kind"] == "resumed"
    assert [one.keys() for one in data["events"][1:]] == [{"text"}] * 3
    assert len(witness("events", rig=rig).stdout.splitlines()) == 5
    (rig.state / "witness.log").write_text("a\x1b[31m\nb\n")
    assert json.loads(witness("logs", "--json", rig=rig).stdout)["lines"] == ["a [31m", "b"]
    assert witness("logs", "-n", "1", rig=rig).stdout == "b\n"


def test_follower_misses_no_line_of_a_rotation(rig, pyz):
    rig.state.mkdir(mode=0o700)
    path = rig.state / "witness-events.jsonl"

    def tell(kind):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind}) + "\n")

    tell("old")
    words = [sys.executable, str(pyz), "events", "-f", "-n", "0", "--json"]
    with subprocess.Popen(words, cwd=rig.path, stdout=subprocess.PIPE, text=True) as child:
        heard = [child.stdout.readline()]
        for number in range(3):
            tell(f"last-{number}")  # written right before the rotation: between two looks of the follower
            os.rename(path, f"{path}.1")
            tell(f"first-{number}")
            heard += [child.stdout.readline(), child.stdout.readline()]
        child.terminate()
    kinds = [json.loads(line)["kind"] for line in heard]
    assert kinds == ["old", "last-0", "first-0", "last-1", "first-1", "last-2", "first-2"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\xff",
        b"[]",
        b'{"polecats": 3}',
        b'{"polecats": [{}]}',
        b'{"ports": {"a": 1}, "queue": 4}',
        b'{"pid": PID, "last_tick_at": "x", "expected_by_at": "y"}',
        b'{"pid": PID, "expected_by_at": "2001-01-01T00:00:00Z"}',
        b'{"pid": PID, "last_tick_at": 3, "expected_by_at": [4]}',
        b"[" * 100000,
    ],
    ids=range(10),
)
def test_view_of_any_content_leaves_status_its_verdict(rig, monkeypatch, capsys, content):
    """The archive may be replaced under a running daemon, whose view then is another version's."""
    monkeypatch.chdir(rig.path)
    rig.state.mkdir(mode=0o700)
    fd = w.take_lock(str(rig.state / "witness.lock"))
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as daemon:
        note = {"pid": daemon.pid, "start_time": kit.start_time(daemon.pid), "version": "0.0.9"}
        (rig.state / "witness.pid").write_text(json.dumps(note))
        (rig.state / "witness-view.json").write_bytes(content.replace(b"PID", b"%d" % daemon.pid))
        try:
            statuses = [w.main(["status"]), w.main(["status", "--json"])]
        finally:
            daemon.kill()
            os.close(fd)
    text, _, data = capsys.readouterr().out.rpartition("\n{")
    assert statuses == [0, 0]
    assert text.startswith(f"witness running (pid {note['pid']}, version 0.0.9)")
    assert json.loads("{" + data)["daemon"]["running"] is True


def test_settings_are_shown_by_the_bare_word_too(witness, rig):
    assert witness("config", rig=rig) == witness("config", "get", rig=rig)
    assert len(witness("config", rig=rig).stdout.splitlines()) == len(w.SETTINGS)


def test_setting_is_not_written_over_a_file_that_is_wrong(witness, rig):
    rig.state.mkdir(mode=0o700)
    path = rig.state / "witness-config.json"
    for content in ("{", '{"nope": 1}'):
        path.write_text(content)
        done = witness("config", "set", "max_workers", "6", rig=rig)
        assert (done.status, str(path) in done.stderr) == (78, True)
        assert path.read_text() == content


def test_restart_with_bad_settings_leaves_the_daemon_running(witness, rig):
    assert witness("start", rig=rig).status == 0
    one = rig.daemon()
    (rig.state / "witness-config.json").write_text('{"interval": -1}')
    for command in ("restart", "reload"):
        assert witness(command, rig=rig).status == 78
    assert rig.daemon() == one
    assert witness("status", rig=rig).status == 0


@pytest.mark.parametrize("verdict", ["running", "dead", "not running", "hanging", "unknown"])
def test_every_verdict_has_its_status(verdict):
    assert w.VERDICT_STATUS[verdict] == {"running": 0, "dead": 1, "not running": 3, "hanging": 4, "unknown": 4}[verdict]


@pytest.mark.parametrize(
    ("verdict", "status", "running"),
    [("running", 0, True), ("dead", 1, False), ("not running", 3, False), ("hanging", 4, True), ("unknown", 4, False)],
)
def test_status_says_each_verdict_alike_in_text_and_data(rig, monkeypatch, capsys, verdict, status, running):
    monkeypatch.chdir(rig.path)
    rig.state.mkdir(mode=0o700)
    stamps = {"last_tick_at": "2001-01-01T00:00:00Z", "expected_by_at": "2001-01-01T00:01:00Z"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as daemon:
        note = {"pid": daemon.pid, "start_time": kit.start_time(daemon.pid), "version": "1"}
        if verdict != "not running":
            (rig.state / "witness.pid").write_text(json.dumps(note))
        if verdict == "unknown":
            os.symlink("witness.lock", rig.state / "witness.lock")
        if verdict == "hanging":
            (rig.state / "witness-view.json").write_text(json.dumps({"pid": daemon.pid, **stamps}))
        fd = w.take_lock(str(rig.state / "witness.lock")) if running else None
        try:
            statuses = [w.main(["status"]), w.main(["status", "--json"])]
        finally:
            daemon.kill()
            if fd is not None:
                os.close(fd)
    text, _, rest = capsys.readouterr().out.rpartition("\n{")
    data = json.loads("{" + rest)
    assert statuses == [status, status]
    assert text.startswith(f"witness {verdict}" + (f" (pid {note['pid']}, version 1)" if running else ""))
    assert (data["ok"], data["verdict"], data["daemon"]["running"]) == (status == 0, verdict, running)
    assert data.keys() >= KEYS
    assert data["daemon"]["pid"] == (None if verdict == "not running" else note["pid"])


def test_lock_that_cannot_be_asked_is_unknown(witness, rig):
    rig.state.mkdir(mode=0o700)
    os.symlink("witness.lock", rig.state / "witness.lock")  # a ring of links
    assert witness("status", rig=rig).status == 4
    assert witness("stop", rig=rig).status == 4
