"""Custody of issues: given back, handed over, orphaned, merged, and changed by others in a shared queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.simulation import (
    ACTOR,
    HOUR,
    MIN,
    T0,
    World,
    make_claim,
    make_draft,
    make_issue,
    make_seen,
    make_sighting,
    of,
    settings,
)

import witness
from witness import (
    KEPT,
    UNKNOWN,
    CheckMerged,
    Memory,
    Outcome,
    Port,
    ReleaseOrphan,
    Retirement,
    SettleClaim,
    Spawn,
    check_merged,
    settle_claims,
    settle_owed,
    settle_release,
    watch_orphans,
)

OTHER = "demo/witness@other"


# ---- merged work ----------------------------------------------------------------------------------------------------


def test_handed_over_work_is_looked_for_every_ten_minutes():
    world = World()
    world.claims = {"de-1": make_claim("de-1", "handed-over"), "de-2": make_claim("de-2", "working")}
    world.wait(25 * MIN)
    assert [(action.subject, action.fetch) for action in of(world.done, CheckMerged)] == [("de-1", True)] * 3


@pytest.mark.parametrize(
    ("seen", "config"),
    [
        ({}, {"close_merged": False}),
        ({"claims": None}, {}),
        ({"ports": {"git": Port(state=UNKNOWN)}}, {}),
        ({"claims": {"de-2": make_claim("de-2")}}, {}),
    ],
)
def test_merged_work_is_not_looked_for_without_need_or_sight(seen, config):
    given = {"claims": {"de-1": make_claim("de-1", "handed-over", actor=ACTOR)}, **seen}
    draft = make_draft(make_seen(**given), config=settings(**config))
    check_merged(draft)
    assert (draft.actions, draft.memory.merged_at) == ([], 0.0)


# ---- orphans --------------------------------------------------------------------------------------------------------


def orphaned(**config) -> World:
    """Return a world in which somebody took the worktree of an issue's worker away."""
    world = World(**config)
    world.queue("de-1")
    world.claims["de-1"] = make_claim("de-1")
    world.add("de-1", "de-1")
    world.wait(MIN)
    del world.workers["de-1"]
    return world


def test_an_issue_whose_workers_worktree_is_gone_is_told_once_and_stays():
    """Nobody would ever work on it again, and nobody would say so."""
    world = orphaned()
    world.wait(3 * HOUR)
    told = [letter for letter in world.sent.values() if "worktree is gone" in letter.body]
    assert len(told) == 1
    assert "`spawn reset de-1` frees it" in told[0].body
    assert world.claims["de-1"].state == "working"


def test_it_is_freed_after_the_time_that_was_set_and_not_before():
    world = orphaned(release_orphans_after=600)
    world.wait(9 * MIN)
    assert world.claims["de-1"].state == "working"
    world.wait(3 * MIN)
    assert world.claims["de-1"].state == "released"
    assert of(world.done, ReleaseOrphan)[0].why == "de-1 is gone"
    world.wait(MIN)
    assert any(subject.startswith("RESOLVED") for subject in world.subjects())
    assert world.memory.escalations == {}


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.failing.update(git="hangs"),
        lambda world: world.failing.update(folder="permission denied"),
        lambda world: world.failing.update(queue="hangs"),
        lambda world: setattr(world, "claims_lost", True),
        lambda world: world.claims.update({"de-1": make_claim("de-1", actor="demo/witness@other")}),
        lambda world: world.claims.update({"de-1": make_claim("de-1", "handed-over")}),
        lambda world: world.queue("de-1", status="closed"),
        lambda world: setattr(world, "strangers", (("de-1", "a symlink"),)),
        lambda world: world.add("de-1", "de-1"),
    ],
    ids=["git", "folder", "queue", "claims", "another's", "handed-over", "closed", "stranger", "there"],
)
def test_what_is_not_known_to_be_gone_is_no_orphan(change):
    world = orphaned(release_orphans_after=1)
    change(world)
    world.wait(10 * MIN)
    assert of(world.done, ReleaseOrphan) == []
    assert not any("worktree is gone" in letter.body for letter in world.sent.values())


