#!/usr/bin/env python3
"""An agent of a town that has no model: `resident.py FOLDER`.

It notes every line that it is given in FOLDER/<session>.log, one JSON string a line. What stands behind a `!` it runs
as a shell command where it works, and notes exit status and output, too; the rest it only hears. It ends when its
terminal does.
"""

import json
import os
import subprocess
import sys

PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT} "


def main() -> None:
    asked = ["tmux", "display-message", "-p", "-t", os.environ.get("TMUX_PANE", ""), "#{session_name}"]
    said = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    session = said.stdout.strip()
    with open(os.path.join(sys.argv[1], f"{session}.log"), "a", encoding="utf-8") as log:

        def note(text: str) -> None:
            log.write(json.dumps(text) + "\n")
            log.flush()

        note(f"began {sys.argv[2:]}")
        while True:
            sys.stdout.write(PROMPT)
            sys.stdout.flush()
            line = sys.stdin.readline()
            if not line:
                return
            note(line.rstrip("\n"))
            command = line.strip("\x1b\n ")  # a nudge of gt before it may have left an escape
            if command.startswith("!"):
                done = subprocess.run(
                    ["sh", "-c", command[1:]], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
                )
                note(f"ended {done.returncode}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
