"""A database of the stand-in for `bd`, and the hosts that share it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

STAND_IN = Path(__file__).with_name("stand_bd.py")


class Server:
    """One database: filled, damaged, taken away and looked into from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.write({})

    # -- the issues ----------------------------------------------------------------------------------

    def read(self) -> dict:
        """Return the issues by id."""
        return json.loads((self.folder / "db.json").read_text(encoding="utf-8"))

    def write(self, issues: dict) -> None:
        """Replace the issues."""
        temporary = self.folder / "db.json.new"
        temporary.write_text(json.dumps(issues), encoding="utf-8")
        temporary.rename(self.folder / "db.json")

    @contextlib.contextmanager
    def changing(self):
        """Hold the issues as a call of the program does, and write what was changed."""
        with open(self.folder / "lock", "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go with the file
            issues = self.read()
            yield issues
            self.write(issues)

    def add(self, issue_id: str, title: str = "", links=(), **changes) -> str:
        """File an issue; links as (kind, id)."""
        with self.changing() as issues:
            self.put(issues, issue_id, title, links, changes)
        return issue_id

    @staticmethod
    def put(issues: dict, issue_id: str, title: str, links, changes: dict) -> None:
        """Put an issue among others."""
        number = 1 + len(issues)
        stamp = f"2026-11-01T00:{number // 60 % 60:02d}:{number % 60:02d}Z"
        issues[issue_id] = {
            "id": issue_id,
            "number": number,
            "title": title or f"title of {issue_id}",
            "description": "",
            "status": "open",
            "priority": 2,
            "issue_type": "task",
            "assignee": "",
            "owner": "t@example.com",
            "created_at": stamp,
            "created_by": "Tester",
            "updated_at": stamp,
            "labels": [],
            "links": [{"type": kind, "to": target} for kind, target in links],
            **changes,
        }

    def change(self, issue_id: str, **changes) -> None:
        """Change one issue as a person would."""
        with self.changing() as issues:
            issues[issue_id].update(changes)

    def state(self, issue_id: str) -> tuple:
        """Return (status, assignee) of one issue."""
        issue = self.read()[issue_id]
        return issue["status"], issue["assignee"]

    # -- trouble -------------------------------------------------------------------------------------

    def take_down(self, at: str = "127.0.0.1:3307") -> None:
        """Let nobody reach it."""
        (self.folder / "down").write_text(at, encoding="utf-8")

    def bring_back(self) -> None:
        """Let it be reached, whole and of the right schema."""
        for name in ("down", "corrupt", "skew"):
            (self.folder / name).unlink(missing_ok=True)

    def spoil(self, *faults: dict) -> None:
        """Spoil calls, as of stand_bd.py; calls are counted from here on."""
        (self.folder / "calls").unlink(missing_ok=True)
        (self.folder / "faults.json").write_text(json.dumps(faults), encoding="utf-8")

    def calls(self, verb: str = "") -> list[dict]:
        """Return the calls so far, of one verb or of all."""
        path = self.folder / "calls"
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [row for row in rows if not verb or row["argv"][0] == verb]


class Bin:
    """A folder with a `bd` of one version, to be put on a PATH."""

    def __init__(self, folder: Path, version: str = "1.0.5") -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        program = folder / "bd"
        # A copy: the version lies beside it. Without site, for it is called thousands of times.
        interpreter = os.path.realpath(sys.executable)
        text = STAND_IN.read_text(encoding="utf-8")
        program.write_text(f"#!{interpreter} -IS\n{text}", encoding="utf-8")
        program.chmod(0o755)
        self.use(version)

    def use(self, version: str) -> None:
        """Be of this version from the next call on; the program looks exchanged."""
        (self.folder / "bd.json").write_text(json.dumps({"version": version}), encoding="utf-8")
        os.utime(self.folder / "bd")

    def path(self) -> str:
        """Return a PATH with it in front."""
        return f"{self.folder}{os.pathsep}{os.environ['PATH']}"


def connect(rig: Path, server: Server) -> None:
    """Let `bd` find the database from a rig, and Witness see that there is one."""
    folder = Path(rig) / ".beads"
    folder.mkdir(exist_ok=True)
    (folder / "stand-in.json").write_text(json.dumps({"server": str(server.folder)}), encoding="utf-8")
    server_of = {"backend": "dolt", "dolt_mode": "server", "dolt_server_host": "127.0.0.1", "dolt_server_port": 3307}
    (folder / "metadata.json").write_text(json.dumps(server_of), encoding="utf-8")
    exclude = Path(rig) / ".git" / "info" / "exclude"
    if exclude.exists() and "/.beads/" not in exclude.read_text(encoding="utf-8"):
        with open(exclude, "a", encoding="utf-8") as file:
            file.write("/.beads/\n")


def call(program: Bin, folder: Path, *argv: str, **env: str) -> subprocess.CompletedProcess:
    """Call the stand-in as a person would."""
    words = [str(program.folder / "bd"), *argv]
    return subprocess.run(words, cwd=folder, env={**os.environ, **env}, capture_output=True, timeout=60, check=False)
