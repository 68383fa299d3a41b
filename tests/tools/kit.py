"""Helpers without fixtures: processes known by pid and start time, polling, and the interpreters of this machine."""

from __future__ import annotations

import functools
import gc
import glob
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the checkout: witness.py, build.sh, tests/."""

ENVIRONMENT = dict(os.environ)
"""The caller's environment, kept from before the seal replaced it."""

PYTHON = os.path.realpath(sys.executable)
"""An interpreter for agents whose path is not the checkout's: tmux names a pane's command by its first word, and a
script's first line takes no space."""

OLDEST, NEWEST = 9, 15
"""The minors of Python 3 looked for: the oldest supported, and one more than is released."""


class Process(NamedTuple):
    """A process that cannot be mistaken for a later one of the same pid."""

    pid: int
    start_time: int  # clock ticks after boot, as in /proc/<pid>/stat


class Result(NamedTuple):
    """What a finished child said."""

    status: int
    stdout: str
    stderr: str


def start_time(pid: int) -> int | None:
    """Return the start time of a process in clock ticks after boot; None where none runs (a zombie has ended)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()  # the command's name may hold spaces and brackets
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def process(pid: int) -> Process | None:
    """Return the process that has this pid now, if any."""
    started = start_time(pid)
    return None if started is None else Process(pid, started)


def is_alive(one: Process) -> bool:
    """Say whether exactly this process still runs."""
    return start_time(one.pid) == one.start_time


def tree(*pids: int) -> list[Process]:
    """Return these processes and all that descend from them, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, todo = [], list(pids)
    while todo:
        pid = todo.pop(0)
        one = process(pid)
        if one and one not in found:
            found.append(one)
            todo += children.get(pid, [])
    return found


def end(*processes: Process, grace_s: float = 0.0) -> None:
    """End exactly these processes: TERM, and KILL for what still runs after the grace; return when they are gone."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if number == signal.SIGTERM and not grace_s:
            continue
        for one in processes:
            if is_alive(one):
                try:
                    os.kill(one.pid, number)
                except ProcessLookupError:
                    pass
        deadline = time.monotonic() + wait_s
        while any(map(is_alive, processes)) and time.monotonic() < deadline:
            time.sleep(0.01)


def count_open_files() -> int:
    """Return how many files this process has open; what earlier tests have left is closed first."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


def wait_for(predicate: Callable[[], T], timeout: float = 10, what: str = "the condition") -> T:
    """Call predicate until it returns something true and return that; fail, naming what, after timeout seconds."""
    deadline = time.monotonic() + timeout
    pause_s = 0.005
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; last answer: {answer!r}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)


def lines_of(path: Path) -> str:
    """Return what a file holds once that ends with a whole line, else "": a file is there before its words are."""
    text = path.read_text() if path.exists() else ""
    return text if text.endswith("\n") else ""


def make_root(base: str | None = None) -> Path:
    """Make the folder for everything of one run; its path is short, for a socket's address holds about 100 bytes."""
    if base is None:
        base = "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="wt-", dir=os.path.realpath(base)))


def remove(path: Path) -> None:
    """Remove a file or a whole folder, whatever its modes."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    for folder, _, _ in os.walk(path):
        if not os.path.islink(folder):
            os.chmod(folder, stat.S_IRWXU)
    shutil.rmtree(path, ignore_errors=True)


def leftovers(root: Path) -> list[tuple[Process, str, str]]:
    """Return the processes that a test started and nobody ended: process, command line, test.

    Whatever a test starts inherits an environment full of paths under root, which no other process has.
    """
    mark = os.fsencode(root) + b"/"
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        one = process(int(entry))
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
            argv = Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile, or somebody else's
        if one and (mark in environment or mark in argv):
            test = environment.partition(b"PYTEST_CURRENT_TEST=")[2].partition(b"\0")[0]
            words = argv.replace(b"\0", b" ").decode(errors="replace").strip()
            found.append((one, words, test.decode(errors="replace") or "an unknown test"))
    return found


def _candidates() -> list[str]:
    """Return what may be an interpreter: versioned names and python3 on the PATH, and what pyenv keeps off it."""
    folders = ENVIRONMENT.get("PATH", os.defpath).split(os.pathsep)
    names = [f"python3.{minor}" for minor in range(OLDEST, NEWEST + 1)] + ["python3"]
    found = [os.path.join(folder, name) for name in names for folder in folders if folder]
    # The shims of pyenv answer only for the version that is switched on; the others stand in this folder.
    pyenv = ENVIRONMENT.get("PYENV_ROOT")
    if pyenv:
        found += sorted(glob.glob(os.path.join(glob.escape(pyenv), "versions/3.*/bin/python3")))
    return [path for path in found if os.access(path, os.X_OK)]


@functools.cache
def pythons() -> dict[str, str]:
    """Return every CPython from 3.9 on that this machine has: "3.11" -> its real executable, oldest first."""
    ask = (
        "import sys; print('%s %d %d' % ((sys.implementation.name,) + sys.version_info[:2]));"
        "print(getattr(sys, '_base_executable', '') or sys.executable)"
    )
    found: dict[tuple[int, int], str] = {}
    seen = set()
    for path in _candidates():
        if os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        try:
            answer = subprocess.run(
                [path, "-I", "-c", ask],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
                stdin=subprocess.DEVNULL,
                env=ENVIRONMENT,
            ).stdout.splitlines()
        except (OSError, subprocess.SubprocessError):
            continue  # a shim without its version, or no Python at all
        name, major, minor = answer[0].split()
        version = int(major), int(minor)
        if name == "cpython" and version >= (3, OLDEST):
            found.setdefault(version, answer[1])
    return {f"{version[0]}.{version[1]}": found[version] for version in sorted(found)}
