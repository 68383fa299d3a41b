"""The ledger of what a person should know: one open entry per cause and instance, and the outbox."""

from __future__ import annotations

import pytest
from tools.simulation import HOUR, MIN, T0, World, make_draft, make_seen, of, words

from witness import (
    UNKNOWN,
    Escalation,
    Letter,
    LookTwice,
    Memory,
    Nudge,
    Observation,
    Outcome,
    Port,
    SendLetter,
    StartSpawn,
    close_matter,
    note_ports,
    raise_again,
    raise_matter,
    send_due_letters,
    settle_letter,
)


def letters(draft) -> list[str]:
    return [letter.subject for letter in draft.memory.pending.values()]


# ---- the ledger -----------------------------------------------------------------------------------------------------


def test_a_matter_is_opened_with_an_event_a_count_and_a_letter():
    draft = make_draft()
    raise_matter(draft, "dead", "alpha", "1.2.3", "Polecat alpha is dead", "branch x")
    assert draft.memory.escalations == {
        "dead.alpha.1.2.3": Escalation(
            cause="dead",
            name="alpha",
            instance="1.2.3",
            summary="Polecat alpha is dead",
            evidence="branch x",
            opened_at=T0,
            raised_at=T0,
            raises=1,
        )
    }
    assert draft.events == [("escalated", "alpha", "Polecat alpha is dead")]
    assert draft.memory.stats == {"total_escalations": 1, "today_escalations": 1}
    (letter,) = draft.memory.pending.values()
    assert (letter.to, letter.subject, letter.event) == ("mayor/", "ESCALATION: Polecat alpha dead", "opened")
    assert "branch x" in letter.body


def test_a_matter_that_is_open_is_brought_up_to_date_in_place_and_nobody_is_told_again():
    draft = make_draft()
    for evidence in ("one", "two", ""):
        raise_matter(draft, "dead", "alpha", "1", "Polecat alpha is dead", evidence)
    (matter,) = draft.memory.escalations.values()
    assert (matter.evidence, matter.raises, len(draft.memory.pending), len(draft.events)) == ("two", 1, 1, 1)


def test_causes_workers_and_instances_are_matters_of_their_own():
    draft = make_draft()
    for cause, name, instance in (("dead", "a", "1"), ("stuck", "a", "1"), ("dead", "b", "1"), ("dead", "a", "2")):
        raise_matter(draft, cause, name, instance, "so")
    assert len(draft.memory.escalations) == len(draft.memory.pending) == 4


def test_closing_says_so_once_and_leaves_other_causes_open():
    draft = make_draft()
    raise_matter(draft, "dead", "alpha", "1", "Polecat alpha is dead")
    raise_matter(draft, "busy", "alpha", "1", "Polecat alpha is busy")
    for _ in range(2):
        close_matter(draft, "dead", "alpha", "it is working")
    assert [matter.cause for matter in draft.memory.escalations.values()] == ["busy"]
    assert letters(draft).count("RESOLVED: Polecat alpha dead") == 1
    assert draft.events[-1] == ("resolved", "alpha", "it is working")


def test_end_of_trouble_is_told_after_its_beginning_that_could_not_be_sent():
    """With the mail away for a minute, the mayor read RESOLVED, and half a minute later ESCALATION."""
    draft = make_draft()
    raise_matter(draft, "port-queue", "", "", "queue does not answer")
    ((key, letter),) = draft.memory.pending.items()
    draft.put("pending", key, letter.but(tries=1, next_at=T0 + 60))
    close_matter(draft, "port-queue", "", "it answers again")
    send_due_letters(draft)
    assert draft.actions == []
    draft.seen = make_seen(now=T0 + 60)
    send_due_letters(draft)
    assert [action.subject for action in draft.actions] == [key]
    draft.put("pending", key, None)
    send_due_letters(draft)
    assert draft.actions[-1].letter.event == "resolved"


def test_closing_what_was_never_open_says_nothing():
    draft = make_draft()
    close_matter(draft, "dead", "alpha", "it is working")
    assert (draft.events, draft.memory.pending) == ([], {})


def test_a_matter_that_comes_back_is_told_again():
    draft = make_draft()
    raise_matter(draft, "dead", "alpha", "1", "so")
    close_matter(draft, "dead", "alpha", "well")
    draft.seen = make_seen(now=T0 + 60)
    raise_matter(draft, "dead", "alpha", "1", "so")
    assert letters(draft).count("ESCALATION: Polecat alpha dead") == 2


