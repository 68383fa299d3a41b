"""One decision while it is being made."""

from __future__ import annotations

import pytest
from tools.simulation import T0, make_draft, make_seen

from witness import Draft, Effort, Memory, PortTrack, SweepTrash


def test_put_sets_one_entry_and_leaves_the_memory_it_came_from_alone():
    before = Memory(issues={"de-1": Effort(attempts=1)})
    draft = make_draft(memory=before)
    draft.put("issues", "de-2", Effort(attempts=2))
    assert draft.memory.issues == {"de-1": Effort(attempts=1), "de-2": Effort(attempts=2)}
    assert before.issues == {"de-1": Effort(attempts=1)}


def test_put_of_none_takes_the_entry_out_and_one_that_is_not_there_is_no_fault():
    draft = make_draft(memory=Memory(ports={"git": PortTrack(since_at=T0, reason="hangs")}))
    draft.put("ports", "git", None)
    draft.put("ports", "tmux", None)
    assert draft.memory.ports == {}


def test_change_keeps_what_it_does_not_name():
    draft = make_draft(memory=Memory(storm_at=T0, calm_ticks=1))
    draft.change(calm_ticks=2)
    assert (draft.memory.storm_at, draft.memory.calm_ticks) == (T0, 2)


def test_actions_and_events_keep_their_order():
    draft = make_draft()
    draft.act(SweepTrash(subject="one"))
    draft.act(SweepTrash(subject="two"))
    draft.tell("state", "alpha", "a\x1b[31mb\nc")
    assert [action.subject for action in draft.actions] == ["one", "two"]
    assert draft.events == [("state", "alpha", "ab c")]


def test_count_adds_to_the_total_and_to_today():
    draft = make_draft(memory=Memory(stats={"total_nudges": 7, "today_nudges": 1}))
    draft.count("nudges")
    draft.count("retired", 2)
    assert draft.memory.stats == {"total_nudges": 8, "today_nudges": 2, "total_retired": 2, "today_retired": 2}


def test_a_letter_is_posted_once_per_key_as_it_was_first_written():
    draft = make_draft()
    draft.post("k", "mayor/", ("first", "body"), event="opened")
    draft.post("k", "mayor/", ("second", "body"))
    (letter,) = draft.memory.pending.values()
    assert (letter.to, letter.subject, letter.body, letter.at, letter.event) == (
        "mayor/",
        "first",
        "body",
        T0,
        "opened",
    )


@pytest.mark.parametrize(
    ("paused", "storm_at", "expected"),
    [
        ("", 0.0, ""),
        ("a talk", 0.0, "paused: a talk"),
        ("", T0, "many workers fell ill at once; `witness resume` goes on"),
        ("a talk", T0, "paused: a talk"),
    ],
)
def test_halted_names_the_pause_or_the_storm(paused, storm_at, expected):
    assert make_draft(make_seen(paused=paused), Memory(storm_at=storm_at)).halted() == expected


@pytest.mark.parametrize(
    ("first", "gap", "person", "expected"),
    [
        (False, False, False, True),
        (True, False, False, False),
        (False, True, False, False),
        (True, True, True, True),
    ],
)
def test_timers_act_neither_in_the_first_tick_nor_after_a_gap_save_for_a_person(first, gap, person, expected):
    assert make_draft(make_seen(first=first, gap=gap, person=person)).may_time() is expected


def test_a_draft_starts_with_nothing_decided():
    draft = Draft(make_seen(), Memory(), None)
    assert (draft.actions, draft.events, draft.verdicts) == ([], [], {})
