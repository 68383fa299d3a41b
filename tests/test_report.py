"""What is shown, as data."""

from __future__ import annotations

import json

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from tools.simulation import (
    ACTOR,
    DIRT,
    HOUR,
    MIN,
    T0,
    World,
    make_claim,
    make_issue,
    make_pane,
    make_seen,
    make_sighting,
    make_track,
    settings,
)

from witness import (
    ABSENT,
    ATTENTION,
    ROWS_SHOWN,
    UNKNOWN,
    AckMail,
    CheckMerged,
    Decision,
    Draft,
    EndSpawn,
    Escalation,
    Memory,
    Nudge,
    Port,
    PortTrack,
    Request,
    Retire,
    Retirement,
    SpawnSight,
    StartSpawn,
    Verdict,
    add_ages,
    decide,
    fold_polecats,
    pick_rows,
    report_actions,
    report_issues,
    report_polecat,
    report_polecats,
    report_port,
    report_tick,
    rfc3339,
    wants_eye,
    why_not_spawnable,
)

# The keys of `status`, as they are promised to scripts.
POLECAT_KEYS = {
    "name",
    "state",
    "issue",
    "branch",
    "session",
    "instance",
    "progress_at",
    "progress_age_s",
    "nudged_at",
    "escalated_at",
    "screen",
    "blockers",
    "next",
}


def shown(world: World, **observe) -> dict:
    """Return what `status` would show of a world now, with the ages."""
    seen = world.observe(world.memory, **observe)
    decision = decide(seen, world.memory, world.config)
    return add_ages(report_tick(seen, decision, world.config, world.now + 5, T0 + HOUR), world.now)


def busy_world() -> World:
    world = World(auto_spawn=True, max_workers=9)
    world.queue("de-1", "de-2")
    world.issues["de-2"] = make_issue("de-2", type="epic")
    for name in ("alpha", "beta", "gamma"):
        world.add(name).commit()
    world.tick()
    world.workers["beta"].blockers = (DIRT,)
    world.ask("beta")
    for _ in range(64):
        world.workers["gamma"].commit()
        world.tick()
    return world


def test_status_has_the_keys_that_are_promised():
    data = shown(busy_world())
    assert {"rig", "version", "last_tick_at", "last_tick_age_s", "paused", "ports"} <= set(data)
    assert {"polecats", "queue", "stats"} <= set(data)
    assert set(data["ports"]) == {"tmux", "git", "queue", "mailbox", "spawner"}
    for port in data["ports"].values():
        assert {"state", "version", "reason"} <= set(port)
    assert {"ready", "spawnable", "reason"} <= set(data["queue"])
    assert [one["name"] for one in data["polecats"]] == ["alpha", "beta", "gamma"]
    assert (data["others"], data["folded"]) == ([], {})
    for polecat in data["polecats"]:
        assert set(polecat) >= POLECAT_KEYS
    alpha, beta, gamma = data["polecats"]
    assert {"line", "age_s"} <= set(alpha["screen"])
    assert all({"action", "due_at"} <= set(one["next"]) for one in (alpha, beta, gamma))
    assert set(beta["blockers"][0]) == {"kind", "evidence", "remedy"}


def test_an_issue_that_is_assigned_is_ready_and_not_spawnable():
    world = World()
    world.queue("de-1", "de-2", "de-3")
    world.issues["de-1"] = make_issue("de-1", assignee="somebody")
    world.issues["de-2"] = make_issue("de-2", type="epic")
    queue = shown(world)["queue"]
    assert (queue["ready"], queue["spawnable"]) == (3, 1)


@given(seen=strategies.observations(), memory=strategies.memories(), config=strategies.configs())
def test_what_is_counted_as_spawnable_is_what_has_no_reason_against_it(seen, memory, config):
    queue = report_tick(seen, decide(seen, memory, config), config)["queue"]
    draft = Draft(seen, decide(seen, memory, config).memory, config)
    by_id = {issue.id: issue for issue in seen.issues or ()}
    reasons = [why_not_spawnable(issue, draft, by_id) for issue in by_id.values()]
    assert queue["spawnable"] == (None if seen.issues is None else reasons.count(""))


