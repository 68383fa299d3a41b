"""The archive on every Python that the machine has: start, look, stop."""

from __future__ import annotations

import json
import subprocess

import pytest
from tools import kit, stand
from tools.kit import ROOT, wait_for

import witness as w

PYTHONS = kit.pythons()


@pytest.mark.smoke
@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_first_hour_on_this_python(witness, rig, python):
    rig.add_polecat("alpha", stand.SPEAK)
    (rig.add_polecat("beta", stand.SLEEP).path / "new").write_text("mine\n")
    env = {"WITNESS_INTERVAL": "1", "WITNESS_START_GRACE": "0"}

    def call(*words):
        return witness(*words, rig=rig, env=env, python=python)

    assert call("start").status == 0
    wait_for(lambda: "alpha" in call("status").stdout, 10, "the first look")
    data = json.loads(call("status", "--json").stdout)
    assert data["daemon"]["running"] is True
    assert {one["name"]: one["state"] for one in data["polecats"]} == {"alpha": "working", "beta": "working"}
    assert call("health").status == 0
    assert call("shutdown", "beta").status == 1
    assert call("shutdown", "beta", "--force").status == 0
    assert call("recover", "beta").status == 0
    assert (rig.path / "polecats" / "beta" / "new").read_text() == "mine\n"
    assert call("stop").status == 0
    assert call("status").status == 3


@pytest.mark.smoke
@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_module_alone_runs_isolated(python):
    done = subprocess.run(
        [python, "-I", "-S", str(ROOT / "witness.py"), "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"witness {w.__version__}\n")
