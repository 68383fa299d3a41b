"""One tick as a whole: precedence, the books, and laws that hold for everything that may be seen or remembered."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import strategies
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tools.simulation import (
    ACTOR,
    DIRT,
    HOUR,
    MIN,
    STEPS,
    T0,
    World,
    make_claim,
    make_issue,
    make_pane,
    make_seen,
    make_sighting,
    make_track,
    make_tree,
    of,
    settings,
    words,
)

import witness
from witness import (
    ABSENT,
    ACKS_PER_TICK,
    AGENTS_KEPT,
    BREAKER_FAILURES,
    CLOSED,
    PRESENT,
    SETTLE,
    UNKNOWN,
    AckMail,
    Action,
    Effort,
    EndSpawn,
    Escalation,
    Letter,
    Look,
    LookTwice,
    Mail,
    Memory,
    Nudge,
    Observation,
    Outcome,
    Port,
    PortTrack,
    Request,
    Restart,
    Retire,
    Retirement,
    SendLetter,
    Sighting,
    Spawn,
    SpawnSight,
    StartSpawn,
    SweepTrash,
    Track,
    decide,
    describe,
    next_deadline,
    rfc3339,
)

# ---- everything that may be seen or remembered, from a small universe ------------------------------------------------

NAMES = ("alpha", "beta", "gamma")
ISSUES = ("alpha", "de-1", "de-2", "de-3")
OTHER = "other/witness@ffffffffffff"
ON_WORKERS = (LookTwice, Nudge, Restart, Retire)

stamps = st.sampled_from(
    [T0 - age for age in (-HOUR, -1, 0, 0.5, 10, 61, 119, 299, 301, 599, 1799, 1801, 3599, 3601, 4 * HOUR, 5 * HOUR)]
)
ages = st.one_of(st.just(0.0), stamps)
words_of = st.sampled_from(["", "agent", "bash", "vim", "a \x1b[31m b"])
names = st.sampled_from(NAMES)
issue_ids = st.sampled_from(ISSUES)
ports = st.builds(Port, state=st.sampled_from([PRESENT, PRESENT, PRESENT, PRESENT, UNKNOWN]), reason=st.just("no"))
panes = st.builds(
    make_pane,
    session_id=st.sampled_from(["$1", "$2"]),
    created_at=stamps,
    activity_at=stamps,
    pane_id=st.sampled_from(["%1", "%2"]),
    pid=st.sampled_from([1001, 1002]),
    dead=st.booleans(),
    attached=st.integers(0, 2),
    command=words_of,
)
records = st.sampled_from([{}, {}, {"issue": "de-1"}, {"state": "idle"}, {"issue": "../x", "state": "done"}])


@st.composite
def sightings(draw, name: str):
    branch = draw(st.sampled_from([f"polecat/{name}", "", "main", f"polecat/{name}/de-2@x"]))
    tree = make_tree(
        name,
        git_at=draw(ages),
        born_at=draw(stamps),
        record_at=draw(ages),
        record=draw(records),
        branch=branch,
        trouble=draw(st.sampled_from(["", "", "", "no admin folder"])),
    )
    session = draw(st.sampled_from([PRESENT, PRESENT, PRESENT, ABSENT, UNKNOWN]))
    if session != PRESENT:
        return Sighting(
            name=name, worktree=tree, session=session, process_lives=session == ABSENT and draw(st.booleans())
        )
    pane = draw(st.one_of(panes, panes, panes, st.none()))
    return Sighting(
        name=name,
        worktree=tree,
        session=session,
        pane=pane,
        panes=(pane,) * bool(pane),
        shell=draw(st.sampled_from(["", "", "interactive", "script", UNKNOWN])),
    )


@st.composite
def tracks(draw, name: str):
    pane = make_pane(name, session_id=draw(st.sampled_from(["$1", "$2"])), created_at=draw(stamps))
    return Track(
        instance=draw(st.sampled_from(["", witness.instance_of(pane)])),
        agents=draw(st.sampled_from([(), ("agent",)])),
        pane_id="%1",
        pane_pid=1001,
        state=draw(st.sampled_from(["", "working", "stuck", "dead", "unknown", "busy"])),
        state_at=draw(ages),
        reset_at=draw(ages),
        quiet_from_at=draw(ages),
        nudged_at=draw(ages),
        escalated_at=draw(ages),
        last_nudge_at=draw(ages),
        busy_told=draw(st.booleans()),
        dead_ticks=draw(st.integers(0, 2)),
        restarts=tuple(map(rfc3339, draw(st.lists(stamps, max_size=4)))),
    )


blockers = st.lists(st.just(DIRT), max_size=1).map(tuple)
claim_states = st.sampled_from(["claimed", "working", "failed", "handed-over", "released", "closed"])
claims = st.builds(
    make_claim,
    issue_ids,
    claim_states,
    actor=st.sampled_from([ACTOR, ACTOR, OTHER]),
    name=st.sampled_from([*NAMES, ""]),
)
issues = st.builds(
    make_issue,
    issue_ids,
    status=st.sampled_from(["open", "open", "closed", "in_progress"]),
    type=st.sampled_from(["task", "task", "epic"]),
    blocked_by=st.sampled_from([(), (), ("de-1",), ("de-9",)]),
    assignee=st.sampled_from(["", "", "tess"]),
    priority=st.integers(0, 2),
)
mails = st.builds(
    Mail,
    id=st.sampled_from([f"m{number}" for number in range(30)]),
    at=stamps,
    sender=st.sampled_from(["demo/alpha", "demo/beta", "mayor/", "nobody"]),
    subject=st.sampled_from(
        [
            "LIFECYCLE: polecat requesting shutdown",
            "LIFECYCLE: Shutdown beta",
            "HELP",
            "MERGED x",
            "POLECAT_DONE alpha exit=0",
            "\x1b[31m",
        ]
    ),
    body=st.sampled_from(["", "Polecat: alpha", "Polecat: delta", "Polecat: -x"]),
)
ends = st.fixed_dictionaries(
    {"result": st.sampled_from(["retired", "refused", "gone", "failed"])},
    optional={"blockers": blockers, "escalate": st.booleans(), "no_commits": st.booleans()},
)
faults = st.fixed_dictionaries({}, optional={"fault": st.sampled_from(["", "host", "tool", "taken"])})
outcomes = st.one_of(
    st.builds(
        Outcome, kind=st.just("retire"), subject=names, ok=st.booleans(), at=st.just(T0), detail=words_of, data=ends
    ),
    st.builds(
        Outcome,
        kind=st.just("spawn"),
        subject=issue_ids,
        ok=st.booleans(),
        at=st.just(T0),
        detail=words_of,
        data=faults,
    ),
    st.builds(
        Outcome,
        kind=st.sampled_from(
            ["nudge", "letter", "look", "ack", "restart", "spawn-unsettled", "merged", "session", "beat"]
        ),
        subject=st.one_of(names, st.just("k")),
        ok=st.booleans(),
        at=st.just(T0),
        detail=words_of,
    ),
    st.builds(
        Outcome,
        kind=st.just("keep"),
        subject=names,
        ok=st.booleans(),
        at=st.just(T0),
        detail=words_of,
        data=st.sampled_from([{}, {"mark": "polecat/alpha"}]),
    ),
    st.builds(
        Outcome,
        kind=st.just("patrol"),
        subject=st.just("the town"),
        ok=st.booleans(),
        at=st.just(T0),
        data=st.fixed_dictionaries(
            {
                "waiting": st.sampled_from([None, 0, 2]),
                "mayor": st.sampled_from([None, "", "it has no session"]),
                "deacon": st.sampled_from([None, "", "it has no session"]),
            }
        ),
    ),
)
spawn_sights = st.builds(
    SpawnSight,
    alive=st.booleans(),
    issue=st.one_of(st.just(""), issue_ids),
    name=names,
    ok=st.sampled_from([None, True, False]),
    reason=words_of,
)
configs = st.builds(
    settings,
    stuck_after=st.sampled_from([1, 1800]),
    nudge_wait=st.sampled_from([1, 300]),
    escalate_after=st.sampled_from([1, 3600]),
    start_grace=st.sampled_from([0, 120]),
    quiet_after=st.sampled_from([0, 10800]),
    on_dead=st.sampled_from(["report", "restart"]),
    max_restarts=st.integers(0, 3),
    auto_spawn=st.booleans(),
    max_workers=st.integers(0, 4),
    epic_id=st.sampled_from(["", "", "de-3"]),
)


def keyed(values, key) -> dict:
    return {key(value): value for value in values}


@st.composite
def observations(draw):
    there = draw(st.sets(names))
    waits = draw(st.lists(mails, max_size=4, unique_by=lambda mail: mail.id))
    queue = draw(st.one_of(st.none(), st.lists(issues, max_size=4, unique_by=lambda issue: issue.id).map(tuple)))
    held = draw(st.one_of(st.none(), st.lists(claims, max_size=4)))
    return Observation(
        now=T0,
        rig="demo",
        day="2025-06-15",
        actor=ACTOR,
        first=draw(st.booleans()),
        gap=draw(st.booleans()),
        person=draw(st.booleans()),
        duties=draw(
            st.sampled_from(
                [frozenset({"health", "shutdown", "spawn"}), *map(frozenset, ({"health"}, {"shutdown"}, {"spawn"}, ()))]
            )
        ),
        only=draw(st.sampled_from([(), (), (), ("alpha",), ("de-1",), ("-",)])),
        ports={name: draw(ports) for name in ("tmux", "git", "queue", "mailbox")},
        sightings={name: draw(sightings(name)) for name in sorted(there)},
        strangers=tuple((name, "a symlink") for name in draw(st.sets(names)) - there),
        looks={
            name: Look(name=name, at=T0, ok=draw(st.booleans()), files_at=draw(ages), screen="x")
            for name in draw(st.sets(names))
        },
        outcomes=tuple(draw(st.lists(outcomes, max_size=3))),
        mails=tuple(waits),
        mails_waiting=len(waits),
        issues=queue,
        claims=None if held is None else keyed(held, lambda one: one.issue),
        spawn=draw(st.one_of(st.none(), spawn_sights)),
        paused=draw(st.sampled_from(["", "", "", "a talk"])),
        holds=dict.fromkeys(draw(st.one_of(st.just(()), st.sets(names))), "mine"),
        resumed_at=draw(ages),
        sessions=draw(st.sampled_from([None, frozenset(), frozenset({"de-refinery"})])),
        town=draw(st.one_of(st.none(), strategies.towns())),
    )


@st.composite
def memories(draw):
    def table(keys, make) -> dict:
        return {key: draw(make(key)) for key in sorted(draw(st.one_of(st.just(set()), st.sets(st.sampled_from(keys)))))}

    def request(name):
        return st.builds(
            Request,
            name=st.just(name),
            sender=st.just("x"),
            at=stamps,
            looks=st.integers(0, 5),
            next_at=ages,
            force=st.booleans(),
            mails=st.sampled_from([(), ("m1",), ("m1", "m2", "m40")]),
        )

    def retirement(name):
        return st.builds(
            Retirement,
            name=st.just(name),
            id=st.just(f"{name}/x"),
            at=stamps,
            step=st.sampled_from(STEPS),
            issue=st.one_of(st.just(""), issue_ids),
            next_at=ages,
            tries=st.integers(0, 5),
        )

    def effort(_):
        return st.builds(Effort, attempts=st.integers(0, 4), next_at=ages, error=words_of)

    matters = st.builds(
        Escalation,
        cause=st.sampled_from(["stuck", "dead", "busy", "refused", "storm", "spawn-de-1"]),
        name=st.one_of(st.just(""), names),
        instance=st.just("1"),
        summary=words_of,
        opened_at=stamps,
        raised_at=stamps,
        raises=st.integers(1, 4),
    )
    silence = st.builds(PortTrack, since_at=stamps, reason=st.just("no"))
    letter = st.builds(
        Letter, to=st.just("mayor/"), subject=words_of, body=words_of, at=stamps, next_at=ages, tries=st.integers(0, 5)
    )
    return Memory(
        rig_name="demo",
        polecats=table(NAMES, tracks),
        requests=table(NAMES, request),
        retirements=table(NAMES, retirement),
        issues=table(ISSUES, effort),
        escalations=keyed(draw(st.lists(matters, max_size=3)), lambda one: f"{one.cause}.{one.name}.1"),
        ports=table(("tmux", "git", "look.alpha"), lambda _: silence),
        pending=table(("k", "k2"), lambda _: letter),
        spawned_at=draw(ages),
        storm_at=draw(st.one_of(st.just(0.0), ages)),
        spawn=draw(st.one_of(st.none(), st.builds(Spawn, issue=issue_ids, at=stamps, deadline_at=stamps))),
        breaker_at=draw(ages),
        failures=tuple(map(rfc3339, draw(st.lists(stamps, max_size=BREAKER_FAILURES)))),
        calm_ticks=draw(st.integers(0, 2)),
        merged_at=draw(ages),
        swept_at=draw(ages),
        day="2025-06-14",
        stats={"total_nudges": 5, "today_nudges": 2},
        spawned_issues=tuple(sorted(draw(st.sets(issue_ids)))),
    )


ticks = given(seen=observations(), memory=memories(), config=configs)


def begun(action: Action) -> bool:
    """Tell whether an action goes on with a retirement that must not be stopped any more."""
    return isinstance(action, Retire) and action.retirement.step not in ("verify", "preserve")


# ---- laws -----------------------------------------------------------------------------------------------------------


@ticks
@example(seen=Observation(now=T0, rig="demo"), memory=Memory(), config=settings())
def test_decide_is_total_deterministic_and_changes_nothing_it_was_given(seen, memory, config):
    before = repr(seen), witness.dump_memory(memory)
    first, second = decide(seen, memory, config), decide(seen, memory, config)
    assert (repr(seen), witness.dump_memory(memory)) == before
    assert (first.memory, first.actions, first.events) == (second.memory, second.actions, second.events)
    assert set(first.verdicts) == set(seen.sightings)
    assert witness.load_memory(witness.dump_memory(first.memory)) == first.memory


@ticks
def test_nothing_that_could_do_harm_is_begun_on_a_look_that_failed(seen, memory, config):
    for port in ("tmux", "git"):
        actions = decide(seen.but(ports={**seen.ports, port: Port(state=UNKNOWN)}), memory, config).actions
        assert of(actions, Nudge, Restart, StartSpawn, EndSpawn) == []
        assert [action for action in of(actions, Retire) if not begun(action)] == []
    for unread in ({"issues": None}, {"claims": None}, {"ports": {**seen.ports, "queue": Port(state=UNKNOWN)}}):
        assert of(decide(seen.but(**unread), memory, config).actions, StartSpawn) == []
    hidden = {name for name, one in seen.sightings.items() if one.session == UNKNOWN or one.process_lives}
    for action in decide(seen, memory, config).actions:
        if action.subject in hidden and isinstance(action, ON_WORKERS):
            assert begun(action)


@ticks
def test_pause_hold_first_tick_and_gap_restrain(seen, memory, config):
    """While paused only a retirement that was begun goes on; a held worker is left alone; a start starts no timer."""
    paused = seen.but(paused="a talk", outcomes=())  # a retirement that has ended acknowledges its mail all the same
    assert [action for action in decide(paused, memory, config).actions if not begun(action)] == []
    actions = decide(seen.but(holds=dict.fromkeys(NAMES, "mine")), memory, config).actions
    assert [action for action in of(actions, *ON_WORKERS) if not begun(action)] == []
    for when in ({"first": True, "gap": False}, {"first": False, "gap": True}):
        decision = decide(seen.but(person=False, **when), memory, config)
        assert of(decision.actions, LookTwice, Nudge, Restart, StartSpawn) == []
        for key, matter in decision.memory.escalations.items():
            assert key not in memory.escalations or matter.raises == memory.escalations[key].raises


@ticks
def test_workers_are_judged_independently(seen, memory, config):
    """Storms and the spawning caps look at all of them, nothing else does."""
    together = decide(seen, memory, config)
    assume(not together.memory.storm_at and not memory.storm_at)
    for name in seen.sightings:
        alone = decide(seen.but(sightings={name: seen.sightings[name]}), memory, config)
        mine = [
            [repr(one) for one in of(actions, *ON_WORKERS) if one.subject == name]
            for actions in (together.actions, alone.actions)
        ]
        assert mine[0] == mine[1]
        assert repr(together.verdicts[name]) == repr(alone.verdicts[name])


@ticks
def test_actions_are_few_distinct_and_told_in_one_clean_line(seen, memory, config):
    decision = decide(seen, memory, config)
    counts = Counter((type(action), action.subject) for action in decision.actions)
    assert [one for one, count in counts.items() if count > 1] == []
    assert len(of(decision.actions, StartSpawn, EndSpawn)) <= 1
    assert len(of(decision.actions, AckMail)) <= ACKS_PER_TICK
    for line in (*map(describe, decision.actions), *(text for _, _, text in decision.events)):
        assert line.isprintable()
    assert T0 < next_deadline(decision, seen, config) <= T0 + config.interval


@ticks
def test_memory_keeps_only_what_exists_and_every_matter_it_opens_has_a_letter(seen, memory, config):
    seen = seen.but(ports={**seen.ports, "git": Port()})
    after = decide(seen, memory, config).memory
    there = {*seen.sightings, *(folder for folder, _ in seen.strangers), *after.retirements}
    assert set(after.polecats) <= there
    assert set(after.retirements) <= {*memory.retirements, *seen.sightings}
    assert set(after.requests) <= {*memory.requests, *seen.sightings}
    assert {matter.name for matter in after.escalations.values()} <= {"", *there, *memory.retirements}
    neighbours = {f"town.{who}" for who in ("mayor", "deacon", "refinery")}
    looks = {f"look.{name}" for name in after.polecats}
    assert set(after.ports) <= {*seen.ports, *memory.ports, *looks, *neighbours, "kept-back"}
    if seen.issues is not None:
        known = {issue.id for issue in seen.issues if issue.status not in CLOSED}
        assert {*after.issues, *after.spawned_issues} <= known
    assert len(after.failures) <= BREAKER_FAILURES
    assert all(len(track.agents) <= AGENTS_KEPT for track in after.polecats.values())
    assert all(len(request.mails) <= ACKS_PER_TICK for request in after.requests.values())
    for key, matter in after.escalations.items():
        if key not in memory.escalations or memory.escalations[key].raises != matter.raises:
            assert f"{key}.{int(matter.opened_at)}.{matter.raises}" in after.pending


@st.composite
def worlds(draw):
    """Return a world after some hours in which anything may have happened to its workers."""
    world = World(
        auto_spawn=draw(st.booleans()),
        on_dead=draw(st.sampled_from(["report", "restart"])),
        stuck_after=draw(st.sampled_from([60, 1800])),
        max_workers=3,
    )
    world.queue("de-1", "de-2")
    for name in NAMES:
        world.add(name).record = draw(records)
    for _ in range(2):
        world.tick(3 * MIN)
    for name in NAMES:
        worker = world.workers[name]
        getattr(worker, draw(st.sampled_from(["commit", "edit", "show", "leave", "end", "start"])))()
        worker.blockers = draw(blockers)
        worker.persons = draw(st.integers(0, 1))
        if draw(st.booleans()):
            world.ask(name)
    if draw(st.booleans()):
        world.mail("HELP")
    world.holds = dict.fromkeys(draw(st.sets(names, max_size=1)), "mine")
    world.now += draw(st.sampled_from([30, 600, 1900, 4000]))
    world.tick(gap=draw(st.booleans()))
    world.now += draw(st.sampled_from([30, 600, 1900, 4000]))
    return world


@given(worlds())
def test_deciding_again_on_a_world_that_has_not_changed_does_nothing(world):
    """After a perfect perform the next tick finds its work done; only time brings more."""
    world.tick(0.0)
    for _ in range(2):  # ticks in which somebody was dead, or all was calm, are counted up to two
        assert world.round() == []
    before = world.disk
    assert (world.round(), world.disk) == ([], before)


# ---- tables of actions and outcomes ---------------------------------------------------------------------------------


def test_every_action_has_a_hand_an_outcome_and_words():
    kinds = set(Action.__subclasses__())
    assert set(witness.PERFORM) == set(witness.OUTCOME_KIND) == kinds
    assert set(SETTLE) <= set(witness.OUTCOME_KIND.values())
    some = {
        "pane_id": "%1",
        "text": "t",
        "letter": Letter(to="m", subject="s", body="", at=T0),
        "name": "a",
        "issue": make_issue(),
        "retirement": Retirement(name="a", id="a/x", at=T0),
        "claim": make_claim(),
        "step": "tell",
        "sight": SpawnSight(alive=False),
        "mark": "m",
        "sessions": ("de-a",),
    }
    for kind in kinds:
        given = {field: value for field, value in some.items() if field in kind._fields}
        action = kind(subject="it\x1b[31m", why="so", **given)
        assert describe(action).endswith("it (so)")
        assert len(describe(action)) > len("it (so) ")


# ---- precedence and duties ------------------------------------------------------------------------------------------


def stuck() -> tuple:
    """Return a stuck worker and what is remembered of it: it is due for its nudge."""
    sighting = make_sighting(activity_at=T0 - 40 * MIN)
    return sighting, make_track(sighting, state="stuck", quiet_from_at=T0 - 40 * MIN, state_at=T0 - 30)


def everything_due(**changes):
    """Return an observation and a memory in which each duty has something to do."""
    sighting, track = stuck()
    beta = make_sighting("beta", session_id="$2", pane_id="%2")
    mail = Mail(id="m1", sender="demo/beta", subject="LIFECYCLE: Shutdown beta", body="", at=T0)
    seen = make_seen(
        sighting,
        beta,
        looks={"alpha": Look(name="alpha", at=T0, ok=True)},
        issues=(make_issue(),),
        mails=(mail, mail.but(id="m2", subject="HELP")),
        claims={"de-7": make_claim("de-7", "handed-over")},
    )
    return seen.but(**changes), Memory(polecats={"alpha": track})


def test_a_tick_does_each_duty_in_order():
    seen, memory = everything_due()
    decision = decide(seen, memory, settings())
    assert [type(action).__name__ for action in decision.actions] == [
        "AckMail",
        "Nudge",
        "Retire",
        "StartSpawn",
        "CheckMerged",
        "SendLetter",
        "SweepTrash",
    ]


@pytest.mark.parametrize(
    ("duty", "expected"),
    [
        ("health", ["Nudge alpha"]),
        ("shutdown", []),
        ("spawn", ["StartSpawn de-1"]),
    ],
)
def test_a_person_asks_for_one_duty_alone(duty, expected):
    seen, memory = everything_due(person=True, duties=frozenset({duty}))
    assert words(decide(seen, memory, settings()).actions) == expected


def test_nothing_but_books_is_kept_for_a_person_who_only_looks():
    seen, memory = everything_due(person=True, duties=frozenset())
    decision = decide(seen, memory, settings())
    assert decision.actions == ()
    assert set(decision.verdicts) == {"alpha", "beta"}


def test_a_tick_in_which_nothing_happens_copies_no_table():
    """To put one entry copies its table: done for each of a thousand workers, a tick copies a million entries."""
    seen = make_seen(*(make_sighting(f"w{number}") for number in range(9)))
    settled = Memory()
    for _ in range(3):
        settled = decide(seen, settled, settings()).memory
    after = decide(seen, settled, settings()).memory
    assert after == settled
    assert [field for field in after.fields() if getattr(after, field) is not getattr(settled, field)] == []


def test_a_worker_that_rests_gets_no_more_heartbeats():
    """With them gt 1.0.1 never uses a finished worker again, and makes one more for each issue."""
    world = World(auto_spawn=False)
    world.town = witness.Town(path="/t", version="1.0.1", session="de-{name}", refinery="de-refinery", reuses=True)
    world.queue("de-1", "de-2", "de-3")
    for name, issue in (("alpha", "de-1"), ("beta", "de-2"), ("gamma", "de-3")):
        world.add(name).record = {"issue": issue}
    for issue in ("de-1", "de-3"):
        world.issues[issue] = world.issues[issue].but(status="closed")
    world.workers["gamma"].persons = 1  # somebody looks in
    world.wait(10 * MIN)
    beats = [one.sessions for one in of(world.done, witness.SendHeartbeats)]
    assert {len(one) for one in beats} == {3}
    world.wait(30 * MIN)
    world.done.clear()
    world.wait(10 * MIN)
    sessions = {name: world.workers[name].pane.session for name in ("beta", "gamma")}
    assert {one.sessions for one in of(world.done, witness.SendHeartbeats)} == {tuple(sorted(sessions.values()))}


# ---- the books ------------------------------------------------------------------------------------------------------


def test_todays_figures_start_anew_with_the_local_day():
    memory = Memory(day="2025-06-14", stats={"total_nudges": 5, "today_nudges": 2})
    after = decide(make_seen(), memory, settings()).memory
    assert (after.day, after.stats) == ("2025-06-15", {"total_nudges": 5, "today_nudges": 0})
    same = decide(make_seen(), memory.but(day="2025-06-15"), settings()).memory
    assert same.stats == memory.stats


def test_live_sessions_are_noted_as_the_first_witness_did():
    gone = Sighting(name="beta", worktree=make_tree("beta"), session=ABSENT)
    after = decide(make_seen(make_sighting(), gone), Memory(), settings()).memory
    assert (after.monitored_polecats, after.rig_name) == (("alpha",), "demo")


def test_what_is_gone_is_forgotten_and_its_escalations_are_closed():
    matter = Escalation(cause="dead", name="alpha", instance="1", summary="so", opened_at=T0, raised_at=T0, raises=1)
    memory = Memory(
        polecats={"alpha": make_track()},
        escalations={"dead.alpha.1": matter},
        ports={"look.alpha": PortTrack(since_at=T0, reason="no")},
    )
    after = decide(make_seen(), memory, settings())
    assert (after.memory.polecats, after.memory.escalations, after.memory.ports) == ({}, {}, {})
    assert [action.letter.subject for action in of(after.actions, SendLetter)] == ["RESOLVED: Polecat alpha dead"]


def test_nothing_is_forgotten_on_a_look_that_failed():
    memory = Memory(polecats={"alpha": make_track()}, issues={"de-1": Effort(attempts=2)}, spawned_issues=("de-1",))
    seen = make_seen(issues=None, ports={"git": Port(state=UNKNOWN), "queue": Port(state=UNKNOWN)})
    after = decide(seen, memory, settings()).memory
    assert (set(after.polecats), set(after.issues), after.spawned_issues) == ({"alpha"}, {"de-1"}, ("de-1",))


def test_a_worker_whose_retirement_is_under_way_is_not_forgotten():
    memory = Memory(
        polecats={"alpha": make_track()},
        retirements={"alpha": Retirement(name="alpha", id="alpha/x", at=T0, step="remove", next_at=T0 + 9)},
    )
    assert set(decide(make_seen(), memory, settings()).memory.polecats) == {"alpha"}


def test_kept_folders_are_swept_every_ten_minutes():
    world = World()
    world.wait(25 * MIN)
    assert len(of(world.done, SweepTrash)) == 3


# ---- the next deadline ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "config", "after_s"),
    [
        pytest.param({}, {"interval": 30}, 30, id="interval"),
        pytest.param({"requests": {"a": Request(name="a", sender="x", at=T0, next_at=T0 + 7)}}, {}, 7, id="request"),
        pytest.param(
            {"retirements": {"a": Retirement(name="a", id="a/x", at=T0, next_at=T0 + 8)}}, {}, 8, id="retirement"
        ),
        pytest.param(
            {"pending": {"k": Letter(to="m", subject="s", body="", at=T0, next_at=T0 + 9)}}, {}, 9, id="letter"
        ),
        pytest.param(
            {"pending": {"k": Letter(to="m", subject="s", body="", at=T0, next_at=T0 - 9)}}, {}, 30, id="past"
        ),
        pytest.param({"spawned_at": T0 - 1}, {"spawn_delay_ms": 4000}, 3, id="spawn-delay"),
        pytest.param({"spawned_at": T0 - 1}, {"spawn_delay_ms": 4000, "auto_spawn": False}, 30, id="nothing-to-spawn"),
        pytest.param({"spawned_at": T0 - 1}, {"spawn_delay_ms": 4000, "issue_prefix": "x"}, 30, id="nothing-spawnable"),
    ],
)
def test_the_next_tick_is_due_after_an_interval_or_when_something_is_scheduled(memory, config, after_s):
    seen = make_seen(issues=(make_issue(),))
    decision = witness.Decision(memory=Memory(**memory), actions=())
    assert next_deadline(decision, seen, settings(**config)) == T0 + after_s


def test_memory_stays_bounded_over_ten_thousand_ticks_of_coming_and_going():
    """Workers, issues, mails and escalations come and go for three and a half days; what is gone is forgotten."""
    chance = random.Random(4)
    world = World(auto_spawn=True, max_workers=3, spawn_delay_ms=0)
    longest, born = 0, 0
    for tick in range(10_000):
        if tick % 7 == 0 and len(world.workers) < 6:
            born += 1
            world.add(f"w{born}")
        for worker in list(world.workers.values()):
            roll = chance.random()
            if roll < 0.02 and worker.alive:
                worker.end()
            elif roll < 0.05:
                worker.commits += 1
                world.ask(worker.name)
            elif roll < 0.06:
                worker.blockers = () if worker.blockers else (DIRT,)
            elif roll < 0.7 and worker.alive:
                worker.commit().show()
        if tick % 50 == 0:
            world.issues = {} if tick % 500 == 0 else world.issues
            world.queue(f"de-{tick}")
            world.mail("HELP", sender="demo/somebody")
        if world.child is not None and chance.random() < 0.3:
            world.end_child(chance.random() < 0.7, "no such command")
        world.tick()
        longest = max(longest, len(world.disk))
        world.done.clear()
        world.sent.clear()
        world.acked.clear()
        world.events.clear()
        world.retired.clear()
    assert born > 100
    assert longest < 60_000  # bytes; a rig of six workers and ten issues, all of them in trouble
    world.workers, world.issues, world.child = {}, {}, None
    world.wait(2 * HOUR)
    memory = world.memory
    assert (memory.polecats, memory.requests, memory.retirements, memory.issues) == ({}, {}, {}, {})
    assert (memory.escalations, memory.pending, memory.spawned_issues, memory.spawn) == ({}, {}, (), None)
