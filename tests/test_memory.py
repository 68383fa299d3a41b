"""What survives a crash, and its form on disk."""

from __future__ import annotations

import contextlib
import json
import re

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from tools import world

import witness as w

FULL = w.Memory(
    rig_name="demo",
    state="running",
    pid=7,
    started_at=world.NOW,
    monitored_polecats=("alpha",),
    day="2026-11-23",
    polecats={
        "alpha": w.Track(instance="1.2.3", agents=("python3",), nudged_at=5.5, restarts=("2026-11-23T00:00:00Z",))
    },
    requests={"alpha": w.Request(name="alpha", sender="demo/alpha", at=3.0, mails=("m",), blockers=(("a", "b", "c"),))},
    retirements={"alpha": w.Retirement(name="alpha", id="alpha/x", at=2.0, birth=(("a", "b"),))},
    issues={"de-1": w.Effort(attempts=2, next_at=9.0)},
    escalations={"k": w.Escalation(cause="stuck", name="alpha", instance="1", summary="s", opened_at=4.0)},
    ports={"tmux": w.PortTrack(since_at=1.0)},
    pending={"k": w.Letter(to="mayor/", subject="s", body="b", at=1.0)},
    spawn=w.Spawn(issue="de-1", at=1.0, deadline_at=2.0, trouble="t"),
    stats={"total_nudges": 3},
    failures=("2026-11-23T00:00:00Z",),
)
WRONG = (None, [], {}, 3, 0, -7, 1.5, float("inf"), float("nan"), True, "", "x", [3], [[1]], ["x"], {"a": []}, "\ud800")


