"""Our claims brought together with their queue: handed over, given back, told, closed."""

from __future__ import annotations

import pytest
from tools import stand

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


# ---- closed, and given back -----------------------------------------------------------------------------------------


def test_merged_hand_over_is_closed(rig, station):
    worker = rig.add_polecat("de-1")
    issue = station.queue.add("One", "demo")
    tip = rig.commit("work", {"x": "x"}, cwd=worker.path)
    start = rig.git("rev-parse", "main").strip()
    claim = w.Claim(issue=issue, actor=station.actor, at=1.0, state="handed-over", name="de-1", tip=tip, start=start)
    station.queue.claim(claim)
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim)).ok is False
    rig.git("merge", "--quiet", "--squash", "polecat/de-1")
    rig.git("commit", "--quiet", "--message", "squashed")
    unknown = claim.but(start="")  # what was there before is not known: then its tip there proves no work
    assert w.perform(station, w.CheckMerged(subject=issue, claim=unknown)).ok is False
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim)).ok is True
    assert station.queue.claims.read()[issue].state == "closed"
    assert station.queue.read_issues()[0][0].status == "closed"


def test_branch_that_a_person_looks_at_is_not_where_work_ends(rig, station):
    """Without a remote the default branch is what base's HEAD names: a review by `git checkout` closed the issue."""
    worker = rig.add_polecat("de-1")
    issue = station.queue.add("One", "demo")
    start, tip = rig.git("rev-parse", "main"), rig.commit("work", {"x": "x"}, cwd=worker.path)
    claim = w.Claim(issue=issue, actor=station.actor, at=1.0, state="handed-over", name="de-1", tip=tip, start=start)
    claim = claim.but(base="refs/heads/main")
    station.queue.claim(claim)
    rig.git("checkout", "--quiet", "-b", "review", "polecat/de-1")
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim)).ok is False
    done = w.Outcome(kind="retire", subject="de-1", ok=True, at=1.0, data={"merged": True, "tip": tip, "start": start})
    station.queue.claims.change(claim.but(state="working"))
    w.hand_over_issue(station, w.Retirement(name="de-1", id="de-1/1", at=1.0, issue=issue), done)
    assert station.queue.claims.read()[issue].state == "handed-over"
    rig.git("branch", "-M", "main", "trunk")  # the branch is called otherwise now
    rig.git("checkout", "--quiet", "trunk")
    rig.git("merge", "--quiet", "polecat/de-1")
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim)).ok is True


@pytest.mark.parametrize("away", [False, True])
def test_work_merged_on_the_remote_is_fetched(clones, origin, away):
    """Nothing is fetched but for a new worker, and where all that is open waits for this issue there is none."""
    rig = clones(origin.path, "one")
    (rig.path / ".gastown").mkdir(mode=0o700)
    station = stand.make_station(rig)
    issue = station.queue.add("One", "demo")
    worker = rig.add_polecat("de-1")
    start, tip = rig.git("rev-parse", "main"), rig.commit("work", {"x": "x"}, cwd=worker.path)
    rig.git("push", "--quiet", "origin", "polecat/de-1")
    claim = w.Claim(issue=issue, actor=station.actor, at=1.0, state="handed-over", name="de-1", tip=tip, start=start)
    station.queue.claim(claim)
    origin.git("merge", "--quiet", "--no-ff", "--message", "pull request", "polecat/de-1")
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim)).ok is False
    if away:
        origin.path.rename(origin.path.parent / "away")
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim, fetch=True)).ok is not away


