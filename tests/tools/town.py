"""A whole Gas Town around the stand-ins for `gt` and `bd`: real git, real tmux, one rig called demo."""

from __future__ import annotations

import functools
import hashlib
import json
import marshal
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tools import beads, kit

STAND_IN = Path(__file__).with_name("stand_gt.py")
CITIZEN = Path(__file__).parent.parent / "agents" / "citizen.py"
PAIRS = {"seed": "0.30.7", "0.2.6": "0.47.1", "0.5.0": "0.47.1", "1.0.1": "1.0.0"}
"""The versions of gt, each with that of the bd it was recorded with."""
PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
"""What the last line of a screen begins with where gt takes its agent for idle."""
WITNESS = {"GT_ROLE": "demo/witness", "GT_RIG": "demo", "BD_ACTOR": "demo/witness"}
HOLD = """\
import fcntl, os, sys, time
lock = open("daemon.lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open("daemon.pid.new", "w") as file:
    file.write(f"{os.getpid()}" + sys.argv[1])
os.rename("daemon.pid.new", "daemon.pid")
time.sleep(600)
"""
LAUNCHER = """\
import marshal, os, sys
with open(os.path.realpath(sys.argv[0]) + ".code", "rb") as file:
    exec(marshal.load(file))
"""
"""It is called hundreds of times, and compiling it takes longer than most of its calls."""
FIRST = """\
commit refs/heads/main
committer Tess Ter <tess@example.org> 1793000000 +0000
data 6
first
M 100644 inline README.md
data 5
demo
"""


@functools.cache
def compiled() -> bytes:
    """Return the stand-in as this interpreter runs it."""
    return marshal.dumps(compile(STAND_IN.read_text(encoding="utf-8"), str(STAND_IN), "exec"))


def git(*argv, cwd, check: bool = True, input: str = "") -> str:
    """Run git and return what it printed, without the last line end."""
    done = subprocess.run(
        ["git", *map(str, argv)], cwd=cwd, capture_output=True, text=True, input=input, timeout=60, check=False
    )
    assert done.returncode == 0 or not check, f"git {argv} ended with {done.returncode}: {done.stderr}"
    return done.stdout.rstrip("\n")


