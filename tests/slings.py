"""The second crash matrix: a sling of gt cut short at each of its phases, crossed with what else happens meanwhile.

Each case is one line of CASES. A bead is ready, the daemon slings it, the sling is struck at a phase; then the daemon
goes on until all is quiet. The bead must then have exactly one worker, begun by nobody else, and nothing may be lost.
`./build.sh crash slings` runs them all, `./build.sh crash slings 20 7` twenty drawn by seed 7, `./build.sh crash slings
hooked` those whose name has that word.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import crash  # noqa: E402
from tools import kit  # noqa: E402

import witness as w  # noqa: E402

PHASES = {
    "1.0.1": ("start", "folder", "open", "hooked", "session", "done"),
    "0.5.0": ("start", "folder", "session", "hooked", "done"),
    "0.2.6": ("start", "folder", "session", "hooked", "done"),
    "seed": ("start", "folder", "hooked", "session", "done"),
}
SLOW_S = 1.0  # how long a slow sling stays in a phase, so that something else can happen
LONG_S = 12.0  # as long that others have looked meanwhile
HUNG_S = 3  # spawn_timeout where the sling hangs
OTHER = "demo/witness@other"
LIVES = 6  # the daemon is started so often, ten minutes apart, before a bead without a worker counts as lost


class Case(NamedTuple):
    """One case: gt's version, where and how its sling is struck, and what else happens."""

    pair: str
    phase: str  # or "call": all of it
    how: str  # what is struck: kill, fail, hang, slow; of the call: fail, late, mute, cut, garbage
    meanwhile: str = "nothing"

    def __str__(self) -> str:
        return f"{self.pair} {self.phase} {self.how} {self.meanwhile.replace(' ', '-')}"


def make_cases() -> tuple:
    """Return every case."""
    found = []
    for pair, phases in PHASES.items():
        for phase in phases:
            found += [Case(pair, phase, how) for how in ("kill", "fail", "hang")]
            # The sling goes on while its starter, or the child that waits for it, or both are gone.
            found += [Case(pair, phase, "slow", who) for who in ("daemon killed", "child killed", "both killed")]
            # It takes so long that the next one is due before it has come to its end.
            found += [Case(pair, phase, "slow", "child killed long before")]
            found += [Case(pair, phase, "slow", "database away"), Case(pair, phase, "kill", "database away")]
        found += [Case(pair, "call", how) for how in ("fail", "late", "mute", "cut", "garbage")]
    new = PHASES["1.0.1"]
    for phase in new:
        found += [Case("1.0.1", phase, how, "idle polecat") for how in ("kill", "fail", "hang")]
        found += [Case("1.0.1", phase, how, "gt slings, too") for how in ("kill", "slow")]
        found += [Case("1.0.1", phase, how, "another host looks") for how in ("kill", "slow")]
        found += [Case("1.0.1", phase, "slow", "child killed another host looks")]
        found += [Case("1.0.1", phase, "kill", "a worker sleeps")]
    found += [
        Case("1.0.1", "open", "slow", "another host claims"),
        Case("1.0.1", "open", "kill", "another host claims"),
    ]
    found += [Case("1.0.1", "done", "slow", what) for what in ("idle polecat", "a worker sleeps")]
    return tuple(found)


CASES = make_cases()
TELLS = bool(os.environ.get("SLINGS_TELL"))  # of a case with harm also every event, and every call of gt


class Real(crash.Quick):
    """A host whose slings are real processes, which can be killed."""

    def pause(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.3))

    def is_quick(self, argv) -> bool:
        return argv[1] not in ("sling", "spawn") and super().is_quick(argv)


