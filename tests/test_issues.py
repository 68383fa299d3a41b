"""Beads' own export format: what is ready, in which order, and who descends from whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import world

import witness as w

DATA = Path(__file__).parent / "data"


def read(name):
    issues, bad = w.parse_issues((DATA / f"issues-{name}.jsonl").read_text(encoding="utf-8"))
    assert bad == ()
    return issues


# What each recorded export means, by hand: titles in ready order, and what waits for what.
READY = {
    "bd-0.47.1": [],
    "bd-0.57.0-server": ["Zero", "One", "Two", "Epic", "Assigned", "Labelled", "Sub-epic", "Grandchild", "Child"],
    "bd-1.0.5-embedded": ["Zero", "One", "Two", "Epic", "Child", "Sub-epic", "Grandchild", "Assigned"],
    "bd-1.0.5-server": ["Zero", "One", "Two", "Epic", "Child", "Sub-epic", "Grandchild", "Assigned"],
}


@pytest.mark.parametrize("name", READY)
def test_recorded_export_is_read(name):
    issues = read(name)
    titles = [issue.title for issue in w.list_ready(issues, world.NOW)]
    assert sorted(titles) == sorted(READY[name])
    assert titles[:1] == READY[name][:1]
    by_title = {issue.title: issue for issue in issues}
    by_id = {issue.id: issue for issue in issues}
    if issues:
        assert w.find_blocking(by_title["Blocked"], by_id) == by_title["One"].id
        assert [one.title for one in w.find_ancestors(by_title["Grandchild"], by_id)] == ["Sub-epic", "Epic"]
        assert by_title["Wip"].status == "in_progress"
        assert by_title["Assigned"].assignee == "someone"
        assert by_title["Labelled"].labels == ("backend",)
        assert by_title["Zero"].priority == 0
        assert by_title["Epic"].type == "epic"


def line(issue_id, **fields):
    return json.dumps({"id": issue_id, "title": issue_id, **fields})


def parse(*lines):
    return w.parse_issues("\n".join(lines))


def test_bad_lines_are_named_by_number_and_passed_over():
    issues, bad = parse(
        line("a"), "{", "[]", '"x"', line("../x"), line("b", priority="high"), line("c", labels=3), line("d")
    )
    assert [issue.id for issue in issues] == ["a", "d"]
    assert [text.partition(":")[0] for text in bad] == ["line 2", "line 3", "line 4", "line 5", "line 6", "line 7"]


def test_lines_that_are_no_issue_are_passed_over():
    issues, bad = parse(line("a", _type="memory"), line("b", _type="issue"), "", "  ")
    assert ([issue.id for issue in issues], bad) == (["b"], ())


def test_later_line_of_an_id_wins():
    issues, _ = parse(line("a", status="open"), line("a", status="closed"))
    assert [issue.status for issue in issues] == ["closed"]


def test_missing_priority_is_zero_and_missing_status_open():
    (issue,), _ = parse(line("a"))
    assert (issue.priority, issue.status, issue.type) == (0, "open", "task")


def link(issue_id, target, kind="blocks"):
    return {"issue_id": issue_id, "depends_on_id": target, "type": kind}


def ready(*lines):
    return [issue.id for issue in w.list_ready(parse(*lines)[0], world.NOW)]


def test_order_is_priority_then_age_then_id():
    rows = [
        line("c", priority=1, created_at="2026-01-02"),
        line("b", priority=1, created_at="2026-01-01"),
        line("a", priority=2),
        line("e", priority=1, created_at="2026-01-02"),
    ]
    assert ready(*rows) == ["b", "c", "e", "a"]


def test_blocked_until_the_other_is_closed():
    blocked = line("a", dependencies=[link("a", "b")])
    assert ready(blocked, line("b")) == ["b"]
    assert ready(blocked, line("b", status="closed")) == ["a"]
    assert ready(blocked, line("b", status="tombstone")) == ["a"]


def test_dependency_outside_the_file_blocks():
    assert ready(line("a", dependencies=[link("a", "gone")])) == []


def test_other_kinds_of_links_do_not_block():
    assert ready(line("a", dependencies=[link("a", "b", "related"), link("b", "a")]), line("b")) == ["a", "b"]


def test_child_of_a_blocked_epic_waits_too():
    rows = [
        line("epic", dependencies=[link("epic", "x")]),
        line("child", dependencies=[link("child", "epic", "parent-child")]),
        line("x"),
    ]
    assert ready(*rows) == ["x"]


def test_rings_come_to_an_end():
    rows = [
        line("a", dependencies=[link("a", "b", "parent-child"), link("a", "b")]),
        line("b", dependencies=[link("b", "a", "parent-child"), link("b", "a")]),
    ]
    assert ready(*rows) == []


@pytest.mark.parametrize(
    ("until", "answer"), [("2000-01-01T00:00:00Z", True), ("2100-01-01T00:00:00Z", False), ("soon", False)]
)
def test_deferred_issue_waits(until, answer):
    assert bool(ready(line("a", defer_until=until))) is answer


def test_new_issue_line_is_read_back():
    ((issue,), bad) = w.parse_issues(w.new_issue_line("demo-1", "Grün \n x", world.NOW, "me", priority=1))
    assert (issue.id, issue.priority, issue.created, bad) == ("demo-1", 1, "2027-01-15T08:00:00.000Z", ())


def test_closing_leaves_every_other_byte_alone():
    text = '{"id":"a",  "x":"é"}\nnot json\n\n{"id": "b", "_type":"memory"}\n{"id": "b"}'
    closed = w.close_issue_text(text, "b", world.NOW, "done")
    assert closed.split("\n")[:4] == text.split("\n")[:4]
    data = json.loads(closed.split("\n")[4])
    assert (data["status"], data["close_reason"]) == ("closed", "done")
    with pytest.raises(KeyError):
        w.close_issue_text(text, "c", world.NOW, "done")


@given(st.text())
def test_any_text_is_issues_and_reasons(text):
    issues, bad = w.parse_issues(text)
    w.list_ready(issues, world.NOW)
    assert len(issues) + len(bad) <= len(text.split("\n"))
