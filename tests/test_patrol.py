"""What only the witness of a Gas Town did, and what keeps its workers' work safe from gt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.world import NOW, OK, Story, config, outcome, seen, sighting, tree

import witness as w

MIN = 60.0
TOWN = {
    "path": "/town",
    "version": "1.0.1",
    "session": "de-{name}",
    "refinery": "de-refinery",
    "socket": "town-3e7c23",
    "typed": True,
    "reuses": True,
}
MODERN = w.Town(**TOWN)
OLD = w.Town(**{**TOWN, "version": "0.5.0", "session": "gt-{rig}-{name}", "refinery": "gt-demo-refinery"}).but(
    reuses=False, typed=False, socket=""
)
ACTIONS = (w.KeepWork, w.SendHeartbeats, w.Patrol, w.StartSession)


class Days(Story):
    """A rig in a town, tick after tick; what keeps, beats and patrols came to is what a test says it was."""

    def __init__(self, town=MODERN, **settings):
        super().__init__(**settings)
        self.town, self.now = town, NOW
        self.found = {"waiting": 0, "mayor": "", "deacon": "", "gates": ""}
        self.fails = {}  # by kind of action: why it fails
        self.done = []

    def tick(self, *sightings, after=0.0, **fields):
        self.now += after
        given = {"town": self.town, "sessions": frozenset({"de-refinery"}), **fields}
        decision = super().tick(*sightings, now=self.now, **given)
        actions = [action for action in decision.actions if isinstance(action, ACTIONS)]
        self.done += actions
        for action in actions:
            data = {"mark": action.mark} if isinstance(action, w.KeepWork) else {}
            data = self.found if isinstance(action, w.Patrol) else data
            kind = w.OUTCOME_KIND[type(action)]
            why = self.fails.get(type(action), "")
            self.outcomes += (outcome(kind, action.subject, ok=not why, detail=why, **data),)
        return decision

    def of(self, kind) -> list:
        """Return the actions of a kind so far."""
        return [action for action in self.done if isinstance(action, kind)]

    def rounds(self, number, every=w.PATROL_S, **fields):
        """Go through the town so often."""
        for _ in range(number):
            self.tick(after=every, **fields)
            self.tick(after=1, **fields)


def gone(name="alpha", **fields):
    """Return a worker without a session."""
    return sighting(name, session=w.ABSENT, **fields)


def done_worker(name="alpha", **fields):
    """Return a live worker whose own record says that it has no task."""
    worktree = tree(name, branch=f"polecat/{name}", record={"state": "done"}, record_at=NOW - 10)
    return sighting(name, worktree=worktree, **fields)


# ---- heartbeats -----------------------------------------------------------------------------------------------------


def test_heartbeats_are_sent_every_ninety_seconds_and_well_before_gt_takes_a_session_for_dead():
    days = Days()
    for _ in range(61):
        days.tick(sighting(at=days.now), after=10)
    beats = days.of(w.SendHeartbeats)
    assert len(beats) == 7
    assert {one.sessions for one in beats} == {("gt-demo-alpha",)}
    assert w.BEAT_S + w.SESSION_START_S + 20 < 180  # a neighbour and the inbox may hang in the tick before


def test_heartbeats_are_sent_for_live_agents_alone():
    shell = sighting("beta", shell="interactive", pane_fields={"command": "bash", "number": 2})
    dead = sighting("delta", pane_fields={"dead": True, "number": 4})
    days = Days()
    days.tick(gone("gamma"), shell, dead, sighting("alpha"))
    (beat,) = days.of(w.SendHeartbeats)
    assert beat.sessions == ("gt-demo-alpha",)


def test_heartbeats_are_sent_for_a_shell_while_a_person_is_attached_to_it_and_its_work_is_kept():
    days = Days()
    for attached in (1, 0):
        days.tick(sighting(shell="interactive", pane_fields={"command": "bash", "attached": attached}), after=w.BEAT_S)
    (beat,) = days.of(w.SendHeartbeats)
    assert beat.sessions == ("gt-demo-alpha",)
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha"]


def test_no_heartbeat_is_due_without_a_live_agent_and_one_that_comes_gets_its_own_at_once():
    days = Days()
    days.tick(gone())
    assert days.of(w.SendHeartbeats) == []
    for after in (30, 30, w.BEAT_S - 30):
        days.tick(sighting(at=NOW), after=after)
    assert len(days.of(w.SendHeartbeats)) == 2


def test_a_look_that_failed_puts_no_heartbeat_off():
    days = Days()
    days.tick(sighting(at=NOW))
    days.tick(sighting(at=NOW, session=w.UNKNOWN, pane=None), after=w.BEAT_S)
    assert len(days.of(w.SendHeartbeats)) == 1
    days.tick(sighting(at=NOW), after=30)
    assert len(days.of(w.SendHeartbeats)) == 2


def test_heartbeats_that_fail_are_told_once_and_sent_in_each_tick_until_they_are_heard():
    days = Days()
    days.fails[w.SendHeartbeats] = "gt-demo-alpha: no town"
    for _ in range(3):
        days.tick(sighting(at=NOW), after=30)
    days.fails = {}
    for _ in range(3):
        days.tick(sighting(at=NOW), after=30)
    assert len(days.of(w.SendHeartbeats)) == 4
    told = [one[1:] for one in days.events if one[0] in ("escalated", "resolved")]
    assert [one[0] for one in told] == ["beat", "beat"], told
    assert "no town" in told[0][1]


def test_next_tick_comes_before_a_heartbeat_is_missed_whatever_the_interval():
    days = Days(interval=600)
    decision = days.tick(sighting(at=NOW))
    for town, after in ((MODERN, w.BEAT_S), (OLD, 600)):
        there = seen(sighting(at=NOW), town=town)
        assert w.next_deadline(decision, there, days.config) == there.now + after


@pytest.mark.parametrize("town", [OLD, None])
def test_nothing_is_kept_or_beaten_where_a_sling_reuses_nothing(town):
    days = Days(town)
    for _ in range(3):
        days.tick(gone("alpha"), sighting("beta"), after=w.BEAT_S)
    assert days.of(w.SendHeartbeats) == days.of(w.KeepWork) == []


# ---- work at risk ---------------------------------------------------------------------------------------------------


def test_work_of_one_who_is_gone_is_kept_at_once_and_once_in_each_state():
    days = Days()
    for _ in range(4):
        days.tick(gone(at=NOW - 10), after=10)
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha"]
    days.tick(gone(at=NOW + 100), after=100)  # somebody has worked there
    days.tick(gone(at=NOW + 100), after=10)
    assert len(days.of(w.KeepWork)) == 2
    other = tree("alpha", git_at=NOW + 100, branch="polecat/alpha/de-2@x")
    days.tick(gone(worktree=other), after=10)
    days.tick(gone(worktree=other), after=10)
    assert len(days.of(w.KeepWork)) == 3


def test_kept_work_is_looked_at_again_every_five_minutes_and_the_longest_ago_first():
    days = Days()
    names = [f"w{number:02d}" for number in range(w.KEEPS_PER_TICK + 5)]
    for after in (0, 1, 1, w.KEPT_LOOK_S - 2, 1, 1):
        days.tick(*(gone(name) for name in names), after=after)
    done = [(one.subject, one.again) for one in days.of(w.KeepWork)]
    assert done == [(name, again) for again in (False, True) for name in names]


def test_kept_work_that_cannot_be_looked_at_again_holds_a_sling_back_until_it_can():
    days = Days()
    days.tick(gone(), after=10)
    days.tick(gone(), after=10)
    days.fails[w.KeepWork] = "no space left"
    days.tick(gone(), after=w.KEPT_LOOK_S)
    assert days.of(w.KeepWork)[-1].again
    days.tick(gone(), after=10)
    assert not days.of(w.KeepWork)[-1].again
    assert [subject for subject in days.subjects() if "kept" in subject]
    assert not w.asks_for_more([outcome("keep", "alpha", again=True)])
    assert w.asks_for_more([outcome("keep", "alpha", again=False)])


def test_idle_worker_with_a_session_is_at_risk_and_a_busy_one_is_not():
    days = Days()
    days.tick(done_worker("alpha"), sighting("beta"))
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha"]


def test_worker_whose_agent_has_left_a_shell_is_at_risk():
    days, worktree = Days(), tree(record={"issue": "de-1"})
    days.tick(sighting(worktree=worktree))
    assert days.of(w.KeepWork) == []
    for _ in range(2):
        days.tick(sighting(worktree=worktree, shell="interactive", pane_fields={"command": "bash"}), after=10)
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha"]


@pytest.mark.parametrize(
    "safe",
    [
        gone(process_lives=True),
        sighting(session=w.UNKNOWN),
        gone(worktree=tree(trouble="its .git names no worktree")),
    ],
    ids=["a process lives", "unknown session", "trouble"],
)
def test_work_is_not_kept_where_somebody_may_be_in_it_or_it_cannot_be_read(safe):
    days = Days()
    days.tick(safe)
    assert days.of(w.KeepWork) == []


@pytest.mark.parametrize("step", [step for step, _ in w.STEPS])
def test_work_in_a_worktree_whose_retirement_was_broken_off_is_kept(step):
    """Its next try may wait for a hold, and what is there may be new: an edit since, or the next worker of the name."""
    days = Days()
    retirement = w.Retirement(name="alpha", id="alpha/1", at=NOW, step=step, next_at=NOW + 900)
    days.memory = w.Memory(retirements={"alpha": retirement})
    days.tick(gone())
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha"]


def test_work_that_cannot_be_kept_is_told_once_and_tried_again_until_it_is():
    days = Days()
    days.fails[w.KeepWork] = "no space left"
    for _ in range(3):
        days.tick(gone(at=NOW - 10), after=10)
    assert len(days.of(w.KeepWork)) == 3
    told = [subject for subject in days.subjects() if "kept" in subject]
    assert len(told) == 1
    assert "no space left" in told[0]
    days.fails.clear()
    days.tick(gone(at=NOW - 10), after=10)
    days.tick(gone(at=NOW - 10), after=10)
    days.tick(gone(at=NOW - 10), after=10)
    assert len(days.of(w.KeepWork)) == 4
    assert days.subjects()[-1] == "RESOLVED: Polecat alpha unkept"


@pytest.mark.parametrize(
    ("after", "over"),
    [
        (sighting(), True),
        (sighting(session=w.UNKNOWN, pane=None), False),
        (gone(process_lives=True), False),
        (sighting(worktree=tree(trouble="its HEAD cannot be read")), False),
    ],
    ids=["it lives", "unknown session", "a process lives", "trouble"],
)
def test_work_that_cannot_be_kept_is_no_matter_any_more_once_its_worker_lives_again(after, over):
    days = Days()
    days.tick(sighting())
    days.fails[w.KeepWork] = "no space left"
    for one in (gone(), gone(), after):
        days.tick(one, after=40)
    assert ("unkept" not in {one.cause for one in days.memory.escalations.values()}) == over
    assert ("RESOLVED: Polecat alpha unkept" in days.subjects()) == over


def test_nothing_is_kept_or_beaten_while_paused():
    days = Days()
    days.tick(gone("alpha"), sighting("beta"), paused="a person said so")
    assert days.done == []


# ---- the round ------------------------------------------------------------------------------------------------------


def test_round_is_made_every_five_minutes_and_not_by_the_first_tick_or_a_person():
    days = Days()
    days.tick(first=True)
    assert days.of(w.Patrol) == []
    days.tick(person=True, after=1)
    assert days.of(w.Patrol) == []
    for _ in range(91):
        days.tick(after=10)
    assert len(days.of(w.Patrol)) == 4
    none = Days(None)
    none.tick(after=900)
    assert none.of(w.Patrol) == []


@pytest.mark.parametrize("who", ["mayor", "deacon"])
def test_neighbour_found_dead_twice_is_told_once_and_its_return_once(who):
    days = Days()
    days.found[who] = "it has no session"
    days.rounds(1)
    assert days.subjects() == []  # it may be about to start
    days.rounds(4)
    assert days.subjects() == [f"ESCALATION: demo: The {who} is not alive: it has no session"]
    days.found[who] = ""
    days.rounds(3)
    assert days.subjects()[1:] == [f"RESOLVED: town-{who}"]
    days.found[who] = "it has no session"
    days.rounds(2)
    assert len(days.subjects()) == 3


def test_neighbour_that_comes_back_before_the_second_look_is_not_told():
    days = Days()
    for trouble in ("it has no session", "", "it has no session", ""):
        days.found["mayor"] = trouble
        days.rounds(1)
    assert days.subjects() == []


def test_what_is_not_known_of_a_neighbour_changes_nothing():
    days = Days()
    days.found["deacon"] = None
    days.rounds(3)
    assert days.subjects() == []
    days.found["deacon"] = "it has no session"
    days.rounds(2)
    days.found["deacon"] = None
    days.rounds(3)
    assert len(days.subjects()) == 1


def test_refinery_is_started_when_work_waits_and_it_has_no_session():
    days = Days()
    days.found["waiting"] = 2
    days.rounds(1, sessions=frozenset({"de-alpha"}))
    (start,) = days.of(w.StartSession)
    assert (start.subject, start.why) == ("refinery", "2 merge requests wait, and it does not run")
    assert days.subjects() == []


@pytest.mark.parametrize(
    ("waiting", "sessions"),
    [(0, frozenset()), (2, frozenset({"de-refinery"})), (None, frozenset()), (2, None)],
    ids=["nothing waits", "it runs", "unknown queue", "unknown sessions"],
)
def test_refinery_is_left_alone_otherwise(waiting, sessions):
    days = Days()
    days.found["waiting"] = waiting
    days.rounds(3, sessions=sessions)
    assert days.of(w.StartSession) == []
    assert days.subjects() == []


def test_refinery_that_does_not_start_is_told_once_and_tried_every_round():
    days = Days()
    days.found["waiting"] = 1
    days.fails[w.StartSession] = "starting refinery: no agent"
    days.rounds(4, sessions=frozenset())
    assert len(days.of(w.StartSession)) == 4
    assert days.subjects() == [
        "ESCALATION: demo: The refinery has work, and could not be started: starting refinery: no agent"
    ]
    days.fails.clear()
    days.found["waiting"] = 0
    days.rounds(1)
    assert days.subjects()[1:] == ["RESOLVED: town-refinery"]


def test_refinery_that_ends_again_and_again_is_told_once():
    """Each start succeeds, and five minutes later it is gone: nobody would ever hear of it."""
    days = Days()
    days.found["waiting"] = 1
    days.rounds(5, sessions=frozenset())
    assert len(days.of(w.StartSession)) == 5
    told = "The refinery is not alive: 1 merge requests wait, and it has no session"
    assert days.subjects() == [f"ESCALATION: demo: {told}"]


# ---- laws -----------------------------------------------------------------------------------------------------------

WORKERS = st.lists(
    st.tuples(
        st.sampled_from(["alpha", "beta", "gamma"]),
        st.sampled_from([w.PRESENT, w.ABSENT, w.UNKNOWN]),
        st.booleans(),
        st.sampled_from(["", "interactive", "plain"]),
        st.booleans(),
    ),
    max_size=3,
    unique_by=lambda one: one[0],
)


def made(rows) -> list:
    """Return the workers of some rows."""
    found = []
    for number, (name, session, lives, shell, has_task) in enumerate(rows):
        record = {"issue": f"de-{number}"} if has_task else {"state": "idle"}
        fields = {"pane_fields": {"number": number + 1}} if session == w.PRESENT else {}
        worktree = tree(name, record=record)
        found.append(sighting(name, session=session, worktree=worktree, process_lives=lives, shell=shell, **fields))
    return found


@given(WORKERS, st.booleans())
def test_law_only_who_may_lose_work_is_kept_and_only_who_lives_gets_a_heartbeat(rows, blind):
    ports = {**OK, "tmux": w.Port(state=w.UNKNOWN, reason="no answer")} if blind else OK
    look = seen(*made(rows), town=MODERN, ports=ports, sessions=frozenset())
    decision = w.decide(look, w.Memory(), config())
    kept = {one.subject for one in decision.actions if isinstance(one, w.KeepWork)}
    beaten = {name for one in decision.actions if isinstance(one, w.SendHeartbeats) for name in one.sessions}
    live = {f"gt-demo-{name}" for name, session, _, shell, _ in rows if session == w.PRESENT and shell != "interactive"}
    working = {
        name
        for name, session, lives, shell, has_task in rows
        if has_task and (shell != "interactive" if session == w.PRESENT else lives)
    }
    lost = {name for name, session, lives, _, _ in rows if session == w.ABSENT and not lives}
    assert beaten == live
    assert kept.isdisjoint(working)
    assert lost <= kept
    again = w.decide(look, w.Memory(), config())
    assert (again.actions, again.memory) == (decision.actions, decision.memory)


@given(WORKERS)
def test_law_what_is_kept_is_not_kept_again(rows):
    days = Days()
    workers = made(rows)
    days.tick(*workers)
    before = len(days.of(w.KeepWork))
    days.tick(*workers, after=10)
    days.tick(*workers, after=10)
    assert len(days.of(w.KeepWork)) == before


def test_mark_changes_with_the_branch_and_with_what_git_writes():
    one = gone(at=NOW)
    marks = {
        w.mark_of(one, False),
        w.mark_of(one, True),
        w.mark_of(gone(at=NOW + 1), False),
        w.mark_of(gone(worktree=tree(git_at=NOW, branch="polecat/alpha-2")), False),
    }
    assert len(marks) == 4
    assert w.mark_of(one, False) == w.mark_of(gone(at=NOW), False)


@pytest.mark.parametrize("how", ["request", "hold", "dead pane"])
def test_work_of_one_whose_agent_left_a_shell_is_kept_whatever_else_is_said_of_it(how):
    """Refused, or held, it is neither idle nor dead; gt's next sling resets its worktree all the same."""
    days = Days()
    days.tick(sighting(at=NOW))
    if how == "request":
        asked = w.Request(name="alpha", sender="demo/alpha", at=NOW - 5, next_at=NOW + 1e6, looks=1)
        days.memory = days.memory.but(requests={"alpha": asked})
    left = sighting(at=NOW, shell="interactive") if how != "dead pane" else sighting(at=NOW, pane_fields={"dead": True})
    for _ in range(3):
        days.tick(left, after=40, holds={"alpha": "look"} if how == "hold" else {})
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha"]


def test_work_is_kept_again_after_it_went_on_although_git_was_not_called():
    """Its bead was closed, and opened for it again: same session, same branch, and a file that git never saw."""
    days = Days()
    for one in (done_worker(), sighting(), gone()):
        for _ in range(2):
            days.tick(one, after=40)
    assert [one.subject for one in days.of(w.KeepWork)] == ["alpha", "alpha"]


def test_work_is_kept_once_more_when_its_worker_comes_to_rest():
    """Until then it had heartbeats, and may have written what git was not called for."""
    days = Days(stuck_after=300)
    for _ in range(4):
        days.tick(done_worker(at=NOW - 10), after=200)
    assert [one.mark[-8:] == " at rest" for one in days.of(w.KeepWork)] == [False, True]


def test_work_that_cannot_be_kept_holds_up_nobody_elses():
    names = [f"w{number:02d}" for number in range(w.KEEPS_PER_TICK + 5)]
    days = Days()
    days.fails[w.KeepWork] = "disk full"
    for _ in range(3):
        days.tick(*(gone(name) for name in names), after=40)
    assert {one.subject for one in days.of(w.KeepWork)} == set(names)
