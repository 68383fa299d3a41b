"""Who asked to be retired, may they, and what became of it."""

from __future__ import annotations

import pytest
from tools import world as small
from tools.simulation import (
    ACTOR,
    DIRT,
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
    words,
)

import witness
from witness import (
    ABSENT,
    ACKS_PER_TICK,
    UNKNOWN,
    AckMail,
    Mail,
    Memory,
    Outcome,
    Port,
    Request,
    Restart,
    Retire,
    Retirement,
    SendLetter,
    Sighting,
    Spawn,
    Town,
    begin_retirement,
    dump_memory,
    load_memory,
    read_mails,
    retire_due,
    settle_retirement,
)

ASK = "LIFECYCLE: polecat requesting shutdown"


def world_with(*names: str, **config) -> World:
    """Return a world with these workers, each with a commit, followed for a while."""
    world = World(**config)
    for name in names or ("alpha",):
        world.add(name).commit()
    world.wait(3 * MIN)
    return world


# ---- the request ----------------------------------------------------------------------------------------------------


def test_a_worker_that_asks_is_retired_and_its_mail_acknowledged_last():
    world = world_with()
    mail = world.ask()
    actions = world.tick()
    assert words(actions) == ["Retire alpha", f"AckMail {mail}"]
    assert (world.workers, [one.name for one in world.retired.values()]) == ({}, ["alpha"])
    assert world.acked == [mail]
    assert (world.memory.requests, world.memory.retirements, world.memory.polecats) == ({}, {}, {})
    assert world.memory.stats["total_retired"] == 1
    assert world.told("requested") == [("alpha", "shutdown asked by demo/alpha")]


@pytest.mark.parametrize("sender", ["demo/alpha", "demo/polecats/alpha", "demo/alpha/", "mayor/", "deacon", "overseer"])
def test_the_worker_itself_and_trusted_senders_are_believed(sender):
    world = world_with()
    world.ask(sender=sender)
    world.tick()
    assert len(world.retired) == 1


@pytest.mark.parametrize(("vouches", "retired"), [(True, 0), (False, 1)])
def test_a_sender_that_nobody_vouches_for_proves_nothing(vouches, retired):
    """`gt handoff` of the seed's age sends as whoever git says the user is."""
    world = world_with()
    world.town = Town(path="/town", version="0.0.1", session="", refinery="gt-demo-refinery", vouches=vouches)
    world.ask(sender="Tester")
    world.tick()
    assert len(world.retired) == retired


@pytest.mark.parametrize(
    ("subject", "body", "sender", "event"),
    [
        pytest.param(
            ASK, "Polecat: alpha", "demo/beta", "demo/beta may not ask for alpha", id="forged-by-another-worker"
        ),
        pytest.param(ASK, "Polecat: alpha", "other/alpha", "other/alpha may not ask for alpha", id="another-rig"),
        pytest.param(ASK, "Polecat: alpha", "", "nobody may not ask for alpha", id="no-sender"),
        pytest.param(ASK, "", "demo/alpha", "it names no polecat", id="no-name"),
        pytest.param(ASK, "Polecat:", "demo/alpha", "'' is no polecat's name", id="empty-name"),
        pytest.param(ASK, "Polecat: ../alpha", "demo/alpha", "'../alpha' is no polecat's name", id="a-path"),
        pytest.param(ASK, "Polecat: mayor", "mayor", "'mayor' is no polecat's name", id="no-worker"),
        pytest.param("LIFECYCLE: Shutdown beta", "Polecat: alpha", "demo/alpha", "it names several polecats", id="two"),
    ],
)
def test_a_request_that_cannot_be_believed_is_archived_with_an_event(subject, body, sender, event):
    world = world_with("alpha", "beta")
    mail = world.mail(subject, body, sender)
    world.tick()
    assert (world.acked, world.retired, world.memory.requests) == ([mail], {}, {})
    assert [text for _, text in world.told("mail")] == [event]


def test_a_polecat_already_gone_is_success():
    world = world_with()
    mail = world.ask("beta")
    world.tick()
    assert world.acked == [mail]
    assert world.told("mail") == [("beta", "asked for shutdown and is gone already")]


def test_what_is_no_worktree_is_never_touched():
    world = world_with()
    world.strangers = (("beta", "it is a symlink"),)
    mail = world.ask("beta")
    assert words(world.tick()) == [f"AckMail {mail}"]
    assert world.told("mail") == [("beta", "it is a symlink")]


def test_a_request_is_kept_while_the_folders_cannot_be_read():
    """A failed look would make every worker look gone, and its request done."""
    world = world_with()
    world.ask()
    world.failing["folder"] = "polecats: permission denied"
    world.tick()
    assert (world.acked, len(world.inbox)) == ([], 1)
    world.failing.clear()
    world.tick()
    assert len(world.retired) == 1


