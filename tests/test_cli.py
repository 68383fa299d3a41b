"""The table of commands, and what happens to words that make none."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

import witness as w


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["statsu"], "witness: no command 'statsu'; did you mean `status`?"),
        (["frobnicate"], "witness: no command 'frobnicate'; `witness --help` lists them"),
        ([], "witness: no command; `witness --help` lists them, `witness start` starts the daemon"),
        (
            ["hold"],
            "witness: hold: the following arguments are required: name; `witness hold --help` shows how",
        ),
        (["status", "--jsno"], "witness: status: unknown argument '--jsno'; did you mean `--json`?"),
        (["stop", "--forse"], "witness: stop: unknown argument '--forse'; did you mean `--force`?"),
        (["stop", "now"], "witness: stop: unknown argument 'now'; `witness stop --help` shows how"),
        (["--frob"], "witness: unknown argument '--frob'; `witness --help` shows how"),
        (["--rig", "/x", "status"], "witness: --rig stands before the command; write `witness COMMAND --rig PATH`"),
        (["--json"], None),
        (["x\x1b[31m"], "witness: no command 'x'; `witness --help` lists them"),
    ],
)
def test_wrong_words_are_one_line_and_status_2(witness, argv, line):
    done = witness(*argv)
    assert done.status == 2
    if line is None:
        assert json.loads(done.stdout)["error"]["kind"] == "usage"
    else:
        assert (done.stdout, done.stderr) == ("", line + "\n")


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
    command = f"{shlex.quote(sys.executable)} {pyz} logs -n 0 | head -1"
    done = subprocess.run(command, shell=True, cwd=rig.path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_version_is_the_modules(witness):
    assert witness("--version") == (0, f"witness {w.__version__}\n", "")


def test_help_can_be_asked_for_as_a_command(witness):
    assert witness("help").stdout == witness("--help").stdout
    assert witness("help", "stop").stdout == witness("stop", "--help").stdout


def test_no_rig_is_one_line_and_status_2(witness, tmp):
    done = witness("status", cwd=tmp)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr == (
        f"witness: no rig: {tmp} or above it has no .gastown/witness*, .runtime/witness*, polecats/, "
        "rig config.json or git repository; go into the repository, or name it with --rig PATH\n"
    )


def test_title_that_the_terminal_cannot_show_is_no_traceback(witness, rig):
    env = {"PYTHONIOENCODING": "ascii"}
    assert witness("add", "Grüße…", rig=rig, env=env).status == 0
    done = witness("issues", rig=rig, env=env)
    assert (done.status, done.stderr) == (0, "")
    assert "Gr\\xfc\\xdfe\\u2026" in done.stdout


@pytest.mark.parametrize("command", ["status", "config", "events"])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_standard_file_is_no_traceback(rig, pyz, command, closed):
    words = ["sh", "-c", f'"$0" "$1" {command} {closed}', sys.executable, str(pyz)]
    done = subprocess.run(words, cwd=rig.path, check=False, timeout=30, capture_output=True, text=True)
    assert done.returncode == (3 if command == "status" else 0)
    assert done.stderr == ""


class FullDisk(w.Host):
    """A host that can write nothing."""

    def write(self, path, *words, **options):
        raise OSError(28, "No space left on device", path)


@pytest.mark.parametrize(
    "argv",
    [
        ["health"],
        ["shutdown", "alpha"],
        ["pause"],
        ["hold", "alpha"],
        ["mail", "send", "mayor/"],
        ["config", "set", "interval", "9"],
        ["spawn", "reset", "de-1"],
    ],
    ids=lambda argv: argv[0],
)
def test_full_disk_is_one_line_in_every_command(rig, monkeypatch, capfd, argv):
    monkeypatch.chdir(rig.path)
    monkeypatch.setenv("WITNESS_TMUX_SOCKET", rig.tmux.socket)
    rig.state.mkdir(mode=0o700)
    assert w.main(argv, FullDisk()) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"witness: {rig.state}/")
    assert "No space left on device" in err.splitlines()[-1]
    assert w.main([*argv, "--json"], FullDisk()) == 1
    assert "No space left" in json.loads(capfd.readouterr().out)["error"]["message"]


def test_bug_keeps_its_traceback(rig, monkeypatch):
    def fail(*_):
        raise FileNotFoundError(2, "No such file or directory", "/x")

    monkeypatch.chdir(rig.path)
    monkeypatch.setattr(w.COMMANDS["status"], "handler", fail)
    with pytest.raises(FileNotFoundError):
        w.main(["status"])


def test_interrupt_ends_quietly(rig, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(rig.path)
    monkeypatch.setattr(w.COMMANDS["status"], "handler", interrupt)
    assert w.main(["status"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["nowhere", "--json"], ["retired"]])
def test_full_disk_behind_standard_output_is_one_line(rig, pyz, words):
    """`status --json >/dev/full` ended in a traceback."""
    with open("/dev/full", "w") as full:
        argv = [sys.executable, str(pyz), *words]
        done = subprocess.run(argv, cwd=rig.path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == (2 if "nowhere" in words else 1)
    assert done.stderr == "witness: standard output: No space left on device\n"