def test_of_a_crowd_some_get_a_row_and_none_is_missing():
    names = [f"w{number:03}" for number in range(3 * ROWS_SHOWN)]
    world = World()
    for name in names:
        world.add(name)
    world.tick()
    seen = world.observe(world.memory)
    decision = decide(seen, world.memory, world.config)
    view = report_tick(seen, decision, world.config)
    assert len(view["polecats"]) == ROWS_SHOWN
    assert [name for those in view["folded"].values() for name in those] == [one["name"] for one in view["others"]]
    assert sorted(one["name"] for one in (*view["polecats"], *view["others"])) == names
    assert report_polecats(seen, decision, world.config) == sorted(
        (*view["polecats"], *view["others"]), key=lambda one: one["name"]
    )


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "name": st.text(max_size=3),
                "state": st.sampled_from((*ATTENTION, "of-a-later-version")),
                "blockers": st.lists(st.just({}), max_size=1),
                "progress_at": st.sampled_from((None, "2026-01-01T00:00:00.000Z")),
                "escalated_at": st.sampled_from((None, "2026-01-01T00:00:00.000Z")),
            }
        ),
        max_size=9,
    ).map(lambda some: [{**one, "name": f"{one['name']}{number}"} for number in range(9) for one in some])
)
def test_rows_and_the_rest_are_all_there_are_and_who_wants_an_eye_comes_first(polecats):
    shown, others = pick_rows(polecats)
    assert sorted(map(repr, (*shown, *others))) == sorted(map(repr, polecats))
    wanted = [wants_eye(one) for one in shown]
    assert wanted == sorted(wanted, reverse=True)
    assert len(shown) <= 2 * ROWS_SHOWN
    for want in {wants_eye(one) for one in others}:
        assert wanted.count(want) == ROWS_SHOWN
    assert sum(map(len, fold_polecats(others).values())) == len(others)


def test_a_person_was_told_when_it_was_told_last():
    row = {"cause": "x", "name": "alpha", "instance": "", "summary": "so"}
    matters = {str(at): Escalation(opened_at=at, **row) for at in (T0 + 60, T0)}
    world = World()
    world.add("alpha")
    world.tick()
    seen = world.observe(world.memory)
    decision = decide(seen, world.memory, world.config)
    decision = decision.but(memory=decision.memory.but(escalations=matters))
    assert report_polecats(seen, decision, world.config)[0]["escalated_at"] == rfc3339(T0 + 60)


def test_status_says_what_is_the_matter_with_each_worker():
    alpha, beta, gamma = shown(busy_world())["polecats"]
    assert (alpha["state"], beta["state"], gamma["state"]) == ("stuck", "requested", "working")
    assert alpha["session"] == "gt-demo-alpha"
    assert alpha["nudge_result"] == "delivered to the pane"
    assert alpha["screen"]["line"] == "still thinking"
    assert alpha["next"]["action"] == "escalate"
    assert beta["next"]["action"] == "retire"
    assert beta["blockers"][0]["kind"] == "modified"
    assert gamma["next"]["action"] == "nudge"
    assert gamma["branch"] == "polecat/gamma"


def test_status_is_json_and_the_same_each_time():
    world = busy_world()
    assert json.dumps(shown(world), sort_keys=True) == json.dumps(shown(world), sort_keys=True)
    assert json.loads(json.dumps(shown(world))) == shown(world)


def test_status_names_pause_halt_strangers_and_what_waits():
    world = busy_world()
    world.paused, world.strangers = "a talk", (("x", "a symlink"),)
    world.mail("HELP")
    data = shown(world)
    assert (data["paused"], data["halted"]) == ("a talk", "paused: a talk")
    assert data["strangers"] == [{"folder": "x", "reason": "a symlink"}]
    assert (data["requests"], data["mails_waiting"]) == (1, 2)
    assert data["expected_by_at"] == rfc3339(T0 + HOUR)


