"""What a string must look like before it becomes a path, a ref or a target."""

from __future__ import annotations

import datetime
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w

NASTY = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "-x",
    "a b",
    "a\nb",
    "a\x00b",
    "a\x1b[31m",
    "x" * 65,
    "é",
    "witness",
    "refinery",
    "mayor",
    "deacon",
    "crew",
]


@pytest.mark.parametrize("name", NASTY)
def test_nasty_string_is_no_polecat_name(name):
    assert not w.is_polecat_name(name)


@pytest.mark.parametrize("name", ["alpha", "A1", "de-9lx", "x_y", "0", "x" * 64])
def test_plain_name_is_one(name):
    assert w.is_polecat_name(name)


@pytest.mark.parametrize("text", [*NASTY[:10], "é", "a..b", "x.lock", "x.", "x" * 129])
def test_nasty_string_is_no_issue_id(text):
    assert not w.is_issue_id(text)


@given(st.text(max_size=80))
def test_what_passes_as_a_name_stays_in_its_folder(text):
    for passes in (w.is_polecat_name, w.is_issue_id):
        if passes(text):
            assert os.path.normpath(os.path.join("/top", text)) == f"/top/{text}"
            assert not text.startswith("-")


@given(st.text(max_size=80))
def test_what_passes_as_an_address_is_one_folder(text):
    try:
        folder = w.address_folder(text)
    except w.UsageError:
        return
    assert os.path.dirname(os.path.normpath(os.path.join("/mail", folder))) == "/mail"


@given(st.text(min_size=1, max_size=140))
def test_issue_suggests_a_good_name(text):
    if w.is_issue_id(text):
        assert w.is_polecat_name(w.name_for_issue(text))


def test_free_name_counts_on():
    assert w.free_name("a", {"a", "a-2"}) == "a-3"
    assert w.free_name("a", ()) == "a"


def test_session_is_named_as_tmux_keeps_it():
    assert w.session_for("gt-{rig}-{name}", "my.rig:x", "a") == "gt-my_rig_x-a"


@given(st.text())
def test_clean_line_lets_no_control_character_through(text):
    line = w.clean_line(text)
    assert line.isprintable()
    assert len(line) <= 200


@pytest.mark.parametrize(
    ("text", "clean"),
    [("a\x1b[31mred\x1b[0m b", "ared b"), ("t\x1b]0;title\x07x", "tx"), ("a\r\nb\tc", "a b c"), ("\x9b31mx", "31mx")],
)
def test_escape_sequences_are_taken_out(text, clean):
    assert w.clean_line(text) == clean


@given(st.text())
def test_clean_text_keeps_only_lines(text):
    assert all(line.isprintable() for line in w.clean_text(text).split("\n"))


@pytest.mark.parametrize(
    "secret",
    [
        "token=abcdef123456",
        "Authorization: Bearer abcdef123456",
        "sk-abcdefghijklmnop12",
        "password: hunter2hunter2",
        "ghp_abcdefghijkl0123",
    ],
)
def test_secrets_are_masked(secret):
    masked = w.mask_secrets(f"x {secret} y")
    assert "[masked]" in masked
    assert "123456" not in masked
    assert masked.startswith("x ")


@given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1)))  # noqa: DTZ001
def test_stamps_agree_with_datetime(moment):
    at = moment.replace(tzinfo=datetime.timezone.utc).timestamp()
    text = w.rfc3339(at)
    read = datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    assert abs(read - at) < 0.0011
    assert abs(w.parse_rfc3339(text) - at) < 0.0011
    assert w.time_id(at) == datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 0.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("2024-02-29T12:00:00+02:00", 1709200800.0),
        ("2026-11-22T11:53:54.250Z", 1795348434.25),
        ("2026-11-22 11:53:54-01:30", 1795353834.0),
    ],
)
def test_stamps_are_read(text, at):
    assert w.parse_rfc3339(text) == at


@given(st.text(max_size=30))
def test_no_stamp_is_a_value_error(text):
    try:
        w.parse_rfc3339(text)
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (3661, "1h01m"), (90000, "1d1h"), (-5, "0s")]
)
def test_spans_read_short(seconds, text):
    assert w.span(seconds) == text
