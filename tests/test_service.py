"""The daemon's commands as answers: statuses, settings, records."""

from __future__ import annotations

import json

import witness as w


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


def test_memory_of_the_first_witness_is_taken_over_once_before_the_daemon_runs(witness, rig):
    old = {
        "rig_name": "demo",
        "state": "running",
        "pid": 1,
        "started_at": "2025-12-21T10:00:00.123456789+01:00",
        "monitored_polecats": None,
        "last_check_at": "0001-01-01T00:00:00Z",
        "stats": {"total_nudges": 5, "today_nudges": 2},
        "config": {"max_workers": 0, "spawn_delay_ms": 7000, "auto_spawn": False, "issue_prefix": "gt-"},
        "spawned_issues": ["gt-1", "nudge:alpha"],
    }
    rig.state.mkdir(mode=0o700)
    path = rig.state / "witness.json"
    path.write_text(json.dumps(old))
    (rig.state / "witness-config.json").write_text('{"issue_prefix": "mine-"}')
    assert witness("start", rig=rig).status == 0
    settings = json.loads((rig.state / "witness-config.json").read_text())
    assert settings == {"spawn_delay_ms": 7000, "auto_spawn": False, "issue_prefix": "mine-"}
    memory = json.loads(path.read_text())
    assert (memory["version"], memory["spawned_issues"], memory["stats"]["total_nudges"]) == (1, ["gt-1"], 5)
    (kept,) = rig.state.glob("witness.json.first-*")
    assert json.loads(kept.read_text()) == old
    assert witness("config", "get", "auto_spawn", rig=rig).stdout.split()[:2] == ["auto_spawn", "false"]
    events = witness("events", rig=rig).stdout
    assert events.count(" imported ") == 1
    assert "auto_spawn, issue_prefix, spawn_delay_ms" in events
    witness("config", "set", "auto_spawn", "true", rig=rig)
    assert witness("restart", rig=rig).status == 0
    assert json.loads((rig.state / "witness-config.json").read_text())["auto_spawn"] is True
    assert len(list(rig.state.glob("witness.json.first-*"))) == 1


def test_one_shot_takes_the_first_witness_over_too(witness, rig):
    rig.state.mkdir(mode=0o700)
    (rig.state / "witness.json").write_text('{"rig_name": "demo", "config": {"max_workers": 7}}')
    assert witness("health", rig=rig).status == 0
    assert witness("config", "get", "max_workers", rig=rig).stdout.split()[1] == "7"
