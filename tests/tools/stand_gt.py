"""A stand-in for `gt`: stateful, small, of a chosen version, with what the real one does to a town on the side.

It is run as a program, in a town that `town.py` made. Beside it lie

  gt.json       {"version": "1.0.1"}; the versions: seed, 0.2.6, 0.5.0, 1.0.1
  gt-options    a JSON object that replaces some of OPTIONS
  gt-faults     [{"verb": "sling", "at": n, "times": k, "do": HOW}]: from the n-th call of the verb on (a verb may have
                two words, "mail inbox"; none means all) the next k calls are spoilt. HOW is fail, hang, garbage, late
                (done, then hang), mute (done, nothing printed) or cut (done, half printed). With "phase": PHASE it
                strikes a sling just after that phase: fail (residues stay), hang, kill (by SIGKILL) or slow ("seconds")
  gt-calls      JSON lines: one when a call starts (n, argv, cwd, env, pid, spoilt), one a phase of a sling (n, phase)
                or a nuke (full or empty, as it found the polecat), one at the end (n, status); a call without an end
                was killed, or still runs
  heard/, parts/  what the agents were typed; the scripts that they run (see town.py)

Issues and mails lie in the databases of the stand-in for `bd`. `tests/test_stand_gt.py` holds this to the recordings.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

HERE = os.path.dirname(os.path.realpath(sys.argv[0]))
OPTIONS = {
    "open_s": 0.3,  # 1.0.1: how long a sling leaves a claimed issue open and unassigned
    "ready_s": 0.05,  # from the start of a session until it is typed to
    "pace_s": 0.02,  # between text, Escape and Enter of what is typed
    "nudge_s": 0.1,  # how long a nudge waits for a prompt
    "kill_s": 0.3,  # between TERM and KILL of a session's processes
    "stale_s": 180,  # a heartbeat of this age is taken for the end of the worker
    "formula": None,  # whether mol-polecat-work is found; None: as in a fresh town of the version
    "respawns": 3,  # 1.0.1: so often is one issue slung to the rig without --force
    "scan_types": False,  # whether `patrol scan` types Enter and Down, Enter into every worker
    "convoy": None,  # whether a convoy can be made; None: as in a fresh town of the version
    "nuke_deletes": None,  # a branch that `polecat nuke` deletes, whatever polecat it is called for
}
NAMES = {
    "mad-max": "furiosa nux slit rictus dementus capable toast dag cheedo valkyrie keeper morsov ace warboy imperator",
    "minerals": "obsidian quartz jasper onyx opal topaz garnet ruby amber jade pearl flint granite basalt marble shale",
    "wasteland": "rust chrome nitro guzzle witness shiny fury thunder dust scavenger radrat ghoul mutant raider vault",
}
THEMES = {"seed": "mad-max", "0.2.6": "mad-max", "0.5.0": "minerals", "1.0.1": "wasteland"}
RESERVED = {"witness", "mayor", "deacon", "refinery", "crew", "polecats"}
ALIASES = {"-s": "--subject", "-m": "--message", "-n": "--dry-run", "-f": "--force", "-u": "--unread", "-a": "--args"}
# The verbs: flags with a value, then flags without, each with the version that brought it where that matters.
VERBS = {
    "version": ("", ""),
    "--version": ("", ""),
    "sling": (
        "--subject --message --args --on --var --account --agent --merge:1 --base-branch:1 --formula:1 --crew:1",
        "--dry-run --create --force --no-convoy --hook-raw-bead:0.5 --no-boot:1 --no-merge:1 --owned:1 --ralph:1",
    ),
    "spawn": ("--issue --message --polecat --rig --molecule", "--create --no-start --force"),
    "done": ("--issue --status --priority --cleanup-status:0.5 --target:1", "--resume:1 --pre-verified:1"),
    "heartbeat": ("--state", ""),
    "nudge": ("--message --mode:1 --priority:1 --if-fresh:1", "--force --stdin:1"),
    "mail send": (
        "--subject --message --body:0.5 --priority --type --reply-to --cc --to:1 --from:1",
        "--urgent --notify --no-notify:1 --pinned --wisp --permanent --self --stdin:1",
    ),
    "mail inbox": ("--identity --address:0.5", "--json --unread --all:0.5"),
    "mail read": ("", "--json"),
    "mail archive": ("", "--stale:1 --dry-run:1"),
    "mail delete": ("", ""),
    "mail ack": ("", "--all:1"),
    "mail mark-read": ("", "--all:1"),
    "mail mark-unread": ("", ""),
    "mail check": ("--identity --address:0.5", "--json --inject"),
    "polecat list": ("", "--json --all"),
    "polecat status": ("", "--json"),
    "polecat git-state": ("", "--json"),
    "polecat check-recovery": ("", "--json"),
    "polecat nuke": ("", "--force --dry-run --all"),
    "polecat remove": ("", "--force --all"),
    "session start": ("--issue", ""),
    "session stop": ("", "--force"),
    "session status": ("", "--json"),
    "session list": ("--rig", "--json"),
    "witness start": ("--agent --env", "--foreground"),
    "witness status": ("", "--json"),
    "witness stop": ("", ""),
    "refinery start": ("--agent", "--foreground"),
    "refinery status": ("", "--json"),
    "refinery stop": ("", ""),
    "refinery ready": ("", "--json --all:1"),
    "mayor status": ("", "--running:1"),
    "deacon status": ("", "--json:1"),
    "mq list": ("--status --worker --epic", "--json --ready"),
    "convoy list": ("--status", "--json --all --tree"),
    "patrol scan": ("--rig", "--json --notify"),
    "daemon status": ("", ""),
}
PROMPT = "\N{HEAVY RIGHT-POINTING ANGLE QUOTATION MARK ORNAMENT}"
SINCE = {
    **dict.fromkeys(("sling", "done", "polecat nuke", "polecat git-state", "polecat check-recovery"), (0, 1, 1)),
    **dict.fromkeys(("mail archive", "convoy list", "polecat status", "mq list", "refinery ready"), (0, 1, 1)),
    **dict.fromkeys(("mail mark-read", "mail mark-unread"), (0, 2, 6)),
    "mail ack": (0, 3, 0),
    "patrol scan": (1, 0, 0),
    "heartbeat": (0, 10, 0),
}


class StoppedError(Exception):
    """The program ends here, with this complaint."""

    def __init__(self, complaint: str = "", status: int = 1) -> None:
        super().__init__(complaint)
        self.complaint, self.status = complaint, status


def read_json(path: str, default):
    """Return a file's content, or the default where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return default


def run(*argv: str, cwd: str | None = None) -> subprocess.CompletedProcess:
    """Run a tool, its output kept as text."""
    return subprocess.run(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )


