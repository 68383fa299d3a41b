"""The crash matrix: one whole cycle, broken at every outside call and durable write, in every way.

`./build.sh crash` runs the cycle once and records each point; then, for each point, once more with the daemon killed
before it or after it, and with the call failing or hanging before or after its effect. After each the daemon goes on
as after a restart, and an oracle that knows every object the agents ever made looks whether anything is lost, done
twice, left behind or somebody else's. `./build.sh crash 40 7` runs 40 cases drawn by seed 7.

The cycle: two workers are spawned, both are nudged and escalated; one hands off dirty and is refused, then clean and is
retired, and recovered; the other is retired by force with uncommitted work. It is gone through with each queue: the
local file, and `bd` (a stand-in), where what was claimed and handed over must read so in the database, too. In a Gas
Town (`gt` and `bd` are stand-ins) each phase is broken in a story of its own, which holds only what it needs before.

What a sling of gt leaves that is itself cut short is the matrix of `slings.py`: `./build.sh crash slings`, and
`./build.sh crash --list` names its cases. `./build.sh crash gastown` goes through one backend alone; CRASH_WORKERS says
how many cases run at once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tools import beads, stand_bd, stand_gt, town  # noqa: E402
from tools.kit import PYTHON  # noqa: E402
from tools.tmux import Tmux  # noqa: E402

import witness as w  # noqa: E402

LEAST_POINTS = 150  # a recording with fewer has not seen the cycle
LEAST_OF_STORY = 25  # of one phase of a town
SPAWN_WAIT_S = w.SPAWN_BACKOFF_S[0] + 1  # after a start that failed, the daemon's own death included
TRIES = 3  # a point that a polling loop passed by is looked for so often
# What is done at a point. A call that changes nothing leaves what was before it, so a kill at it is the kill after
# the change before it, and whether it fails before or after its effect is one case.
CHANGE_CASES = tuple((when, how) for how in ("kill", "fail", "hang") for when in ("before", "after"))
LOOK_CASES = (("before", "fail"), ("before", "hang"))
WRITE_CASES = (("before", "kill"), ("after", "kill"), ("before", "fail"))
LOOKS = frozenset(
    "git,tmux,git ls-files,git rev-parse,git rev-list,git for-each-ref,git diff-tree,git patch-id,git show-ref,"
    "git cat-file,git symbolic-ref,git status,git remote,git log,git merge-base,git config,git ls-tree,git check-attr,"
    "git merge-tree,git ls-remote,tmux list-panes,tmux list-clients,tmux capture-pane,"
    "bd version,bd ready,bd list,bd show,"
    "gt version,gt mail inbox,gt refinery ready,gt mayor status,gt deacon status".split(",")
)
BACKENDS = ("local", "beads", "gastown")
PHASES = ("spawn", "nudge", "escalate", "refuse", "retire", "recover", "force", "settle")
GT_GROUPS = ("mail", "polecat", "session", "refinery", "mayor", "deacon")  # whose verbs are two words
AGENT = [PYTHON, "-u", "-c", "import sys\nfor line in sys.stdin: print('heard', line)"]
SETTINGS = {
    "agent_command": AGENT,
    "max_workers": 2,
    "spawn_delay_ms": 0,
    "start_grace": 0,
    "max_load_per_core": 0,
    "min_free_disk": 0,
    "min_free_memory": 0,
    "close_merged": False,
    "tool_timeout": 10,
}


class Faults(w.Host):
    """A host that counts its effects by what they are, and breaks one of them."""

    def __init__(self, offset_s: float = 0.0, fault=None, seen=None, who: str = "") -> None:
        self.offset_s, self.fault, self.seen, self.who, self.counts = offset_s, fault, seen, who, {}

    def now(self) -> float:
        return time.time() + self.offset_s

    def pause(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.05))

    def _reach(self, label: str) -> tuple:
        """Return (when, how) where this effect is the one to break; ("", "") for all others."""
        label = self.who + label
        self.counts[label] = self.counts.get(label, 0) + 1
        if self.seen is not None:
            with open(self.seen, "a", encoding="utf-8") as file:  # a spawn child adds to it as well
                file.write(json.dumps([label, self.counts[label]]) + "\n")
        if self.fault is None or self.fault[:2] != (label, self.counts[label]):
            return "", ""
        Path(os.environ["WITNESS_CRASH_HIT"]).touch()
        return self.fault[2], self.fault[3]

    def run(self, argv, *args, **options):
        verb = w.find_verb(tuple(argv))
        label = f"{os.path.basename(argv[0])} {verb}"
        if argv[0] == "gt" and verb in GT_GROUPS:
            label += f" {argv[2]}"
        when, how = self._reach(label)
        if when == "before" and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "before":
            return self._broken(argv, how)
        ran = self.call(argv, *args, **options)
        if when == "after" and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._broken(argv, how) if when == "after" else ran

    def call(self, argv, *args, **options):
        """Make an outside call that is not broken."""
        return super().run(argv, *args, **options)

    @staticmethod
    def _broken(argv, how: str):
        failure = "no answer within 10 s" if how == "hang" else ""
        status = None if how == "hang" else 128
        return w.Ran(argv=tuple(argv), status=status, out=b"", err=b"fatal: injected", failure=failure)

    def _write(self, label: str, path: str, do):
        when, how = self._reach(label)
        if when == "before" and how == "fail":
            raise OSError(errno.ENOSPC, "No space left on device", path)
        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = do()
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def write(self, path, content, durable=True, mode=0o600):
        do = lambda: super(Faults, self).write(path, content, durable, mode)  # noqa: E731
        return self._write(f"write {name_of(path)}", path, do) if durable else do()

    def write_new(self, path, content, mode=0o600):
        return self._write(f"create {name_of(path)}", path, lambda: super(Faults, self).write_new(path, content, mode))

    def move(self, old, new):
        return self._write(f"move {name_of(old)}", old, lambda: super(Faults, self).move(old, new))

    def remove(self, path):
        return self._write(f"remove {name_of(path)}", path, lambda: super(Faults, self).remove(path))


def name_of(path: str) -> str:
    """Return what a path is called in every run: its last folder and name, without times and what chance drew."""
    return "/".join(
        re.sub(r"-\d+-\d+-\d{6,}\S*|\d{6,}\S*|index\.\w+|\.[0-9a-f]{8}\b|\.\d+\.new$", "…", part)
        for part in Path(path).parts[-2:]
    )


class Child:
    """The spawn child as its starter holds it."""

    def __init__(self, pid: int) -> None:
        self.pid, self.status = pid, None

    def poll(self):
        if self.status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if done else None
        return self.status


def start_child(store, order: dict, make_host):
    """Start the spawn child as a fork, so that its effects are points of the matrix, too."""
    fd = w.take_lock(store.path(w.SPAWN_LOCK_FILE))
    if fd is None:
        return "another spawn still runs"
    store.host.remove(store.path(w.SPAWN_FILE))
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            w.run_spawn_child(make_host(f"child of {order['name'] or order['issue']}: "), fd, order)
        finally:
            os._exit(0)
    os.close(fd)
    return Child(pid)


# ---- the rig, and what the agents do --------------------------------------------------------------------------------


class Cycle:
    """One rig, one tmux server, and the list of everything that must survive."""

    def __init__(self, folder: Path, backend: str = "local") -> None:
        self.folder, self.path, self.server = folder, folder / "demo", None
        self.socket = f"crash{random.SystemRandom().randrange(16**10):010x}"
        self.objects, self.files, self.offset_s, self.mails = set(), set(), 0.0, 0
        self.broken = False
        self.goes_on = True  # what is played next is a daemon that has run all the time, and not a restarted one
        self.seal(folder)
        self.found(backend)

    @staticmethod
    def seal(folder: Path) -> None:
        """Let nothing of the caller's environment in, and nothing out of the folder."""
        for name in ("home", "x", "t"):
            (folder / name).mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        os.environ.clear()
        os.environ.update(kept, HOME=str(folder / "home"), TMUX_TMPDIR=str(folder / "x"), TMPDIR=str(folder / "t"))
        os.environ.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", LC_ALL="C.UTF-8", TERM="xterm")
        for role in ("AUTHOR", "COMMITTER"):
            os.environ.update({f"GIT_{role}_NAME": "agent", f"GIT_{role}_EMAIL": "agent@example.org"})
        os.environ["WITNESS_CRASH_HIT"] = str(folder / "hit")

    def found(self, backend: str) -> None:
        """Make the rig."""
        folder = self.folder
        self.git("init", "--quiet", "--bare", "--initial-branch", "main", "remote.git", cwd=folder)
        self.git("init", "--quiet", "--initial-branch", "main", "demo", cwd=folder)
        self.commit(self.path, "a.txt", "a\n")
        self.git("remote", "add", "origin", str(folder / "remote.git"))
        self.git("push", "--quiet", "origin", "main")
        self.git("remote", "set-head", "origin", "main")
        self.make_bystander()
        state = self.path / ".gastown"
        state.mkdir(mode=0o700)
        (state / "witness-config.json").write_text(json.dumps({**SETTINGS, "tmux_socket": self.socket}))
        if backend == "beads":
            self.server = beads.Server(folder / "server")
            os.environ["PATH"] = beads.Bin(folder / "bin").path()
            beads.connect(self.path, self.server)
            for name in ("alpha", "bravo"):
                self.server.add(name)
            return
        lines = [{"id": name, "title": name, "status": "open", "priority": 1} for name in ("alpha", "bravo")]
        (self.path / ".beads").mkdir()
        (self.path / ".beads" / "issues.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def git(self, *words, cwd=None) -> str:
        done = subprocess.run(
            ["git", *map(str, words)],
            cwd=cwd or self.path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return done.stdout.strip()

    def tmux(self, *words) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.socket, "-f", "/dev/null", *words], cwd="/", capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def write(self, tree: Path, name: str, text: str) -> None:
        """Let an agent write a file: its bytes must survive."""
        (tree / name).write_text(text)
        self.objects.add(self.git("hash-object", "--no-filters", name, cwd=tree))

    def commit(self, tree: Path, name: str, text: str) -> str:
        """Let an agent commit a file: commit and bytes must survive."""
        self.write(tree, name, text)
        self.git("add", name, cwd=tree)
        self.git("commit", "--quiet", "--message", f"work on {name}", cwd=tree)
        self.objects.add(self.git("rev-parse", "HEAD", cwd=tree))
        return self.git("rev-parse", "HEAD", cwd=tree)

    def make_bystander(self) -> None:
        """Make what belongs to somebody else: a session, a worktree with an edit, a branch, a stash."""
        other = self.folder / "other"
        self.git("worktree", "add", "--quiet", "-b", "theirs", str(other))
        (other / "a.txt").write_text("stashed\n")
        self.git("stash", "--quiet", cwd=other)
        (other / "edit.txt").write_text("an edit\n")
        self.tmux("new-session", "-d", "-s", "theirs", "-c", str(other), "sleep", "600")
        self.theirs = self.look_at_bystander()

    def look_at_bystander(self) -> tuple:
        other = self.folder / "other"
        return (
            self.tmux("list-panes", "-s", "-t", "=theirs", "-F", "#{pane_pid} #{session_created}"),
            self.git("for-each-ref", "refs/heads/theirs", "refs/stash"),
            self.git("status", "--porcelain", cwd=other),
            (other / "edit.txt").read_text(),
        )

    def tree(self, name: str) -> Path:
        return self.path / "polecats" / name

    def ask(self, name: str) -> None:
        """Let a worker ask to be retired, by mail."""
        self.mails += 1
        folder = self.path / ".gastown" / "mail" / "demo.witness" / "new"
        for place in ("new", "cur", "tmp"):
            (folder.parent / place).mkdir(parents=True, exist_ok=True)
        subject, body = w.handoff_letter("demo", name, time.time() + self.offset_s)
        mail = folder / f"ask.{self.mails}"
        mail.write_bytes(w.render_mail(f"demo/{name}", "demo/witness", subject, body, time.time(), mail.name))
        os.utime(mail, (time.time() + self.offset_s,) * 2)

    # -- what the daemon does in one phase, in a process of its own ------------------------------------

    def station(self, host) -> w.Station:
        rig = w.find_rig(host, str(self.path), {}, "/", "witness")
        station = w.Station(host, rig, w.Store(host, rig).read_config({}))
        station.first = not self.goes_on  # else the timers of nudges would begin anew
        return station

    @staticmethod
    def round(station):
        """Do one round, as the daemon's loop would; return what came of it."""
        fd = w.take_tick_lock(station, 5)
        try:
            return w.run_round(station)
        finally:
            station.tick_lock_fd = None
            os.close(fd)

    def do(self, phase: str, host) -> None:
        """Do one phase to its end; done twice it does nothing more."""
        if phase in ("recover", "force"):
            words = {"recover": ["recover", "alpha"], "force": ["shutdown", "bravo", "--force"]}[phase]
            w.main([*words, "--rig", str(self.path)], host)
            return
        station = None
        for _ in range({"spawn": 12}.get(phase, 5)):
            with contextlib.suppress(w.StateError):  # a disk that was full for one write
                station = station or self.station(host)
                self.round(station)
            if phase == "spawn" and station:
                self.wait_for_child(station)

    @staticmethod
    def wait_for_child(station) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            sight = w.read_spawn(station.store)
            if sight is None or not sight.alive:
                return
            time.sleep(0.02)

    def make_host(self, fault, seen, who: str) -> Faults:
        """Return the host of one process of the daemon."""
        return Faults(self.offset_s, fault, seen, who)

    def live(self, phase: str, fault=None, seen=None) -> None:
        """Run a phase in a child of ours, which may be killed in it."""
        child = os.fork()
        if not child:
            status = 1
            try:
                null = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1):
                    os.dup2(null, fd)
                make_host = lambda who="": self.make_host(fault, seen, who)  # noqa: E731
                w.start_spawn_child = lambda store, order: start_child(store, order, make_host)
                self.do(phase, make_host())
                status = 0
            except BaseException:  # noqa: BLE001 - a forked child must not run on as its parent
                (self.folder / "raised").write_text(traceback.format_exc())
            finally:
                os._exit(status)
        os.waitpid(child, 0)

    def act(self, phase: str) -> None:
        """Do what happens outside before a phase: time, agents, people."""
        if phase == "nudge":
            self.offset_s = 40 * 60.0
        elif phase == "escalate":
            self.offset_s = 80 * 60.0
        elif phase == "refuse":
            self.commit(self.tree("alpha"), "first.txt", "first\n")
            self.commit(self.tree("alpha"), "dropped.txt", "dropped\n")
            self.git("reset", "--quiet", "--hard", "HEAD~1", cwd=self.tree("alpha"))
            self.write(self.tree("alpha"), "draft.txt", "draft\n")
            self.ask("alpha")
        elif phase == "retire":
            self.commit(self.tree("alpha"), "draft.txt", "draft\n")
            self.ask("alpha")
        elif phase == "force":
            self.commit(self.tree("bravo"), "b.txt", "b\n")
            self.write(self.tree("bravo"), "b.txt", "edited, not committed\n")
            self.write(self.tree("bravo"), "new.txt", "never added\n")
        elif phase == "settle":
            self.offset_s = 6 * 3600.0

    def play(self, fault=None, record=None) -> None:
        """Go through the whole cycle; fault is (phase, label, number, when, how)."""
        self.broken = fault is not None
        for phase in PHASES:
            self.act(phase)
            if fault is not None and fault[0] == phase:
                self.live(phase, fault[1:])
                self.offset_s += 2 * 3600  # whatever is tried again later is due
            self.goes_on = fault is None or fault[0] != phase
            self.live(phase, seen=record[phase] if record is not None else None)
            self.goes_on = True
            if fault is not None and fault[0] == phase:
                if phase == "spawn":
                    self.offset_s += SPAWN_WAIT_S
                self.live(phase)

    # -- the oracle ------------------------------------------------------------------------------------

    def reachable(self) -> set:
        """Return every object that a ref reaches, and every file that lies where we keep files."""
        names = {line.split(" ")[0] for line in self.git("rev-list", "--objects", "--all").splitlines()}
        state = self.path / ".gastown"
        for top in (state / "retiring", state / "rescued", self.path / "polecats"):
            for path in top.rglob("*") if top.is_dir() else ():
                if path.is_file() and ".git" not in path.parts:
                    names.add(self.git("hash-object", "--no-filters", path))
        return names

    def find_harm(self) -> list:
        """Return in words everything that is not as it must be at the end."""
        harm, state = [], self.path / ".gastown"
        if (self.folder / "raised").exists():
            harm.append((self.folder / "raised").read_text())
        lost = self.objects - self.reachable()
        if lost:
            harm.append(f"{len(lost)} objects of the agents are lost")
        if self.look_at_bystander() != self.theirs:
            harm.append(f"somebody else's was touched: {self.theirs} is {self.look_at_bystander()}")
        mails = {place: len(os.listdir(state / "mail" / "demo.witness" / place)) for place in ("new", "cur", "tmp")}
        if mails != {"new": 0, "cur": self.mails, "tmp": 0}:
            harm.append(f"mails are {mails} of {self.mails}")
        memory = w.load_memory((state / "witness.json").read_text())
        kept = [name for name in ("requests", "retirements", "pending", "spawn") if getattr(memory, name)]
        if kept:
            harm.append(f"memory keeps {', '.join(kept)}: {memory}")
        claims = [json.loads(path.read_text()) for path in sorted((state / "claims").glob("*.json"))]
        said = [(claim["issue"], claim["state"], claim.get("owed", "")) for claim in claims]
        if said != [("alpha", "handed-over", ""), ("bravo", "handed-over", "")]:
            harm.append(f"claims are {said}")
        if self.server is not None:
            actor = f"demo/witness@{json.loads((state / 'witness.id').read_text())['id']}"
            right = ("in_progress", actor, [w.HANDED_OVER_LABEL])
            for one in self.server.read().values():
                reads = one["status"], one["assignee"], one["labels"]
                harm += [f"the queue says of {one['id']}: {reads}"] if reads != right else []
        there = sorted(os.listdir(self.path / "polecats"))
        if there != ["alpha"]:
            harm.append(f"worktrees are {there}")
        branches = self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/polecat").split()
        if branches != ["polecat/alpha", "polecat/bravo"]:
            harm.append(f"branches are {branches}")
        refs = self.git("for-each-ref", "--format=%(refname)", "refs/witness").split()
        kinds = [ref.split("/")[2] + "/" + ref.split("/")[3] for ref in refs if "/kept/" not in ref]
        if kinds != ["retired/alpha", "retired/bravo"]:
            harm.append(f"refs are {refs}")
        sessions = self.tmux("list-sessions", "-F", "#{session_name}").split()
        if sessions != ["theirs"]:
            harm.append(f"sessions are {sessions}")
        locks = [str(path) for path in (self.path / ".git").rglob("*.lock")]
        half = [name for name in os.listdir(state / "retiring") if not name.endswith(".kept")]
        if locks or half:
            harm.append(f"left behind: {locks + half}")
        told = [json.loads(line) for line in (state / "witness-events.jsonl").read_text().splitlines()]
        spawned = [one["text"] for one in told if one["kind"] == "spawned"]
        if len(spawned) != len(set(spawned)):
            harm.append(f"spawned twice: {spawned}")
        kinds = {one["kind"] for one in told}
        harm += [f"nobody was {kind}" for kind in ("nudged", "escalated") if kind not in kinds and not self.broken]
        if self.git("fsck", "--connectivity-only", "--no-dangling"):
            harm.append("git fsck complains")
        return harm

    def end(self) -> None:
        self.tmux("kill-server")


