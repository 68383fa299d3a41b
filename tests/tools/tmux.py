"""A real tmux server of a test's own."""

from __future__ import annotations

import random
import subprocess
import time

from tools import kit
from tools.kit import Process


class Tmux:
    """A real tmux server of its own, on a socket with a random name; it starts with the first session."""

    def __init__(self):
        self.socket = f"w{random.SystemRandom().randrange(16**8):08x}"
        self.seen: set[Process] = set()

    def run(self, *argv, check=True, cwd="/") -> str:
        """Run one tmux command and return what it printed, without the last line end."""
        done = subprocess.run(
            ["tmux", "-L", self.socket, "-f", "/dev/null", *map(str, argv)],
            cwd=cwd,
            timeout=30,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0 or not check, f"tmux {argv} ended with {done.returncode}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def new_session(self, name, cwd, argv, env=None) -> int:
        """Start a session that runs argv in cwd, detached, and return the pid of its pane."""
        settings = [word for item in (env or {}).items() for word in ("-e", "=".join(item))]
        size = ("-x", "200", "-y", "50")
        words = ("new-session", "-d", "-P", "-F", "#{pane_pid}", "-s", name, "-c", cwd, *size, *settings, "--", *argv)
        pid = self.run(*words, check=False)
        for _ in range(20):
            if pid:
                break
            # A server ends with its last session, and for a moment refuses the next one.
            time.sleep(0.1)
            pid = self.run(*words, check=False)
        pid = int(pid or self.run(*words))
        self.remember()
        return pid

    def panes(self) -> list[dict[str, str]]:
        """Return one dictionary a pane: session, pane (its id), pid, command, path, dead; none without a server."""
        fields = {
            "session": "session_name",
            "pane": "pane_id",
            "pid": "pane_pid",
            "command": "pane_current_command",
            "path": "pane_current_path",
            "dead": "pane_dead",
        }
        template = "\t".join(f"#{{{field}}}" for field in fields.values())
        lines = self.run("list-panes", "-a", "-F", template, check=False).splitlines()
        return [dict(zip(fields, line.split("\t"))) for line in lines]

    def server(self) -> int | None:
        """Return the pid of the server, if it runs."""
        answer = self.run("display-message", "-p", "#{pid}", check=False)
        return int(answer) if answer.isdigit() else None

    def remember(self) -> None:
        """Note the server, the panes' processes and all that they started, so that kill() finds what outlives them."""
        pids = [int(pane["pid"]) for pane in self.panes() if pane["pid"].isdigit()]
        self.seen.update(kit.tree(*filter(None, [self.server(), *pids])))

    def kill(self) -> None:
        """End the server and every process that its panes started."""
        self.remember()
        self.run("kill-server", check=False)
        kit.end(*self.seen, grace_s=0.5)
        self.seen.clear()