@pytest.mark.parametrize(
    ("port", "track", "expected"),
    [
        (Port(version="3.3a"), None, {"state": "ok", "version": "3.3a", "reason": None}),
        (
            Port(state=UNKNOWN, reason="hangs"),
            PortTrack(since_at=T0, reason="hung"),
            {"state": "degraded", "version": None, "reason": "hangs", "since_at": rfc3339(T0)},
        ),
        (Port(state=ABSENT, reason="not set"), None, {"state": "absent", "version": None, "reason": "not set"}),
    ],
)
def test_a_port_is_ok_degraded_or_absent(port, track, expected):
    assert report_port("tmux", port, Memory(ports={"tmux": track} if track else {})) == expected


def next_of(state: str, track=None, memory=None, config=None, seen=None, **verdict):
    given = Verdict(name="alpha", state=state, why="so", **{"progress_at": T0, **verdict})
    memory = (memory or Memory()).but(polecats={"alpha": track or make_track()})
    seen = seen or make_seen(make_sighting(), issues=(make_issue(),), claims={})
    decision = Decision(memory=memory, actions=(), verdicts={"alpha": given})
    return report_polecat("alpha", seen, decision, settings(**(config or {})), {})["next"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"state": "working"}, ("nudge", T0 + 30 * MIN), id="working"),
        pytest.param({"state": "busy"}, ("nudge", T0 + 30 * MIN), id="busy"),
        pytest.param(
            {"state": "working", "track": make_track(reset_at=T0 + HOUR)}, ("nudge", T0 + 90 * MIN), id="reset"
        ),
        pytest.param({"state": "stuck", "track": make_track(last_nudge_at=T0)}, ("nudge", T0 + 5 * MIN), id="early"),
        pytest.param(
            {"state": "stuck", "track": make_track(nudged_at=T0, quiet_from_at=T0)},
            ("escalate", T0 + HOUR),
            id="nudged",
        ),
        pytest.param(
            {"state": "stuck", "track": make_track(nudged_at=T0, quiet_from_at=T0, escalated_at=T0)},
            ("wait for a person", None),
            id="escalated",
        ),
        pytest.param({"state": "dead"}, None, id="dead-is-reported"),
        pytest.param(
            {"state": "dead", "config": {"on_dead": "restart"}, "issue": "de-1"}, ("restart", None), id="restart"
        ),
        pytest.param({"state": "dead", "config": {"on_dead": "restart"}}, None, id="nothing-to-restart-for"),
        pytest.param({"state": "dead", "config": {"on_dead": "restart"}, "issue": "de-9"}, None, id="issue-not-open"),
        pytest.param(
            {"state": "dead", "config": {"on_dead": "restart", "max_restarts": 0}, "issue": "de-1"},
            None,
            id="no-more-restarts",
        ),
        pytest.param(
            {
                "state": "requested",
                "memory": Memory(requests={"alpha": Request(name="alpha", sender="x", at=T0, next_at=T0 + 60)}),
            },
            ("retire", T0 + 60),
            id="requested",
        ),
        pytest.param(
            {
                "state": "requested",
                "memory": Memory(retirements={"alpha": Retirement(name="alpha", id="alpha/x", at=T0, next_at=T0 + 90)}),
            },
            ("retire", T0 + 90),
            id="failed",
        ),
        *(pytest.param({"state": state}, None, id=state) for state in ("unknown", "held", "idle", "starting")),
    ],
)
def test_what_comes_next_for_a_worker_and_when(given, expected):
    due = {"action": expected[0], "due_at": rfc3339(expected[1]) if expected[1] else None} if expected else None
    assert next_of(**given) == due


def test_a_rung_that_is_due_has_no_stamp():
    assert next_of("stuck") == {"action": "nudge", "due_at": None}


# ---- queue and issues -----------------------------------------------------------------------------------------------


def test_the_queue_is_counted_and_says_why_nothing_is_spawned():
    world = World(auto_spawn=False)
    world.queue("de-1", "de-2")
    world.issues["de-2"] = make_issue("de-2", type="epic")
    queue = shown(world)["queue"]
    assert (queue["ready"], queue["spawnable"], queue["reason"]) == (2, 1, "auto_spawn is off")
    world.failing["queue"] = "timed out"
    assert shown(world)["queue"] == {"ready": None, "spawnable": None, "reason": "the queue is unknown: timed out"}


def test_a_few_bad_lines_are_named():
    seen = make_seen(bad_lines=tuple(f"line {number}: no" for number in range(9)))
    data = report_tick(seen, decide(seen, Memory(), settings()), settings())
    assert data["queue"]["bad_lines"] == [f"line {number}: no" for number in range(5)]


