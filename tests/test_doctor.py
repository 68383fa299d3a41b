"""What a person should mend before trusting the watch: each finding when it is so, and silence when it is not."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest
from tools import beads, kit

import witness as w

SLEEP = [kit.PYTHON, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def doctor(witness, rig):
    """Run `doctor --quick --json`; return the findings by name, the first of each."""

    def call(env=None, *words):
        done = witness("doctor", "--quick", "--json", *words, rig=rig, env=env)
        data = json.loads(done.stdout)
        found = {}
        for one in data["findings"]:
            found.setdefault(one["name"], one)
        bad = [one["name"] for one in data["findings"] if not one["ok"]]
        assert (done.status, data["ok"]) == (1 if bad else 0, not bad)
        return {"bad": bad, **found}

    return call


def test_all_is_well_on_a_rig_with_its_daemon(witness, rig, doctor):
    rig.add_polecat("alpha", SLEEP)
    assert witness("start", rig=rig).status == 0
    found = doctor()
    assert found["bad"] == []
    assert found["workers"]["detail"].startswith("1 worktrees in ")
    assert found["git"]["detail"][0].isdigit()


def test_text_puts_the_remedy_below_what_needs_attention(witness, rig):
    done = witness("doctor", "--quick", rig=rig)
    assert done.status == 1
    assert "FIX  daemon: not running\n       `witness start`\n" in done.stdout
    assert done.stdout.endswith(" need attention\n")


def test_self_test_is_part_of_it(witness, rig):
    findings = json.loads(witness("doctor", "--json", rig=rig).stdout)["findings"]
    tried = [one["name"] for one in findings if one["name"].startswith("self-test: ") and one["ok"]]
    assert tried == [f"self-test: {step}" for step in ("begin", "spawn", "look", "nudge", "retire", "recover")]


@pytest.mark.parametrize("tool", ["git", "tmux"])
@pytest.mark.parametrize(
    ("says", "detail", "is_good"),
    [
        ("2.5.1", "2.5.1 is too old", False),
        ("9.9", "9.9", True),
        ("no number", "it tells no version", False),
    ],
)
def test_tool_is_judged_by_its_version(rig, doctor, tmp, tool, says, detail, is_good):
    (tmp / "bin").mkdir()
    script = tmp / "bin" / tool
    asked = "--version" if tool == "git" else "-V"
    real = w.find_program(tool)
    script.write_text(f'#!/bin/sh\n[ "$1" = {asked} ] && exec echo {tool} {says}\nexec {real} "$@"\n')
    script.chmod(0o755)
    found = doctor({"PATH": f"{tmp / 'bin'}:{os.environ['PATH']}"})
    assert (found[tool]["detail"], found[tool]["ok"]) == (detail, is_good)


def test_tool_that_is_missing_is_named_with_what_to_do(rig, doctor, tmp):
    (tmp / "bin").mkdir()
    (tmp / "bin" / "python3").symlink_to(sys.executable)
    (tmp / "bin" / "git").symlink_to(w.find_program("git"))
    found = doctor({"PATH": str(tmp / "bin")})
    assert (found["tmux"]["ok"], found["tmux"]["detail"]) == (False, "tmux: tmux is missing")
    assert found["tmux"]["remedy"] == "install tmux"


def test_folder_that_is_no_worker_is_named(rig, doctor):
    (rig.path / "polecats" / "stray").mkdir(parents=True)
    found = doctor()
    assert not found["folder"]["ok"]
    assert found["folder"]["detail"].startswith("polecats/stray: ")


def test_state_folder_that_others_can_read_is_named(rig, doctor):
    doctor()
    rig.state.chmod(0o755)
    assert doctor()["state folder"]["remedy"] == f"chmod 700 {rig.state}"


def test_damaged_files_letters_dead_mails_pause_and_bad_lines_are_named(witness, rig, doctor):
    doctor()
    (rig.state / "witness.json.corrupt-20250101T000000Z").write_text("{")
    letter = w.Letter(to="mayor/", subject="ESCALATION: x", body="b", at=1.0, tries=2)
    (rig.state / "witness.json").write_text(w.dump_memory(w.Memory(pending={"k": letter})))
    dead = rig.state / "mail" / "demo.witness" / "dead"
    dead.mkdir(parents=True)
    (dead / "m1").write_text("x")
    witness("pause", "--reason", "a talk", rig=rig)
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads" / "issues.jsonl").write_text("{\n")
    found = doctor()
    expected = {"damaged files", "letters", "dead letters", "pause", "queue"}
    assert expected <= set(found["bad"])
    assert found["letters"]["detail"] == "1 could not be sent, 'ESCALATION: x' first"
    assert found["dead letters"]["detail"] == "1 mails could not be read"
    assert all(found[name]["remedy"] for name in expected)


def test_claims_of_an_id_that_we_had_before_are_named(rig, doctor):
    rig.state.mkdir(mode=0o700)
    (rig.state / "claims").mkdir()
    for issue, state in (("de-1", "working"), ("de-2", "released")):
        claim = w.Claim(issue=issue, actor="demo/witness@h1-0123456789ab", at=1.0, state=state, name=issue)
        (rig.state / "claims" / f"{issue}.json").write_text(json.dumps(w.dump_value(claim)))
    found = doctor()["identity"]
    assert (found["ok"], found["detail"]) == (
        False,
        "de-1 is held for demo/witness@h1-0123456789ab, and left alone by this one",
    )
    assert f"write h1-0123456789ab as the id into {rig.state}/witness.id" in found["remedy"]


def test_memory_of_a_newer_witness_is_named_and_left(rig, doctor):
    doctor()
    (rig.state / "witness.json").write_text('{"version": 99}')
    assert "newer Witness" in doctor()["memory"]["detail"]


def test_daemon_of_another_build_is_named(witness, rig, doctor):
    witness("start", rig=rig)
    path = rig.state / "witness.pid"
    note = json.loads(path.read_text())
    path.write_text(json.dumps({**note, "module": "/elsewhere/witness.py"}))
    assert "runs another build" in doctor()["daemon"]["detail"]
    path.write_text(json.dumps({**note, "version": "0.0.1"}))
    assert doctor()["daemon"]["remedy"].startswith("`witness restart`")
    path.write_text(json.dumps(note))
    assert doctor()["daemon"]["ok"]


def test_second_witness_on_the_rigs_other_state_folder_is_named(rig, doctor):
    doctor()
    (rig.path / ".runtime").mkdir()
    fd = w.take_lock(str(rig.path / ".runtime" / "witness.lock"))
    (rig.state / "witness.lock").touch()
    assert "second witness" in doctor()["bad"]
    os.close(fd)
    assert "second witness" not in doctor()["bad"]


def test_disk_below_its_guard_is_named(rig, doctor):
    assert "min_free_disk is" in doctor({"WITNESS_MIN_FREE_DISK": str(1 << 40)})["disk"]["detail"]
    assert doctor({"WITNESS_MIN_FREE_DISK": "0"})["disk"]["ok"]


def test_memory_from_the_future_means_a_wrong_clock(rig, doctor):
    doctor()
    ahead = w.Memory(last_check_at=time.time() + 7200)
    (rig.state / "witness.json").write_text(w.dump_memory(ahead))
    assert doctor()["clock"]["detail"].startswith("the memory was written 1h59m")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        (
            {"interval": 1000, "nudge_wait": 1000},
            "interval (1000 s) is more than stuck_after (1800 s) / 2: a worker would be called stuck",
        ),
        ({"interval": 400, "nudge_wait": 300}, "interval (400 s) is more than nudge_wait (300 s): a nudge would have"),
        ({"escalate_after": 60}, "stuck_after (1800 s) is more than escalate_after (60 s): a person would be told"),
        ({"start_grace": 3600}, "start_grace (3600 s) is more than stuck_after (1800 s): a new worker would be left"),
        ({"tool_timeout": 900}, "tool_timeout (900 s) is more than stuck_after (1800 s) / 3: one slow tool would"),
        ({"quiet_after": 60}, "quiet_after is less than stuck_after"),
        ({"quiet_after": 0}, ""),
        ({"max_workers": 0, "agent_command": ["a"]}, "max_workers is 0: auto_spawn never starts anybody"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_said_in_words(changes, words):
    found = w.find_misfits(w.make_config(changes, "f", {}))
    assert [line.startswith(words) for line in found] == ([True] if words else [])


def test_misfits_odd_variables_and_missing_commands_reach_the_findings(rig, doctor):
    env = {"WITNESS_INTERVAL": "1000", "WITNESS_MAX_WORKER": "3", "WITNESS_AGENT_COMMAND": "no-such-agent,x"}
    found = doctor(env)
    assert not found["settings"]["ok"]
    assert found["environment"]["detail"] == "WITNESS_MAX_WORKER is no setting; did you mean WITNESS_MAX_WORKERS?"
    assert found["agent_command"]["detail"] == "no-such-agent is not on the PATH"
    assert "environment" not in doctor({"WITNESS_POLECAT": "alpha", "WITNESS_COMMAND": "x", "WITNESS_ISSUE": "i"})


def test_worker_on_another_tmux_server_is_found(rig, doctor):
    rig.add_polecat("alpha", SLEEP)
    found = doctor({"WITNESS_TMUX_SOCKET": "elsewhere"})
    assert found["tmux socket"]["detail"] == f"alpha live on the server {rig.tmux.socket!r}"
    assert found["tmux socket"]["remedy"].startswith(f"`witness config set tmux_socket {rig.tmux.socket}`")


def test_database_beside_the_queue_is_told(rig, doctor):
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads" / "beads.db").write_text("")
    assert doctor()["backend"]["detail"] == "beads: .beads/beads.db is there"


# ---- the queue of bd


@pytest.fixture
def server(tmp, rig):
    made = beads.Server(tmp / "server")
    beads.connect(rig.path, made)
    return made


@pytest.fixture
def program(tmp):
    return beads.Bin(tmp / "bin")


@pytest.mark.parametrize(
    ("version", "ok", "claims"),
    [
        ("0.47.1", False, "two hosts that claim at once may both win"),
        ("0.57.0", True, "exclusive: of all who claim an issue at once, on whatever host, one wins"),
        ("1.0.5", True, "exclusive: of all who claim an issue at once, on whatever host, one wins"),
    ],
)
def test_what_a_claim_is_worth(rig, doctor, server, program, version, ok, claims):
    program.use(version)
    found = doctor({"PATH": program.path()})
    assert found["backend"]["detail"] == "beads: .beads/metadata.json is there"
    actor = f"demo/witness@{json.loads((rig.state / 'witness.id').read_text())['id']}"
    assert found["queue"]["detail"] == f"bd {version} on the server 127.0.0.1:3307; this Witness claims as {actor}"
    assert (found["claims"]["ok"], found["claims"]["detail"]) == (ok, claims)
    assert "bd" not in found


def test_claims_of_an_old_bd_on_one_host_are_a_note(rig, doctor, server, program):
    program.use("0.47.1")
    (rig.path / ".beads" / "metadata.json").unlink()
    (rig.path / ".beads" / "beads.db").touch()
    found = doctor({"PATH": program.path()})
    assert found["queue"]["detail"].startswith("bd 0.47.1 on this host; ")
    assert (found["claims"]["ok"], "one Witness alone" in found["claims"]["detail"]) == (True, True)


def test_bd_that_is_newer_than_any_that_was_tried_is_noted(rig, doctor, server, program):
    program.use("1.9.0")
    found = doctor({"PATH": program.path()})
    assert found["bd"]["detail"] == "bd 1.9.0 is newer than any that was tried; it is spoken to as 1.0.5"
    assert found["bd"]["ok"] is True


def test_server_that_is_down_is_named_with_its_address(rig, doctor, server, program):
    server.take_down("10.0.0.9:3307")
    env = {"PATH": program.path(), "BEADS_DOLT_SERVER_HOST": "10.0.0.9"}
    found = doctor(env)["queue"]
    assert found["ok"] is False
    assert found["detail"].startswith("bd 1.0.5 on the server 10.0.0.9:3307: bd ready: failed to open database")
    assert found["remedy"].startswith("`bd ready` in the rig shows it")


def test_bd_that_is_missing_is_named(rig, doctor, server):
    found = doctor()["queue"]
    assert (found["ok"], found["detail"]) == (False, "bd on the server 127.0.0.1:3307: bd is not on the PATH")


def test_item_of_bd_that_cannot_be_read_is_named(rig, doctor, server, program):
    server.add("de-1")
    server.add("de-2", priority=2)
    server.change("de-2", title=["no", "text"])
    found = doctor({"PATH": program.path()})
    assert found["bad"].count("queue") == 1
