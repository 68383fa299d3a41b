"""One queue, many hosts: N Witnesses, claims raced, daemons killed, the server away and back."""

from __future__ import annotations

import json
import random
import time

import pytest
from tools import beads
from tools.fleet import Fleet
from tools.kit import wait_for

import witness as w

HOSTS, ISSUES = 4, 200


@pytest.fixture
def fleet(tmp, witness, server, program, origin, clones):
    """Make fleets: fleet(hosts, **settings)."""

    def make(hosts: int, ways=("push", "close"), **settings) -> Fleet:
        made = Fleet(tmp, witness, **settings)
        for number in range(hosts):
            rig = clones(origin.path, f"h{number}")
            beads.connect(rig.path, server)
            made.add(rig, ways[number % len(ways)])
        return made

    return make


def fill(server, number: int) -> list[str]:
    """File so many issues in one step."""
    server.add("de-0")
    first = server.read()["de-0"]
    ids = [f"de-{place}" for place in range(number)]
    server.write({one: {**first, "id": one, "number": place, "title": one} for place, one in enumerate(ids)})
    return ids


def is_done(server) -> bool:
    return all(issue["status"] == "closed" for issue in server.read().values())


@pytest.mark.slow
def test_two_hundred_issues_on_four_hosts_are_each_done_once(fleet, server, capsys):
    """Daemons are killed at random and started again, the server goes away twice; nothing is done twice or lost."""
    ids, hosts = fill(server, ISSUES), fleet(HOSTS, max_workers=2)
    chance, kills, away = random.Random(7), 0, 0
    for rig in hosts.hosts:
        hosts.start(rig)
    started, deadline = time.monotonic(), time.monotonic() + 25 * 60
    next_kill, next_away = started + 5, started + 15
    while not is_done(server):
        assert time.monotonic() < deadline, {one: server.state(one) for one in ids if server.state(one)[0] != "closed"}
        now = time.monotonic()
        if now > next_kill:
            rig = chance.choice(hosts.hosts)
            kills += hosts.kill(rig)
            time.sleep(chance.random())
            hosts.start(rig)
            next_kill = time.monotonic() + 4 + 8 * chance.random()
        if now > next_away and away < 3:
            server.take_down()
            time.sleep(3)
            server.bring_back()
            away += 1
            next_away = time.monotonic() + 25
        time.sleep(0.3)
    lasted_s = time.monotonic() - started
    # A daemon that was just started knows of nobody before its first look.
    wait_for(lambda: all(hosts.status(rig).get("polecats") == [] for rig in hosts.hosts), 600, "the last retirements")
    began = hosts.began()
    assert sorted(began) == sorted(ids)
    assert [issue for issue, times in began.items() if times != 1] == []
    lost = [issue for issue in ids if not hosts.work_of(issue)]
    assert lost == []
    calls = server.calls()
    lost_races = sum(call["status"] == 1 and "--claim" in call["argv"] for call in calls)
    with capsys.disabled():
        print(
            f"\nfleet: {HOSTS} hosts, {ISSUES} issues, {sum(began.values())} workers began, {kills} daemons killed, "
            f"server away {away} times, {lost_races} claims lost to another, {len(calls)} calls of bd, "
            f"{lasted_s:.0f} s: "
            f"{sum(times != 1 for times in began.values())} done twice, {len(lost)} lost, all closed"
        )
    assert kills >= 5
    assert away >= 1
    share = [
        len({line.split()[0] for line in hosts.log.read_text().splitlines() if str(rig.path) in line})
        for rig in hosts.hosts
    ]
    assert min(share) > 0, share


def test_host_whose_state_folder_was_cloned_is_another(fleet, server, clones, origin):
    """Two hosts that call themselves alike would both win a claim since bd 0.63."""
    hosts = fleet(2)
    one, other = hosts.hosts
    assert hosts.call(one, "status").status == 3
    hosts.call(one, "issues")
    first = (one.state / "witness.id").read_text()
    (other.state / "witness.id").write_text(first)
    hosts.call(other, "issues")
    assert json.loads(first)["id"] != json.loads((other.state / "witness.id").read_text())["id"]


def test_daemon_killed_between_claim_and_spawn_gives_it_back(fleet, server):
    """The claim took effect, and nothing was started for it."""
    hosts = fleet(2)
    rig, other = hosts.hosts
    fill(server, 1)
    hosts.call(rig, "issues")
    actor = f"demo/witness@{json.loads((rig.state / 'witness.id').read_text())['id']}"
    claims = rig.state / "claims"
    claims.mkdir(mode=0o700)
    claim = w.Claim(issue="de-0", actor=actor, at=time.time(), name="de-0", branch="polecat/de-0")
    (claims / "de-0.json").write_text(json.dumps(w.dump_value(claim)))
    server.change("de-0", status="in_progress", assignee=actor)
    hosts.start(rig)
    wait_for(lambda: server.state("de-0") == ("open", ""), 120, "the release")
    hosts.start(other)
    wait_for(lambda: is_done(server), 240, "the work on the other host")
    assert hosts.began() == {"de-0": 1}


