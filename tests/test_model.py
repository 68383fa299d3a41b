"""Values are made whole, compared by content and never changed in place."""

from __future__ import annotations

import pytest
from tools import world

import witness as w


def test_field_without_default_must_be_given():
    with pytest.raises(TypeError, match="lacks name"):
        w.Sighting(worktree=world.tree())


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


def test_values_cannot_be_keys():
    with pytest.raises(TypeError):
        hash(w.Port())


def test_actions_inherit_fields():
    look = w.LookTwice(subject="alpha", pane_id="%1")
    assert look.fields() == {"subject": "alpha", "why": "", "pane_id": "%1"}
    assert repr(look) == "LookTwice(subject='alpha', why='', pane_id='%1')"


def test_values_have_no_dictionary():
    assert not hasattr(w.Port(), "__dict__")
