"""A real town: the `gt` and `bd` on the PATH, the Dolt server where they need one, and agents without models.

Everything that the town starts carries a path below its folder in its environment: that finds it again, and ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tools import kit, realbd

AGENT = Path(__file__).parent.parent / "agents" / "resident.py"
SEED = (0, 0, 1)
"""What the `gt` without a released version calls itself."""

GITCONFIG = """\
[user]
\tname = Tess Ter
\temail = tess@example.org
[init]
\tdefaultBranch = main
[commit]
\tgpgSign = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[protocol "file"]
\tallow = always
[safe]
\tbareRepository = all
"""


def gt_version() -> tuple:
    """Return the version of the gt on the PATH; () where there is none."""
    if not shutil.which("gt"):
        return ()
    match = re.search(r"(?:gt version |Version:\s+)(\d+)\.(\d+)\.(\d+)", realbd.run("gt", "version", cwd="/").stdout)
    return tuple(int(part) for part in match.groups()) if match else ()


def find_missing() -> str:
    """Return what a town needs and the PATH lacks, "" if nothing."""
    return "gt" if not gt_version() else realbd.find_missing()


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Town:
    """A town with one rig, demo, whose beads are called de-…"""

    def __init__(self, folder: Path, name: str = "town", **settings) -> None:
        self.folder, self.root, self.rig = folder, folder / name, folder / name / "demo"
        self.version, self.bd_version = gt_version(), realbd.bd_version()
        self.logs, self.origin = folder / "logs", folder / "origin.git"
        self.started: set[kit.Process] = set()
        self.server = self.bd_version >= realbd.SERVER_SINCE
        self.port = free_port()
        for part in ("home", "logs", "bin", "x", "t"):
            (folder / part).mkdir()
        self.env = self._environment()
        (folder / "home" / ".gitconfig").write_text(GITCONFIG)
        # The seed types its agent's name into a login shell, which makes a PATH of its own.
        (folder / "home" / ".profile").write_text(f"PATH='{self.env['PATH']}'\nexport PATH\n")
        if self.server:
            for key, value in realbd.QUIET_DOLT.items():
                self.run("dolt", "config", "--global", "--add", key, value)
        self._make_origin()
        self._furnish_agents()
        words = ["gt", "install", self.root, "--name", name]
        self.run(*words, *(("--dolt-port", self.port) if self.server else ()))
        self.configure(**settings)
        self.gt("rig", "add", "demo", self.url, "--prefix", "de")
        if self.version == SEED:  # it asks for an option that no bd has
            self.bd("init", "--prefix", "de", "--quiet", "--skip-hooks")

    # ---- making it --------------------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        """Return the environment of everything in the town, sealed like the tests themselves."""
        home = self.folder / "home"
        return {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_DATA_HOME": str(home / ".local/share"),
            "XDG_STATE_HOME": str(home / ".local/state"),
            "TMPDIR": str(self.folder / "t"),
            "TMUX_TMPDIR": str(self.folder / "x"),
            "TMUX": "",
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]]),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "SHELL": shutil.which("bash") or "/bin/sh",  # gt 0.2 waits for a shell that lets its agent take its place
            "BEADS_NO_DAEMON": "1",
            "BD_BACKUP_ENABLED": "false",
            **({"GT_DOLT_PORT": str(self.port), "DOLT_DISABLE_EVENT_FLUSH": "1"} if self.server else {}),
        }

    @property
    def url(self) -> str:
        """Where the rig's repository comes from, and what its workers push goes to."""
        return f"file://{self.origin}"

    def _make_origin(self) -> None:
        """Make the project: a bare repository with one commit on main."""
        work = self.folder / "t" / "first"
        self.run("git", "init", "--quiet", work)
        (work / "README.md").write_text("first\n")
        self.run("git", "add", "--all", cwd=work)
        self.run("git", "commit", "--quiet", "--message", "first", cwd=work)
        self.run("git", "clone", "--quiet", "--bare", work, self.origin)
        shutil.rmtree(work)

    def _furnish_agents(self) -> None:
        """Put in the place of the models, of which old versions know only one by name, what hears and obeys."""
        link = self.folder / "bin" / "claude"
        link.write_text(f'#!/bin/sh\nexec {kit.PYTHON} {AGENT} {self.logs} "$@"\n')
        link.chmod(0o755)

    def configure(self, seat: dict | None = None, operational: dict | None = None, **more) -> None:
        """Write the town's settings: the agent of every role and, where given, of the witness's seat."""
        path = self.root / "settings" / "config.json"
        path.parent.mkdir(exist_ok=True)
        told = json.loads(path.read_text()) if path.exists() else {"type": "town-settings", "version": 1}
        agents = told.setdefault("agents", {})
        agents["scripted"] = {
            "command": kit.PYTHON,
            "args": [str(AGENT), str(self.logs)],
            "prompt_mode": "none",
            "tmux": {"process_names": [os.path.basename(kit.PYTHON)], "ready_prompt_prefix": "", "ready_delay_ms": 500},
        }
        told["default_agent"] = "scripted"
        if seat is not None:
            agents["witness"] = seat
            told.setdefault("role_agents", {})["witness"] = "witness"
        if operational is not None:
            told["operational"] = operational
        path.write_text(json.dumps({**told, **more}, indent=2))

    def ignore_own_files(self) -> None:
        """Keep the files that gt and bd put into worktrees out of what git shows."""
        with open(self.rig / ".repo.git" / "info" / "exclude", "a", encoding="utf-8") as file:
            file.write("/.beads/\n/.claude/\n/.runtime/\n/CLAUDE.md\n/.gitignore\n")

    # ---- running ----------------------------------------------------------------------------------------------------

    def run(self, *words, cwd=None, timeout=180, check=True, **env) -> subprocess.CompletedProcess:
        """Run a program in the town, in its root where nothing else is said."""
        where = cwd or (self.root if self.root.is_dir() else self.folder)
        return realbd.run(*words, cwd=where, timeout=timeout, check=check, **{**self.env, **env})

    def gt(self, *words, **options) -> subprocess.CompletedProcess:
        """Run gt as the overseer would."""
        return self.run("gt", *words, **options)

    def bd(self, *words, cwd=None, **options) -> subprocess.CompletedProcess:
        """Run bd in the rig."""
        return self.run("bd", *words, cwd=cwd or self.rig, **options)

    def git(self, *words, cwd=None, **options) -> str:
        """Run git in the repository that every worktree of the rig belongs to."""
        base = self.rig / ("mayor/rig" if self.version == SEED else ".repo.git")
        return self.run("git", *words, cwd=cwd or base, **options).stdout.rstrip("\n")

    def as_polecat(self, name: str) -> dict[str, str]:
        """Return what the session of a polecat has in its environment."""
        role = "polecat" if self.version < (1,) else f"demo/polecats/{name}"
        return {
            "GT_ROLE": role,
            "GT_RIG": "demo",
            "GT_POLECAT": name,
            "BD_ACTOR": f"demo/polecats/{name}",
            "GT_TOWN_ROOT": str(self.root),
            "GT_ROOT": str(self.root),
            "GT_SESSION": self.session(name),
        }

    def as_witness(self) -> dict[str, str]:
        """Return what the witness's own calls have in their environment."""
        return {"GT_ROLE": "demo/witness", "GT_RIG": "demo", "BD_ACTOR": "demo/witness"}

    # ---- issues -----------------------------------------------------------------------------------------------------

    def create(self, title: str, *words) -> str:
        """File an issue in the rig and return its id."""
        out = self.bd("create", title, "-d", "a test", *words, "--json").stdout
        return json.loads(out[out.index("{") :])["id"]

    def show(self, issue: str, cwd=None) -> dict:
        """Return one issue as bd shows it."""
        for _ in range(5):
            done = self.bd("show", issue, "--json", cwd=cwd, check=False)
            if done.returncode == 0 and done.stdout.strip():
                return json.loads(done.stdout)[0]
            time.sleep(0.5)
        raise AssertionError(done.stderr)

    def state(self, issue: str) -> tuple:
        """Return (status, assignee) of one issue."""
        shown = self.show(issue)
        return shown["status"], shown.get("assignee", "")

    # ---- mail -------------------------------------------------------------------------------------------------------

    def send(self, name: str, subject: str, body: str, to: str = "demo/witness") -> None:
        """Send mail as a polecat does."""
        if self.version == SEED:
            self.bd("mail", "send", to, "-s", subject, "-m", body, "--identity", f"demo/{name}", cwd=self.root)
        else:
            self.gt("mail", "send", to, "-s", subject, "-m", body, cwd=self.rig, **self.as_polecat(name))

    def inbox(self, address: str = "demo/witness") -> list[dict]:
        """Return the mail that waits at an address."""
        if self.version == SEED:
            asked = ("mail", "inbox", "--json", "--identity", address)
            done = self.bd(*asked, cwd=self.root, check=False)
            for _ in range(20):  # two that open a database of that age at once may both fail
                if done.returncode == 0:
                    break
                time.sleep(0.5)
                done = self.bd(*asked, cwd=self.root, check=False)
            assert done.returncode == 0, done
        else:
            done = self.gt("mail", "inbox", "--identity", address, "--json", cwd=self.rig, **self.as_witness())
        return json.loads(done.stdout) or []

    # ---- workers ----------------------------------------------------------------------------------------------------

    def sling(self, issue: str, target: str = "demo", *words, **options) -> subprocess.CompletedProcess:
        """Give an issue to a worker as a person does."""
        if self.version == SEED:
            return self.gt("spawn", "--rig", target, "--issue", issue, "--create", *words, **options)
        raw = ("--hook-raw-bead",) if self.version < (1,) and self.version >= (0, 5) else ()
        return self.gt("sling", issue, target, "--no-convoy", *raw, *words, **options)

    def polecats(self) -> dict[str, dict]:
        """Return the polecats that gt lists, by name."""
        listed = json.loads(self.gt("polecat", "list", "demo", "--json").stdout) or []
        return {one["name"]: one for one in listed}

    def session(self, name: str) -> str:
        """Return the name of the session of a polecat, of the refinery or of the witness."""
        if self.version >= (0, 7):
            return f"de-{name}"
        if self.version == SEED and name == "witness":
            return "gt-witness-demo"
        return f"gt-demo-{name}"

    def worktree(self, name: str) -> Path:
        """Return the worktree of a polecat."""
        path = self.rig / "polecats" / name
        return path if self.version < (0, 2, 3) else path / "demo"

    # ---- tmux -------------------------------------------------------------------------------------------------------

    def sockets(self) -> list[str]:
        """Return every tmux socket of the town."""
        return sorted(path.name for path in (self.folder / "x").glob("tmux-*/*"))

    @property
    def socket(self) -> str:
        """The socket that the town's sessions are on; "default" where gt names none."""
        named = [one for one in self.sockets() if one != "default"]
        return named[0] if named else "default"

    def tmux(self, *words, check=True) -> str:
        """Run one tmux command on the town's socket."""
        return self.run("tmux", "-L", self.socket, *words, check=check).stdout.rstrip("\n")

    def panes(self) -> dict[str, tuple[int, str]]:
        """Return (pid, command) of the first pane of every session."""
        found: dict[str, tuple[int, str]] = {}
        form = "#{session_name}\t#{pane_pid}\t#{pane_current_command}"
        for line in self.tmux("list-panes", "-a", "-F", form, check=False).splitlines():
            session, pid, command = line.split("\t")
            found.setdefault(session, (int(pid), command))
        return found

    def type(self, name: str, line: str) -> None:
        """Type a line into a session as a person does."""
        self.tmux("send-keys", "-t", f"={self.session(name)}:", "-l", line)
        self.tmux("send-keys", "-t", f"={self.session(name)}:", "Enter")

    def heard(self, name: str) -> list[str]:
        """Return what the agent in a session was given, and what came of its own commands."""
        path = self.logs / f"{self.session(name)}.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def do(self, name: str, command: str, timeout: float = 120) -> str:
        """Let the agent of a session run a shell command where it works, and return how that ended."""
        before = len(self.heard(name))

        def look() -> str:
            nonlocal before
            new = self.heard(name)[before:]
            ended = [line for line in new if line.startswith("ended ")]
            merged = [n for n, line in enumerate(new) if command in line and not line.strip("\x1b ").startswith("!")]
            if merged and not ended:  # gt typed its own word of a mail at that moment, into the same line
                before += merged[-1] + 1
                self.type(name, f"!{command}")
            return ended[0] if ended else ""

        self.type(name, f"!{command}")
        return kit.wait_for(look, timeout, command)

    # ---- what runs --------------------------------------------------------------------------------------------------

    def start_daemon(self, heartbeat: str = "20s") -> None:
        """Start gt's own daemon, with a heartbeat shorter than its three minutes where the version takes one."""
        path = self.root / "settings" / "config.json"
        told = json.loads(path.read_text()) if path.exists() else {}
        told.setdefault("operational", {}).setdefault("daemon", {})["recovery_heartbeat_interval"] = heartbeat
        path.write_text(json.dumps(told, indent=2))
        self.gt("daemon", "start")

    def stop_daemon(self) -> None:
        """Stop gt's daemon."""
        self.gt("daemon", "stop", check=False)

    def stop_server(self) -> None:
        """End the Dolt server as a crash of its host would."""
        pid = int((self.root / "daemon" / "dolt.pid").read_text().split()[0])
        one = kit.process(pid)
        if one is not None:
            kit.end(one)

    def start_server(self) -> None:
        """Start the Dolt server again."""
        self.gt("dolt", "start")

    def processes(self) -> list[kit.Process]:
        """Return everything of the town that runs."""
        return [one for one, _, _ in kit.leftovers(self.folder)]

    def close(self) -> None:
        """End everything of the town: gt's daemon first, for it restarts what ends."""
        with contextlib.suppress(OSError, ValueError):
            one = kit.process(int((self.root / "daemon" / "daemon.pid").read_text().split()[0]))
            if one is not None:
                kit.end(one, grace_s=3)
        for _ in range(20):
            left = self.processes()
            if not left:
                return
            kit.end(*left)
        raise AssertionError([words for _, words, _ in kit.leftovers(self.folder)])
