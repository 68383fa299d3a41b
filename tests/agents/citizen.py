"""A worker of a town that does nothing of its own: `python citizen.py FOLDER`.

It appends what it is typed to FOLDER/heard/NAME, as raw lines, and one line to FOLDER/heard/NAME.started: its
arguments. NAME is the polecat's name, else the role. A script FOLDER/parts/NAME, or FOLDER/parts/any for every polecat,
is run in its place. A polecat that finds FOLDER/parts/busy prints a word now and then, until FOLDER/parts/NAME.quiet is
there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time


def think(quiet: str) -> None:
    """Show signs of life until somebody wants it quiet."""
    while not os.path.exists(quiet):
        print("thinking", round(time.monotonic(), 1), flush=True)
        time.sleep(0.4)


def main(folder: str) -> None:
    polecat = os.environ.get("GT_POLECAT")
    name = polecat or os.environ.get("GT_ROLE", "nobody").rpartition("/")[2]
    for part in (name, "any")[: 2 if polecat else 1]:
        path = os.path.join(folder, "parts", part)
        if os.path.exists(path):
            os.execv(path, [path])
    heard = os.path.join(folder, "heard", name)
    with open(f"{heard}.started", "a", encoding="utf-8") as file:
        file.write(json.dumps(sys.argv[2:]) + "\n")
    print("ready", flush=True)
    if polecat and os.path.exists(os.path.join(folder, "parts", "busy")):
        threading.Thread(target=think, args=[os.path.join(folder, "parts", f"{name}.quiet")], daemon=True).start()
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            time.sleep(600)
        with open(heard, "ab") as file:
            file.write(line)


main(sys.argv[1])
