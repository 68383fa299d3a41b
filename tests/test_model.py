"""Values are made whole, compared by content and never changed in place."""

from __future__ import annotations

import copy

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from tools import world

import witness as w


def kinds(base=w.Value):
    """Return every class of values there is, actions and verdicts too."""
    return [kind for one in base.__subclasses__() for kind in (one, *kinds(one))]


KINDS = kinds()
ANY = st.one_of(
    strategies.panes(),
    strategies.worktrees(),
    strategies.sightings(),
    strategies.looks(),
    strategies.mails(),
    strategies.issues(),
    strategies.claims(),
    strategies.tracks(),
    strategies.requests(),
    strategies.retirements(),
)


def test_field_without_default_must_be_given():
    with pytest.raises(TypeError, match=r"Sighting lacks name$"):
        w.Sighting(worktree=world.tree())
    with pytest.raises(TypeError, match=r"Claim lacks issue, actor, at$"):
        w.Claim()


def test_fields_are_given_by_name_alone():
    with pytest.raises(TypeError, match="positional"):
        w.Issue("de-1")


def test_field_that_is_none_is_refused():
    with pytest.raises(AttributeError):
        w.Issue(id="a", colour="red")
    with pytest.raises(TypeError, match="has no colour"):
        w.Issue(id="a").but(colour="red")


def test_but_changes_a_copy():
    issue = world.issue(priority=1)
    other = issue.but(priority=2)
    assert (issue.priority, other.priority, other.id) == (1, 2, issue.id)


def test_values_are_equal_by_content_and_kind():
    assert world.issue() == world.issue()
    assert world.issue() != world.issue(priority=3)
    assert w.Port() != w.Load()
    assert w.Port() != {"state": w.PRESENT, "version": "", "reason": ""}


def test_values_cannot_be_keys():
    with pytest.raises(TypeError):
        hash(w.Port())


def test_actions_inherit_fields():
    look = w.LookTwice(subject="alpha", pane_id="%1")
    assert look.fields() == {"subject": "alpha", "why": "", "pane_id": "%1"}
    assert repr(look) == "LookTwice(subject='alpha', why='', pane_id='%1')"


@pytest.mark.parametrize("kind", KINDS, ids=lambda one: one.__name__)
def test_every_kind_keeps_the_rules_of_values(kind):
    given = {field: field for field in kind._fields if field not in kind._defaults}
    value = kind(**given)
    assert not hasattr(value, "__dict__")
    assert value.fields() == {**kind._defaults, **given}
    assert value == value.but() == copy.copy(value)
    assert all(
        isinstance(one, (str, int, float, tuple, frozenset, dict, type(None))) for one in kind._defaults.values()
    )


@given(ANY)
def test_any_value_equals_its_copy_and_differs_by_each_field(value):
    assert value == value.but() == type(value)(**value.fields())
    assert repr(value) == repr(value.but())
    for field in value._fields:
        other = value.but(**{field: object()})
        assert value != other
        assert other.but(**{field: getattr(value, field)}) == value


@given(seen=strategies.observations(), memory=strategies.memories(), config=strategies.configs())
def test_nobody_changes_a_value_or_a_shared_default_in_place(seen, memory, config):
    defaults = {kind: repr(kind._defaults) for kind in KINDS}
    before = repr((seen, memory, config.values))
    decision = w.decide(seen, memory, config)
    w.next_deadline(decision, seen, config)
    assert repr((seen, memory, config.values)) == before
    assert {kind: repr(kind._defaults) for kind in KINDS} == defaults
