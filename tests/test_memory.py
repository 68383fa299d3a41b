"""What survives a crash, and its form on disk."""

from __future__ import annotations

import json

import pytest
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
    spawn=w.Spawn(issue="de-1", at=1.0, deadline_at=2.0),
    stats={"total_nudges": 3},
)


def test_memory_comes_back_as_it_was():
    assert w.load_memory(w.dump_memory(FULL)) == FULL


def test_same_memory_gives_same_text():
    assert w.dump_memory(FULL) == w.dump_memory(w.load_memory(w.dump_memory(FULL)))


def test_stamps_are_text_in_the_file():
    data = json.loads(w.dump_memory(FULL))
    assert data["started_at"] == "2027-01-15T08:00:00.000Z"
    assert data["version"] == 1


def test_newer_major_version_is_refused_and_not_overwritten():
    with pytest.raises(w.StateError) as error:
        w.load_memory(json.dumps({"version": 2}))
    assert "newer" in error.value.line()


def test_file_of_the_first_witness_is_read():
    text = json.dumps(
        {
            "rig_name": "demo",
            "state": "running",
            "pid": None,
            "started_at": "2025-12-20T10:00:00Z",
            "monitored_polecats": None,
            "stats": {"total_checks": 3, "total_nudges": 1},
            "config": {"max_workers": 0},
            "spawned_issues": ["gt-1"],
        }
    )
    memory = w.load_memory(text)
    assert (memory.rig_name, memory.spawned_issues, memory.stats["total_nudges"]) == ("demo", ("gt-1",), 1)


def test_unknown_keys_of_a_later_minor_are_passed_over():
    data = json.loads(w.dump_memory(FULL))
    data["colour"] = data["polecats"]["alpha"]["mood"] = "blue"
    assert w.load_memory(json.dumps(data)) == FULL


@given(st.data())
def test_any_mutation_is_a_memory_or_a_value_error(data):
    text = w.dump_memory(FULL)
    tree = json.loads(text)
    place = tree
    for _ in range(data.draw(st.integers(0, 3))):
        if not isinstance(place, dict) or not place:
            break
        key = data.draw(st.sampled_from(sorted(place)))
        if data.draw(st.booleans()):
            place[key] = data.draw(st.sampled_from([None, [], {}, 3, -1.5, True, "x", [[1]]]))
            break
        place = place[key]
    text = json.dumps(tree)[: data.draw(st.sampled_from([None, 10, 100]))]
    try:
        assert isinstance(w.load_memory(text), w.Memory)
    except (ValueError, w.StateError):
        pass
