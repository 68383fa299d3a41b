"""What a person reads: status and its watch, explain, events, log."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from tools import kit
from tools.kit import wait_for

import witness as w

KEYS = {"schema", "command", "ok", "rig", "daemon", "verdict", "detail"}


def test_status_without_a_daemon_says_what_to_do_and_makes_nothing(witness, rig):
    done = witness("status", rig=rig)
    assert done.status == 3
    assert done.stdout.startswith(f"witness not running\nrig demo in {rig.path}\n")
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
    assert KEYS | {"paused", "ports", "polecats", "queue", "stats", "escalations", "kept", "next_tick"} <= data.keys()
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
        "attach",
    }
    assert data["queue"].keys() >= {"ready", "spawnable", "reason"}


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


def test_view_of_a_daemon_that_folded_nobody_is_ranked_and_folded(witness, rig):
    """Between an upgrade and the restart all workers stand in it by name, and who is stuck may be the last."""
    about = {"issue": None, "why": "so", "blockers": [], "progress_at": "2026-05-01T10:00:00.000Z", "next": None}
    names = {f"w{number:02}": "working" for number in range(30)} | {"y": "stuck", "z": "idle"}
    rows = [{"name": name, "state": state, **about} for name, state in names.items()]
    rig.state.mkdir(mode=0o700)
    (rig.state / "witness-view.json").write_text(json.dumps({"polecats": rows}))
    text = witness("status", rig=rig).stdout
    assert re.findall(r"^  (\w+) ", text, re.MULTILINE)[:3] == ["NAME", "y", "w00"]
    assert "10 working: w20 " in text
    assert "1 idle: z" in text
    assert len(json.loads(witness("status", "--json", rig=rig).stdout)["polecats"]) == 32


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


# ---- the watch ------------------------------------------------------------------------------------------------------


@pytest.fixture
def watching(rig, pyz):
    """Run `status --watch` in a pane of the rig's own tmux, from an interactive shell that shows how it ended."""
    tmux = rig.tmux
    shell = ["bash", "--norc", "--noprofile", "-i"]
    tmux.run("new-session", "-d", "-s", "watch", "-x", "90", "-y", "30", "-c", rig.path, *shell)
    command = f"PS1=; {sys.executable} {pyz} status --watch; echo left with $?; stty -a | grep -o -- '-*echo '"
    tmux.run("send-keys", "-t", "=watch:", command, "Enter")

    def screen() -> str:
        return tmux.run("capture-pane", "-p", "-t", "=watch:")

    wait_for(lambda: "q leaves" in screen(), 10, "the first screen")
    return screen


def test_watch_redraws_in_place_and_leaves_the_terminal_as_it_was(rig, watching, witness):
    assert watching().startswith("witness not running\n")
    assert watching().count("witness not running") == 1
    witness("start", rig=rig)
    wait_for(lambda: watching().startswith("witness running (pid "), 10, "the running daemon")
    assert "PS1=" not in watching()  # another page of the terminal
    rig.tmux.run("send-keys", "-t", "=watch:", "q")
    wait_for(lambda: "left with 0" in watching(), 10, "the end")
    wait_for(lambda: "\necho" in watching(), 10, "stty")
    assert "q leaves" not in watching()
    assert rig.tmux.run("display-message", "-p", "-t", "=watch:", "#{cursor_flag}").strip() == "1"


def test_watch_survives_a_resize_and_cuts_what_does_not_fit(rig, watching):
    rig.tmux.run("resize-window", "-t", "=watch:", "-x", "40", "-y", "4")
    wait_for(
        lambda: len(watching().rstrip("\n").splitlines()) <= 4 and "rig demo" in watching(), 10, "the small screen"
    )
    rig.tmux.run("resize-window", "-t", "=watch:", "-x", "100", "-y", "30")
    wait_for(lambda: "q leaves" in watching(), 10, "the large screen")


@pytest.mark.parametrize("key", ["C-c", "C-z"])
def test_watch_ends_at_the_keys_that_end_things(rig, watching, key):
    rig.tmux.run("send-keys", "-t", "=watch:", key)
    wait_for(lambda: "left with 3" in watching(), 10, "the end")
    wait_for(lambda: "\necho" in watching(), 10, "stty")


def test_watch_without_a_terminal_says_what_works_there(witness, rig):
    done = witness("status", "--watch", rig=rig)
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert "--watch needs a terminal; `witness status --watch --json`" in done.stderr


