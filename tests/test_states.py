"""Every state of a worker, seen by a real daemon on real worktrees and panes, in the order of precedence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import pytest
from tools import kit
from tools.kit import wait_for

SETTINGS = {
    "INTERVAL": "1",
    "STUCK_AFTER": "3",
    "NUDGE_WAIT": "1",
    "ESCALATE_AFTER": "5",
    "START_GRACE": "0",
    "TOOL_TIMEOUT": "2",
    "MIN_FREE_DISK": "0",
    "MIN_FREE_MEMORY": "0",
    "MAX_LOAD_PER_CORE": "0",
}
SPEAK = [kit.PYTHON, "-c", "import time\nwhile True: print(time.time(), flush=True); time.sleep(0.2)"]
LISTEN = [kit.PYTHON, "-u", "-c", "import sys\nfor line in sys.stdin: open(sys.argv[1], 'a').write(line)"]
SLEEP = [kit.PYTHON, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def watch(witness, rig):
    """Start the daemon with short thresholds; the returned function gives a worker as `status --json` shows it."""

    def start(**settings):
        env = {f"WITNESS_{name}": str(value) for name, value in {**SETTINGS, **settings}.items()}
        done = witness("start", rig=rig, env=env)
        assert done.status == 0, done

        def worker(name):
            view = json.loads((rig.state / "witness-view.json").read_text())
            return next((one for one in view.get("polecats", ()) if one["name"] == name), {"state": None, "why": ""})

        def until(name, state, timeout=12):
            return wait_for(lambda: worker(name)["state"] == state and worker(name), timeout, f"{name} to be {state}")

        until.worker = worker
        until.env = env
        return until

    return start


def mails(rig, address, subject=""):
    folder = rig.state / "mail" / address / "new"
    texts = [path.read_text() for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [text for text in texts if f"\nSubject: {subject}" in text]


def test_unknown_while_tmux_hangs(rig, watch, witness):
    rig.add_polecat("alpha", SLEEP)
    until = watch()
    until("alpha", "working")
    server = rig.tmux.server()
    os.kill(server, signal.SIGSTOP)
    try:
        found = until("alpha", "unknown")
        assert "tmux could not be asked" in found["why"]
        status = json.loads(witness("status", "--json", rig=rig).stdout)
        assert status["ports"]["tmux"]["state"] == "degraded"
        assert "no answer within 2 s" in status["ports"]["tmux"]["reason"]
    finally:
        os.kill(server, signal.SIGCONT)
    wait_for(lambda: until.worker("alpha")["state"] in ("working", "stuck"), 12, "tmux to be believed again")
    assert not mails(rig, "mayor", "ESCALATION: Polecat alpha dead")


def test_unknown_while_the_socket_is_gone_but_the_process_lives(rig, watch):
    worker = rig.add_polecat("alpha", SPEAK)
    until = watch()
    until("alpha", "working")
    socket = rig.tmux.run("display-message", "-p", "#{socket_path}")
    os.rename(socket, socket + ".away")
    try:
        assert f"process {worker.pane_pid} still lives" in until("alpha", "unknown")["why"]
        time.sleep(0.2)
        assert not mails(rig, "mayor")
    finally:
        os.rename(socket + ".away", socket)
    until("alpha", "working")


def test_held_worker_is_left_alone_although_it_is_dead(rig, watch, witness):
    rig.add_polecat("alpha")
    assert witness("hold", "alpha", "--reason", "I work in it", rig=rig).status == 0
    until = watch()
    assert until("alpha", "held")["why"] == "on hold: I work in it"
    assert witness("release", "alpha", rig=rig).status == 0
    until("alpha", "dead")


def test_requested_until_it_is_clean_then_retired(rig, watch, witness):
    worker = rig.add_polecat("alpha", SPEAK)
    (worker.path / "new.txt").write_text("mine\n")
    until = watch()
    until("alpha", "working")
    words = ("mail", "send", "demo/witness", "-s", "LIFECYCLE: polecat requesting shutdown", "-b", "Polecat: alpha")
    assert witness(*words, cwd=worker.path).status == 0
    found = until("alpha", "requested")
    wait_for(lambda: until.worker("alpha")["blockers"], 8, "the blockers to be shown")
    found = until.worker("alpha")
    assert found["blockers"][0]["kind"] == "untracked"
    assert found["next"]["action"] == "retire"
    (letter,) = wait_for(lambda: mails(rig, "demo.alpha", "NUDGE: Cannot shutdown - untracked: "), 5, "the refusal")
    assert "new.txt" in letter
    assert (worker.path / "new.txt").read_text() == "mine\n"
    assert kit.process(worker.pane_pid) is not None
    commit = rig.commit("Add new", {}, cwd=worker.path)
    assert witness("handoff", cwd=worker.path).status == 0
    wait_for(lambda: not worker.path.exists(), 12, "the retirement")
    ref = wait_for(lambda: rig.git("for-each-ref", "--format=%(refname)", "refs/witness/retired/alpha/"), 5, "the ref")
    assert commit in rig.git("rev-list", ref)
    assert rig.git("rev-parse", "polecat/alpha") == commit  # on no other branch: kept


def test_idle_is_no_fault_where_it_is_known(rig, watch):
    for name, record in (("alpha", {"state": "idle"}), ("beta", {"issue": "de-1"})):
        worker = rig.add_polecat(name, SLEEP)
        (worker.path / ".gastown").mkdir()
        (worker.path / ".gastown" / "state.json").write_text(json.dumps(record))
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads" / "issues.jsonl").write_text('{"id": "de-1", "title": "x", "status": "closed"}\n')
    until = watch(STUCK_AFTER=1)
    assert until("alpha", "idle")["why"] == "its own record says idle"
    assert until("beta", "idle")["why"] == "its issue de-1 is closed"
    time.sleep(0.2)
    assert not mails(rig, "demo.alpha")


def test_starting_within_the_grace(rig, watch):
    rig.add_polecat("alpha", SLEEP)
    rig.add_polecat("beta")  # its session may be on its way
    until = watch(START_GRACE=4, STUCK_AFTER=1)
    until("alpha", "starting")
    assert until("beta", "starting")["session"] is None
    until("beta", "dead")


def test_dead_when_the_session_is_gone_and_its_work_is_named(rig, watch):
    for name in ("beta", "gamma", "delta"):
        rig.add_polecat(name, SPEAK)
    worker = rig.add_polecat("alpha", SPEAK)
    until = watch()
    until("alpha", "working")
    (worker.path / "half.txt").write_text("half\n")
    rig.tmux.run("kill-session", "-t", f"={worker.session}")
    assert until("alpha", "dead")["why"] == "its session is gone"
    (letter,) = wait_for(lambda: mails(rig, "mayor", "ESCALATION: Polecat alpha dead"), 8, "the report")
    assert "1 changed or untracked files" in letter
    assert str(worker.path) in letter
    assert (worker.path / "half.txt").read_text() == "half\n"
    time.sleep(1.2)
    assert len(mails(rig, "mayor")) == 1


def test_dead_when_the_agent_left_its_shell_and_the_nudge_is_not_typed(rig, watch, tmp):
    """With the real gt the agent had exited, and bash ran the words of the nudge."""
    for name in ("beta", "gamma", "delta"):
        rig.add_polecat(name, SPEAK)
    bash = shutil.which("bash")
    agent = tmp / "agent.py"
    agent.write_text("import sys\nprint('here', flush=True)\nsys.stdin.readline()\n")
    worker = rig.add_polecat("alpha", [bash, "--norc", "-i"])
    rig.tmux.run("send-keys", "-t", f"={worker.session}:", f"{kit.PYTHON} {agent}", "Enter")
    until = watch(STUCK_AFTER=600)

    def agents():
        tracks = json.loads((rig.state / "witness.json").read_text()).get("polecats", {})
        return tracks.get("alpha", {}).get("agents")

    wait_for(agents, 8, "the agent to be seen")
    rig.tmux.run("send-keys", "-t", f"={worker.session}:", "Enter")  # the agent ends, the shell comes back
    assert "back at a shell" in until("alpha", "dead")["why"]
    wait_for(lambda: mails(rig, "mayor", "ESCALATION: Polecat alpha dead"), 8, "the report")
    assert "[witness]" not in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:")


def test_hand_made_shell_is_not_dead_but_gets_mail_when_stuck(rig, watch):
    for name in ("beta", "gamma", "delta"):
        rig.add_polecat(name, SPEAK)
    worker = rig.add_polecat("alpha", [shutil.which("bash"), "--norc", "-i"])
    until = watch()
    until("alpha", "stuck")
    (letter,) = wait_for(lambda: mails(rig, "demo.alpha", "NUDGE: alpha"), 8, "the nudge by mail")
    assert "no progress seen" in letter
    assert "[witness]" not in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:")
    wait_for(lambda: "bash is in front" in (until.worker("alpha")["nudge_result"] or ""), 5, "why it was not typed")


def test_stuck_climbs_the_ladder_and_progress_leads_back(rig, watch, witness, tmp):
    for name in ("beta", "gamma"):
        rig.add_polecat(name, SPEAK)
    heard = tmp / "heard"
    worker = rig.add_polecat("alpha", [*LISTEN, str(heard)])
    until = watch()
    until("alpha", "working")
    found = until("alpha", "stuck")
    said = wait_for(lambda: kit.lines_of(heard), 8, "the nudge in the agent's input")
    assert said.count("[witness] alpha: no progress seen") == 1
    # Our own paste is not progress: the pane has moved, and the worker stays stuck.
    assert until.worker("alpha")["state"] == "stuck"
    (letter,) = wait_for(lambda: mails(rig, "mayor", "ESCALATION: Polecat alpha stuck"), 10, "the escalation")
    assert "last lines of the pane" in letter
    assert "nudged" in letter
    # On disk: a daemon killed and started again neither nudges nor escalates anew.
    one = rig.daemon()
    os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: not kit.is_alive(one))
    assert witness("start", rig=rig, env=until.env).status == 0
    found = until("alpha", "stuck")
    assert found["next"] == {"action": "wait for a person", "due_at": None}
    time.sleep(2.2)
    assert heard.read_text().count("[witness]") == 1
    assert len(mails(rig, "mayor", "ESCALATION: Polecat alpha stuck")) == 1
    rig.commit("at last", {"work.txt": "done\n"}, cwd=worker.path)
    until("alpha", "working")
    wait_for(lambda: mails(rig, "mayor", "RESOLVED: Polecat alpha stuck"), 5, "the resolution")


def test_busy_is_told_once_and_never_disturbed(rig, watch, tmp):
    for name in ("beta", "gamma"):
        rig.add_polecat(name)
        (rig.polecats[name].path / ".gastown").mkdir()
        (rig.polecats[name].path / ".gastown" / "state.json").write_text('{"state": "idle"}')
    worker = rig.add_polecat("alpha", SPEAK)
    until = watch(QUIET_AFTER=2)
    assert "no file has changed" in until("alpha", "busy")["why"]
    wait_for(lambda: mails(rig, "mayor", "ESCALATION: Polecat alpha busy"), 8, "the report")
    time.sleep(1.2)
    assert len(mails(rig, "mayor")) == 1
    assert "[witness]" not in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:")


def test_working_while_its_pane_or_its_files_move(rig, watch):
    rig.add_polecat("alpha", SPEAK)
    worker = rig.add_polecat("beta", SLEEP)
    until = watch()
    for number in range(6):
        rig.commit(f"step {number}", {}, cwd=worker.path)
        time.sleep(0.7)
        assert until.worker("beta")["state"] in ("working", None)
    assert until("alpha", "working")["next"]["action"] == "nudge"


def test_edit_that_git_alone_can_see_is_progress(rig, watch, tmp):
    rig.add_polecat("beta", SPEAK)
    rig.add_polecat("gamma", SPEAK)
    heard = tmp / "heard"
    worker = rig.add_polecat("alpha", [*LISTEN, str(heard)])
    until = watch(STUCK_AFTER=2)
    for _ in range(25):
        (worker.path / "draft.txt").write_text(str(time.time()))
        time.sleep(0.2)
    assert not heard.exists()
    assert until.worker("alpha")["state"] == "working"


def test_dead_worker_is_restarted_within_its_bound(rig, watch, witness, tmp):
    for name in ("beta", "gamma", "delta"):
        rig.add_polecat(name, SPEAK)
    issue = witness("add", "die at once", rig=rig).stdout.strip()
    runs = tmp / "runs"
    agent = json.dumps(
        [kit.PYTHON, "-c", "import sys, time; open(sys.argv[1], 'a').write('x'); time.sleep(3)", str(runs)]
    )
    watch(ON_DEAD="restart", MAX_RESTARTS=2, AGENT_COMMAND=agent, MAX_WORKERS=9)
    (letter,) = wait_for(
        lambda: mails(rig, "mayor", f"ESCALATION: Polecat {issue} dead"), 45, "the bound to be reached"
    )
    assert runs.read_text() == "xxx"
    assert "restarted 2 times" in letter


def test_many_ill_at_once_is_one_matter_of_the_host(rig, watch, witness):
    for name in ("alpha", "beta", "gamma", "delta"):
        rig.add_polecat(name, SPEAK)
    until = watch()
    until("delta", "working")
    for name in ("alpha", "beta", "gamma"):
        rig.tmux.run("kill-session", "-t", f"=gt-demo-{name}")
    (letter,) = wait_for(lambda: mails(rig, "mayor"), 10, "the escalation")
    assert "3 of 4 workers fell ill at once: alpha, beta, gamma" in letter
    assert "halted" in witness("status", rig=rig).stdout
    assert witness("resume", rig=rig).status == 0
    wait_for(lambda: len(mails(rig, "mayor", "ESCALATION: Polecat")) == 3, 10, "the single reports after resume")
    assert mails(rig, "mayor", "RESOLVED: storm")
