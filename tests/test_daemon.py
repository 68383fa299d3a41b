"""The daemon: one, real, and never mistaken for another."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import kit
from tools.kit import wait_for

import witness as w

FAST = {"WITNESS_INTERVAL": "1", "WITNESS_START_GRACE": "0"}


@pytest.fixture
def start(witness, rig):
    """Start the rig's daemon and return its process."""

    def call(*words, **env):
        done = witness("start", *words, rig=rig, env={**FAST, **env})
        assert done.status == 0, done
        return rig.daemon()

    return call


def tick_at(rig):
    try:
        return json.loads((rig.state / "witness-view.json").read_text()).get("last_tick_at")
    except (OSError, ValueError):
        return None


def log(rig):
    path = rig.state / "witness.log"
    return path.read_text() if path.exists() else ""


def test_start_returns_when_the_daemon_runs_and_stop_when_it_has_ended(witness, rig):
    done = witness("start", rig=rig, env=FAST)
    one = rig.daemon()
    assert done == (0, f"witness started (pid {one.pid}), rig demo in {rig.path}\n", "")
    assert witness("status", rig=rig).status == 0
    assert witness("start", rig=rig, env=FAST) == (0, f"witness already running (pid {one.pid})\n", "")
    assert witness("stop", rig=rig) == (0, f"witness stopped (pid {one.pid})\n", "")
    assert not kit.is_alive(one)
    assert witness("stop", rig=rig) == (0, "witness not running\n", "")
    assert witness("status", rig=rig).status == 3


def test_twenty_starts_at_once_give_one_daemon_and_twenty_successes(witness, rig):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda _: witness("start", rig=rig, env=FAST), range(20)))
    assert [one.status for one in done] == [0] * 20, done
    pid = rig.daemon().pid
    assert sum("started" in one.stdout for one in done) == 1
    assert all(f"pid {pid}" in one.stdout for one in done)


def test_daemon_is_detached_small_and_holds_nothing_of_the_caller(rig, start):
    one = start()
    proc = f"/proc/{one.pid}"
    argv = Path(proc, "cmdline").read_bytes().split(b"\0")
    assert argv[1:3] == [b"-I", b"-S"]
    assert os.readlink(f"{proc}/cwd") == "/"
    assert os.readlink(f"{proc}/fd/0") == "/dev/null"
    assert os.readlink(f"{proc}/fd/1") == os.readlink(f"{proc}/fd/2") == str(rig.state / "witness.log")
    assert os.getsid(one.pid) not in (os.getsid(0), one.pid)  # a session of its own, of which it is not the leader
    files = {os.readlink(f"{proc}/fd/{fd}") for fd in os.listdir(f"{proc}/fd")}
    strange = {name for name in files if not name.startswith((str(rig.state), "/dev/null", "pipe:", "anon_inode:"))}
    assert strange == set()


def test_lock_is_kept_through_fork_and_exec(rig, start):
    start()
    assert w.is_locked(str(rig.state / "witness.lock")) is True
    assert w.take_lock(str(rig.state / "witness.lock")) is None


def test_tmux_server_started_by_a_spawn_holds_no_lock(rig, witness):
    agent = json.dumps([sys.executable, "-c", "import time; time.sleep(60)"])
    env = {**FAST, "WITNESS_AGENT_COMMAND": agent, "WITNESS_MIN_FREE_DISK": "0", "WITNESS_MAX_LOAD_PER_CORE": "0"}
    witness("add", "one", rig=rig)
    assert rig.tmux.server() is None
    assert witness("spawn", rig=rig, env=env).status == 0
    assert rig.tmux.server() is not None
    rig.tmux.remember()
    for name in ("witness.lock", "witness.tick.lock", "witness-spawn.lock"):
        assert w.is_locked(str(rig.state / name)) is False


def test_bad_settings_start_nothing_and_say_which(witness, rig):
    rig.state.mkdir(mode=0o700)
    (rig.state / "witness-config.json").write_text('{"max_worker": 3}')
    done = witness("start", rig=rig)
    assert done == (
        78,
        "",
        f"witness: unknown setting 'max_worker' in {rig.state}/witness-config.json; did you mean max_workers?\n",
    )
    assert rig.daemon() is None
    assert w.is_locked(str(rig.state / "witness.lock")) is False


def test_killed_daemon_is_dead_for_status_and_no_trouble_for_start(witness, rig, start):
    one = start()
    os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: not kit.is_alive(one))
    done = witness("status", rig=rig)
    assert done.status == 1
    assert done.stdout.startswith("witness dead")
    assert start() != one
    assert witness("status", rig=rig).status == 0