# ---- workers that no look at worktrees tells of ---------------------------------------------------------------------


def strayed(**config) -> World:
    """Return a world in which somebody moved the worktree of a living worker away."""
    world = orphaned(**config)
    world.list_sessions = lambda: frozenset({"gt-demo-de-1"})
    return world


def test_worker_that_lives_without_its_worktree_is_told_once_and_until_it_ends():
    """Moved or deleted by hand, its worktree took it out of every look; twenty hours later nobody knew of it."""
    world = strayed(release_orphans_after=1)
    world.wait(3 * HOUR)
    (letter,) = world.sent.values()
    assert "de-1, which works on de-1, lives in session gt-demo-de-1 without its worktree" in letter.body
    assert "`tmux kill-session -t =gt-demo-de-1`" in letter.body
    assert world.claims["de-1"].state == "working"
    world.list_sessions = frozenset
    world.wait(10 * MIN)
    assert "RESOLVED: stray-de-1" in world.subjects()
    assert world.claims["de-1"].state == "released"  # nothing of it is left: it is an orphan like any other


def test_worker_whose_worktree_is_back_is_no_stray():
    world = strayed()
    world.wait(MIN)
    world.add("de-1", "de-1")
    world.wait(10 * MIN)
    assert world.memory.escalations == {}
    assert "RESOLVED: stray-de-1" in world.subjects()


def finished(**changes) -> World:
    """Return a world whose worker closed its issue and ended without handing its work over."""
    world = World()
    world.queue("de-1", status="closed")
    world.claims["de-1"] = make_claim("de-1", **changes)
    world.add("de-1", "de-1").end()
    return world


def test_worker_that_closed_its_issue_and_ended_is_told_once_and_until_it_is_retired():
    """It is idle, and its commits and files stayed in its worktree for ever, told to nobody."""
    world = finished()
    world.wait(3 * HOUR)
    (letter,) = world.sent.values()
    assert "de-1 ended without handing over, although its issue de-1 is closed" in letter.body
    assert "`shutdown de-1` retires it" in letter.body
    assert of(world.done, witness.Restart) == []
    world.holds["de-1"] = "look"
    world.wait(MIN)
    del world.holds["de-1"]
    world.wait(10 * MIN)
    assert len(world.sent) == 1
    del world.workers["de-1"]
    world.wait(10 * MIN)
    assert world.subjects()[1:] == ["RESOLVED: left-de-1"]


@pytest.mark.parametrize(
    "change",
    [
        lambda world: world.workers["de-1"].start(),
        lambda world: setattr(world, "town", witness.Town(path="/t", version="1.0.1", session="s", refinery="r")),
        lambda world: world.claims.update({"de-1": make_claim(actor=OTHER)}),
        lambda world: world.claims.update({"de-1": make_claim(state="handed-over")}),
        lambda world: world.claims.clear(),
    ],
    ids=["it lives", "in a town", "another's", "handed over", "hand-made"],
)
def test_idle_worker_that_is_kept_or_nobodys_business_is_not_told(change):
    world = finished()
    change(world)
    world.wait(HOUR)
    assert not any("without handing over" in letter.body for letter in world.sent.values())


def test_worker_whose_worktree_is_being_retired_is_no_stray():
    memory = Memory(retirements={"de-1": Retirement(name="de-1", id="de-1/x", at=T0)})
    assert look_twice(make_claim(), memory=memory, sessions=LIVES).memory.escalations == {}


# ---- a queue that others use, too ----------------------------------------------------------------------------------

LIVES = frozenset({"gt-demo-de-1"})


def shared(*claims, issues=(), sightings=(), memory=None, **changes):
    """Return a decision under way over a queue that gives only what is ready and in progress."""
    known = {claim.issue: claim.but(shared=True) for claim in claims}
    seen = make_seen(*sightings, **{"whole": False, "issues": tuple(issues), "claims": known, **changes})
    return make_draft(seen, memory)


