"""The daemon under abuse: whatever is done to its files, clock, tmux or user, it harms nobody and says so."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tools import kit
from tools.kit import wait_for

import witness as w

FAST = {
    "WITNESS_INTERVAL": "1",
    "WITNESS_START_GRACE": "0",
    "WITNESS_TOOL_TIMEOUT": "1",
    "WITNESS_MIN_FREE_DISK": "0",
    "WITNESS_MIN_FREE_MEMORY": "0",
    "WITNESS_MAX_LOAD_PER_CORE": "0",
    "WITNESS_SPAWN_DELAY_MS": "0",
}
SLEEP = [kit.PYTHON, "-c", "import time; time.sleep(600)"]
SPAWNING = {**FAST, "WITNESS_AGENT_COMMAND": json.dumps(SLEEP)}


@pytest.fixture
def start(witness, rig):
    """Start the rig's daemon and return its process."""

    def call(*words, **env):
        done = witness("start", *words, rig=rig, env={**FAST, **env})
        assert done.status == 0, done
        return rig.daemon()

    return call


def view(rig):
    try:
        return json.loads((rig.state / "witness-view.json").read_text())
    except (OSError, ValueError):
        return {}


def worker(rig, name):
    """Return one worker as the latest tick saw it."""
    return next((one for one in view(rig).get("polecats", ()) if one["name"] == name), {"state": None, "why": ""})


def wait_for_tick(rig, after=None):
    """Wait for a whole tick later than the view given, and return its view."""
    last = (after or {}).get("last_tick_at")
    return wait_for(lambda: "polecats" in view(rig) and view(rig)["last_tick_at"] != last and view(rig), 15, "a tick")


def wait_for_rounds(one, number):
    """Wait until a daemon has looked so often, told by the page faults of the children it asks in every look."""
    faults = None
    for _ in range(number + 1):

        def more(before=faults):
            fields = Path(f"/proc/{one.pid}/stat").read_bytes().rpartition(b")")[2].split()
            return int(fields[8]) != before and int(fields[8])

        assert kit.is_alive(one), "the daemon has ended"
        os.kill(one.pid, signal.SIGUSR1)
        faults = wait_for(more, 10, "the daemon to look")


def log(rig):
    path = rig.state / "witness.log"
    return path.read_text(errors="replace") if path.exists() else ""