def test_a_request_of_before_the_session_is_stale():
    world = world_with()
    mail = world.ask()
    world.now += 10
    world.workers["alpha"].start()
    world.tick()
    assert (world.acked, world.retired) == ([mail], {})
    assert "is older than the polecat" in world.told("mail")[0][1]


def test_a_request_in_the_second_the_session_was_made_is_none_of_before():
    world = world_with()
    world.now = float(int(world.now)) + 0.7
    world.workers["alpha"].start()
    world.ask()
    world.tick()
    assert len(world.retired) == 1


def test_without_a_session_a_request_of_before_the_worktree_is_stale():
    world = World()
    mail = world.ask()
    world.now += 10
    world.add("alpha").end()
    world.tick()
    assert (world.acked, world.retired) == ([mail], {})


def test_without_a_session_a_request_of_before_the_last_one_is_stale():
    """The last session was the later life of the name, although it has ended too."""
    world = world_with()
    world.paused = "a talk"
    mail = world.ask()
    world.now += 60
    world.workers["alpha"].start()
    world.tick()
    world.workers["alpha"].end()
    world.tick()
    world.paused = ""
    world.tick()
    assert (world.acked, world.retired) == ([mail], {})


def test_age_is_not_judged_while_tmux_does_not_answer():
    world = world_with()
    world.ask()
    world.workers["alpha"].start()
    world.now += 10
    world.workers["alpha"].start()
    world.failing["tmux"] = "timed out"
    world.tick()
    assert world.memory.requests == {}
    world.failing.clear()
    world.wait(10 * MIN)
    assert (world.retired, len(world.acked)) == ({}, 1)


def test_a_request_that_waits_becomes_stale_with_a_new_session():
    """Its worker was refused; the person who started it again did not ask."""
    world = world_with()
    world.workers["alpha"].blockers = (DIRT,)
    mail = world.ask()
    world.tick()
    world.now += 60
    world.workers["alpha"].start().blockers = ()
    world.wait(HOUR)
    assert (world.retired, world.acked, world.memory.requests) == ({}, [mail], {})


def test_done_is_a_request_where_that_was_set():
    world = world_with()
    world.config = settings(auto_spawn=False, retire_on_done=True)
    world.mail("POLECAT_DONE alpha exit=0", sender="demo/beta")
    world.tick()
    assert world.retired == {}
    mail = world.mail("POLECAT_DONE alpha exit=0", sender="demo/alpha")
    world.tick()
    assert (len(world.retired), mail in world.acked) == (1, True)


def test_done_is_news_and_no_request():
    world = world_with()
    mail = world.mail("POLECAT_DONE alpha exit=0")
    world.mail("MERGED x")
    world.tick()
    assert (len(world.acked), world.retired, world.sent) == (2, {}, {})
    assert mail in world.acked


# ---- mail that needs a mind -----------------------------------------------------------------------------------------


def test_mail_that_needs_a_mind_is_forwarded_in_the_tick_that_reads_it():
    world = world_with()
    mail = world.mail("HELP: I do not know", "what now?")
    world.tick()
    (letter,) = world.sent.values()
    assert (letter.to, letter.subject, world.acked) == ("mayor/", "FWD: HELP: I do not know", [mail])
    assert "what now?" in letter.body
    assert "From: demo/alpha" in letter.body


def test_mail_is_never_archived_unread():
    """Wherever the daemon dies, an acknowledged mail is in the outbox or was sent."""
    for crash_after in range(5):
        world = world_with()
        world.mail("HELP", "body")
        world.round(crash_after=crash_after)
        assert world.inbox or world.memory.pending or world.sent
        world.wait(MIN)
        assert (world.subjects(), world.inbox, world.memory.pending) == (["FWD: HELP"], {}, {})


def test_acknowledgements_are_bounded_and_nothing_is_handled_twice_meanwhile():
    world = world_with()
    for number in range(50):
        world.mail(f"HELP {number}")
    actions = world.round()
    assert len(of(actions, AckMail)) == ACKS_PER_TICK
    assert len(of(actions, SendLetter)) == len(world.told("forwarded")) == ACKS_PER_TICK
    world.wait(3 * MIN)
    assert (len(world.sent), len(world.acked), len(world.told("forwarded"))) == (50, 50, 50)


def test_a_flood_does_not_delay_a_request():
    world = world_with()
    for number in range(100):
        world.mail(f"HELP {number}")
    world.ask()
    assert of(world.round(), Retire)


