"""The real `bd` on the PATH, with a real Dolt server where its version needs one: what the stand-in only claims."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import test_readme
from tools import kit, realbd
from tools.fleet import SHIPPER, Fleet
from tools.kit import ENVIRONMENT, wait_for

import witness as w

pytestmark = [pytest.mark.real, pytest.mark.slow]
VERSION = realbd.bd_version()
DIALECT = w.choose_dialect("bd", VERSION or w.NEWEST_BD)[0]
RACES = int(ENVIRONMENT.get("WITNESS_REAL_RACES") or 250)  # issues, each claimed by four at once: 1,000 claims


@pytest.fixture(scope="module", autouse=True)
def needed():
    missing = realbd.find_missing()
    if missing:
        pytest.skip(f"{missing} is not on the PATH")


@pytest.fixture
def queue(tmp):
    made = realbd.Queue(tmp)
    yield made
    made.close()


@pytest.fixture
def host(clones, origin, queue):
    """Return a rig whose database is new."""
    rig = clones(origin.path, "h0")
    queue.join(rig.path)
    return rig


def beads_queue(rig, actor="demo/witness@real-1", **settings) -> w.BeadsQueue:
    found = w.find_rig(w.Host(), str(rig.path), {}, "/")
    if not os.path.isdir(found.state):
        os.mkdir(found.state, 0o700)
    config = w.make_config({"tool_timeout": 30, **settings}, "test", {})
    return w.BeadsQueue(w.Host(), found, config, actor, ("beads", "test"))


def look(queue, wanted=(), asked=None) -> dict:
    issues, bad, port = queue.read_issues(wanted, asked)
    assert issues is not None, port
    assert not bad
    return {issue.id: issue for issue in issues}


def claim(issue: str, actor="demo/witness@real-1", **fields) -> w.Claim:
    return w.Claim(issue=issue, actor=actor, at=5.0, name=issue, **fields)


def test_backend_is_found_on_disk(host):
    found = w.find_rig(w.Host(), str(host.path), {}, "/")
    assert w.find_backend(w.Host(), found, w.make_config({}, "test", {}))[0] == "beads"


def test_what_is_ready(host, queue):
    zero = queue.create("Zero", "-p", "0")
    plain = [queue.create(f"plain {number}") for number in range(110)]
    epic = queue.create("Epic", "-t", "epic")
    assigned = queue.create("Assigned", "--assignee", "someone")
    wip = queue.create("Wip")
    blocked, labelled = queue.create("Blocked"), queue.create("Identity", "-l", "gt:rig")
    queue.bd("dep", "add", blocked, plain[0])
    queue.bd("update", wip, "--status", "in_progress")
    seen = beads_queue(host)
    issues = look(seen)
    ready = [issue.id for issue in w.list_ready(issues.values(), time.time())]
    assert ready[0] == zero
    assert set(ready) == {zero, *plain, epic, assigned, labelled}
    assert (issues[zero].priority, issues[assigned].assignee, issues[wip].status) == (0, "someone", "in_progress")
    config = w.make_config({}, "test", {})
    free = [one for one in ready if not w.why_filtered(issues[one], config, issues)]
    assert set(free) == {zero, *plain, assigned}
    shown = look(beads_queue(host), (), (blocked, "de-nope"))
    assert shown[blocked].status == w.NOT_READY
    assert "de-nope" not in shown


def test_issues_that_are_gone_among_those_that_are_not(host, queue):
    one, other = queue.create("One"), queue.create("Other")
    queue.bd("close", one, "--reason", "done")
    issues = look(beads_queue(host), (one, "de-nope", other))
    assert {key: issue.status for key, issue in issues.items()} == {
        one: "closed",
        "de-nope": "tombstone",
        other: "open",
    }


def test_children_of_an_epic_at_any_depth(host, queue):
    epic, sub = queue.create("Epic", "-t", "epic"), queue.create("Sub", "-t", "epic")
    child, deep, other = queue.create("Child"), queue.create("Deep"), queue.create("Other")
    for one, above in ((sub, epic), (child, epic), (deep, sub)):
        queue.bd("dep", "add", one, above, "--type", "parent-child")
    for asked in (None, ()):
        issues = look(beads_queue(host, epic_id=epic), (), asked)
        below = {key for key, issue in issues.items() if issue.parents}
        assert below == {sub, child, deep}
    assert other in issues
    issues, _, port = beads_queue(host, epic_id="de-nope").read_issues()
    assert not [one for one in issues or () if one.parents], port


def test_life_of_a_claim(host, queue):
    issue = queue.create("One")
    seen, other = beads_queue(host), "demo/witness@real-2"
    assert seen.claim(claim(issue)) == ("", "")
    assert queue.state(issue) == ("in_progress", "demo/witness@real-1")
    assert look(seen)[issue].status == "in_progress"
    second = beads_queue(host, other)
    second.claims.folder += "-2"
    assert second.claim(claim(issue, other)) == ("lost", "somebody: its status is in_progress")
    seen.hand_over(claim(issue, state="working"))
    assert w.HANDED_OVER_LABEL in queue.show(issue)["labels"]
    seen.release(claim(issue, state="handed-over"))
    assert queue.state(issue) == ("open", "")
    assert "labels" not in queue.show(issue)
    assert seen.claim(claim(issue)) == ("", "")
    seen.finish(claim(issue, state="working", ref="refs/witness/retired/x/1"))
    assert queue.state(issue)[0] == "closed"
    before = queue.show(issue)["updated_at"]
    assert seen.claim(claim(issue))[0] == "lost"
    assert (queue.state(issue)[0], queue.show(issue)["updated_at"]) == ("closed", before)
    queue.bd("reopen", issue)
    assert look(seen)[issue].assignee == ""
    assert seen.claim(claim(issue)) == ("", "")
    queue.bd("update", issue, "--status", "open")
    seen.keep(claim(issue, state="working"))
    assert queue.state(issue) == ("in_progress", "demo/witness@real-1")


def test_looking_leaves_no_trace(host, queue, origin):
    """No commit, no push, no process: bd 0.57 pushes a backup after whatever it is asked, 0.47 leaves a daemon."""
    queue.create("One")
    head, there = host.git("rev-parse", "HEAD"), origin.git("rev-parse", "main")
    seen = beads_queue(host)
    look(seen, ("de-nope",))
    seen.claim(claim(next(iter(look(seen)))))
    assert (host.git("rev-parse", "HEAD"), origin.git("rev-parse", "main")) == (head, there)
    left = subprocess.run(["pgrep", "-af", str(host.path)], capture_output=True, text=True, check=False).stdout
    assert " bd" not in left


def test_server_that_goes_away_and_comes_back(host, queue):
    if queue.dolt is None:
        pytest.skip("this bd has no server")
    issue = queue.create("One")
    seen = beads_queue(host)
    assert list(look(seen)) == [issue]
    queue.dolt.stop()
    issues, _, port = seen.read_issues()
    assert (issues, port.state) == (None, w.UNKNOWN)
    assert "failed to open database" in port.reason or "unreachable" in port.reason, port
    with pytest.raises(w.ToolError):
        seen.claim(claim(issue))
    assert seen.claims.read()[issue].owed == "release"
    queue.dolt.start()
    assert list(look(seen)) == [issue]
    seen.settle(seen.claims.read()[issue])
    assert queue.state(issue) == ("open", "")
    assert seen.claim(claim(issue)) == ("", "")


def test_damaged_database_is_unknown(host, queue):
    if queue.dolt is not None:
        pytest.skip("its database is the server's")
    queue.create("One")
    for path in (host.path / ".beads").glob("*.db*"):
        path.write_bytes(b"no database" * 100)
    issues, _, port = beads_queue(host).read_issues()
    assert (issues, port.state) == (None, w.UNKNOWN)


CLAIM = """
import sys, json
sys.path.insert(0, sys.argv[1])
import witness as w
path, state, actor, issues = sys.argv[2], sys.argv[3], sys.argv[4], json.loads(sys.stdin.read())
rig = w.Rig(name="demo", path=path, state=state, base=path, common="", polecats=path + "/p")
queue = w.BeadsQueue(w.Host(), rig, w.make_config({"tool_timeout": 60}, "t", {}), actor, ("beads", "t"))
won = []
for issue in issues:
    try:
        if queue.claim(w.Claim(issue=issue, actor=actor, at=5.0, name=issue)) == ("", ""):
            won.append(issue)
    except w.ToolError as error:
        print(error.line(), file=sys.stderr)
