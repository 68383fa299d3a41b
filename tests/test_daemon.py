"""The daemon: one, real, and never mistaken for another."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import select
import shutil
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


@pytest.mark.parametrize(
    ("fault", "wait_s", "told"),
    [
        ("os._exit(9)", 60, "the daemon ended before it was ready"),
        ("time.sleep(3); os._exit(9)", 1, "the daemon did not come up within 1s"),
    ],
)
def test_start_that_hears_nothing_says_what_it_saw(rig, tmp, fault, wait_s, told):
    """A daemon that died at once was one that "did not come up within 10s"."""
    text = Path(w.__file__).read_text()
    place = '    if argv[0] == "_spawn":\n'
    assert text.count(place) == 1
    source = tmp / "witness.py"
    source.write_text(text.replace(place, f"    if argv[0] == '_daemon':\n        {fault}\n" + place))
    argv = [sys.executable, str(source), "start", "--timeout", str(wait_s)]
    done = subprocess.run(argv, cwd=rig.path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"witness: {told}; see {rig.state / 'witness.log'}\n")
    wait_for(lambda: not kit.leftovers(tmp), 30, "the end of the one that came too late")


def test_starts_at_once_of_a_daemon_that_cannot_come_up_all_fail(witness, rig):
    (rig.state / "witness.json").mkdir(parents=True)
    rig.state.chmod(0o700)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: witness("start", rig=rig, env=FAST), range(6)))
    assert {one.status for one in done} <= {1, 75}, done
    assert any("witness.json" in one.stderr for one in done)
    # It says why and then ends, which takes a moment.
    wait_for(lambda: w.is_locked(str(rig.state / "witness.lock")) is False, 10, "the last one to end")


def open_files(pid) -> set:
    """Return what a process has open; a tick under way opens and closes files meanwhile."""
    folder = f"/proc/{pid}/fd"
    found = set()
    for fd in os.listdir(folder):
        try:
            found.add(os.readlink(f"{folder}/{fd}"))
        except FileNotFoundError:
            continue
    return found


def test_daemon_is_detached_small_and_holds_nothing_of_the_caller(rig, pyz):
    read_fd, write_fd = os.pipe()
    subprocess.run(
        [sys.executable, str(pyz), "start"],
        cwd=rig.path,
        env={**os.environ, **FAST, "WITNESS_TMUX_SOCKET": rig.tmux.socket},
        pass_fds=(write_fd,),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    os.close(write_fd)
    readable, _, _ = select.select([read_fd], [], [], 2)
    os.close(read_fd)
    assert readable  # nobody holds the other end any more: whoever waits for it does not hang
    one = rig.daemon()
    proc = f"/proc/{one.pid}"
    argv = Path(proc, "cmdline").read_bytes().split(b"\0")
    assert argv[1:3] == [b"-I", b"-S"]
    assert os.readlink(f"{proc}/cwd") == "/"
    assert os.readlink(f"{proc}/fd/0") == "/dev/null"
    assert os.readlink(f"{proc}/fd/1") == os.readlink(f"{proc}/fd/2") == str(rig.state / "witness.log")
    assert os.getsid(one.pid) not in (os.getsid(0), one.pid)  # a session of its own, of which it is not the leader
    looks = [open_files(one.pid)]
    for _ in range(4):  # what is there each time is held
        time.sleep(0.1)
        looks.append(open_files(one.pid))
    known = (str(rig.state), "/dev/null", "pipe:", "anon_inode:")
    assert {name for name in set.intersection(*looks) if not name.startswith(known)} == set()


def test_lock_is_kept_through_fork_and_exec(rig, start):
    start()
    assert w.is_locked(str(rig.state / "witness.lock")) is True
    assert w.take_lock(str(rig.state / "witness.lock")) is None


SPAWNING = {
    **FAST,
    "WITNESS_AGENT_COMMAND": json.dumps([sys.executable, "-c", "import time; time.sleep(60)"]),
    "WITNESS_MIN_FREE_DISK": "0",
    "WITNESS_MIN_FREE_MEMORY": "0",
    "WITNESS_MAX_LOAD_PER_CORE": "0",
}


def assert_tmux_holds_no_lock(rig):
    rig.tmux.remember()
    for name in ("witness.lock", "witness.tick.lock", "witness-spawn.lock"):
        wait_for(lambda name=name: w.is_locked(str(rig.state / name)) is False, 5, f"{name} to be free")
    server = f"/proc/{rig.tmux.server()}/fd"
    files = [os.readlink(f"{server}/{fd}") for fd in os.listdir(server)]
    assert [name for name in files if name.startswith(str(rig.path))] == []


def test_tmux_server_started_by_a_spawn_holds_no_lock(rig, witness):
    witness("add", "one", rig=rig)
    assert rig.tmux.server() is None
    assert witness("spawn", rig=rig, env=SPAWNING).status == 0
    assert_tmux_holds_no_lock(rig)


def test_tmux_server_started_by_the_daemons_spawn_survives_it_without_its_lock(rig, witness, start):
    """A server that outlived the daemon with the daemon's lock would keep every later start away."""
    witness("add", "one", rig=rig)
    one = start(**SPAWNING)
    wait_for(lambda: "spawned:" in log(rig), 15, "the spawn")
    os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: not kit.is_alive(one))
    assert_tmux_holds_no_lock(rig)
    assert len(rig.tmux.panes()) == 1
    assert start() != one


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
    assert witness("start", rig=rig, env=FAST).status == 0
    assert witness("status", rig=rig).status == 0
    assert len(list(rig.state.glob("witness.pid.corrupt-*"))) == (content is None)


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


