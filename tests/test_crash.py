"""A sample of the crash matrix, and that its oracle would find a loss."""

from __future__ import annotations

import random

import crash
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("backend", crash.BACKENDS)
def test_a_sample_of_the_matrix_survives(backend):
    points, harm = crash.in_process(crash.record, backend)
    assert harm == []
    assert len(points) >= crash.LEAST_POINTS
    seed = random.SystemRandom().randrange(1_000_000)
    cases = [case for case in crash.list_cases(points) if backend == "local" or crash.is_of_queue(case)]
    assert len(cases) > 100
    for case in crash.draw(cases, 8, seed):
        _, hit, harm = crash.in_process(crash.run_case, case)
        assert (case, hit, harm) == (case, True, [])


def lose(what):
    """Play an unbroken cycle, take something away, and return what the oracle says."""

    def do(cycle):
        cycle.play()
        what(cycle)
        return cycle.find_harm()

    return crash.in_cycle(do)


def lose_a_ref(cycle):
    ref = cycle.git("for-each-ref", "--format=%(refname)", "refs/witness/retired/bravo")
    cycle.git("update-ref", "-d", ref)
    crash.shutil.rmtree(cycle.path / ".gastown" / "retiring")
    (cycle.path / ".gastown" / "retiring").mkdir()


def touch_a_stash(cycle):
    cycle.git("stash", "drop", "--quiet")


def leave_a_lock(cycle):
    (cycle.path / ".git" / "packed-refs.lock").touch()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lose_a_ref, "objects of the agents are lost"),
        (touch_a_stash, "somebody else's was touched"),
        (leave_a_lock, "left behind"),
    ],
)
def test_the_oracle_sees_what_was_done(what, said):
    harm = crash.in_process(lose, what)
    assert any(said in line for line in harm), harm
