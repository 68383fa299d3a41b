"""Whose processes are inside, and the end of the worker's own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time

import pytest
from tools import kit, stand
from tools.kit import wait_for

import witness as w

PARENT = """
import os, subprocess, sys, time
child = ("import os, signal, sys, time; signal.signal(15, signal.SIG_IGN); "
         "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)")
for name in sys.argv[1:]:
    subprocess.Popen([sys.executable, "-c", child, name], start_new_session=True)
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


def pids(processes):
    return {one.pid for one in processes}


def test_own_are_the_panes_family_and_what_it_set_free(rig, station, tmp):
    worker = rig.add_polecat("alpha", [kit.PYTHON, "-c", PARENT, str(tmp / "a"), str(tmp / "b")])
    wait_for(lambda: all((tmp / name).exists() and (tmp / name).read_text() for name in "ab"))
    rig.tmux.remember()
    children = {int((tmp / name).read_text()) for name in "ab"}
    retirement = stand.begin(station, "alpha")
    own, others = w.list_processes(station.tools, retirement, str(worker.path))
    assert pids(own) == {worker.pane_pid, *children}
    assert others == []
    os.kill(worker.pane_pid, signal.SIGKILL)  # now they are orphans, and known by their environment alone
    wait_for(lambda: not rig.tmux.panes())
    own, others = w.list_processes(station.tools, retirement, str(worker.path))
    assert (pids(own), others) == (children, [])
    assert w.quiesce(station.tools, retirement, str(worker.path)) == ""
    assert not any(kit.process(pid) for pid in children)


def test_process_that_hides_where_it_comes_from_is_not_ours(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    with subprocess.Popen([kit.PYTHON, "-c", "import time; time.sleep(60)"], cwd=worker.path, env={}) as child:
        _, others = w.list_processes(station.tools, stand.begin(station, "alpha"), str(worker.path))
        why = w.quiesce(station.tools, stand.begin(station, "alpha"), str(worker.path))
        assert pids(others) == {child.pid}
        assert why == f"pid {child.pid} is inside and not the worker's"
        assert child.poll() is None
        child.kill()
    assert kit.process(worker.pane_pid) is not None


def test_open_file_counts_as_inside(rig, station):
    worker = rig.add_polecat("alpha")
    script = f"f = open({str(worker.path / 'README')!r}); import time; time.sleep(60)"
    with subprocess.Popen([kit.PYTHON, "-c", script], cwd="/") as child:
        wait_for(
            lambda: (
                pids(w.list_processes(station.tools, stand.begin(station, "alpha"), str(worker.path))[1]) == {child.pid}
            )
        )
        assert w.is_open(str(worker.path / "README"))
        child.kill()
    assert not w.is_open(str(worker.path / "README"))


def test_neighbours_tmux_server_and_witness_are_spared(rig, station, monkeypatch):
    alpha, beta = rig.add_polecat("alpha", stand.SLEEP), rig.add_polecat("alphabet", stand.SLEEP)
    monkeypatch.chdir(alpha.path)  # Witness itself stands inside
    assert w.quiesce(station.tools, stand.begin(station, "alpha"), str(alpha.path)) == ""
    assert kit.process(beta.pane_pid) is not None
    assert [pane["session"] for pane in rig.tmux.panes()] == [beta.session]


def test_worker_that_ignores_term_is_killed_after_its_grace(rig, station):
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    worker = rig.add_polecat("alpha", [kit.PYTHON, "-c", script])
    wait_for(lambda: "up" in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:"))
    began = time.monotonic()
    assert w.quiesce(station.tools, stand.begin(station, "alpha"), str(worker.path)) == ""
    assert 2.5 < time.monotonic() - began < 8
    assert kit.process(worker.pane_pid) is None


def test_respawn_hooks_do_not_bring_it_back(rig, station):
    """A session came back three seconds after it was ended."""
    worker = rig.add_polecat("alpha", stand.SLEEP)
    rig.tmux.run("set-option", "-p", "-t", f"={worker.session}:", "remain-on-exit", "on")
    rig.tmux.run("set-hook", "-p", "-t", f"={worker.session}:", "pane-died", "respawn-pane -k")
    assert w.quiesce(station.tools, stand.begin(station, "alpha"), str(worker.path)) == ""
    time.sleep(0.2)
    assert rig.tmux.panes() == []


def test_session_that_took_the_name_meanwhile_is_left_alone(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    retirement = stand.begin(station, "alpha")
    rig.tmux.run("kill-session", "-t", f"={worker.session}")
    fresh = rig.tmux.new_session(worker.session, "/", stand.SLEEP)
    assert w.quiesce(station.tools, retirement, str(worker.path)) == ""
    assert kit.process(fresh) is not None


def test_without_proc_nobody_is_proved_absent(rig, station, monkeypatch):
    rig.add_polecat("alpha")
    retirement = stand.begin(station, "alpha")
    monkeypatch.setattr(w, "HAS_PROC", False)
    with pytest.raises(w.ToolError):
        w.list_processes(station.tools, retirement, retirement.path)


def test_hanging_tmux_is_no_leave_to_end_anything(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    retirement = stand.begin(station, "alpha")
    server = rig.tmux.server()
    station.tools.tmux.timeout_s = 0.5
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(w.ToolError, match="no answer"):
            w.quiesce(station.tools, retirement, str(worker.path))
    finally:
        os.kill(server, signal.SIGCONT)
    assert kit.process(worker.pane_pid) is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace of one's own needs root")
def test_process_that_sees_the_worktree_under_another_name_is_inside(rig, station):
    """In a container the worktree was mounted at another place; its writer was not seen."""
    worker = rig.add_polecat("alpha")
    script = f"mount --bind {shlex.quote(str(worker.path))} /mnt && cd /mnt && exec sleep 600"
    with subprocess.Popen(["unshare", "--mount", "sh", "-c", script]) as child:
        try:
            wait_for(lambda: os.readlink(f"/proc/{child.pid}/cwd") == "/mnt", 5, "the mount")
            retirement = stand.begin(station, "alpha")
            _, others = w.list_processes(station.tools, retirement, str(worker.path))
            assert [one.pid for one in others] == [child.pid]
            assert w.list_processes(station.tools, retirement, str(rig.path / "elsewhere"))[1] == []
        finally:
            child.kill()
