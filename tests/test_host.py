"""The one gateway: children that misbehave, files that are written whole or not at all."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import stat
import sys
import time

import pytest
from tools import kit

import witness as w


@pytest.fixture
def host():
    return w.Host()


def test_child_runs_and_is_told_apart_by_status(host):
    ran = host.run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"], 20)
    assert (ran.status, ran.out, ran.err, ran.failure, ran.ok) == (3, b"out\n", b"err\n", "", False)
    assert ran.reason().endswith("exit 3: err")
    assert host.run(["true"], 20).ok


def test_child_that_hangs_is_ended_with_its_whole_family(host, tmp):
    """A grandchild that keeps a pipe open, and ignores TERM, once made a tick last for ever."""
    script = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import signal, time; "
        f"signal.signal(15, signal.SIG_IGN); time.sleep(60)']); open({str(tmp / 'pid')!r}, 'w').write(str(p.pid))"
    )
    began = time.monotonic()
    ran = host.run([sys.executable, "-c", script], 1.0)
    assert ran.failure == "no answer within 1 s"
    assert time.monotonic() - began < 12
    pid = int((tmp / "pid").read_text())
    kit.wait_for(lambda: kit.process(pid) is None, 5, "the grandchild to be gone")


def test_child_that_prints_without_end_is_ended(host):
    ran = host.run([sys.executable, "-c", "while True: print('x' * 9999)"], 20, limit_bytes=100000)
    assert "printed more than 100000 bytes" in ran.failure


@pytest.mark.parametrize(
    ("argv", "cwd", "word"),
    [
        (["no-such-tool-here"], "/", "no-such-tool-here is missing"),
        (["true"], "/no/such/folder", "/no/such/folder is missing"),
        (["/etc/passwd"], "/", "cannot be run"),
    ],
)
def test_tool_that_cannot_be_run_is_a_value(host, argv, cwd, word):
    ran = host.run(argv, 5, cwd=cwd)
    assert word in ran.failure
    assert (ran.status, ran.ok) == (None, False)


def test_arguments_and_input_arrive_as_they_are(host):
    words = ["a b", "$HOME", "`x`", "'\"", "new\nline", "-x", "é", ""]
    ran = host.run(
        [sys.executable, "-c", "import sys; print(sys.argv[1:]); print(len(sys.stdin.buffer.read()))", *words],
        20,
        stdin=b"z" * 300000,
    )
    assert ran.text().splitlines() == [str(words), "300000"]


def test_input_that_nobody_reads_is_no_trouble(host):
    assert host.run(["true"], 20, stdin=b"z" * 1000000).ok


def test_environment_is_scrubbed(host, monkeypatch):
    for name in (
        "GIT_DIR",
        "TMUX",
        "TMUX_PANE",
        "CLAUDECODE",
        "GT_POLECAT",
        "BD_ACTOR",
        "BEADS_DIR",
        "WITNESS_INTERVAL",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LC_ALL", "de_DE")
    ran = host.run(["env"], 20, env={"GIT_DIR": "/mine"})
    there = dict(line.partition("=")[::2] for line in ran.text().splitlines())
    assert there["GIT_DIR"] == "/mine"
    assert there["LC_ALL"] == "C.UTF-8"
    assert "HOME" in there
    assert not {"TMUX", "TMUX_PANE", "CLAUDECODE", "GT_POLECAT", "BD_ACTOR", "BEADS_DIR", "WITNESS_INTERVAL"} & set(
        there
    )


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_written_file_has_its_mode_under_any_umask(host, tmp, umask):
    before = os.umask(umask)
    try:
        host.make_folder(str(tmp / "a" / "b"))
        host.write(str(tmp / "a" / "b" / "f"), b"x")
        host.append(str(tmp / "a" / "log"), b"x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp / "a" / name).stat().st_mode) for name in (".", "b", "b/f", "log")]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_crash_between_write_and_rename_leaves_the_old_content(host, tmp, monkeypatch):
    path = tmp / "f"
    host.write(str(path), b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(w.os, "rename", fail)
    with pytest.raises(OSError, match="No space"):
        host.write(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp) == ["f"]


def test_of_many_claimants_one_creates_the_file(host, tmp):
    path = str(tmp / "claim")
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        won = list(pool.map(_claim, [path] * 20, range(20)))
    assert sum(won) == 1
    assert (tmp / "claim").read_bytes() == b"%d" % won.index(True)
    assert os.listdir(tmp) == ["claim"]


def _claim(path, number):
    return w.Host().write_new(path, b"%d" % number)


def test_reading_never_hangs_and_never_swallows_too_much(host, tmp):
    os.mkfifo(tmp / "fifo")
    (tmp / "big").write_bytes(b"x" * 100)
    assert host.read(str(tmp / "nothing")) is None
    assert host.read(str(tmp / "big")) == b"x" * 100
    for name, limit in (("fifo", 100), (".", 100), ("big", 99)):
        with pytest.raises(OSError, match=r"regular|larger|directory"):
            host.read(str(tmp / name), limit)


def test_appending_follows_no_link(host, tmp):
    (tmp / "target").write_text("mine")
    os.symlink(tmp / "target", tmp / "log")
    with pytest.raises(OSError, match="symbolic"):
        host.append(str(tmp / "log"), b"x")
    assert (tmp / "target").read_text() == "mine"


def test_removing_twice_is_fine(host, tmp):
    host.write(str(tmp / "f"), b"")
    host.remove(str(tmp / "f"))
    host.remove(str(tmp / "f"))
    assert os.listdir(tmp) == []


@pytest.mark.parametrize(
    ("argv", "verb"),
    [
        (("git", "-c", "a=b", "--no-pager", "status"), "status"),
        (("tmux", "-u", "-L", "x", "list-panes"), "list-panes"),
        (("env",), ""),
    ],
)
def test_complaint_names_tool_and_verb(argv, verb):
    ran = w.Ran(argv=argv, status=1, out=b"", err=b"first\nsecond\n")
    assert ran.reason() == f"{argv[0]} {verb}".strip() + ": exit 1: first"


def test_child_is_asked_to_end_before_it_is_killed(host, tmp):
    """A git that is killed at once leaves packed-refs.lock behind and jams the rig."""
    script = (
        "import signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (open({str(tmp / 'tidied')!r}, 'w').close(), sys.exit(0)))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    ran = host.run([sys.executable, "-c", script], 1.0)
    assert (ran.out, ran.failure) == (b"ready\n", "no answer within 1 s")
    assert (tmp / "tidied").exists()


def test_interrupted_call_leaves_no_child_behind(host, tmp):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    script = f"import os, time; open({str(tmp / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            host.run([sys.executable, "-c", script], 30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert kit.process(int((tmp / "pid").read_text())) is None


def test_writing_follows_no_link_that_lies_in_wait(host, tmp):
    (tmp / "target").write_text("mine")
    os.symlink(tmp / "target", f"{tmp / 'f'}.{os.getpid()}.tmp")
    with pytest.raises(OSError, match="symbolic"):
        host.write(str(tmp / "f"), b"x")
    host.write(str(tmp / "f"), b"x")  # the link is gone, and nothing stands in the way
    assert ((tmp / "target").read_text(), (tmp / "f").read_bytes()) == ("mine", b"x")