def test_lock_file_deleted_means_stop_acting(witness, rig, start):
    one = start(WITNESS_INTERVAL="600")
    wait_for(lambda: tick_at(rig))
    os.remove(rig.state / "witness.lock")
    other = start()
    assert other != one
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: not kit.is_alive(one), 5, "the first daemon to end at its next look")
    assert "is gone or replaced" in log(rig)
    assert rig.daemon() == other
    assert witness("status", rig=rig).status == 0


def test_copy_of_a_rig_is_not_its_daemon(witness, rig, start, tmp):
    """The pid file of a copied rig names a process that lives, and is not its own."""
    one = start(WITNESS_INTERVAL="600")
    wait_for(lambda: tick_at(rig))
    shutil.copytree(rig.path, tmp / "copy", symlinks=True, ignore=shutil.ignore_patterns("*.tmp"))
    status = witness("status", "--rig", tmp / "copy")
    assert (status.status, status.stdout.startswith("witness dead")) == (1, True)
    assert witness("stop", "--force", "--rig", tmp / "copy").stdout == "witness not running\n"
    assert witness("reload", "--rig", tmp / "copy").status == 3
    assert kit.is_alive(one)


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
                assert said == "WATCHDOG=1\nSTATUS=0 polecats"
                assert rig.daemon().pid == child.pid
                before = time.monotonic_ns() // 1000
                child.send_signal(signal.SIGHUP)
                while not said.startswith("RELOADING=1"):
                    said = channel.recv(4096).decode()
                # sd_notify(3): a manager tells by this stamp which of two reloads it hears of.
                assert before <= int(said.partition("\nMONOTONIC_USEC=")[2]) <= time.monotonic_ns() // 1000
                assert channel.recv(4096) == b"READY=1"
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


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_daemon_holds_its_lock_whatever_files_the_caller_closed(rig, pyz, closed):
    """The lock got the number of a closed standard file, and was lost when the log took that place."""
    env = {**os.environ, **FAST, "WITNESS_TMUX_SOCKET": rig.tmux.socket}
    words = ["sh", "-c", f'"$0" "$1" start {closed}', sys.executable, str(pyz)]
    assert subprocess.run(words, cwd=rig.path, env=env, check=False, timeout=30).returncode == 0
    one = rig.daemon()
    assert w.is_locked(str(rig.state / "witness.lock")) is True
    assert os.readlink(f"/proc/{one.pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{one.pid}/fd/2") == str(rig.state / "witness.log")
    wait_for(lambda: tick_at(rig))


def test_damaged_hold_file_keeps_a_started_daemon_paused(witness, rig, start):
    rig.state.mkdir(mode=0o700)
    (rig.state / "witness-hold.json").write_text('{"paused": {"reason": "host upgr')
    start()
    wait_for(lambda: tick_at(rig) and "paused" in json.loads((rig.state / "witness-view.json").read_text()))
    assert "paused: witness-hold.json cannot be read" in witness("status", rig=rig).stdout
    assert witness("stop", rig=rig).status == 0
    assert (rig.state / "witness-hold.json").read_text() == '{"paused": {"reason": "host upgr'


def test_umask_is_left_as_the_caller_set_it(rig, start):
    """A tmux server that we start hands it to every agent and to the user's later sessions."""
    os.umask(0o027)
    one = start()
    assert "Umask:\t0027" in Path(f"/proc/{one.pid}/status").read_text()
    assert [path.stat().st_mode & 0o077 for path in rig.state.iterdir()] == [0] * len(list(rig.state.iterdir()))