# ---- the same in a Gas Town -----------------------------------------------------------------------------------------

BEGUN = """\
#!{python} -IS
import json, os, sys
name = os.environ["GT_POLECAT"]
def look():
    with open({db!r}) as file, open({begun!r}, "a") as log:
        for one in json.load(file).values():
            own = one["assignee"] in ("demo/" + name, "demo/polecats/" + name)
            if own and one["status"] in ("hooked", "in_progress") and one["issue_type"] == "task":
                log.write(name + " " + one["id"] + "\\n")
look()
for line in sys.stdin:
    look()
"""
"""An agent that begins whatever hangs on its hook, and notes that it did."""
BARE = {"open_s": 0, "ready_s": 0, "pace_s": 0, "nudge_s": 0, "kill_s": 0.2, "formula": True}  # nothing waits for show
NEVER = (("sling", "--dry-run"), ("patrol", "scan"), ("mq", "post-merge"))
# What must have been before a phase, so that it can be broken in a story of its own.
NEEDS = {
    "spawn": (),
    "nudge": ("spawn",),
    "escalate": ("spawn", "nudge"),
    "refuse": ("spawn",),
    "retire": ("spawn",),
    "recover": ("spawn", "retire"),
    "force": ("spawn",),
    "settle": ("spawn", "retire"),
}


