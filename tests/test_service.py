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