def to_base36(number: int) -> str:
    """Return a number as gt writes its time stamps into branch names."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while number:
        number, rest = divmod(number, 36)
        text = digits[rest] + text
    return text or "0"


def random_word(length: int) -> str:
    """Return a random end of an id."""
    return "".join("0123456789abcdefghijklmnopqrstuvwxyz"[byte % 36] for byte in os.urandom(length))


class Log:
    """What was called, and how this call is to be spoilt."""

    def __init__(self, argv: list[str]) -> None:
        lock = os.open(os.path.join(HERE, "gt-lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.path = os.path.join(HERE, "gt-calls")
        before = []
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                before = [row["argv"] for row in map(json.loads, file) if "argv" in row]
        self.number = len(before)
        self.fault = self.find_fault(argv, before)
        names = ("GT_", "BD_", "BEADS_")
        env = {key: value for key, value in os.environ.items() if key.startswith(names)}
        cwd = os.environ.get("PWD", "")
        try:
            cwd = os.getcwd()
        except FileNotFoundError:
            pass
        self.add(argv=argv, cwd=cwd, env=env, pid=os.getpid(), spoilt=self.fault.get("do", ""))
        os.close(lock)

    def find_fault(self, argv: list[str], before: list[list[str]]) -> dict:
        """Return the fault of this call, {} where it is to go well."""
        for fault in read_json(os.path.join(HERE, "gt-faults"), []):
            verb = (fault.get("verb") or "").split()
            if argv[: len(verb)] != verb:
                continue
            number = 1 + sum(1 for one in before if one[: len(verb)] == verb)
            start = fault.get("at") or 1
            if start <= number < start + fault.get("times", 1):
                return fault
        return {}

    def add(self, **row) -> None:
        """Write one line, whole even beside other writers."""
        line = json.dumps({"n": self.number, **row}) + "\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)


class Program:
    """One call."""

    def __init__(self, version: str, log: Log) -> None:
        self.version = version
        self.v = (0, 0, 0) if version == "seed" else tuple(int(part) for part in version.split("."))
        self.modern = self.v >= (1, 0, 0)
        self.seed = version == "seed"
        self.log = log
        self.option = {**OPTIONS, **read_json(os.path.join(HERE, "gt-options"), {})}
        self.buffered = log.fault.get("do") in ("garbage", "mute", "cut") and not log.fault.get("phase")
        self.said: list[str] = []
        self.flags: dict = {}
        self.words: list[str] = []
        self.town = ""
        self.environ = os.environ
        self.error = ""

    # -- what it was called with, and what it says -----------------------------------------------------

    def parse(self, argv: list[str]) -> str:
        """Split argv into verb, words and flags; what the version does not know ends it."""
        if not argv:
            raise StoppedError("no command")
        verb = argv[0] if argv[0] in VERBS else " ".join(argv[:2])
        if verb == "--version" and self.seed:
            raise StoppedError("unknown flag: --version")
        groups = {one.split()[0] for one in VERBS if self.has(one)}
        if argv[0] not in groups:
            raise StoppedError(f'unknown command "{argv[0]}" for "gt"')
        if verb not in VERBS or not self.has(verb):
            raise StoppedError(f'unknown command "{argv[1] if len(argv) > 1 else ""}" for "gt {argv[0]}"')
        rest = argv[len(verb.split()) :]
        valued, boolean = ({*self.known(text)} for text in VERBS[verb])
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.words += rest
                break
            if not word.startswith("-") or word == "-":
                self.words.append(word)
                continue
            name, equals, value = word.partition("=")
            name = {**ALIASES, **({"-m": "--body"} if "--message" not in valued else {})}.get(name, name)
            if name in boolean:
                self.flags[name] = value != "false"
            elif name in valued:
                if not equals and not rest:
                    raise StoppedError(f"flag needs an argument: {word}")
                self.flags[name] = value if equals else rest.pop(0)
            elif word.startswith("--"):
                raise StoppedError(f"unknown flag: {name}")
            else:
                raise StoppedError(f"unknown shorthand flag: '{word[1]}' in {word}")
        return verb

    def has(self, verb: str) -> bool:
        """Tell whether this version has a verb."""
        return self.seed if verb == "spawn" else self.v >= SINCE.get(verb, (0, 0, 0))

    def known(self, text: str):
        """Give the flags that this version has."""
        for word in text.split():
            name, _, since = word.partition(":")
            if not since or self.v >= tuple(int(part) for part in since.split(".")):
                yield name

    def say(self, *lines: str) -> None:
        """Print lines at once, for a call may be killed before it ends."""
        text = "".join(line + "\n" for line in lines)
        self.said.append(text)
        if not self.buffered:
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
            sys.stdout.buffer.flush()

    def warn(self, *lines: str) -> None:
        """Print lines on stderr."""
        sys.stderr.buffer.write("".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape"))
        sys.stderr.buffer.flush()

    def say_json(self, content) -> None:
        """Print content as Go's encoder does."""
        text = json.dumps(content, indent=2, ensure_ascii=False)
        for one in "<>&\u2028\u2029":
            text = text.replace(one, f"\\u{ord(one):04x}")
        self.say(text)

    def phase(self, name: str) -> None:
        """Pass a phase of a sling, or be struck there."""
        self.log.add(phase=name)
        fault = self.log.fault
        if fault.get("phase") != name:
            return
        if fault["do"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["do"] == "hang":
            time.sleep(600)
        if fault["do"] == "slow":
            time.sleep(fault.get("seconds", 1))
        if fault["do"] == "fail":
            raise StoppedError("it was told to fail")

    # -- the town --------------------------------------------------------------------------------------

    def find_town(self) -> None:
        """Find the town around the working directory."""
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            folder = self.environ.get("GT_POLECAT_PATH", "/")
        found = ""
        while folder != os.path.dirname(folder):
            if os.path.exists(os.path.join(folder, "mayor", "town.json")) and (self.modern or not found):
                found = folder
            folder = os.path.dirname(folder)
        if not found and self.modern and self.command == "heartbeat":
            raise StoppedError("could not find town root: <nil>")
        if not found and self.modern:
            found = self.environ.get("GT_TOWN_ROOT") or self.environ.get("GT_ROOT") or ""
        if not found:
            why = "no .beads directory found" if self.seed else "not in a Gas Town workspace"
            raise StoppedError(f"not in a Gas Town workspace: {why}")
        self.town = found
        role = self.environ.get("GT_ROLE", "")
        session = self.environ.get("GT_SESSION")
        if self.modern and session and any(word in role for word in ("polecat", "crew", "dog")):
            self.beat(session, "working")

    def rigs(self) -> dict:
        """Return the registered rigs."""
        return read_json(os.path.join(self.town, "mayor", "rigs.json"), {}).get("rigs", {})

    def settings(self) -> dict:
        """Return the town's settings."""
        return read_json(os.path.join(self.town, "settings", "config.json"), {})

    def need_rig(self, name: str) -> str:
        """Return the folder of a rig, or end the call."""
        if name not in self.rigs():
            raise StoppedError(f"rig '{name}' not found")
        return os.path.join(self.town, name)

    def prefix(self, rig: str) -> str:
        """Return the prefix of a rig's issues."""
        return self.rigs().get(rig, {}).get("beads", {}).get("prefix", "gt")

    def rig_of(self, issue: str) -> str:
        """Return the rig that an issue belongs to, "" for the town."""
        return next((rig for rig in self.rigs() if issue.startswith(self.prefix(rig) + "-")), "")

    def split(self, address: str) -> tuple[str, str]:
        """Split RIG/NAME; RIG/polecats/NAME is a polecat called polecats/NAME here."""
        rig, _, name = address.partition("/")
        if not rig or not name:
            raise StoppedError(f"invalid address '{address}': expected 'rig/polecat' format, got '{address}'")
        return rig, name

    def polecats(self, rig: str) -> list[str]:
        """Return the names of the folders of polecats."""
        folder = os.path.join(self.town, rig, "polecats")
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return sorted(one for one in names if not one.startswith(".") and os.path.isdir(os.path.join(folder, one)))

    def tree(self, rig: str, name: str) -> str:
        """Return the path of a polecat's worktree, there or not."""
        folder = os.path.join(self.town, rig, "polecats", name)
        new = os.path.join(folder, rig)
        if self.seed or (not os.path.isdir(new) and os.path.exists(os.path.join(folder, ".git"))):
            return folder
        return new

    def base(self, rig: str) -> str:
        """Return the repository that the worktrees belong to."""
        bare = os.path.join(self.town, rig, ".repo.git")
        return bare if os.path.isdir(bare) else os.path.join(self.town, rig, "mayor", "rig")

    def branch(self, rig: str, name: str) -> str:
        """Return the branch of a polecat, the one of old where it cannot be read."""
        tree = self.tree(rig, name)
        done = run("git", "-C", tree, "rev-parse", "--abbrev-ref", "HEAD") if os.path.exists(f"{tree}/.git") else None
        return done.stdout.strip() if done and done.returncode == 0 else f"polecat/{name}"

    # -- the databases ---------------------------------------------------------------------------------

    @contextmanager
    def issues(self, rig: str = ""):
        """Hold the issues of a rig, or of the town, under the server's lock; what was changed is written."""
        note = read_json(os.path.join(self.town, rig, ".beads", "stand-in.json"), None)
        if note is None:
            raise StoppedError("no beads database found")
        server = note["server"]
        lock = os.open(os.path.join(server, "lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.check_server(server)
            path = os.path.join(server, "db.json")
            issues = read_json(path, {})
            seen = json.dumps(issues)
            yield issues
            if json.dumps(issues) != seen:
                with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
                    json.dump(issues, file)
                os.replace(f"{path}.{os.getpid()}", path)
        finally:
            os.close(lock)

    def check_server(self, server: str) -> None:
        """End the call where the server is down or its content damaged."""
        down = os.path.join(server, "down")
        text = ""
        if os.path.exists(down):
            with open(down, encoding="utf-8") as file:
                at = file.read().strip() or "127.0.0.1:3307"
            text = f"failed to open database: Dolt server unreachable at {at}: "
            text += f"dial tcp {at}: connect: connection refused"
            text += "\n\nThe Dolt server may not be running. Try:\n  bd dolt start"
        elif os.path.exists(os.path.join(server, "skew")):
            text = "schema skew check: Error 1146: table not found: schema_migrations"
        elif os.path.exists(os.path.join(server, "corrupt")):
            raise StoppedError("sqlite3: file is not a database")
        if text:
            self.warn(json.dumps({"error": text}, indent=2))
            raise StoppedError

    def stamp(self) -> str:
        """Return the time as this version's `bd` writes it."""
        now = time.time()
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        return text + ("Z" if self.modern else f".{int(now % 1 * 1e9):09d}Z")

    def file_issue(self, issues: dict, prefix: str, length: int = 3, **fields) -> dict:
        """File an issue under a new id."""
        issue_id = prefix + random_word(length)
        while issue_id in issues:
            issue_id = prefix + random_word(length)
        issues[issue_id] = {
            "id": issue_id,
            "number": 1 + max((one["number"] for one in issues.values()), default=0),
            "title": "",
            "description": "",
            "status": "open",
            "priority": 2,
            "issue_type": "task",
            "assignee": "",
            "owner": "",
            "created_at": self.stamp(),
            "created_by": self.actor(),
            "updated_at": self.stamp(),
            "labels": [],
            "links": [],
            **fields,
        }
        return issues[issue_id]

    def set_issue(self, issue_id: str, **fields) -> None:
        """Change one issue."""
        with self.issues(self.rig_of(issue_id)) as issues:
            if issue_id in issues:
                issues[issue_id].update(fields, updated_at=self.stamp())

    def find_issue(self, issue_id: str) -> dict | None:
        """Return one issue."""
        with self.issues(self.rig_of(issue_id)) as issues:
            return issues.get(issue_id)

    def issue_of(self, rig: str, name: str) -> dict | None:
        """Return what hangs on a polecat's hook or is assigned to it."""
        own = f"{rig}/{name}" if not self.modern else f"{rig}/polecats/{name}"
        with self.issues(rig) as issues:
            mine = [one for one in issues.values() if one["assignee"] == own]
        for state in ("hooked", "open", "in_progress"):
            for one in mine:
                if one["status"] == state and one["issue_type"] not in ("message", "merge-request"):
                    return one
        return None

    # -- who calls, and who is meant -------------------------------------------------------------------

    def actor(self) -> str:
        """Return who calls."""
        return self.environ.get("BD_ACTOR") or self.sender() or "Tester"

    def sender(self) -> str:
        """Return the caller's address."""
        role, rig = self.environ.get("GT_ROLE", ""), self.environ.get("GT_RIG", "")
        if self.seed:
            name = self.environ.get("GT_POLECAT")
            return f"{rig}/{name}" if rig and name else "mayor/"
        if "/" in role:
            return self.address(role)
        if role == "polecat" and self.environ.get("GT_POLECAT"):
            return f"{rig}/{self.environ['GT_POLECAT']}"
        if role in ("mayor", "deacon"):
            return role if self.command == "nudge" else role + "/"
        if role in ("witness", "refinery"):
            return f"{rig}/{role}"
        return "overseer"

    def address(self, text: str) -> str:
        """Return an address as it is stored."""
        parts = text.split("/")
        if len(parts) == 3 and parts[1] in ("polecats", "crew"):
            return f"{parts[0]}/{parts[2]}"
        return text + "/" if text in ("mayor", "deacon") else text

    def session_of(self, target: str) -> str:
        """Return the session that a target has, by address or role."""
        target = target.rstrip("/")
        if target in ("mayor", "deacon"):
            return f"gt-{target}" if self.seed else f"hq-{target}"
        parts = target.split("/")
        if len(parts) == 1:
            rig = self.environ.get("GT_RIG", "")
            return self.session(rig, target) if target in ("witness", "refinery") and rig else target
        if parts[1] == "crew" and len(parts) == 3:
            return self.session(parts[0], f"crew-{parts[2]}")
        return self.session(parts[0], parts[-1])

    def session(self, rig: str, name: str) -> str:
        """Return the session's name of a polecat, or of a role of a rig."""
        if self.modern:
            return f"{self.prefix(rig)}-{name}"
        return f"gt-witness-{rig}" if self.seed and name == "witness" else f"gt-{rig}-{name}"

    # -- tmux ------------------------------------------------------------------------------------------

    def tmux(self, *argv: str) -> subprocess.CompletedProcess:
        """Run tmux on the server of this town."""
        where = []
        if self.modern:
            real = os.path.realpath(self.town)
            name = re.sub(r"[^a-z0-9-]+", "-", os.path.basename(self.town).lower()).strip("-") or "default"
            where = ["-L", f"{name}-{hashlib.sha256(real.encode()).hexdigest()[:6]}"]
        return run("tmux", *where, "-f", "/dev/null", *argv, cwd="/")

    def has_session(self, session: str) -> bool:
        """Tell whether a session is there."""
        return self.tmux("has-session", "-t", f"={session}").returncode == 0

    def sessions(self) -> list[str]:
        """Return the names of all sessions."""
        return self.tmux("list-sessions", "-F", "#{session_name}").stdout.split()

    def pane_pid(self, session: str) -> int:
        """Return the process of a session's pane, 0 if there is none."""
        said = self.tmux("list-panes", "-t", f"={session}", "-F", "#{pane_pid}").stdout.split()
        return int(said[0]) if said else 0

    def kill_session(self, session: str) -> None:
        """End a session and all processes that descend from its pane."""
        children: dict[int, list[int]] = {}
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
        pids, todo = [], [self.pane_pid(session)]
        while todo and todo[0]:
            pids.append(todo[0])
            todo = todo[1:] + children.get(todo[0], [])
        ours = {os.getpid()}
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in pids[::-1]:
                if pid not in ours:
                    try:
                        os.kill(pid, number)
                    except (ProcessLookupError, PermissionError):
                        pass
            deadline = time.monotonic() + self.option["kill_s"]
            while number == signal.SIGTERM and time.monotonic() < deadline:
                if not any(os.path.exists(f"/proc/{pid}") for pid in pids if pid not in ours):
                    break
                time.sleep(0.01)
        self.tmux("kill-session", "-t", f"={session}")

    def type(self, session: str, text: str, enters: int = 1) -> bool:
        """Type a text, Escape and Enter into a session."""
        where = f"={session}:"
        if self.tmux("send-keys", "-t", where, "-l", "--", text).returncode:
            return False
        time.sleep(self.option["pace_s"])
        if not self.seed:
            self.tmux("send-keys", "-t", where, "Escape")
            time.sleep(self.option["pace_s"])
        self.tmux("send-keys", "-t", where, *["Enter"] * enters)
        return True

    def at_prompt(self, session: str) -> bool:
        """Tell whether one of the last lines on the screen is a prompt."""
        lines = self.tmux("capture-pane", "-p", "-t", f"={session}:").stdout.rstrip("\n").splitlines()[-5:]
        return any(line.startswith(PROMPT) for line in lines) and not any("esc to interrupt" in line for line in lines)

    def agent(self, role: str) -> tuple[str, list[str], bool]:
        """Return the name and argv of the agent of a role, and whether it takes a prompt as an argument."""
        settings = self.settings()
        name = settings.get("default_agent", "claude")
        if self.v != (0, 2, 6):
            name = settings.get("role_agents", {}).get(role, name)
        one = settings.get("agents", {}).get(name, {"command": name})
        takes = one.get("prompt_mode", "arg") != "none" or (self.v == (0, 5, 0) and role == "witness")
        return name, [one["command"], *one.get("args", [])], takes

    def start_session(self, rig: str, name: str, role: str, extra: dict | None = None) -> None:
        """Start the session of an agent and type its first prompts."""
        session = self.session(rig, name)
        if role in ("mayor", "deacon"):
            folder, who, session = os.path.join(self.town, role), role, f"hq-{role}"
        elif role == "polecat":
            folder, who = self.tree(rig, name), f"{rig}/polecats/{name}"
        else:
            folder, who = os.path.join(self.town, rig, role), f"{rig}/{role}"
        if role == "refinery":
            folder = os.path.join(folder, "rig")
        if role == "polecat" and self.has_session(session):
            if not (self.modern and self.is_stale(session)):
                raise StoppedError(f"starting session: session already running: {session}")
            self.kill_session(session)
        os.makedirs(folder, exist_ok=True)
        agent, argv, takes = self.agent(role)
        env = self.agent_env(rig, name, role, who, session, agent, argv)
        prompts = self.prompts(rig, name, role)
        if takes and not self.seed:
            argv = [*argv, self.opening(rig, role, prompts[0])]
            prompts = prompts[1:] if self.modern else prompts
        command = " ".join(map(shlex.quote, argv))
        words = " ".join(f"{key}={shlex.quote(value)}" for key, value in sorted(env.items()))
        if self.modern or self.v == (0, 5, 0):
            line = f"exec env {words} {command}"
            if extra:
                told = " ".join(f"{key}={shlex.quote(value)}" for key, value in sorted(extra.items()))
                line = f"export {told} && export BD_DOLT_AUTO_COMMIT=off && {line}"
        else:
            line = f"export {words} && {command}"
        typed_in = self.seed or (self.v == (0, 2, 6) and role == "witness")
        begin = ["new-session", "-d", "-s", session, "-c", folder, "-x", "200", "-y", "50"]
        done = self.tmux(*begin, *([] if typed_in else [line]))
        for _ in range(20):
            if done.returncode == 0 or self.has_session(session):
                break
            time.sleep(0.1)  # a server that ends with its last session refuses the next one for a moment
            done = self.tmux(*begin, *([] if typed_in else [line]))
        if done.returncode:
            raise StoppedError(f"starting session: creating session: {done.stderr.strip()}")
        told = {**env, **(extra or {})}
        if self.modern:
            told["GT_PANE_ID"] = self.tmux("list-panes", "-t", f"={session}", "-F", "#{pane_id}").stdout.strip()
        orders: list[str] = []
        for key, value in told.items():
            orders += [*([";"] if orders else []), "set-environment", "-t", f"={session}:", key, value]
        self.tmux(*orders)
        if typed_in:
            self.tmux("send-keys", "-t", f"={session}:", "-l", "--", line)
            self.tmux("send-keys", "-t", f"={session}:", "Enter")
        time.sleep(self.option["ready_s"])
        for prompt in prompts:
            self.type(session, prompt, enters=4 if self.modern else 1)
        if not self.has_session(session):
            why = f"session {session} died during startup (agent command may have failed)"
            raise StoppedError(f"starting session: {why}")
        if self.modern:
            if role == "polecat":
                self.beat(session, "working")
            self.drain(session)

    def agent_env(self, rig, name, role, who, session, agent, argv) -> dict:
        """Return the environment that an agent is given."""
        polecat = {"GT_POLECAT": name} if role == "polecat" else {}
        author = name if role == "polecat" else who
        if self.seed:
            beads = os.path.join(self.town, rig, ".beads")
            return {"GT_RIG": rig, **polecat, "BEADS_DIR": beads, "BEADS_NO_DAEMON": "1", "BEADS_AGENT_NAME": who}
        plain = {"GT_ROLE": role if not self.modern else who, "GT_RIG": rig, "BD_ACTOR": who, "GIT_AUTHOR_NAME": author}
        found = {**plain, "GT_ROOT": self.town, **polecat}
        if role == "polecat":
            found["BEADS_AGENT_NAME"] = f"{rig}/{name}"
        if self.v == (0, 2, 6) and role != "polecat":
            del found["GT_RIG"]
        if not self.modern:
            return found
        found.update(
            BD_BACKUP_ENABLED="false",
            BEADS_DOLT_AUTO_START="0",
            BEADS_DOLT_PORT="3307",
            CLAUDECODE="",
            CLAUDE_CODE_EFFORT_LEVEL="high",
            GIT_CEILING_DIRECTORIES=self.town,
            GT_AGENT=agent,
            GT_DOLT_PORT="3307",
            GT_PROCESS_NAMES=os.path.basename(argv[0]),
            GT_SESSION=session,
            GT_SESSION_ID_ENV="CLAUDE_SESSION_ID",
            NODE_OPTIONS="",
        )
        if role == "polecat":
            found["BD_DOLT_AUTO_COMMIT"] = "off"
        return {key: value for key, value in found.items() if value or key in ("CLAUDECODE", "NODE_OPTIONS")}

    def opening(self, rig: str, role: str, prompt: str) -> str:
        """Return the prompt that an agent gets as its last argument."""
        if self.v == (0, 5, 0) and role == "witness":
            return (
                f"I am Witness for {rig}. Start patrol: check gt hook, if empty create mol-witness-patrol wisp and "
                "execute it."
            )
        return prompt

    def prompts(self, rig: str, name: str, role: str) -> list[str]:
        """Return what an agent is typed when it starts."""
        now = time.strftime("%Y-%m-%dT%H:%M")
        polecat = role == "polecat"
        if self.seed:
            return ["gt prime"]
        if self.modern:
            who = f"polecat {name}" if polecat else role
            order = "Run `gt prime --hook` and begin patrol."
            if polecat:
                order = "Check your hook with `gt hook`. If work is present, begin immediately."
            by, what = ("witness", "assigned") if polecat else ("deacon", "patrol")
            return [f"[GAS TOWN] {who} (rig: {rig}) <- {by} • {now} • {what}\n\n{order}"]
        if polecat:
            work = "Work is on your hook. Run `gt hook` now and begin immediately."
            beacon = f"[GAS TOWN] {rig}/polecats/{name} <- witness • {now} • assigned\n\n{work}"
            return [beacon, "Run `gt hook` to check your hook and begin work."]
        what = "patrol status and begin work" if role == "witness" else "MQ status and begin patrol"
        found = [f"[GAS TOWN] {rig}/{role} <- deacon • {now} • patrol", f"Run `gt prime` to check {what}."]
        if self.v == (0, 5, 0) and role == "refinery":
            found.insert(0, "gt prime && gt mail check --inject && gt nudge deacon session-started")
        return found

    # -- heartbeats and queued nudges ------------------------------------------------------------------

    def beat(self, session: str, state: str) -> None:
        """Write a session's heartbeat."""
        folder = os.path.join(self.town, ".runtime", "heartbeats")
        os.makedirs(folder, exist_ok=True)
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}Z"
        with open(os.path.join(folder, f"{session}.json"), "w", encoding="utf-8") as file:
            json.dump({"timestamp": stamp, "state": state}, file)

    def is_stale(self, session: str) -> bool:
        """Tell whether gt takes a session's worker for dead: by the heartbeat, without one by the pane's process."""
        said = read_json(os.path.join(self.town, ".runtime", "heartbeats", f"{session}.json"), None)
        if said is None:
            pid = self.pane_pid(session)
            return not pid or not os.path.exists(f"/proc/{pid}")
        import calendar

        seconds = calendar.timegm(time.strptime(said["timestamp"][:19], "%Y-%m-%dT%H:%M:%S"))
        return time.time() - seconds >= self.option["stale_s"]

    def forget_heartbeat(self, session: str) -> None:
        """Drop a session's heartbeat."""
        try:
            os.unlink(os.path.join(self.town, ".runtime", "heartbeats", f"{session}.json"))
        except FileNotFoundError:
            pass

    def enqueue(self, session: str, sender: str, text: str) -> None:
        """Leave a nudge for a session that is busy or not there yet."""
        folder = os.path.join(self.town, ".runtime", "nudge_queue", session)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{time.time_ns()}-{random_word(4)}.json"), "w", encoding="utf-8") as file:
            json.dump({"sender": sender, "message": text, "priority": "normal"}, file)

    def drain(self, session: str) -> None:
        """Type what was left for a session, as one reminder."""
        folder = os.path.join(self.town, ".runtime", "nudge_queue", session)
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        if not names:
            return
        lines = []
        for name in names:
            one = read_json(os.path.join(folder, name), {})
            lines.append(f"  [from {one.get('sender')}] {one.get('message')}")
            os.unlink(os.path.join(folder, name))
        text = "\n".join(
            [
                "<system-reminder>",
                f"QUEUED NUDGE ({len(names)} message(s)):",
                "",
                *lines,
                "",
                "This is a background notification. Continue current work unless the nudge is higher priority.",
                "</system-reminder>",
                "",
            ]
        )
        self.type(session, text)

    def notify(self, to: str, sender: str, subject: str) -> None:
        """Tell a recipient's session that mail has come, as this version does."""
        if self.seed:
            return
        session = self.session_of(to)
        text = f"📬 You have new mail from {sender}. Subject: {subject}. Run 'gt mail inbox' to read."
        if not self.modern:
            if self.has_session(session):
                self.type(session, text)
        elif self.has_session(session) and self.at_prompt(session):
            self.type(session, text)
        else:
            self.enqueue(session, sender, text)

    # -- polecats --------------------------------------------------------------------------------------

    def new_branch(self, name: str, issue: str) -> str:
        """Return the branch of a new polecat."""
        if self.seed:
            return f"polecat/{name}"
        stamp = to_base36(time.time_ns() // 1_000_000)
        return f"polecat/{name}/{issue}@{stamp}" if issue and self.v >= (0, 3, 0) else f"polecat/{name}-{stamp}"

    @contextmanager
    def lock(self, name: str, complaint: str = ""):
        """Hold a lock of the town; with a complaint, end the call where another holds it."""
        folder = os.path.join(self.town, ".runtime", "locks", os.path.dirname(name))
        os.makedirs(folder, exist_ok=True)
        file = os.open(os.path.join(self.town, ".runtime", "locks", name + ".flock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if complaint else 0))
            yield
        except BlockingIOError:
            raise StoppedError(complaint) from None
        finally:
            os.close(file)

    def reconcile(self, rig: str) -> None:
        """Make the pool of names agree with the disk: it kills sessions and deletes folders on the way."""
        pool = self.pool(rig) if self.v >= (0, 3, 0) else []
        there, running = self.polecats(rig), set(self.sessions())
        for name in pool:
            session = self.session(rig, name)
            if session in running and (name not in there or (self.modern and self.is_stale(session))):
                self.kill_session(session)
                self.forget_heartbeat(session)
        for name in there if self.modern else []:
            if not os.path.exists(os.path.join(self.tree(rig, name), ".git")):
                shutil.rmtree(os.path.join(self.town, rig, "polecats", name), ignore_errors=True)
        run("git", "-C", self.base(rig), "worktree", "prune")

    def pool(self, rig: str) -> list[str]:
        """Return the names that a rig's polecats may have."""
        settings = read_json(os.path.join(self.town, rig, "settings", "config.json"), {})
        theme = settings.get("namepool", {}).get("style") or THEMES[self.version]
        return [one for one in NAMES[theme].split() if self.seed or one not in RESERVED]

    def allocate(self, rig: str) -> str:
        """Return the first free name, its folder made."""
        with self.lock(f"pool-{rig}"):
            used = set(self.polecats(rig))
            if not self.seed:
                self.reconcile(rig)
            free = [one for one in self.pool(rig) if one not in used]
            number = 51
            while not free:
                name = str(number) if self.modern else f"{rig}-{number}"
                free = [] if name in used else [name]
                number += 1
            if not self.seed:
                os.makedirs(os.path.join(self.town, rig, "polecats", free[0]))
                if self.has_session(self.session(rig, free[0])):
                    self.kill_session(self.session(rig, free[0]))
            return free[0]

    def add_worktree(self, rig: str, name: str, issue: str, path: str = "") -> None:
        """Make a polecat's worktree from the remote's default branch."""
        base, path = self.base(rig), path or self.tree(rig, name)
        branch = self.new_branch(name, issue)
        if self.seed:
            old = run("git", "-C", base, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}").returncode == 0
            done = run("git", "-C", base, "worktree", "add", *([path, branch] if old else ["-b", branch, path]))
        else:
            run("git", "-C", base, "fetch", "origin")
            done = run("git", "-C", base, "worktree", "add", "-b", branch, path, "origin/main")
        if done.returncode:
            if not self.seed:
                shutil.rmtree(os.path.join(self.town, rig, "polecats", name), ignore_errors=True)
            raise StoppedError(f"creating worktree from origin/main: {done.stderr.strip()}")

    def provision(self, rig: str, name: str) -> None:
        """Leave the untracked files that this version leaves in a new worktree."""
        tree = self.tree(rig, name)
        if self.seed:
            return
        os.makedirs(os.path.join(tree, ".beads"), exist_ok=True)
        self.write(os.path.join(tree, ".beads", "redirect"), "../../../.beads\n")
        if self.v == (0, 5, 0):
            self.write(os.path.join(tree, ".gitignore"), ".runtime/\n.claude/\n.beads/\n.logs/\n", append=True)
        if self.modern:
            os.makedirs(os.path.join(tree, ".claude", "commands"), exist_ok=True)
            for word in ("done", "handoff", "review"):
                self.write(os.path.join(tree, ".claude", "commands", f"{word}.md"), f"# /{word}\n")
            mark = "IDLE POLECAT HERESY"
            for file in ("CLAUDE.md", "CLAUDE.local.md"):
                path = os.path.join(tree, file)
                if not os.path.exists(path):
                    self.write(path, f"# Polecat {name} of {rig}\n\nThe {mark}: when done, `gt done`.\n")
                    break
                with open(path, encoding="utf-8", errors="replace") as found:
                    if mark in found.read():
                        break

    def write(self, path: str, text: str, append: bool = False) -> None:
        """Write a file."""
        with open(path, "a" if append else "w", encoding="utf-8") as file:
            file.write(text)

    def state(self, rig: str, name: str) -> tuple[str, str]:
        """Return a polecat's state and issue, as gt derives them."""
        session = self.session(rig, name)
        running = self.has_session(session)
        issue = self.issue_of(rig, name)
        if self.seed:
            return ("working" if issue else "idle"), (issue or {}).get("id", "")
        if not self.modern:
            return ("working" if issue else "done"), (issue or {}).get("id", "")
        alive = running and not self.is_stale(session)
        if issue and issue["status"] == "hooked":
            return ("working" if alive else "stalled"), issue["id"]
        if issue:
            return "working", issue["id"]
        return ("working" if alive else "idle"), ""

    def reuse(self, rig: str, name: str, issue: str) -> None:
        """Give an idle polecat a new branch: what is not committed there is destroyed."""
        session, tree = self.session(rig, name), self.tree(rig, name)
        if self.has_session(session):
            self.kill_session(session)
            self.forget_heartbeat(session)
        if os.path.isdir(tree):
            run("git", "-C", self.base(rig), "fetch", "origin")
            run("git", "-C", tree, "reset", "--hard", "origin/main")
            run("git", "-C", tree, "clean", "-f")
            self.provision(rig, name)
            if run("git", "-C", tree, "checkout", "-b", self.new_branch(name, issue), "origin/main").returncode == 0:
                return
        why = f"idle polecat worktree not found at {tree}: stat {tree}: no such file or directory"
        self.say(f"  Branch-only reuse failed for idle polecat {name}: {why}, trying full repair...")
        self.add_worktree(rig, name, issue, f"{tree}.repair-tmp")
        if run("git", "-C", self.base(rig), "worktree", "remove", "--force", tree).returncode:
            shutil.rmtree(tree, ignore_errors=True)
        run("git", "-C", self.base(rig), "worktree", "prune")
        run("git", "-C", self.base(rig), "worktree", "move", f"{tree}.repair-tmp", tree)
        self.provision(rig, name)

    def git_state(self, rig: str, name: str) -> tuple[list[str], int, int]:
        """Return the uncommitted files, the number of unpushed commits and of stashes of a polecat."""
        tree = self.tree(rig, name)
        lines = run("git", "-C", tree, "status", "--porcelain").stdout.splitlines()
        ahead = run("git", "-C", tree, "rev-list", "--count", "origin/main..HEAD").stdout.strip()
        stashes = run("git", "-C", tree, "stash", "list").stdout.splitlines()
        return [line[3:] for line in lines], int(ahead or 0), len(stashes)

    def need_polecat(self) -> tuple[str, str]:
        """Return the rig and name that a call names, or end it."""
        rig, name = self.split(self.words[0])
        self.need_rig(rig)
        if name not in self.polecats(rig):
            raise StoppedError(f"polecat '{name}' not found in rig '{rig}'")
        return rig, name

    def wake_rig(self, rig: str) -> None:
        """Start what is to watch a new polecat, and nudge it."""
        for role in ("witness", "refinery"):
            if not self.has_session(self.session(rig, role)):
                try:
                    self.start_session(rig, role, role)
                except StoppedError:
                    continue
        if self.modern and not self.daemon_pid():
            self.warn("Warning: daemon is not running. Polecat may not auto-start.", "  Start with: gt daemon start")
        self.type(self.session(rig, "witness"), "Polecat dispatched - check for work")
        if not self.modern:
            self.type(self.session(rig, "refinery"), "Polecat dispatched - check for merge requests")

    def daemon_pid(self) -> int:
        """Return the pid of gt's daemon, 0 where none runs: it holds a lock as long as it lives."""
        folder = os.path.join(self.town, "daemon")
        try:
            with open(os.path.join(folder, "daemon.pid"), encoding="utf-8") as file:
                pid = int(file.readline())
            with open(os.path.join(folder, "daemon.lock"), encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return pid
        except (OSError, ValueError):
            pass
        return 0

    # -- sling -----------------------------------------------------------------------------------------

    def do_sling(self) -> None:
        """Give an issue to a polecat."""
        role = self.environ.get("GT_ROLE", "")
        if (self.environ.get("GT_POLECAT") and not (self.modern and role)) or (self.modern and "polecat" in role):
            raise StoppedError("polecats cannot sling (use gt done for handoff)")
        if self.modern and self.words[:1] == ["respawn-reset"]:
            self.reset_respawns(self.words[1])
            return
        os.environ["BD_DOLT_AUTO_COMMIT"] = "off"  # a tmux server that is started on the way inherits it
        if len(self.words) != 2:
            raise StoppedError("this stand-in slings one issue to one target")
        self.phase("start")
        if self.modern:
            self.sling_modern(self.words[0], self.words[1].rstrip("/"))
        else:
            self.sling_old(self.words[0], self.words[1])

    def get_bead(self, bead: str) -> dict:
        """Return the issue to sling, or end the call."""
        issue = self.find_issue(bead)
        if issue is None:
            if not re.fullmatch(r"[a-z]+-[a-z0-9.-]+", bead):
                raise StoppedError(f"'{bead}' is not a valid bead or formula")
            raise StoppedError(f"checking bead status: bead '{bead}' not found")
        return issue

    def sling_modern(self, bead: str, target: str) -> None:
        """Sling as 1.0.1 does: all is checked first, the session comes last."""
        force, dry = self.flags.get("--force", False), self.flags.get("--dry-run", False)
        if (self.settings().get("scheduler") or {}).get("max_polecats", -1) > 0:
            if target not in self.rigs():
                raise StoppedError(f"deferred dispatch requires a rig target: gt sling {bead} <rig>")
            self.schedule(bead, target, force)
            return
        busy = f"bead {bead} is already being slung; retry after the current assignment completes"
        with self.lock(f"sling/{bead}", busy):
            issue = self.get_bead(bead)
            status, holder = issue["status"], issue["assignee"]
            if issue["title"].startswith("-"):
                raise StoppedError(f'refusing to sling bead {bead}: title "{issue["title"]}" looks like a CLI flag')
            if status in ("closed", "tombstone"):
                raise StoppedError(f"bead {bead} is {status} (work already completed)")
            if status == "deferred" and not force:
                raise StoppedError(f'refusing to sling deferred bead {bead}: "{issue["title"]}"')
            if status in ("pinned", "hooked", "in_progress") and not force:
                if status != "pinned" and holder and self.is_gone(holder):
                    self.say(f"⚠ Hooked agent {holder} has no active session, auto-forcing re-sling...")
                    force = True
                elif target == holder or holder.startswith(f"{target}/polecats/"):
                    self.say(f"○ Bead {bead} is already {status} to {holder}, no-op")
                    return
                else:
                    who = holder or "(unknown)"
                    raise StoppedError(f"bead {bead} is already {status} to {who}\nUse --force to re-sling")
            rig, name, fresh = self.resolve_target(bead, target, force, dry)
            agent = f"{rig}/polecats/{name}" if rig else name
            self.say(f"🎯 Slinging {bead} to {agent}...")
            if status in ("hooked", "in_progress") and force and holder:
                self.take_away(bead, holder, agent)
            self.convoy(bead, issue["title"], dry)
            formula = not self.flags.get("--hook-raw-bead") and "/polecats/" in agent
            if formula:
                self.say("  Auto-applying mol-polecat-work for polecat work...")
            if dry:
                self.tell_dry(bead, issue["title"], agent, formula)
                return
            try:
                wisp = self.instantiate(bead, rig) if formula else ""
                self.hook(bead, agent, wisp)
                self.phase("hooked")
                if fresh:
                    self.say(f"Starting session for {rig}/{name}...")
                    self.start_session(rig, name, "polecat", self.run_env(rig, name))
            except StoppedError as end:
                if fresh and not (self.log.fault.get("phase") and self.log.fault["do"] == "fail"):
                    self.roll_back(rig, name, bead)
                raise StoppedError(f"starting polecat session: {end.complaint}") from None
            self.phase("session")
            if not fresh:
                self.prompt(bead, self.session_of(target))
            self.phase("done")

    def is_gone(self, holder: str) -> bool:
        """Tell whether the holder of an issue is an agent without a session."""
        parts = holder.split("/")
        if len(parts) == 2 or (len(parts) == 3 and parts[1] in ("polecats", "crew")):
            return not self.has_session(self.session_of(holder))
        return False

    def resolve_target(self, bead: str, target: str, force: bool, dry: bool) -> tuple[str, str, bool]:
        """Return the rig, the polecat's name and whether it is a new one; without a rig the name is an address."""
        parts = target.split("/")
        if target in self.rigs():
            if dry:
                self.say(f"Would spawn fresh polecat in rig '{target}'")
                return target, "<new>", True
            self.say(f"Target is rig '{target}', spawning fresh polecat...")
        elif self.has_session(self.session_of(target)):
            if len(parts) < 2 or parts[-1] in ("witness", "refinery") or parts[1] == "crew":
                return "", target, False
            return parts[0], parts[-1], False
        elif len(parts) == 3 and parts[1] == "polecats" and parts[0] in self.rigs() and self.v >= (0, 3, 0):
            self.say(f"Target polecat has no active session, spawning fresh polecat in rig '{parts[0]}'...")
        else:
            raise StoppedError(f"resolving target: getting pane for {self.session_of(target)}: exit status 1")
        return parts[0], self.spawn(parts[0], bead, force), True

    def spawn(self, rig: str, bead: str, force: bool) -> str:
        """Make a polecat, or take an idle one; return its name."""
        if not self.modern:
            return self.spawn_old(rig, bead)
        self.count_respawn(rig, bead, force)
        idle = next((name for name in self.polecats(rig) if self.state(rig, name)[0] == "idle"), "")
        if idle:
            self.say(f"Reusing idle polecat: {idle}")
            with self.lock(f"polecat-{idle}"):
                self.reuse(rig, idle, bead)
            self.say(f"✓ Polecat {idle} reused (idle → working, session start deferred)")
        else:
            idle = self.allocate(rig)
            with self.lock(f"polecat-{idle}"):
                self.add_worktree(rig, idle, bead)
                self.provision(rig, idle)
            self.say(f"Created polecat: {idle}", f"✓ Polecat {idle} spawned (session start deferred)")
        self.phase("folder")
        if not self.flags.get("--no-boot"):
            self.wake_rig(rig)
        return idle

    def count_respawn(self, rig: str, bead: str, force: bool) -> None:
        """Refuse an issue that was slung too often."""
        if force:
            return
        path = os.path.join(self.town, "witness", "bead-respawn-counts.json")
        content = read_json(path, {"beads": {}})
        count = content["beads"].get(bead, {}).get("count", 0)
        if count >= self.option["respawns"]:
            raise StoppedError(
                f"spawning polecat: respawn limit reached for {bead} ({count} attempts). This bead keeps failing — "
                f"investigate before re-dispatching.\nOverride: gt sling {bead} {rig} --force\n"
                f"Reset:    gt sling respawn-reset {bead}"
            )
        content["beads"][bead] = {"bead_id": bead, "count": count + 1, "last_respawn": self.stamp()}
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.write(path, json.dumps(content, indent=2))

    def reset_respawns(self, bead: str) -> None:
        """Let an issue be slung again however often it was."""
        path = os.path.join(self.town, "witness", "bead-respawn-counts.json")
        content = read_json(path, {"beads": {}})
        content["beads"].pop(bead, None)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.write(path, json.dumps(content, indent=2))
        self.say(f"✓ Reset respawn counter for {bead}")

    def take_away(self, bead: str, holder: str, agent: str) -> None:
        """Take an issue from its holder: for a while nobody has it. A dry run does this as well."""
        self.say(f"⚠ Bead already hooked to {holder}, forcing reassignment...")
        parts = holder.split("/")
        if len(parts) == 3 and parts[1] == "polecats":
            requester = self.environ.get("GT_POLECAT") or self.environ.get("USER") or "gt-sling"
            body = f"Reason: work_reassigned\nRequestedBy: {requester}\nBead: {bead}\nNewAssignee: {agent}"
            subject = f"LIFECYCLE:Shutdown {parts[2]}"
            self.send(f"{parts[0]}/witness", subject, body, "gt-sling", priority=1, kind="task")
            self.say(f"→ Sent LIFECYCLE:Shutdown to {parts[0]}/witness for {parts[2]}")
        self.set_issue(bead, status="open", assignee="")
        if self.modern:
            self.phase("open")
            time.sleep(self.option["open_s"])

    def convoy(self, bead: str, title: str, dry: bool) -> None:
        """Track an issue by a convoy, which gt's daemon feeds."""
        if self.flags.get("--no-convoy"):
            return
        with self.issues() as issues:
            for one in issues.values():
                own = one["issue_type"] == "convoy" and one["status"] == "open"
                if own and any(link["to"] == bead for link in one["links"]):
                    self.say(f"○ Already tracked by convoy {one['id']}")
                    return
            if dry:
                self.say(f"Would create convoy 'Work: {title}'", f"Would add tracking relation to {bead}")
                return
            possible = self.option["convoy"]
            if not (self.v >= (0, 3, 0) if possible is None else possible):
                why = "database uses 'hq' but you specified 'hq-cv' (use --force to override)"
                self.warn(f"Error: prefix mismatch: {why}")
                self.say("Warning: Could not create auto-convoy: creating convoy: exit status 1")
                return
            link = {"type": "tracks", "to": bead}
            one = self.file_issue(
                issues,
                "hq-cv-",
                5,
                title=f"Work: {title}",
                description=f"Auto-created convoy tracking {bead}",
                issue_type="convoy",
                links=[link],
            )
            self.say(f"→ Created convoy 🚚 {one['id']}", f"  Tracking: {bead}")

    def tell_dry(self, bead: str, title: str, agent: str, formula: bool) -> None:
        """Say what a dry run would have gone on to do."""
        if formula:
            self.say(
                "Would instantiate formula mol-polecat-work:",
                "  1. bd cook mol-polecat-work",
                f'  2. bd mol wisp mol-polecat-work --var feature="{title}" --var issue="{bead}"',
                f"  3. bd mol bond <wisp-root> {bead}",
                f"  4. bd update <compound-root> --status=hooked --assignee={agent}",
            )
        else:
            self.say(f"Would run: bd update {bead} --status=hooked --assignee={agent}")
        self.say("Would inject start prompt to pane: <new-pane>")

    def instantiate(self, bead: str, rig: str) -> str:
        """Bond a formula to an issue: a bead that is never listed blocks it from then on."""
        self.say("  Instantiating formula mol-polecat-work...")
        found = self.option["formula"]
        if not (self.modern if found is None else found):
            missing = os.path.join(self.town, rig, "mol-polecat-work")
            self.warn(f"Error: parsing formula: read mol-polecat-work: open {missing}: no such file or directory")
            formula = "formula mol-polecat-work"
            raise StoppedError(f"instantiating {formula}: cooking {formula}: exit status 1")
        with self.issues(rig) as issues:
            one = self.file_issue(
                issues,
                f"{self.prefix(rig)}-wisp-",
                4,
                title="mol-polecat-work",
                description="Full polecat work lifecycle from assignment through completion.",
                issue_type="epic",
                status="wisp",
                ephemeral=True,
                created_by="",
            )
            issues[bead]["links"].append({"type": "blocks", "to": one["id"]})
        self.say(f"✓ Formula wisp created: {one['id']}", f"✓ Formula bonded to {bead}")
        return one["id"]

    def hook(self, bead: str, agent: str, wisp: str) -> None:
        """Put an issue on an agent's hook."""
        with self.issues(self.rig_of(bead)) as issues:
            if bead not in issues:
                raise StoppedError(f"hooking bead: no issue found matching {bead}")
            notes = []
            if wisp:
                notes += [f"attached_molecule: {wisp}", "attached_formula: mol-polecat-work"]
                notes += [f"attached_at: {self.stamp()}", 'attached_vars: ["base_branch=main"]']
            notes.append(f"dispatched_by: {self.actor()}")
            notes += ["formula_vars: base_branch=main"] if wisp else []
            old = re.sub(r"\A(?:\w+: .*\n)+\n", "", issues[bead]["description"])
            description = "\n".join(notes) + (f"\n\n{old}" if old else "")
            issues[bead].update(status="hooked", assignee=agent, description=description, updated_at=self.stamp())
        self.say("✓ Work attached to hook (status=hooked)")

    def run_env(self, rig: str, name: str) -> dict:
        """Return what 1.0.1 exports before an agent of a polecat."""
        return {
            "GT_BRANCH": self.branch(rig, name),
            "GT_POLECAT": name,
            "GT_POLECAT_PATH": self.tree(rig, name),
            "GT_RIG": rig,
            "GT_ROLE": f"{rig}/polecats/{name}",
            "GT_RUN": "-".join(os.urandom(size).hex() for size in (4, 2, 2, 2, 6)),
            "GT_TOWN_ROOT": self.town,
            "POLECAT_SLOT": str(self.polecats(rig).index(name)),
        }

    def roll_back(self, rig: str, name: str, bead: str) -> None:
        """Undo a sling whose session did not start: whatever else the polecat holds by now is let go of as well."""
        self.say(f"⚠ Session failed, rolling back spawned polecat {name}...")
        branch, tree = self.branch(rig, name), self.tree(rig, name)
        self.burn(rig, name)
        self.set_issue(bead, status="open", assignee="")
        self.say(f"  ○ Unhooked bead {bead}")
        if self.git_state(rig, name)[2]:
            self.say(f"  Warning: Could not clean up orphaned polecat {name}: polecat {name} has stashes")
            return
        self.unassign(rig, name)
        run("git", "-C", tree, "push", "origin", f"{branch}:{branch}")
        self.remove(rig, name)
        run("git", "-C", self.base(rig), "branch", "-D", branch)
        self.say(f"  ○ Cleaned up orphaned polecat {name}")

    def prompt(self, bead: str, session: str) -> None:
        """Tell a running agent to begin."""
        self.type(session, f"Work slung: {bead}. Start working on it now - run `gt hook` to see the hook, then begin.")
        self.say("▶ Start prompt sent")

    def schedule(self, bead: str, rig: str, force: bool) -> None:
        """Only note that an issue is to be slung later."""
        issue = self.find_issue(bead)
        if issue is None:
            raise StoppedError(f"bead '{bead}' not found")
        if issue["status"] in ("pinned", "hooked", "in_progress") and not force:
            why = f"already {issue['status']} to {issue['assignee']}"
            raise StoppedError(f"bead {bead} is {why}\nUse --force to override")
        with self.issues(rig) as issues:
            known = [one for one in issues.values() if one["title"] == f"sling-context: {bead}"]
            if known:
                self.say(f"○ Bead {bead} is already scheduled (context: {known[0]['id']}), no-op")
                return
            one = self.file_issue(
                issues,
                f"{self.prefix(rig)}-wisp-",
                4,
                title=f"sling-context: {bead}",
                status="wisp",
                ephemeral=True,
                labels=["gt:sling-context"],
            )
        self.convoy(bead, issue["title"], False)
        self.say(f"✓ Scheduled {bead} → {rig} (context: {one['id']})")

    def sling_old(self, bead: str, target: str) -> None:
        """Sling as 0.2.6 and 0.5.0 do: first a polecat with its session, then the checks."""
        force, dry = self.flags.get("--force", False), self.flags.get("--dry-run", False)
        rig, name, _ = self.resolve_target(bead, target, force, dry)
        agent = f"{rig}/polecats/{name}" if rig else name
        self.say(f"🎯 Slinging {bead} to {agent}...")
        issue = self.get_bead(bead)
        held = ("pinned", "hooked") if self.v >= (0, 3, 0) else ("pinned",)
        if issue["status"] in held and not force:
            who = issue["assignee"] or "(unknown)"
            raise StoppedError(f"bead {bead} is already {issue['status']} to {who}\nUse --force to re-sling")
        if self.v >= (0, 3, 0) and issue["status"] == "hooked" and issue["assignee"]:
            self.take_away(bead, issue["assignee"], agent)
        self.convoy(bead, issue["title"], dry)
        formula = self.v >= (0, 5, 0) and not self.flags.get("--hook-raw-bead") and "/polecats/" in agent
        if formula:
            self.say("  Auto-applying mol-polecat-work for polecat work...")
        if dry:
            self.tell_dry(bead, issue["title"], agent, formula)
            return
        wisp = self.instantiate(bead, rig) if formula else ""
        self.hook(bead, agent, wisp)
        self.phase("hooked")
        self.prompt(bead, self.session(rig, name) if rig else self.session_of(name))
        self.phase("done")

    def spawn_old(self, rig: str, bead: str) -> str:
        """Make a polecat and start its session before anything is known of the issue."""
        name = self.allocate(rig)
        self.say(f"Allocated polecat: {name}", f"Creating polecat {name}...")
        self.add_worktree(rig, name, bead)
        self.provision(rig, name)
        self.phase("folder")
        self.say(f"Starting session for {rig}/{name}...")
        self.start_session(rig, name, "polecat")
        self.say(f"✓ Polecat {name} spawned")
        self.phase("session")
        self.wake_rig(rig)
        return name

    def do_spawn(self) -> None:
        """Give an issue to a polecat, as the seed does."""
        self.phase("start")
        rig, bead, name = self.flags.get("--rig", ""), self.flags.get("--issue", ""), self.flags.get("--polecat", "")
        if self.words:
            rig, _, name = self.words[0].partition("/")
        if not bead:
            raise StoppedError("must specify --issue or -m/--message")
        self.need_rig(rig)
        create = self.flags.get("--create")
        if not name:
            idle = [one for one in self.polecats(rig) if self.state(rig, one)[0] == "idle"]
            idle = [one for one in idle if not self.has_session(self.session(rig, one))]
            if idle:
                name = idle[0]
                self.say(f"Auto-selected polecat: {name}")
            elif create:
                name = self.allocate(rig)
                self.say(f"Allocated polecat name: {name}")
            else:
                raise StoppedError(f"auto-select polecat: no available polecats in rig '{rig}'")
        if name not in self.polecats(rig):
            if not create:
                raise StoppedError(f"polecat '{name}' not found (use --create to create)")
            self.say(f"Creating polecat {name}...")
            self.add_worktree(rig, name, bead)
        self.phase("folder")
        state, holds = self.state(rig, name)
        if state == "working":
            raise StoppedError(f"polecat '{name}' is already working on {holds}")
        self.say("Warning: beads sync: exit status 1")
        issue = self.find_issue(bead)
        if issue is None:
            raise StoppedError(f"fetching issue {bead}: issue not found")
        self.set_issue(bead, status="in_progress", assignee=f"{rig}/{name}")
        self.phase("hooked")
        self.say(f"✓ Assigned {bead} to {rig}/{name}", "Warning: beads push: exit status 1")
        self.say(f"Sending work assignment to {rig}/{name} inbox...")
        subject = f"📋 Work Assignment: {issue['title']}"
        self.send(f"{rig}-{name}", subject, issue["description"], "mayor/", where=rig, priority=1)
        self.say("✓ Work assignment sent")
        if self.flags.get("--no-start"):
            return
        session = self.session(rig, name)
        if not self.has_session(session):
            self.say(f"Starting session for {rig}/{name}...")
            self.start_session(rig, name, "polecat")
        self.phase("session")
        self.say(f"✓ Session started. Attach with: gt session at {rig}/{name}")
        order = f"Run 'gt mail inbox' to see it, then start working on issue {bead}."
        self.type(session, f"You have a work assignment. {order}")
        self.say("  Polecat nudged to start working")
        body = f"Polecat spawn notification.\n\nPolecat: {name}\nIssue: {bead}\nSession: {session}\n"
        body += f"Spawned by: {self.sender()}\n"
        self.send(f"{rig}-witness", f"SPAWN: {name} starting on {bead}", body, self.sender())
        self.say("  Witness notified to monitor startup")
        self.phase("done")

    # -- done, and the end of polecats -----------------------------------------------------------------

    def do_done(self) -> None:
        """End the work of the calling polecat."""
        actor = self.environ.get("BD_ACTOR", "")
        if actor and "/polecats/" not in actor:
            raise StoppedError(f"gt done is for polecats only (you are {actor})")
        rig, name = self.environ.get("GT_RIG", ""), self.environ.get("GT_POLECAT", "")
        tree = self.tree(rig, name)
        how = self.flags.get("--status", "COMPLETED").upper()
        branch = self.branch(rig, name)
        issue = self.flags.get("--issue") or (branch.split("/")[2].split("@")[0] if branch.count("/") == 2 else "")
        if not issue and self.v < (0, 3, 0):  # it takes the end of its branch for an issue
            issue = branch.partition("/")[2]
        elif not issue:
            with self.issues(rig) as issues:
                mine = [one for one in issues.values() if one["assignee"] == f"{rig}/polecats/{name}"]
            issue = next((one["id"] for one in mine if one["status"] == "hooked"), "")
        own = (".beads/", ".claude/", "CLAUDE.md", ".runtime/")
        files, ahead, _ = self.git_state(rig, name)
        if self.modern:
            files = [one for one in files if not one.startswith(own)]
            if files:
                ahead += self.save_work(tree, issue)
        elif how == "COMPLETED" and files and self.v >= (0, 3, 0):
            raise StoppedError(
                "cannot complete: uncommitted changes would be lost\n"
                "Commit your changes first, or use --status DEFERRED to exit without completing\n"
                f"Uncommitted: {len(files)} uncommitted change(s)"
            )
        if self.modern and self.environ.get("GT_SESSION"):
            self.beat(self.environ["GT_SESSION"], "exiting")
        request = ""
        if how == "COMPLETED":
            request = self.submit(rig, name, branch, issue, ahead)
        else:
            self.say(f"→ Signaling {how}", *([f"  Issue: {issue}"] if issue else []), f"  Branch: {branch}")
        self.say("", "Notifying Witness...")
        if self.modern:
            self.finish(rig, name, issue, how, branch)
        else:
            self.finish_old(rig, name, issue, how, branch, request)

    def save_work(self, tree: str, issue: str) -> int:
        """Commit what a polecat left uncommitted; return the number of commits made."""
        self.say("", "⚠ Uncommitted changes detected — auto-saving to prevent work loss")
        run("git", "-C", tree, "add", "-A")
        for path in ("CLAUDE.md", ".beads/", ".claude/", ".runtime/"):
            run("git", "-C", tree, "reset", "-q", "--", path)
        what = f"{issue}, gt-pvx safety net" if issue else "gt-pvx safety net"
        done = run("git", "-C", tree, "commit", "-m", f"fix: auto-save uncommitted implementation work ({what})")
        if done.returncode == 0:
            self.say("✓ Auto-committed uncommitted work (safety net)")
        return int(done.returncode == 0)

    def submit(self, rig: str, name: str, branch: str, issue: str, ahead: int) -> str:
        """Push a polecat's branch and file a merge request; return its id, "" where there is nothing to merge."""
        tree = self.tree(rig, name)
        if branch == "main":
            raise StoppedError("cannot submit main/master branch to merge queue")
        if not ahead:
            if self.v < (0, 3, 0):
                raise StoppedError(f"branch '{branch}' has 0 commits ahead of main; nothing to merge")
            if self.modern:
                raise StoppedError(
                    "cannot complete: no commits on branch ahead of origin/main\n"
                    "Polecats must have at least 1 commit to submit."
                )
            self.say("→ Branch has no commits ahead of origin/main")
            self.say("  Skipping MR creation - completing without merge request.")
            return ""
        if self.v >= (0, 3, 0):
            self.say("Pushing branch to remote...")
            done = run("git", "-C", tree, "push", "origin", f"{branch}:{branch}")
            if done.returncode:
                raise StoppedError(f"pushing branch '{branch}' to origin: {done.stderr.strip()}")
            self.say("✓ Branch pushed to origin")
        if not issue:
            raise StoppedError(f"cannot determine source issue from branch '{branch}'; use --issue to specify")
        text = f"branch: {branch}\ntarget: main\nsource_issue: {issue}\nrig: {rig}\nworker: {name}\nretry_count: 0\n"
        text += "last_conflict_sha: null\nconflict_task_id: null"
        with self.issues(rig) as issues:
            found = self.file_issue(
                issues,
                f"{self.prefix(rig)}-wisp-" if self.modern else f"{self.prefix(rig)}-",
                title=f"Merge: {issue}",
                issue_type="merge-request",
                description=text,
                labels=["gt:merge-request"],
                ephemeral=True,
            )
        self.say("✓ Work submitted to merge queue", f"  MR ID: {found['id']}", f"  Source: {branch}", "  Target: main")
        if self.modern:
            self.type(self.session(rig, "refinery"), "MERGE_READY received - check inbox for pending work")
        return found["id"]

    def finish(self, rig: str, name: str, issue: str, how: str, branch: str) -> None:
        """Close the issue and go idle, as 1.0.1 does: nothing is merged yet."""
        if issue and how != "DEFERRED":
            self.close_issue(rig, issue)
        self.type(self.session(rig, "witness"), f"POLECAT_DONE {name} exit={how}")
        self.say(f"✓ Witness notified of {how} (via nudge)", "✓ Sandbox preserved for reuse (persistent polecat)")
        tree = self.tree(rig, name)
        self.say("→ Syncing worktree to main...")
        done = run("git", "-C", tree, "checkout", "main")
        if done.returncode:  # the refinery's worktree has it
            self.warn(f"⚠ Warning: could not checkout main: {done.stderr.strip()} (worktree stays on feature branch)")
        elif run("git", "-C", tree, "pull", "origin", "main").returncode == 0:
            self.say("✓ Worktree synced to main")
        if run("git", "-C", tree, "branch", "-D", branch).returncode == 0:
            self.say(f"✓ Deleted old branch {branch}")
        self.say("✓ Polecat transitioned to IDLE — ready for new work", "")

    def close_issue(self, rig: str, issue: str) -> None:
        """Close an issue with the formula that hangs on it."""
        with self.issues(rig) as issues:
            one = issues.get(issue)
            if one is None or one["status"] in ("closed", "tombstone"):
                return
            for link in one["links"]:
                if issues.get(link["to"], {}).get("status") == "wisp":
                    issues[link["to"]].update(status="closed", closed_at=self.stamp())
            one.update(status="closed", closed_at=self.stamp(), close_reason="Closed", updated_at=self.stamp())

    def finish_old(self, rig: str, name: str, issue: str, how: str, branch: str, request: str) -> None:
        """Mail the witness and remove its own worktree; 0.5.0 then ends its session as well."""
        lines = [f"Exit: {how}", *([f"Issue: {issue}"] if issue else []), *([f"MR: {request}"] if request else [])]
        body = "\n".join([*lines, f"Branch: {branch}"])
        self.send(f"{rig}/witness", f"POLECAT_DONE {name}", body, f"{rig}/{name}")
        self.say(f"✓ Witness notified of {how}")
        found = self.find_issue(issue) if issue else None
        by = re.search(r"^dispatched_by: (.*)$", (found or {}).get("description", ""), re.MULTILINE)
        if by and by.group(1) != f"{rig}/{name}":
            self.send(self.address(by.group(1)), f"WORK_DONE: {issue}", body, f"{rig}/{name}")
            self.say(f"✓ Dispatcher {by.group(1)} notified of {how}")
        if found and found["status"] == "hooked":
            self.close_issue(rig, issue)
        if how == "COMPLETED":
            self.remove(rig, name)
            self.say("✓ Worktree nuked" if self.v >= (0, 3, 0) else "✓ Sandbox nuked")
        if self.v < (0, 3, 0):
            self.say("", "→ Session exiting (done means gone)", "  Goodbye!")
            return
        self.say("→ Terminating session (done means gone)")
        self.log.add(status=0)
        self.kill_session(self.session(rig, name))

    def remove(self, rig: str, name: str) -> None:
        """Delete a polecat's worktree and folder, whatever is in them."""
        base, tree = self.base(rig), self.tree(rig, name)
        run("git", "-C", base, "worktree", "remove", "--force", tree)
        shutil.rmtree(tree, ignore_errors=True)
        shutil.rmtree(os.path.join(self.town, rig, "polecats", name), ignore_errors=True)
        run("git", "-C", base, "worktree", "prune")

    def dangers(self, rig: str, name: str) -> list[str]:
        """Return why `nuke` without --force refuses a polecat."""
        if name not in self.polecats(rig):
            return []
        found = []
        branch = self.branch(rig, name)
        if self.v == (0, 5, 0):
            found.append("cleanup status unknown")
            hook = self.hook_of(rig, name)
            found += [f"has work on hook ({hook})"] if hook else []
        elif not os.path.isdir(self.tree(rig, name)):
            found.append("cannot check git state")
        else:
            files, ahead, stashes = self.git_state(rig, name)
            counts = [(ahead, "unpushed commit(s)"), (len(files), "uncommitted file(s)"), (stashes, "stash(es)")]
            found += [f"has {number} {what}" for number, what in counts if number][:1]
        with self.issues(rig) as issues:
            for one in issues.values():
                if one["issue_type"] == "merge-request" and one["status"] == "open":
                    found += [f"has open MR ({one['id']})"] * (f"branch: {branch}\n" in one["description"])
        return found

    def hook_of(self, rig: str, name: str) -> str:
        """Return the issue that 0.5.0 has on a polecat's record: the hooked one, or what it was made for."""
        with self.issues(rig) as issues:
            for one in issues.values():
                if one["status"] == "hooked" and one["assignee"] == f"{rig}/polecats/{name}":
                    return one["id"]
            parts = self.branch(rig, name).split("/")
            made_for = parts[2].split("@")[0] if len(parts) == 3 else ""
            return made_for if issues.get(made_for, {}).get("status", "closed") != "closed" else ""

    def do_polecat_nuke(self) -> None:
        """Remove polecats, whatever they hold, or refuse."""
        targets = [self.split(word) for word in self.words]
        for rig, _ in targets:
            self.need_rig(rig)
        force = self.flags.get("--force")
        if self.flags.get("--dry-run"):
            for rig, name in targets:
                self.tell_nuke(rig, name)
            self.say("", f"\N{INFORMATION SOURCE} Would nuke {len(targets)} polecat(s).")
            return
        if not force:
            reasons = {f"{rig}/{name}": self.dangers(rig, name) for rig, name in targets}
            blocked = {who: why for who, why in reasons.items() if why}
            if blocked:
                self.say("Error: Cannot nuke the following polecats:", "")
                for who, why in blocked.items():
                    self.say(f"  {who}:", *(f"    - {one}" for one in why))
                self.say(
                    "",
                    "Safety checks failed. Resolve issues before nuking, or use --force.",
                    "Options:",
                    "  1. Complete work: gt done (from polecat session)",
                    "  2. Push changes: git push (from polecat worktree)",
                    '  3. Escalate: gt mail send mayor/ -s "RECOVERY_NEEDED" -m "..."',
                    f"  4. Force nuke (LOSES WORK): gt polecat nuke --force {' '.join(blocked)}",
                    "",
                )
                raise StoppedError(f"blocked: {len(blocked)} polecat(s) have active work")
        for rig, name in targets:
            self.say(f"⚠ Nuking {rig}/{name} (--force)..." if force else f"Nuking {rig}/{name}...")
            self.nuke(rig, name)
            if self.option["nuke_deletes"]:
                run("git", "-C", self.base(rig), "branch", "-D", self.option["nuke_deletes"])
        self.say("", f"✓ Nuked {len(targets)} polecat(s).")

    def nuke(self, rig: str, name: str) -> None:
        """Remove one polecat: session, folder, branch, records."""
        session, folder = self.session(rig, name), os.path.join(self.town, rig, "polecats", name)
        held = self.has_session(session) or any(files for _, _, files in os.walk(folder))
        self.log.add(phase="full" if held else "empty")  # of what it is about to destroy
        if self.has_session(session):
            self.kill_session(session)
            self.say("  ✓ killed session")
        branch = self.branch(rig, name) if name in self.polecats(rig) else ""
        if branch and self.modern:
            self.burn(rig, name)
            where = self.tree(rig, name) if os.path.isdir(self.tree(rig, name)) else self.base(rig)
            done = run("git", "-C", where, "push", "origin", f"{branch}:{branch}")
            said = done.stderr.strip()
            self.say(
                f"  ✓ pushed branch {branch} before nuke"
                if done.returncode == 0
                else f"  ○ best-effort push failed (proceeding): git push: {said}"
            )
        if branch:
            folder = os.path.realpath(os.path.join(self.town, rig, "polecats", name))
            if os.path.realpath(os.getcwd()).startswith(folder):
                raise StoppedError(f"1 nuke(s) failed: your shell is in {os.getcwd()}")
            if self.modern:
                self.unassign(rig, name)
            self.remove(rig, name)
            self.say("  ✓ deleted worktree")
            where = os.path.join(self.town, rig, "mayor", "rig") if self.v == (0, 2, 6) else self.base(rig)
            done = run("git", "-C", where, "branch", "-D", branch)
            said = done.stderr.strip()
            kind = "local branch" if self.modern else "branch"
            self.say(
                f"  ✓ deleted {kind} {branch}" if done.returncode == 0 else f"  ○ branch delete: git branch: {said}"
            )
            if self.modern:
                self.say("  ○ remote branch preserved for refinery merge")
        else:
            self.say("  ○ worktree already gone")
        self.say("  ○ agent bead not found or already " + ("cleaned" if self.modern else "closed"))
        if self.modern:
            self.warn("Purged closed ephemeral beads: No closed ephemeral beads to purge")

    def burn(self, rig: str, name: str) -> None:
        """Take the formula off the issue of a polecat."""
        issue = self.issue_of(rig, name)
        if issue is None:
            return
        with self.issues(rig) as issues:
            wisps = [link for link in issue["links"] if issues.get(link["to"], {}).get("status") == "wisp"]
            for link in wisps:
                issues[link["to"]].update(status="closed", closed_at=self.stamp())
                issues[issue["id"]]["links"].remove(link)

    def unassign(self, rig: str, name: str) -> None:
        """Open whatever a polecat holds."""
        with self.issues(rig) as issues:
            for one in issues.values():
                held = one["status"] in ("open", "in_progress", "hooked")
                if held and one["assignee"] == f"{rig}/polecats/{name}" and one["issue_type"] != "message":
                    one.update(status="open", assignee="", updated_at=self.stamp())

    def tell_nuke(self, rig: str, name: str) -> None:
        """Say what a nuke would do."""
        prefix = self.prefix(rig) if self.v >= (0, 3, 0) else "gt"
        why = self.dangers(rig, name)
        git = "dirty" if any("commit" in one or "file" in one or "stash" in one for one in why) else "clean"
        hook = "unknown (no agent bead)"
        if self.v == (0, 5, 0):
            git, hook = "unknown", f"has work ({self.hook_of(rig, name)})" if self.hook_of(rig, name) else "empty"
        request = next((one for one in why if "open MR" in one), "")
        self.say(
            f"Would nuke {rig}/{name}:",
            f"  - Kill session: gt-{rig}-{name}",
            f"  - Delete worktree: {self.town}/{rig}/polecats/{name}",
            "  - Delete branch (if exists)",
            f"  - Close agent bead: {prefix}-{rig}-polecat-{name}",
            "",
            "  Safety checks:",
            f"    - Git state: {git}",
            f"    - Hook: {hook}",
            f"    - Open MR: {'yes ' + request[12:] if request else 'none'}",
            "",
        )

    def do_polecat_remove(self) -> None:
        """Remove a polecat as the seed does; the branch stays."""
        rig, name = self.need_polecat()
        force = self.flags.get("--force")
        if not force and self.has_session(self.session(rig, name)):
            raise StoppedError(f"session is running. Stop it first with: gt session stop {rig}/{name}")
        self.say(f"Removing polecat {rig}/{name}...")
        if not force and self.git_state(rig, name)[0]:
            raise StoppedError("polecat has uncommitted changes. Use --force to remove anyway")
        self.remove(rig, name)
        self.say(f"✓ Polecat {name} removed.")

    # -- looks -----------------------------------------------------------------------------------------

    def do_polecat_list(self) -> None:
        """List polecats."""
        if not self.words:
            raise StoppedError("rig name required (or use --all)")
        rig = self.words[0]
        self.need_rig(rig)
        found = []
        running = self.sessions()
        for name in self.polecats(rig):
            state, issue = self.state(rig, name)
            alive = self.session(rig, name) in running
            if self.modern and alive and state == "idle":
                state = "working"
            if self.modern and not alive and state == "working":
                state = "stalled"
            one = {"rig": rig, "name": name, "state": state, **({"issue": issue} if issue else {})}
            found.append({**one, "session_running": alive})
        if self.modern:
            for session in running:
                name = session[len(self.prefix(rig)) + 1 :]
                ours = session.startswith(self.prefix(rig) + "-") and not name.startswith("crew-")
                if ours and name not in {*self.polecats(rig), "witness", "refinery"}:
                    one = {"rig": rig, "name": name, "state": "zombie", "session_running": True, "zombie": True}
                    found.append({**one, "session_name": session})
        if self.flags.get("--json"):
            self.say_json(found if found or self.modern else None)
        elif not found:
            self.say("No polecats found.")
        else:
            self.say("Polecats", "")
            for one in found:
                self.say(f"  {'●' if one['session_running'] else '○'} {rig}/{one['name']}  {one['state']}")

    def do_polecat_status(self) -> None:
        """Show one polecat."""
        rig, name = self.need_polecat()
        state, issue = self.state(rig, name)
        session = self.session(rig, name)
        found = {"rig": rig, "name": name, "state": state, **({"issue": issue} if issue else {})}
        found.update(clone_path=self.tree(rig, name), branch=self.branch(rig, name))
        found["session_running"] = self.has_session(session)
        if found["session_running"]:
            form = "#{session_created}\t#{session_activity}\t#{session_attached}"
            said = self.tmux("display-message", "-p", "-t", f"={session}:", form).stdout.strip().split("\t")
            times = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(one))) for one in said[:2]]
            found.update({"session_id": session, **({"attached": True} if said[2] != "0" else {}), "windows": 1})
            found.update({**({"created_at": times[0]} if self.modern else {}), "last_activity": times[1]})
        if self.flags.get("--json"):
            self.say_json(found)
        else:
            self.say(f"Polecat: {rig}/{name}", "", f"  State:         {state}")

    def do_polecat_git_state(self) -> None:
        """Show what a polecat's worktree holds."""
        rig, name = self.need_polecat()
        files, ahead, stashes = self.git_state(rig, name)
        clean = not (files or ahead or stashes)
        found = {"clean": clean, "uncommitted_files": files or None, "unpushed_commits": ahead, "stash_count": stashes}
        self.say_json(found)

    def do_polecat_check_recovery(self) -> None:
        """Tell whether a polecat holds something."""
        rig, name = self.need_polecat()
        files, ahead, stashes = self.git_state(rig, name)
        status = "has_uncommitted" if files else "has_stash" if stashes else "has_unpushed" if ahead else "clean"
        status = "" if self.v == (0, 5, 0) else status
        needs = status != "clean"
        issue = self.state(rig, name)[1]
        found = {"rig": rig, "polecat": name, "cleanup_status": status, "needs_recovery": needs}
        found.update(verdict="NEEDS_RECOVERY" if needs else "SAFE_TO_NUKE", branch=self.branch(rig, name))
        self.say_json({**found, **({"issue": issue} if issue else {})})

    def do_session_start(self) -> None:
        """Start the session of a polecat that is there."""
        rig, name = self.split(self.words[0])
        self.need_rig(rig)
        if name not in self.polecats(rig):
            hint = f"\n  Create with: gt polecat identity add {rig} {name}"
            raise StoppedError(f"Polecat '{name}' not found" + hint * self.modern)
        self.say(f"Starting session for {rig}/{name}...")
        bead = self.flags.get("--issue", "")
        if self.modern:
            self.leave_main(rig, name, bead)
        self.start_session(rig, name, "polecat", self.run_env(rig, name) if self.modern else None)
        if bead:
            self.set_issue(bead, status="hooked", assignee=f"{rig}/polecats/{name}")
        self.say(f"✓ Session started. Attach with: gt session at {rig}/{name}")

    def leave_main(self, rig: str, name: str, bead: str) -> None:
        """Give a session that starts on main, or on another issue's branch, a branch of its own."""
        branch, tree = self.branch(rig, name), self.tree(rig, name)
        other = bead and branch.startswith("polecat/") and f"/{bead}@" not in branch
        if branch == "main" or other:
            run("git", "-C", tree, "fetch", "origin")
            run("git", "-C", tree, "checkout", "-b", self.new_branch(name, bead), "origin/main")

    def do_session_stop(self) -> None:
        """End the session of a polecat."""
        rig, name = self.split(self.words[0])
        self.need_rig(rig)
        session = self.session(rig, name)
        force = "Force stopping" if self.flags.get("--force") else "Stopping"
        self.say(f"{force} session for {rig}/{name}...")
        if not self.has_session(session):
            raise StoppedError("stopping session: session not found")
        self.kill_session(session)
        self.say("✓ Session stopped.")

    def do_session_status(self) -> None:
        """Show one session."""
        rig, name = self.split(self.words[0])
        session = self.session(rig, name)
        found = {"polecat": name, "session_id": session, "running": self.has_session(session), "rig_name": rig}
        self.say_json(found)

    def do_session_list(self) -> None:
        """List the sessions of the rigs."""
        found = []
        for rig in self.rigs():
            prefix = self.prefix(rig) + "-" if self.modern else f"gt-{rig}-"
            for session in self.sessions():
                if session.startswith(prefix):
                    name = session[len(prefix) :]
                    found.append({"rig": rig, "polecat": name, "session_id": session, "running": True})
        self.say_json(found or None)

    def rig_word(self) -> str:
        """Return the rig that a call names, or is made from."""
        rig = self.words[0] if self.words else os.path.relpath(os.getcwd(), self.town).split("/")[0]
        self.need_rig(rig)
        return rig

    def start_role(self, role: str) -> None:
        """Start the session of a role of a rig."""
        rig = self.rig_word()
        self.say(f"Starting {role} for {rig}...")
        if self.has_session(self.session(rig, role)) and not self.bury(self.session(rig, role)):
            self.say(f"⚠ {role.title()} is already running", f"  Use 'gt {role} attach' to connect")
            return
        self.start_session(rig, role, role)
        self.say(f"✓ {role.title()} started for {rig}")
        if role == "witness":
            self.say("  Use 'gt witness attach' to connect")
        self.say(f"  Use 'gt {role} status' to check progress")

    def bury(self, session: str) -> bool:
        """End a session in which no model runs, as gt did before 0.7; it knows them by the pane's command."""
        command = self.tmux("display-message", "-p", "-t", f"={session}:", "#{pane_current_command}").stdout.strip()
        if self.modern or self.seed or re.fullmatch(r"node|claude|\d+\.\d+\.\d+", command):
            return False
        self.kill_session(session)
        return True

    def stop_role(self, role: str) -> None:
        """End the session of a role of a rig."""
        rig = self.rig_word()
        session = self.session(rig, role)
        if not self.has_session(session):
            self.say(f"⚠ {role.title()} is not running")
            return
        self.kill_session(session)
        self.say(f"✓ {role.title()} stopped for {rig}")

    def do_witness_start(self) -> None:
        """Start the witness seat."""
        self.start_role("witness")

    def do_witness_stop(self) -> None:
        """End the witness seat."""
        self.stop_role("witness")

    def do_witness_status(self) -> None:
        """Show the witness seat."""
        rig = self.rig_word()
        session = self.session(rig, "witness")
        running = self.has_session(session)
        names = self.polecats(rig) or None
        if self.v == (0, 2, 6):
            config = {"max_workers": 0, "spawn_delay_ms": 0, "auto_spawn": False}
            state = {"rig_name": rig, "state": "running" if running else "stopped", "started_at": self.stamp()}
            self.say_json({**state, "monitored_polecats": names, "config": config})
            return
        found = {"running": running, "rig_name": rig, **({"session": session} if running else {})}
        self.say_json({**found, **({"monitored_polecats": names} if names else {})})

    def do_refinery_start(self) -> None:
        """Start the refinery."""
        self.start_role("refinery")

    def do_refinery_stop(self) -> None:
        """End the refinery."""
        self.stop_role("refinery")

    def requests(self, rig: str) -> list[dict]:
        """Return the open merge requests."""
        with self.issues(rig) as issues:
            return [one for one in issues.values() if one["issue_type"] == "merge-request" and one["status"] == "open"]

    def do_refinery_status(self) -> None:
        """Show the refinery."""
        rig = self.rig_word()
        session = self.session(rig, "refinery")
        running = self.has_session(session)
        found = {"running": running, "rig_name": rig, **({"session": session} if running else {})}
        self.say_json({**found, "queue_length": len(self.requests(rig))})

    def do_refinery_ready(self) -> None:
        """List what waits for the refinery."""
        rig = self.rig_word()
        found = []
        for one in self.requests(rig):
            fields = dict(line.split(": ", 1) for line in one["description"].splitlines() if ": " in line)
            branch = fields.get("branch", "")
            base = self.base(rig)
            local, remote = (
                run("git", "-C", base, "rev-parse", "--verify", "--quiet", ref + branch).returncode == 0
                for ref in ("refs/heads/", "refs/remotes/origin/")
            )
            never = "0001-01-01T00:00:00Z"
            found.append(
                {
                    "ID": one["id"],
                    "Branch": branch,
                    "Target": fields.get("target", ""),
                    "SourceIssue": fields.get("source_issue", ""),
                    "Worker": fields.get("worker", ""),
                    "Rig": fields.get("rig", ""),
                    "Title": one["title"],
                    "Priority": one["priority"],
                    "AgentBead": "",
                    "RetryCount": 0,
                    "ConvoyID": "",
                    "ConvoyCreatedAt": None,
                    "CreatedAt": one["created_at"],
                    "BlockedBy": "",
                    "PreVerified": False,
                    "PreVerifiedAt": never,
                    "PreVerifiedBase": "",
                    "UpdatedAt": one["updated_at"],
                    "Assignee": one["assignee"],
                    "BranchExistsLocal": local,
                    "BranchExistsRemote": remote,
                }
            )
        self.say_json((found or None) if self.flags.get("--all") else {"ready": found or None})

    def do_mq_list(self) -> None:
        """List the merge queue."""
        rig = self.rig_word()
        keys = "id title description status priority issue_type created_at created_by updated_at assignee".split()
        found = []
        for one in self.requests(rig):
            plain = {key: one[key] for key in keys if one.get(key) or key in ("description", "priority")}
            found.append({**plain, "labels": one["labels"]})
        self.say_json(found or None)

    def do_mayor_status(self) -> None:
        """Tell whether the mayor runs."""
        running = self.has_session(self.session_of("mayor"))
        if self.flags.get("--running"):
            self.say("true" if running else "false")
        elif running:
            self.say(f"● Mayor {'(tmux)' if self.modern else 'session'} is running", "  Status: detached")
            self.say("", "Attach with: gt mayor attach")
        else:
            self.say("○ Mayor session is not running", "", "Start with: gt mayor start")

    def do_deacon_status(self) -> None:
        """Tell how the deacon does."""
        session = self.session_of("deacon")
        running = self.has_session(session)
        if not self.flags.get("--json"):
            state = "running" if running else "not running"
            self.say(f"{'●' if running else '○'} Deacon session is {state}")
            return
        found = {"running": running, "paused": False, "session": session}
        beat = read_json(os.path.join(self.town, "deacon", "heartbeat.json"), None)
        if beat:
            import calendar

            age = time.time() - calendar.timegm(time.strptime(beat["timestamp"][:19], "%Y-%m-%dT%H:%M:%S"))
            told = {"timestamp": beat["timestamp"], "age_seconds": age, "cycle": beat.get("cycle", 0)}
            told.update(fresh=age < 300, stale=300 <= age < 1200, very_stale=age >= 1200)
            found["heartbeat"] = told
        self.say_json(found)

    def do_convoy_list(self) -> None:
        """List convoys."""
        with self.issues() as issues:
            convoys = [one for one in issues.values() if one["issue_type"] == "convoy"]
        wanted = self.flags.get("--status")
        if not self.flags.get("--all"):
            convoys = [one for one in convoys if one["status"] == (wanted or "open")]
        found = []
        for one in convoys:
            entry = {key: one[key] for key in ("id", "title", "status", "created_at")}
            if self.modern:
                tracked = []
                for link in one["links"]:
                    issue = self.find_issue(link["to"])
                    if issue:
                        told = {"id": issue["id"], "title": issue["title"], "status": issue["status"]}
                        told.update(dependency_type="tracks", issue_type=issue["issue_type"])
                        tracked.append({**told, **({"assignee": issue["assignee"]} if issue["assignee"] else {})})
                closed = sum(item["status"] == "closed" for item in tracked)
                entry.update(tracked=tracked, completed=closed, total=len(tracked))
            found.append(entry)
        if self.flags.get("--json"):
            self.say_json(found if found or self.modern else [])
        else:
            self.say(*(f"  🚚 {one['id']}: {one['title']} {one['status']}" for one in found))

    def do_patrol_scan(self) -> None:
        """Look for workers in trouble; where a patrol takes them for stuck, it types into them."""
        rig = self.flags.get("--rig") or self.rig_word()
        for name in self.polecats(rig) if self.option["scan_types"] else ():
            self.tmux("send-keys", "-t", f"={self.session(rig, name)}:", "Enter")
            self.tmux("send-keys", "-t", f"={self.session(rig, name)}:", "Down", "Enter")
        count = {"checked": len(self.polecats(rig)), "found": 0}
        found = {"rig": rig, "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        self.say_json({**found, "zombies": count, "stalls": count, "completions": count})

    def do_daemon_status(self) -> None:
        """Tell whether gt's daemon runs."""
        pid = self.daemon_pid()
        self.say(f"● Daemon is running (PID {pid})" if pid else "○ Daemon is not running")

    def do_heartbeat(self) -> None:
        """Refresh the heartbeat of a session."""
        session = self.environ.get("GT_SESSION")
        if not session:
            raise StoppedError("GT_SESSION not set (not running in a Gas Town session)")
        state = self.flags.get("--state", "working")
        if state not in ("working", "idle", "exiting", "stuck"):
            raise StoppedError(f'invalid state "{state}" (must be working, idle, exiting, or stuck)')
        self.beat(session, state)
        self.say(f"Heartbeat updated: state={state}")

    def do_nudge(self) -> None:
        """Type a message into a session."""
        target = self.words[0]
        text = self.flags.get("--message") or " ".join(self.words[1:])
        session = self.session_of(target)
        here = self.has_session(session)
        shown = target if "/" in target else session
        if self.seed:
            if not self.has_session(target):
                raise StoppedError(f'session "{target}" not found')
            self.type(target, text)
            self.say(f"✓ Nudged {target}")
            return
        if not self.modern:
            if not here:
                raise StoppedError(f"nudging session: tmux send-keys: can't find pane: {session}")
            self.type(session, f"[from {self.sender()}] {text}")
            self.say(f"✓ Nudged {shown}")
            return
        if not here:
            raise StoppedError(f'session "{session}" not found (cannot queue nudge for nonexistent session)')
        mode = self.flags.get("--mode", "wait-idle")
        if mode == "immediate":
            self.type(session, f"[from {self.sender()}] {text}")
        elif mode == "queue":
            self.enqueue(session, self.sender(), text)
        else:
            self.warn(f"Watching {session} for idle (up to 1m0s)...")
            idle = self.at_prompt(session)
            if not idle:
                time.sleep(self.option["nudge_s"])
            self.enqueue(session, self.sender(), text)
            if idle or target.split("/")[-1] in ("witness", "refinery"):  # these have a process that looks for it
                self.drain(session)
        self.say(f"✓ Nudged {shown} ({mode})")

    # -- mail ------------------------------------------------------------------------------------------

    def send(self, to: str, subject: str, body: str, sender: str, where="", priority=2, kind="notification") -> str:
        """Send a mail; return its id."""
        to = to if self.seed else self.address(to)
        labels = [f"from:{sender}", f"thread:thread-{os.urandom(6).hex()}"]
        labels += [f"msg-type:{kind}"] * (kind != "notification") + ["gt:message"] * self.modern
        prefix = "gm-" if self.seed else "hq-wisp-" if self.modern else "hq-"
        with self.issues(where) as issues:
            made = self.file_issue(
                issues,
                f"{self.prefix(where)}-" if where else prefix,
                title=subject,
                description=body,
                issue_type="message",
                assignee=to,
                sender=sender,
                priority=priority,
                labels=labels,
                ephemeral=True,
            )
        if not where:
            self.notify(to, sender, subject)
        return made["id"]

    def knows(self, to: str) -> bool:
        """Tell whether 1.0.1 takes mail for an address."""
        parts = to.rstrip("/").split("/")
        if parts[0] in ("mayor", "deacon", "overseer"):
            return True
        if parts[0] not in self.rigs() or len(parts) < 2:
            return False
        places = ("polecats", "crew")
        folder = os.path.join(self.town, parts[0])
        return parts[-1] in ("witness", "refinery") or any(
            os.path.isdir(os.path.join(folder, place, parts[-1])) for place in places
        )

    def do_mail_send(self) -> None:
        """Send a mail."""
        to = self.words[0] if self.words else self.flags.get("--to", "")
        subject = self.flags.get("--subject", "")
        if not subject:
            raise StoppedError('required flag(s) "subject" not set')
        if self.modern and not self.knows(to):
            raise StoppedError(f"unknown recipient: {to}")
        body = self.flags.get("--message", self.flags.get("--body", ""))
        priority = 0 if self.flags.get("--urgent") else int(self.flags.get("--priority", 2))
        sender = self.flags.get("--from") or self.sender()
        self.send(to, subject, body, sender, priority=priority, kind=self.flags.get("--type", "notification"))
        self.say(f"✓ Message sent to {to}", f"  Subject: {subject}")

    def mailbox(self, issues: dict) -> list[dict]:
        """Return the mails of the address that a call is about, newest first."""
        own = self.mail_address()
        mine = [one for one in issues.values() if one["issue_type"] == "message" and one["assignee"] == own]
        mine = sorted((one for one in mine if one["status"] == "open"), key=lambda one: -one["number"])
        return sorted(mine, key=lambda one: one["priority"]) if self.modern else mine

    def mail_address(self) -> str:
        """Return the address whose mail a call is about."""
        given = self.flags.get("--identity") or self.flags.get("--address")
        if not given and self.words and self.command in ("mail inbox", "mail check"):
            given = self.words[0]
        return self.address(given or self.sender())

    def mail(self, one: dict) -> dict:
        """Return a mail as it is shown."""
        labels = {key: value for key, _, value in (label.partition(":") for label in one["labels"])}
        found = {
            "id": one["id"],
            "from": labels.get("from") or one.get("sender", ""),
            "to": one["assignee"],
            "subject": one["title"],
            "body": one["description"],
            "timestamp": one["created_at"],
            "read": "read" in one["labels"],
            "priority": {0: "urgent", 1: "high", 2: "normal"}.get(one["priority"], "low"),
            "type": labels.get("msg-type", "notification"),
            "thread_id": labels.get("thread", ""),
        }
        if self.modern:
            by = labels.get("delivery-acked-by")
            found["delivery_state"] = "acked" if by else "pending"
            if by:
                found.update(delivery_acked_by=by, delivery_acked_at=one["labels"][-1].partition(":")[2])
        return found

    def acknowledge(self, ids: list[str], by: str) -> None:
        """Note that mails were delivered."""
        if not self.modern:
            return
        with self.issues() as issues:
            for issue_id in ids:
                labels = issues[issue_id]["labels"]
                if not any(label.startswith("delivery-acked-by:") for label in labels):
                    labels += [f"delivery-acked-by:{by}", f"delivery-acked-at:{self.stamp()}"]

    def do_mail_inbox(self) -> None:
        """List mails."""
        with self.issues() as issues:
            found = self.mailbox(issues)
        if self.flags.get("--unread") and self.modern:
            found = [one for one in found if "read" not in one["labels"]]
        shown = [self.mail(one) for one in found]
        if self.flags.get("--json"):
            self.say_json(shown if shown or self.modern else None)
        else:
            unread = sum(not one["read"] for one in shown)
            self.say(f"📬 Inbox: {self.mail_address()} ({len(shown)} messages, {unread} unread)", "")
            self.say(*(f"  ● {one['subject']}\n    {one['id']} from {one['from']}" for one in shown))
        self.acknowledge([one["id"] for one in found], self.mail_address())

    def do_mail_read(self) -> None:
        """Show one mail."""
        with self.issues() as issues:
            one = issues.get(self.words[0])
            if one is None or one["issue_type"] != "message":
                raise StoppedError("getting message: message not found")
            if self.modern:
                self_seen = self.mail(one)
                if "read" not in one["labels"]:
                    one["labels"].insert(0, "read")
            else:
                self_seen = self.mail(one)
        if self.flags.get("--json"):
            self.say_json(self_seen)
        else:
            self.say(f"Subject: {self_seen['subject']}", "", f"From: {self_seen['from']}", f"To: {self_seen['to']}")
            self.say(f"ID: {self_seen['id']}", "", self_seen["body"])
        self.acknowledge([one["id"]], self.mail_address())

    def do_mail_ack(self) -> None:
        """Mark mails as read; they stay."""
        self.change_mails("Marked", "mark", "marked as read", self.mark_read)

    do_mail_mark_read = do_mail_ack

    def do_mail_archive(self) -> None:
        """Close mails."""
        self.change_mails("Archived", "archive", "archived", self.close_mail)

    def do_mail_delete(self) -> None:
        """Close mails under another name."""
        self.change_mails("Deleted", "delete", "deleted", self.close_mail)

    def mark_read(self, one: dict) -> None:
        """Mark one mail."""
        if "read" not in one["labels"]:
            one["labels"].insert(0, "read")

    def close_mail(self, one: dict) -> None:
        """Close one mail."""
        one.update(status="closed", closed_at=self.stamp(), updated_at=self.stamp())

    def change_mails(self, did: str, do: str, done: str, change) -> None:
        """Change the mails that a call names, as many as there are."""
        if not self.words:
            raise StoppedError("message ID required unless using --stale")
        errors = []
        with self.issues() as issues:
            for word in self.words:
                one = issues.get(word)
                gone = one is None or one["issue_type"] != "message"
                if gone or (self.modern and one["status"] == "closed"):
                    why = f'Error: resolving ID {word}: no issue found matching "{word}"'
                    errors.append(f"  Error: {word}: {'message not found' if self.modern else why}")
                else:
                    change(one)
        if errors:
            self.say(f"⚠ {did} {len(self.words) - len(errors)}/{len(self.words)} messages", *errors)
            raise StoppedError(f"failed to {do} {len(errors)} messages")
        number = len(self.words)
        self.say(f"✓ Message {done}" if number == 1 else f"✓ {did} {number} messages")

    def do_mail_check(self) -> None:
        """Tell whether there is new mail."""
        with self.issues() as issues:
            unread = [one for one in self.mailbox(issues) if "read" not in one["labels"]]
        if self.flags.get("--json"):
            own = self.mail_address()
            self.say_json({"address": own, "unread": len(unread), "has_new": bool(unread)})
        elif unread and not self.flags.get("--inject"):
            self.say(f"📬 {len(unread)} unread message(s)")
        elif unread:
            self.say(f"<system-reminder>\nYou have {len(unread)} unread message(s) in your inbox.\n</system-reminder>")
        elif not self.flags.get("--inject"):
            self.say("No new mail")
        if not unread and not self.flags.get("--inject"):
            raise StoppedError("", 1)

    # -- one call --------------------------------------------------------------------------------------

    def do_version(self) -> None:
        """Tell the version."""
        if self.seed:
            self.say("gt - Gas Town CLI", "Version:  0.0.1", "Commit:   unknown", "Built:    unknown")
        else:
            self.say(f"gt version {self.version}" + (" (dev)" if self.command == "version" else ""))

    def serve(self, argv: list[str]) -> int:
        """Answer one call; return its exit status."""
        self.command = ""
        try:
            self.command = self.parse(argv)
            if self.command in ("version", "--version"):
                self.do_version()
                return 0
            self.find_town()
            getattr(self, "do_" + re.sub(r"[ -]", "_", self.command))()
        except StoppedError as end:
            if end.complaint:
                self.warn(f"Error: {end.complaint}", "Usage:", f"  gt {self.command or '[command]'} [flags]")
            return end.status
        return 0


def main(argv: list[str]) -> int:
    """Answer one call."""
    with open(os.path.join(HERE, "gt.json"), encoding="utf-8") as file:
        version = json.load(file)["version"]
    log = Log(argv)
    program = Program(version, log)
    spoilt = "" if log.fault.get("phase") else log.fault.get("do", "")
    if spoilt == "hang":
        time.sleep(600)
    if spoilt == "fail":
        program.warn("Error: it was told to fail")
        log.add(status=1)
        return 1
    status = 0 if spoilt == "garbage" else program.serve(argv)
    log.add(status=status)
    if spoilt == "late":
        time.sleep(600)
    text = "".join(program.said)
    if spoilt == "garbage":
        text = "\x00\x1b[31m}{ not JSON"
    if program.buffered and spoilt != "mute":
        text = text[: len(text) // 2] if spoilt == "cut" else text
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