def test_watch_as_data_is_an_object_a_line(rig, pyz):
    with subprocess.Popen(
        [sys.executable, pyz, "status", "--watch", "--json"], cwd=rig.path, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            lines = [json.loads(child.stdout.readline()) for _ in range(2)]
        finally:
            child.kill()
    assert [(line["command"], line["verdict"]) for line in lines] == [("status", "not running")] * 2


# ---- explain --------------------------------------------------------------------------------------------------------

AGENT = [kit.PYTHON, "-c", "import time; print('Proceed? (y/n)', flush=True); time.sleep(60)"]


def explain(witness, rig, subject, **env):
    done = witness("explain", subject, "--json", rig=rig, env={f"WITNESS_{name}": one for name, one in env.items()})
    return json.loads(done.stdout)


def test_worker_is_explained_by_what_is_seen_now(witness, rig):
    worker = rig.add_polecat("alpha", AGENT)
    (worker.path / "draft.txt").write_text("new")
    wait_for(lambda: "Proceed" in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:"), 10, "the agent")
    data = explain(witness, rig, "alpha", START_GRACE="0")
    assert (data["subject"], data["kind"], data["verdict"]) == ("alpha", "polecat", "working")
    signals = {one["name"]: one for one in data["signals"]}
    assert signals["session"]["value"] == "present"
    assert signals["branch"]["value"] == "polecat/alpha"
    assert signals["files"]["value"] == "1 changed or untracked"
    assert signals["screen"]["value"] == "Proceed? (y/n)"
    assert all(one["from"] for one in data["signals"])
    assert signals["git"]["age_s"] >= 0
    assert [one["name"] for one in data["rules"]] == [state for state, _ in w.HEALTH_RULES]
    assert next(one for one in data["rules"] if one["fits"])["name"] == "working"
    assert not (rig.state / "witness.json").exists()  # it only looks


def test_refused_worker_is_explained_with_each_blocker_as_it_is_now(witness, rig):
    worker = rig.add_polecat("alpha", AGENT)
    (worker.path / "draft.txt").write_text("new")
    witness(
        "mail",
        "send",
        "demo/witness",
        "-s",
        "LIFECYCLE: polecat requesting shutdown",
        "-b",
        "Polecat: alpha",
        "--from",
        "demo/alpha",
        rig=rig,
    )
    witness("start", rig=rig, env={"WITNESS_INTERVAL": "1", "WITNESS_START_GRACE": "0"})
    wait_for(lambda: explain(witness, rig, "alpha").get("blockers"), 10, "the refusal")
    data = explain(witness, rig, "alpha")
    assert data["verdict"] == "requested"
    assert [one["kind"] for one in data["blockers"]] == ["untracked"]
    assert all(one["remedy"] for one in data["blockers"])
    assert data["next"]["action"] == "retire"
    assert {"requested", "state"} <= {one["kind"] for one in data["history"]}
    text = witness("explain", "alpha", rig=rig).stdout
    assert "in the way of its retirement: untracked: " in text
    assert "    clear it with: " in text
    (worker.path / "draft.txt").unlink()
    assert explain(witness, rig, "alpha")["blockers"] == []


def test_held_worker_is_explained_and_the_rules_it_shadows(witness, rig):
    rig.add_polecat("alpha", AGENT)
    witness("hold", "alpha", "--reason", "I work in it", rig=rig)
    data = explain(witness, rig, "alpha", START_GRACE="0")
    assert (data["verdict"], data["why"]) == ("held", "on hold: I work in it")
    rules = {one["name"]: one for one in data["rules"]}
    assert rules["working"]["why"].startswith("would fit, but held comes first: ")
    assert rules["working"]["fits"]


def test_issue_is_explained_with_the_first_reason_and_its_claim(witness, rig):
    issue = witness("add", "Fix it", rig=rig).stdout.strip()
    data = explain(witness, rig, issue)
    assert (data["kind"], data["verdict"], data["title"]) == ("issue", "not spawnable", "Fix it")
    assert data["why"].startswith("agent_command is not set")
    assert (
        explain(
            witness, rig, issue, AGENT_COMMAND="true", MIN_FREE_DISK="0", MIN_FREE_MEMORY="0", MAX_LOAD_PER_CORE="0"
        )["verdict"]
        == "spawnable"
    )
    claim = {
        "issue": issue,
        "actor": "demo/witness@x",
        "at": "2025-01-01T00:00:00Z",
        "state": "handed-over",
        "name": "beta",
        "branch": "polecat/beta",
        "ref": "refs/witness/retired/beta/x",
    }
    (rig.state / "claims").mkdir(parents=True)
    (rig.state / "claims" / f"{issue}.json").write_text(json.dumps(claim))
    data = explain(witness, rig, issue)
    assert data["why"].startswith("handed over by beta")
    signals = {one["name"]: one["value"] for one in data["signals"]}
    assert signals["handed over"] == "branch polecat/beta, refs/witness/retired/beta/x"


def test_retired_worker_is_explained_from_refs_and_events(witness, rig):
    worker = rig.add_polecat("alpha", AGENT)
    rig.git("commit", "--allow-empty", "-m", "work", cwd=worker.path)
    assert witness("shutdown", "alpha", rig=rig).status == 0
    data = explain(witness, rig, "alpha")
    assert (data["kind"], data["verdict"]) == ("retired", "retired")
    assert data["signals"][0]["value"].startswith("refs/witness/retired/alpha/")
    assert "retired" in {one["kind"] for one in data["history"]}


def test_worker_between_its_removal_and_the_last_step_is_explained(witness, rig):
    """Asked while the daemon was emptying the folder, `explain` said that there was no such worker."""
    rig.add_polecat("alpha", AGENT)
    assert witness("shutdown", "alpha", rig=rig).status == 0
    ref = rig.git("for-each-ref", "--format=%(refname)", "refs/witness/retired/")
    rig.git("update-ref", ref.replace("/retired/", "/retiring/"), ref)
    rig.git("update-ref", "-d", ref)
    data = explain(witness, rig, "alpha")
    assert (data["kind"], data["verdict"]) == ("retired", "retiring")
    assert data["signals"][0]["name"] == "retiring"
    assert data["signals"][0]["value"].startswith("refs/witness/retiring/alpha/")


def test_unknown_subject_names_the_nearest(witness, rig):
    rig.add_polecat("alpha", AGENT)
    done = witness("explain", "alhpa", rig=rig)
    assert done == (1, "", f"witness: alhpa is no worker, issue or retired worker of {rig.path}; did you mean alpha?\n")
