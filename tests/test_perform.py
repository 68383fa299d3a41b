"""Each action once, on real panes; what came of it is a value."""

from __future__ import annotations

import json
import os
import shlex
import signal

import pytest
from tools import kit, stand
from tools.kit import wait_for

import witness as w

LISTEN = [kit.PYTHON, "-u", "-c", "import sys\nfor line in sys.stdin: open(sys.argv[1], 'a').write(line)"]


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


def pane_of(station, name):
    panes = station.tools.tmux.list_panes()
    return next(pane for pane in panes if pane.session == f"gt-demo-{name}")


def nudge(station, name, via="pane", agents=None, pane=None):
    pane = pane or pane_of(station, name)
    action = w.Nudge(
        subject=name,
        text="[witness] go on; $(touch canary)",
        pane=pane,
        via=via,
        agents=(pane.command,) if agents is None else agents,
    )
    return w.perform(station, action)


def letters(station, name):
    folder = os.path.join(station.store.folder, "mail", f"demo.{name}", "new")
    return os.listdir(folder) if os.path.isdir(folder) else []


@pytest.mark.parametrize(
    ("via", "mails", "ok"), [("pane", 0, False), ("pane,mail", 1, True), ("mail", 1, True), ("mail,pane", 1, True)]
)
def test_mail_is_the_second_channel(rig, station, via, mails, ok):
    rig.add_polecat("alpha", stand.SLEEP)
    outcome = nudge(station, "alpha", via=via, agents=())
    assert outcome.ok is ok
    assert len(letters(station, "alpha")) == mails


def test_second_look_sees_what_only_git_and_the_pane_can_tell(rig, station):
    worker = rig.add_polecat("alpha", stand.SPEAK)
    (worker.path / "new").write_text("x")
    outcome = w.perform(station, w.LookTwice(subject="alpha", pane_id=pane_of(station, "alpha").pane_id))
    look = station.looks["alpha"]
    assert outcome.ok
    assert (look.ok, look.changed) == (True, 1)
    assert abs(look.files_at - (worker.path / "new").stat().st_mtime) < 0.01
    os.rename(worker.path / ".git", worker.path / ".git-away")
    assert w.perform(station, w.LookTwice(subject="alpha")).ok is False
    os.rename(worker.path / ".git-away", worker.path / ".git")


def letter(**fields):
    return w.Letter(**{"to": "mayor/", "subject": "s", "body": "b", "at": 5.0, **fields})


def test_letter_goes_over_every_sink_and_a_failed_one_is_said(rig, tmp):
    out = tmp / "out"
    tell = tmp / "tell"
    tell.write_text(f"#!/bin/sh\ncat >> {out}\n")
    tell.chmod(0o755)
    station = stand.make_station(rig, escalate_command=[str(tell)])
    outcome = w.perform(station, w.SendLetter(subject="k", letter=letter(event="opened", cause="stuck", name="alpha")))
    assert outcome.ok
    told = json.loads(out.read_text())
    assert (told["to"], told["subject"], told["body"], told["rig"], told["key"]) == ("mayor/", "s", "b", "demo", "k")
    assert (told["event"], told["cause"], told["polecat"]) == ("opened", "stuck", "alpha")
    tell.write_text("#!/bin/sh\nexit 1\n")
    outcome = w.perform(station, w.SendLetter(subject="k2", letter=letter(event="opened", cause="stuck", name="alpha")))
    assert not outcome.ok
    assert outcome.data == {"mailed": True}
    again = w.perform(station, w.SendLetter(subject="k3", letter=letter(mailed=True, to="../x")))
    assert again.ok  # the mail went before; only the command was missing
    assert w.perform(station, w.SendLetter(subject="k4", letter=letter(to="../x"))).ok is False


def test_action_that_raises_is_an_outcome(rig, station, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "/x")

    monkeypatch.setattr(station.mailbox, "acknowledge", fail)
    outcome = w.perform(station, w.AckMail(subject="m"))
    assert (outcome.kind, outcome.ok, outcome.detail) == ("ack", False, "No space left on device: /x")


def test_restart_starts_the_agent_again_unless_somebody_is_there(rig):
    station = stand.make_station(rig, agent_command=stand.SLEEP)
    worker = rig.add_polecat("alpha")
    assert w.perform(station, w.Restart(subject="alpha", issue="i", title="t")).ok
    rig.tmux.remember()
    assert [pane["path"] for pane in rig.tmux.panes()] == [str(worker.path)]
    outcome = w.perform(station, w.Restart(subject="alpha", issue="i", title="t"))
    assert (outcome.ok, outcome.detail) == (False, "something runs in its pane again")
    rig.tmux.run("split-window", "-t", "=gt-demo-alpha:", "--", *stand.SLEEP)
    rig.tmux.remember()
    assert "other panes" in w.perform(station, w.Restart(subject="alpha")).detail


