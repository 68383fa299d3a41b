"""The demo holds on a whole Witness, fails on one that lacks a duty, and always clears away."""

from __future__ import annotations

import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tools import kit

DEMO = kit.ROOT / "tests" / "demo.py"
DUTIES = ("acknowledge", "once", "escalate", "keep", "refuse", "retire", "report", "nudge", "spawn")
PATIENT = ("--deadline", "600")
"""It takes a minute on a machine of its own; beside a whole suite it may take several."""
AT_ONCE = 4
"""They mostly wait; more of them would slow each other down on two cores."""

pytestmark = pytest.mark.slow


def play(pyz, *words, demo=DEMO) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(demo), str(pyz), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=700,
        check=False,
    )


def checks(text: str, verdict: str) -> list:
    """Return the duties of the demo's table whose check ended so."""
    return re.findall(rf"^  {verdict} +(\S+(?: \S+)?)  +\S", text, re.MULTILINE)


def assert_nothing_left(text: str) -> None:
    (root,) = set(re.findall(r"rig demo in (.*)/demo$", text, re.MULTILINE))
    assert not Path(root).exists()
    assert kit.leftovers(Path(root)) == []


def test_demo_holds_and_leaves_nothing(pyz, tmp):
    checkout = tmp / "a chëckout"
    for name in ("demo.py", "agents/worker.py", "tools/kit.py"):
        (checkout / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kit.ROOT / "tests" / name, checkout / "tests" / name)
    shutil.copy(pyz, checkout)
    done = play(checkout / pyz.name, *PATIENT, demo=checkout / "tests" / "demo.py")
    assert (checks(done.stdout, "FAILED"), done.stderr, done.returncode) == ([], "", 0), done.stdout
    assert {*DUTIES, "leave alone", "stop", "leave nothing"} <= set(checks(done.stdout, "ok"))
    assert "24 of 24 checks held" in done.stdout
    assert_nothing_left(done.stdout)


def test_demo_fails_on_a_witness_that_lacks_a_duty(pyz):
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = list(pool.map(lambda duty: play(pyz, "--without", duty, *PATIENT), DUTIES))
    for duty, done in zip(DUTIES, runs):
        assert (checks(done.stdout, "FAILED"), done.returncode) == ([duty, "the end"], 1), done.stdout + done.stderr
        assert "leave nothing" in checks(done.stdout, "ok")
        assert_nothing_left(done.stdout)


def test_demo_ends_at_its_deadline(pyz):
    done = play(pyz, "--deadline", "3")
    assert done.returncode == 1
    assert {"nudge", "escalate"} & set(checks(done.stdout, "FAILED"))
    assert "leave nothing" in checks(done.stdout, "ok")
    assert_nothing_left(done.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_broken_off_clears_away(pyz, number):
    with subprocess.Popen(
        [sys.executable, str(DEMO), str(pyz)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as child:
        said = ""
        while "seen: a worker was spawned" not in said:
            said += os.read(child.stdout.fileno(), 65536).decode()
        child.send_signal(number)
        said += child.communicate(timeout=60)[0]
    assert child.returncode == 1
    assert checks(said, "FAILED") == ["the end"]
    assert "leave nothing" in checks(said, "ok")
    assert_nothing_left(said)
