"""The real `bd`, and a real Dolt server where its version needs one, for tests marked `real`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

SERVER_SINCE = (0, 50, 0)  # before, bd keeps its issues in SQLite
QUIET_DOLT = {  # the settings of a Dolt that talks to nobody outside
    "user.name": "server",
    "user.email": "server@example.org",
    "metrics.disabled": "true",
    "versioncheck.disabled": "true",
}


def run(*words, cwd, timeout=120, check=True, **env) -> subprocess.CompletedProcess:
    """Run a program as a person would."""
    quiet = {"BEADS_NO_DAEMON": "1", "BD_NO_DAEMON": "1", "BD_BACKUP_ENABLED": "false"}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **quiet, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done


def bd_version() -> tuple:
    """Return the version of the bd on the PATH; () where there is none."""
    if not shutil.which("bd"):
        return ()
    match = re.search(r"bd version (\d+)\.(\d+)\.(\d+)", run("bd", "version", cwd="/", check=False).stdout)
    return tuple(int(part) for part in match.groups()) if match else ()


def dolt_version() -> str:
    """Return the version of the dolt on the PATH; "" where there is none."""
    if not shutil.which("dolt"):
        return ""
    match = re.search(r"dolt version (\S+)", run("dolt", "version", cwd="/", check=False).stdout)
    return match.group(1) if match else ""


def find_missing() -> str:
    """Return what is missing on the PATH for these tests, "" if nothing is."""
    version = bd_version()
    if not version:
        return "bd"
    return "dolt" if version >= SERVER_SINCE and not dolt_version() else ""


class Dolt:
    """One Dolt SQL server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen | None = None
        for name, value in QUIET_DOLT.items():
            run("dolt", "config", "--global", "--add", name, value, cwd=folder)

    def start(self) -> None:
        """Start it and wait until it can be reached."""
        words = ["dolt", "sql-server", "--host", "127.0.0.1", "--port", str(self.port), "--data-dir", str(self.data)]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                words,
                cwd=self.data,
                env={**os.environ, "DOLT_DISABLE_EVENT_FLUSH": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text(errors="replace"))

    def stop(self) -> None:
        """End it as a crash of its host would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None


class Queue:
    """A real queue: its database, and the rigs that share it."""

    def __init__(self, folder: Path) -> None:
        self.version = bd_version()
        self.dolt = Dolt(folder / "dolt") if self.version >= SERVER_SINCE else None
        if self.dolt is not None:
            self.dolt.start()
        self.first: Path | None = None

    def join(self, rig: Path) -> None:
        """Make the database from the first rig; let every later one use it."""
        if self.first is not None:
            shutil.copytree(self.first / ".beads", rig / ".beads", dirs_exist_ok=True)
        else:
            self.first = rig
            where = ()
            if self.dolt is not None:
                where = (
                    "--server",
                    "--server-host",
                    "127.0.0.1",
                    "--server-port",
                    self.dolt.port,
                    "--server-user",
                    "root",
                )
            run("bd", "init", "--prefix", "de", "--quiet", "--skip-hooks", *where, cwd=rig)
        with open(rig / ".git" / "info" / "exclude", "a", encoding="utf-8") as file:
            file.write("/.beads/\n/.gitattributes\n/AGENTS.md\n/CLAUDE.md\n/.claude/\n")

    def bd(self, *words, check=True) -> subprocess.CompletedProcess:
        """Run bd in the first rig."""
        return run("bd", *words, cwd=self.first, check=check)

    def create(self, title: str, *words: str) -> str:
        """File an issue and return its id."""
        out = self.bd("create", title, "-d", "a test", *words, "--json").stdout
        return json.loads(out[out.index("{") :])["id"]

    def show(self, issue: str) -> dict:
        """Return one issue as bd shows it; two that open a database of 0.30.7 at once may both fail."""
        for _ in range(5):
            done = self.bd("show", issue, "--json", check=False)
            if done.returncode == 0 and done.stdout.strip():
                return json.loads(done.stdout)[0]
            time.sleep(0.5)
        raise AssertionError(done.stderr)

    def state(self, issue: str) -> tuple:
        """Return (status, assignee) of one issue."""
        shown = self.show(issue)
        return shown["status"], shown.get("assignee", "")

    def close(self) -> None:
        """End the server."""
        if self.dolt is not None:
            self.dolt.stop()