def places(node, path=()):
    """Walk over the paths of all nodes of JSON data."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def put(tree, path, content):
    """Return a copy of JSON data with one node changed."""
    tree = json.loads(json.dumps(tree))
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = content
    return tree


def test_memory_comes_back_as_it_was():
    assert w.load_memory(w.dump_memory(FULL)) == FULL


@given(strategies.memories())
def test_any_memory_comes_back_as_it_was(memory):
    text = w.dump_memory(memory)
    assert w.load_memory(text) == memory
    assert w.dump_memory(w.load_memory(text)) == text
    assert text.isascii()  # half a surrogate pair from a pane or a mail is no trouble for the file


@given(strategies.memories())
def test_same_memory_gives_same_text_in_whatever_order_it_was_filled(memory):
    backwards = {
        field: dict(reversed(list(content.items())))
        for field, content in memory.fields().items()
        if isinstance(content, dict)
    }
    assert w.dump_memory(memory.but(**backwards)) == w.dump_memory(memory)


def test_an_empty_memory_is_a_short_file():
    assert json.loads(w.dump_memory(w.Memory())) == {"version": 1}
    assert w.load_memory("{}") == w.Memory()


def test_full_is_full():
    assert [field for field, content in FULL.fields().items() if content == w.Memory._defaults[field]] == [
        "version",
        "last_check_at",
        "config",
        "spawned_issues",
        "spawned_at",
        "breaker_at",
        "storm_at",
        "calm_ticks",
        "merged_at",
        "owed",
        "missed",
        "backend",
        "swept_at",
        "handled",
        "beat_at",
        "patrolled_at",
        "exceptions",
    ]


def test_stamps_are_text_in_the_file():
    data = json.loads(w.dump_memory(FULL))
    assert data["started_at"] == "2027-01-15T08:00:00.000Z"
    assert data["version"] == 1
    for path in places(data):
        if str(path[-1]).endswith("_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", eval_path(data, path))


def eval_path(node, path):
    """Return the node of JSON data at a path."""
    for key in path:
        node = node[key]
    return node


@pytest.mark.parametrize("version", [2, 3, 10**9])
@pytest.mark.parametrize("rest", [{}, {"polecats": 7, "requests": [None]}, {"spawn": "later"}])
def test_newer_major_version_is_refused_whatever_else_it_holds(version, rest):
    with pytest.raises(w.StateError) as error:
        w.load_memory(json.dumps({"version": version, **rest}))
    assert "newer" in error.value.line()
    assert error.value.remedy


@pytest.mark.parametrize("version", [True, "2", 1.5, [2], {}])
def test_version_that_is_no_number_is_no_memory(version):
    with pytest.raises(ValueError, match="version"):
        w.load_memory(json.dumps({"version": version}))


FIRST = {
    "rig_name": "demo",
    "state": "running",
    "pid": None,
    "started_at": "2025-12-20T10:00:00Z",
    "monitored_polecats": None,
    "last_check_at": "2025-12-20T10:00:00.123456789+01:00",
    "stats": {"total_checks": 3, "total_nudges": 1},
    "config": {"max_workers": 0},
    "spawned_issues": ["gt-1"],
}


def test_file_of_the_first_witness_is_read():
    memory = w.load_memory(json.dumps(FIRST))
    assert (memory.rig_name, memory.spawned_issues, memory.stats["total_nudges"]) == ("demo", ("gt-1",), 1)
    assert (memory.version, memory.pid, memory.monitored_polecats) == (1, 0, ())
    assert memory.last_check_at == pytest.approx(1766221200.123, abs=0.001, rel=0)


def test_first_witness_hands_over_settings_figures_and_issues():
    config = {"max_workers": 0, "spawn_delay_ms": 2000, "auto_spawn": False, "epic_id": "", "issue_prefix": "gt-"}
    spawned = ["gt-1", "nudge:alpha", "nudge:beta", "gt-2", 7]
    memory, settings, lost = w.import_first(json.dumps({**FIRST, "config": config, "spawned_issues": spawned}))
    assert settings == {"spawn_delay_ms": 2000, "auto_spawn": False, "issue_prefix": "gt-"}
    assert memory.spawned_issues == ("gt-1", "gt-2")
    assert memory.stats == FIRST["stats"]
    assert (memory.rig_name, memory.pid, memory.polecats, lost) == ("demo", 0, {}, [])


def test_setting_of_the_first_witness_that_cannot_be_is_named():
    _, settings, lost = w.import_first(json.dumps({**FIRST, "config": {"max_workers": -3, "colour": "red"}}))
    assert settings == {}
    assert [line.split(";")[0] for line in lost] == [
        "max_workers is -3 in witness.json",
        "unknown setting 'colour' in witness.json",
    ]


@pytest.mark.parametrize("text", ["[]", "{}", '{"x": 1}', w.dump_memory(w.Memory(rig_name="demo"))])
def test_what_the_first_witness_did_not_write_is_not_taken_over(text):
    assert w.import_first(text) is None


@pytest.mark.parametrize("field", ["config", "spawned_issues", "stats", "rig_name"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [None], {"a": {}}])
def test_any_shape_of_the_first_witness_is_taken_over_or_passed_by(field, value):
    found = w.import_first(json.dumps({**FIRST, field: value}))
    assert w.load_memory(w.dump_memory(found[0])) == found[0]


@pytest.mark.parametrize("key", FIRST)
def test_null_of_the_first_witness_is_nothing(key):
    memory = w.load_memory(json.dumps({**FIRST, key: None}))
    assert getattr(memory, key) == w.Memory._defaults[key]


def test_zero_time_of_the_first_witness_is_read():
    memory = w.load_memory(json.dumps({**FIRST, "last_check_at": "0001-01-01T00:00:00Z"}))
    assert w.load_memory(w.dump_memory(memory)) == memory


def test_unknown_keys_of_a_later_minor_are_passed_over():
    data = json.loads(w.dump_memory(FULL))
    data["colour"] = data["polecats"]["alpha"]["mood"] = data["spawn"]["by"] = data["pending"]["k"]["x"] = "blue"
    assert w.load_memory(json.dumps(data)) == FULL


@pytest.mark.parametrize(
    "text", ["", " ", "null", "[]", "3", '"x"', "true", "{", "\x00", "{}{}", "\ufeff{}", "{'a': 1}", "9" * 5000]
)
def test_what_is_no_memory_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        w.load_memory(text)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (("polecats", "alpha", "restarts", 0), "yesterday"),
        (("polecats", "alpha", "restarts", 0), 3),
        (("polecats", "alpha", "agents", 0), None),
        (("failures", 0), [1]),
        (("failures",), ["x"]),
        (("requests", "alpha", "blockers", 0), ["kind", "evidence"]),
        (("requests", "alpha", "blockers", 0), ["kind", "evidence", 3]),
        (("requests", "alpha", "mails", 0), {}),
        (("retirements", "alpha", "birth", 0), "path"),
        (("stats", "total_nudges"), "many"),
        (("stats", "total_nudges"), True),
        (("issues", "de-1", "attempts"), 1.5),
        (("issues", "de-1"), []),
        (("polecats",), ["alpha"]),
        (("spawn", "at"), 1.0),
        (("escalations", "k", "name"), None),
    ],
)
def test_wrong_entry_is_no_memory(path, content):
    """What was let in here failed later, in every tick."""
    with pytest.raises(ValueError, match=r".+"):
        w.load_memory(json.dumps(put(json.loads(w.dump_memory(FULL)), path, content)))


@pytest.mark.parametrize(
    "path", list(places(json.loads(w.dump_memory(FULL)))), ids=lambda path: ".".join(map(str, path))
)
def test_any_change_of_a_node_is_a_memory_that_can_be_worked_with_or_refused(path):
    data = json.loads(w.dump_memory(FULL))
    for content in WRONG:
        with contextlib.suppress(ValueError, w.StateError):
            work_with(w.load_memory(json.dumps(put(data, path, content))))


@given(strategies.memories(), st.data())
def test_any_change_of_any_memory_is_one_that_can_be_worked_with_or_refused(memory, data):
    tree = json.loads(w.dump_memory(memory))
    path = data.draw(st.sampled_from(list(places(tree))))
    text = json.dumps(put(tree, path, data.draw(st.sampled_from(WRONG))))
    with contextlib.suppress(ValueError, w.StateError):
        work_with(w.load_memory(text))


def work_with(memory):
    """Decide on a memory as a tick would, with an outcome for everything it may have under way."""
    config = w.make_config({"agent_command": ["agent"], "on_dead": "restart"}, "test", {})
    outcomes = tuple(
        w.Outcome(kind=kind, subject=subject, ok=False, at=1.0)
        for kind in ("nudge", "letter", "spawn", "retire")
        for subject in ("alpha", "beta", "de-1", "k", "k1")
    )
    gone = world.sighting("alpha", session=w.ABSENT)
    seen = world.seen(gone, gone.but(name="beta"), issues=(w.Issue(id="de-1"),), outcomes=outcomes)
    decision = w.decide(seen, memory, config)
    assert w.next_deadline(decision, seen, config) > seen.now
    assert w.load_memory(w.dump_memory(decision.memory)) == decision.memory


@given(strategies.memories(), st.floats(0, 1, exclude_max=True))
def test_file_cut_anywhere_is_no_memory(memory, share):
    text = w.dump_memory(memory).rstrip()
    with pytest.raises(ValueError, match=r".+"):
        w.load_memory(text[: int(share * len(text))])
