"""One outside call: whatever the child does, it ends in time and is a value."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import kit

import witness as w


@pytest.fixture(params=["posix_spawn", "subprocess"])
def host(request, monkeypatch):
    """Give children both ways of being started: some Pythons know no posix_spawn in a session of its own."""

    def refuse(*_, **__):
        raise NotImplementedError("setsid not supported")

    if request.param == "subprocess":
        monkeypatch.setattr(w.os, "posix_spawnp", refuse)
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


def test_child_that_leaves_its_last_word_unread_is_read_to_the_end(host):
    ran = host.run([sys.executable, "-c", "import sys; sys.stdout.write('x' * 3000000); sys.stderr.write('y' * 9)"], 20)
    assert (len(ran.out), ran.err, ran.ok) == (3000000, b"y" * 9, True)


def test_pieces_go_to_the_sink_and_none_is_empty(host):
    pieces = []
    ran = host.run([sys.executable, "-c", "print('x' * 300000)"], 20, limit_bytes=10, sink=pieces.append)
    assert (ran.ok, ran.out, b"".join(pieces)) == (True, b"", b"x" * 300000 + b"\n")
    assert all(pieces)


def test_child_that_closes_its_pipes_and_lives_on_is_ended(host):
    script = "import os, time; os.close(1); os.close(2); time.sleep(60)"
    assert host.run([sys.executable, "-c", script], 1.0).failure == "no answer within 1 s"


def test_child_killed_by_a_signal_is_told_as_such(host):
    ran = host.run(["sh", "-c", "kill -9 $$"], 20)
    assert (ran.status, ran.failure, ran.ok) == (-9, "", False)


def test_child_stands_where_it_is_sent_and_we_stay_where_we_are(host, tmp, monkeypatch):
    (tmp / "here").mkdir()
    (tmp / "there").mkdir()
    monkeypatch.chdir(tmp / "here")
    assert host.run(["pwd", "-P"], 20, cwd=str(tmp / "there")).text() == f"{tmp / 'there'}\n"
    assert host.run(["pwd", "-P"], 20).text() == "/\n"
    assert not host.run(["pwd"], 20, cwd=str(tmp / "nowhere")).ok
    assert os.getcwd() == str(tmp / "here")


def test_a_folder_of_ours_that_is_gone_or_shut_is_no_trouble(host, tmp, monkeypatch):
    folder = tmp / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.chmod(0o300)
    assert host.run(["pwd", "-P"], 20).text() == "/\n"
    folder.rmdir()
    assert host.run(["pwd", "-P"], 20).text() == "/\n"


def test_child_gets_no_file_of_ours_but_those_it_is_given(host, tmp):
    with open(tmp / "kept", "wb") as kept, open(tmp / "other", "wb") as other:
        script = "import os; print(sorted(os.path.realpath(f'/dev/fd/{n}') for n in os.listdir('/dev/fd')))"
        told = host.run([sys.executable, "-c", script], 20, keep_fds=(kept.fileno(),)).text()
        assert str(tmp / "kept") in told
        assert str(tmp / "other") not in told
        assert not os.get_inheritable(kept.fileno())
        assert not os.get_inheritable(other.fileno())


def test_child_is_in_a_session_of_its_own_without_our_terminal(host):
    script = "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())"
    assert host.run([sys.executable, "-c", script], 20).text() == "True\n"


def test_child_heeds_a_broken_pipe_although_python_does_not(host):
    script = "trap '' USR1; grep SigIgn /proc/$$/status"
    ignored = int(host.run(["sh", "-c", script], 20).text().split()[1], 16)
    assert not ignored & 1 << (signal.SIGPIPE - 1)
    assert ignored & 1 << (signal.SIGUSR1 - 1)  # the look can see it


def test_how_a_child_ended_is_known_under_a_caller_that_ignores_its_children():
    """With SIGCHLD ignored the kernel forgets how children end, and every tool seemed to have done well."""
    script = (
        "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); import witness; "
        "print([witness.Host().run(argv, 20).status for argv in (['true'], ['false'], ['sh', '-c', 'exit 7'])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=kit.ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[0, 1, 7]\n"


def test_no_call_leaves_a_file_open_or_a_child_unread(host):
    def children():  # zombies, too
        found = set()
        for row in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                if row.read_bytes().rpartition(b")")[2].split()[1] == str(os.getpid()).encode():
                    found.add(row.parent.name)
        return found

    before, pids = kit.count_open_files(), children()
    for argv in (["true"], ["no-such-tool"], ["sh", "-c", "exit 3"], [sys.executable, "-c", "print('x' * 99999)"]):
        host.run(argv, 20, stdin=b"x" * 100000, limit_bytes=1000)
    host.run(["sleep", "60"], 0.2)
    assert kit.count_open_files() == before
    assert children() <= pids  # of those who came before nothing is known


def test_a_folder_of_ours_that_cannot_be_entered_is_no_trouble(host, tmp, monkeypatch):
    """After `sudo -u agent` in another's home: not even a look at where we stand is allowed."""
    real = os.open

    def refuse(path, *more, **words):
        if path == ".":
            raise PermissionError(13, "Permission denied", ".")
        return real(path, *more, **words)

    monkeypatch.chdir(tmp)
    monkeypatch.setattr(w.os, "open", refuse)
    assert host.run(["pwd", "-P"], 20, cwd=str(tmp)).text() == f"{tmp}\n"


def test_a_variable_without_a_name_is_left_out(host):
    reader, writer = os.pipe()
    child = w.start_child(["env"], {"": "x", "A": "b", "PATH": os.environ["PATH"]}, (None, writer, None))
    os.close(writer)
    with open(reader, encoding="ascii") as file:
        assert sorted(file.read().split()) == ["A=b", f"PATH={os.environ['PATH']}"]
    assert not child.outlives(time.monotonic() + 10)
    assert child.status == 0


def test_a_timeout_of_months_is_one(host):
    assert host.run(["true"], 100 * 86400.0).ok


def test_child_is_ended_where_whoever_must_note_it_cannot(host, tmp):
    """It was neither ended nor reaped, and went on by itself while "cannot be run" was all that was said."""
    pids = []

    def note(pid: int) -> None:
        pids.append(pid)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        host.run(["sleep", "60"], 20, began=note)
    (pid,) = pids
    assert kit.process(pid) is None