class Quick(Faults):
    """A host that runs the stand-ins for gt and bd without starting an interpreter for each, and sees what gt may."""

    def __init__(self, cycle: TownCycle, *words) -> None:
        super().__init__(*words)
        self.cycle = cycle

    def is_quick(self, argv) -> bool:
        """Tell whether a call is one of those."""
        return argv[0] in ("gt", "bd")

    def call(self, argv, timeout_s, cwd="/", env=None, **options):
        if argv[0] == "gt" and argv[1:3] == ("polecat", "nuke"):
            self.cycle.see_nuke(argv)
        if not self.is_quick(argv):
            return super().call(argv, timeout_s, cwd=cwd, env=env, **options)
        folder, program = Path(tempfile.mkdtemp()), self.cycle.town.bin.folder / argv[0]
        pid = os.fork()
        if not pid:
            status = 1
            try:
                for number, name in ((1, "out"), (2, "err")):
                    os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                os.chdir(cwd)
                environment = self.environment(env)
                os.environ.clear()
                os.environ.update(environment)
                sys.argv = [str(program), *argv[1:]]
                stand_gt.HERE = str(program.parent)
                status = (stand_gt if argv[0] == "gt" else stand_bd).main(list(argv[1:]))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        out, err = ((folder / name).read_bytes() for name in ("out", "err"))
        shutil.rmtree(folder)
        return w.Ran(argv=tuple(argv), status=status, out=out, err=err, failure="")


