"""Which issue gets a worker, when, and what its failures mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.simulation import (
    ACTOR,
    HOUR,
    MIN,
    T0,
    Worker,
    World,
    make_claim,
    make_draft,
    make_issue,
    make_seen,
    make_sighting,
    make_tree,
    of,
    settings,
    words,
)

from witness import (
    ABSENT,
    SPAWN_ATTEMPTS,
    UNKNOWN,
    Claim,
    Effort,
    EndSpawn,
    Load,
    Memory,
    Outcome,
    Port,
    Retirement,
    Sighting,
    Spawn,
    SpawnSight,
    StartSpawn,
    Town,
    Track,
    Verdict,
    mark_of,
    rfc3339,
    settle_spawn,
    settle_unsettled,
    spawn_due,
    why_attended,
    why_filtered,
    why_no_spawn,
    why_not_ready,
    why_not_spawnable,
)

OTHER = "other/witness@ffffffffffff"


def spawning_world(*issues: str, **config) -> World:
    """Return a world that spawns, with these issues ready; the daemon has done its first tick."""
    world = World(**{"auto_spawn": True, **config})
    world.round()
    world.queue(*(issues or ("de-1",)))
    return world


def started(world: World) -> list[str]:
    return [action.subject for action in of(world.done, StartSpawn)]


# ---- why an issue is no work, is filtered, is attended --------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, "", id="ready"),
        pytest.param({"status": "in_progress"}, "its status is in_progress", id="status"),
        pytest.param({"status": "closed"}, "its status is closed", id="closed"),
        pytest.param({"blocked_by": ("de-2",)}, "blocked by de-2", id="blocked"),
        pytest.param({"blocked_by": ("de-3",)}, "", id="blocker-closed"),
        pytest.param({"blocked_by": ("de-9",)}, "blocked by de-9, which is not in the queue", id="blocker-unknown"),
        pytest.param({"parents": ("de-4",)}, "blocked by de-2", id="parent-blocked"),
        pytest.param({"deferred_until": rfc3339(T0 + 1)}, "deferred until 2025-06-15T15:06:41.000Z", id="deferred"),
        pytest.param({"deferred_until": rfc3339(T0)}, "", id="deferred-till-now"),
        pytest.param({"deferred_until": "soon"}, "deferred until soon", id="deferred-nobody-knows-how-long"),
        pytest.param({"assignee": "tess"}, "assigned to tess", id="assigned"),
    ],
)
def test_why_an_issue_is_not_ready(changes, expected):
    others = (make_issue("de-2"), make_issue("de-3", status="closed"), make_issue("de-4", blocked_by=("de-2",)))
    issue = make_issue(**changes)
    assert why_not_ready(issue, T0, {one.id: one for one in (issue, *others)}) == expected


@pytest.mark.parametrize(
    ("changes", "config", "expected"),
    [
        pytest.param({}, {}, "", id="task"),
        pytest.param({"type": "bug"}, {}, "", id="bug"),
        pytest.param({"type": "shape-of-things"}, {}, "", id="a-type-of-ones-own"),
        *(
            pytest.param({"type": kind}, {}, f"its type is {kind} (skip_types)", id=kind)
            for kind in "epic message merge-request gate molecule agent role rig convoy slot escalation".split()
        ),
        pytest.param({"type": "epic"}, {"skip_types": ()}, "", id="nothing-skipped"),
        pytest.param({"labels": ("x", "gt:rig")}, {}, "its label gt:rig marks it as no work", id="gt-label"),
        pytest.param({"aside": "pinned"}, {}, "it is pinned", id="aside"),
        pytest.param({}, {"issue_prefix": "de-"}, "", id="prefix"),
        pytest.param({}, {"issue_prefix": "fe-"}, "its id does not begin with fe- (issue_prefix)", id="another-prefix"),
        pytest.param({"labels": ("a", "b")}, {"labels": ("a", "b")}, "", id="labels"),
        pytest.param({"labels": ("a",)}, {"labels": ("a", "b")}, "it lacks the label b (labels)", id="a-label-missing"),
        pytest.param({"parents": ("ep-2",)}, {"epic_id": "ep-1"}, "", id="grandchild-of-the-epic"),
        pytest.param({}, {"epic_id": "ep-1"}, "it is no child of ep-1 (epic_id)", id="no-child-of-the-epic"),
        pytest.param({"id": "ep-1"}, {"epic_id": "ep-1"}, "it is no child of ep-1 (epic_id)", id="the-epic-itself"),
    ],
)
def test_why_an_issue_is_filtered(changes, config, expected):
    issue = make_issue(**changes)
    others = (make_issue("ep-1"), make_issue("ep-2", parents=("ep-1",)))
    by_id = {one.id: one for one in (*others, issue)}
    assert why_filtered(issue, settings(**config), by_id) == expected


def named(name: str, **tree) -> dict:
    return {name: Sighting(name=name, worktree=make_tree(name, **tree), session=ABSENT)}


@pytest.mark.parametrize(
    ("claim", "there", "memory", "expected"),
    [
        pytest.param(None, {}, {}, "", id="unattended"),
        pytest.param(make_claim(), named("de-1"), {}, "worked on by de-1", id="working"),
        pytest.param(make_claim(state="claimed"), named("de-1"), {}, "worked on by de-1", id="being-spawned"),
        pytest.param(make_claim(), {}, {}, "worked on by de-1, which is gone; `spawn reset de-1` frees it", id="gone"),
        pytest.param(
            make_claim(name="", actor=OTHER),
            {},
            {},
            f"worked on by {OTHER}, which is gone; `spawn reset de-1` frees it",
            id="another-hosts",
        ),
        pytest.param(
            make_claim(state="handed-over"),
            {},
            {},
            "handed over by de-1: polecat/de-1 waits to be merged; `spawn reset` frees it",
            id="handed-over",
        ),
        pytest.param(
            make_claim(state="failed", actor=OTHER), {}, {}, f"claimed by {OTHER}", id="failed-but-another-hosts"
        ),
        pytest.param(make_claim(state="failed"), named("de-1"), {}, "", id="residue-of-a-failed-attempt"),
        pytest.param(
            make_claim(state="failed"), named("de-1", record={"issue": "de-1"}), {}, "", id="residue-with-record"
        ),
        pytest.param(make_claim(state="released"), {}, {}, "", id="released"),
        pytest.param(make_claim(state="closed"), {}, {}, "", id="closed-and-reopened"),
        pytest.param(
            None,
            {},
            {"issues": {"de-1": Effort(attempts=3, error="no")}},
            "failed 3 times (no); `spawn reset de-1` tries again",
            id="given-up",
        ),
        pytest.param(
            None,
            {},
            {"issues": {"de-1": Effort(attempts=1, next_at=T0 + 90, error="no")}},
            "after a failure it waits 1m more (no)",
            id="waits-after-a-failure",
        ),
        pytest.param(None, {}, {"issues": {"de-1": Effort(attempts=2, next_at=T0, error="no")}}, "", id="waited"),
        pytest.param(None, named("de-1"), {}, "a worktree of its name is there: de-1", id="worktree"),
        pytest.param(None, named("de-1-2"), {}, "a worktree of its name is there: de-1-2", id="second-worktree"),
        pytest.param(None, named("other", branch="polecat/other/de-1@mx"), {}, "other works on it", id="branch"),
        pytest.param(None, named("other", branch="polecat/other/de-12@mx"), {}, "", id="branch-of-another-issue"),
        pytest.param(
            None, named("other", record={"issue": "de-1"}), {}, "other works on it", id="hand-made-by-its-record"
        ),
        pytest.param(make_claim(state="released"), named("de-1"), {}, "", id="residue-after-a-reset"),
        pytest.param(
            make_claim(state="released"),
            named("de-1", branch="mine"),
            {},
            "a worktree of its name is there: de-1",
            id="released-and-another-there",
        ),
        pytest.param(
            None,
            {},
            {"retirements": {"x": Retirement(name="x", id="x/1", at=T0, issue="de-1")}},
            "x, who had it, is being retired",
            id="being-retired",
        ),
        pytest.param(
            None,
            {},
            {"retirements": {"de-1-2": Retirement(name="de-1-2", id="de-1-2/x", at=T0)}},
            "de-1-2, who had it, is being retired",
            id="being-retired-claims-lost",
        ),
    ],
)
def test_why_an_issue_is_attended(claim, there, memory, expected):
    seen = make_seen(claims={"de-1": claim} if claim else {}, sightings=there)
    assert why_attended(make_issue(), make_draft(seen, Memory(**memory))) == expected


def test_reason_names_the_session_of_a_worker_that_lives_without_its_worktree():
    """To set its issue free, as the reason once told, made a second worker beside it."""
    draft = make_draft(make_seen(claims={"de-1": make_claim()}, sessions=frozenset({"gt-demo-de-1"})))
    assert (
        why_attended(make_issue(), draft)
        == "worked on by de-1, which lives in session gt-demo-de-1 without its worktree; end that first"
    )


def test_a_worktree_whose_name_only_looks_alike_belongs_to_its_own_issue():
    claims = {"de-1.2": make_claim("de-1.2", name="de-1-2")}
    draft = make_draft(make_seen(claims=claims, sightings=named("de-1-2")))
    assert why_attended(make_issue("de-1"), draft) == ""


def test_the_first_reason_counts_readiness_then_filters_then_attendance():
    draft = make_draft(make_seen(claims={"de-1": make_claim()}))
    for changes, expected in (
        ({"status": "x", "type": "epic"}, "its status"),
        ({"type": "epic"}, "its type"),
        ({}, "worked on"),
    ):
        assert why_not_spawnable(make_issue(**changes), draft, {}).startswith(expected)


# ---- what keeps every spawn back ------------------------------------------------------------------------------------


def busy(load: dict) -> dict:
    return {"load": Load(**{"per_core": 0.1, "free_memory_mib": 9999.0, "free_disk_mib": 99999.0, **load})}


WORKERS = {f"w{number}": make_sighting(f"w{number}") for number in range(4)}


@pytest.mark.parametrize(
    ("seen", "memory", "config", "expected", "also_by_hand"),
    [
        pytest.param({}, {}, {}, "", True, id="nothing"),
        pytest.param({"paused": "a talk"}, {}, {}, "paused: a talk", True, id="pause"),
        pytest.param(
            {}, {"storm_at": T0}, {}, "many workers fell ill at once; `witness resume` goes on", True, id="storm"
        ),
        pytest.param({}, {}, {"auto_spawn": False}, "auto_spawn is off", False, id="auto_spawn"),
        pytest.param(
            {},
            {},
            {"agent_command": ()},
            "agent_command is not set; `witness config set agent_command …` says what to run",
            True,
            id="agent",
        ),
        *(
            pytest.param(
                {"ports": {port: Port(state=UNKNOWN, reason="no")}}, {}, {}, f"{port} is unknown: no", True, id=port
            )
            for port in ("queue", "tmux", "git")
        ),
        pytest.param({"ports": {"mailbox": Port(state=UNKNOWN)}}, {}, {}, "", True, id="the-mailbox-does-not-matter"),
        pytest.param({"issues": None}, {}, {}, "the queue could not be read", True, id="issues-unknown"),
        pytest.param({"claims": None}, {}, {}, "the claims cannot be read", True, id="claims-unknown"),
        pytest.param(
            {},
            {"spawn": Spawn(issue="de-7", at=T0, deadline_at=T0)},
            {},
            "the spawn for de-7 is under way",
            True,
            id="one-at-a-time",
        ),
        pytest.param({"sightings": WORKERS}, {}, {}, "4 live workers, max_workers is 4", True, id="cap"),
        pytest.param({"sightings": WORKERS}, {}, {"max_workers": 5}, "", True, id="below-the-cap"),
        pytest.param({}, {}, {"max_workers": 0}, "0 live workers, max_workers is 0", True, id="no-workers-wanted"),
        pytest.param({}, {"spawned_at": T0 - 2}, {}, "spawn_delay_ms: 3.0 s more", False, id="delay"),
        pytest.param({}, {"spawned_at": T0 - 5}, {}, "", True, id="delay-is-over"),
        pytest.param({}, {"spawned_at": T0 + HOUR}, {}, "", True, id="a-clock-that-was-set-back"),
        pytest.param(busy({"per_core": 2.1}), {}, {}, "load per core is 2.1, max_load_per_core is 2", True, id="load"),
        pytest.param(busy({"per_core": 2.0}), {}, {}, "", True, id="load-at-the-limit"),
        pytest.param(busy({"per_core": 99.0}), {}, {"max_load_per_core": 0}, "", True, id="load-guard-off"),
        pytest.param(
            busy({"free_memory_mib": 511.0}),
            {},
            {},
            "511 MiB of memory are free, min_free_memory is 512",
            True,
            id="memory",
        ),
        pytest.param(
            busy({"free_disk_mib": 2047.0}), {}, {}, "2047 MiB of disk are free, min_free_disk is 2048", True, id="disk"
        ),
        pytest.param(
            busy({"per_core": None, "free_memory_mib": None, "free_disk_mib": None}),
            {},
            {},
            "",
            True,
            id="the-system-cannot-say",
        ),
        pytest.param({"load": None}, {}, {}, "", True, id="no-guards-known"),
        pytest.param(
            {}, {"breaker_at": T0 - 60}, {}, "20 spawns failed within 30m; one is tried again in 9m", True, id="breaker"
        ),
        pytest.param({}, {"breaker_at": T0 - 600}, {}, "", True, id="breaker-half-open"),
    ],
)
def test_what_keeps_every_spawn_back(seen, memory, config, expected, also_by_hand):
    draft = make_draft(make_seen(**seen), Memory(**memory), settings(**config))
    assert why_no_spawn(draft) == expected
    assert why_no_spawn(draft, by_hand=True) == (expected if also_by_hand else "")


@pytest.mark.parametrize(
    ("session", "lives", "state", "counts"),
    [
        ("present", False, "working", True),
        ("present", False, "stuck", True),
        ("present", False, "held", True),
        ("present", False, "requested", True),
        ("present", False, "idle", False),
        ("present", False, "dead", False),
        (UNKNOWN, False, "unknown", True),
        (ABSENT, False, "dead", False),
        (ABSENT, True, "unknown", True),
        (ABSENT, False, "held", False),
    ],
)
def test_the_cap_counts_whoever_may_be_alive_from_ground_truth(session, lives, state, counts):
    """A deleted tmux socket makes every session look absent while all agents run on."""
    sighting = make_sighting().but(session=session, process_lives=lives)
    draft = make_draft(make_seen(sighting), config=settings(max_workers=1))
    draft.verdicts = {"alpha": Verdict(name="alpha", state=state, why="so")}
    assert bool(why_no_spawn(draft)) is counts


def test_a_deleted_socket_starts_no_second_set_of_workers():
    world = spawning_world("de-1", "de-2", max_workers=1)
    world.add("alpha")
    world.tick()
    world.lose_socket()
    world.wait(10 * MIN)
    assert started(world) == []


# ---- spawning -------------------------------------------------------------------------------------------------------


def test_issues_are_spawned_one_by_one_in_the_queues_order_up_to_the_cap():
    world = spawning_world("de-1", "de-2", "de-3", "de-4", max_workers=3)
    world.issues["de-3"] = world.issues["de-3"].but(priority=-1)
    world.issues["de-2"] = world.issues["de-2"].but(created="2025-05-01T00:00:00Z")
    for _ in range(6):
        world.tick()
        if world.child is not None:
            assert len(of(world.tick(), StartSpawn)) == 0
            world.end_child(ok=True)
    world.wait(5 * MIN)
    assert started(world) == ["de-3", "de-2", "de-1"]
    assert sorted(world.workers) == ["de-1", "de-2", "de-3"]
    assert {claim.state for claim in world.claims.values()} == {"working"}
    assert world.memory.stats["total_spawned"] == 3
    assert world.memory.spawned_issues == ("de-3", "de-2", "de-1")


def test_two_spawns_are_spawn_delay_apart():
    world = spawning_world("de-1", "de-2", spawn_delay_ms=90000)
    world.tick()
    begun_at = world.now
    world.end_child(ok=True)
    while len(started(world)) < 2:
        world.tick()
    assert 90 <= world.now - begun_at <= 121


def test_nothing_is_spawned_by_the_first_tick_or_after_a_gap():
    world = spawning_world()
    world.restart()
    world.round()
    world.round(gap=True)
    assert started(world) == []
    world.tick()
    assert started(world) == ["de-1"]


def test_a_queue_that_does_not_answer_is_no_empty_one():
    world = spawning_world()
    world.failing["queue"] = "timed out"
    world.wait(5 * MIN)
    assert started(world) == []
    world.failing.clear()
    world.tick()
    assert started(world) == ["de-1"]


def test_a_worker_gets_the_issues_name_or_the_next_that_is_free():
    world = spawning_world("de-1.2", "de-3")
    world.strangers = (("de-1-2", "no worktree"),)
    world.claims["de-7"] = make_claim("de-7", "closed", name="de-3")
    world.tick()
    world.end_child(ok=True)
    world.wait(MIN)
    assert [action.name for action in of(world.done, StartSpawn)] == ["de-1-2-2", "de-3-2"]


def test_a_name_that_is_being_retired_is_not_free():
    record = Retirement(name="de-1", id="de-1/x", at=T0, step="remove", issue="de-9")
    seen = make_seen(issues=(make_issue(),), claims={"de-9": make_claim("de-9", name="de-1")})
    draft = make_draft(seen, Memory(retirements={"de-1": record}))
    spawn_due(draft)
    (action,) = of(draft.actions, StartSpawn)
    assert action.name == "de-1-2"


def test_an_issue_claimed_by_another_host_meanwhile_is_left_to_it():
    world = spawning_world()
    claims = {"de-1": Claim(issue="de-1", actor=OTHER, at=T0, state="working")}
    world.do_StartSpawn = lambda action: (world.claims.update(claims), World.do_StartSpawn(world, action))[1]
    world.tick()
    assert world.memory.issues["de-1"] == Effort(
        attempts=0, next_at=world.memory.issues["de-1"].next_at, error=f"claimed by {OTHER}"
    )
    world.wait(10 * MIN)
    assert (started(world), world.claims) == (["de-1"], claims)


def test_a_persons_spawn_passes_filters_auto_spawn_and_the_delay_by():
    world = spawning_world("de-1", "de-2", auto_spawn=False, issue_prefix="fe-", skip_types=("task",))
    world.save(world.memory.but(spawned_at=world.now))
    world.wait(2 * MIN)
    assert started(world) == []
    world.person("spawn", only=("de-2",))
    assert started(world) == ["de-2"]


@pytest.mark.parametrize("why", ["claimed", "cap", "guard", "pause", "closed", "blocked", "given-up"])
def test_a_persons_spawn_never_passes_claim_cap_guards_pause_or_readiness_by(why):
    world = spawning_world()
    if why == "claimed":
        world.claims["de-1"] = make_claim(actor=OTHER)
    elif why == "cap":
        world.config = settings(max_workers=0)
    elif why == "guard":
        world.load = Load(per_core=9.0)
    elif why == "pause":
        world.paused = "a talk"
    elif why == "closed":
        world.queue("de-1", status="closed")
    elif why == "blocked":
        world.queue("de-1", blocked_by=("de-2",))
    else:
        world.save(world.memory.but(issues={"de-1": Effort(attempts=3)}))
    world.person("spawn", only=("de-1",))
    assert started(world) == []


def test_a_person_who_names_nothing_spawns_as_the_daemon_would():
    world = spawning_world("de-1", "de-2", auto_spawn=False)
    world.person("spawn")
    assert started(world) == []
    world.config = settings()
    world.person("spawn")
    assert started(world) == ["de-1"]


# ---- the spawn under way --------------------------------------------------------------------------------------------


def test_a_spawn_is_waited_for_and_settled_by_its_end():
    world = spawning_world("de-1", "de-2")
    world.tick()
    world.wait(2 * MIN)
    assert words(world.done) == ["StartSpawn de-1"]
    world.end_child(ok=True)
    world.round()
    assert words(world.done)[-1] == "EndSpawn de-1"
    assert world.claims["de-1"].state == "working"
    world.round()
    assert world.told("spawned") == [("de-1", "works on de-1")]


def test_a_spawn_that_takes_too_long_is_ended_and_its_residue_adopted():
    world = spawning_world(spawn_timeout=300)
    world.tick()
    world.wait(290)
    assert len(of(world.done, EndSpawn)) == 0
    world.wait(MIN)
    (end,) = of(world.done, EndSpawn)
    assert (end.overdue, end.why) == (True, "it took longer than spawn_timeout")
    assert world.memory.issues["de-1"].attempts == 1


def test_what_a_failed_spawn_left_gets_the_next_try_instead_of_a_new_one():
    world = spawning_world()
    world.tick()
    world.end_child(ok=False, reason="the agent ended at once", session=False)
    world.tick()
    assert (world.claims["de-1"].state, world.memory.issues["de-1"].attempts) == ("failed", 1)
    world.wait(3 * MIN)
    assert [action.name for action in of(world.done, StartSpawn)] == ["de-1", "de-1"]
    world.end_child(ok=True)
    world.tick()
    assert (list(world.workers), world.claims["de-1"].state) == (["de-1"], "working")


def test_a_worker_that_lives_although_its_spawn_failed_is_adopted():
    world = spawning_world()
    world.tick()
    world.end_child(ok=False, reason="timed out")
    world.wait(10 * MIN)
    assert (started(world), world.claims["de-1"].state) == (["de-1"], "working")


def test_attempts_wait_2_and_5_minutes_and_the_third_waits_for_a_person():
    world = spawning_world()
    times = []
    for _ in range(3):
        while world.child is None:
            world.tick()
        times.append(world.now)
        world.end_child(ok=False, reason="no such command", worktree=False)
        world.tick()
    waits = [later - at for at, later in zip(times, times[1:])]
    assert 2 * MIN <= waits[0] <= 3 * MIN + 1
    assert 5 * MIN <= waits[1] <= 6 * MIN + 1
    world.wait(24 * HOUR)
    assert len(started(world)) == 3
    assert world.subjects()[0] == "ESCALATION: demo: Issue de-1 was given up after 3 failed attempts: no such command"
    assert world.claims["de-1"].state == "released"


def test_spawn_reset_tries_again_and_closes_the_escalation():
    world = spawning_world()
    world.save(world.memory.but(issues={"de-1": Effort(attempts=2, error="no")}))
    world.tick()
    world.end_child(ok=False, reason="no such command", worktree=False)
    world.wait(MIN)
    assert len(world.memory.escalations) == 1
    world.reset_spawn("de-1")
    world.tick()
    assert (len(started(world)), world.memory.escalations) == (2, {})
    assert world.subjects()[-1] == "RESOLVED: spawn-de-1"


@pytest.mark.parametrize("fault", ["host", "tool"])
def test_a_fault_of_host_or_tool_is_no_attempt(fault):
    world = spawning_world()
    for _ in range(5):
        while world.child is None:
            world.tick()
        world.end_child(ok=False, reason="no network", fault=fault, worktree=False)
        world.tick()
        assert world.memory.issues["de-1"].attempts == 0
    assert world.subjects() == []


def test_an_attempt_whose_child_died_without_a_word_counts():
    world = spawning_world()
    world.tick()
    world.end_child(ok=None, worktree=False)
    world.tick()
    assert world.memory.issues["de-1"].attempts == 1


def test_spawn_reset_does_not_make_a_second_worker_beside_the_residue():
    world = spawning_world()
    world.tick()
    world.end_child(ok=False, reason="no", session=False)
    world.tick()
    world.reset_spawn("de-1")
    world.wait(MIN)
    assert [action.name for action in of(world.done, StartSpawn)] == ["de-1", "de-1"]


def test_what_somebody_made_in_the_place_of_a_worker_set_free_is_not_taken_for_its_residue():
    world = spawning_world()
    world.claims["de-1"] = make_claim(state="released")
    world.add("de-1", branch="mine")
    world.wait(MIN)
    assert started(world) == []


def test_a_daemon_that_died_before_it_started_the_child_has_not_attempted():
    world = spawning_world()
    world.now += 30
    world.round(crash_after=0)
    assert world.memory.spawn.issue == "de-1"
    world.tick()
    assert (world.memory.spawn, world.memory.issues["de-1"].attempts) == (None, 0)
    world.wait(3 * MIN)
    assert (started(world), len(world.claims)) == (["de-1"], 1)


def test_a_daemon_that_died_while_the_child_worked_waits_for_it():
    world = spawning_world("de-1", "de-2")
    world.now += 30
    world.round(crash_after=1)
    world.wait(2 * MIN)
    assert started(world) == ["de-1"]
    world.end_child(ok=True)
    world.tick()
    assert (started(world), world.claims["de-1"].state) == (["de-1", "de-2"], "working")


def test_a_daemon_that_died_after_it_settled_the_spawn_settles_it_the_same_again():
    world = spawning_world()
    world.tick()
    world.end_child(ok=True)
    world.now += 30
    world.round(crash_after=1)
    world.wait(2 * MIN)
    assert (started(world), world.claims["de-1"].state, world.memory.spawn) == (["de-1"], "working", None)
    assert world.memory.issues == {}


@pytest.mark.parametrize("alive", [True, False])
def test_with_the_memory_lost_a_claim_is_settled_before_anything_else_is_spawned(alive):
    world = spawning_world("de-1", "de-2")
    world.tick()
    if not alive:
        world.end_child(ok=True)
    world.save(Memory())
    world.restart()
    world.wait(2 * MIN)
    if alive:
        assert started(world) == ["de-1"]
        world.end_child(ok=True)
        world.tick()
    assert world.claims["de-1"].state == "working"
    assert started(world) == ["de-1", "de-2"]


def test_with_the_memory_lost_a_child_that_hangs_is_ended_too():
    world = spawning_world("de-1", "de-2")
    world.tick()
    world.save(Memory())
    world.restart()
    world.wait(7 * MIN)
    assert [end.overdue for end in of(world.done, EndSpawn)][:1] == [True]


def test_with_claims_and_memory_lost_a_living_child_still_keeps_others_back():
    draft = make_draft(make_seen(issues=(make_issue(),), spawn=SpawnSight(alive=True, issue="de-9", name="de-9")))
    spawn_due(draft)
    assert draft.actions == []


def test_a_worker_that_a_slow_spawn_is_making_is_not_called_dead():
    world = spawning_world(start_grace=0)
    world.tick()
    world.now += 1
    world.workers["de-1"] = Worker(world, "de-1", "de-1", world.child.branch)
    world.wait(2 * MIN)
    assert world.memory.polecats["de-1"].state == "starting"
    world.end_child(ok=True)
    world.tick()
    assert world.memory.polecats["de-1"].state == "working"
    assert not any("dead" in str(event) for event in world.events)


@pytest.mark.parametrize("port", ["tmux", "git"])
def test_a_spawn_is_not_settled_while_its_effects_cannot_be_seen(port):
    world = spawning_world()
    world.tick()
    world.end_child(ok=True)
    world.failing[port] = "timed out"
    world.wait(2 * MIN)
    assert of(world.done, EndSpawn) == []
    world.failing.clear()
    world.tick()
    assert world.claims["de-1"].state == "working"


def test_a_spawn_is_not_settled_while_paused():
    world = spawning_world()
    world.tick()
    world.end_child(ok=True)
    world.paused = "a talk"
    world.wait(2 * MIN)
    assert of(world.done, EndSpawn) == []


def test_an_issue_something_is_left_of_waits_for_a_person_who_is_told():
    world = spawning_world()
    world.do_StartSpawn = lambda action: world.outcome(
        "spawn", action, False, "refs/heads/polecat/de-1 is there from an earlier worker", fault="taken"
    )
    world.wait(10 * MIN)
    assert started(world) == ["de-1"]
    assert world.memory.issues["de-1"].attempts == 3
    assert len(world.sent) == 1
    assert "is there from an earlier worker" in next(iter(world.sent.values())).body


def test_the_slot_of_a_worker_that_will_be_restarted_is_kept_for_it():
    """Else the cap is passed by one for each that dies: its place is filled, then it comes back."""
    world = spawning_world("de-1", "de-2", max_workers=1, on_dead="restart")
    world.tick()
    world.end_child(ok=True)
    world.wait(3 * MIN)
    world.workers["de-1"].end()
    world.wait(5 * MIN)
    assert words(world.done)[2:] == ["Restart de-1"]


def test_the_residue_of_a_failed_spawn_is_not_restarted_beside_its_next_attempt():
    world = spawning_world(on_dead="restart")
    world.tick()
    world.end_child(ok=False, reason="no", session=False)
    world.wait(4 * MIN)
    assert "Restart de-1" not in words(world.done)
    assert started(world) == ["de-1", "de-1"]


# ---- no work without end --------------------------------------------------------------------------------------------


def test_workers_that_leave_without_a_commit_do_not_follow_each_other_for_ever():
    """Each spawn succeeds, each worker asks to go at once: three of them are enough."""
    world = spawning_world()
    for _ in range(100):
        world.tick()
        if world.child is not None:
            world.end_child(ok=True)
        for name in list(world.workers):
            world.ask(name)
    assert len(started(world)) == 3
    assert world.memory.issues["de-1"].attempts == 3
    assert any("was given up after 3 failed attempts" in letter.body for letter in world.sent.values())


def test_an_attempt_that_was_handed_over_forgets_the_failures_before_it():
    world = spawning_world()
    world.tick()
    world.end_child(ok=False, reason="no", worktree=False)
    world.wait(3 * MIN)
    world.end_child(ok=True)
    world.tick()
    assert world.memory.issues["de-1"].attempts == 1
    (worker,) = world.workers.values()
    world.ask(worker.commit().name)
    world.wait(MIN)
    assert (world.claims["de-1"].state, world.memory.issues) == ("handed-over", {})
    world.wait(2 * HOUR)
    assert len(started(world)) == 2


def test_a_try_that_left_nothing_leaves_its_name_free():
    """A transient failure made `de-1` into `de-1-2`."""
    world = spawning_world()
    world.tick()
    world.end_child(ok=False, reason="git fetch failed", fault="host", worktree=False, session=False)
    world.tick()
    world.tick(HOUR)
    assert [action.name for action in of(world.done, StartSpawn)] == ["de-1", "de-1"]


def test_a_hand_over_that_was_reset_is_done_again_under_a_new_name():
    world = spawning_world()
    world.tick()
    world.end_child(ok=True)
    world.tick()
    world.workers["de-1"].commit()
    world.ask("de-1")
    world.tick()
    world.reset_spawn("de-1")
    world.tick()
    assert of(world.done, StartSpawn)[-1].name == "de-1-2"


def test_an_issue_closed_and_reopened_may_be_spawned_again():
    world = spawning_world()
    world.save(world.memory.but(issues={"de-1": Effort(attempts=3, error="no")}, spawned_issues=("de-1",)))
    world.wait(MIN)
    assert started(world) == []
    world.queue("de-1", status="closed")
    world.tick()
    assert (world.memory.issues, world.memory.spawned_issues) == ({}, ())
    world.queue("de-1")
    world.tick()
    assert started(world) == ["de-1"]


# ---- what keeps every spawn back ------------------------------------------------------------------------------------


def fail_for(world, seconds: float, reason: str = "/town/demo/polecats/rust holds files", fault: str = "tool") -> None:
    """Let time pass in which every child ends by a fault of the host or a tool."""
    until_at = world.now + seconds
    while world.now < until_at:
        if world.child is not None and world.child.alive:
            world.end_child(ok=False, reason=reason, fault=fault, worktree=False)
        world.tick()


@pytest.mark.parametrize("fault", ["host", "tool"])
def test_what_keeps_spawns_back_for_half_an_hour_is_told_once_and_tried_less_and_less_often(fault):
    """Notes that lay beside a retired worktree once ended all slings: 576 events a day, and not one letter."""
    world = spawning_world()
    fail_for(world, 25 * MIN, fault=fault)
    assert world.subjects() == []
    fail_for(world, 20 * MIN, fault=fault)
    (subject,) = world.subjects()
    assert "no worker could be started" in subject
    assert "/town/demo/polecats/rust holds files" in subject
    fail_for(world, 23 * HOUR, fault=fault)
    assert world.told("spawn-failed") == [("de-1", "/town/demo/polecats/rust holds files")]
    assert 90 < len(started(world)) < 110  # every quarter of an hour
    assert world.memory.issues["de-1"].attempts == 0
    while not (world.child is not None and world.child.alive):
        world.tick()
    world.end_child(ok=True)
    world.tick()
    assert (world.memory.escalations, world.memory.ports) == ({}, {})
    assert world.subjects()[-1] == "RESOLVED: kept-back"


def test_another_reason_is_told_in_the_events_and_a_failure_of_the_issue_ends_the_row():
    world = spawning_world()
    for reason in ("no network", "no disk"):
        fail_for(world, 5 * MIN, reason)
    assert [text for _, text in world.told("spawn-failed")] == ["no network", "no disk"]
    assert world.memory.ports["kept-back"].since_at < world.now - 5 * MIN
    fail_for(world, 15 * MIN, "refused", "")
    assert world.memory.ports == {}


def test_faults_far_apart_are_no_row():
    world = spawning_world()
    fail_for(world, MIN)
    world.issues.clear()
    world.wait(5 * HOUR)
    world.queue("de-2")
    fail_for(world, 20 * MIN)
    assert len(started(world)) > 2
    assert world.subjects() == []


# ---- the breaker ----------------------------------------------------------------------------------------------------


def test_twenty_failures_within_half_an_hour_open_the_breaker_and_it_half_opens_by_itself():
    world = spawning_world(*(f"de-{number}" for number in range(30)), interval=5)

    def fail_next() -> None:
        while world.child is None:
            world.tick()
        world.end_child(ok=False, reason="no such command", worktree=False)
        world.tick()

    for _ in range(20):
        fail_next()
    opened_at = world.memory.breaker_at
    assert opened_at
    assert [one for one in world.subjects() if "20 spawns failed within 30m" in one] != []
    world.wait(opened_at + 9 * MIN - world.now)
    assert len(started(world)) == 20
    fail_next()
    assert world.now >= opened_at + 10 * MIN
    assert world.memory.breaker_at > opened_at
    world.wait(9 * MIN)
    assert len(started(world)) == 21
    while world.child is None:
        world.tick()
    world.end_child(ok=True)
    world.tick()
    assert (world.memory.breaker_at, world.memory.failures) == (0.0, ())
    assert "RESOLVED: breaker" in world.subjects()


def test_failures_far_apart_do_not_open_the_breaker():
    world = spawning_world()
    old = tuple(rfc3339(world.now - 31 * MIN) for _ in range(19))
    world.save(world.memory.but(failures=old))
    world.tick()
    world.end_child(ok=False, reason="no", worktree=False)
    world.tick()
    assert (len(world.memory.failures), world.memory.breaker_at) == (1, 0.0)


NAMES = st.sampled_from(["de-1", "de-1-2", "de-1-2-3", "de-1x", "de", "de-12", "other", "other-2"])


@given(
    workers=st.dictionaries(NAMES, st.sampled_from(["", "de-1", "de-2"]), max_size=6),
    claimed=st.sets(NAMES, max_size=4),
)
def test_worktrees_are_found_by_name_and_record_as_if_each_were_asked(workers, claimed):
    """They are looked up in an index: ten thousand issues asked a hundred worktrees each, five seconds a tick."""
    claims = {f"x-{name}": make_claim(f"x-{name}", name=name) for name in claimed}
    sightings = [
        make_sighting(name, tree={"record": {"issue": work} if work else {}}) for name, work in workers.items()
    ]
    draft = make_draft(make_seen(*sightings, claims=claims))
    for issue in ("de-1", "de-2", "other"):
        expected = any(
            re.fullmatch(re.escape(issue) + ("" if name in claimed else r"(-\d+)?"), name) or work == issue
            for name, work in workers.items()
        )
        assert bool(why_attended(make_issue(issue), draft)) == expected


# ---- in a Gas Town --------------------------------------------------------------------------------------------------

TOWN = Town(path="/town", version="1.0.1", session="de-{name}", refinery="de-refinery", reuses=True, typed=True)
YOUNG = int(T0) - 5
MINE, THEIRS = ACTOR.rpartition("@")[2], "h2-4567"
HANDED = "handed over: it waits to be merged (its label witness:handed-over says so)"


@pytest.mark.parametrize(
    ("labels", "claim", "town", "expected"),
    [
        pytest.param((), None, {}, "", id="free"),
        pytest.param(
            (),
            None,
            {"convoys": {"de-1": "hq-cv-1"}},
            "left to gt: its daemon gives it to a worker, out of the convoy hq-cv-1",
            id="in-an-open-convoy",
        ),
        pytest.param((), None, {"convoys": {"de-2": "hq-cv-1"}}, "", id="another-in-a-convoy"),
        pytest.param(
            (f"witness:{THEIRS}:{YOUNG}",), None, {}, f"the Witness {THEIRS} is giving it to a worker", id="young-label"
        ),
        pytest.param(
            (f"witness:{THEIRS}:{int(T0) - 599}",), None, {}, f"the Witness {THEIRS} is giving it to a worker"
        ),
        pytest.param((f"witness:{THEIRS}:{int(T0) - 600}",), None, {}, "", id="old-label"),
        pytest.param((f"witness:{MINE}:{YOUNG}",), None, {}, "", id="our-own-label"),
        pytest.param((f"witness:{THEIRS}:soon", "x"), None, {}, "", id="no-label-of-a-sling"),
        pytest.param(("witness:handed-over",), None, {}, HANDED, id="handed-over-by-somebody"),
        pytest.param(("witness:handed-over",), make_claim(state="released"), {}, "", id="handed-over-once-and-reset"),
        pytest.param(("witness:handed-over",), make_claim(state="failed"), {}, "", id="handed-over-and-tried-again"),
        pytest.param(("witness:handed-over",), make_claim(state="closed"), {}, "", id="handed-over-and-reopened"),
    ],
)
def test_why_an_issue_is_left_to_somebody_else_in_a_town(labels, claim, town, expected):
    claims = {"de-1": claim} if claim else {}
    there = named("de-1") if claim is not None and claim.state == "failed" else {}
    seen = make_seen(claims=claims, town=TOWN.but(**town), sightings=there)
    draft = make_draft(seen, Memory())
    issue = make_issue(labels=labels)
    assert why_attended(issue, draft) == expected
    assert why_not_spawnable(issue, draft, {}) == expected  # what `spawn --explain` says
    outside = make_draft(make_seen(claims=claims, sightings=there), Memory())
    assert why_attended(issue, outside) == ""  # outside of a town nobody else slings


def kept(name: str, mark: str = "") -> Memory:
    return Memory(polecats={name: Track(instance="1", kept=mark)})


@pytest.mark.parametrize("by_hand", [False, True])
def test_nothing_is_slung_before_the_work_of_whoever_is_gone_is_kept(by_hand):
    gone = Sighting(name="alpha", worktree=make_tree("alpha"), session=ABSENT)
    town = {"town": TOWN, "sightings": {"alpha": gone}}
    draft = make_draft(make_seen(**town), kept("alpha"))
    assert why_no_spawn(draft, by_hand) == "the work of alpha is not kept yet"
    draft = make_draft(make_seen(**town), kept("alpha", mark_of(gone, False)))
    assert why_no_spawn(draft, by_hand) == ""
    draft = make_draft(make_seen(**{**town, "town": TOWN.but(reuses=False)}), kept("alpha"))
    assert why_no_spawn(draft, by_hand) == ""


@pytest.mark.parametrize("by_hand", [False, True])
def test_nothing_is_slung_where_gt_alone_gives_issues_to_workers(by_hand):
    left = "left to gt: its scheduler gives issues to workers (scheduler.max_polecats is 5)"
    assert why_no_spawn(make_draft(make_seen(town=TOWN.but(left=left))), by_hand) == left


def test_no_agent_command_is_needed_in_a_town():
    bare = settings(agent_command=())
    assert "agent_command is not set" in why_no_spawn(make_draft(make_seen(), config=bare))
    assert why_no_spawn(make_draft(make_seen(town=TOWN), config=bare)) == ""


@pytest.mark.parametrize(
    "why",
    [
        {"town": TOWN.but(convoys={"de-1": "hq-cv-1"})},
        {"town": TOWN, "issues": (make_issue(labels=(f"witness:{THEIRS}:{YOUNG}",)),)},
        {"town": TOWN, "issues": (make_issue(labels=("witness:handed-over",)),)},
        {"town": TOWN.but(left="left to gt: x")},
        {"town": TOWN, "sightings": {"alpha": Sighting(name="alpha", worktree=make_tree("alpha"), session=ABSENT)}},
    ],
    ids=["convoy", "label", "handed-over", "scheduler", "unkept"],
)
def test_what_is_left_to_gt_is_never_slung_by_hand_either(why):
    given = {"issues": (make_issue(),), "claims": {}, "person": True, "only": ("de-1",), **why}
    draft = make_draft(make_seen(**given), kept("alpha"))
    spawn_due(draft)
    assert of(draft.actions, StartSpawn) == []
    free = make_draft(make_seen(**{**given, "town": TOWN, "issues": (make_issue(),), "sightings": {}}))
    spawn_due(free)
    assert [one.subject for one in of(free.actions, StartSpawn)] == ["de-1"]


def test_name_of_a_new_worker_is_gts_to_choose_and_that_of_a_residue_is_kept():
    draft = make_draft(make_seen(town=TOWN, issues=(make_issue(),), claims={}))
    spawn_due(draft)
    (start,) = of(draft.actions, StartSpawn)
    assert start.name == ""
    failed = make_claim(state="failed", name="rust", branch="polecat/rust/de-1@x")
    gone = Sighting(name="rust", worktree=make_tree("rust", branch=failed.branch), session=ABSENT)
    seen = make_seen(town=TOWN, issues=(make_issue(),), claims={"de-1": failed}, sightings={"rust": gone})
    draft = make_draft(seen, kept("rust", mark_of(gone, False)))
    spawn_due(draft)
    (start,) = of(draft.actions, StartSpawn)
    assert start.name == "rust"


def test_reason_is_the_town_that_does_not_answer_and_no_command_that_it_needs_not():
    away = {"spawner": Port(state=UNKNOWN, reason="gt is not on the PATH")}
    said = why_no_spawn(make_draft(make_seen(town=None, ports=away), config=settings(agent_command=())))
    assert said == "spawner is unknown: gt is not on the PATH"


def test_steps_that_make_no_worker_are_told_and_end_with_a_person():
    draft = make_draft(make_seen(town=TOWN, issues=(make_issue(),)))
    for number in range(SPAWN_ATTEMPTS):
        assert not draft.memory.escalations
        detail = f"step {number}"
        done = Outcome(kind="spawn", subject="de-1", ok=False, at=T0, detail=detail, data={"fault": "step"})
        settle_spawn(draft, done)
    assert [event for event in draft.events if event[0] == "spawn-failed"] == [
        ("spawn-failed", "de-1", f"step {number}") for number in range(SPAWN_ATTEMPTS)
    ]
    (matter,) = draft.memory.escalations.values()
    assert matter.summary == "Issue de-1 was given up after 3 failed attempts: step 2"


def test_spawn_that_cannot_be_settled_is_told_once_and_a_person_learns_of_it_in_time():
    spawn = Spawn(issue="de-1", at=T0 - 10, deadline_at=T0 + 300)
    draft = make_draft(make_seen(town=TOWN), Memory(spawn=spawn))
    stuck = Outcome(kind="spawn-unsettled", subject="de-1", ok=False, at=T0, detail="bd show: no answer")
    for _ in range(3):
        settle_unsettled(draft, stuck)
    assert len([event for event in draft.events if event[0] == "spawn-failed"]) == 1
    assert not draft.memory.escalations
    assert why_no_spawn(draft) == "the spawn for de-1 is under way, and what came of it: bd show: no answer"
    late = make_draft(make_seen(town=TOWN, now=T0 + 301), draft.memory)
    settle_unsettled(late, stuck)
    (matter,) = late.memory.escalations.values()
    assert "bd show: no answer" in matter.summary
    settle_spawn(late, Outcome(kind="spawn", subject="de-1", ok=True, at=T0, data={"name": "rust"}))
    assert not late.memory.escalations
