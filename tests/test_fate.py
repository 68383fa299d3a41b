"""A branch is deleted only where its content is proved to be elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w


def fate(**fields):
    return w.decide_fate(w.BranchFacts(**{"name": "polecat/a", **fields}))


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"on_default": "merged on main"}, ("deleted", "merged on main")),
        ({"on_remote": "on origin as x"}, ("deleted", "on origin as x")),
        ({}, ("kept", "its content is not on the default branch or a remote")),
        ({"there": False}, ("deleted", "it is gone already")),
        ({"name": ""}, ("kept", "it is not this worker's own")),
        ({"doubt": "exit 128", "on_default": "merged"}, ("kept", "git could not tell: exit 128")),
        ({"symref": True, "on_default": "merged"}, ("kept", "it is an alias of another branch")),
        ({"default": True, "on_default": "merged"}, ("kept", "it is the default branch")),
        ({"moved": True, "on_default": "merged"}, ("kept", "it has moved since it was preserved")),
        ({"checked_out": "/x", "on_default": "merged"}, ("kept", "/x has it checked out")),
    ],
)
def test_fate_follows_the_facts(fields, answer):
    assert fate(**fields) == answer


@given(
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "/x"]),
    st.sampled_from(["", "merged"]),
    st.sampled_from(["", "on origin"]),
    st.sampled_from(["", "doubt"]),
)
def test_any_doubt_keeps_it(symref, default, moved, checked_out, on_default, on_remote, doubt):
    result, why = fate(
        symref=symref,
        default=default,
        moved=moved,
        checked_out=checked_out,
        on_default=on_default,
        on_remote=on_remote,
        doubt=doubt,
    )
    assert why
    assert (result == "deleted") == (
        bool(on_default or on_remote) and not (symref or default or moved or checked_out or doubt)
    )
