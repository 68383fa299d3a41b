"""A worker without a model: it plays one part of the demo, told by its first argument, and prints what it does.

Parts: tidy and hasty get an issue and end it, each in its way; steady just works; silent stops without a word; mortal
ends in the middle of its work. Whatever a part must remember outside its worktree goes to the folder of the second
argument: its pid, and what it was told.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, stdin=subprocess.DEVNULL)


def witness(*words: str) -> None:
    """Call Witness as a worker is told to: by the command in its environment."""
    subprocess.run([*shlex.split(os.environ["WITNESS_COMMAND"]), *words], check=True, stdin=subprocess.DEVNULL)


def work(seconds: float) -> None:
    """Look busy: a line every now and then."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        print("thinking", time.monotonic(), flush=True)
        time.sleep(0.3)


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")
    print("wrote", name, flush=True)


def tidy(notes: Path) -> None:
    write("greeting.txt", "Hello.\n")
    git("add", "greeting.txt")
    git("commit", "--quiet", "--message", "Add a greeting")
    git("push", "--quiet", "origin", "HEAD")
    work(3)
    witness("handoff")
    work(600)


def hasty(notes: Path) -> None:
    write("farewell.txt", "Good bye.\n")
    name = os.environ["WITNESS_POLECAT"]
    inbox = Path(os.environ["WITNESS_RIG"], ".gastown", "mail", f"demo.{name}", "new")
    work(1)
    witness("mail", "send", "demo/witness", "-s", "LIFECYCLE: polecat requesting shutdown", "-b", f"Polecat: {name}")
    while not (inbox.is_dir() and any(inbox.iterdir())):
        work(0.3)
    (notes / f"{name}.refused").touch()
    while not (notes / "go-on").exists():  # the audience first looks at what was refused
        work(0.3)
    git("add", "farewell.txt")
    git("commit", "--quiet", "--message", "Add a farewell")
    witness("handoff")
    work(600)


def steady(notes: Path) -> None:
    work(600)


def silent(notes: Path) -> None:
    print("> ", flush=True)
    for line in sys.stdin:
        with open(notes / "silent.heard", "a", encoding="utf-8") as file:
            file.write(line)


def mortal(notes: Path) -> None:
    write("half-done.txt", "half a thought\n")
    work(2)


PARTS = {"tidy": tidy, "hasty": hasty, "steady": steady, "silent": silent, "mortal": mortal}


if __name__ == "__main__":
    part, folder = sys.argv[1].partition(":")[0], Path(sys.argv[2])
    (folder / f"{Path.cwd().name}.pid").write_text(str(os.getpid()), encoding="utf-8")
    PARTS[part](folder)