def test_nothing_is_read_while_paused_nor_by_a_person():
    world = world_with()
    world.mail("HELP")
    world.paused = "a talk"
    world.tick()
    world.paused = ""
    world.person("health", "shutdown", "spawn")
    assert (len(world.inbox), world.sent) == (1, {})


def test_a_mail_that_was_handled_is_not_acknowledged_twice_in_a_tick():
    mail = Mail(id="m1", sender="demo/alpha", subject=ASK, body="Polecat: alpha", at=T0)  # and alpha is gone
    draft = make_draft(make_seen(mails=(mail, mail)))
    read_mails(draft)
    assert words(draft.actions) == ["AckMail m1"]


# ---- mail in a Gas Town ---------------------------------------------------------------------------------------------

TOWN = Town(
    path="/town", version="1.0.1", session="de-{name}", refinery="de-refinery", socket="s", typed=True, reuses=True
)
TYPED_NOT = TOWN.but(version="0.5.0", typed=False, reuses=False)
DONE_BODY = "Exit: COMPLETED\nIssue: de-1\nMR: de-mr-7\nBranch: polecat/alpha/de-1@x\n"
MAYOR = "mayor/"


def weigh(subject, sender, body, memory=None, town=TOWN, mail_id="hq-1", config=None, **seen):
    """Let one mail be read in a town where alpha and beta live; return the draft of the tick."""
    mail = Mail(id=mail_id, sender=sender, subject=subject, body=body, at=T0 - 5)
    sightings = {name: make_sighting(name) for name in ("alpha", "beta")}
    given = {"mails": (mail,), "town": town, "sightings": sightings, "issues": (), "claims": {}, **seen}
    draft = make_draft(make_seen(**given), memory or Memory(), config)
    read_mails(draft)
    return draft


def became(draft) -> tuple:
    """Return what a mail became: (whose request, [(to, subject) of letters], is it archived)."""
    letters = [(one.to, one.subject) for one in draft.memory.pending.values()]
    return "".join(draft.memory.requests), letters, words(draft.actions) == ["AckMail hq-1"]


def forwarded(subject, *more):
    return "", [(MAYOR, f"FWD: {subject}"), *more], True


NOTED = ("", [], True)
ASKED = ("alpha", [], False)  # acknowledged when it is retired


@pytest.mark.parametrize(
    ("subject", "sender", "body", "town", "expected"),
    [
        (ASK, "demo/alpha", "Action: shutdown\nPolecat: alpha\n", TOWN, ASKED),
        (ASK, "demo/polecats/alpha", "Polecat: alpha\n", TOWN, ASKED),
        ("LIFECYCLE: polecat-alpha requesting shutdown", "demo/alpha", "Action: shutdown", TOWN, ASKED),
        ("LIFECYCLE: polecat-alpha requesting shutdown", "demo/alpha", "Action: shutdown", TYPED_NOT, ASKED),
        ("LIFECYCLE: polecat-alpha requesting shutdown", "demo/beta", "", TOWN, NOTED),
        ("LIFECYCLE:Shutdown alpha", "demo/refinery", "Reason: work_reassigned\nBead: de-1", TOWN, NOTED),
        ("LIFECYCLE:Shutdown alpha", "gt-sling", "Reason: work_reassigned", TOWN, NOTED),
        ("POLECAT_DONE alpha", "demo/alpha", "Exit: COMPLETED\n", TOWN, NOTED),
        ("POLECAT_DONE alpha", "demo/alpha", DONE_BODY, TOWN, NOTED),
        ("POLECAT_DONE alpha", "demo/polecats/alpha", "Exit: DEFERRED\n", TYPED_NOT, NOTED),
        ("POLECAT_DONE alpha", "demo/alpha", "MR: \n", TYPED_NOT, NOTED),
        (
            "POLECAT_DONE alpha",
            "demo/alpha",
            DONE_BODY,
            TYPED_NOT,
            ("", [("demo/refinery", "MERGE_READY alpha")], True),
        ),
        ("POLECAT_DONE alpha", "demo/alpha", DONE_BODY, None, NOTED),
        ("MERGED alpha", "demo/refinery", "", TOWN, NOTED),
        ("MERGE_FAILED alpha", "demo/refinery", "conflict", TOWN, forwarded("MERGE_FAILED alpha")),
        ("MERGE_FAILED gone", "demo/refinery", "", TOWN, forwarded("MERGE_FAILED gone")),
        ("HELP", "demo/alpha", "what now?", TOWN, forwarded("HELP")),
        ("HELP: blocked", "demo/polecats/alpha", "", TYPED_NOT, forwarded("HELP: blocked")),
        *(
            (subject, "demo/alpha", "b", TOWN, forwarded(subject))
            for subject in (
                "Question",
                "Blocked",
                "CRITICAL: disk",
                "SECURITY: key",
                "NOTICE: x",
                "PR review needs discussion",
                "Orphan needs assignment: de-1",
                "SWARM_START",
                "FORCE_KILL: unresponsive",
                "whatever else",
            )
        ),
        *(
            (subject, "daemon", "b", TOWN, NOTED)
            for subject in (
                "CRASHED_POLECAT: alpha",
                "RESTART_POLECAT: alpha",
                "GUPP_VIOLATION: alpha",
                "ORPHANED_WORK: alpha",
                "ZOMBIE_DETECTED: alpha",
                "Dependency resolved: de-1",
                "POLECAT_STARTED",
                "SPAWN: alpha",
                "🤝 HANDOFF: later",
            )
        ),
    ],
)
def test_every_mail_to_a_witness_becomes_what_it_must(subject, sender, body, town, expected):
    draft = weigh(subject, sender, body, town=town)
    if subject == "MERGE_FAILED alpha":  # the worker hears of it, too
        expected = ("", [*expected[1], ("demo/alpha", f"FWD: {subject}")], True)
    assert became(draft) == expected