class Town:
    """A town of one version, its rig, its databases, its tmux server and what was called in it.

    A town beside another is another host's: the issues of its rig and the origin are those of the other.
    """

    def __init__(self, folder: Path, tmux, pair: str = "1.0.1", beside: Town | None = None, **options) -> None:
        self.version = pair
        self.modern = pair == "1.0.1"
        self.folder = folder
        self.path = folder / "town"
        self.rig = self.path / "demo"
        self.origin = beside.origin if beside else folder / "origin.git"
        self.children: list[subprocess.Popen] = []
        self.daemon: subprocess.Popen | None = None
        self.path.mkdir(parents=True)
        self.bin = beads.Bin(folder / "bin", PAIRS[pair])
        self.tmux = tmux
        self.tmux.socket = self.socket
        self.town_server = beads.Server(folder / "town-db")
        self.server = beside.server if beside else beads.Server(folder / "rig-db")
        self._install_gt()
        self._found_town()
        self._found_rig()
        self.option(**options)

    # -- making it -------------------------------------------------------------------------------------

    @property
    def socket(self) -> str:
        """Return the name of the tmux socket."""
        if not self.modern:
            return "default"
        name = re.sub(r"[^a-z0-9-]+", "-", self.path.name.lower()).strip("-")
        return f"{name}-{hashlib.sha256(os.path.realpath(self.path).encode()).hexdigest()[:6]}"

    def _install_gt(self) -> None:
        program = self.bin.folder / "gt"
        program.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{LAUNCHER}", encoding="utf-8")
        program.chmod(0o755)
        (self.bin.folder / "gt.code").write_bytes(compiled())
        self._put(self.bin.folder / "gt.json", {"version": self.version})
        for name in ("heard", "parts"):
            (self.bin.folder / name).mkdir()

    def _put(self, path: Path, content) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _connect(self, place: Path, server: beads.Server) -> None:
        """Let the stand-ins find a database, and give its folder the looks of the real one."""
        folder = place / ".beads"
        folder.mkdir(mode=0o700)
        self._put(folder / "stand-in.json", {"server": str(server.folder)})
        if self.modern:
            about = {"backend": "dolt", "dolt_mode": "server", "dolt_database": "de"}
            self._put(folder / "metadata.json", {**about, "dolt_server_host": "127.0.0.1", "dolt_server_port": 3307})
        else:
            (folder / "beads.db").touch()

    def _found_town(self) -> None:
        now = "2026-11-22T11:43:20Z"
        self._put(self.path / "mayor/town.json", {"type": "town", "version": 2, "name": "town", "created_at": now})
        entry = {"git_url": f"file://{self.origin}", "added_at": now, "beads": {"repo": "", "prefix": "de"}}
        self._put(self.path / "mayor/rigs.json", {"version": 1, "rigs": {"demo": entry}})
        agent = {
            "command": kit.PYTHON,
            "args": [str(CITIZEN), str(self.bin.folder)],
            "prompt_mode": "none",
            "tmux": {"process_names": [os.path.basename(kit.PYTHON)]},
        }
        settings = {"type": "town-settings", "version": 1, "default_agent": "scripted", "agents": {"scripted": agent}}
        self._put(self.path / "settings/config.json", settings)
        self._connect(self.path, self.town_server)
        for name in ("deacon", "daemon"):
            (self.path / name).mkdir()

    def _found_rig(self) -> None:
        if not self.origin.exists():
            git("init", "--quiet", "--bare", "--template=", self.origin, cwd=self.folder)
            git("fast-import", "--quiet", cwd=self.origin, input=FIRST)
        clone = ("clone", "--quiet", "--template=")
        url = f"file://{self.origin}"
        self._put(
            self.rig / "config.json",
            {
                "type": "rig",
                "version": 1,
                "name": "demo",
                "git_url": url,
                "default_branch": "main",
                "created_at": "2026-11-22T11:43:24Z",
                "beads": {"prefix": "de"},
            },
        )
        git(*clone, url, self.rig / "mayor/rig", cwd=self.rig)
        if self.version == "seed":
            git(*clone, url, self.rig / "refinery/rig", cwd=self.rig)
            git(*clone, url, self.rig / "crew/main", cwd=self.rig)
        else:
            base = self.rig / ".repo.git"
            git(*clone, "--bare", url, base, cwd=self.rig)
            with open(base / "config", "a", encoding="utf-8") as file:
                file.write('[remote "origin"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
            (base / "refs/remotes/origin").mkdir(parents=True)
            (base / "refs/remotes/origin/main").write_text(git("rev-parse", "main", cwd=base) + "\n", encoding="ascii")
            (self.rig / "refinery").mkdir()
            git("worktree", "add", "--quiet", self.rig / "refinery/rig", "main", cwd=base)
            (self.rig / "crew").mkdir()
        for name in ("witness", "polecats", ".repo.git/info", "mayor/rig/.git/info"):
            if not name.startswith(".repo") or self.version != "seed":
                (self.rig / name).mkdir()
        if self.modern:
            self._put(self.rig / "settings/config.json", {"type": "rig-settings", "namepool": {"style": "wasteland"}})
            self._put(self.rig / "polecats/.claude/settings.json", {})
        self._connect(self.rig, self.server)

    # -- calling in it ---------------------------------------------------------------------------------

    def environment(self, **env: str) -> dict[str, str]:
        """Return an environment in which both programs are found."""
        return {**os.environ, "PATH": self.bin.path(), **env}

    def gt(self, *argv: str, env=WITNESS, cwd=None, timeout: float = 60) -> kit.Result:
        """Call gt, as the witness where nobody else is named, and return how it went."""
        done = subprocess.run(
            [str(self.bin.folder / "gt"), *argv],
            cwd=cwd or self.path,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return kit.Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def begin(self, *argv: str, env=WITNESS, cwd=None) -> subprocess.Popen:
        """Begin a call of gt that is to be killed, or waited for; it ends with the town."""
        child = subprocess.Popen(
            [str(self.bin.folder / "gt"), *argv],
            cwd=cwd or self.path,
            env=self.environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.children.append(child)
        return child

    def as_polecat(self, name: str) -> dict[str, str]:
        """Return what a polecat has in its environment, for calls in its name."""
        env = {"GT_RIG": "demo", "GT_POLECAT": name, "BD_ACTOR": f"demo/polecats/{name}"}
        if not self.modern:
            return {**env, "GT_ROLE": "polecat", "GT_ROOT": str(self.path)}
        session = {"GT_SESSION": self.session(name), "GT_TOWN_ROOT": str(self.path), "GT_ROOT": str(self.path)}
        return {**env, **session, "GT_ROLE": f"demo/polecats/{name}"}

    def sling(self, issue: str, target: str = "demo", *flags: str, boot: bool = False, **options) -> kit.Result:
        """Sling an issue as the version at hand can without a formula (the seed: spawn it).

        Where the version can, no seat is started along with it, unless that is asked for.
        """
        if self.version == "seed":
            return self.gt("spawn", "--rig", target, "--issue", issue, "--create", *flags, **options)
        raw = [] if self.version == "0.2.6" else ["--hook-raw-bead"]
        raw += ["--no-boot"] if self.modern and not boot else []
        return self.gt("sling", issue, target, "--no-convoy", *raw, *flags, **options)

    def bd(self, *argv: str, cwd=None, **env: str) -> kit.Result:
        """Call bd in the rig."""
        done = beads.call(self.bin, cwd or self.rig, *argv, PATH=self.bin.path(), **env)
        return kit.Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    # -- the programs ----------------------------------------------------------------------------------

    def option(self, **options) -> None:
        """Change some of stand_gt.OPTIONS."""
        path = self.bin.folder / "gt-options"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self._put(path, {**known, **options})

    def spoil(self, *faults: dict) -> None:
        """Spoil calls of gt, as of stand_gt.py; calls are counted from here on."""
        (self.bin.folder / "gt-calls").unlink(missing_ok=True)
        self._put(self.bin.folder / "gt-faults", faults)

    def calls(self, verb: str = "", daemon: bool = False) -> list[dict]:
        """Return the calls of gt so far, of a verb of one or two words or of all; the daemon's own only if asked for.

        Each: argv, cwd, env (its GT_*, BD_* and BEADS_*), pid, spoilt, phases, status (None: killed, or runs yet).
        """
        path = self.bin.folder / "gt-calls"
        found: dict[int, dict] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            row = json.loads(line)
            if "argv" in row:
                found[row["n"]] = {**row, "phases": [], "status": None}
            elif "phase" in row:
                found[row["n"]]["phases"].append(row["phase"])
            else:
                found[row["n"]]["status"] = row["status"]
        words = verb.split()
        rows = [row for row in found.values() if row["argv"][: len(words)] == words]
        return [row for row in rows if daemon or "GT_STAND_IN_DAEMON" not in row["env"]]

    def wait_for_phase(self, phase: str, verb: str = "sling", timeout: float = 20) -> dict:
        """Wait until a call has passed a phase; return the call."""

        def find():
            return next((row for row in self.calls(verb, daemon=True) if phase in row["phases"]), None)

        return kit.wait_for(find, timeout, f"the phase {phase} of {verb}")

    # -- issues and mails ------------------------------------------------------------------------------

    def add(self, issue: str, title: str = "", **changes) -> str:
        """File an issue of the rig."""
        return self.server.add(issue, title, **changes)

    def change(self, issue: str, **changes) -> None:
        """Change an issue of the rig."""
        self.server.change(issue, **changes)

    def state(self, issue: str) -> tuple:
        """Return (status, assignee) of an issue of the rig."""
        return self.server.state(issue)

    def issue(self, issue: str) -> dict:
        """Return a whole issue of the rig."""
        return self.server.read()[issue]

    def convoys(self) -> dict[str, str]:
        """Return what the open convoys track: convoy -> issue."""
        found = {}
        for one in self.town_server.read().values():
            if one["issue_type"] == "convoy" and one["status"] == "open":
                found[one["id"]] = one["links"][0]["to"]
        return found

    def requests(self) -> list[dict]:
        """Return the open merge requests."""
        issues = self.server.read().values()
        return [one for one in issues if one["issue_type"] == "merge-request" and one["status"] == "open"]

    def mails(self, address: str, closed: bool = False) -> list[dict]:
        """Return the mails to an address, oldest first: id, sender, subject, body, status."""
        found = []
        for server in (self.town_server, self.server):
            for one in server.read().values():
                if one["issue_type"] == "message" and one["assignee"] == address:
                    sender = next((x[5:] for x in one["labels"] if x.startswith("from:")), one.get("sender", ""))
                    mail = {"id": one["id"], "sender": sender, "subject": one["title"], "body": one["description"]}
                    found.append({**mail, "status": one["status"]})
        return [one for one in found if closed or one["status"] == "open"]

    def put_mail(self, to: str, subject: str, body: str = "", sender: str = "demo/rust", server=None, **changes) -> str:
        """Leave a mail in the town's database as its sender would; the recipient is told nothing."""
        server = server or self.town_server
        issue = f"{'hq-wisp' if self.modern else 'gm' if self.version == 'seed' else 'hq'}-m{len(server.read())}"
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        stamp += "Z" if self.modern else f".{int(now % 1 * 1e9):09d}Z"
        known = {
            "description": body,
            "issue_type": "message",
            "assignee": to,
            "sender": sender,
            "labels": [f"from:{sender}", "thread:thread-0123456789ab"],
            "ephemeral": True,
            "created_at": stamp,
        }
        return server.add(issue, subject, **{**known, **changes})

    def holder(self, actor: str) -> str:
        """Return under which name a Witness holds a bead whose work waits to be merged."""
        return actor.replace("/", ":") if self.modern else actor

    # -- polecats and sessions -------------------------------------------------------------------------

    def polecats(self) -> list[str]:
        """Return the names of the polecats that have a folder."""
        return sorted(one.name for one in (self.rig / "polecats").iterdir() if not one.name.startswith("."))

    def tree(self, name: str) -> Path:
        """Return the path of a polecat's worktree."""
        folder = self.rig / "polecats" / name
        return folder if self.version == "seed" else folder / "demo"

    def base(self) -> Path:
        """Return the repository that the worktrees belong to."""
        return self.rig / ("mayor/rig" if self.version == "seed" else ".repo.git")

    def git(self, *argv, name: str = "", check: bool = True) -> str:
        """Run git in a polecat's worktree, or in the repository of all."""
        return git(*argv, cwd=self.tree(name) if name else self.base(), check=check)

    def branch(self, name: str) -> str:
        """Return the branch of a polecat."""
        return self.git("rev-parse", "--abbrev-ref", "HEAD", name=name)

    def branches(self) -> list[str]:
        """Return the local branches of all polecats."""
        return self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/polecat").splitlines()

    def session(self, name: str) -> str:
        """Return the session's name of a polecat or a role."""
        if name in ("mayor", "deacon"):
            return f"{'gt' if self.version == 'seed' else 'hq'}-{name}"
        if self.modern:
            return f"de-{name}"
        return "gt-witness-demo" if self.version == "seed" and name == "witness" else f"gt-demo-{name}"

    def sessions(self) -> list[str]:
        """Return the names of all sessions."""
        return sorted({pane["session"] for pane in self.tmux.panes()})

    def start_session(self, name: str, argv=None, cwd=None) -> int:
        """Start a session under the name that a polecat or role has, with any program in it; return its pane's pid."""
        argv = argv or [kit.PYTHON, str(CITIZEN), str(self.bin.folder)]
        roles = ("mayor", "deacon", "witness", "refinery")
        env = self.environment(**({"GT_ROLE": name} if name in roles else self.as_polecat(name)))
        told = {key: value for key, value in env.items() if key.startswith(("GT_", "BD_", "PATH"))}
        place = cwd or (self.tree(name) if name not in roles else self.path)
        return self.tmux.new_session(self.session(name), place, argv, told)

    def end_session(self, name: str) -> None:
        """End a polecat's or role's session as if its worker had gone, processes and all."""
        pids = [int(pane["pid"]) for pane in self.tmux.panes() if pane["session"] == self.session(name)]
        processes = kit.tree(*pids)
        self.tmux.run("kill-session", "-t", f"={self.session(name)}", check=False)
        kit.end(*processes, grace_s=0.2)

    def part(self, name: str, text: str) -> None:
        """Let a polecat ("any": all of them), or a role, run this script from its next session on."""
        path = self.bin.folder / "parts" / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def heard(self, name: str) -> list[str]:
        """Return the lines that the agent of a polecat or role was typed."""
        path = self.bin.folder / "heard" / name
        return path.read_bytes().decode(errors="surrogateescape").splitlines() if path.exists() else []

    def began(self, name: str) -> list[list[str]]:
        """Return the arguments of each start of the agent of a polecat or role."""
        path = self.bin.folder / "heard" / f"{name}.started"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # -- heartbeats ------------------------------------------------------------------------------------

    def heartbeat(self, name: str) -> dict | None:
        """Return what a session's heartbeat says."""
        path = self.path / ".runtime/heartbeats" / f"{self.session(name)}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def age_heartbeat(self, name: str, seconds: float) -> None:
        """Set the heartbeat of a session back."""
        path = self.path / ".runtime/heartbeats" / f"{self.session(name)}.json"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(time.time() - seconds))
        self._put(path, {"timestamp": stamp, "state": "working"})

    # -- gt's daemon -----------------------------------------------------------------------------------

    def set_scheduler(self, number: int | None) -> None:
        """Set how many polecats the scheduler allows; None takes the setting out."""
        self.set_town("scheduler", None if number is None else {"max_polecats": number})

    def set_agent(self, role: str, *argv: str, **more) -> None:
        """Let a role be played by another program."""
        settings = self.settings()
        settings["agents"][f"own-{role}"] = {
            "command": argv[0],
            "args": list(argv[1:]),
            "prompt_mode": "none",
            "tmux": {"process_names": [os.path.basename(argv[0])]},
            **more,
        }
        settings["role_agents"] = {**settings.get("role_agents", {}), role: f"own-{role}"}
        self._put(self.path / "settings/config.json", settings)

    def settings(self) -> dict:
        """Return the town's settings."""
        return json.loads((self.path / "settings/config.json").read_text(encoding="utf-8"))

    def set_town(self, key: str, value) -> None:
        """Change one of the town's settings; None takes it out."""
        settings = {**self.settings(), key: value}
        if value is None:
            del settings[key]
        self._put(self.path / "settings/config.json", settings)

    def start_daemon(self) -> int:
        """Let gt's daemon look as if it ran: its lock is held, its pid file written; return the pid."""
        tail = f"\n{os.urandom(8).hex()}" if self.modern else ""
        self.daemon = subprocess.Popen(
            [sys.executable, "-IS", "-c", HOLD, tail], cwd=self.path / "daemon", stdin=subprocess.DEVNULL
        )
        kit.wait_for((self.path / "daemon/daemon.pid").exists, what="the daemon's pid file")
        return self.daemon.pid

    def stop_daemon(self, crash: bool = False) -> None:
        """End what stands for the daemon; after a crash its pid file stays."""
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None
        if not crash:
            (self.path / "daemon/daemon.pid").unlink(missing_ok=True)

    def daemon_round(self, seats: bool = True) -> list[str]:
        """Do what gt's daemon does every 30 s: see to the seats, feed open convoys; return what it has slung.

        Only since gt 0.8 it slings: issues of open convoys that nobody has, or whose holder has no session. Before, its
        seats are started anew unless a model runs in them; since, only where there is no session.
        """
        own = {"GT_STAND_IN_DAEMON": "1"}
        running = self.sessions()
        for seat in ("witness", "refinery") if seats else ():
            if not self.modern or self.session(seat) not in running:
                self.gt(seat, "start", "demo", env=own)
        slung = []
        for issue in self.convoys().values() if self.modern else ():
            one = self.server.read().get(issue)
            if one is None or one["status"] in ("closed", "tombstone"):
                continue
            parts = one["assignee"].split("/")
            known = len(parts) == 2 or (len(parts) == 3 and parts[1] in ("polecats", "crew"))
            if known and f"de-{parts[-1]}" in running:
                continue
            if self.gt("sling", issue, "demo", "--no-boot", env=own).status == 0:
                slung.append(issue)
        return slung

    # -- the end ---------------------------------------------------------------------------------------

    def end(self) -> None:
        """End everything that was started in the town."""
        self.stop_daemon()
        for child in self.children:
            child.kill()
            child.communicate()
        self.tmux.kill()
        kit.end(*[one for one, _, _ in kit.leftovers(self.folder)])
