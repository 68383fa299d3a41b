"""A town's settings: the seat put in and taken out, and nothing else touched."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w

SETTINGS = """\
{
  "type": "town-settings",
  "version": 1,
  "default_agent": "claude",
  "agents": {
    "scripted": {"command": "/usr/bin/python3", "args": ["agent.py"]}
  },
  "role_agents": {"polecat": "scripted"},
  "zeta": "\\u003c&\\u003e",
  "alpha": null
}
"""
AGENT = w.make_seat_agent("/usr/bin/python3", "/opt/witness.pyz")


@pytest.fixture
def town(rig, repo, tmp, monkeypatch):
    """Make a town around a rig, with a `gt` of version 1.0.1 on the PATH; return its settings file."""
    place = tmp / "town"
    (place / "mayor").mkdir(parents=True)
    (place / "mayor/town.json").write_text("{}")
    (place / "settings").mkdir()
    settings = place / "settings/config.json"
    settings.write_text(SETTINGS)
    settings.chmod(0o640)
    moved = place / "demo"
    shutil.move(rig.path, moved)
    rig.path = moved
    (moved / "witness").mkdir()
    (tmp / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp / 'bin'}:{os.environ['PATH']}")
    say_version(tmp, "gt version 1.0.1 (dev)")
    return settings


def say_version(tmp, line: str) -> None:
    (tmp / "bin/gt").write_text(f"#!/bin/sh\n[ \"$*\" = version ] && echo '{line}'\n")
    (tmp / "bin/gt").chmod(0o755)


def kept(town) -> str:
    return (town.parent / "config.json.before-witness").read_text()


def test_install_puts_the_seat_in_and_remove_takes_it_out(witness, rig, town, pyz):
    done = witness("seat", "install", rig=rig)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == f"{town}: changed\n`gt witness restart RIG` lets a seat that is taken follow\n"
    data = json.loads(town.read_text())
    agent = data["agents"].pop("witness")
    assert agent == {
        "command": sys.executable,
        "args": [str(pyz), "seat"],
        "prompt_mode": "none",
        "tmux": {"process_names": list(dict.fromkeys((os.path.basename(sys.executable), "python3")))},
    }
    assert data["role_agents"].pop("witness") == "witness"
    assert list(json.loads(town.read_text())) == list(json.loads(SETTINGS))  # the keys in their order
    assert data == json.loads(SETTINGS)
    assert town.read_text().startswith('{\n  "type": "town-settings",\n  "version": 1,\n')
    assert town.read_text().endswith("}\n")
    assert town.stat().st_mode & 0o777 == 0o640
    assert kept(town) == SETTINGS
    assert sorted(os.listdir(town.parent)) == ["config.json", "config.json.before-witness"]
    done = witness("seat", "remove", rig=rig)
    assert done.stdout.startswith(f"{town}: changed\n")
    assert json.loads(town.read_text()) == json.loads(SETTINGS)
    assert town.stat().st_mode & 0o777 == 0o640


def test_second_install_changes_nothing_and_keeps_the_first_backup(witness, rig, town):
    witness("seat", "install", rig=rig)
    once = town.read_text()
    assert witness("seat", "install", rig=rig).stdout == f"{town}: nothing to change\n"
    assert (town.read_text(), kept(town)) == (once, SETTINGS)
    moved = json.loads(once)
    moved["agents"]["witness"]["args"][0] = "/old/witness.pyz"
    town.write_text(json.dumps(moved, indent=2) + "\n")
    assert witness("seat", "install", rig=rig).stdout.startswith(f"{town}: changed\n")
    assert (town.read_text(), kept(town)) == (once, SETTINGS)
    assert witness("seat", "remove", rig=rig).status == 0
    assert witness("seat", "remove", rig=rig).stdout == f"{town}: nothing to change\n"


def test_dry_run_prints_the_changes_and_writes_nothing(witness, rig, town):
    done = witness("seat", "install", "--dry-run", rig=rig)
    assert done.status == 0
    assert f'+      "command": "{sys.executable}",\n' in done.stdout
    assert '+    "witness": "witness"\n' in done.stdout
    assert done.stdout.splitlines()[-2] == f"{town}: would change"
    assert town.read_text() == SETTINGS
    assert os.listdir(town.parent) == ["config.json"]
    witness("seat", "install", rig=rig)
    once = town.read_text()
    done = witness("seat", "remove", "--dry-run", rig=rig)
    assert '-    "witness": "witness"\n' in done.stdout
    assert town.read_text() == once


def test_answer_as_data(witness, rig, town):
    data = json.loads(witness("seat", "install", "--json", "--dry-run", rig=rig).stdout)
    assert (data["ok"], data["command"], data["path"], data["changed"]) == (True, "seat", str(town), False)
    assert '"prompt_mode": "none"' in data["diff"]
    assert json.loads(witness("seat", "install", "--json", rig=rig).stdout)["changed"]
    data = json.loads(witness("seat", "remove", "--json", rig=rig).stdout)
    assert (data["changed"], data["role"]) == (True, None)


@pytest.mark.parametrize("place", [".", "demo", "demo/witness", "demo/polecats", "settings"])
def test_town_is_found_from_anywhere_in_it(witness, rig, town, place):
    done = witness("seat", "install", "--dry-run", cwd=town.parent.parent / place)
    assert done.status == 0
    assert f"{town}: would change\n" in done.stdout


def test_town_is_found_by_its_rig(witness, rig, town):
    assert witness("seat", "install", "--rig", rig.path, cwd="/").status == 0
    assert kept(town) == SETTINGS


def test_role_that_names_another_agent_by_now_is_left(witness, rig, town):
    witness("seat", "install", rig=rig)
    data = json.loads(town.read_text())
    data["role_agents"]["witness"] = "claude-haiku"
    town.write_text(json.dumps(data))
    done = witness("seat", "remove", rig=rig)
    assert done.stdout == f"{town}: changed\nrole_agents.witness names claude-haiku, which stays\n"
    data = json.loads(town.read_text())
    assert "witness" not in data["agents"]
    assert data["role_agents"]["witness"] == "claude-haiku"


def test_role_that_named_another_agent_before_names_it_again(witness, rig, town):
    data = json.loads(SETTINGS)
    data["role_agents"]["witness"] = "claude-haiku"
    town.write_text(json.dumps(data, indent="\t"))
    witness("seat", "install", rig=rig)
    assert '\n\t\t"witness": "witness"\n' in town.read_text()
    assert not town.read_text().endswith("\n")
    witness("seat", "remove", rig=rig)
    assert town.read_text() == json.dumps(data, indent="\t")


def test_role_that_a_person_gave_away_between_two_installs_goes_back_to_that_agent(witness, rig, town):
    """The copy was that of the first install, and the person's own choice was gone after the removal."""
    witness("seat", "install", rig=rig)
    data = json.loads(town.read_text())
    data["role_agents"]["witness"] = "claude-haiku"
    town.write_text(json.dumps(data))
    witness("seat", "install", rig=rig)
    assert json.loads(town.read_text())["role_agents"]["witness"] == "witness"
    witness("seat", "remove", rig=rig)
    data = json.loads(town.read_text())
    assert data["role_agents"]["witness"] == "claude-haiku"
    assert "witness" not in data["agents"]