class TownCycle(Cycle):
    """The cycle in a Gas Town: beads de-1 and de-2, whose workers gt names, and an idle polecat of a day ago."""

    pair = "1.0.1"

    @staticmethod
    def seal(folder: Path) -> None:
        """As everywhere; and git calls a new branch main."""
        Cycle.seal(folder)
        (folder / "gitconfig").write_text(
            '[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n[core]\n\tfsync = none\n'
        )
        os.environ["GIT_CONFIG_GLOBAL"] = str(folder / "gitconfig")

    def found(self, _backend: str) -> None:
        """Make the town."""
        self.server_of_tmux = Tmux()
        self.town = town.Town(self.folder / "g", self.server_of_tmux, self.pair, **BARE)
        self.path, self.socket = self.town.rig, self.town.socket
        self.base = self.town.base()
        os.environ["PATH"] = self.town.bin.path()
        begun = str(self.folder / "begun")
        db = str(self.town.server.folder / "db.json")
        self.town.part("any", BEGUN.format(python=PYTHON, db=db, begun=begun))
        self.fate, self.branches, self.played = {}, set(), set()  # by bead: working, handed-over
        self.make_bystander()
        state = self.path / ".gastown"
        state.mkdir(mode=0o700)
        (state / "witness-config.json").write_text(json.dumps(self.settings()))

    @staticmethod
    def settings() -> dict:
        """Return the settings of the daemon."""
        return {name: value for name, value in SETTINGS.items() if name != "agent_command"}

    def make_host(self, fault, seen, who: str) -> Faults:
        """Return the host of one process of the daemon."""
        return Quick(self, self.offset_s, fault, seen, who)

    # -- who is not to be touched ----------------------------------------------------------------------

    def make_bystander(self) -> None:
        """Make what belongs to others: a crew member's clone, a person's worktree, what refinery and mayor have."""
        crew, other = self.path / "crew" / "max", self.folder / "other"
        self.git("clone", "--quiet", self.town.origin, crew, cwd=self.folder)
        self.git("worktree", "add", "--quiet", "-b", "theirs", other, "main", cwd=self.base)
        for tree in (crew, other, self.path / "mayor" / "rig", self.path / "refinery" / "rig"):
            (tree / "README.md").write_text("stashed\n")
            if tree in (crew, other):
                self.git("stash", "--quiet", cwd=tree)
            (tree / "edit.txt").write_text("an edit\n")
        self.tmux("new-session", "-d", "-s", "theirs", "-c", str(other), "sleep", "600")
        self.tmux("new-session", "-d", "-s", "de-crew-max", "-c", str(crew), "sleep", "600")
        self.theirs = self.look_at_bystander()

    def look_at_bystander(self) -> tuple:
        trees = (self.path / name for name in ("crew/max", "mayor/rig", "refinery/rig", "../../../other"))
        return (
            self.tmux("list-panes", "-s", "-t", "=theirs", "-F", "#{pane_pid} #{session_created}"),
            self.tmux("list-panes", "-s", "-t", "=de-crew-max", "-F", "#{pane_pid} #{session_created}"),
            self.git("for-each-ref", "refs/heads/theirs", "refs/heads/main", "refs/stash", cwd=self.base),
            *(
                (self.git("status", "--porcelain=v2", "--branch", cwd=tree), (tree / "edit.txt").read_text())
                for tree in trees
            ),
        )

    def make_idle(self, name: str = "rust") -> None:
        """Make a polecat of a day ago, which gt will reuse: with an edit, a new file and a commit nobody can reach."""
        tree, branch = self.tree(name), f"polecat/{name}/de-0@old"
        if "de-0" not in self.town.server.read():
            self.town.add("de-0", status="closed", assignee=f"demo/polecats/{name}")
        self.git("worktree", "add", "--quiet", "-b", branch, tree, "origin/main", cwd=self.base)
        self.branches.add(branch)
        self.commit(tree, "kept.txt", f"kept of {name}\n")
        self.commit(tree, "dropped.txt", f"dropped by {name}\n")
        self.git("reset", "--quiet", "--hard", "HEAD~1", cwd=tree)
        self.write(tree, "kept.txt", f"edited by {name}\n")
        self.write(tree, "new.txt", f"never added by {name}\n")

    # -- what happens outside --------------------------------------------------------------------------

    def tree(self, name: str) -> Path:
        return self.town.tree(name)

    def claim_of(self, bead: str) -> dict:
        """Return the claim's file, {} where there is none."""
        for path in (self.path / ".gastown" / "claims").glob("*.json"):
            claim = json.loads(path.read_text())
            if claim["issue"] == bead:
                return claim
        return {}

    def worker(self, bead: str) -> str:
        """Return who works on a bead, or did."""
        return self.claim_of(bead).get("name", "")

    def ask(self, name: str) -> None:
        """Let a worker ask to be retired, by gt's mail."""
        self.mails += 1
        subject, body = f"LIFECYCLE: polecat-{name} requesting shutdown", "Action: shutdown"
        self.put_mail(subject, body, f"demo/{name}")

    def put_mail(self, subject: str, body: str, sender: str) -> None:
        """Leave a mail in the town's database, as of now."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.offset_s + 1))
        self.town.put_mail("demo/witness", subject, body, sender, created_at=stamp)

    def act(self, phase: str) -> None:
        """Do what happens outside before a phase: time, agents, people."""
        name = self.worker("de-1")
        self.played.add(phase)
        if phase == "spawn":
            self.town.add("de-1", "One")
            self.fate["de-1"] = "working"
        elif phase == "nudge":
            self.offset_s += 40 * 60.0
            self.put_mail("HELP: which way", "I do not know.", f"demo/{name}")
        elif phase == "escalate":
            self.offset_s += 40 * 60.0
        elif phase == "refuse":
            tree = self.tree(name)
            self.commit(tree, "first.txt", "first\n")
            self.commit(tree, "gone.txt", "gone\n")
            self.git("reset", "--quiet", "--hard", "HEAD~1", cwd=tree)
            self.write(tree, "draft.txt", "draft\n")
            self.ask(name)
        elif phase == "retire":
            self.commit(self.tree(name), "draft.txt", "draft\n")
            self.ask(name)
            self.fate["de-1"] = "handed-over"
        elif phase == "force":
            bead = max(self.fate)
            tree = self.tree(self.worker(bead))
            self.commit(tree, "b.txt", "b\n")
            self.write(tree, "b.txt", "edited, not committed\n")
            self.write(tree, "more.txt", "never added\n")
            self.fate[bead] = "handed-over"
        elif phase == "settle":
            self.offset_s += 6 * 3600.0

    def act_wide(self, phase: str) -> None:
        """Do the same where all is to be there: two beads, an idle polecat, a mail that is only news."""
        if phase == "spawn":
            self.make_idle()
            self.town.add("de-2", "Two")
            self.fate["de-2"] = "working"
            self.put_mail("MERGED somebody", "branch: x", "demo/refinery")
        self.act(phase)

    def do(self, phase: str, host) -> None:
        """Do one phase to its end; done twice it does nothing more."""
        if phase in ("recover", "force"):
            bead = "de-1" if phase == "recover" else max(self.fate)
            words = ("recover", self.worker(bead)) if phase == "recover" else ("shutdown", self.worker(bead), "--force")
            w.main([*words, "--rig", str(self.path)], host)
            return
        station, quiet = None, 0
        for _ in range(14):
            with contextlib.suppress(w.StateError):  # a disk that was full for one write
                station = station or self.station(host)
                _, decision, done = self.round(station)
                self.wait_for_child(station)
                busy = decision.memory.spawn is not None or w.asks_for_more(done) or decision.memory.pending
                quiet = 0 if busy else quiet + 1
                if quiet == 2:
                    return

    def note_branches(self) -> None:
        """Note every branch that workers have: none may go."""
        for bead in self.fate:
            branch = self.claim_of(bead).get("branch")
            self.branches.update([branch] if branch else ())

    def play(self, fault=None, record=None, only: str = "") -> None:
        """Go through the whole cycle, or through the story of one phase; fault is (phase, label, number, when, how)."""
        story, self.broken = fault[0] if fault is not None else only, fault is not None
        for phase in (*NEEDS[story], story) if story else PHASES:
            (self.act_wide if story in ("", "spawn") else self.act)(phase)
            if fault is not None and phase == story:
                self.live(phase, fault[1:])
                self.offset_s += 2 * 3600
                self.goes_on = False
            self.live(phase, seen=record if phase == story else None)
            self.goes_on = True
            if fault is not None and phase == story:
                self.offset_s += 2 * 3600
                self.live("settle")
            self.note_branches()

    # -- the oracle ------------------------------------------------------------------------------------

    def see_nuke(self, argv) -> None:
        """Note a nuke of what is no empty folder."""
        name = argv[-1].partition("/")[2]
        files = [path for path in (self.path / "polecats" / name).rglob("*") if not path.is_dir()]
        sessions = self.tmux("list-sessions", "-F", "#{session_name}").split()
        if files or self.town.session(name) in sessions or "--force" not in argv:
            (self.folder / "raised").write_text(f"{' '.join(argv)} of what is no empty folder: {files[:3]}")

    def reachable(self) -> set:
        # A worker's own reflog is its own affair for as long as its worktree is there.
        words = ("--all", "--reflog") if self.is_refused() else ("--all",)
        names = {line.split(" ")[0] for line in self.git("rev-list", "--objects", *words, cwd=self.base).splitlines()}
        state = self.path / ".gastown"
        files = []
        for top in (state / "retiring", state / "rescued", self.path / "polecats"):
            files += [path for path in top.rglob("*") if path.is_file() and ".git" not in path.parts]
        return names | set(self.git("hash-object", "--no-filters", *files, cwd=self.base).split() if files else ())

    def find_harm(self) -> list:
        """Return in words everything that is not as it must be at a quiet moment."""
        harm, state = [], self.path / ".gastown"
        if (self.folder / "raised").exists():
            harm.append((self.folder / "raised").read_text())
        lost = self.objects - self.reachable()
        harm += [f"{len(lost)} objects of the agents are lost"] if lost else []
        theirs = self.look_at_bystander()
        harm += [f"somebody else's was touched: {a} is {b}" for a, b in zip(self.theirs, theirs) if a != b]
        harm += self.find_harm_of_mails()
        memory = w.load_memory((state / "witness.json").read_text())
        kept = [name for name in ("requests", "retirements", "pending", "spawn") if getattr(memory, name)]
        kept = [name for name in kept if name != "requests" or not self.is_refused()]
        harm += [f"memory keeps {', '.join(kept)}: {memory}"] if kept else []
        for bead, fate in sorted(self.fate.items()):
            harm += self.find_harm_of_bead(bead, fate)
        harm += self.find_harm_of_workers()
        there = set(self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/", cwd=self.base).split())
        harm += [f"branches are gone: {self.branches - there}"] if self.branches - there else []
        locks = [str(path) for path in self.base.rglob("*.lock")]
        half = [one for one in (state / "retiring").glob("*") if one.suffix != ".kept"]
        half += self.git("for-each-ref", "--format=%(refname)", "refs/witness/retiring", cwd=self.base).split()
        harm += [f"left behind: {locks + half}"] if locks or half else []
        told = {json.loads(line)["kind"] for line in (state / "witness-events.jsonl").read_text().splitlines()}
        # What was begun and cut short counts as done: nobody is reminded twice.
        due = {kind for phase, kind in (("nudge", "nudged"), ("escalate", "escalated")) if phase in self.played}
        due -= {"nudged"} if self.broken else set()
        harm += [f"nobody was {kind}" for kind in due - told]
        for call in self.town.calls():
            if any(call["argv"][0] == verb and word in call["argv"] for verb, word in NEVER):
                harm.append(f"gt was called: {call['argv']}")
        if self.git("fsck", "--connectivity-only", "--no-dangling", cwd=self.base):
            harm.append("git fsck complains")
        return harm

    def is_refused(self) -> bool:
        """Tell whether a worker asks to be retired that is not clean yet."""
        return "refuse" in self.played and "retire" not in self.played

    def find_harm_of_mails(self) -> list:
        """Return what is wrong with mails: all of ours handled, each letter sent once, what needs a mind forwarded."""
        left = [mail["subject"] for mail in self.town.mails("demo/witness")]
        waiting = int(self.is_refused())
        harm = [f"mails wait: {left}"] if len(left) != waiting else []
        keys = Counter()
        for one in self.town.town_server.read().values():
            keys.update((one["assignee"], key) for key in re.findall(r"Witness-Key: (.*)", one["description"]))
        harm += [f"letters were sent twice: {key}" for key, number in keys.items() if number > 1]
        asked = sum("HELP" in mail["subject"] for mail in self.town.mails("demo/witness", closed=True))
        told = sum("HELP" in mail["subject"] for mail in self.town.mails("mayor/", closed=True))
        return harm + ([f"the mayor has {told} of {asked} calls for help"] if asked != told else [])

    def find_harm_of_bead(self, bead: str, fate: str) -> list:
        """Return what is wrong with a bead: it has one worker, or waits handed over."""
        one, claim = self.town.issue(bead), self.claim_of(bead)
        name = claim.get("name", "")
        actor = f"demo/witness@{json.loads((self.path / '.gastown' / 'witness.id').read_text())['id']}"
        holders = {
            "working": (f"demo/polecats/{name}", f"demo/{name}"),
            "handed-over": (actor, actor.replace("/", ":")),
        }
        harm = []
        if claim.get("state") != fate or claim.get("owed"):
            harm.append(f"the claim of {bead} should be {fate}: {claim}")
        if one["status"] not in ("hooked", "in_progress") or one["assignee"] not in holders[fate]:
            harm.append(f"{bead}, which is {fate}, is {one['status']} with {one['assignee'] or 'nobody'}")
        labels = [label for label in one["labels"] if label.startswith("witness:")]
        if labels != ([w.HANDED_OVER_LABEL] if fate == "handed-over" else []):
            harm.append(f"{bead}, which is {fate}, has the labels {labels}")
        return harm

    def find_harm_of_workers(self) -> list:
        """Return where a bead has two workers, or had, or a worker has none."""
        harm, begun = [], {}
        text = (self.folder / "begun").read_text() if (self.folder / "begun").exists() else ""
        for line in text.splitlines():
            name, bead = line.split()
            begun.setdefault(bead, set()).add(name)
        harm += [f"{bead} was begun by {sorted(names)}" for bead, names in begun.items() if len(names) > 1]
        harm += [f"{bead} was never begun" for bead in self.fate if bead not in begun]
        working = sorted(self.worker(bead) for bead, fate in self.fate.items() if fate == "working")
        recovered = [self.worker("de-1")] if "recover" in self.played else []
        if self.town.polecats() != sorted(working + recovered):
            harm.append(f"polecats are {self.town.polecats()}, and {working} work")
        roles = [self.town.session(name) for name in ("witness", "refinery")]
        own = ["theirs", "de-crew-max", *roles]
        sessions = [one for one in self.tmux("list-sessions", "-F", "#{session_name}").split() if one not in own]
        if sorted(sessions) != sorted(self.town.session(name) for name in working):
            harm.append(f"sessions are {sessions}, and {working} work")
        return harm

    def end(self) -> None:
        self.town.end()


CYCLES = {"gastown": TownCycle}


# ---- the matrix -----------------------------------------------------------------------------------------------------


def in_cycle(do, backend: str = "local"):
    """Call do(cycle) on a new rig in a temporary folder, and take both away."""
    folder = Path(tempfile.mkdtemp(prefix="wc-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    cycle = None
    try:
        cycle = CYCLES.get(backend, Cycle)(folder, backend)
        return do(cycle)
    finally:
        if cycle is not None:
            cycle.end()
        shutil.rmtree(folder, ignore_errors=True)


def record_story(phase: str) -> tuple:
    """Return (every point of one phase in a Gas Town, the harm that its unbroken story does)."""

    def do(cycle):
        seen = cycle.folder / "seen"
        cycle.play(record=seen, only=phase)
        points = [("gastown", phase, *json.loads(line)) for line in seen.read_text().splitlines()]
        return points, cycle.find_harm()

    return in_cycle(do, "gastown")


def play_whole(backend: str) -> list:
    """Return the harm that an unbroken cycle does."""

    def do(cycle):
        cycle.play()
        return cycle.find_harm()

    return in_cycle(do, backend)


def record(backend: str) -> tuple:
    """Return (every point of an unbroken cycle, the harm that it does)."""
    if backend == "gastown":
        stories = [record_story(phase) for phase in PHASES]
        harm = [line for _, lines in stories for line in lines] + play_whole(backend)
        return [point for points, _ in stories for point in points], harm

    def do(cycle):
        files = {phase: cycle.folder / f"seen-{phase}" for phase in PHASES}
        cycle.play(record=files)
        points = [
            (backend, phase, *json.loads(line)) for phase in PHASES for line in files[phase].read_text().splitlines()
        ]
        return points, cycle.find_harm()

    return in_cycle(do, backend)


def list_cases(points) -> list:
    """Return every case: (backend, phase, label, number, when, how)."""

    def cases_of(label: str) -> tuple:
        label = label.rpartition(": ")[2]
        if not label.startswith(("git", "tmux", "bd", "gt")):
            return WRITE_CASES
        return LOOK_CASES if label.strip() in LOOKS else CHANGE_CASES

    return [(*point, *case) for point in points for case in cases_of(point[2])]


def keep_own(points) -> list:
    """Return the points that are not what they are with the local file: there the rest is gone through.

    With bd: its calls, the claims, the memory, what a spawn says of itself. In a town also all that comes of a sling,
    and what follows when a retired worker's folder is gone.
    """
    found, gone = [], set()
    for point in points:
        backend, phase, label, _ = point
        if backend == "gastown" and label == "git ls-remote":
            gone.add(phase)
        sling = backend == "gastown" and (phase == "spawn" or phase in gone)
        if backend == "local" or sling or is_of_queue(label):
            found.append(point)
    return found


def is_of_queue(label: str) -> bool:
    """Tell whether a point is a call of bd or gt, or a claim, or the memory, or what a spawn says of itself."""
    label = label.rpartition(": ")[2]
    return label.startswith(("bd ", "gt ")) or "claims/" in label or "witness.json" in label or "witness-spawn" in label


def run_case(case) -> tuple:
    """Return (case, was its point reached, the harm that was done)."""

    def do(cycle):
        cycle.play(fault=case[1:])
        return (cycle.folder / "hit").exists(), cycle.find_harm()

    hit, harm = False, []
    for _ in range(TRIES):
        try:
            hit, harm = in_cycle(do, case[0])
        except Exception:  # noqa: BLE001 - a cycle that cannot go on is a finding, too
            hit, harm = True, [traceback.format_exc()]
        if hit:
            break
    return case, hit, harm


def in_process(do, *words):
    """Call do(*words) in a process of its own: a cycle takes the environment for itself."""
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        return pool.submit(do, *words).result()


def reap(_number, _frame) -> None:
    """End at a TERM as at an interrupt, and pass it on: each process takes its own rig and tmux server away."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for child in multiprocessing.active_children():
        child.terminate()
    raise KeyboardInterrupt


