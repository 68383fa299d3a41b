"""A worker without a model: it plays one part of the demo and prints what it does.

    python worker.py PART NOTES

PART, up to its first colon: tidy and hasty get an issue and finish it, each in its own way; steady works on and on;
silent says nothing more; mortal is killed in the middle of its work. NOTES is the folder in which a part leaves what
the audience wants to know - its processes, its commit, what was typed to it - and waits for its cues.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

NAME = Path.cwd().name
KEYBOARD = 0


def listen(notes: Path, seconds: float | None) -> None:
    """Wait for so long, or for ever, and note whatever is typed meanwhile."""
    if select.select([KEYBOARD], [], [], seconds)[0]:
        typed = os.read(KEYBOARD, 65536)
        if not typed:
            raise SystemExit("the terminal is gone")
        with open(notes / f"{NAME}.heard", "ab") as file:
            file.write(typed)


def work(notes: Path, until) -> None:
    """Look busy, a line now and then, until something holds."""
    while not until():
        print("thinking", round(time.monotonic(), 1), flush=True)
        listen(notes, 0.3)


def wait_for_cue(notes: Path, word: str) -> None:
    work(notes, (notes / f"{NAME}.{word}").exists)


def write_note(notes: Path, word: str, text: str) -> None:
    """Leave a note in one step, so that nobody reads half of it."""
    part = notes / f"{NAME}.{word}.part"
    part.write_text(text, encoding="utf-8")
    part.replace(notes / f"{NAME}.{word}")


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")
    print("wrote", name, flush=True)


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def commit(notes: Path, name: str, message: str) -> None:
    git("add", name)
    git("commit", "--quiet", "--message", message)
    write_note(notes, "commit", git("rev-parse", "HEAD"))
    print("committed", name, flush=True)


def witness(*words: str) -> tuple[int, str]:
    """Call Witness as a worker is told to, by the command in its environment; return its exit status and words."""
    done = subprocess.run(
        [*shlex.split(os.environ["WITNESS_COMMAND"]), *words],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout, flush=True)
    return done.returncode, done.stdout


def tidy(notes: Path) -> None:
    wait_for_cue(notes, "begin")
    write("greeting.txt", "Hello.\n")
    commit(notes, "greeting.txt", "Add a greeting")
    git("push", "--quiet", "origin", "HEAD")
    witness("handoff")
    work(notes, lambda: False)


def hasty(notes: Path) -> None:
    wait_for_cue(notes, "begin")
    write("farewell.txt", "Good bye.\n")
    status, said = witness("handoff")
    write_note(notes, "handoff", f"exit status {status}\n{said}")
    wait_for_cue(notes, "insist")
    witness("mail", "send", "demo/witness", "-s", "LIFECYCLE: polecat requesting shutdown", "-b", f"Polecat: {NAME}")
    wait_for_cue(notes, "read")
    witness("mail", "inbox")
    commit(notes, "farewell.txt", "Add a farewell")
    witness("handoff")
    work(notes, lambda: False)


def steady(notes: Path) -> None:
    work(notes, lambda: False)


def silent(notes: Path) -> None:
    print("> ", flush=True)
    while True:
        listen(notes, None)


def mortal(notes: Path) -> None:
    write("half-done.txt", "half a thought\n")
    wait_for_cue(notes, "die")
    os.kill(os.getpid(), signal.SIGKILL)


PARTS = {"tidy": tidy, "hasty": hasty, "steady": steady, "silent": silent, "mortal": mortal}


def main(part: str, notes: Path) -> None:
    with open(notes / "started", "a+", encoding="utf-8") as file:
        file.seek(0)
        if NAME in file.read().split():
            part = "steady"  # a second worker of that name has no part in the story; it is only counted
        file.write(NAME + "\n")
    pids = [os.getpid()]
    if part == "tidy":
        # What a worker has started may outlive its terminal: a server that it tests against, for instance.
        pids.append(subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL, start_new_session=True).pid)
    write_note(notes, "pids", " ".join(map(str, pids)))
    PARTS[part](notes)


if __name__ == "__main__":
    main(sys.argv[1].partition(":")[0], Path(sys.argv[2]))
