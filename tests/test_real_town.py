"""The real `gt` beside the real `bd` on the PATH: the built archive as the witness of a real town, without models."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path

import pytest
from tools import kit, realbd, realgt
from tools.kit import ENVIRONMENT, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]
VERSION = realgt.gt_version()
LONG = bool(ENVIRONMENT.get("WITNESS_REAL_LONG"))
SETTINGS = {
    "interval": 2,
    "tool_timeout": 60,
    "spawn_delay_ms": 0,
    "min_free_disk": 0,
    "min_free_memory": 0,
    "max_load_per_core": 0,
}
SLING_S = 400.0
"""For one sling or two, with what is read back: gt alone takes 10 to 97 s on a calm machine."""
SHUTDOWN = """\
Lifecycle request from polecat.

Action: shutdown
Time: 2026-11-22T11:30:00Z
Polecat: {name}

Please verify state and execute lifecycle action.
"""


@pytest.fixture(scope="module", autouse=True)
def needed():
    missing = realgt.find_missing()
    if missing:
        pytest.skip(f"{missing} is not on the PATH")


class Watch:
    """Witness at work in a town."""

    def __init__(self, town: realgt.Town, witness) -> None:
        self.town, self.witness = town, witness
        self.state = town.rig / ".gastown"
        self.state.mkdir(mode=0o700, exist_ok=True)  # the seed keeps its own things there
        path = self.state / "witness-config.json"
        path.write_text(json.dumps(SETTINGS))
        path.chmod(0o600)

    def call(self, *words, timeout=180) -> kit.Result:
        """Run one command of Witness in the rig."""
        env = {**self.town.env, "NO_COLOR": "1"}
        return self.witness(*words, env=env, cwd=self.town.rig, timeout=timeout)

    def ask(self, *words) -> dict:
        """Return what a command says as data."""
        return json.loads(self.call(*words, "--json").stdout)

    def start(self) -> None:
        """Start the daemon."""
        done = self.call("start", "--timeout", "120")
        assert done.status == 0, done

    def stop(self) -> None:
        """Stop the daemon."""
        done = self.call("stop")
        assert done.status == 0, done

    def events(self, kind: str = "") -> list[tuple]:
        """Return (kind, subject, detail) of what the daemon has told, oldest first."""
        told = [(one["kind"], one["subject"], one["text"]) for one in self.ask("events")["events"]]
        return [one for one in told if kind in ("", one[0])]

    def daemon(self) -> kit.Process | None:
        """Return the daemon, if one runs."""
        path = self.state / "witness.pid"
        try:
            said = json.loads(path.read_text())
        except (OSError, ValueError):
            return None
        one = kit.Process(int(said["pid"]), int(said["start_time"]))
        return one if kit.is_alive(one) else None

    def rounds(self, count: int) -> None:
        """Wait until the daemon has looked that often."""
        for _ in range(count):
            before = self.ask("status")["daemon"]["last_tick_at"]
            wait_for(lambda at=before: self.ask("status")["daemon"]["last_tick_at"] != at, 120, "another round")

    def worker_of(self, issue: str, timeout: float = SLING_S) -> str:
        """Wait until an issue has a worker of the rig, and return its name."""

        def look() -> str:
            status, assignee = self.town.state(issue)
            parts = assignee.split("/")
            works = status in ("hooked", "in_progress") and parts[0] == "demo" and not parts[1].startswith("witness")
            return parts[-1] if works else ""

        return wait_for(look, timeout, f"a worker for {issue}")

    def settled(self, issue: str) -> str:
        """Wait until the sling for an issue has been read back, and return the worker's name."""
        name = self.worker_of(issue)
        wait_for(lambda: ("spawned", name) in {one[:2] for one in self.events()}, SLING_S, "the reading back")
        return name


@pytest.fixture
def folder(request):
    path = Path(tempfile.mkdtemp(prefix="", dir=request.config.witness_root / "w"))
    yield path
    kit.remove(path)


