"""Every action says what it does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import world

import witness as w

SAMPLES = [
    w.LookTwice(subject="alpha"),
    w.Nudge(subject="alpha", text="t"),
    w.SendLetter(subject="k", letter=w.Letter(to="mayor/", subject="s", body="b", at=1.0)),
    w.AckMail(subject="m"),
    w.Restart(subject="alpha"),
    w.Retire(subject="alpha", retirement=w.Retirement(name="alpha", id="alpha/x", at=1.0)),
    w.StartSpawn(subject="de-1", issue=world.issue(), name="de-1"),
    w.EndSpawn(subject="de-1", sight=w.SpawnSight(alive=False)),
    w.ReleaseOrphan(subject="de-1", claim=world.claim()),
    w.SettleClaim(subject="de-1", claim=world.claim(), step="tell"),
    w.CheckMerged(subject="de-1", claim=world.claim()),
    w.SweepTrash(subject="kept folders"),
    w.KeepWork(subject="alpha", mark="polecat/alpha"),
    w.SendHeartbeats(subject="workers", sessions=("de-alpha",)),
    w.Patrol(subject="the town"),
    w.StartSession(subject="refinery"),
]


@pytest.mark.parametrize("action", SAMPLES, ids=lambda one: type(one).__name__)
def test_action_is_described_in_one_clean_line(action):
    line = w.describe(action.but(why="because\x1b[31m\nof that"))
    assert action.subject in line
    assert line.isprintable()


@given(st.sampled_from(SAMPLES), st.text(), st.text())
def test_any_words_are_described_in_one_line(action, subject, why):
    line = w.describe(action.but(subject=subject, why=why))
    assert line.isprintable()
    assert 0 < len(line) <= 200


def test_samples_name_every_action_and_each_has_a_hand():
    names = {type(action) for action in SAMPLES}
    assert names == set(w.Action.__subclasses__()) == set(w.PERFORM) == set(w.OUTCOME_KIND)
