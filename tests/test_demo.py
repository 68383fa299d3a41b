"""The demo holds on a whole Witness, and fails on one that lacks a duty."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys

import pytest
from tools.kit import ROOT

DUTIES = ("spawn", "nudge", "escalate", "refuse", "retire", "report")


def play(pyz, *words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "demo.py"), str(pyz), *words],
        env=dict(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )


def failed(done) -> set:
    """Return the duties whose checks failed, as the demo's own table says."""
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  FAILED")}


@pytest.mark.slow
def test_demo_holds_and_leaves_nothing(pyz):
    done = play(pyz)
    assert (failed(done), done.stderr, done.returncode) == (set(), "", 0), done.stdout
    assert "18 of 18 checks held" in done.stdout


@pytest.mark.slow
def test_demo_fails_where_a_duty_is_missing(pyz):
    """All six at once: they mostly wait."""
    with concurrent.futures.ThreadPoolExecutor(len(DUTIES)) as pool:
        runs = dict(zip(DUTIES, pool.map(lambda duty: play(pyz, "--without", duty), DUTIES)))
    for duty, done in runs.items():
        assert duty in failed(done), (duty, done.stdout, done.stderr)
        assert done.returncode == 1
        assert "ok      leave nothing" in done.stdout