def mails(rig, address):
    folder = rig.state / "mail" / address / "new"
    return [path.read_text() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def is_one_line(done):
    """Tell whether a failed command said what is wrong in one line, and nothing else."""
    return done.stdout == "" and re.fullmatch(r"witness: [^\n]+\n", done.stderr) is not None


# ---- the pid file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bystander():
    """Run a process that has nothing to do with any rig; it must outlive the test's body."""
    with subprocess.Popen(SLEEP) as child:
        yield child
        assert child.poll() is None, "a stranger was ended"
        child.kill()


def pid_files(bystander):
    """Return what may stand in a pid file although it names no daemon of ours: name -> content, None for a folder."""
    began = kit.start_time(bystander.pid)
    return {
        "recycled": json.dumps({"pid": bystander.pid, "start_time": began - 1}).encode(),
        "no start time": json.dumps({"pid": bystander.pid}).encode(),
        "start time as text": json.dumps({"pid": bystander.pid, "start_time": str(began)}).encode(),
        "start time true": json.dumps({"pid": bystander.pid, "start_time": True}).encode(),
        "bare number": b"%d\n" % bystander.pid,
        "empty": b"",
        "binary": b"\0\xff\xfe" * 50,
        "its own group": json.dumps({"pid": 0, "start_time": began}).encode(),
        "everybody": json.dumps({"pid": -1, "start_time": began}).encode(),
        "negative": json.dumps({"pid": -bystander.pid, "start_time": began}).encode(),
        "huge number": json.dumps({"pid": 10**30, "start_time": 10**30}).encode(),
        "huge file": b'{"pid": %d, "x": "' % bystander.pid + b"x" * (2 << 20) + b'"}',
        "folder": None,
    }


def test_no_pid_file_makes_a_stranger_the_daemon_while_somebody_holds_the_lock(witness, rig, bystander):
    """Nothing is signalled, nothing is started, and the one line names the file that is wrong."""
    rig.state.mkdir(mode=0o700)
    path = rig.state / "witness.pid"
    fd = w.take_lock(str(rig.state / "witness.lock"))
    try:
        for name, content in pid_files(bystander).items():
            if path.exists():
                path.unlink()
            path.mkdir() if content is None else path.write_bytes(content)
            status = witness("status", rig=rig)
            assert (status.status, status.stderr) == (0, ""), name
            assert "its PID file is not its own" in status.stdout, name
            stopped = witness("stop", "--force", "--timeout", "0.05", rig=rig)
            assert stopped.status == 1, name
            assert is_one_line(stopped), name
            assert "witness.pid" in stopped.stderr, name
            assert "nothing was signalled" in stopped.stderr, name
            started = witness("start", "--timeout", "0.05", rig=rig)
            assert started.status == 1, name
            assert is_one_line(started), name
            assert "no daemon says it is ready" in started.stderr, name
            assert bystander.poll() is None, name
    finally:
        os.close(fd)


def test_pid_file_of_a_living_stranger_is_only_left_over_while_nobody_holds_the_lock(witness, rig, bystander):
    rig.state.mkdir(mode=0o700)
    note = {"pid": bystander.pid, "start_time": kit.start_time(bystander.pid)}
    (rig.state / "witness.pid").write_text(json.dumps(note))
    assert witness("status", rig=rig).status == 1
    assert witness("stop", "--force", rig=rig) == (0, "witness not running\n", "")
    assert witness("reload", rig=rig).status == 3
    started = witness("start", rig=rig, env=FAST)
    assert started.status == 0
    assert rig.daemon().pid not in (None, bystander.pid)


def test_copy_of_a_rig_that_is_just_starting_does_not_signal_the_original(witness, rig, start, tmp):
    """The copy's lock is busy and its pid file, still the original's, names a process with the right start time."""
    one = start()
    wait_for_tick(rig)
    shutil.copytree(rig.path, tmp / "copy", symlinks=True, ignore=shutil.ignore_patterns("*.tmp"))
    fd = w.take_lock(str(tmp / "copy/.gastown/witness.lock"))
    try:
        stopped = witness("stop", "--force", "--timeout", "0.1", "--rig", tmp / "copy")
        assert (stopped.status, "nothing was signalled" in stopped.stderr) == (1, True)
        assert witness("start", "--timeout", "0.1", "--rig", tmp / "copy").status == 1
        assert witness("reload", "--rig", tmp / "copy").status == 3
    finally:
        os.close(fd)
    assert kit.is_alive(one)
    assert witness("status", rig=rig).status == 0


# ---- its files taken away -------------------------------------------------------------------------------------------


def test_lock_file_deleted_ends_the_daemon_by_itself(witness, rig, start):
    one = start()
    wait_for_tick(rig)
    before = (rig.state / "witness.json").read_bytes()
    os.remove(rig.state / "witness.lock")
    wait_for(lambda: not kit.is_alive(one), 10, "the daemon to end")
    assert log(rig).count("witness.lock is gone or replaced: another Witness may be running") == 1
    assert "Traceback" not in log(rig)
    assert (rig.state / "witness.json").read_bytes() == before  # the folder may be another's: nothing is written
    assert start() != one


def test_state_folder_deleted_ends_the_daemon_and_makes_nothing_anew(witness, rig, start):
    worker = rig.add_polecat("alpha", SLEEP)
    one = start()
    wait_for_tick(rig)
    # Deleted in one step, as seen by the daemon; what it writes by path afterwards would show.
    os.rename(rig.state, rig.path / ".away")
    shutil.rmtree(rig.path / ".away")
    wait_for(lambda: not kit.is_alive(one), 10, "the daemon to end")
    assert not rig.state.exists()
    assert witness("status", rig=rig).status == 3
    assert witness("stop", rig=rig) == (0, "witness not running\n", "")
    assert not rig.state.exists()
    assert start() != one
    assert kit.process(worker.pane_pid) is not None


# ---- no space -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(rig):
    """Put the rig's state folder on a file system of 1 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system; the test with a failing host stands for it")
    rig.state.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(rig.state)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield rig.state
    rig.stop_daemon()
    wait_for(lambda: subprocess.run(["umount", str(rig.state)], check=False).returncode == 0, 10, "the umount")


def fill(folder):
    """Write a file that takes all the space there is."""
    fd = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        for size in (4096, 1):
            while True:
                try:
                    os.write(fd, b"x" * size)
                except OSError:
                    break
    finally:
        os.close(fd)


def pad(path):
    """Let a file end with its last page: the slack of a page takes a few lines also on a full disk."""
    with open(path, "ab") as file:
        file.write(b"x" * (-file.tell() % 4096 - 1) + b"\n")


def test_full_disk_stops_nothing_but_the_acting(witness, rig, small_disk):
    """A daemon that could not write its log died of the complaint about it."""
    assert witness("start", rig=rig, env=SPAWNING).status == 0
    one = rig.daemon()
    wait_for_tick(rig)
    for name in ("witness.log", "witness-events.jsonl"):
        pad(small_disk / name)
    fill(small_disk)
    before = {name: (small_disk / name).read_bytes() for name in ("witness.json", "witness.log")}
    assert witness("add", "one", rig=rig).status == 0  # the queue stands on another disk
    wait_for_rounds(one, 2)
    assert {name: (small_disk / name).read_bytes() for name in before} == before
    assert os.listdir(rig.path / "polecats") == []
    os.remove(small_disk / "ballast")
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: len(rig.tmux.panes()) == 1, 15, "the spawn")
    wait_for(lambda: "spawned:" in log(rig), 15, "the spawn to be settled")
    assert kit.is_alive(one)
    assert len(rig.tmux.panes()) == 1
    assert "Traceback" not in log(rig)


def test_daemon_is_stopped_on_a_full_disk_too(witness, rig, small_disk):
    """It could not note its end, nor `stop` that it was asked for: neither keeps it running."""
    assert witness("start", rig=rig, env=FAST).status == 0
    one = rig.daemon()
    wait_for_tick(rig)
    for name in ("witness.log", "witness-events.jsonl"):
        pad(small_disk / name)
    fill(small_disk)
    done = witness("stop", rig=rig)
    assert not kit.is_alive(one)
    assert done.status == 0
    assert re.fullmatch(
        rf"witness stopped \(pid {one.pid}\), which will not be remembered: .*No space left on device.*\n", done.stdout
    )
    done = witness("start", rig=rig)
    fill(small_disk)  # its pid file has set one page free
    done = witness("start", rig=rig)
    assert (done.status, is_one_line(done), "No space left" in done.stderr) == (1, True, True)
    assert witness("stop", rig=rig).stdout.startswith("witness not running")
    assert rig.daemon() is None