def steps(draft) -> list:
    """Return (issue, step) of what is to be settled."""
    return [(action.subject, action.step) for action in of(draft.actions, SettleClaim)]


def held(issue="de-1", assignee=ACTOR, **changes):
    return make_issue(issue, status="in_progress", assignee=assignee, **changes)


@pytest.mark.parametrize("owed", ["claim", "release", "label", "close"])
@pytest.mark.parametrize("state", ["working", "released", "handed-over", "closed"])
def test_what_is_owed_is_told_whatever_else_is_seen(owed, state):
    draft = shared(make_claim(state=state, owed=owed))
    settle_claims(draft)
    assert steps(draft) == [("de-1", "tell")]


def test_what_is_refused_for_good_does_not_keep_the_rest_back():
    """Ten issues that bd would not close once stood before every release."""
    claims = [make_claim(f"de-{number:02d}", "closed", owed="close") for number in range(20)]
    draft = shared(*claims, make_claim("zz", "released", owed="release"))
    settle_claims(draft)
    first = [action.subject for action in of(draft.actions, SettleClaim)]
    later = shared(*claims, make_claim("zz", "released", owed="release"), memory=draft.memory, now=T0 + 1)
    for issue in first:
        settle_owed(later, Outcome(kind="settle", subject=issue, ok=False, at=T0, detail="blocked by open issues"))
    settle_claims(later)
    assert {action.subject for action in of(later.actions, SettleClaim)} & set(first) == set()
    last = shared(*claims, make_claim("zz", "released", owed="release"), memory=later.memory, now=T0 + 2)
    for action in of(later.actions, SettleClaim):
        settle_owed(last, Outcome(kind="settle", subject=action.subject, ok=False, at=T0, detail="blocked"))
    settle_claims(last)
    assert steps(last) == [("zz", "tell")]


def test_person_learns_of_what_is_refused_again_and_again_and_of_its_end():
    memory, claim = Memory(), make_claim(state="closed", owed="close")
    for tries in range(1, 5):
        draft = shared(claim, memory=memory)
        settle_owed(draft, Outcome(kind="settle", subject="de-1", ok=False, at=T0, detail="blocked by open issues"))
        memory = draft.memory
        assert memory.owed["de-1"].attempts == tries
        assert len(memory.escalations) == (tries >= witness.SETTLE_TRIES)
    assert "blocked by open issues" in memory.escalations["owed-de-1.."].summary
    assert memory.owed["de-1"].next_at == T0 + witness.SEND_RETRY_S[3]
    told = shared(claim.but(owed=""), memory=memory)
    settle_claims(told)
    assert (told.memory.owed, told.memory.escalations) == ({}, {})


def test_person_tells_what_is_owed_and_changes_nothing_else():
    claims = [make_claim("de-1", "released", owed="release"), make_claim("de-2", "handed-over")]
    draft = shared(*claims, issues=[make_issue("de-2")], person=True)
    settle_claims(draft)
    assert steps(draft) == [("de-1", "tell")]


@pytest.mark.parametrize("state", ["claimed", "working", "failed", "handed-over"])
@pytest.mark.parametrize("there", [True, False])
def test_claim_that_was_made_beside_a_file_is_made_known_first(state, there):
    """A rig got a database after its work was handed over: open there meant to do it again."""
    sightings = [make_sighting("de-1")] if there else []
    draft = shared(issues=[make_issue()], sightings=sightings, claims={"de-1": make_claim(state=state)})
    settle_claims(draft)
    assert steps(draft) == [("de-1", "keep")]