def test_stopped_daemon_is_hanging_for_status(witness, rig, start, monkeypatch):
    one = start(WITNESS_TOOL_TIMEOUT="1")
    wait_for(lambda: tick_at(rig))
    os.kill(one.pid, signal.SIGSTOP)
    try:
        view = json.loads((rig.state / "witness-view.json").read_text())
        view["expected_by_at"] = view["last_tick_at"]  # as if the slack had passed
        (rig.state / "witness-view.json").write_text(json.dumps(view))
        done = witness("status", rig=rig)
        assert done.status == 4
        assert "witness hanging" in done.stdout
    finally:
        os.kill(one.pid, signal.SIGCONT)
    wait_for(lambda: witness("status", rig=rig).status == 0, 15, "it to go on")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\xff", b"-5", b'{"pid": -5, "start_time": 1}', b'{"pid": 99999999999}', b'{"pid": "x"}', b"[]", None],
)
def test_pid_file_of_any_content_confuses_nobody(witness, rig, content):
    rig.state.mkdir(mode=0o700)
    path = rig.state / "witness.pid"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert witness("status", rig=rig).status == 1
    assert witness("stop", rig=rig).status == 0
    done = witness("start", rig=rig, env=FAST)
    if content is None:
        assert done.status == 1
        assert "witness.pid" in done.stderr
    else:
        assert done.status == 0
        assert witness("status", rig=rig).status == 0


def test_recycled_pid_is_never_signalled(witness, rig):
    rig.state.mkdir(mode=0o700)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        fd = w.take_lock(str(rig.state / "witness.lock"))  # somebody holds the lock, and it is not the bystander
        try:
            note = {"pid": bystander.pid, "start_time": kit.start_time(bystander.pid) - 1}
            (rig.state / "witness.pid").write_text(json.dumps(note))
            done = witness("stop", "--timeout", "0.3", "--force", rig=rig)
            assert done.status == 1
            assert "nothing was signalled" in done.stderr
            assert bystander.poll() is None
        finally:
            os.close(fd)
            bystander.kill()


def test_lock_file_replaced_means_stop_without_writing(witness, rig, start):
    """A rig made anew at the same path once got the old daemon's memory."""
    one = start()
    wait_for(lambda: tick_at(rig))
    os.rename(rig.state, rig.path / "elsewhere")
    rig.state.mkdir(mode=0o700)
    wait_for(lambda: not kit.is_alive(one), 10, "the daemon to end")
    assert list(rig.state.iterdir()) == []
    assert "is gone or replaced" in (rig.path / "elsewhere" / "witness.log").read_text()


def test_hup_takes_good_settings_and_keeps_the_old_ones_over_bad(witness, rig, start):
    one = start()
    (rig.state / "witness-config.json").write_text('{"max_workers": 7}')
    os.kill(one.pid, signal.SIGHUP)
    wait_for(lambda: "reloaded: settings" in log(rig))
    (rig.state / "witness-config.json").write_text('{"max_workers": -7}')
    os.kill(one.pid, signal.SIGHUP)
    wait_for(lambda: "the old settings stay" in log(rig))
    assert "max_workers is -7" in log(rig)
    assert witness("reload", rig=rig).status == 78
    assert kit.is_alive(one)


def test_usr1_looks_at_once(rig, start):
    one = start(WITNESS_INTERVAL="600")
    first = wait_for(lambda: tick_at(rig))
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: tick_at(rig) != first, 5, "a look")


def test_mail_wakes_the_daemon(rig, start, witness):
    start(WITNESS_INTERVAL="600")
    wait_for(lambda: tick_at(rig))
    time.sleep(0.2)
    assert witness("mail", "send", "demo/witness", "-s", "HELP", "-b", "which API?", rig=rig).status == 0
    mayor = rig.state / "mail" / "mayor" / "new"
    (letter,) = wait_for(lambda: mayor.is_dir() and list(mayor.iterdir()), 5, "the forwarded mail")
    assert "which API?" in letter.read_text()


def test_interrupt_ends_the_foreground_and_systemd_is_told(rig, pyz, tmp):
    address = tmp / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(address))
        channel.settimeout(10)
        env = {**os.environ, **FAST, "NOTIFY_SOCKET": str(address), "WITNESS_TMUX_SOCKET": rig.tmux.socket}
        with subprocess.Popen([sys.executable, str(pyz), "start", "--foreground"], cwd=rig.path, env=env) as child:
            try:
                assert channel.recv(4096) == b"READY=1"
                said = ""
                while "STATUS=0 polecats" not in said:
                    said = channel.recv(4096).decode()
                assert rig.daemon().pid == child.pid
                child.send_signal(signal.SIGINT)
                assert child.wait(10) == 0
            finally:
                child.kill()
        while said != "STOPPING=1":
            said = channel.recv(4096).decode()
    assert not (rig.state / "witness.pid").exists()


def test_restart_leaves_the_workers_alone(witness, rig, start):
    worker = rig.add_polecat("alpha", [sys.executable, "-c", "import time; time.sleep(60)"])
    one = start()
    assert witness("restart", rig=rig, env=FAST).status == 0
    assert not kit.is_alive(one)
    assert kit.is_alive(rig.daemon())
    assert kit.process(worker.pane_pid) is not None


def test_stop_is_remembered_until_the_next_start(witness, rig, start):
    start()
    witness("stop", rig=rig)
    assert json.loads((rig.state / "witness-hold.json").read_text()) == {"stopped": True}
    start()
    assert json.loads((rig.state / "witness-hold.json").read_text()) == {}


def test_two_rigs_on_one_host_have_a_daemon_each(witness, rig, repo, start):
    one = start()
    other = repo("other")
    assert witness("start", cwd=other.path, env={**FAST, "WITNESS_TMUX_SOCKET": rig.tmux.socket}).status == 0
    assert witness("stop", cwd=other.path).status == 0
    assert kit.is_alive(one)