def test_agent_that_is_only_suspended_is_not_ended_by_a_restart(rig, monkeypatch):
    """Ctrl-Z brought the shell to the front: the agent was called gone, and killed with its session."""
    station = stand.make_station(rig, agent_command=stand.SLEEP)
    worker = rig.add_polecat("alpha", ["bash", "--norc", "-i"])
    restart = w.Restart(subject="alpha", issue="i", title="t")
    rig.tmux.run("send-keys", "-t", "=gt-demo-alpha:", shlex.join(stand.SLEEP), "Enter")
    wait_for(lambda: w.judge_shell(station.host, pane_of(station, "alpha")) == "")
    agent = next(one for one in kit.tree(worker.pane_pid) if one.pid != worker.pane_pid)
    rig.tmux.run("send-keys", "-t", "=gt-demo-alpha:", "C-z")
    wait_for(lambda: w.judge_shell(station.host, pane_of(station, "alpha")) == "interactive")
    outcome = w.perform(station, restart)
    assert (outcome.ok, outcome.data["lives"]) == (False, True)
    assert outcome.detail.startswith(f"pid {agent.pid} (")
    assert kit.is_alive(agent)
    assert "restarted" not in kit.lines_of(rig.state / "witness-events.jsonl")  # one letter tells of it, not each try
    monkeypatch.setattr(w, "HAS_PROC", False)
    monkeypatch.setattr(w, "judge_shell", lambda host, pane: "interactive")
    outcome = w.perform(station, restart)
    assert (outcome.ok, outcome.data["lives"], "without /proc" in outcome.detail) == (False, True, True)
    monkeypatch.undo()
    os.kill(agent.pid, signal.SIGKILL)
    wait_for(lambda: not kit.is_alive(agent))
    wait_for(lambda: w.perform(station, restart).ok)
    rig.tmux.remember()
    assert [pane["pid"] for pane in rig.tmux.panes()] != [worker.pane_pid]


def test_agent_that_has_started_a_shell_is_not_ended_by_a_restart(rig):
    worker = rig.add_polecat("alpha", [kit.PYTHON, "-c", "import subprocess as s; s.run(['bash', '--norc', '-i'])"])
    station = stand.make_station(rig, agent_command=stand.SLEEP)
    wait_for(lambda: w.judge_shell(station.host, pane_of(station, "alpha")) == "interactive")
    outcome = w.perform(station, w.Restart(subject="alpha", issue="i", title="t"))
    assert outcome.detail.startswith(f"pid {worker.pane_pid} (")
    assert kit.process(worker.pane_pid) is not None


def test_sink_gets_an_escalation_as_variables_that_a_shell_can_quote(rig, tmp):
    line = 'printf "%s|%s|%s|%s" "$WITNESS_EVENT" "$WITNESS_POLECAT" "$WITNESS_SUBJECT" "$WITNESS_BODY" > "$0"'
    station = stand.make_station(rig, escalate_command=["sh", "-c", line, str(tmp / "told")])
    odd = letter(event="resolved", name="alpha", subject='$(touch "x")', body="two\nlines; `id`")
    assert w.perform(station, w.SendLetter(subject="k", letter=odd)).ok
    assert (tmp / "told").read_text() == 'resolved|alpha|$(touch "x")|two\nlines; `id`'


def test_sink_that_hangs_holds_up_one_letter_and_not_each(rig, tmp):
    """Fifty letters of 20 s each once kept the watch from looking for a quarter of an hour."""
    tell = tmp / "tell"
    tell.write_text(f"#!/bin/sh\necho called >> {tmp / 'calls'}\nsleep 60\n")
    tell.chmod(0o755)
    station = stand.make_station(rig, escalate_command=[str(tell)], tool_timeout=1)
    outcomes = [w.perform(station, w.SendLetter(subject=f"k{n}", letter=letter(event="opened"))) for n in range(5)]
    assert [one.ok for one in outcomes] == [False] * 5
    assert "no answer within 1 s" in outcomes[0].detail
    assert outcomes[1].detail == "escalate_command failed a moment ago"
    assert (tmp / "calls").read_text() == "called\n"
    assert all(one.data == {"mailed": True} for one in outcomes)