@pytest.fixture
def town(folder):
    made = realgt.Town(folder)
    yield made
    made.close()


@pytest.fixture
def watch(town, witness):
    made = Watch(town, witness)
    yield made
    log = made.state / "witness.log"
    print(log.read_text() if log.exists() else "no log")  # shown where the test failed


def refs(town, pattern: str) -> list[str]:
    return town.git("for-each-ref", "--format=%(refname)", pattern).splitlines()


def labels(town, issue: str) -> list[str]:
    return town.show(issue).get("labels") or []


def test_the_town_is_found(town, watch):
    found = {row["name"]: row for row in watch.ask("doctor", "--quick")["findings"]}
    shown = ".".join(map(str, VERSION))
    assert "gastown" in found["backend"]["detail"]
    assert found["gt"]["ok"], found["gt"]
    assert shown in found["gt"]["detail"]
    assert str(town.root) in found["gt"]["detail"]
    assert found["queue"]["ok"], found["queue"]
    assert ".".join(map(str, realbd.bd_version())) in found["queue"]["detail"]
    assert watch.ask("status")["rig"]["name"] == "demo"
    issue = town.create("One")
    listed = {one["id"]: one for one in watch.ask("issues")["issues"]}
    assert listed[issue]["spawnable"], listed


def test_a_ready_issue_gets_one_worker(town, watch):
    issue = town.create("One")
    watch.start()
    name = watch.settled(issue)
    assert not [one for one in labels(town, issue) if one.startswith("witness:")]
    assert wait_for(lambda: town.session(name) in town.panes(), 60, "its session")
    watch.rounds(3)
    assert sorted(town.polecats()) == [name]
    assert [one[1] for one in watch.events("spawned")] == [name]
    doing = {one["name"]: one for one in watch.ask("status")["polecats"]}
    assert doing[name]["issue"] == issue
    assert doing[name]["state"] in ("starting", "working")


def test_what_needs_a_mind_goes_to_the_mayor(town, watch):
    town.send("rust", "HELP: which database", "Agent: demo/rust\nProblem: two of them")
    town.send("rust", "MERGED rust", "Branch: polecat/rust/x\nIssue: de-1")
    watch.start()
    wait_for(lambda: not town.inbox(), 120, "an empty inbox")

    def forwarded() -> list[str]:
        mails = town.inbox("mayor/")
        return [f"{one.get('subject', one.get('title'))}\n{one.get('body', one.get('description'))}" for one in mails]

    got = wait_for(lambda: [one for one in forwarded() if "which database" in one], 60, "the forwarded mail")
    assert len(got) == 1
    assert "two of them" in got[0]
    assert not [one for one in forwarded() if "polecat/rust/x" in one]


def refusals(town, name: str) -> list[str]:
    """Return what a worker was told about its request, by mail or into its pane."""
    mails = town.inbox(f"demo/{name}") if town.version != realgt.SEED else town.inbox(f"demo-{name}")
    told = [f"{one.get('subject', one.get('title'))} {one.get('body', one.get('description'))}" for one in mails]
    return [one for one in [*told, *town.heard(name)] if "precious.txt" in one or "Cannot shutdown" in one]


