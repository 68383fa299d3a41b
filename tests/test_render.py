"""Data into the text people read: aligned and plain."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.hostile import HOSTILE, plain, spoilt

from witness import (
    render_event,
    render_issues,
    render_json,
    render_messages,
    render_retired,
    render_shutdown,
    render_spawn,
    render_table,
)

# ---- tables ---------------------------------------------------------------------------------------------------------


def test_columns_are_aligned_and_lines_end_without_blanks():
    assert render_table([("NAME", "N", "WHY"), ("a", 10, ""), ("longer", 1, "because of it")]) == (
        "  NAME    N   WHY\n  a       10\n  longer  1   because of it"
    )


def test_a_table_without_rows_is_empty():
    assert render_table([]) == ""


@given(st.lists(st.tuples(*[st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=9)] * 3), min_size=1))
def test_every_column_begins_at_one_place(rows):
    lines = render_table(rows, "").split("\n")
    assert len(lines) == len(rows)
    first, second = (max(len(row[number]) for row in rows) for number in (0, 1))
    for line, row in zip(lines, rows):
        assert line == f"{row[0]:{first}}  {row[1]:{second}}  {row[2]}".rstrip()


# ---- the other answers ----------------------------------------------------------------------------------------------


def test_shutdown_says_where_the_work_is_and_what_blocks():
    data = {
        "polecats": [
            {
                "name": "alpha",
                "result": "retired",
                "detail": "branch deleted",
                "ref": "refs/witness/retired/alpha/x",
                "commit": "c0ffee" * 6,
                "branch": {"name": "polecat/alpha", "result": "deleted", "reason": "it is on main"},
            },
            {
                "name": "beta",
                "result": "refused",
                "detail": "",
                "ref": None,
                "blockers": [{"kind": "modified", "evidence": "a.txt", "remedy": "git commit -a"}],
            },
        ]
    }
    assert render_shutdown(data) == (
        "alpha: retired - branch deleted\n"
        "  kept for ever under refs/witness/retired/alpha/x (c0ffeec0ffee); `recover alpha` brings it back\n"
        "  branch polecat/alpha: deleted, it is on main\n"
        "beta: refused\n"
        "  modified: a.txt\n"
        "    clear it with: git commit -a\n"
    )


def test_spawn_lists_issues_or_says_why_there_is_nothing():
    rows = [
        {"id": "de-1", "result": "spawned", "polecat": "de-1", "reason": None},
        {"id": "de-12", "result": "failed", "polecat": None, "reason": "no such command"},
    ]
    assert render_spawn({"issues": rows}) == "de-1   spawned  de-1\nde-12  failed   -     no such command\n"
    assert render_spawn({"issues": [], "reason": "auto_spawn is off"}) == "nothing to spawn: auto_spawn is off\n"
    assert render_spawn({"issues": []}) == "nothing to spawn: no issue is ready\n"


def test_issues_are_listed_with_their_reason_and_the_bad_lines():
    row = {"id": "de-1", "status": "open", "priority": 2, "title": "t", "spawnable": True, "reason": None}
    data = {
        "issues": [row, {**row, "id": "de-2", "spawnable": False, "reason": "its status is closed"}],
        "bad_lines": ["line 3: no JSON object"],
    }
    assert render_issues(data) == (
        "de-1  open  P2  t  spawnable\nde-2  open  P2  t  its status is closed\nissues.jsonl line 3: no JSON object\n"
    )
    assert render_issues({"issues": []}) == "no issues; `witness add TITLE` makes one\n"


def test_retired_messages_and_events():
    row = {"name": "a", "issue": None, "at": "2025", "commit": None, "branch": "", "ref": "refs/a"}
    assert render_retired({"retired": [row]}) == (
        "NAME  ISSUE  AT    COMMIT  BRANCH  REF\na     -      2025          -       refs/a\n"
    )
    assert render_retired({"retired": []}) == "nobody was retired\n"
    mail = {"id": "m1", "from": "demo/a", "at": "2025", "subject": "s", "body": "one\ntwo"}
    assert render_messages({"messages": [mail]}) == "m1\n  from demo/a at 2025\n  s\n    one\n    two\n"
    assert render_messages({"messages": []}) == "no mail\n"
    event = {"at": "2025", "kind": "state", "subject": "alpha", "text": "new -> working"}
    assert render_event(event) == "2025  state              alpha            new -> working"


def test_json_is_one_object_on_one_line_with_schema_command_and_ok():
    text = render_json("status", True, {"a": "ü\n"})
    assert text.endswith("}\n")
    assert text.count("\n") == 1
    assert json.loads(text) == {"schema": 1, "command": "status", "ok": True, "a": "ü\n"}


def test_json_of_a_branch_that_is_no_utf_8_can_be_written():
    """git's names are bytes; a name that is none of UTF-8 travels as lone surrogates."""
    assert json.loads(render_json("status", True, {"branch": "a\udcff"}).encode())["branch"] == "a\udcff"


# ---- hostile text ---------------------------------------------------------------------------------------------------


ANSWERS = {
    "shutdown": (
        render_shutdown,
        {
            "polecats": [
                {
                    "name": "n",
                    "result": "r",
                    "detail": "d",
                    "ref": "f",
                    "commit": "c",
                    "branch": {"name": "n", "result": "r", "reason": "s"},
                    "blockers": [{"kind": "k", "evidence": "e", "remedy": "r"}],
                }
            ]
        },
    ),
    "spawn": (render_spawn, {"issues": [{"id": "i", "result": "r", "polecat": "p", "reason": "s"}]}),
    "nothing": (render_spawn, {"issues": [], "reason": "r"}),
    "issues": (
        render_issues,
        {
            "bad_lines": ["b"],
            "issues": [{"id": "i", "status": "s", "priority": 1, "title": "t", "spawnable": False, "reason": "r"}],
        },
    ),
    "retired": (
        render_retired,
        {"retired": [{"name": "n", "issue": "i", "at": "a", "commit": "c", "branch": "b", "ref": "r"}]},
    ),
    "messages": (render_messages, {"messages": [{"id": "i", "from": "f", "at": "a", "subject": "s", "body": "b"}]}),
    "event": (render_event, {"at": "a", "kind": "k", "subject": "s", "text": "t"}),
}


@pytest.mark.parametrize("answer", ANSWERS)
@given(data=st.data())
def test_no_control_character_reaches_the_text(answer, data):
    render, good = ANSWERS[answer]
    assert plain(render(good))
    assert plain(render(spoilt(good, data.draw)))


@given(HOSTILE)
def test_a_hostile_cell_does_not_break_the_table(cell):
    lines = render_table([("NAME", "WHY"), (cell, "so"), ("b", cell)]).split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