def test_merge_ready_names_what_is_to_be_merged():
    (letter,) = weigh("POLECAT_DONE alpha", "demo/alpha", DONE_BODY, town=TYPED_NOT).memory.pending.values()
    assert letter.body == "Issue: de-1\nMR: de-mr-7\nBranch: polecat/alpha/de-1@x\nPolecat: alpha\nRig: demo\n"


def test_force_is_never_used_but_a_person_is_told():
    draft = weigh("FORCE_KILL: unresponsive", "deacon/", "alpha")
    (letter,) = draft.memory.pending.values()
    assert (letter.event, letter.cause) == ("opened", "force-kill")
    assert words(draft.actions) == ["AckMail hq-1"]


@pytest.mark.parametrize("subject", ["HELP", "MERGE_FAILED alpha", "FORCE_KILL: unresponsive", "POLECAT_DONE alpha"])
def test_mail_that_cannot_be_archived_is_dealt_with_once(subject):
    """Also when the daemon died between saving its memory and archiving."""
    memory, sent = Memory(), []
    for _ in range(5):
        draft = weigh(subject, "demo/alpha", DONE_BODY, memory, TYPED_NOT)
        assert words(draft.actions) == ["AckMail hq-1"]
        sent += [(one.to, one.subject) for one in draft.memory.pending.values()]
        memory = load_memory(dump_memory(draft.memory.but(pending={})))
    assert len(sent) == len(set(sent)) == (2 if subject == "MERGE_FAILED alpha" else 1)
    assert memory.handled == ("hq-1",)
    draft = weigh("POLECAT_STARTED", "daemon", "", memory, mail_id="hq-2")
    assert draft.memory.handled == ("hq-2",)  # what is not in the inbox any more is forgotten


def test_request_that_was_dealt_with_is_not_taken_anew_by_who_has_the_name_now():
    memory = Memory(handled=("hq-1",))
    assert became(weigh(ASK, "demo/alpha", "Polecat: alpha\n", memory)) == NOTED
    assert became(weigh(ASK, "demo/alpha", "Polecat: alpha\n")) == ASKED


def test_what_was_dealt_with_is_not_forgotten_while_the_inbox_cannot_be_read():
    memory = weigh("HELP", "demo/alpha", "").memory
    blind = {"mailbox": Port(state=UNKNOWN, reason="no answer")}
    draft = make_draft(make_seen(mails=(), town=TOWN, ports=blind), memory)
    read_mails(draft)
    assert draft.memory.handled == ("hq-1",)


SLUNG = "Reason: work_reassigned\nBead: de-1\n"
REASSIGNED = ("LIFECYCLE:Shutdown alpha", "gt-sling", SLUNG)


def bead(status="in_progress", assignee="demo/polecats/beta"):
    return {"issues": (make_issue("de-1", status=status, assignee=assignee),)}