def draw(cases, count: int, seed: int) -> list:
    """Return so many cases as a seed draws them."""
    return random.Random(seed).sample(cases, min(count, len(cases)))


def count_workers() -> int:
    """Return how many cases run at once."""
    return int(os.environ.get("CRASH_WORKERS") or 1 + (os.cpu_count() or 2))


def run_all(do, cases, workers: int) -> tuple:
    """Call do on every case in so many processes; print what came of them, return how many survived, and the rest."""
    began = time.monotonic()
    survived, bad, missed = 0, [], []
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        try:
            for number, (case, hit, harm_done) in enumerate(pool.map(do, cases), 1):
                survived += hit and not harm_done
                if harm_done:
                    bad.append(case)
                    print(f"HARM {' '.join(map(str, case))}\n     " + "\n     ".join(harm_done), flush=True)
                elif not hit:
                    missed.append(case)
                    print(f"MISSED {' '.join(map(str, case))}", flush=True)
                if number % 25 == 0:
                    print(f"{number} of {len(cases)} cases after {time.monotonic() - began:.0f} s", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return survived, bad, missed


def main(words) -> int:
    """Run every case, or so many drawn by a seed, of all backends or of those named; print what came of them."""
    signal.signal(signal.SIGTERM, reap)  # the processes of the pools inherit it
    if words and words[0] in ("slings", "--list"):
        import slings  # it stands on this file

        if words[0] == "slings":
            return slings.main(words[1:])
        print("\n".join(map(str, slings.CASES)))
        return 0
    words, backends = list(words), []
    while words and words[0] in BACKENDS:
        backends.append(words.pop(0))
    points, harm = [], []
    for backend in backends or BACKENDS:
        found, bad = in_process(record, backend)
        points, harm = points + found, harm + bad
    for line in harm:
        print(f"the unbroken cycle does harm: {line}")
    cases = list_cases(keep_own(points))
    total = len(cases)
    if words:
        seed = int(words[1]) if len(words) > 1 else random.SystemRandom().randrange(1_000_000)
        cases = draw(cases, int(words[0]), seed)
        print(f"{len(cases)} of {total} cases, drawn by seed {seed}", flush=True)
    survived, bad, missed = run_all(run_case, cases, count_workers())
    by_phase = {phase: sum(point[1] == phase for point in points) for phase in PHASES}
    print("points: " + ", ".join(f"{phase} {number}" for phase, number in by_phase.items()))
    print(f"{len(points)} points, {len(cases)} runs, {survived} survived, {len(bad)} with harm, {len(missed)} missed")
    good = not harm and not bad and not missed and len(points) >= LEAST_POINTS * len(backends or BACKENDS)
    return 0 if good else 1


if __name__ == "__main__":
    sys.modules["crash"] = sys.modules["__main__"]
    raise SystemExit(main(sys.argv[2:]))  # the first word is the archive, which is not needed here
