"""Failures we expect are one line and a status."""

from __future__ import annotations

import pytest

import witness as w


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (w.WitnessError, 1),
        (w.UsageError, 2),
        (w.ConfigError, 78),
        (w.BusyError, 75),
        (w.NotRunningError, 3),
        (w.StateError, 1),
        (w.ToolError, 1),
    ],
)
def test_each_kind_has_its_status(kind, status):
    error = kind("what, where", "what to do")
    assert (error.status, error.line()) == (status, "what, where; what to do")


def test_kinds_are_told_apart_in_json():
    kinds = [
        one.kind
        for one in (
            w.WitnessError,
            w.UsageError,
            w.ConfigError,
            w.BusyError,
            w.NotRunningError,
            w.StateError,
            w.ToolError,
        )
    ]
    assert len(set(kinds)) == len(kinds)


def test_every_kind_is_caught_as_one_and_tells_its_message():
    for kind in w.WitnessError.__subclasses__():
        with pytest.raises(w.WitnessError, match=r"^what, where$") as error:
            raise kind("what, where", "what to do")
        assert (error.value.message, error.value.remedy) == ("what, where", "what to do")


def test_line_without_a_remedy_is_the_message():
    assert w.WitnessError("no rig").line() == "no rig"