@pytest.mark.parametrize(
    ("seen", "memory", "expected"),
    [
        pytest.param(bead(), Memory(), ASKED, id="another-worker-has-it"),
        pytest.param(bead(assignee="demo/beta"), Memory(), ASKED, id="another-by-its-short-name"),
        pytest.param(
            {**bead(assignee=ACTOR), "claims": {"de-1": make_claim(name="beta")}},
            Memory(),
            ASKED,
            id="another-worker-of-ours",
        ),
        pytest.param(bead(assignee="demo/polecats/alpha"), Memory(), NOTED, id="it-is-still-alphas"),
        pytest.param(
            {**bead(assignee=ACTOR), "claims": {"de-1": make_claim(name="alpha")}},
            Memory(),
            NOTED,
            id="alphas-by-claim",
        ),
        pytest.param(bead(assignee=ACTOR), Memory(), NOTED, id="ours-without-a-worker"),
        pytest.param(bead("open", ""), Memory(), NOTED, id="nobodys"),
        pytest.param(bead("open", "demo/polecats/beta"), Memory(), NOTED, id="open-though-assigned"),
        pytest.param(bead("closed"), Memory(), NOTED, id="closed"),
        pytest.param(bead(assignee="other/polecats/beta"), Memory(), NOTED, id="of-another-rig"),
        pytest.param(bead(assignee="demo/crew/beta"), Memory(), NOTED, id="no-worker"),
        pytest.param({"issues": ()}, Memory(), ("", [], False), id="not-looked-at-yet"),
        pytest.param({"issues": None}, Memory(), ("", [], False), id="queue-unknown"),
        pytest.param(
            bead(),
            Memory(spawn=Spawn(issue="de-2", at=T0, deadline_at=T0 + 300)),
            ("", [], False),
            id="our-own-sling-runs",
        ),
    ],
)
def test_word_of_a_sling_is_believed_only_when_the_bead_says_so_too(seen, memory, expected):
    assert became(weigh(*REASSIGNED, memory, **seen)) == expected


@pytest.mark.parametrize(
    "body",
    ["", "Bead: --all\n", "Bead: de-1\nBead: de-2\n", "Beads: de-1\n"],
)
def test_word_of_a_sling_without_one_bead_is_believed_of_nobody(body):
    assert became(weigh("LIFECYCLE:Shutdown alpha", "gt-sling", body, **bead())) == NOTED


def test_word_of_a_sling_is_no_request_in_any_other_mail():
    assert became(weigh(ASK, "gt-sling", "Polecat: alpha\nBead: de-1\n", **bead())) == NOTED


# ---- refusal --------------------------------------------------------------------------------------------------------


def in_minutes(stamps) -> list[int]:
    """Return the whole minutes between stamps; a tick comes up to one interval late."""
    return [int((later - at) / MIN) for at, later in zip(stamps, stamps[1:])]


def refused_world() -> World:
    world = world_with()
    world.workers["alpha"].blockers = (DIRT,)
    world.ask()
    world.tick()
    return world


def test_a_refused_worker_is_told_what_blocks_it_and_how_to_clear_it():
    world = refused_world()
    (letter,) = world.sent.values()
    assert (letter.to, letter.event) == ("demo/alpha", "")
    assert letter.subject == "NUDGE: Cannot shutdown - modified: changed and not committed: a.txt"
    assert "clear it with: git add -A && git commit" in letter.body
    assert (world.acked, len(world.inbox)) == ([], 1)
    assert world.memory.stats["total_refusals"] == 1
    assert world.memory.requests["alpha"].blockers == (DIRT,)


def test_it_is_told_once_per_distinct_set_of_blockers():
    world = refused_world()
    world.wait(10 * MIN)
    letters = lambda: [letter for letter in world.sent.values() if letter.to == "demo/alpha"]  # noqa: E731
    assert len(letters()) == 1
    other = ("stash", "a stash of this worker: stash@{0}", "git stash pop")
    world.workers["alpha"].blockers = (DIRT, other)
    world.wait(10 * MIN)
    assert len(letters()) == 2
    world.workers["alpha"].blockers = (other, DIRT)
    world.wait(HOUR)
    assert len(letters()) == 2


def test_it_is_looked_at_again_after_2_5_10_then_every_30_minutes():
    world = refused_world()
    looks = [world.now]
    while len(looks) < 7:
        before = world.now
        if of(world.tick(), Retire):
            looks.append(before + 30)
    assert in_minutes(looks) == [2, 5, 10, 30, 30, 30]


def test_the_fourth_blocked_look_is_escalated_once_with_the_evidence():
    world = refused_world()
    world.wait(16 * MIN)
    assert len(world.sent) == 1
    world.wait(2 * MIN)
    told = [letter for letter in world.sent.values() if letter.to == "mayor/"]
    assert [letter.subject for letter in told] == ["ESCALATION: Polecat alpha cannot be shut down"]
    assert "modified: changed and not committed: a.txt (clear it with: git add -A && git commit)" in told[0].body
    world.wait(3 * HOUR)
    assert len(world.sent) == 2


def test_a_refusal_that_is_cleared_ends_in_retirement_and_resolves():
    world = refused_world()
    world.wait(20 * MIN)
    world.workers["alpha"].blockers = ()
    world.wait(40 * MIN)
    assert len(world.retired) == 1
    assert world.subjects()[-1] == "RESOLVED: Polecat alpha refused"
    assert (len(world.acked), world.memory.escalations) == (1, {})


