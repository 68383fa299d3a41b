"""The table of commands: each with its help, its example and its group."""

from __future__ import annotations

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