def test_a_worker_is_retired_when_nothing_can_be_lost(town, watch):
    issue = town.create("One")
    watch.start()
    name = watch.settled(issue)
    tree = town.worktree(name)
    (tree / "precious.txt").write_text("not committed\n")
    town.send(name, "LIFECYCLE: polecat requesting shutdown", SHUTDOWN.format(name=name))
    wait_for(lambda: refusals(town, name), 120, "the refusal")
    assert (tree / "precious.txt").read_text() == "not committed\n"
    assert town.session(name) in town.panes()

    assert town.do(name, "git add precious.txt && git commit --quiet --message work").startswith("ended 0")
    head = town.git("rev-parse", "HEAD", cwd=tree)
    branch = town.git("rev-parse", "--abbrev-ref", "HEAD", cwd=tree)
    town.send(name, "LIFECYCLE: polecat requesting shutdown", SHUTDOWN.format(name=name))
    wait_for(lambda: name in {one[1] for one in watch.events("retired")}, 180, "the retirement")
    wait_for(lambda: name not in town.polecats(), 60, "gt's own record to be right")
    assert not tree.exists()
    assert town.session(name) not in town.panes()
    kept = refs(town, f"refs/witness/retired/{name}")
    assert kept
    assert town.git("merge-base", "--is-ancestor", head, kept[0], check=False) == ""
    assert head in town.git("rev-list", *kept).splitlines()
    there = {line.partition("\t")[::2] for line in town.git("ls-remote", town.url).splitlines()}
    assert refs(town, f"refs/heads/{branch}") or (head, f"refs/heads/{branch}") in there
    wait_for(lambda: "witness:handed-over" in labels(town, issue), 60, "the label of the hand-over")
    status, assignee = town.state(issue)
    assert (status, assignee.partition("@")[0]) == ("in_progress", assignee.partition("@")[0])
    assert "witness" in assignee
    watch.rounds(3)
    assert not town.polecats()


@pytest.mark.skipif(realbd.bd_version() < realbd.SERVER_SINCE, reason="this bd has no server")
def test_the_database_goes_away_and_comes_back(town, watch):
    first = town.create("One")
    watch.start()
    name = watch.settled(first)
    town.stop_server()
    wait_for(lambda: watch.ask("status")["ports"]["queue"]["state"] != "ok", 60, "the trouble")
    watch.rounds(2)
    assert watch.daemon()
    assert town.session(name) in town.panes()
    town.start_server()
    wait_for(lambda: watch.ask("status")["ports"]["queue"]["state"] == "ok", 60, "the end of the trouble")
    assert watch.settled(town.create("Two")) != name
    assert sorted(one[1] for one in watch.events("spawned")) == sorted(town.polecats())
    assert len(town.polecats()) == 2


@pytest.mark.skipif(VERSION < (0, 9), reason="this gt resets no worktree")
def test_the_work_of_the_dead_is_kept(town, watch):
    issue = town.create("One")
    town.sling(issue)
    name = watch.worker_of(issue)
    (town.worktree(name) / "precious.txt").write_text("not committed\n")
    watch.start()
    watch.rounds(1)
    town.tmux("kill-session", "-t", f"={town.session(name)}")
    wait_for(lambda: watch.events("kept"), 60, "the kept work")
    kept = refs(town, f"refs/witness/kept/{name}")[-1]
    assert town.git("show", f"{kept}:files/precious.txt") == "not committed", town.git("ls-tree", "-r", kept)
    assert (town.worktree(name) / "precious.txt").read_text() == "not committed\n"


@pytest.mark.skipif(VERSION < (0, 9), reason="before, a worker that is done takes its worktree away itself")
def test_waiting_work_wakes_the_refinery(town, watch):
    town.ignore_own_files()  # else gt itself refuses to be done
    issue = town.create("One")
    town.sling(issue)
    name = watch.worker_of(issue)
    work = "echo work >work.txt && git add work.txt && git commit --quiet --message work"
    ended = town.do(name, f"{work} && gt done", 180)
    assert ended.startswith("ended 0"), ended
    assert town.state(issue)[0] == "closed"
    town.tmux("kill-session", "-t", f"={town.session('refinery')}", check=False)
    watch.start()
    wait_for(lambda: town.session("refinery") in town.panes(), 90, "the refinery")
    watch.rounds(2)
    assert sorted(town.polecats()) == [name]
    assert not watch.events("spawned")
    assert not watch.events("retired")


