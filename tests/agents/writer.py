"""A worker that never stops writing: `python writer.py KIND LOG`, in its worktree.

Every word it has written stands in LOG as soon as it is in its worktree: what is in LOG must be found again. KIND:
edit (appends to a tracked file), create (a new file each), commit, stash, term (writes when it is told to end), free (a
process of its own session, started from here).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KIND, LOG = sys.argv[1], Path(sys.argv[2])


def git(*words: str) -> bool:
    return subprocess.run(["git", *words], check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def note(word: str) -> None:
    with open(LOG, "a", encoding="ascii") as file:
        file.write(word + "\n")


def put(name: str, word: str) -> None:
    with open(name, "a", encoding="ascii") as file:
        file.write(word + "\n")
    note(word)


def save_and_end(_number, _frame) -> None:
    put("unsaved", f"word-{os.getpid()}-last")
    raise SystemExit(0)


def main() -> None:
    if KIND == "free":
        subprocess.Popen([sys.executable, __file__, "edit", str(LOG)], start_new_session=True)
        time.sleep(600)
    if KIND == "term":
        signal.signal(signal.SIGTERM, save_and_end)
        signal.signal(signal.SIGHUP, save_and_end)
    for number in range(100_000):
        word = f"word-{os.getpid()}-{number}-"
        if KIND == "term":
            note("ready")
            time.sleep(600)
        elif KIND == "create":
            put(f"new-{number}", word)
        else:
            put("a.txt", word)
        if KIND == "commit":
            git("commit", "--quiet", "--all", "--message", word)
        elif KIND == "stash":
            git("stash", "push", "--quiet")
        time.sleep(0.005)


main()
