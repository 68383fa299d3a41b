"""The status and its like: what a person reads in five seconds, on a terminal of any width."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import screens
from tools.hostile import plain, spoilt
from tools.simulation import World

from witness import (
    DETAILS_SHOWN,
    ROWS_SHOWN,
    add_ages,
    count_columns,
    decide,
    fit,
    fold_polecats,
    paint,
    parse_rfc3339,
    pick_rows,
    render_explanation,
    render_health,
    render_polecats,
    render_status,
    report_tick,
    wrap_lines,
)

POLECAT = {"name": "alpha", "state": "working", "issue": "de-1", "why": "its files change", "blockers": []}
BLOCKER = {"kind": "modified", "evidence": "a.txt", "remedy": "git commit -a"}


def polecat(**changes) -> dict:
    return {**POLECAT, "progress_age_s": 42.0, **changes}


def status(*polecats, **changes) -> dict:
    return {
        "verdict": "running",
        "daemon": {"pid": 7, "running": True, "version": "1", "last_tick_age_s": 3.0, "started_age_s": 90.0},
        "rig": {"name": "demo", "path": "/rig"},
        "polecats": list(polecats),
        "queue": {"ready": 2, "spawnable": 1, "reason": None},
        **changes,
    }


def table(polecats, *more, **words) -> str:
    """Write the table of all these workers, as `health` does."""
    shown, others = pick_rows(polecats)
    return render_polecats(shown, fold_polecats(others), *more, **words)


# ---- the golden screens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", screens.SCREENS)
def test_screen_is_the_golden_one(name):
    """`python3 tests/tools/screens.py --write` draws them anew; look at what has changed before it is committed."""
    for width, text in screens.draw(name).items():
        assert text == (screens.FOLDER / f"{name}-{width}.txt").read_text(encoding="utf-8")
        assert all(count_columns(line) <= width for line in text.splitlines())


def test_each_golden_screen_belongs_to_a_rig_that_is_drawn():
    names = {f"{name}-{width}.txt" for name in screens.SCREENS for width in screens.WIDTHS}
    names |= {f"{name}.txt" for name in screens.SEATS}
    assert {path.name for path in screens.FOLDER.iterdir()} == names


# ---- lines and columns ----------------------------------------------------------------------------------------------


@given(st.text(max_size=30), st.integers(0, 40))
def test_a_line_fits_and_is_cut_only_where_it_must_be(text, width):
    cut = fit(text, width)
    assert cut == text if not width or count_columns(text) <= width else count_columns(cut) <= width
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


def test_wide_and_combining_characters_are_counted_as_the_terminal_does():
    assert count_columns("日本") == 4
    assert count_columns("e\u0301") == 1
    assert fit("日本語", 5) == "日本…"
    assert fit("日本語", 4) == "日…"


@given(st.text("ab \u00e4", max_size=60), st.integers(12, 40))
def test_wrapped_lines_lose_no_word(text, width):
    wrapped = wrap_lines([text], width, "  ")
    assert "".join(wrapped.split()) == "".join(text.split())
    assert all(len(line) <= width for line in wrapped.splitlines())


# ---- the head: daemon, rig, troubles --------------------------------------------------------------------------------


def test_daemon_that_does_not_run_and_has_never_looked():
    daemon = {"pid": None, "running": False, "version": None}
    data = {"verdict": "not running", "daemon": daemon, "rig": {"name": "demo", "path": "/rig"}}
    assert render_status(data) == "witness not running\nrig demo in /rig\n\nno polecats\n"


def test_head_says_pid_version_uptime_last_and_next_look():
    head = render_status(status(next_tick={"due_in_s": 27.0})).splitlines()[:2]
    assert head == ["witness running (pid 7, version 1, up 1m), looked 3s ago, next in 27s", "rig demo in /rig"]
    assert "next in" not in render_status(status(next_tick={"due_in_s": 27.0}, verdict="hanging"))


def test_pause_outranks_halt_and_names_the_way_out():
    text = render_status(status(paused="a talk", halted="paused: a talk"))
    assert "\n! paused: a talk; `witness resume` goes on\n" in text
    assert "halted" not in text
    halted = "many workers fell ill at once; `witness resume` goes on"
    assert f"\n! halted: {halted}\n" in render_status(status(halted=halted))


def test_degraded_tools_are_named_with_their_reason_and_healthy_ones_are_not():
    ports = {
        "tmux": {"state": "degraded", "reason": "timed out", "since_age_s": 61.0},
        "git": {"state": "ok", "reason": None},
    }
    told = [{"cause": "port-tmux", "name": None, "summary": "tmux does not answer", "opened_age_s": 1.0}]
    text = render_status(status(ports=ports, escalations=told))
    assert "! tmux degraded for 1m: timed out\n" in text
    assert "git" not in text
    assert "told" not in text


def test_escalations_are_shown_once_and_a_flood_of_them_as_a_number():
    told = [
        {"cause": f"spawn-de-{n}", "name": None, "summary": f"Issue de-{n}", "opened_age_s": 60.0} for n in range(7)
    ]
    told.append({"cause": "stuck", "name": "alpha", "summary": "Polecat alpha", "opened_age_s": 60.0})
    text = render_status(status(polecat(state="stuck", escalated_age_s=60.0, escalated_at="x"), escalations=told))
    assert text.count("! told 1m ago: Issue") == 5
    assert "! and 2 more open escalations: `witness mail inbox mayor/`\n" in text
    assert text.count("told") == 6
    assert "a person was told 1m ago" in text


# ---- the workers ----------------------------------------------------------------------------------------------------


def test_who_wants_attention_stands_first_and_is_told_in_full():
    stuck = polecat(
        name="b",
        state="stuck",
        issue=None,
        why="no progress for 40m",
        progress_age_s=2400.0,
        nudged_at="x",
        nudged_age_s=60.0,
        nudge_result="delivered to the pane",
        next={"action": "escalate", "due_in_s": 1200.0},
        screen={"line": "Proceed? (y/n)", "age_s": 60.0},
        attach="tmux attach -t =gt-demo-b",
    )
    refused = polecat(name="c", state="requested", why="asked", progress_age_s=None, blockers=[BLOCKER] * 3)
    assert table([polecat(), refused, stuck]) == (
        "  NAME   STATE      PROGRESS  ISSUE  WHY\n"
        "  b      stuck      40m ago   -      no progress for 40m\n"
        "         nudged 1m ago (delivered to the pane); a person is told in 20m\n"
        "         | Proceed? (y/n) (1m ago)\n"
        "         tmux attach -t =gt-demo-b\n"
        "  c      requested  -         de-1   asked\n"
        "         refused: modified: a.txt (and 2 more: `witness explain c`)\n"
        "  alpha  working    42s ago   de-1   its files change\n"
    )


def test_escalated_stands_before_the_rest_of_its_state_and_then_the_oldest():
    stuck = {"state": "stuck", "next": None}
    ranked = [
        polecat(name="c", **stuck, escalated_at="x", escalated_age_s=5.0),
        polecat(name="a", **stuck, progress_at="2026-05-01T10:00:50.000Z"),
        polecat(name="b", **stuck, progress_at="2026-05-01T09:59:59.000Z"),
        polecat(name="0", **stuck),
    ]
    text = table(sorted(ranked, key=lambda one: one["name"]))
    assert re.findall(r"^  ([abc0]) ", text, re.MULTILINE) == ["c", "b", "a", "0"]


def test_only_those_that_get_a_row_need_an_age():
    at = "2026-05-01T10:00:00.000Z"
    crowd = [{**POLECAT, "name": f"w{number}", "progress_at": at} for number in range(50)]
    text = table(crowd, now=parse_rfc3339(at) + 120)
    assert text.count("2m ago") == 20
    assert text == table(add_ages(crowd, parse_rfc3339(at) + 120))


@pytest.mark.parametrize(
    ("state", "coming", "words"),
    [
        ("working", {"action": "nudge", "due_in_s": 60.0}, "nudged in 1m if nothing moves"),
        ("working", {"action": "nudge", "due_in_s": 0.0}, "nudged soon if nothing moves"),
        ("stuck", {"action": "nudge", "due_in_s": 60.0}, "nudge in 1m"),
        ("stuck", {"action": "wait for a person", "due_at": None}, "waits for a person"),
        ("dead", {"action": "restart", "due_at": None}, "restart soon"),
        ("requested", {"action": "retire", "due_in_s": 300.0}, "looked at again in 5m"),
        ("idle", None, ""),
    ],
)
def test_what_comes_next_is_said_and_when(state, coming, words):
    text = table([polecat(state=state, next=coming, why="so")])
    assert words in text
    if words:
        for stopped in ({"paused": "a talk"}, {"halted": "many ill"}, {"verdict": "dead"}):
            assert words not in render_status(status(polecat(state=state, next=coming, why="so"), **stopped))


def test_a_crowd_of_calm_workers_is_folded_and_none_is_missing():
    crowd = [polecat(name=f"w{number}", state="working") for number in range(ROWS_SHOWN + 40)]
    text = table([*crowd, polecat(name="ill", state="dead"), polecat(name="shy", state="idle")], 80)
    assert len(text.splitlines()) < ROWS_SHOWN + 10
    assert {one["name"] for one in crowd} | {"ill", "shy"} <= set(text.split())
    assert "40 working: " in text
    assert "1 idle: shy" in text


def test_a_crowd_that_fell_ill_is_told_briefly_and_none_is_missing():
    crowd = [polecat(name=f"w{number}", state="stuck", attach=f"attach-{number}") for number in range(ROWS_SHOWN + 30)]
    text = table([*crowd, polecat(name="well")], 80)
    assert text.count("attach-") == DETAILS_SHOWN
    assert {one["name"] for one in crowd} | {"well"} <= set(text.split())
    assert "30 stuck: " in text
    assert len(text.splitlines()) < 2 * ROWS_SHOWN


def test_the_data_of_a_tick_can_be_shown():
    world = World()
    world.add("alpha")
    world.wait(3600)
    seen = world.observe(world.memory)
    view = add_ages(report_tick(seen, decide(seen, world.memory, world.config), world.config), world.now)
    text = render_status({**status(), **view, "rig": {"name": "demo", "path": "/rig"}})
    assert re.search(r"^  alpha +stuck +1h00m ago +- +no progress for 1h00m$", text, re.MULTILINE)


# ---- the foot -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("queue", "line"),
    [
        ({"ready": 3, "spawnable": 0, "reason": None}, "queue: 3 ready, 0 spawnable"),
        (
            {"ready": 3, "spawnable": 2, "reason": "auto_spawn is off"},
            "queue: 3 ready, 2 spawnable (auto_spawn is off)",
        ),
        (
            {"ready": None, "spawnable": None, "reason": "it hangs"},
            "queue: unknown; nothing is spawned until it answers, workers go on",
        ),
    ],
)
def test_the_queues_line(queue, line):
    assert render_status(status(queue=queue)).splitlines()[-1] == line


def test_kept_folders_and_the_days_figures_are_shown_where_there_are_any():
    stats = {"today_nudges": 1, "today_spawned": 2, "today_retired": 0, "total_nudges": 9}
    text = render_status(status(kept={"folders": 2, "mib": 140.6}, stats=stats))
    assert text.endswith("kept: 2 folders of retired workers, 141 MiB\ntoday: 1 nudge, 2 spawned\n")
    assert "kept" not in render_status(status(kept={"folders": 0, "mib": 0.0}))


# ---- health ---------------------------------------------------------------------------------------------------------


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


# ---- explain --------------------------------------------------------------------------------------------------------

EXPLANATION = {
    "subject": "alpha",
    "verdict": "requested",
    "why": "shutdown asked by demo/alpha",
    "title": "a title",
    "halted": "paused: a talk",
    "episode": {"quiet_from_at": "2025-01-01T00:00:00.000Z"},
    "next": {"action": "retire", "due_in_s": 120.0},
    "attach": "tmux attach -t =gt-demo-alpha",
    "blockers": [BLOCKER],
    "signals": [
        {"name": "session", "value": "present", "from": "tmux list-panes", "age_s": 61.0},
        {"name": "branch", "value": "polecat/alpha", "from": "HEAD"},
    ],
    "rules": [{"name": "held", "fits": False, "why": "no"}, {"name": "requested", "fits": True, "why": "yes: asked"}],
    "history": [{"at": "2025", "kind": "state", "subject": "alpha", "text": "new -> working"}],
}


def test_explanation_reads_from_the_verdict_to_what_happened():
    assert render_explanation(EXPLANATION) == (
        "alpha: requested - shutdown asked by demo/alpha\n"
        "  a title\n"
        "  nothing is done now: paused: a talk\n"
        "  quiet since 2025-01-01T00:00:00.000Z\n"
        "  next: retire in 2m\n"
        "  see it: tmux attach -t =gt-demo-alpha\n"
        "  in the way of its retirement: modified: a.txt\n"
        "    clear it with: git commit -a\n"
        "seen\n"
        "  session  present        1m ago  tmux list-panes\n"
        "  branch   polecat/alpha          HEAD\n"
        "rules; the first that fits decides\n"
        "  held       no\n"
        "  requested  yes: asked\n"
        "what happened\n"
        "  2025  state              alpha            new -> working\n"
    )
    bare = {"subject": "de-1", "verdict": "spawnable", "why": ""}
    bare.update(next=None, blockers=[], signals=[], rules=[], history=[])
    assert render_explanation(bare) == "de-1: spawnable\n"
    assert render_explanation({**bare, "related": [EXPLANATION]}).startswith("de-1: spawnable\n\nalpha: requested")


# ---- hostile text ---------------------------------------------------------------------------------------------------

ANSWERS = {
    "status": (
        render_status,
        status(
            polecat(nudged_at="x", nudged_age_s=1.0, nudge_result="r", state="stuck", attach="t"),
            polecat(escalated_at="x", escalated_age_s=1.0, screen={"line": "l", "age_s": 1.0}),
            polecat(blockers=[BLOCKER, BLOCKER]),
            paused="p",
            halted="h",
            detail="d",
            ports={"tmux": {"state": "degraded", "reason": "r"}},
            escalations=[{"cause": "c", "name": "n", "summary": "s", "opened_age_s": 1.0}],
            queue={"ready": 1, "spawnable": 1, "reason": "r", "bad_lines": ["b"]},
        ),
    ),
    "health": (
        render_health,
        {"polecats": [polecat()], "dry_run": False, "actions": [{"text": "t", "done": True, "detail": "d"}]},
    ),
    "explanation": (render_explanation, EXPLANATION),
}


@pytest.mark.parametrize("answer", ANSWERS)
@given(data=st.data(), width=st.sampled_from([0, 20, 80]))
def test_no_control_character_reaches_the_text(answer, data, width):
    render, good = ANSWERS[answer]
    assert plain(render(good, width))
    assert plain(render(spoilt(good, data.draw), width))