@pytest.mark.parametrize("delay_s", [1, 4, 7, 10, 15] if LONG else [6])
def test_a_killed_sling_becomes_one_worker(town, watch, delay_s):
    issue = town.create("One")
    watch.start()
    log = watch.state / "witness.log"
    wait_for(lambda: "spawn a worker" in log.read_text(), 60, "the sling")
    time.sleep(delay_s)
    one = watch.daemon()
    assert one
    kit.end(*kit.tree(one.pid))
    for left, words, _ in kit.leftovers(town.folder):
        if " sling " in words or "_spawn" in words or " spawn " in words:
            kit.end(left)
    watch.start()
    name = watch.settled(issue)
    assert wait_for(lambda: town.session(name) in town.panes(), 120, "its session")
    watch.rounds(2)
    assert sorted(town.polecats()) == [name]
    assert watch.worker_of(issue) == name


@pytest.mark.skipif(not LONG, reason="takes six minutes: WITNESS_REAL_LONG=1 runs it")
def test_a_sleeping_worker_survives_a_sling(town, watch):
    first = town.create("One")
    watch.start()
    name = watch.settled(first)
    pid = town.panes()[town.session(name)]
    time.sleep(250)
    other = watch.settled(town.create("Two"))
    assert other != name
    watch.rounds(2)
    assert town.panes()[town.session(name)] == pid
    assert watch.worker_of(first) == name


# ---- the seat -------------------------------------------------------------------------------------------------------


seated = pytest.mark.skipif(VERSION < (1,), reason="before gt 1.0 no other program may sit in the seat")


@pytest.fixture
def seat(town, watch):
    """Return the pid of the pane of a seat that `gt` has started."""
    done = watch.call("seat", "install")
    assert done.status == 0, done
    town.gt("witness", "start", "demo")
    return wait_for(lambda: town.panes().get(town.session("witness"), (0,))[0], 30, "the session")


def screen(town) -> str:
    return town.tmux("capture-pane", "-p", "-t", f"={town.session('witness')}:")


@pytest.mark.skipif(VERSION >= (1,), reason="this gt runs any program in the seat")
def test_no_seat_where_the_daemon_would_kill_it(town, watch):
    before = {path: path.read_text() for path in (town.root / "settings").glob("*.json")}
    assert watch.call("seat", "install").status != 0
    assert {path: path.read_text() for path in (town.root / "settings").glob("*.json")} == before


@seated
def test_the_seat_answers(town, watch, seat):
    wait_for(lambda: "witness running" in screen(town), 60, "the status")
    assert json.loads(town.gt("witness", "status", "demo", "--json").stdout)["running"]
    assert "already running" in town.gt("witness", "start", "demo").stdout
    assert town.panes()[town.session("witness")][0] == seat
    assert watch.daemon()

    def typed() -> int:
        found = re.search(r"typed: (\d+) lines?", screen(town))
        return int(found.group(1)) if found else 0

    before, began = typed(), time.monotonic()
    town.gt("nudge", "demo/witness", "look at rust")
    assert time.monotonic() - began < 30
    wait_for(lambda: typed() > before, 30, "the line")
    done = town.gt("deacon", "health-check", "demo/witness", check=False)
    assert done.returncode == 0, done
    assert "respond" in done.stdout + done.stderr
    assert "no response" not in (done.stdout + done.stderr).lower()


@seated
def test_the_seat_comes_back(town, watch, seat):
    wait_for(watch.daemon, 60, "the daemon in the seat")
    first = watch.daemon()
    town.start_daemon("20s")
    one = kit.process(seat)
    assert one
    os.kill(one.pid, 9)

    def again() -> int:
        pid = town.panes().get(town.session("witness"), (0,))[0]
        return pid if pid not in (0, seat) else 0

    wait_for(again, 120, "another seat")
    wait_for(lambda: watch.daemon() not in (None, first), 60, "another daemon")
    wait_for(lambda: not kit.is_alive(first), 30, "the end of the first daemon")
    issue = town.create("One")
    watch.settled(issue)