def test_daemon_that_does_not_end_is_killed_only_when_told(witness, rig, start):
    one = start()
    wait_for(lambda: tick_at(rig))
    os.kill(one.pid, signal.SIGSTOP)
    done = witness("stop", "--timeout", "0.2", rig=rig)
    assert (done.status, done.stdout) == (1, "")
    assert "`witness stop --force`" in done.stderr
    assert kit.is_alive(one)
    done = witness("stop", "--timeout", "0.2", "--force", rig=rig)
    assert done == (0, f"witness stopped (pid {one.pid}) by KILL\n", "")
    assert not kit.is_alive(one)


def test_stop_does_not_wait_for_another_command_that_acts(witness, rig, start):
    """The daemon waits for the tick lock up to its interval, and was deaf meanwhile."""
    one = start(WITNESS_INTERVAL="600")
    wait_for(lambda: tick_at(rig))
    fd = w.take_lock(str(rig.state / "witness.tick.lock"), 5)
    first = tick_at(rig)
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: str(rig.state / "witness.tick.lock") in open_files(one.pid), 5, "the daemon to want the lock")
    assert witness("stop", "--timeout", "5", rig=rig).status == 0
    assert tick_at(rig) == first
    os.close(fd)


def test_second_one_in_the_foreground_is_busy(witness, rig, start):
    one = start()
    done = witness("start", "--foreground", rig=rig, env=FAST)
    assert done == (75, "", f"witness: already running (pid {one.pid}); `witness stop` ends it\n")


def test_bug_in_a_tick_is_survived_by_a_real_daemon(rig, tmp, witness):
    """It goes on looking, says so in the log with where it happened, and tells a person once."""
    text = Path(w.__file__).read_text()
    place = "    taken_up = station.taken_up\n    if not taken_up:"
    assert text.count(place) == 1
    flag = rig.path / "bug"
    source = tmp / "witness.py"
    source.write_text(text.replace(place, f"    assert not os.path.exists({str(flag)!r}), 'a bug'\n" + place))
    env = {**os.environ, **FAST, "WITNESS_TMUX_SOCKET": rig.tmux.socket}
    flag.touch()
    subprocess.run([sys.executable, str(source), "start"], cwd=rig.path, env=env, check=True, capture_output=True)
    one = rig.daemon()
    wait_for(lambda: log(rig).count("AssertionError: a bug") >= 2, 10, "the second try")
    assert "Traceback (most recent call last)" in log(rig)
    assert kit.is_alive(one)
    assert len(os.listdir(rig.state / "mail" / "mayor" / "new")) == 1
    flag.unlink()
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: "polecats" in json.loads((rig.state / "witness-view.json").read_text()), 10, "a whole tick")
    assert json.loads((rig.state / "witness.json").read_text())["exceptions"] >= 2
    assert witness("stop", rig=rig).status == 0


@pytest.mark.skipif(not hasattr(fcntl, "F_NOTIFY"), reason="this system has no F_NOTIFY")
def test_mail_wakes_the_daemon_also_after_its_mailbox_was_cleared_away(witness, rig, start):
    """With an hour between two looks nothing but the mail can be what wakes it."""
    daemon = start(WITNESS_INTERVAL="3600", WITNESS_NUDGE_WAIT="3600", WITNESS_STUCK_AFTER="7200")
    mailbox = rig.state / "mail" / "demo.witness"

    def count_ticks():
        return json.loads((rig.state / "witness-view.json").read_text()).get("loop", {}).get("ticks", 0)

    wait_for(count_ticks, 10, "the first tick")
    for number in range(2):
        assert witness("mail", "send", "demo/witness", "-s", "MERGED x", "-b", "x", rig=rig).status == 0
        wait_for(lambda: not os.listdir(mailbox / "new"), 20, "the mail to be read")
        os.rename(mailbox, rig.path.parent / f"mailbox{number}")
        for _ in range(2):  # the first may still end the look that has read the mail
            before = count_ticks()
            os.kill(daemon.pid, signal.SIGUSR1)
            wait_for(lambda before=before: count_ticks() > before, 10, "another look")


def test_start_works_under_a_caller_that_ignores_its_children(pyz, rig):
    """With SIGCHLD ignored there is no child to wait for, and the start ended in a traceback."""
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", code, sys.executable, str(pyz), "start", "--rig", str(rig.path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **FAST})
    assert (done.returncode, done.stderr) == (0, "")
    ports = wait_for(
        lambda: json.loads((rig.state / "witness-view.json").read_text()).get("ports"), 10, "the first tick"
    )
    assert ports["git"]["state"] == "ok"
    assert kit.is_alive(rig.daemon())