def test_keeps_are_bounded_like_what_is_owed():
    """After a switch from the file hundreds of claims are made known; a tick must bear it."""
    known = {f"de-{number}": make_claim(f"de-{number}", "handed-over") for number in range(300)}
    draft = shared(issues=[make_issue(issue) for issue in known], claims=known)
    settle_claims(draft)
    assert len(steps(draft)) == witness.SETTLES_PER_TICK


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({"status": "in_progress", "assignee": ACTOR}, True),
        ({"status": "in_progress", "assignee": OTHER}, False),
        ({"status": "open"}, False),
        ({"status": "closed", "assignee": ACTOR}, False),
    ],
)
def test_dead_worker_is_started_again_only_while_its_issue_reads_as_ours(changes, may):
    verdict = witness.Verdict(name="de-1", state="dead", why="", issue="de-1")
    seen = make_seen(whole=False, issues=(make_issue(**changes),), claims={"de-1": make_claim()})
    config = settings(on_dead="restart")
    assert witness.may_restart(verdict, seen, config) is may
    assert witness.may_restart(verdict, seen.but(whole=True), config) is (changes["status"] != "closed")


def test_handed_over_issue_that_was_closed_is_so_here_too():
    draft = shared(make_claim(state="handed-over"), issues=[make_issue(status="closed", assignee=ACTOR)])
    settle_claims(draft)
    assert steps(draft) == [("de-1", "closed")]


@pytest.mark.parametrize("status", ["closed", "tombstone"])
@pytest.mark.parametrize("state", ["working", "failed"])
@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ({}, True),
        ({"sightings": [make_sighting("de-1", {"branch": "polecat/rust/de-2@x"})]}, True),
        ({"sightings": [make_sighting("de-1", {"branch": "polecat/rust/de-1@x"})]}, False),
        ({"sightings": [make_sighting("de-1", {"branch": "fix/one"})]}, False),
        ({"strangers": (("de-1", "a symlink"),)}, False),
        ({"memory": Memory(retirements={"de-1": Retirement(name="de-1", id="de-1/x", at=T0)})}, False),
        ({"memory": Memory(spawn=Spawn(issue="de-1", at=T0, deadline_at=T0 + 60))}, False),
        ({"ports": {"git": Port(state=UNKNOWN)}}, False),
    ],
    ids=["gone", "on another", "there", "on its own branch", "stranger", "retiring", "being made", "blind"],
)
def test_claim_of_a_closed_issue_ends_with_its_worker(status, state, how, ends):
    """`gt done` closes the bead before the merge: claims of all that was ever done were asked for in every tenth look.

    While the worker is there, its claim says why it is idle, and a reopened issue gets no second one.
    """
    draft = shared(make_claim(state=state), issues=[make_issue(status=status, assignee="demo/polecats/rust")], **how)
    settle_claims(draft)
    assert steps(draft) == [("de-1", "closed")] * ends


def test_second_try_whose_claim_was_lost_holds_its_issue():
    """Judged by the name alone, the issue of a live worker was set free."""
    worker = make_sighting("de-1-2", tree={"record": {"issue": "de-1"}})
    assert look_twice(issues=[held()], sightings=[worker]).memory.escalations == {}
    assert look_twice(issues=[held()], sightings=[make_sighting("de-1-2")]).memory.escalations == {}


def test_no_more_is_told_in_one_tick_than_a_tick_can_bear():
    draft = shared(*(make_claim(f"de-{number}", "released", owed="release") for number in range(50)))
    settle_claims(draft)
    assert len(steps(draft)) == witness.SETTLES_PER_TICK


@pytest.mark.parametrize(
    "changes",
    [
        {"issues": ()},
        {"claims": None},
        {"ports": {"git": Port(state=UNKNOWN)}},
        {"whole": True},
    ],
    ids=["nothing owed", "claims", "git", "local"],
)
def test_nothing_is_told_without_sight_or_need(changes):
    given = {"owed": ""} if changes == {"issues": ()} else {"owed": "release"}
    draft = shared(make_claim(state="released", **given))
    draft.seen = draft.seen.but(**changes)
    settle_claims(draft)
    assert steps(draft) == []


def test_nothing_is_told_while_the_queue_is_unknown():
    draft = shared(make_claim(state="released", owed="release"))
    draft.seen = draft.seen.but(issues=None)
    settle_claims(draft)
    watch_orphans(draft)
    assert draft.actions == []