def test_a_second_request_is_looked_at_at_once():
    world = refused_world()
    world.workers["alpha"].blockers = ()
    world.tick()
    assert world.retired == {}
    world.ask()
    world.tick()
    assert (len(world.retired), len(world.acked)) == (1, 2)


def test_a_flood_of_one_request_does_not_undo_the_waits():
    world = refused_world()
    for _ in range(60):
        world.ask()
    world.tick()
    looks = len(of(world.done, Retire))
    world.wait(90)
    assert len(of(world.done, Retire)) == looks
    world.workers["alpha"].blockers = ()
    world.wait(10 * MIN)
    assert (len(world.retired), world.inbox) == (1, {})


def test_a_refusal_after_the_worker_was_ended_is_escalated_at_once():
    world = world_with()
    world.workers["alpha"].late_blockers = (DIRT,)
    world.ask()
    world.tick()
    assert "ESCALATION: Polecat alpha cannot be shut down" in world.subjects()


def test_a_late_refusal_without_a_request_is_escalated_too():
    """The memory was lost and the retirement taken up from git's refs: nobody else is left to tell."""
    draft = make_draft(memory=Memory(retirements={"alpha": Retirement(name="alpha", id="alpha/x", at=T0)}))
    settle_retirement(
        draft,
        Outcome(
            kind="retire",
            subject="alpha",
            ok=False,
            at=T0,
            data={"result": "refused", "escalate": True, "blockers": [list(DIRT)]},
        ),
    )
    assert [matter.cause for matter in draft.memory.escalations.values()] == ["refused"]


def test_a_person_looking_at_the_session_delays_it():
    world = world_with()
    world.workers["alpha"].persons = 1
    world.ask()
    world.tick()
    assert world.memory.requests["alpha"].blockers[0][0] == "attached"
    world.workers["alpha"].persons = 0
    world.wait(3 * MIN)
    assert len(world.retired) == 1


# ---- by a person ----------------------------------------------------------------------------------------------------


def test_a_person_may_ask_and_force_preserves_instead_of_blocking():
    world = world_with("alpha", "beta")
    world.workers["alpha"].blockers = (DIRT,)
    world.shutdown("alpha")
    assert (world.retired, world.memory.requests) == ({}, {})
    world.shutdown("alpha", force=True)
    assert [worker.name for worker in world.retired.values()] == ["alpha"]
    assert list(world.workers) == ["beta"]
    assert of(world.done, Retire)[-1].retirement.force


def test_a_person_who_names_one_leaves_the_request_of_another_alone():
    world = world_with("alpha", "beta")
    world.paused = "a talk"
    world.ask("beta")
    world.tick()
    world.paused = ""
    world.shutdown("alpha")
    assert [worker.name for worker in world.retired.values()] == ["alpha"]
    assert list(world.inbox) != []


# ---- what stops a retirement ----------------------------------------------------------------------------------------


def draft_with(step: str | None, **seen):
    """Return a draft with a request of alpha or, where a step is given, its retirement at that step."""
    memory = Memory(requests={"alpha": Request(name="alpha", sender="demo/alpha", at=T0, mails=("m1",))})
    if step:
        memory = memory.but(retirements={"alpha": Retirement(name="alpha", id="alpha/x", at=T0, step=step)})
    return make_draft(make_seen(make_sighting(), **seen), memory)


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({"holds": {"alpha": "mine"}}, id="hold"),
        pytest.param({"paused": "a talk"}, id="pause"),
        pytest.param({"ports": {"tmux": Port(state=UNKNOWN)}}, id="tmux-unknown"),
        pytest.param({"ports": {"git": Port(state=UNKNOWN)}}, id="git-unknown"),
        pytest.param({"only": ("beta",)}, id="another-named"),
    ],
)
@pytest.mark.parametrize(
    ("step", "goes_on"),
    [
        (None, False),
        ("verify", False),
        ("preserve", False),
        ("quiesce", True),
        ("move", True),
        ("decide", True),
        ("remove", True),
        ("branch", True),
        ("close", True),
    ],
)
def test_a_retirement_is_stopped_before_quiesce_and_never_after(seen, step, goes_on):
    """Once quiesce is recorded the worker may have been ended: only the rest brings its work to safety."""
    draft = draft_with(step, **seen)
    retire_due(draft)
    assert words(draft.actions) == ["Retire alpha"] * goes_on


def test_nothing_stops_it_otherwise():
    for step in (None, "verify", "close"):
        draft = draft_with(step)
        retire_due(draft)
        assert words(draft.actions) == ["Retire alpha"]