@pytest.mark.parametrize(
    ("raises", "age_s", "expected"),
    [
        (1, 4 * HOUR - 1, 1),
        (1, 4 * HOUR, 2),
        (3, 4 * HOUR, 4),
        (4, 40 * HOUR, 4),
    ],
)
def test_a_matter_is_raised_again_every_four_hours_at_most_three_times(raises, age_s, expected):
    matter = Escalation(
        cause="dead",
        name="alpha",
        instance="1",
        summary="so",
        opened_at=T0 - 50 * HOUR,
        raised_at=T0 - age_s,
        raises=raises,
    )
    draft = make_draft(memory=Memory(escalations={"k": matter}))
    raise_again(draft)
    assert draft.memory.escalations["k"].raises == expected
    assert len(draft.memory.pending) == expected - raises


@pytest.mark.parametrize("when", ["first", "gap"])
def test_nothing_is_raised_again_in_the_first_tick_or_after_a_gap(when):
    matter = Escalation(cause="dead", name="alpha", instance="1", summary="so", opened_at=1.0, raised_at=1.0, raises=1)
    draft = make_draft(make_seen(**{when: True}), Memory(escalations={"k": matter}))
    raise_again(draft)
    assert draft.memory.pending == {}


# ---- letters --------------------------------------------------------------------------------------------------------


def test_a_letter_is_sent_when_due_and_leaves_the_outbox_once_it_was():
    due = Letter(to="mayor/", subject="now", body="", at=T0, next_at=T0)
    draft = make_draft(memory=Memory(pending={"a": due, "b": due.but(next_at=T0 + 1)}))
    send_due_letters(draft)
    assert [(action.subject, action.letter, action.why) for action in draft.actions] == [("a", due, "now to mayor/")]
    settle_letter(draft, Outcome(kind="letter", subject="a", ok=True, at=T0))
    assert list(draft.memory.pending) == ["b"]


def test_a_letter_that_could_not_be_sent_is_kept_and_tried_with_growing_waits():
    world = World()
    world.sinks_fail = True
    world.mail("HELP", sender="demo/alpha")
    world.wait(3 * HOUR)
    tries = of(world.done, SendLetter)
    assert len(tries) == 6  # after 1, 5, 15, 60 and 60 min again
    assert [text for _, text in world.told("unsent")] == ["FWD: HELP: no room on the disk"]
    (letter,) = world.memory.pending.values()
    assert letter.tries == len(tries)
    world.sinks_fail = False
    world.wait(HOUR + MIN)
    assert (world.subjects(), world.memory.pending) == (["FWD: HELP"], {})


@pytest.mark.parametrize(("tries", "wait_s"), [(0, 60), (1, 300), (2, 900), (3, 3600), (4, 3600), (99, 3600)])
def test_the_waits_between_tries_of_a_letter(tries, wait_s):
    letter = Letter(to="mayor/", subject="s", body="", at=T0, tries=tries)
    draft = make_draft(memory=Memory(pending={"a": letter}))
    settle_letter(draft, Outcome(kind="letter", subject="a", ok=False, at=T0, detail="no", data={"mailed": True}))
    kept = draft.memory.pending["a"]
    assert (kept.next_at, kept.tries, kept.mailed) == (T0 + wait_s, tries + 1, True)


def test_a_letter_already_mailed_stays_mailed_whatever_the_command_does_next():
    """An outcome of an unexpected failure says nothing of the mail; a second copy would be sent."""
    letter = Letter(to="mayor/", subject="s", body="", at=T0, tries=1, mailed=True)
    draft = make_draft(memory=Memory(pending={"a": letter}))
    settle_letter(draft, Outcome(kind="letter", subject="a", ok=False, at=T0, detail="no such file"))
    assert draft.memory.pending["a"].mailed


def test_the_outcome_of_a_letter_nobody_waits_for_is_no_fault():
    draft = make_draft()
    settle_letter(draft, Outcome(kind="letter", subject="a", ok=False, at=T0))
    assert draft.memory.pending == {}


def test_a_letter_survives_a_crash_before_it_was_sent_and_after():
    world = World()
    world.mail("HELP", sender="demo/alpha")
    world.tick()
    world.sent.clear()
    world.mail("HELP again", sender="demo/alpha")
    world.round(crash_after=0)
    assert world.subjects() == []
    world.round(crash_after=2)
    assert world.subjects() == ["FWD: HELP again"]
    world.tick()
    assert (world.subjects(), world.memory.pending, world.inbox) == (["FWD: HELP again"], {}, {})


