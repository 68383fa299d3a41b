"""A process is a pid and a start time; a shell is judged by what it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from tools import kit
from tools.kit import wait_for

import witness as w

HOST = w.Host()


@pytest.fixture
def child():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as one:
        yield one
        one.kill()


def test_process_is_known_by_its_start(child):
    process = w.read_process(HOST, child.pid)
    assert (process.pid, process.start, process.parent) == (child.pid, kit.start_time(child.pid), os.getpid())
    assert w.is_same_process(HOST, child.pid, process.start) is True
    assert w.is_same_process(HOST, child.pid, process.start - 1) is False
    assert w.is_same_process(HOST, child.pid, 0) is None


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 7])
def test_no_such_process(pid):
    assert w.read_process(HOST, pid) is None
    assert w.is_same_process(HOST, pid, 5) is False


def test_zombie_does_not_live(child):
    start = kit.start_time(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: w.read_process(HOST, child.pid).zombie)
    assert w.is_same_process(HOST, child.pid, start) is False


def test_recycled_pid_is_not_signalled(child):
    start = kit.start_time(child.pid)
    assert w.end_process(child.pid, start + 1, signal.SIGKILL, HOST) is False
    assert child.poll() is None
    assert w.end_process(child.pid, start, signal.SIGKILL, HOST) is True
    assert child.wait(5) == -signal.SIGKILL


def test_argv_is_read(child):
    assert wait_for(lambda: w.read_argv(HOST, child.pid))[1] == "-c"  # () within the exec
    assert w.read_argv(HOST, 2**22 + 7) is None


@pytest.mark.parametrize(
    ("argv", "judged"),
    [
        (["bash", "--norc", "-i"], "interactive"),
        (["bash", "agent.sh"], "script"),
        (["bash", "-c", "sleep 60; true"], "script"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], ""),
    ],
)
def test_foreground_of_a_real_pane_is_judged(tmux, tmp, argv, judged):
    (tmp / "agent.sh").write_text("sleep 60\ntrue\n")
    if argv[0] == "bash":
        argv = [shutil.which("bash"), *argv[1:]]
    tmux.new_session("s", tmp, argv)

    def judge():
        panes = w.Tmux(HOST, tmux.socket, 5).list_panes()
        return panes and w.judge_shell(HOST, panes[0])

    wait_for(lambda: judge() == judged, 5, f"it to be judged {judged!r}")


def test_shell_whose_argv_cannot_be_read_is_unknown():
    pane = w.Pane(
        session="s",
        session_id="$1",
        created_at=1.0,
        attached=0,
        server_pid=1,
        pane_id="%1",
        pid=2**22 + 7,
        dead=False,
        in_mode=False,
        activity_at=1.0,
        command="bash",
    )
    assert w.judge_shell(HOST, pane) == w.UNKNOWN


def test_load_is_told(tmp):
    load = w.read_load(str(tmp))
    assert load.per_core >= 0
    assert load.free_memory_mib > 1
    assert load.free_disk_mib > 1
    assert w.read_load("/no/such/place").free_disk_mib is None


@pytest.mark.parametrize("name", ["witness.py", "watchdog"])
def test_we_call_ourselves_under_any_name(tmp, name, monkeypatch):
    """Only a file called witness.py can be imported, which spares its compilation; any other is run."""
    shutil.copy(w.__file__, tmp / name)
    monkeypatch.setattr(w, "__file__", str(tmp / name))
    argv = w.call_ourselves("--version")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=60)
    assert (done.returncode, done.stdout) == (0, f"witness {w.__version__}\n"), done
