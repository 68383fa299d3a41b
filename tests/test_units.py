"""Units for service managers: what they run, what they spare, and that any path and any variable arrives whole."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tools import kit
from tools.kit import wait_for
from tools.simulation import settings

import witness as w

RIG = w.Rig(
    name="demo",
    path='/home/a b/100%/"q" $x/de\\mo',
    state="/home/a b/.gastown",
    base="/b",
    common="/b/.git",
    polecats="/p",
    agents_path="/usr/local/bin/witness.pyz",
)
ARGV = ["/usr/local/bin/witness.pyz", "start", "--foreground", "--rig", RIG.path]


def section(text: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_systemd_unit_spares_the_agents_and_stops_in_time():
    text = w.systemd_unit(RIG, ARGV, {"PATH": "/a:/b"}, settings(interval=30, tool_timeout=20))
    assert section(text, "Type") == ["notify"]
    assert section(text, "KillMode") == ["process"]
    assert section(text, "PrivateTmp") == ["no"]
    assert section(text, "OOMPolicy") == ["continue"]
    assert section(text, "Restart") == ["on-failure"]
    assert section(text, "WantedBy") == ["default.target"]
    # Two intervals, and the longest action there is.
    assert section(text, "WatchdogSec") == section(text, "TimeoutStopSec") == ["661"]


def test_every_word_of_a_systemd_command_is_quoted():
    text = w.systemd_unit(RIG, ARGV, {"WITNESS_MAYOR": 'a "b" 5% \\ $HOME'}, settings())
    (command,) = section(text, "ExecStart")
    assert command.endswith(r'"--rig" "/home/a b/100%%/\"q\" $$x/de\\mo"')
    assert section(text, "Environment") == [r'"WITNESS_MAYOR=a \"b\" 5%% \\ $HOME"']


def test_launchd_unit_spares_the_agents():
    text = w.launchd_unit(RIG, ARGV, {"PATH": "/a:/b"}, settings())
    agent = plistlib.loads(text.encode())
    assert agent["ProgramArguments"] == ARGV
    assert agent["AbandonProcessGroup"] is True
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["EnvironmentVariables"] == {"PATH": "/a:/b"}
    assert "launchctl load -w" in text


def test_comment_of_a_property_list_stays_one_whatever_the_path():
    odd = RIG.but(agents_path="/a--b/-->/witness.pyz")
    assert plistlib.loads(w.launchd_unit(odd, ARGV, {}, settings()).encode())["ProgramArguments"] == ARGV


@pytest.mark.parametrize("manager", ["systemd", "launchd"])
def test_the_command_prints_a_unit_with_the_callers_path_and_settings(witness, rig, manager):
    env = {"WITNESS_INTERVAL": "7", "WITNESS_ODD": "no setting"}
    done = witness("unit", manager, "--set", "max_workers=9", rig=rig, env=env)
    assert done.status == 0
    assert str(rig.path) in done.stdout
    assert "WITNESS_INTERVAL" in done.stdout
    assert "WITNESS_ODD" not in done.stdout
    assert os.environ["PATH"] in done.stdout
    assert "max_workers=9" in done.stdout
    assert json.loads(witness("unit", manager, "--json", rig=rig).stdout)["manager"] == manager


def test_unknown_manager_is_refused_with_those_there_are(witness, rig):
    done = witness("unit", "upstart", rig=rig)
    assert done.status == 2
    assert "systemd" in done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")
def test_systemd_itself_finds_nothing_wrong(witness, rig, tmp):
    unit = tmp / "witness-demo.service"
    unit.write_text(witness("unit", "systemd", rig=rig).stdout)
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp)},
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_command_of_the_unit_runs_as_printed(witness, rig):
    """The very words of ExecStart, with nothing but the unit's own environment."""
    text = witness("unit", "systemd", rig=rig, env={"WITNESS_INTERVAL": "1"}).stdout
    unquote = re.compile(r'"((?:[^"\\]|\\.)*)"')
    (command,) = section(text, "ExecStart")
    argv = [re.sub(r"\\(.)", r"\1", word).replace("%%", "%").replace("$$", "$") for word in unquote.findall(command)]
    pairs = [unquote.findall(line)[0] for line in section(text, "Environment")]
    environment = dict(pair.replace("%%", "%").split("=", 1) for pair in pairs)
    environment = {**environment, "HOME": os.environ["HOME"], "TMPDIR": os.environ["TMPDIR"]}
    environment["SHIV_ROOT"] = os.environ["SHIV_ROOT"]
    with subprocess.Popen(argv, env=environment, cwd="/", stdin=subprocess.DEVNULL) as child:
        try:
            one = wait_for(rig.daemon, 15, "the daemon")
            assert one.pid == child.pid  # systemd follows the process that it started
            assert Path(f"/proc/{one.pid}/cmdline").read_bytes().split(b"\0")[1:3] == [b"-I", b"-S"]
            assert witness("start", "--foreground", rig=rig).status == 75
            child.send_signal(signal.SIGTERM)
            assert child.wait(15) == 0
        finally:
            child.kill()
    assert witness("status", rig=rig).status == 3


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is needed")
def test_foreground_daemon_keeps_the_lock_through_its_exec(witness, rig, pyz):
    with subprocess.Popen([sys.executable, pyz, "start", "--foreground"], cwd=rig.path) as child:
        try:
            one = wait_for(rig.daemon, 15, "the daemon")
            assert one.pid == child.pid
            assert w.is_locked(str(rig.state / "witness.lock"))
            assert os.readlink(f"/proc/{one.pid}/cwd") == "/"
        finally:
            child.kill()
    wait_for(lambda: not kit.is_alive(one), 5)
    # A call that it was just starting has the lock's file open for a moment longer, until it becomes that program.
    wait_for(lambda: w.is_locked(str(rig.state / "witness.lock")) is False, 5, "the lock to be free")
