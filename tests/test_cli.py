"""The table of commands, and what happens to words that make none."""

from __future__ import annotations

import os
import subprocess
import sys

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
    import shlex

    words = shlex.split(w.COMMANDS[name].example)
    assert words[0] == "witness"
    assert w.read_words(words[1:]).command == name


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["statsu"], "witness: no command 'statsu'; did you mean `status`?"),
        (["frobnicate"], "witness: no command 'frobnicate'; `witness --help` lists them"),
        ([], "witness: no command; `witness --help` lists them, `witness start` starts the daemon"),
        (
            ["hold"],
            "witness: witness hold: the following arguments are required: name; `witness hold --help` shows how",
        ),
        (["status", "--jsno"], "witness: witness: unrecognized arguments: --jsno; `witness --help` shows how"),
        (["x\x1b[31m"], "witness: no command 'x'; `witness --help` lists them"),
    ],
)
def test_wrong_words_are_one_line_and_status_2(witness, argv, line):
    done = witness(*argv)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(line[:40])
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("name", ["status", "stop", "handoff"])
def test_plain_words_are_read_alike_with_and_without_argparse(name):
    for argv in ([name], [name, "--json"], [name, "--rig", "/x"], [name, "--json", "--rig", "/x"]):
        plain, full = w.read_plain(argv), w.read_words(argv)
        for attribute in vars(full):
            assert getattr(plain, attribute) == getattr(full, attribute), attribute


@pytest.mark.parametrize("argv", [["status", "--help"], ["stop", "--force"], ["status", "x"], ["status", "--rig"]])
def test_other_words_are_left_to_argparse(argv):
    assert w.read_plain(argv) is None


def test_status_imports_neither_argparse_nor_subprocess(rig, tmp):
    script = (
        "import sys; sys.argv = ['witness']; import witness; witness.main(['status']); "
        "print(sorted({'argparse', 'subprocess', 'mailbox', 'logging', 'dataclasses', 'typing', 'email', 'datetime'} "
        "& set(sys.modules)))"
    )
    root = os.path.dirname(w.__file__)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {root!r}); {script}"],
        cwd=rig.path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_reader_that_goes_away_is_no_traceback(rig, pyz, witness):
    for number in range(40):
        witness("pause", "--reason", f"x{number}" * 30, rig=rig) if number < 3 else None
    (rig.state / "witness.log").write_text("line\n" * 200000)
    command = f"{sys.executable} {pyz} logs -n 0 | head -1"
    done = subprocess.run(command, shell=True, cwd=rig.path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_version_is_the_modules(witness):
    assert witness("--version") == (0, f"witness {w.__version__}\n", "")