@pytest.mark.parametrize(
    "sighting",
    [
        pytest.param(Sighting(name="alpha", worktree=make_sighting().worktree, session=UNKNOWN), id="unknown"),
        pytest.param(
            Sighting(name="alpha", worktree=make_sighting().worktree, session=ABSENT, process_lives=True),
            id="its-process-lives",
        ),
    ],
)
def test_no_retirement_begins_on_a_session_that_is_not_known(sighting):
    draft = draft_with(None).seen.but(sightings={"alpha": sighting})
    draft = make_draft(draft, draft_with(None).memory)
    retire_due(draft)
    assert draft.actions == []


def test_no_retirement_begins_before_the_workers_spawn_is_settled():
    claim = make_claim("de-1", "claimed", name="alpha")
    draft = draft_with(None, claims={"de-1": claim})
    draft.change(spawn=Spawn(issue="de-1", at=T0, deadline_at=T0 + 300))
    retire_due(draft)
    assert draft.actions == []


def test_a_retirement_waits_for_its_next_try():
    draft = draft_with("move")
    draft.put("retirements", "alpha", draft.memory.retirements["alpha"].but(next_at=T0 + 1))
    retire_due(draft)
    assert draft.actions == []


def test_unfinished_retirements_are_resumed_before_anything_else():
    draft = draft_with("move")
    draft.put("requests", "beta", Request(name="beta", sender="demo/beta", at=T0))
    draft.seen = draft.seen.but(sightings={**draft.seen.sightings, "beta": make_sighting("beta")})
    retire_due(draft)
    assert words(draft.actions) == ["Retire alpha", "Retire beta"]


def test_already_gone_is_not_mistaken_for_done():
    """The worktree is moved aside; the mail must wait for the retirement's own end."""
    world = world_with()
    world.workers["alpha"].dies_at = "decide"
    world.ask()
    world.tick()
    assert (world.workers, len(world.inbox)) == ({}, 1)
    world.round(crash_after=0)
    assert len(world.inbox) == 1
    world.tick()
    assert (len(world.retired), len(world.acked)) == (1, 1)


@pytest.mark.parametrize("step", ["verify", "preserve", "quiesce", "move", "decide", "remove", "branch", "close"])
def test_a_crash_in_any_step_is_resumed_from_it_and_ends_the_same(step):
    world = world_with()
    world.claims["de-1"] = make_claim("de-1", name="alpha")
    world.workers["alpha"].dies_at = step
    world.ask()
    world.tick()
    assert world.memory.retirements["alpha"].step == step
    world.paused = "a talk"
    world.tick()
    assert bool(world.retired) == (step not in ("verify", "preserve"))
    world.paused = ""
    world.wait(2 * MIN)
    assert (len(world.retired), len(world.acked), world.workers) == (1, 1, {})
    assert len({action.retirement.id for action in of(world.done, Retire)}) == 1
    assert world.claims["de-1"].state == "handed-over"


def test_a_retirement_that_ends_during_a_pause_is_finished():
    world = world_with()
    world.workers["alpha"].dies_at = "move"
    mail = world.ask()
    world.tick()
    world.paused = "a talk"
    world.tick()
    assert (len(world.retired), world.acked, world.memory.requests) == (1, [mail], {})


def test_a_retirement_that_failed_is_told_and_tried_again_with_growing_waits():
    world = world_with()
    world.workers["alpha"].fails_at = "move"
    world.ask()
    world.tick()
    (letter,) = world.sent.values()
    assert "The retirement of alpha stopped at step move; nothing is lost, it is tried again by itself" in letter.body
    tries = [world.now]
    while len(tries) < 5:
        before = world.now
        if of(world.tick(), Retire):
            tries.append(before + 30)
    assert in_minutes(tries) == [2, 5, 10, 30]
    world.workers["alpha"].fails_at = ""
    world.wait(31 * MIN)
    assert (len(world.retired), len(world.sent), world.memory.escalations) == (1, 2, {})


def test_a_retirement_that_stopped_and_is_then_refused_is_no_longer_told_as_stopped():
    world = world_with()
    world.workers["alpha"].fails_at = "preserve"
    world.ask()
    world.tick()
    world.workers["alpha"].fails_at, world.workers["alpha"].late_blockers = "", (DIRT,)
    world.wait(3 * MIN)
    assert [matter.cause for matter in world.memory.escalations.values()] == ["refused"]


def test_a_retirement_outranks_a_death():
    world = world_with(on_dead="restart")
    world.queue("de-1")
    world.workers["alpha"].record = {"issue": "de-1"}
    world.workers["alpha"].fails_at = "move"
    world.ask()
    world.wait(90)
    assert of(world.done, Restart) == []
    assert world.track().state == "requested"


def test_a_polecat_that_vanishes_before_its_retirement_begins_is_done():
    world = world_with()
    world.workers["alpha"].blockers = (DIRT,)
    mail = world.ask()
    world.tick()
    del world.workers["alpha"]
    world.wait(5 * MIN)
    assert (world.acked, world.memory.requests) == ([mail], {})