print(json.dumps(won))
"""


def test_raced_claims_have_one_winner_each(host, queue, tmp, pytestconfig, capsys):
    if not DIALECT.exclusive:
        pytest.skip("before bd 0.57 two may win: one Witness a queue, as doctor says")
    issues = [queue.create(f"race {number}") for number in range(RACES)]

    def race(number: int):
        state = tmp / f"state-{number}"
        state.mkdir()
        words = [sys.executable, "-c", CLAIM, pytestconfig.rootpath, host.path, state, f"demo/witness@real-{number}"]
        text = json.dumps(issues)
        done = subprocess.run([*map(str, words)], input=text, capture_output=True, text=True, timeout=3600, check=True)
        return json.loads(done.stdout), done.stderr.count("\n")

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(race, range(4)))
    won = [issue for mine, _ in answers for issue in mine]
    unsure = sum(count for _, count in answers)
    with capsys.disabled():
        print(
            f"\n{4 * RACES} raced claims on {RACES} issues: {len(won)} won, {unsure} unsure, "
            f"{time.monotonic() - began:.0f} s"
        )
    assert len(won) == len(set(won))
    for number, (mine, _) in enumerate(answers):
        for issue in mine:
            assert queue.state(issue) == ("in_progress", f"demo/witness@real-{number}")
    assert unsure or set(won) == set(issues)


def test_fleet_of_the_readme(tmp, pyz, origin, clones):
    """Its own lines, for the host that keeps the queue and for another; only names, port and password differ."""
    if not DIALECT.exclusive:
        pytest.skip("a fleet needs bd 0.57 or newer")
    fleet_lines, who = test_readme.OF_BEADS
    once, every = re.split(r"^# on every host.*\n", fleet_lines, flags=re.MULTILINE)
    assert len(fleet_lines.splitlines()) == 10
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    bare = tmp / "shop.git"
    origin.git("clone", "--quiet", "--bare", origin.path, bare)
    log, tools = tmp / "began.log", tmp / "bin"
    tools.mkdir()
    (tools / "claude").write_text(f"#!/bin/sh\nexec {SHIPPER} {log} push\n")
    (tools / "claude").chmod(0o755)

    def script(text: str, home) -> None:
        for old, new in {"0.0.0.0": "127.0.0.1", "db.example": "127.0.0.1", "3307": port}.items():
            text = text.replace(old, new)
        text = text.replace("git@git.example:shop.git", str(bare))
        env = {"HOME": str(home), "PATH": f"{tools}:{os.environ['PATH']}", "WITNESS_INTERVAL": "1"}
        env.update(WITNESS_TMUX_SOCKET=homes[home].tmux.socket, DOLT_DISABLE_EVENT_FLUSH="1", BEADS_NO_DAEMON="1")
        calm = {"WITNESS_MIN_FREE_DISK": "0", "WITNESS_MIN_FREE_MEMORY": "0", "WITNESS_MAX_LOAD_PER_CORE": "0"}
        with open(home / "said", "ab") as said:
            done = subprocess.run(
                ["bash", "-euc", text], env={**os.environ, **env, **calm}, cwd=home, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, timeout=120, check=False,
            )  # fmt: skip
        assert done.returncode in (0, 1), (home / "said").read_text()

    homes = {}
    for name in ("a", "b"):
        home = tmp / name
        (home / "queue").mkdir(parents=True)
        (home / "witness.pyz").symlink_to(pyz)
        shutil.copy(os.environ["GIT_CONFIG_GLOBAL"], home / ".gitconfig")
        homes[home] = clones(origin.path, f"rig-{name}")  # for its tmux server and its end
        homes[home].path = home / "src" / "shop"
    first = next(iter(homes))
    origin.git("clone", "--quiet", bare, first / "src" / "shop")
    try:
        # The server of the first line goes on behind the script, as it would behind a person's shell.
        script(once.replace("&\n", f"& echo $! > {tmp}/dolt.pid; sleep 4\n", 1), first)
        issues = []
        for number in range(4):
            done = realbd.run("bd", "create", f"work {number}", "-d", "x", "--json", cwd=first / "src" / "shop")
            issues.append(json.loads(done.stdout[done.stdout.index("{") :])["id"])
        shutil.rmtree(first / "src" / "shop")
        for home in homes:
            script(every, home)
        wait_for(lambda: log.exists() and len(log.read_text().splitlines()) == 4, 120, "the work")

        def states():
            out = realbd.run("bd", "show", *issues, "--json", cwd=first / "src" / "shop").stdout
            return {one["status"] for one in json.loads(out)}

        wait_for(lambda: states() == {"closed"}, 120, "the end of the work")
        assert sorted(line.split()[0] for line in log.read_text().splitlines()) == sorted(issues)
        script("cd src/shop\n" + who.replace("shop-a1b", issues[0]), first)
    finally:
        for rig in homes.values():
            rig.stop_daemon()
        kit.end(*kit.tree(int((tmp / "dolt.pid").read_text())))


def test_two_hosts_do_every_issue_once(tmp, witness, clones, origin, queue):
    """The built archive, from `start` to the last closed issue; one host where claims are not exclusive."""
    fleet = Fleet(tmp, witness, tool_timeout=30, max_workers=2)
    for number, how in enumerate(("push", "close") if DIALECT.exclusive else ("push",)):
        rig = clones(origin.path, f"h{number}")
        queue.join(rig.path)
        fleet.add(rig, how)
    issues = [queue.create(f"work {number}") for number in range(6)]
    for rig in fleet.hosts:
        fleet.start(rig)
    deadline = time.monotonic() + 300
    while any(queue.state(issue)[0] != "closed" for issue in issues):
        assert time.monotonic() < deadline, [queue.state(issue) for issue in issues]
        time.sleep(1)
    assert fleet.began() == dict.fromkeys(issues, 1)
    assert all(fleet.work_of(issue) for issue in issues)
    for rig in fleet.hosts:
        doctor = json.loads(fleet.call(rig, "doctor", "--quick", "--json", timeout=120).stdout)
        found = {row["name"]: row for row in doctor["findings"]}
        assert found["queue"]["ok"], found["queue"]
        assert ".".join(map(str, VERSION)) in found["queue"]["detail"]
        assert fleet.call(rig, "stop").status == 0
