"""A reminder is typed into the agent and into nothing else, on real panes."""

from __future__ import annotations

import os
import shutil
import subprocess

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


def test_nudge_arrives_in_the_agent(rig, station, tmp):
    rig.add_polecat("alpha", [*LISTEN, str(tmp / "heard")])
    wait_for(lambda: pane_of(station, "alpha").command.startswith("python"))
    outcome = nudge(station, "alpha")
    assert outcome.ok
    assert wait_for(lambda: kit.lines_of(tmp / "heard"), 5, "the words") == "[witness] go on; $(touch canary)\n"
    assert letters(station, "alpha") == []


def test_nudge_is_never_typed_into_a_shell(rig, station):
    """The agent had exited, and bash ran the words of the nudge as a command."""
    worker = rig.add_polecat("alpha", [shutil.which("bash"), "--norc", "-i"])
    outcome = nudge(station, "alpha", agents=("bash", "python3"))
    assert not outcome.ok
    assert "bash is in front" in outcome.detail
    rig.tmux.run("send-keys", "-t", f"={worker.session}:", "touch after", "Enter")
    wait_for((worker.path / "after").exists, 5, "the shell to run what we type")
    assert not (worker.path / "canary").exists()


def test_enter_is_not_pressed_where_the_agent_ended_after_the_paste(rig, station, tmp):
    """Between the paste and Enter an agent may exit: what was pasted then stands on the shell's command line."""

    class DyingAgentHost(w.Host):
        def run(self, argv, *words, **options):
            ran = super().run(argv, *words, **options)
            if "paste-buffer" in argv:
                (tmp / "exit").touch()
                wait_for(lambda: pane_of(plain, "alpha").command == "bash", 5, "the shell to be in front")
            return ran

    plain, dying = station, stand.make_station(rig, DyingAgentHost())
    agent = tmp / "agent.py"
    agent.write_text("import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)\n")
    (tmp / "rc").write_text("bind -x '\"\\C-g\": touch after'\n")  # a key that does not end the line
    worker = rig.add_polecat("alpha", [shutil.which("bash"), "--rcfile", str(tmp / "rc"), "-i"])
    target = f"={worker.session}:"
    rig.tmux.run("send-keys", "-t", target, f"{kit.PYTHON} {agent} {tmp / 'exit'}", "Enter")
    wait_for(lambda: pane_of(plain, "alpha").command.startswith("python"), 5, "the agent")
    outcome = nudge(dying, "alpha")
    assert (outcome.ok, outcome.detail) == (True, "unconfirmed: pasted, but the pane changed before Enter")
    rig.tmux.run("send-keys", "-t", target, "C-g")
    wait_for((worker.path / "after").exists, 5, "the shell to have read all that was typed")
    assert not (worker.path / "canary").exists()


@pytest.mark.parametrize("program", ["vi", "less", "sudo", "ssh"])
def test_nudge_is_never_typed_into_an_editor_a_pager_or_ssh(rig, station, tmp, program):
    os.symlink(kit.PYTHON, tmp / program)
    rig.add_polecat("alpha", [str(tmp / program), "-c", "import time; time.sleep(60)"])
    wait_for(lambda: pane_of(station, "alpha").command == program)
    outcome = nudge(station, "alpha", agents=(program,))
    assert not outcome.ok
    assert f"{program} is in front" in outcome.detail


def test_nudge_is_never_typed_into_what_was_not_seen_as_the_agent(rig, station):
    rig.add_polecat("alpha", stand.SLEEP)
    assert "was not seen as the agent" in nudge(station, "alpha", agents=("claude",)).detail


def test_nudge_waits_while_a_person_scrolls_or_is_attached(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    rig.tmux.run("copy-mode", "-t", f"={worker.session}:")
    assert "copy mode" in nudge(station, "alpha").detail
    rig.tmux.run("send-keys", "-t", f"={worker.session}:", "-X", "cancel")
    person = subprocess.Popen(
        [shutil.which("script"), "-qec", f"tmux -L {rig.tmux.socket} attach -t {worker.session}", "/dev/null"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
    )
    try:
        wait_for(lambda: pane_of(station, "alpha").attached)
        assert "a person is attached" in nudge(station, "alpha").detail
    finally:
        person.kill()
        person.communicate()


def test_nudge_is_not_typed_into_a_pane_that_was_made_anew(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    pane = pane_of(station, "alpha")
    rig.tmux.run("respawn-pane", "-k", "-t", f"={worker.session}:", "--", *stand.SLEEP)
    rig.tmux.remember()
    assert "the pane is gone" in nudge(station, "alpha", pane=pane).detail