@pytest.mark.parametrize(
    ("state", "there", "step"),
    [
        ("claimed", True, "keep"),
        ("working", True, "keep"),
        ("failed", True, "keep"),
        ("working", False, "free"),
        ("failed", False, "free"),
        ("claimed", False, None),
        ("released", True, None),
        ("closed", False, None),
    ],
)
def test_issue_of_ours_that_somebody_set_open(state, there, step):
    """A worker that is on it keeps it; what only waited or is gone is free, as the person wished."""
    sightings = [make_sighting("de-1")] if there else []
    draft = shared(make_claim(state=state), issues=[make_issue()], sightings=sightings)
    settle_claims(draft)
    assert steps(draft) == ([("de-1", step)] if step else [])


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(("labels", "step"), [((witness.HANDED_OVER_LABEL,), "free"), ((), "keep")])
def test_issue_that_waits_to_be_merged_is_set_free_by_a_person_and_not_by_a_database_put_back(labels, step, there):
    """Whoever sets it open leaves its label; a database of an earlier day knows of none, and the work began again."""
    sightings = [make_sighting("de-1")] if there else []
    draft = shared(make_claim(state="handed-over"), issues=[make_issue(labels=labels)], sightings=sightings)
    settle_claims(draft)
    assert steps(draft) == [("de-1", step)]


@pytest.mark.parametrize(
    ("state", "sessions", "step"),
    [
        ("working", LIVES, "keep"),
        ("failed", LIVES, "keep"),
        ("working", None, None),
        ("failed", None, None),
        ("handed-over", LIVES, "free"),
        ("handed-over", None, "free"),
    ],
)
def test_issue_that_was_set_open_stays_with_whoever_may_live_without_its_worktree(state, sessions, step):
    """Its worktree was moved by hand; set free, the issue got a second worker beside it."""
    labels = (witness.HANDED_OVER_LABEL,) if state == "handed-over" else ()
    draft = shared(make_claim(state=state), issues=[make_issue(labels=labels)], sessions=sessions)
    settle_claims(draft)
    assert steps(draft) == ([("de-1", step)] if step else [])


def test_worker_that_was_slung_anew_does_not_keep_its_first_issue():
    """In a Gas Town it lives under the same name, with its worktree, and works on another."""
    other = make_sighting("rust", {"branch": "polecat/rust/de-2@x"})
    claim = make_claim(name="rust", branch="polecat/rust/de-1@x")
    draft = shared(claim, issues=[make_issue()], sightings=[other], sessions=frozenset({"gt-demo-rust"}))
    settle_claims(draft)
    assert steps(draft) == [("de-1", "free")]


@pytest.mark.parametrize(
    "draft",
    [
        shared(make_claim(actor=OTHER), issues=[make_issue()]),
        shared(make_claim(), issues=[make_issue(assignee=OTHER)]),
        shared(make_claim(), issues=[make_issue(status="blocked")]),
        shared(make_claim(), issues=[]),
        shared(make_claim(), issues=[make_issue()], memory=Memory(spawn=Spawn(issue="de-1", at=T0, deadline_at=T0))),
    ],
    ids=["another's file", "assigned", "blocked", "not shown", "its spawn is under way"],
)
def test_what_does_not_read_as_open_and_free_is_left(draft):
    settle_claims(draft)
    assert steps(draft) == []


def test_worker_in_retirement_keeps_its_issue():
    memory = Memory(retirements={"de-1": Retirement(name="de-1", id="de-1/x", at=T0)})
    draft = shared(make_claim(), issues=[make_issue()], memory=memory)
    settle_claims(draft)
    assert steps(draft) == [("de-1", "keep")]


def test_issue_that_another_has_now_is_told_once_and_over_when_it_is_ours_again():
    worker = make_sighting("de-1")
    draft = shared(make_claim(), issues=[held(assignee=OTHER)], sightings=[worker])
    settle_claims(draft)
    (matter,) = draft.memory.escalations.values()
    assert (matter.cause, OTHER in matter.summary) == ("taken-de-1", True)
    again = shared(make_claim(), issues=[held(assignee=OTHER)], sightings=[worker], memory=draft.memory)
    settle_claims(again)
    assert again.memory.escalations == draft.memory.escalations
    assert not again.memory.pending.keys() - draft.memory.pending.keys()
    late = shared(make_claim(), issues=[held()], sightings=[worker], memory=draft.memory, fresh=False)
    settle_claims(late)
    assert late.memory.escalations
    over = shared(make_claim(), issues=[held()], sightings=[worker], memory=draft.memory)
    settle_claims(over)
    assert over.memory.escalations == {}


