"""Why a worker or an issue is where it is, as data: true to what `decide` saw, and to the same rules."""

from __future__ import annotations

import pytest
from tools.simulation import DIRT, MIN, World, make_claim

import witness as w
from witness import Blocker


def explained(world: World, name: str, blockers=(), history=()) -> dict:
    seen = world.observe(world.memory)
    return w.explain_polecat(
        name, seen, w.decide(seen, world.memory, world.config), world.config, blockers, list(history)
    )


def explained_issue(world: World, issue: str) -> dict:
    seen = world.observe(world.memory)
    decision = w.decide(seen, world.memory, world.config)
    return w.explain_issue(world.issues[issue], seen, decision, world.config, [])


def values(data: dict) -> dict:
    return {one["name"]: one["value"] for one in data["signals"]}


def test_the_rule_that_decided_is_the_first_that_fits_and_the_verdict():
    world = World()
    world.add("alpha")
    world.holds["alpha"] = "mine"
    world.wait(40 * MIN)
    data = explained(world, "alpha")
    fits = [one["name"] for one in data["rules"] if one["fits"]]
    assert (data["verdict"], data["why"], fits[0]) == ("held", "on hold: mine", "held")
    assert [one["name"] for one in data["rules"]] == [state for state, _ in w.HEALTH_RULES]
    shadowed = [one["why"] for one in data["rules"] if one["fits"]][1:]
    assert shadowed
    assert all(why.startswith("would fit, but held comes first: ") for why in shadowed)


def test_an_open_episode_is_told_with_its_nudge_its_escalation_and_what_is_next():
    world = World()
    world.add("alpha")
    world.wait(35 * MIN)
    data = explained(world, "alpha")
    assert data["verdict"] == "stuck"
    assert data["episode"]["quiet_from_at"] == w.rfc3339(world.workers["alpha"].born_at)
    assert (data["next"]["action"], bool(data["next"]["due_at"])) == ("escalate", True)
    assert values(data)["nudge"] == "delivered to the pane"
    world.wait(30 * MIN)
    data = explained(world, "alpha")
    assert data["next"]["action"] == "wait for a person"
    assert values(data)["escalation"].startswith("stuck: Polecat alpha has made no progress")


def test_a_request_is_told_with_its_looks_and_blockers():
    world = World()
    world.add("alpha").blockers = (DIRT,)
    world.wait(MIN)
    world.ask("alpha")
    world.wait(MIN)
    blocker = Blocker(kind="modified", evidence="a.txt", remedy="git commit -a")
    data = explained(world, "alpha", (blocker,), [{"kind": "requested"}])
    assert data["verdict"] == "requested"
    assert values(data)["shutdown asked"] == "by demo/alpha, refused 1 times"
    assert data["blockers"] == [blocker.fields()]
    assert data["history"] == [{"kind": "requested"}]


def test_a_worker_without_a_session_is_told_by_its_process():
    world = World()
    world.add("alpha")
    world.wait(MIN)
    world.lose_socket()
    assert values(explained(world, "alpha"))["process"].endswith(" lives")
    world.workers["alpha"].end()
    data = explained(world, "alpha")
    assert values(data)["process"].endswith(" has ended")
    assert values(data)["session"] == "absent"
    assert data["attach"] is None


def test_a_halt_is_told_beside_what_would_come():
    world = World()
    world.add("alpha")
    world.paused = "a talk"
    world.wait(MIN)
    assert explained(world, "alpha")["halted"] == "paused: a talk"


@pytest.mark.parametrize(
    ("change", "verdict", "why", "rule"),
    [
        (lambda world: None, "spawnable", "", None),
        (lambda world: world.queue("de-1", assignee="ann"), "not spawnable", "assigned to ann", "ready"),
        (lambda world: world.queue("de-1", type="epic"), "not spawnable", "its type is epic (skip_types)", "filters"),
        (
            lambda world: world.claims.update({"de-1": make_claim("de-1", name="de-1")}),
            "not spawnable",
            "worked on by de-1, which is gone; `spawn reset de-1` frees it",
            "attended",
        ),
        (lambda world: world.failing.update(git="hangs"), "not spawnable", "git is unknown: hangs", "host"),
    ],
)
def test_an_issue_is_told_with_the_first_reason(change, verdict, why, rule):
    world = World(auto_spawn=True)
    world.queue("de-1")
    change(world)
    data = explained_issue(world, "de-1")
    assert (data["verdict"], data["why"]) == (verdict, why)
    assert [one["name"] for one in data["rules"]] == ["ready", "filters", "attended", "host"]
    assert next((one["name"] for one in data["rules"] if one["fits"]), None) == rule


def test_an_issue_that_failed_is_told_with_attempts_and_back_off():
    world = World(auto_spawn=True)
    world.queue("de-1")
    world.tick()
    world.tick()
    world.end_child(False, "no such command", worktree=False, session=False)
    world.tick()
    data = explained_issue(world, "de-1")
    assert values(data)["attempts"] == "1 of 3 (no such command)"
    assert data["next"]["action"] == "spawn again"
    assert data["why"].startswith("after a failure it waits")


def test_a_hand_over_is_told_with_branch_and_ref():
    world = World(auto_spawn=True)
    world.queue("de-1")
    claim = make_claim("de-1", "handed-over", name="beta", branch="polecat/beta", ref="refs/witness/retired/beta/x")
    world.claims["de-1"] = claim
    assert values(explained_issue(world, "de-1"))["handed over"] == "branch polecat/beta, refs/witness/retired/beta/x"


def test_a_retired_worker_is_told_newest_first():
    row = {"name": "alpha", "issue": "de-1", "at": "2025-01-01T00:00:00.000Z", "commit": "c0ffee" * 6, "branch": None}
    rows = [{**row, "ref": "refs/witness/retired/alpha/2"}, {**row, "ref": "refs/witness/retired/alpha/1"}]
    data = w.explain_retired(rows, [])
    assert (data["kind"], data["verdict"], data["why"]) == ("retired", "retired", "`recover alpha` brings it back")
    assert [one["value"].split()[0] for one in data["signals"]] == [one["ref"] for one in rows]
    assert data["signals"][0]["at"] == row["at"]
