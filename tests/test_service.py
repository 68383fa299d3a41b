"""The daemon's commands as answers: statuses, settings, records."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
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
    assert json.loads(witness("events", "-n", "1", "--json", rig=rig).stdout)["kind"] == "resumed"
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


@pytest.mark.parametrize("verdict", ["running", "dead", "not running", "hanging", "unknown"])
def test_every_verdict_has_its_status(verdict):
    assert w.VERDICT_STATUS[verdict] == {"running": 0, "dead": 1, "not running": 3, "hanging": 4, "unknown": 4}[verdict]


def test_lock_that_cannot_be_asked_is_unknown(witness, rig):
    rig.state.mkdir(mode=0o700)
    os.symlink("witness.lock", rig.state / "witness.lock")  # a ring of links
    assert witness("status", rig=rig).status == 4
    assert witness("stop", rig=rig).status == 4