def test_an_issue_without_a_commit_is_a_failed_attempt_and_set_free():
    world = World()
    world.queue("de-1")
    world.add("alpha", "de-1")
    world.claims["de-1"] = make_claim("de-1", name="alpha")
    world.tick()
    world.ask()
    world.tick()
    assert world.claims["de-1"].state == "released"
    effort = world.memory.issues["de-1"]
    assert (effort.attempts, effort.error) == (1, "alpha was retired without a commit")


# ---- the record of a retirement -------------------------------------------------------------------------------------


def test_a_retirement_records_what_it_is_about():
    sighting = make_sighting("alpha", {"branch": "polecat/alpha-x"})
    claim = make_claim("de-1", name="alpha", branch="polecat/alpha-x", start="c0ffee", birth=(("a", "b"),))
    draft = make_draft(make_seen(sighting, claims={"de-1": claim}))
    record = begin_retirement(draft, sighting, Request(name="alpha", sender="x", at=T0, force=True))
    assert (record.id, record.force, record.issue) == ("alpha/20250615T150640Z", True, "de-1")
    assert record.branch == "polecat/alpha-x"
    assert (record.start, record.birth, record.session) == ("c0ffee", (("a", "b"),), "gt-demo-alpha")
    assert (record.path, record.admin) == (sighting.worktree.path, sighting.worktree.admin)
    assert (record.pane_id, record.pane_pid, record.pane_start) == ("%1", 1001, 7)
    assert (record.instance, record.step) == ("100.1.1749992800", "verify")


@pytest.mark.parametrize(
    ("branch", "claimed", "expected"),
    [
        ("polecat/alpha", None, "polecat/alpha"),
        ("polecat/alpha-2", None, "polecat/alpha-2"),
        ("polecat/alpha/de-1@x", None, "polecat/alpha/de-1@x"),
        ("polecat/alphabet", None, ""),
        ("polecat/beta", None, ""),
        ("main", None, ""),
        ("", None, ""),
        ("feature", "feature", "feature"),
        ("main", "feature", ""),
    ],
)
def test_only_the_recorded_branch_or_one_of_its_name_may_be_deleted(branch, claimed, expected):
    sighting = make_sighting("alpha", {"branch": branch})
    claims = {"de-1": make_claim("de-1", name="alpha", branch=claimed)} if claimed else {}
    draft = make_draft(make_seen(sighting, claims=claims))
    assert begin_retirement(draft, sighting, Request(name="alpha", sender="x", at=T0)).branch == expected


def test_the_issue_of_a_worker_without_a_claim_is_its_own_record():
    sighting = make_sighting("alpha", {"record": {"issue": "de-9"}})
    draft = make_draft(make_seen(sighting, claims=None, actor=ACTOR))
    assert begin_retirement(draft, sighting, Request(name="alpha", sender="x", at=T0)).issue == "de-9"


def test_person_is_told_once_of_mails_that_cannot_be_read():
    memory, sent = witness.Memory(), []
    for bad in (("mail 2: it has no time",), ("mail 2: it has no time",), ()):
        seen = small.seen(bad_mails=bad)
        decision = witness.decide(seen, memory, small.config())
        memory = decision.memory
        sent.append([matter.cause for matter in memory.escalations.values()])
    assert sent == [["bad-mail"], ["bad-mail"], []]


@pytest.mark.parametrize("there", [True, False])
def test_refinery_hears_of_finished_work_also_where_that_is_a_request(there):
    config = settings(retire_on_done=True)
    seen = {} if there else {"sightings": {}}
    memory, sent = Memory(), []
    for _ in range(3):
        draft = weigh("POLECAT_DONE alpha", "demo/alpha", DONE_BODY, memory, TYPED_NOT, config=config, **seen)
        sent += [(one.to, one.subject) for one in draft.memory.pending.values()]
        memory = load_memory(dump_memory(draft.memory.but(pending={})))
    assert sent == [("demo/refinery", "MERGE_READY alpha")]
    assert list(memory.requests) == ["alpha"] * there


def test_word_of_a_sling_ends_nobody_who_works_on_another_bead_by_now():
    busy = {"alpha": make_sighting("alpha", {"branch": "polecat/alpha/de-9@x"}), "beta": make_sighting("beta")}
    assert became(weigh(*REASSIGNED, **bead(), sightings=busy)) == NOTED
    on_it = {**busy, "alpha": make_sighting("alpha", {"branch": "polecat/alpha/de-1@x"})}
    assert became(weigh(*REASSIGNED, **bead(), sightings=on_it)) == ASKED
