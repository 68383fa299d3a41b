"""The crash matrix: one whole cycle, broken at every outside call and durable write, in every way.

`./build.sh crash` runs the cycle once and records each point; then, for each point, once more with the daemon killed
before it or after it, and with the call failing or hanging before or after its effect. After each the daemon goes on
as after a restart, and an oracle that knows every object the agents ever made looks whether anything is lost, done
twice, left behind or somebody else's. `./build.sh crash 40 7` runs 40 cases drawn by seed 7.

The cycle: two workers are spawned, both are nudged and escalated; one hands off dirty and is refused, then clean and is
retired, and recovered; the other is retired by force with uncommitted work. It is gone through with each queue: the
local file, and `bd` (a stand-in), where what was claimed and handed over must read so in the database, too.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tools import beads  # noqa: E402
from tools.kit import PYTHON  # noqa: E402

import witness as w  # noqa: E402

LEAST_POINTS = 150  # a recording with fewer has not seen the cycle
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
    "bd version,bd ready,bd list,bd show".split(",")
)
BACKENDS = ("local", "beads")
PHASES = ("spawn", "nudge", "escalate", "refuse", "retire", "recover", "force", "settle")
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
        when, how = self._reach(label)
        if when == "before" and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "before":
            return self._broken(argv, how)
        ran = super().run(argv, *args, **options)
        if when == "after" and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return self._broken(argv, how) if when == "after" else ran

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
        re.sub(r"\d{6,}\S*|index\.\w+|\.[0-9a-f]{8}\b|\.\d+\.new$", "…", part) for part in Path(path).parts[-2:]
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


def start_child(store, order: dict, offset_s: float, fault, seen):
    """Start the spawn child as a fork, so that its effects are points of the matrix, too."""
    fd = w.take_lock(store.path(w.SPAWN_LOCK_FILE))
    if fd is None:
        return "another spawn still runs"
    store.host.remove(store.path(w.SPAWN_FILE))
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            w.run_spawn_child(Faults(offset_s, fault, seen, f"child of {order['name']}: "), fd, order)
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
        for name in ("home", "x", "t"):
            (folder / name).mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        os.environ.clear()
        os.environ.update(kept, HOME=str(folder / "home"), TMUX_TMPDIR=str(folder / "x"), TMPDIR=str(folder / "t"))
        os.environ.update(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", LC_ALL="C.UTF-8", TERM="xterm")
        for role in ("AUTHOR", "COMMITTER"):
            os.environ.update({f"GIT_{role}_NAME": "agent", f"GIT_{role}_EMAIL": "agent@example.org"})
        os.environ["WITNESS_CRASH_HIT"] = str(folder / "hit")
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
        return w.Station(host, rig, w.Store(host, rig).read_config({}))

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
                fd = w.take_tick_lock(station, 5)
                try:
                    w.run_round(station)
                finally:
                    station.tick_lock_fd = None
                    os.close(fd)
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

    def live(self, phase: str, fault=None, seen=None) -> None:
        """Run a phase in a child of ours, which may be killed in it."""
        child = os.fork()
        if not child:
            status = 1
            try:
                null = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1):
                    os.dup2(null, fd)
                w.start_spawn_child = lambda store, order: start_child(store, order, self.offset_s, fault, seen)
                self.do(phase, Faults(self.offset_s, fault, seen))
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
        for phase in PHASES:
            self.act(phase)
            if fault is not None and fault[0] == phase:
                self.live(phase, fault[1:])
                self.offset_s += 2 * 3600  # whatever is tried again later is due
            self.live(phase, seen=record[phase] if record is not None else None)
            if fault is not None and fault[0] == phase:
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
        if self.git("fsck", "--connectivity-only", "--no-dangling"):
            harm.append("git fsck complains")
        return harm

    def end(self) -> None:
        self.tmux("kill-server")


# ---- the matrix -----------------------------------------------------------------------------------------------------


def in_cycle(do, backend: str = "local"):
    """Call do(cycle) on a new rig in a temporary folder, and take both away."""
    folder = Path(tempfile.mkdtemp(prefix="wc-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    cycle = None
    try:
        cycle = Cycle(folder, backend)
        return do(cycle)
    finally:
        if cycle is not None:
            cycle.end()
        shutil.rmtree(folder, ignore_errors=True)


def record(backend: str) -> tuple:
    """Return (every point of an unbroken cycle, the harm that it does)."""

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
        if not label.startswith(("git", "tmux", "bd")):
            return WRITE_CASES
        return LOOK_CASES if label.strip() in LOOKS else CHANGE_CASES

    return [(*point, *case) for point in points for case in cases_of(point[2])]


def is_of_queue(case) -> bool:
    """Tell whether a case breaks a call of bd, or a claim, or what a spawn says of itself."""
    label = case[2].rpartition(": ")[2]
    return label.startswith("bd ") or "claims/" in label or "witness.json" in label or "witness-spawn" in label


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


def main(words) -> int:
    """Run every case, or so many drawn by a seed; print what came of them."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, reap)  # the processes of the pools inherit it
    points, harm = [], []
    for backend in BACKENDS:
        found, bad = in_process(record, backend)
        points, harm = points + found, harm + bad
    for line in harm:
        print(f"the unbroken cycle does harm: {line}")
    # With bd all that touches only git and tmux is what it is with the file: there its own points and writes count.
    cases = [case for case in list_cases(points) if case[0] == "local" or is_of_queue(case)]
    total = len(cases)
    if words:
        seed = int(words[1]) if len(words) > 1 else random.SystemRandom().randrange(1_000_000)
        cases = draw(cases, int(words[0]), seed)
        print(f"{len(cases)} of {total} cases, drawn by seed {seed}")
    survived, bad, missed = 0, [], []
    with concurrent.futures.ProcessPoolExecutor(1 + (os.cpu_count() or 2)) as pool:
        try:
            for number, (case, hit, harm_done) in enumerate(pool.map(run_case, cases), 1):
                survived += hit and not harm_done
                if harm_done:
                    bad.append(case)
                    print(f"HARM {' '.join(map(str, case))}\n     " + "\n     ".join(harm_done), flush=True)
                elif not hit:
                    missed.append(case)
                    print(f"MISSED {' '.join(map(str, case))}", flush=True)
                if number % 100 == 0:
                    print(f"{number} of {len(cases)} cases after {time.monotonic() - began:.0f} s", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    by_phase = {phase: sum(point[1] == phase for point in points) for phase in PHASES}
    print("points: " + ", ".join(f"{phase} {number}" for phase, number in by_phase.items()))
    print(f"{len(points)} points, {len(cases)} runs, {survived} survived, {len(bad)} with harm, {len(missed)} missed")
    good = not harm and not bad and not missed and len(points) >= 2 * LEAST_POINTS
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[2:]))  # the first word is the archive, which is not needed here