# ---- what is refused ------------------------------------------------------------------------------------------------


def refused(witness, rig, verb="install") -> str:
    done = witness("seat", verb, rig=rig)
    assert (done.status in (1, 2), done.stdout, done.stderr.count("\n")) == (True, "", 1), done
    return done.stderr


@pytest.mark.parametrize("line", ["gt version 0.5.0 (dev: main@1234)", "gt version dev", "", "no such thing"])
def test_gt_that_kills_seats_or_does_not_tell_its_version_gets_none(witness, rig, town, tmp, line):
    say_version(tmp, line)
    assert "gt 0.5 kills any pane command but its own agents'; run `witness start` beside it\n" in refused(witness, rig)
    assert town.read_text() == SETTINGS


def test_seat_can_be_removed_where_gt_is_gone(witness, rig, town, tmp):
    witness("seat", "install", rig=rig)
    (tmp / "bin/gt").unlink()
    assert witness("seat", "remove", rig=rig).status == 0
    assert json.loads(town.read_text()) == json.loads(SETTINGS)


def test_rig_outside_of_a_town_gets_no_seat(witness, rig):
    assert f"{rig.path} stands in no Gas Town; go into a rig of one, or run `witness start` here\n" in refused(
        witness, rig
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "holds no JSON object"),
        ("null", "holds no JSON object"),
        ('{"a": NaN}', "not JSON compliant"),
        ('{"a": 1e999}', "not JSON compliant"),
        ('{"a": 1', "Expecting"),
        ("\ufeff{}", "BOM"),
        ('{"agents": []}', "agents in the town's settings is no JSON object"),
        ('{"role_agents": 3}', "role_agents in the town's settings is no JSON object"),
        ('{"agents": {"witness": {"command": "claude"}}}', "agents.witness is an agent of somebody else's"),
        (None, "is missing"),
        (b"{\xff}", "codec can't decode"),
    ],
)
def test_settings_that_cannot_be_changed_safely_are_left(witness, rig, town, content, why):
    town.unlink()
    if content is not None:
        town.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert why in refused(witness, rig)
    assert os.listdir(town.parent) == ([] if content is None else ["config.json"])