ISSUES = (
    make_issue("de-3", status="closed"),
    make_issue("de-2", type="epic", priority=1),
    make_issue("de-1", priority=2),
    make_issue("de-0", priority=0, assignee="tess"),
)


def test_issues_are_listed_in_the_queues_order_each_with_its_first_reason():
    rows = report_issues(make_seen(issues=ISSUES), Memory(), settings(), {})
    assert [(row["id"], row["spawnable"], row["reason"]) for row in rows] == [
        ("de-0", False, "assigned to tess"),
        ("de-2", False, "its type is epic (skip_types)"),
        ("de-1", True, None),
        ("de-3", False, "its status is closed"),
    ]
    assert set(rows[0]) == {"id", "title", "status", "priority", "spawnable", "reason"}


def test_of_an_issue_in_our_own_name_the_worker_is_named():
    held = {"status": "in_progress", "assignee": ACTOR}
    issues = tuple(make_issue(one, **held) for one in ("de-1", "de-2", "de-3"))
    issues = (*issues[:2], issues[2].but(status="closed"))
    claims = {one: make_claim(one, name="rust") for one in ("de-1", "de-3")}
    rows = report_issues(make_seen(make_sighting("rust"), issues=issues, claims=claims), Memory(), settings(), {})
    assert {row["id"]: row["reason"] for row in rows} == {
        "de-1": "worked on by rust",
        "de-2": f"its status is in_progress, with {ACTOR}",
        "de-3": f"its status is closed, with {ACTOR}",
    }


def test_what_keeps_every_spawn_back_is_the_reason_of_an_issue_that_has_none_of_its_own():
    rows = report_issues(make_seen(issues=ISSUES, paused="a talk"), Memory(), settings(), {}, only=("de-1",))
    assert [(row["id"], row["spawnable"], row["reason"]) for row in rows] == [("de-1", True, "paused: a talk")]


def test_filters_do_not_count_for_a_spawn_by_hand():
    rows = report_issues(make_seen(issues=ISSUES), Memory(), settings(auto_spawn=False), {}, ("de-2",), by_hand=True)
    assert [(row["id"], row["spawnable"], row["reason"]) for row in rows] == [("de-2", True, None)]


# ---- actions and ages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "polecat", "issue"),
    [
        (Nudge(subject="alpha", text="go on", pane=make_pane(), why="quiet"), "alpha", None),
        (Retire(subject="alpha", retirement=Retirement(name="alpha", id="alpha/x", at=T0)), "alpha", None),
        (StartSpawn(subject="de-1", issue=make_issue(), name="de-1"), None, "de-1"),
        (EndSpawn(subject="de-1", sight=SpawnSight(alive=False)), None, "de-1"),
        (CheckMerged(subject="de-1", claim=make_claim()), None, "de-1"),
        (AckMail(subject="m1"), None, None),
    ],
)
def test_an_action_is_reported_with_whom_it_is_about_and_why(action, polecat, issue):
    (row,) = report_actions([action])
    assert (row["kind"], row["polecat"], row["issue"]) == (type(action).__name__, polecat, issue)
    assert row["reason"] == (action.why or None)
    assert action.subject in row["text"]


def test_an_age_stands_beside_each_stamp_at_any_depth():
    data = {"progress_at": rfc3339(T0 - 90), "list": [{"at": rfc3339(T0 - 1.25)}], "due_at": rfc3339(T0 + 5), "n": 1}
    aged = add_ages(data, T0)
    listed = [{"at": rfc3339(T0 - 1.25), "age_s": 1.2}]
    assert aged == {**data, "progress_age_s": 90.0, "list": listed, "due_in_s": 5.0}


@pytest.mark.parametrize("value", [None, "", 5, "soon", {"at": ""}])
def test_what_is_no_stamp_has_no_age(value):
    aged = add_ages({"nudged_at": value}, T0)
    assert aged == {"nudged_at": value}


def test_a_stamp_of_the_future_is_no_age_below_zero():
    assert add_ages({"at": rfc3339(T0 + 60)}, T0)["age_s"] == 0.0