class SlingCycle(crash.TownCycle):
    """A town, one bead, and one sling that is struck."""

    def __init__(self, folder: Path, pair: str) -> None:
        self.pair, self.others, self.sleeping, self.second = pair, set(), {}, None
        self.slings_too = self.given_away = False
        super().__init__(folder, "gastown")

    def settings(self, spawn_timeout: float = 60) -> dict:
        """Return the settings of the daemon."""
        words = ["--hook-raw-bead"] if self.pair == "0.5.0" else []
        return {**super().settings(), "spawn_timeout": spawn_timeout, "sling_args": words, "max_workers": 3}

    def make_host(self, fault, seen, who: str) -> crash.Faults:
        return Real(self, self.offset_s, fault, seen, who)

    def use(self, **settings) -> None:
        """Change the daemon's settings."""
        path = self.path / ".gastown" / "witness-config.json"
        path.write_text(json.dumps(self.settings(**settings)))

    # -- the daemon ------------------------------------------------------------------------------------

    def start(self, seconds: float = 20.0) -> int:
        """Start the daemon; it ends by itself when all is quiet, or nothing more follows. Return its pid."""
        pid = os.fork()
        if pid:
            return pid
        try:
            with contextlib.suppress(OSError):
                os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1):
                os.dup2(null, fd)
            make_host = lambda who="": self.make_host(None, None, who)  # noqa: E731
            w.start_spawn_child = lambda store, order: crash.start_child(store, order, make_host)
            self.serve(self.station(make_host()), seconds)
        except BaseException:  # noqa: BLE001 - a forked child must not run on as its parent
            (self.folder / "raised").write_text(traceback.format_exc())
        finally:
            os._exit(0)

    def serve(self, station, seconds: float) -> None:
        """Do rounds until nothing more follows."""
        deadline, quiet = time.monotonic() + seconds, 0
        while time.monotonic() < deadline and quiet < 2:
            _, decision, done = self.round(station)
            busy = decision.memory.spawn is not None or w.asks_for_more(done) or decision.memory.pending
            quiet = 0 if busy else quiet + 1
            time.sleep(0.05 if not decision.memory.spawn else 0.2)

    @staticmethod
    def wait(pid: int, seconds: float = 40.0) -> None:
        """Wait for the daemon's end."""

        def ended() -> bool:
            try:
                return os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                return True

        kit.wait_for(ended, seconds, "the end of the daemon")

    def is_settled(self) -> bool:
        """Tell whether the bead has a worker, and nothing is under way."""
        path = self.path / ".gastown" / "witness.json"
        under_way = path.exists() and json.loads(path.read_text()).get("spawn")
        return not under_way and self.claim_of("de-1").get("state") == "working"

    def is_over(self) -> bool:
        """Tell whether no sling runs any more."""
        return not any(kit.process(call["pid"]) for call in self.town.calls() if call["status"] is None)

    def find_child(self) -> int:
        """Return the pid of the spawn child."""
        path = self.path / ".gastown" / "witness-spawn.json"
        return json.loads(path.read_text())["pid"] if path.exists() else 0

    # -- what else happens -----------------------------------------------------------------------------

    def prepare(self, case: Case) -> None:
        """Make what must be there before the sling."""
        if case.meanwhile == "idle polecat":
            self.make_idle()
        elif case.meanwhile == "a worker sleeps":
            self.git(
                "worktree",
                "add",
                "--quiet",
                "-b",
                "polecat/rust/de-9@old",
                self.tree("rust"),
                "origin/main",
                cwd=self.base,
            )
            self.town.add("de-9", status="hooked", assignee="demo/polecats/rust")
            self.write(self.tree("rust"), "live.txt", "not committed yet\n")
            self.sleeping = {"rust": self.town.start_session("rust")}
            self.town.age_heartbeat("rust", 600)
            self.others = {"rust"}
        elif case.meanwhile == "gt slings, too":
            links = [("tracks", "de-1")]
            self.town.town_server.add("hq-cv-1", issue_type="convoy", links=links)
        elif case.meanwhile.endswith("another host looks"):
            self.second = Second(self)
        if case.phase == "open" and case.meanwhile == "another host claims":
            self.town.option(open_s=1.0)

    def strike(self, case: Case) -> None:
        """Let the first sling be struck."""
        verb = "spawn" if self.pair == "seed" else "sling"
        long = case.meanwhile in ("child killed long before", "child killed another host looks")
        fault = {"verb": verb, "do": case.how, "seconds": LONG_S if long else SLOW_S}
        self.town.spoil({**fault, **({} if case.phase == "call" else {"phase": case.phase})})

    def meddle(self, case: Case, daemon: int) -> None:
        """Do what happens when the sling has come to its phase."""
        what = case.meanwhile
        if what in ("daemon killed", "both killed"):
            os.kill(daemon, signal.SIGKILL)
        if what.startswith(("child killed", "both killed")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.find_child(), signal.SIGKILL)
        if what == "database away":
            self.town.server.take_down()
        elif what == "another host claims":
            if self.town.state("de-1")[0] == "open":  # with bd, as `bd update --claim` would
                self.town.change("de-1", status="in_progress", assignee=OTHER)
        elif what == "gt slings, too":
            self.town.start_daemon()
            self.town.daemon_round(seats=False)
            self.town.stop_daemon()
        elif what.endswith("another host looks"):
            if what.startswith("child"):
                self.wait(daemon)
            self.second.look()

    def play_case(self, case: Case) -> None:
        """Play one case to its end."""
        self.slings_too = case.meanwhile == "gt slings, too"
        self.prepare(case)
        self.use(spawn_timeout=HUNG_S if case.how in ("hang", "late") else 60)
        self.town.add("de-1", "One")
        self.fate["de-1"] = "working"
        self.strike(case)
        daemon = self.start()
        if case.phase != "call":
            verb = "spawn" if self.pair == "seed" else "sling"
            self.town.wait_for_phase(case.phase, verb, 30)
            (self.folder / "hit").touch()
            self.meddle(case, daemon)
        else:
            (self.folder / "hit").touch()
        if case.meanwhile == "database away":
            time.sleep(2 * SLOW_S)
            self.town.server.bring_back()
        if case.meanwhile not in ("daemon killed", "both killed"):
            self.wait(daemon)
        else:
            os.waitpid(daemon, 0)
        self.use()
        for _ in range(LIVES):
            self.wait(self.start())
            if self.is_settled():
                break
            self.offset_s += 600
        if self.second:
            self.second.look()
        if case.meanwhile != "nothing":  # what ran on beside the daemon has its effect by now
            kit.wait_for(self.is_over, 30, "the end of all slings")
            self.offset_s += 600
            self.wait(self.start())
        begun = self.folder / "begun"
        if (
            not begun.exists() or "de-1" not in begun.read_text()
        ):  # cut before anybody told its agent: then Witness reminds it
            self.offset_s += 3600
            self.wait(self.start())
        if self.slings_too or self.town.state("de-1")[1] == OTHER:
            self.forgive_gt()

    def forgive_gt(self) -> None:
        """Look past folders that a sling has left whose bead another has: without a session, and without a bead."""
        for name in self.town.polecats():
            if name != self.worker("de-1") or self.town.state("de-1")[1] == OTHER:
                self.others.add(name)

    # -- the oracle ------------------------------------------------------------------------------------

    def find_harm_of_workers(self) -> list:
        """Return where the bead has two workers, or had, or none."""
        harm, begun = [], set()
        text = (self.folder / "begun").read_text() if (self.folder / "begun").exists() else ""
        for line in text.splitlines():
            name, bead = line.split()
            begun.update([name] if bead == "de-1" else ())
        # What was given back in time another host may take; then it alone has a worker for it.
        elsewhere = self.given_away
        if len(begun) != (0 if elsewhere else 1):
            harm.append(f"de-1 was begun by {sorted(begun)}")
        name = self.worker("de-1")
        if set(self.town.polecats()) != {*([] if elsewhere else [name]), *self.others}:
            harm.append(f"polecats are {self.town.polecats()}, and {name} works")
        roles = {self.town.session(role) for role in ("witness", "refinery", "mayor", "deacon")}
        sessions = set(self.tmux("list-sessions", "-F", "#{session_name}").split()) - roles - {"theirs", "de-crew-max"}
        if sessions != {self.town.session(one) for one in (*([] if elsewhere else [name]), *self.sleeping)}:
            harm.append(f"sessions are {sessions}, and {name} works")
        for one, pid in self.sleeping.items():
            panes = {pane["session"]: int(pane["pid"]) for pane in self.town.tmux.panes()}
            if panes.get(self.town.session(one)) != pid:
                harm.append(f"{one}, who slept, was ended")
        if self.second and not elsewhere and self.second.town.polecats():
            harm.append(f"another host made {self.second.town.polecats()} for it, too")
        if (
            elsewhere
            and self.second
            and (len(self.second.town.polecats()) != 1 or self.town.state("de-1")[0] != "hooked")
        ):
            harm.append(f"another host made {self.second.town.polecats()} for it: {self.town.state('de-1')}")
        return harm

    def find_harm(self) -> list:
        """Return in words everything that is not as it must be."""
        holder = self.town.state("de-1")[1]
        given_back = self.claim_of("de-1").get("state") == "released"
        self.given_away = given_back and (self.second is not None or holder == OTHER)
        # Two gave it away at once: whoever of gt's own was faster has it, and nothing of ours claims it.
        if self.given_away or (given_back and self.slings_too):
            self.fate = {}
        return super().find_harm()

    def worker(self, bead: str) -> str:
        """Return who works on a bead, or did."""
        if self.slings_too and self.claim_of(bead).get("state") == "released":
            return self.town.state(bead)[1].rpartition("/")[2]
        return super().worker(bead)

    def end(self) -> None:
        if self.second:
            self.second.end()
        super().end()