@pytest.mark.parametrize("level", ["file", "folder"])
def test_settings_that_are_a_link_out_of_the_town_are_left(witness, rig, town, tmp, level):
    outside = tmp / "outside"
    outside.mkdir()
    shutil.move(town, outside / "config.json")
    if level == "file":
        town.symlink_to(outside / "config.json")
    else:
        town.parent.rmdir()
        town.parent.symlink_to(outside)
    assert "leads out of the town, to " in refused(witness, rig)
    assert "leads out of the town, to " in refused(witness, rig, "remove")
    assert os.listdir(outside) == ["config.json"]
    assert (outside / "config.json").read_text() == SETTINGS


# ---- laws -----------------------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NAMES = st.sampled_from(("agents", "role_agents", "witness", "args", "prompt_mode", "tmux")) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=10
)
PARTS = st.dictionaries(NAMES, VALUES | st.just("witness"), max_size=3)
OBJECTS = st.builds(
    lambda rest, parts: {**rest, **parts},
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.fixed_dictionaries({}, optional={"agents": PARTS | st.none(), "role_agents": PARTS | st.none()}),
)


@given(OBJECTS, st.sampled_from((None, 1, 2, "\t")), st.booleans(), st.booleans())
def test_install_then_remove_gives_the_same_settings_back(data, indent, ascii_only, newline):
    text = json.dumps(data, indent=indent, ensure_ascii=ascii_only) + "\n" * newline
    before = text.encode("utf-8", "backslashreplace")  # half a character stands there as an escape
    try:
        new = w.put_seat(w._parse_settings("x", before), AGENT)
    except w.WitnessError:
        return
    assert new["agents"]["witness"] == AGENT
    assert new["role_agents"]["witness"] == "witness"
    after = w._dump_settings(new, before)
    assert json.loads(after) == new
    assert w.put_seat(w._parse_settings("x", after), AGENT) == new
    taken = w.take_seat(w._parse_settings("x", after), w._parse_settings("x", before))
    if not w.is_seat_agent((data.get("agents") or {}).get("witness")):
        assert taken == data
        assert list(taken) == list(data)


@pytest.mark.parametrize("text", ['{"a": "\\ud800", "b": "é"}', '{"a": "é"}\n', '{"a": "\\u00e9"}', "{}"])
def test_letters_are_written_as_the_file_writes_them(text):
    assert w._dump_settings(json.loads(text), text.encode()) == text.encode()


@given(OBJECTS, OBJECTS)
def test_removal_leaves_no_seat_and_touches_nothing_else(data, before):
    try:
        taken = w.take_seat(data, before)
    except w.WitnessError:
        return
    assert {k: v for k, v in taken.items() if k not in ("agents", "role_agents")} == {
        k: v for k, v in data.items() if k not in ("agents", "role_agents")
    }
    for name in ("agents", "role_agents"):
        here, there = (dict(one.get(name) or {}) for one in (data, taken))
        assert {k: v for k, v in here.items() if k != "witness"} == {k: v for k, v in there.items() if k != "witness"}