def test_what_was_asked_for_ticks_ago_proves_no_change_of_hands():
    draft = shared(make_claim(), issues=[held(assignee=OTHER)], sightings=[make_sighting("de-1")], fresh=False)
    settle_claims(draft)
    assert draft.memory.escalations == {}


# ---- orphans of a shared queue


def look_twice(*claims, memory=None, **how):
    """Return the draft of the second of two looks."""
    first = shared(*claims, memory=memory, **how)
    watch_orphans(first)
    assert first.memory.escalations == {}
    second = shared(*claims, memory=first.memory, **how)
    watch_orphans(second)
    return second


def test_orphan_is_told_only_when_it_is_seen_twice():
    draft = look_twice(make_claim(), issues=[held()])
    (matter,) = draft.memory.escalations.values()
    branch = "its branch was polecat/de-1, and nothing here has touched it"
    assert matter.summary == f"Issue de-1 was worked on by de-1, whose worktree is gone; {branch}"
    assert "nothing here works on it, seen twice" in matter.evidence


def test_issue_whose_worker_was_slung_anew_is_an_orphan_and_not_set_free():
    """It lives, in the same session, and works on another: nobody is on the first."""
    other = make_sighting("rust", {"branch": "polecat/rust/de-2@x"})
    claims = tuple(make_claim(one, name="rust", branch=f"polecat/rust/{one}@x") for one in ("de-1", "de-2"))
    how = {"issues": [held()], "sightings": [other], "sessions": frozenset({"gt-demo-rust"})}
    draft = look_twice(*claims, **how)
    (matter,) = draft.memory.escalations.values()
    assert matter.summary.startswith("Issue de-1 was worked on by rust, which works on another now")
    later = shared(*claims, memory=draft.memory, now=T0 + HOUR, **how)
    later.config = settings(release_orphans_after=60)
    watch_orphans(later)
    assert of(later.actions, ReleaseOrphan) == []


def test_issue_that_only_the_queue_calls_ours_is_an_orphan():
    """Its claim file is gone, or says that it was given back."""
    for claims in ((), (make_claim(state="released"),), (make_claim(state="closed"),)):
        (matter,) = look_twice(*claims, issues=[held()]).memory.escalations.values()
        assert matter.cause == "orphan-de-1"
    assert matter.summary.startswith("Issue de-1 was worked on by de-1")
    (matter,) = look_twice(issues=[held()]).memory.escalations.values()
    assert matter.summary == f"Issue de-1 is in progress for {ACTOR}, and nothing here works on it"


@pytest.mark.parametrize(
    ("claims", "how"),
    [
        ((), {"issues": [held(assignee=OTHER)]}),
        ((), {"issues": [make_issue()]}),
        ((), {"issues": [make_issue(status="closed", assignee=ACTOR)]}),
        ((make_claim(state="handed-over"),), {"issues": [held()]}),
        ((make_claim(state="failed"),), {"issues": [held()]}),
        ((make_claim(state="released", owed="release"),), {"issues": [held()]}),
        ((make_claim(actor=OTHER),), {"issues": [held()]}),
        ((make_claim(),), {"issues": [held()], "sightings": [make_sighting("de-1")]}),
        ((), {"issues": [held()], "sessions": LIVES}),
        ((make_claim(),), {"issues": [held()], "sessions": None}),
        ((make_claim(),), {"issues": [held()], "strangers": (("de-1", "a symlink"),)}),
        ((make_claim(),), {"issues": [held()], "fresh": False}),
        ((make_claim(),), {"issues": [held()], "first": True}),
        ((make_claim(),), {"issues": [held()], "gap": True}),
        ((make_claim(),), {"issues": [held()], "ports": {"git": Port(state=UNKNOWN)}}),
        ((), {"issues": [held()], "sightings": [make_sighting("de-1")]}),
    ],
)
def test_what_may_still_be_worked_on_is_no_orphan(claims, how):
    assert look_twice(*claims, **how).memory.escalations == {}