@pytest.mark.parametrize("how", ["empty", "reverted"])
def test_commits_that_change_nothing_close_no_issue(rig, station, how):
    """A worker that gave up says why in an empty commit, or takes its own back: the issue was closed as merged."""
    worker = rig.add_polecat("de-1")
    issue = station.queue.add("One", "demo")
    start = rig.git("rev-parse", "main")
    if how == "empty":
        rig.git("commit", "--quiet", "--allow-empty", "--message", "it cannot be done", cwd=worker.path)
    else:
        rig.commit("a try", {"x": "x"}, cwd=worker.path)
        rig.git("revert", "--no-edit", "HEAD", cwd=worker.path)
    claim = w.Claim(issue=issue, actor=station.actor, at=1.0, state="working", name="de-1", start=start)
    station.queue.claim(claim)
    retirement = stand.begin(station, "de-1", start=start, issue=issue)
    outcome = w.retire_worktree(station.tools, retirement, lambda _: None)
    assert (outcome.data["no_commits"], outcome.data["merged"]) == (False, True)
    w.hand_over_issue(station, retirement, outcome)
    claim = station.queue.claims.read()[issue]
    assert claim.state == "handed-over"
    assert w.perform(station, w.CheckMerged(subject=issue, claim=claim)).ok is False
    assert station.queue.read_issues()[0][0].status != "closed"


def test_orphan_is_released_only_while_it_is_one(rig, station):
    claim = w.Claim(issue="de-1", actor=station.actor, at=1.0, state="working", name="de-1", branch="polecat/de-1")
    station.queue.claim(claim)
    rig.add_polecat("de-1")
    action = w.ReleaseOrphan(subject="de-1", claim=claim)
    assert w.perform(station, action).detail == "it is worked on again"
    rig.git("worktree", "remove", "--force", "polecats/de-1")
    assert w.perform(station, w.ReleaseOrphan(subject="de-1", claim=claim.but(name="x"))).ok is False
    assert w.perform(station, action).ok is True
    assert station.queue.claims.read()["de-1"].state == "released"


@pytest.mark.parametrize("how", ["branch -m", "switch --quiet -c"])
def test_orphan_whose_work_is_on_a_branch_of_another_name_is_not_released(rig, station, how):
    """An agent names its branch as it likes, and the letter said that the first one was untouched."""
    worker = rig.add_polecat("de-1")
    start = rig.git("rev-parse", "main")
    rig.git("branch", "anothers", "main~0")
    rig.git(*how.split(), "feature/login", cwd=worker.path)
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    rig.git("worktree", "remove", "--force", "polecats/de-1")
    claim = w.Claim(
        issue="de-1", actor=station.actor, at=1.0, state="working", name="de-1", branch="polecat/de-1", start=start
    )
    station.queue.claim(claim)
    outcome = w.perform(station, w.ReleaseOrphan(subject="de-1", claim=claim))
    assert (outcome.ok, outcome.detail) == (False, "feature/login, which began with it, has commits")
    rig.git("branch", "-D", "--quiet", "feature/login")
    assert w.perform(station, w.ReleaseOrphan(subject="de-1", claim=claim)).ok is True


@pytest.mark.parametrize("where", ["branch", "retired", "retiring", "kept"])
def test_orphan_of_which_work_exists_is_not_released(rig, station, where):
    """Nobody would look for it once somebody else does the issue anew."""
    start = rig.git("rev-parse", "main")
    claim = w.Claim(
        issue="de-1", actor=station.actor, at=1.0, state="working", name="de-1", branch="polecat/de-1", start=start
    )
    station.queue.claim(claim)
    rig.git("branch", "work")
    rig.git("checkout", "--quiet", "work")
    tip = rig.commit("work", {"x": "x"})
    rig.git("checkout", "--quiet", "main")
    rig.git("branch", "-D", "--quiet", "work")
    ref = "refs/heads/polecat/de-1" if where == "branch" else f"refs/witness/{where}/de-1/20260101T000000Z"
    rig.git("update-ref", ref, tip)
    outcome = w.perform(station, w.ReleaseOrphan(subject="de-1", claim=claim))
    assert (outcome.ok, outcome.data) == (False, {"kept": True})
    assert station.queue.claims.read()["de-1"].state == "working"
    rig.git("update-ref", "-d", ref)
    rig.git("branch", "polecat/de-1", "main")
    assert w.perform(station, w.ReleaseOrphan(subject="de-1", claim=claim)).ok is True
