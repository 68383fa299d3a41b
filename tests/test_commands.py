"""The table of commands: each with its help, its example and its group."""

from __future__ import annotations

import json
import re
import shlex

import pytest

import witness as w


@pytest.mark.parametrize("name", w.COMMANDS)
def test_help_teaches_with_one_example(witness, name):
    done = witness(name, "--help")
    assert done.status == 0
    assert f"example: {w.COMMANDS[name].example}" in " ".join(done.stdout.split())
    assert "--json" in done.stdout


@pytest.mark.parametrize("name", w.COMMANDS)
def test_example_is_a_command_line_of_its_own_command(name):
    words = shlex.split(w.COMMANDS[name].example)
    assert words[0] == "witness"
    assert w.read_words(words[1:]).command == name


def test_overview_names_every_command_once_by_what_it_is_for(witness):
    grouped = [name for _, names in w.GROUPS for name in names.split()]
    assert sorted(grouped) == sorted(w.COMMANDS)
    text = witness("--help").stdout
    assert text == w.render_overview()
    for name, row in w.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(row.help)}$", text, re.MULTILINE)


# A command line for each command that a rig without workers answers.
LINES = {
    "start": ("start",),
    "stop": ("stop",),
    "restart": ("restart",),
    "reload": ("reload",),
    "status": ("status",),
    "health": ("health",),
    "shutdown": ("shutdown", "nobody"),
    "spawn": ("spawn", "--explain"),
    "pause": ("pause", "--for", "1h"),
    "resume": ("resume",),
    "hold": ("hold", "alpha"),
    "release": ("release", "alpha"),
    "explain": ("explain", "nobody"),
    "events": ("events",),
    "logs": ("logs",),
    "retired": ("retired",),
    "recover": ("recover", "nobody"),
    "config": ("config", "get", "interval"),
    "doctor": ("doctor", "--quick"),
    "unit": ("unit", "systemd"),
    "seat": ("seat", "install"),
    "handoff": ("handoff",),
    "mail": ("mail", "inbox", "mayor/"),
    "add": ("add", "a title"),
    "issues": ("issues",),
    "close": ("close", "nobody"),
}


def test_every_command_answers_with_one_object_failures_included(witness, rig):
    assert set(LINES) == set(w.COMMANDS)
    for name, argv in LINES.items():
        done = witness(*argv, "--json", rig=rig)
        data = json.loads(done.stdout)
        assert (data["schema"], data["command"], data["ok"]) == (1, name, done.status == 0), argv
        assert done.stderr == "", argv
        assert ("error" not in data) or data["error"].keys() == {"kind", "message", "remedy"}, argv


@pytest.mark.parametrize("name", sorted(LINES))
def test_every_command_outside_a_rig_says_what_to_do(witness, tmp, name):
    done = witness(*LINES[name], cwd=tmp)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "go into the repository, or name it with --rig PATH" in done.stderr
