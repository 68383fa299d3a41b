"""Beads' own export format: what is ready, in which order, and who descends from whom."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from tools import world

import witness as w

DATA = Path(__file__).parent / "data"


def read(name):
    issues, bad = w.parse_issues((DATA / f"issues-{name}.jsonl").read_text(encoding="utf-8"))
    assert bad == ()
    return issues


# What each recorded export means, by hand: titles in ready order (priority, then age, then id), and who is whose child.
READY = {
    "bd-0.47.1": [],
    "bd-0.57.0-server": ["Zero", "Two", "One", "Epic", "Grandchild", "Child", "Sub-epic", "Labelled", "Assigned"],
    "bd-1.0.5-embedded": ["Zero", "One", "Two", "Epic", "Child", "Sub-epic", "Grandchild", "Assigned"],
    "bd-1.0.5-server": ["Zero", "One", "Epic", "Two", "Grandchild", "Child", "Sub-epic", "Assigned"],
}
DESCENT = {"Sub-epic": ["Epic"], "Child": ["Epic"], "Grandchild": ["Sub-epic", "Epic"]}


@pytest.mark.parametrize("name", READY)
def test_recorded_export_is_read(name):
    issues = read(name)
    assert [issue.title for issue in w.list_ready(issues, world.NOW)] == READY[name]
    by_title = {issue.title: issue for issue in issues}
    by_id = {issue.id: issue for issue in issues}
    for issue in issues:
        assert w.find_blocking(issue, by_id) == (by_title["One"].id if issue.title == "Blocked" else "")
        assert [one.title for one in w.find_ancestors(issue, by_id)] == DESCENT.get(issue.title, [])
    if issues:
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


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": None}, "no issue id"),
        ({"id": 7}, "no issue id"),
        ({"id": "../x"}, "no issue id"),
        ({"id": "x" * 300}, "no issue id"),
        ({"title": 3}, "title is no text"),
        ({"status": []}, "status is no text"),
        ({"assignee": {}}, "assignee is no text"),
        ({"priority": True}, "priority is no number"),
        ({"priority": 1.5}, "priority is no number"),
        ({"priority": float("nan")}, "priority is no number"),
        ({"labels": "a"}, "labels are no list"),
        ({"dependencies": {"a": 1}}, "dependencies are no list"),
        ({"dependencies": ["b"]}, "a dependency is no object"),
        ({"dependencies": [{"type": ["blocks"], "depends_on_id": "b"}]}, "a dependency is no link"),
        ({"dependencies": [{"depends_on_id": 7}]}, "a dependency is no link"),
        ({"dependencies": [{"issue_id": ["a"], "depends_on_id": "b"}]}, "a dependency is no link"),
        ({"dependencies": [{"type": "blocks"}]}, "a dependency names no issue"),
    ],
)
def test_bad_line_says_why(fields, reason):
    """A link whose type was a list once stopped every tick; one without a target did not block."""
    issues, bad = parse(line("good"), json.dumps({"id": "a", **fields}))
    assert [issue.id for issue in issues] == ["good"]
    assert len(bad) == 1
    assert bad[0].startswith(f"line 2: {reason}")
    assert bad[0].isprintable()


def test_a_line_too_deep_to_read_is_a_bad_line():
    issues, bad = parse("[" * 100_000, line("a"))
    assert [issue.id for issue in issues] == ["a"]
    assert bad[0].startswith("line 1: ")


def test_null_is_as_good_as_missing():
    fields = ("title", "status", "issue_type", "assignee", "labels", "dependencies", "created_at", "defer_until")
    assert parse(line("a", **dict.fromkeys(fields)))[0][0].but(title="a") == parse(line("a"))[0][0]


@pytest.mark.parametrize("owner", [{"issue_id": "a"}, {"issue_id": None}, {"issue_id": ""}, {}])
@pytest.mark.parametrize("kind", [{"type": "blocks"}, {"type": None}, {"type": ""}, {}])
def test_what_a_link_leaves_out_is_read_so_that_it_blocks(owner, kind):
    rows = line("a", dependencies=[{**owner, **kind, "depends_on_id": "b"}]), line("b")
    assert ready(*rows) == ["b"]


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


def test_grandchild_of_a_blocked_epic_waits_too():
    rows = [
        line("epic", dependencies=[link("epic", "x")]),
        line("child", dependencies=[link("child", "epic", "parent-child")]),
        line("grandchild", dependencies=[link("grandchild", "child", "parent-child")]),
    ]
    assert ready(*rows, line("x")) == ["x"]
    assert ready(*rows, line("x", status="closed")) == ["child", "epic", "grandchild"]


def test_open_epic_does_not_hold_up_its_children_nor_a_missing_one():
    rows = [line("child", dependencies=[link("child", "epic", "parent-child"), link("child", "gone", "parent-child")])]
    assert ready(*rows, line("epic")) == ["child", "epic"]


@pytest.mark.parametrize(
    "status", ["in_progress", "blocked", "closed", "deferred", "hooked", "pinned", "tombstone", "OPEN", ""]
)
def test_only_open_issues_are_ready(status):
    assert ready(line("a", status=status)) == []


def test_an_issue_that_waits_for_itself_is_never_ready():
    assert ready(line("a", dependencies=[link("a", "a")])) == []


def test_long_chain_of_parents_comes_to_its_end():
    rows = [line("i0")] + [
        line(f"i{n}", dependencies=[link(f"i{n}", f"i{n - 1}", "parent-child")]) for n in range(1, 300)
    ]
    issues, _ = parse(*rows)
    by_id = {issue.id: issue for issue in issues}
    assert [one.id for one in w.find_ancestors(by_id["i299"], by_id)] == [f"i{n}" for n in range(298, -1, -1)]


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


@given(st.lists(strategies.issues(), max_size=5, unique_by=lambda issue: issue.id))
def test_ready_is_what_is_open_and_waits_for_nothing_open(issues):
    by_id = {issue.id: issue for issue in issues}

    def family(issue_id, known=()):
        """Return the issue and all above it; plain recursion that stops at what it has seen."""
        if issue_id in known or issue_id not in by_id:
            return set()
        return {issue_id}.union(*(family(one, (*known, issue_id)) for one in by_id[issue_id].parents))

    def may_start(issue):
        waits_for = [target for one in family(issue.id) for target in by_id[one].blocked_by]
        closed = all(target in by_id and by_id[target].status in ("closed", "tombstone") for target in waits_for)
        return issue.status == "open" and closed and not w.is_deferred(issue, strategies.NOW)

    found = w.list_ready(issues, strategies.NOW)
    assert {issue.id for issue in found} == {issue.id for issue in issues if may_start(issue)}
    keys = [(issue.priority, issue.created, issue.id) for issue in found]
    assert keys == sorted(keys)
    assert w.list_ready(tuple(reversed(issues)), strategies.NOW) == found
    for issue in issues:
        above = {one.id for one in w.find_ancestors(issue, by_id)}
        assert above == family(issue.id) - {issue.id}


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


def test_closing_keeps_line_ends_and_a_missing_last_one():
    for text in ('{"id":"a"}', '{"id":"a"}\n', '{"id":"a"}\n\n', '{"id":"b"}\r\n{"id":"a"}\r\n'):
        closed = w.close_issue_text(text, "a", world.NOW, "done")
        assert closed.count("\n") == text.count("\n")
        assert closed.endswith("\n") == text.endswith("\n")
        assert [issue.status for issue in w.parse_issues(closed)[0] if issue.id == "a"] == ["closed"]


def test_closing_passes_over_a_line_too_deep_to_read():
    text = "[" * 100_000 + "\n" + line("a")
    assert w.close_issue_text(text, "a", world.NOW, "done").startswith("[" * 100_000 + "\n")


def test_half_a_character_is_written_as_an_escape():
    """A title cut in the middle of an emoji, or of bytes that are no UTF-8, could not be written back."""
    text = w.close_issue_text('{"id": "a", "title": "\\ud83d ä"}', "a", world.NOW, "done")
    assert json.loads(text.encode().decode())["title"] == "\ud83d ä"
    assert json.loads(w.new_issue_line("a", "\udcff", world.NOW, "me").encode())["title"] == "\udcff"
    assert "ä" in w.new_issue_line("a", "ä", world.NOW, "me")


LINES = st.lists(
    st.one_of(
        st.builds(lambda number, title: line(f"i{number}", title=title), st.integers(0, 3), strategies.texts()),
        st.sampled_from(
            ["", " ", "{", "[]", '{"id": "i1", "_type": "memory"}', '{ "id":"i2" ,"x":1e2}', '{"id":3}', "\ufeff", "\r"]
        ),
        st.text(st.characters(exclude_characters="\n"), max_size=8),
    ),
    max_size=6,
)


@given(LINES, st.sampled_from(["i0", "i1", "i2"]))
def test_closing_changes_the_lines_of_that_issue_alone(lines, issue_id):
    text = "\n".join(lines)
    mine = [number for number, one in enumerate(lines) if is_line_of(one, issue_id)]
    if not mine:
        with pytest.raises(KeyError):
            w.close_issue_text(text, issue_id, world.NOW, "done")
        return
    closed = w.close_issue_text(text, issue_id, world.NOW, "done").split("\n")
    assert [one for number, one in enumerate(closed) if number not in mine] == [
        one for number, one in enumerate(lines) if number not in mine
    ]
    for number in mine:
        before, after = json.loads(lines[number]), json.loads(closed[number])
        assert (after["status"], after["close_reason"], after["closed_at"]) == ("closed", "done", w.rfc3339(world.NOW))
        assert {**after, **before} == {**before, **{key: after[key] for key in after if key not in before}}


def is_line_of(text, issue_id):
    """Tell whether a line is the issue's, by a second reading of the format."""
    with contextlib.suppress(ValueError):
        data = json.loads(text)
        return isinstance(data, dict) and data.get("id") == issue_id and "_type" not in data
    return False


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 3),
        st.floats(),
        st.sampled_from(["", "a", "b", "blocks", "parent-child"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["issue_id", "type", "depends_on_id", "id"]), inner, max_size=3),
    ),
    max_leaves=6,
)
FIELDS = (
    "id",
    "_type",
    "title",
    "status",
    "priority",
    "issue_type",
    "labels",
    "dependencies",
    "defer_until",
    "created_at",
    "assignee",
    "pinned",
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": st.sampled_from(["a", "b", "c", 1])}, optional=dict.fromkeys(FIELDS[1:], ANYTHING)
        ),
        max_size=4,
    )
)
def test_any_json_is_issues_and_reasons(rows):
    issues, bad = parse(*map(json.dumps, rows))
    assert len(issues) + len(bad) <= len(rows)
    assert {issue.id for issue in w.list_ready(issues, world.NOW)} <= {"a", "b", "c"}
    for issue in issues:
        assert all(isinstance(one, str) for one in (issue.title, issue.status, *issue.labels, *issue.blocked_by))
        with contextlib.suppress(KeyError):
            w.close_issue_text("\n".join(map(json.dumps, rows)), issue.id, world.NOW, "done")


@given(st.text())
def test_any_text_is_issues_and_reasons(text):
    issues, bad = w.parse_issues(text)
    w.list_ready(issues, world.NOW)
    assert len(issues) + len(bad) <= len(text.split("\n"))