def test_orphan_that_was_worked_on_in_between_is_counted_from_nothing():
    first = shared(make_claim(), issues=[held()])
    watch_orphans(first)
    back = shared(make_claim(), issues=[held()], sightings=[make_sighting("de-1")], memory=first.memory)
    watch_orphans(back)
    assert back.memory.missed == ()
    gone = shared(make_claim(), issues=[held()], memory=back.memory)
    watch_orphans(gone)
    assert gone.memory.escalations == {}


def test_orphan_of_which_work_exists_is_kept_and_asked_once():
    world = orphaned(release_orphans_after=600)
    world.do_ReleaseOrphan = lambda action: world.outcome("release", action, False, "its branch has commits", kept=True)
    world.wait(3 * HOUR)
    assert len(of(world.done, ReleaseOrphan)) == 1
    (matter,) = world.memory.escalations.values()
    assert matter.evidence == KEPT + "its branch has commits"
    assert world.claims["de-1"].state == "working"


def test_other_failures_of_a_release_are_tried_again():
    draft = shared(make_claim(), issues=[held()], memory=look_twice(make_claim(), issues=[held()]).memory)
    before = draft.memory
    settle_release(draft, Outcome(kind="release", subject="de-1", ok=False, at=T0, detail="bd is away"))
    assert draft.memory == before


# ---- laws

STATES = st.sampled_from(["claimed", "working", "failed", "handed-over", "released", "closed"])
CLAIMS = st.lists(
    st.builds(
        make_claim,
        st.sampled_from(["de-1", "de-2"]),
        STATES,
        actor=st.sampled_from([ACTOR, OTHER]),
        owed=st.sampled_from(["", "", "release", "label", "close", "claim"]),
    ),
    max_size=2,
)
ISSUES = st.lists(
    st.builds(
        make_issue,
        st.sampled_from(["de-1", "de-2", "de-3"]),
        status=st.sampled_from(["open", "in_progress", "closed", "tombstone", witness.NOT_READY]),
        assignee=st.sampled_from(["", ACTOR, OTHER]),
    ),
    max_size=3,
)


@given(CLAIMS, ISSUES, st.booleans(), st.booleans(), st.sampled_from([None, frozenset(), frozenset({"gt-demo-de-1"})]))
def test_law_an_issue_is_freed_only_where_it_reads_as_free_or_its_worker_is_gone(
    claims, issues, there, fresh, sessions
):
    sightings = [make_sighting("de-1")] if there else []
    draft = shared(*claims, issues=issues, sightings=sightings, fresh=fresh, sessions=sessions)
    draft.config = settings(release_orphans_after=1)
    settle_claims(draft)
    watch_orphans(draft)
    watch_orphans(draft)
    by_id = {issue.id: issue for issue in draft.seen.issues}
    for action in draft.actions:
        claim = draft.seen.claims.get(action.subject)
        if isinstance(action, SettleClaim):
            assert claim == action.claim
            if action.step == "tell":
                assert claim.owed
            elif action.step == "closed":
                assert by_id[claim.issue].status in witness.CLOSED
            else:
                assert (claim.actor, claim.owed) == (ACTOR, "")
                assert (by_id[claim.issue].status, by_id[claim.issue].assignee) == ("open", "")
                assert action.step != "free" or claim.state == "handed-over" or not there or claim.issue != "de-1"
                if action.step == "free" and claim.state != "handed-over":
                    assert sessions is not None
                    assert f"gt-demo-{claim.name}" not in sessions
        if isinstance(action, ReleaseOrphan):
            assert fresh
            assert sessions is not None
            assert not (there and action.subject == "de-1")
            assert f"gt-demo-{action.claim.name}" not in sessions