# ---- ports ----------------------------------------------------------------------------------------------------------


def test_a_port_is_degraded_once_told_after_a_second_tick_and_recovered_once():
    world = World()
    world.tick()
    world.failing["queue"] = "bd: timed out"
    world.tick()
    assert (world.told("degraded"), world.sent) == ([("queue", "bd: timed out")], {})
    world.wait(10 * MIN)
    told = "ESCALATION: demo: queue does not answer: bd: timed out; what depends on it is suspended"
    assert world.subjects() == [told]
    assert len(world.told("degraded")) == 1
    world.failing.clear()
    world.wait(5 * MIN)
    assert world.told("recovered") == [("queue", "answers again after 10m")]
    assert world.subjects()[1:] == ["RESOLVED: port-queue"]
    assert (world.memory.ports, world.memory.escalations) == ({}, {})


def test_a_port_that_fails_for_one_tick_bothers_nobody():
    world = World()
    world.failing["tmux"] = "timed out"
    world.tick()
    world.failing.clear()
    world.wait(5 * MIN)
    assert world.sent == {}
    assert world.told("recovered") == [("tmux", "answers again after 30s")]


@pytest.mark.parametrize("when", ["first", "gap"])
def test_a_port_is_not_told_of_by_the_first_tick_or_after_a_gap(when):
    """It failed once before a night's sleep; whether it still does is not known yet."""
    draft = make_draft(make_seen(ports={"tmux": Port(state=UNKNOWN, reason="no")}))
    note_ports(draft)
    draft.seen = draft.seen.but(now=T0 + 8 * HOUR, **{when: True})
    note_ports(draft)
    assert draft.memory.escalations == {}
    draft.seen = draft.seen.but(now=T0 + 8 * HOUR + 30, **{when: False})
    note_ports(draft)
    assert list(draft.memory.escalations) == ["port-tmux.."]


# ---- storm ----------------------------------------------------------------------------------------------------------


def crowd(count: int, **config) -> World:
    """Return a world with so many workers, followed for a while."""
    world = World(**config)
    for number in range(count):
        world.add(f"w{number}")
    world.wait(3 * MIN)
    return world


def kill(world: World, *numbers: int) -> None:
    for number in numbers:
        world.workers[f"w{number}"].end()


STORM = ["ESCALATION: demo: 2 of 4 workers fell ill at once: w0, w1"]


def test_half_of_them_ill_at_once_is_one_escalation_and_a_halt():
    world = crowd(4, on_dead="restart")
    kill(world, 0, 1)
    world.wait(30 * MIN)
    assert (world.subjects(), words(world.done)) == (STORM, [])
    assert world.memory.storm_at


@pytest.mark.parametrize(("count", "ill"), [(2, (0, 1)), (5, (0, 1)), (3, (0,))])
def test_fewer_than_half_or_of_fewer_than_three_is_no_storm(count, ill):
    world = crowd(count)
    kill(world, *ill)
    world.wait(5 * MIN)
    assert sorted(world.subjects()) == [f"ESCALATION: Polecat w{number} dead" for number in ill]


def test_workers_that_fall_ill_a_while_after_each_other_are_no_storm():
    world = crowd(4)
    kill(world, 0)
    world.wait(2 * MIN)
    kill(world, 1)
    world.wait(5 * MIN)
    assert sorted(world.subjects()) == ["ESCALATION: Polecat w0 dead", "ESCALATION: Polecat w1 dead"]


def test_workers_stuck_at_once_get_no_wave_of_nudges():
    world = crowd(4)
    for number in (0, 1):
        world.workers[f"w{number}"].commit()
    for _ in range(80):
        for number in (2, 3):
            world.workers[f"w{number}"].commit()
        world.tick()
    assert (world.subjects(), world.nudges) == (STORM, [])
    assert len(of(world.done, LookTwice)) == 2


