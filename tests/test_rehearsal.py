"""The self-test: every outside call tried once, the one that fails is named, nothing is left behind."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

import witness as w

HOST = w.Host()
STEPS = ["begin", "spawn", "look", "nudge", "retire", "recover"]


@pytest.fixture(autouse=True)
def leaves_nothing():
    yield
    assert list(Path(os.environ["TMPDIR"]).glob(f"{w.REHEARSAL}*")) == []
    assert list(Path(os.environ["TMUX_TMPDIR"]).glob(f"*/{w.REHEARSAL}*")) == []


def break_tool(tmp, monkeypatch, tool: str, word: str, answer: str) -> None:
    """Put a stand-in first on the PATH that answers one command of a tool in its own way."""
    real = shutil.which(tool)
    folder = tmp / "broken"
    folder.mkdir()
    script = folder / tool
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"if {word!r} in sys.argv:\n    {answer}\n"
        f"os.execv({real!r}, [{tool!r}, *sys.argv[1:]])\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_every_step_works_with_the_tools_of_this_machine():
    rows = w.rehearse(HOST, 20)
    assert [(step, ok) for step, ok, _ in rows] == [(step, True) for step in STEPS], rows


@pytest.mark.parametrize(
    ("tool", "word", "step"),
    [
        ("git", "push", "begin"),
        ("git", "fetch", "spawn"),
        ("tmux", "new-session", "spawn"),
        ("git", "status", "spawn"),
        ("tmux", "load-buffer", "nudge"),
        ("tmux", "paste-buffer", "nudge"),
        ("git", "commit-tree", "retire"),
    ],
)
def test_a_call_that_fails_names_its_step_and_what_the_tool_said(tmp, monkeypatch, tool, word, step):
    break_tool(tmp, monkeypatch, tool, word, "sys.exit('flag is gone')")
    rows = w.rehearse(HOST, 20)
    assert [(name, ok) for name, ok, _ in rows[:-1]] == [(name, True) for name in STEPS[: STEPS.index(step)]]
    assert rows[-1][:2] == (step, False)
    assert "flag is gone" in rows[-1][2], rows


def test_a_call_that_hangs_is_a_step_that_fails(tmp, monkeypatch):
    break_tool(tmp, monkeypatch, "tmux", "new-session", "import time; time.sleep(60)")
    rows = w.rehearse(HOST, 1)
    assert rows[-1][:2] == ("spawn", False)
    assert "no answer within 1 s" in rows[-1][2]


def test_without_git_the_first_step_says_so(tmp, monkeypatch):
    (tmp / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp / "empty"))
    ((step, ok, detail),) = w.rehearse(HOST, 5)
    assert (step, ok) == ("begin", False)
    assert detail == "git init: git is missing"