def test_server_away_leaves_workers_alone_and_says_since_when(fleet, server, wait_for):
    hosts = fleet(1, ways=("keep",), max_workers=1)
    (rig,) = hosts.hosts
    fill(server, 3)
    hosts.start(rig)
    wait_for(hosts.began, 120, "the first worker")
    wait_for(lambda: server.read()["de-0"]["labels"], 240, "the hand-over")
    server.take_down("10.0.0.9:3307")
    wait_for(lambda: hosts.status(rig)["ports"]["queue"]["state"] == "degraded", 120, "the trouble")
    began = hosts.began()
    time.sleep(4)
    text = hosts.call(rig, "status").stdout
    assert "10.0.0.9:3307" in text
    assert hosts.status(rig)["ports"]["queue"]["since_at"]
    assert hosts.call(rig, "doctor", "--quick").status == 1
    assert sum(hosts.began().values()) - sum(began.values()) <= 1  # one may have been on its way
    server.bring_back()
    wait_for(lambda: len(hosts.began()) == 3, 300, "the rest")
    assert set(hosts.began().values()) == {1}


def test_person_works_on_the_queue_without_a_daemon(fleet, server):
    """spawn, explain, issues, add, close and spawn reset, each against the database as it is."""
    hosts = fleet(1, ways=("keep",), labels=["wanted"])
    (rig,) = hosts.hosts
    server.add("de-1")
    server.add("de-2", status="in_progress", assignee="demo/witness@other-0123456789ab")
    server.add("de-3", links=[("blocks", "de-1")])

    def ask(*words, status=0):
        done = hosts.call(rig, *words, "--json")
        assert done.status == status, done
        return json.loads(done.stdout)

    rows = {row["id"]: row["reason"] for row in ask("issues")["issues"]}
    assert rows["de-1"] == "it lacks the label wanted (labels)"
    assert rows["de-2"] == "its status is in_progress, with demo/witness@other-0123456789ab"
    assert "de-3" not in rows
    (row,) = ask("spawn", "de-3", status=1)["issues"]
    assert row["reason"] == "its status is open, but not ready"
    (row,) = ask("spawn", "de-2", status=1)["issues"]
    assert row["result"] == "not spawned"
    (row,) = ask("spawn", "de-nope", status=1)["issues"]
    assert row["reason"] == "no such issue"
    (row,) = ask("spawn", "de-1")["issues"]  # filters do not count for a person
    assert (row["result"], row["polecat"]) == ("spawned", "de-1")
    assert server.state("de-1")[0] == "in_progress"
    assert "worked on by de-1" in json.dumps(ask("explain", "de-1"))
    assert ask("spawn", "reset", "de-1", status=1)["issues"][0]["result"] == "refused"
    wait_for(lambda: list((rig.state / "mail" / "demo.witness" / "new").glob("*")), 120, "the wish to be retired")
    assert hosts.call(rig, "shutdown", "de-1").status == 0
    assert server.read()["de-1"]["labels"] == [w.HANDED_OVER_LABEL]
    (row,) = ask("spawn", "reset", "de-1")["issues"]
    assert (row["result"], row["reason"], server.state("de-1")) == ("reset", None, ("open", ""))
    assert server.read()["de-1"]["labels"] == []
    assert "use `bd create`" in hosts.call(rig, "add", "x").stderr
    assert "use `bd close de-1`" in hosts.call(rig, "close", "de-1").stderr


def test_orphan_is_told_and_freed_after_the_time_that_was_set(fleet, server, wait_for):
    hosts = fleet(1, ways=("keep",), release_orphans_after=1)
    (rig,) = hosts.hosts
    hosts.call(rig, "issues")
    actor = f"demo/witness@{json.loads((rig.state / 'witness.id').read_text())['id']}"
    server.add("de-1", status="in_progress", assignee=actor)
    server.add("de-2", status="in_progress", assignee="demo/witness@other-0123456789ab")
    hosts.start(rig)
    wait_for(hosts.began, 300, "a worker for what was freed")
    assert hosts.began() == {"de-1": 1}
    assert server.state("de-2") == ("in_progress", "demo/witness@other-0123456789ab")
    told = hosts.call(rig, "events").stdout
    assert f"Issue de-1 is in progress for {actor}, and nothing here works on it" in told
    assert "released" in told