def test_workers_that_cannot_be_judged_or_are_held_or_idle_do_not_count():
    world = crowd(6)
    world.holds = {"w2": "mine", "w3": "mine"}
    for number in (4, 5):
        world.workers[f"w{number}"].record = {"state": "idle"}
    kill(world, 0)
    world.wait(5 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat w0 dead"]


def test_a_storm_halts_spawning_too():
    world = crowd(4, auto_spawn=True, max_workers=9)
    kill(world, 0, 1)
    world.tick()
    world.queue("de-1")
    world.wait(5 * MIN)
    assert of(world.done, StartSpawn) == []


def test_a_storm_does_not_halt_a_request():
    world = crowd(4)
    kill(world, 0, 1)
    world.tick()
    world.ask("w2")
    world.tick()
    assert [worker.name for worker in world.retired.values()] == ["w2"]


def test_a_storm_ends_after_two_calm_ticks():
    world = crowd(4)
    kill(world, 0, 1)
    world.wait(2 * MIN)
    world.workers["w0"].start()
    world.round()
    assert world.memory.storm_at
    world.now += 30
    world.tick()
    assert world.memory.storm_at == 0.0
    assert world.subjects()[1:] == ["RESOLVED: storm", "ESCALATION: Polecat w1 dead"]


def test_ticks_that_see_nothing_are_not_calm():
    """The host's trouble that felled the workers may well keep tmux from answering."""
    world = crowd(4)
    kill(world, 0, 1)
    world.wait(2 * MIN)
    world.failing["tmux"] = "timed out"
    world.wait(MIN)
    assert world.memory.storm_at
    assert "RESOLVED: storm" not in world.subjects()


def test_a_storm_ends_when_a_person_says_go_on_and_the_same_workers_do_not_start_it_again():
    world = crowd(4)
    kill(world, 0, 1)
    world.wait(2 * MIN)
    world.resumed_at = world.now
    world.wait(5 * MIN)
    assert world.memory.storm_at == 0.0
    assert sorted(world.subjects()) == [
        "ESCALATION: Polecat w0 dead",
        "ESCALATION: Polecat w1 dead",
        *STORM,
        "RESOLVED: storm",
    ]


@pytest.mark.parametrize("ill", ["dead", "stuck"])
def test_after_a_resume_a_look_that_fails_does_not_make_the_same_workers_a_new_storm(ill):
    world = crowd(4)
    if ill == "dead":
        kill(world, 0, 1)
    for _ in range(70):
        for number in (2, 3):
            world.workers[f"w{number}"].commit()
        world.tick()
    assert world.memory.storm_at
    world.resumed_at = world.now
    world.tick()
    world.failing["tmux"] = "timed out"
    world.tick()
    world.failing.clear()
    world.wait(3 * MIN)
    assert world.memory.storm_at == 0.0
    assert len([subject for subject in world.subjects() if "fell ill" in subject]) == 1


def test_others_who_fall_ill_after_a_resume_are_a_new_storm():
    world = crowd(4)
    kill(world, 0, 1)
    world.wait(2 * MIN)
    world.resumed_at = world.now
    world.wait(5 * MIN)
    kill(world, 2, 3)
    world.wait(MIN)
    assert world.subjects()[-1] == "ESCALATION: demo: 2 of 4 workers fell ill at once: w0, w1, w2, w3"


def test_an_observation_without_workers_is_no_storm():
    draft = make_draft(Observation(now=T0, rig="demo"))
    assert draft.halted() == ""
    assert of(World().tick(), Nudge) == []


# ---- a flood --------------------------------------------------------------------------------------------------------


def escalations(world: World) -> list:
    return [letter for letter in world.sent.values() if letter.event]


@pytest.mark.parametrize("state", ["stuck", "dead"])
def test_fifty_workers_that_fall_ill_at_once_are_one_escalation(state):
    world = World()
    for number in range(50):
        world.add(f"w{number:02d}")
    world.wait(10 * MIN)
    if state == "dead":
        for worker in world.workers.values():
            worker.end()
    world.wait(8 * HOUR)
    told = escalations(world)
    assert [(letter.event, letter.cause) for letter in told] == [("opened", "storm"), ("again", "storm")]
    assert told[0].subject.startswith("ESCALATION: demo: 50 of 50 workers fell ill at once")
    for worker in world.workers.values():
        worker.start().commit().show()
    world.wait(2 * MIN)
    assert [letter.event for letter in escalations(world)] == ["opened", "again", "resolved"]
    world.wait(5 * MIN)
    assert len(escalations(world)) == 3


def test_nothing_is_lost_while_the_sinks_are_down_and_each_is_told_once_after():
    world = World()
    world.add("alpha")
    world.sinks_fail = True
    world.wait(2 * HOUR)
    assert (world.sent, len(world.memory.pending)) == ({}, 1)
    world.workers["alpha"].commit().record = {"state": "idle"}
    world.wait(5 * MIN)
    assert sorted(letter.event for letter in world.memory.pending.values()) == ["opened", "resolved"]
    world.restart()
    world.sinks_fail = False
    world.wait(2 * HOUR)
    assert sorted(letter.event for letter in escalations(world)) == ["opened", "resolved"]
    assert world.memory.pending == {}
