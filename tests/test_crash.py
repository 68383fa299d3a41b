"""A sample of both crash matrices, and that their oracles would find a loss."""

from __future__ import annotations

import random

import crash
import pytest
import slings


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["local", "beads"])
def test_a_sample_of_the_matrix_survives(backend):
    points, harm = crash.in_process(crash.record, backend)
    assert harm == []
    assert len(points) >= crash.LEAST_POINTS
    seed = random.SystemRandom().randrange(1_000_000)
    cases = crash.list_cases(crash.keep_own(points))
    assert len(cases) > 100
    for case in crash.draw(cases, 6, seed):
        _, hit, harm = crash.in_process(crash.run_case, case)
        assert (case, hit, harm) == (case, True, [])


@pytest.mark.slow
@pytest.mark.parametrize("phases", [("spawn",), ("retire", "force"), ("nudge", "escalate", "refuse", "recover")])
def test_a_sample_of_the_matrix_of_a_town_survives(phases):
    phase = random.SystemRandom().choice(phases)
    points, harm = crash.in_process(crash.record_story, phase)
    assert harm == []
    assert len(points) >= crash.LEAST_OF_STORY
    for case in crash.draw(crash.list_cases(crash.keep_own(points)), 2, random.SystemRandom().randrange(1_000_000)):
        _, hit, harm = crash.in_process(crash.run_case, case)
        assert (case, hit, harm) == (case, True, [])


@pytest.mark.slow
def test_a_sample_of_cut_slings_ends_with_one_worker_each():
    assert len({str(case) for case in slings.CASES}) == len(slings.CASES) >= 100
    for case in crash.draw(slings.CASES, 4, random.SystemRandom().randrange(1_000_000)):
        _, hit, harm = crash.in_process(slings.run_case, case)
        assert (str(case), hit, harm) == (str(case), True, [])


# ---- the oracles can fail -------------------------------------------------------------------------------------------


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


def lose_of_town():
    """Play the story of a spawn in a town; return {what was done to it: what the oracle says}."""

    def do(cycle):
        cycle.play(only="spawn")
        said = {"nothing": cycle.find_harm()}
        bead = cycle.town.issue("de-1")

        def see(what, mend):
            said[what] = cycle.find_harm()
            mend()

        cycle.town.change("de-1", status="open", assignee="")
        see("an opened bead", lambda: cycle.town.change("de-1", status=bead["status"], assignee=bead["assignee"]))
        cycle.town.change("de-1", labels=["witness:0123456789ab:1700000000"])
        see("a label of a sling", lambda: cycle.town.change("de-1", labels=[]))
        mail = cycle.town.put_mail("demo/witness", "HELP: now", "", "demo/rust")
        see("a mail", lambda: cycle.town.town_server.write({**without(cycle.town.town_server.read(), mail)}))
        cycle.git("worktree", "add", "--quiet", "-b", "polecat/nitro/de-1@x", cycle.tree("nitro"), cwd=cycle.base)
        begun = cycle.folder / "begun"
        begun.write_text(begun.read_text() + "nitro de-1\n")
        see("a second worker", lambda: None)
        for ref in cycle.git("for-each-ref", "--format=%(refname)", "refs/witness/kept", cwd=cycle.base).split():
            cycle.git("update-ref", "-d", ref, cwd=cycle.base)
        see("a lost ref", lambda: None)
        cycle.town.gt("polecat", "nuke", "--force", "demo/nitro")
        cycle.town.gt("sling", "de-1", "demo", "--dry-run")
        cycle.git("update-ref", "-d", "refs/heads/polecat/rust/de-0@old", cwd=cycle.base)
        (cycle.path / "mayor" / "rig" / "edit.txt").write_text("of somebody\n")
        see("all that is forbidden", lambda: None)
        return said

    return crash.in_cycle(do, "gastown")


def without(table, key):
    """Return a table without one of its rows."""
    return {name: row for name, row in table.items() if name != key}


@pytest.mark.slow
def test_the_oracle_of_a_town_sees_what_was_done():
    said = {what: "\n".join(lines) for what, lines in crash.in_process(lose_of_town).items()}
    assert said["nothing"] == ""
    for what, line in (
        ("an opened bead", "de-1, which is working, is open with nobody"),
        ("a label of a sling", "has the labels ['witness:"),
        ("a mail", "mails wait: ['HELP: now']"),
        ("a mail", "the mayor has 0 of 1 calls for help"),
        ("a second worker", "polecats are"),
        ("a second worker", "de-1 was begun by"),
        ("a lost ref", "objects of the agents are lost"),
        ("all that is forbidden", "'--dry-run'"),
        ("all that is forbidden", "branches are gone"),
        ("all that is forbidden", "somebody else's was touched"),
    ):
        assert line in said[what], (what, said[what])