class Second:
    """Another host: a town of its own beside, with the same queue, whose Witness would spawn what is free."""

    def __init__(self, first: SlingCycle) -> None:
        self.first = first
        self.folder = first.folder / "second"
        self.town = crash.town.Town(self.folder, crash.Tmux(), first.pair, beside=first.town, **crash.BARE)
        state = self.town.rig / ".gastown"
        state.mkdir(mode=0o700)
        (state / "witness-config.json").write_text(json.dumps(first.settings()))

    def look(self) -> None:
        """Let its daemon do rounds until nothing more follows."""
        first = self.first
        pid = os.fork()
        if not pid:
            try:
                os.environ["PATH"] = self.town.bin.path()
                make_host = lambda who="": Real(self, first.offset_s, None, None, who)  # noqa: E731
                w.start_spawn_child = lambda store, order: crash.start_child(store, order, make_host)
                rig = w.find_rig(make_host(), str(self.town.rig), {}, "/", "witness")
                station = w.Station(make_host(), rig, w.Store(make_host(), rig).read_config({}))
                first.serve(station, 10)
            except BaseException:  # noqa: BLE001 - a forked child must not run on as its parent
                (first.folder / "raised").write_text("the second host: " + traceback.format_exc())
            finally:
                os._exit(0)
        first.wait(pid)

    def end(self) -> None:
        """End what it has started."""
        self.town.end()


