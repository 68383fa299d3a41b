"""Data into the text people read: aligned, plain, and in colour only where that is wanted."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.simulation import World

from witness import (
    add_ages,
    decide,
    paint,
    render_event,
    render_health,
    render_issues,
    render_json,
    render_messages,
    render_retired,
    render_shutdown,
    render_spawn,
    render_status,
    render_table,
    report_tick,
)

POLECAT = {
    "name": "alpha",
    "state": "working",
    "issue": "de-1",
    "why": "its files change",
    "blockers": [],
    "progress_age_s": 42.0,
}


def polecat(**changes) -> dict:
    return {**POLECAT, **changes}


def status(*polecats, **changes) -> dict:
    return {
        "verdict": "running",
        "daemon": {"pid": 7, "running": True, "version": "1", "last_tick_age_s": 3.0},
        "rig": {"name": "demo", "path": "/rig"},
        "polecats": list(polecats),
        "queue": {"ready": 2, "spawnable": 1, "reason": None},
        **changes,
    }


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


# ---- status and health ----------------------------------------------------------------------------------------------


def test_status_of_a_running_daemon():
    text = render_status(
        status(
            polecat(),
            polecat(
                name="b",
                state="stuck",
                issue=None,
                why="no progress for 40m",
                progress_age_s=2400.0,
                nudged_at="x",
                nudged_age_s=60.0,
                nudge_result="delivered to the pane",
            ),
            polecat(
                name="c",
                state="stuck",
                why="no progress for 2h00m",
                progress_age_s=7200.0,
                nudged_at="x",
                nudged_age_s=5400.0,
                nudge_result="failed",
                escalated_at="x",
                escalated_age_s=3600.0,
            ),
            polecat(
                name="d",
                state="requested",
                why="shutdown asked by demo/d",
                progress_age_s=None,
                blockers=[{"kind": "modified", "evidence": "a.txt"}],
            ),
        )
    )
    assert text == (
        "witness running (pid 7, version 1), rig demo in /rig\n"
        "last look 3s ago\n"
        "  NAME   STATE      ISSUE  PROGRESS  WHY\n"
        "  alpha  working    de-1   42s       its files change\n"
        "  b      stuck      -      40m       no progress for 40m; nudged 1m ago (delivered to the pane)\n"
        "  c      stuck      de-1   2h00m     no progress for 2h00m; escalated 1h00m ago, waits for a person\n"
        "  d      requested  de-1   -         shutdown asked by demo/d; refused: modified: a.txt\n"
        "queue: 2 ready, 1 spawnable\n"
    )


def test_status_of_a_daemon_that_does_not_run_and_has_never_looked():
    data = {
        "verdict": "not running",
        "daemon": {"pid": None, "running": False, "version": None},
        "rig": {"name": "demo", "path": "/rig"},
    }
    assert render_status(data) == "witness not running, rig demo in /rig\nno polecats\n"


def test_status_names_pause_halt_and_what_is_degraded():
    text = render_status(
        status(
            paused="a talk",
            halted="paused: a talk",
            ports={"tmux": {"state": "degraded", "reason": "timed out"}, "git": {"state": "ok", "reason": None}},
        )
    )
    assert "paused: a talk\nhalted: paused: a talk\ntmux degraded: timed out\nno polecats\n" in text
    assert "git" not in text


@pytest.mark.parametrize(
    ("queue", "line"),
    [
        ({"ready": 3, "spawnable": 0, "reason": None}, "queue: 3 ready, 0 spawnable"),
        (
            {"ready": 3, "spawnable": 2, "reason": "auto_spawn is off"},
            "queue: 3 ready, 2 spawnable (auto_spawn is off)",
        ),
        ({"ready": None, "spawnable": None, "reason": "it hangs"}, "queue: unknown (it hangs)"),
    ],
)
def test_the_queues_line(queue, line):
    assert render_status(status(queue=queue)).splitlines()[-1] == line


def test_health_lists_what_was_done_or_would_be():
    actions = [
        {"text": "nudge alpha (quiet)", "done": True, "detail": "delivered to the pane"},
        {"text": "restart beta", "done": False, "detail": ""},
    ]
    data = {"polecats": [polecat()], "actions": actions, "dry_run": False}
    assert render_health(data).splitlines()[2:] == [
        "done: nudge alpha (quiet) - delivered to the pane",
        "failed: restart beta",
    ]
    assert render_health({**data, "dry_run": True}).splitlines()[2:] == [
        "would nudge alpha (quiet)",
        "would restart beta",
    ]


def test_the_data_of_a_tick_can_be_rendered():
    world = World()
    world.add("alpha")
    world.wait(3600)
    seen = world.observe(world.memory)
    view = add_ages(report_tick(seen, decide(seen, world.memory, world.config), world.config, 0.0), world.now)
    text = render_status({**status(), **view, "rig": {"name": "demo", "path": "/rig"}})
    assert re.search(r"^  alpha +stuck +- +1h00m +no progress for 1h00m; escalated", text, re.MULTILINE)


# ---- colour ---------------------------------------------------------------------------------------------------------


def test_no_colour_unless_asked():
    for state in ("working", "starting", "idle", "stuck", "busy", "dead", "unknown", "requested", "held"):
        data = status(polecat(state=state))
        assert "\x1b" not in render_status(data)
        assert "\x1b" not in render_health({**data, "actions": [], "dry_run": False})
        assert render_status(data, colour=True).count("\x1b[") == 2
        assert re.sub(r"\x1b\[\d*m", "", render_status(data, colour=True)) == render_status(data)


@pytest.mark.parametrize("name", ["dead", "deadline", "is-dead", "dead-dead"])
def test_the_state_is_painted_and_not_a_name_that_holds_its_word(name):
    text = render_status(status(polecat(name=name, state="dead", why="dead")), colour=True)
    assert f"  {name}  \x1b[31mdead\x1b[0m  " in text


def test_a_state_without_a_colour_stays_plain():
    assert paint("odd", "odd", True) == "odd"
    assert paint("dead", "dead", False) == "dead"


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


HOSTILE = st.one_of(
    st.sampled_from(
        [
            "\x1b[2J\x1b[31mred",
            "a\rb",
            "two\nlines",
            "\x9b31m",
            "bell\x07",
            "\x00",
            "tab\there",
            "a\u202eb",
            "\udcff",
            "\x1b]0;title\x07",
            "\u2028",
            "\x85",
        ]
    ),
    st.text(max_size=20),
)


def plain(text: str) -> bool:
    """Tell whether a text can do nothing to a terminal but print lines on it."""
    return all(line.isprintable() for line in text.split("\n")) and text == text.encode("utf-8", "ignore").decode()


def spoilt(data, draw):
    """Return data with hostile text in place of every word of it, keys and kinds of values kept."""
    if isinstance(data, dict):
        return {key: spoilt(value, draw) if key != "running" else value for key, value in data.items()}
    if isinstance(data, list):
        return [spoilt(one, draw) for one in data]
    return draw(HOSTILE) if isinstance(data, str) else data


ANSWERS = {
    "status": (
        render_status,
        status(
            polecat(nudged_at="x", nudged_age_s=1.0, nudge_result="r"),
            polecat(escalated_at="x", escalated_age_s=1.0),
            polecat(blockers=[{"kind": "k", "evidence": "e"}]),
            paused="p",
            halted="h",
            ports={"tmux": {"state": "degraded", "reason": "r"}},
            queue={"ready": 1, "spawnable": 1, "reason": "r"},
        ),
    ),
    "health": (
        render_health,
        {"polecats": [polecat()], "dry_run": False, "actions": [{"text": "t", "done": True, "detail": "d"}]},
    ),
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