def run_case(case: Case) -> tuple:
    """Return (case, was the sling struck, the harm that was done)."""
    folder = Path(tempfile.mkdtemp(prefix="wc-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    cycle, hit, harm = None, True, []
    kept = dict(os.environ)
    try:
        cycle = SlingCycle(folder, case.pair)
        cycle.play_case(case)
        hit, harm = (folder / "hit").exists(), cycle.find_harm()
        if harm and TELLS:
            tail = (cycle.path / ".gastown" / "witness-events.jsonl").read_text()
            calls = [(call["argv"], call["phases"], call["status"], call["spoilt"]) for call in cycle.town.calls()]
            harm += [tail, *map(str, calls)]
    except Exception:  # noqa: BLE001 - a case that cannot go on is a finding, too
        harm = [traceback.format_exc()]
    finally:
        if cycle is not None:
            cycle.end()
        crash.shutil.rmtree(folder, ignore_errors=True)
        os.environ.clear()
        os.environ.update(kept)
    return case, hit, harm


def main(words) -> int:
    """Run every case, or so many drawn by a seed, or those whose names have a word; print what came of them."""
    cases = list(CASES)
    if words and words[0].isdigit():
        seed = int(words[1]) if len(words) > 1 else crash.random.SystemRandom().randrange(1_000_000)
        cases = crash.draw(cases, int(words[0]), seed)
        print(f"{len(cases)} of {len(CASES)} slings, drawn by seed {seed}", flush=True)
    elif words:
        cases = [case for case in CASES if set(words) <= set(str(case).split())]
    survived, bad, missed = crash.run_all(run_case, cases, crash.count_workers())
    print(f"{len(cases)} slings, {survived} survived, {len(bad)} with harm, {len(missed)} missed")
    return 1 if bad or missed else 0
