"""The eight steps: what they keep, what they refuse, and that a kill at any point loses nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from tools import kit, stand
from tools.kit import wait_for

import witness as w


class KilledError(Exception):
    """Stands for kill -9: nothing below catches it."""


class FaultyHost(w.Host):
    """A host that is killed before or after the n-th effect: outside calls and durable writes alike."""

    def __init__(self, at=None, after=False):
        self.at, self.after, self.number = at, after, 0

    def _effect(self, do):
        self.number += 1
        hit = self.number == self.at
        if hit and not self.after:
            raise KilledError
        answer = do()
        if hit:
            raise KilledError
        return answer

    def run(self, *args, **options):
        return self._effect(lambda: super(FaultyHost, self).run(*args, **options))

    def write(self, *args, **options):
        return self._effect(lambda: super(FaultyHost, self).write(*args, **options))

    def move(self, *args):
        return self._effect(lambda: super(FaultyHost, self).move(*args))

    def remove(self, *args):
        return self._effect(lambda: super(FaultyHost, self).remove(*args))


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


def retire(station, name, **changes):
    records = []
    outcome = w.retire_worktree(station.tools, stand.begin(station, name, **changes), records.append)
    return outcome, records


def refs(rig, prefix="refs/witness/"):
    return rig.git("for-each-ref", "--format=%(refname)", prefix).split()


def make_messy(rig, name="alpha"):
    """Make a worker with every kind of work, and return it with the object names it ever made."""
    worker = rig.add_polecat(name, stand.SLEEP)
    made = [rig.commit("one", {"one": "1\n"}, cwd=worker.path)]
    made.append(rig.commit("dropped", {"dropped": "x\n"}, cwd=worker.path))
    rig.git("reset", "--quiet", "--hard", made[0], cwd=worker.path)  # reachable by the reflog alone
    (worker.path / "staged").write_text("staged\n")
    rig.git("add", "staged", cwd=worker.path)
    made.append(rig.git("rev-parse", ":staged", cwd=worker.path))
    (worker.path / "README").write_text("edited\n")
    (worker.path / "new").write_text("new\n")
    (worker.path / "sub").mkdir()
    os.symlink("../new", worker.path / "sub" / "link")
    (worker.path / "run.sh").write_text("#!/bin/sh\n")
    (worker.path / "run.sh").chmod(0o755)
    return worker, made


def test_finished_worker_is_retired(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    commit = rig.commit("work", {"x": "x"}, cwd=worker.path)
    agent = kit.process(worker.pane_pid)
    outcome, records = retire(station, "alpha")
    assert outcome.data["result"] == "retired", outcome
    (ref,) = refs(rig)
    assert ref == outcome.data["ref"] == f"refs/witness/retired/{records[0].id}"
    assert commit in rig.git("rev-list", ref).split()
    assert (outcome.data["tip"], outcome.data["merged"], outcome.data["no_commits"]) == (commit, False, False)
    assert outcome.data["branch"] == {
        "name": "polecat/alpha",
        "result": "kept",
        "reason": "its content is not on the default branch or a remote",
    }
    assert not worker.path.exists()
    assert not kit.is_alive(agent)
    assert rig.tmux.panes() == []
    assert "alpha" not in rig.git("worktree", "list")
    assert rig.git("rev-parse", "polecat/alpha") == commit
    steps = [record.step for record in records]
    assert list(dict.fromkeys(steps)) == [
        "verify",
        "preserve",
        "quiesce",
        "move",
        "decide",
        "remove",
        "branch",
        "close",
    ]


def test_merged_branch_is_deleted_with_its_settings(rig, station):
    worker = rig.add_polecat("alpha")
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    rig.git("config", "branch.polecat/alpha.description", "mine")
    rig.git("merge", "--quiet", "polecat/alpha")
    outcome, _ = retire(station, "alpha")
    assert outcome.data["branch"]["result"] == "deleted"
    assert outcome.data["merged"] is True
    assert rig.git("branch", "--list", "polecat/*") == ""
    assert rig.git("config", "--get-regexp", r"^branch\.polecat", check=False) == ""


def test_worker_without_a_commit_did_not_do_the_issue(rig, station):
    rig.add_polecat("alpha")
    outcome, _ = retire(station, "alpha", start=rig.git("rev-parse", "main"))
    assert outcome.data["no_commits"] is True
    assert outcome.data["branch"]["result"] == "deleted"


def test_branch_on_a_remote_is_deleted_and_tracking_refs_prove_nothing(rig, station, tmp):
    rig.git("init", "--quiet", "--bare", tmp / "origin.git")
    rig.git("remote", "add", "origin", tmp / "origin.git")
    rig.git("push", "--quiet", "origin", "main")
    for name in ("alpha", "beta"):
        rig.commit("work", {name: "x"}, cwd=rig.add_polecat(name).path)
        rig.git("push", "--quiet", "origin", f"polecat/{name}")
    rig.git("update-ref", "-d", "refs/heads/polecat/beta", cwd=tmp / "origin.git")  # deleted over there
    assert retire(station, "alpha")[0].data["branch"]["reason"] == "on origin as polecat/alpha"
    assert retire(station, "beta")[0].data["branch"]["result"] == "kept"


@pytest.mark.parametrize("case", ["elsewhere", "default", "symref", "other name"])
def test_branch_that_is_not_its_alone_is_kept(rig, station, case):
    worker = rig.add_polecat("alpha")
    branch = "polecat/alpha"
    if case == "elsewhere":
        rig.git("worktree", "add", "--quiet", "--force", rig.path / "polecats" / "beta", branch)
    elif case == "default":
        rig.git("symbolic-ref", "HEAD", "refs/heads/polecat/alpha")
    elif case == "symref":
        rig.git("branch", "target")
        rig.git("symbolic-ref", "refs/heads/polecat/alpha", "refs/heads/target")
    else:
        rig.git("checkout", "--quiet", "-b", "mine", cwd=worker.path)
        branch = "mine"
    outcome, _ = retire(station, "alpha")
    assert outcome.data["branch"]["result"] == "kept", outcome
    assert rig.git("rev-parse", branch) == rig.git("rev-parse", "main")


def test_dirty_worker_is_refused_and_nothing_is_touched(rig, station):
    worker, _ = make_messy(rig)
    before = rig.git("status", "--porcelain=v2", cwd=worker.path)
    outcome, _ = retire(station, "alpha")
    assert outcome.data["result"] == "refused"
    assert [kind for kind, _, _ in outcome.data["blockers"]] == ["modified", "untracked"]
    assert rig.git("status", "--porcelain=v2", cwd=worker.path) == before
    assert refs(rig) == []
    assert len(rig.tmux.panes()) == 1


def test_force_preserves_instead_of_refusing(rig, station):
    worker, made = make_messy(rig)
    (worker.path / ".env").write_text("KEY=secret-of-mine\n")
    outcome, records = retire(station, "alpha", force=True)
    assert outcome.data["result"] == "retired", outcome
    rig.git("reflog", "expire", "--expire=now", "--all")
    rig.git("gc", "--quiet", "--prune=now")
    reachable = rig.git("rev-list", "--objects", outcome.data["ref"])
    assert all(name in reachable for name in made)
    ref = outcome.data["ref"]
    assert rig.git("show", f"{ref}:files/README") == "edited"
    assert rig.git("show", f"{ref}:files/new") == "new"
    assert rig.git("ls-tree", ref, "files/run.sh").startswith("100755")
    assert rig.git("ls-tree", ref, "files/sub/link").startswith("120000")
    assert rig.git("show", f"{ref}:index/0/staged") == "staged"
    kept = rig.state / "rescued" / records[0].id / ".env"
    assert kept.read_text() == "KEY=secret-of-mine\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "secret-of-mine" not in rig.git("log", "--all", "-p", "--format=", ref)


def test_gone_is_gone(rig, station):
    rig.add_polecat("alpha")
    retirement = stand.begin(station, "alpha")
    rig.git("worktree", "remove", "polecats/alpha")
    assert w.retire_worktree(station.tools, retirement, lambda _: None).data["result"] == "gone"


def test_late_writer_is_caught_after_the_move(rig, station, monkeypatch):
    worker = rig.add_polecat("alpha")
    real = w.move_aside

    def write_late(*args):
        (worker.path / "late").write_text("late\n")
        return real(*args)

    monkeypatch.setattr(w, "move_aside", write_late)
    outcome, records = retire(station, "alpha")
    assert (outcome.data["result"], outcome.data["escalate"]) == ("refused", True)
    assert (worker.path / "late").read_text() == "late\n"
    assert rig.git("status", "--porcelain", cwd=worker.path) == "?? late"
    assert refs(rig) == [f"refs/witness/kept/{records[0].id}"]


def test_late_commit_is_kept_too(rig, station, monkeypatch):
    worker = rig.add_polecat("alpha")
    real, late = w.move_aside, []

    def commit_late(*args):
        late.append(rig.commit("late", {"late": "x"}, cwd=worker.path))
        return real(*args)

    monkeypatch.setattr(w, "move_aside", commit_late)
    outcome, _ = retire(station, "alpha")
    assert outcome.data["result"] == "retired"
    assert outcome.data["tip"] == late[0]
    assert late[0] in rig.git("rev-list", outcome.data["ref"])


def test_foreign_process_inside_stops_it_before_anything_ends(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=worker.path) as child:
        outcome, _ = retire(station, "alpha", force=True)
        child.kill()
    assert outcome.data["result"] == "refused"
    assert outcome.data["blockers"][0][0] == "process"
    assert len(rig.tmux.panes()) == 1


def test_unfinished_retirement_is_found_without_a_memory(rig):
    rig.add_polecat("alpha")
    commit = rig.commit("work", {"x": "x"}, cwd=rig.polecats["alpha"].path)
    station = stand.make_station(rig)
    retirement = stand.begin(station, "alpha")
    steps = dict(w.STEPS)
    for step in ("verify", "preserve", "quiesce", "move"):
        retirement = steps[step](station.tools, retirement.but(step=step))
    found = w.find_unfinished(station.tools, ())
    assert [(one.name, one.step, one.tip) for one in found] == [("alpha", "move", commit)]
    assert w.find_unfinished(station.tools, (retirement.id,)) == []
    assert w.retire_worktree(station.tools, found[0], lambda _: None).data["result"] == "retired"


def test_ref_of_a_worker_that_lives_on_is_kept_aside(rig, station):
    rig.add_polecat("alpha")
    retirement = stand.begin(station, "alpha")
    w.preserve(station.tools, retirement.but(tip=rig.git("rev-parse", "main")), stand.tree_of(station, "alpha"))
    assert w.find_unfinished(station.tools, ()) == []
    assert refs(rig) == [f"refs/witness/kept/{retirement.id}"]


def count_effects(rig):
    make_messy(rig, "probe")
    host = FaultyHost()
    station = stand.make_station(rig, host)
    host.number = 0
    retirement = stand.begin(station, "probe", force=True)
    host.number = 0
    assert w.retire_worktree(station.tools, retirement, lambda _: None).data["result"] == "retired"
    return host.number


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_effect_loses_nothing_and_ends_the_same(rig, after):
    """One retirement is killed before or after some of its effects, drawn by chance, and taken up from its record."""
    total = count_effects(rig)
    assert total > 40
    seed = random.randrange(10**6)
    points = sorted(random.Random(seed).sample(range(1, total + 1), 4))
    print(f"seed {seed}: killed at {points} of {total}")
    for number in points:
        name = f"w{number}"
        worker, made = make_messy(rig, name)
        host = FaultyHost()
        station = stand.make_station(rig, host)
        record = stand.begin(station, name, force=True)
        recorded = [record]
        host.number, host.at, host.after = 0, number, after
        try:
            outcome = w.retire_worktree(station.tools, record, recorded.append)
        except KilledError:
            station = stand.make_station(rig)
            outcome = w.retire_worktree(station.tools, recorded[-1], recorded.append)
        rig.tmux.remember()
        assert outcome.data["result"] == "retired", (number, outcome)
        ref = outcome.data["ref"]
        reachable = rig.git("rev-list", "--objects", "--glob=refs/witness/retired/*", "--branches")
        assert [one for one in made if one not in reachable] == [], number
        assert rig.git("show", f"{ref}:files/new") == "new"
        assert not worker.path.exists()
        assert name not in rig.git("worktree", "list")
        assert f"gt-demo-{name}" not in [pane["session"] for pane in rig.tmux.panes()]
        assert not [one for one in refs(rig, "refs/witness/retiring/") if f"/{name}/" in one]
        assert not (rig.path / ".git" / "worktrees" / name).exists()
    assert rig.git("fsck", "--no-dangling") == ""


def test_preview_changes_nothing(rig, station):
    rig.add_polecat("alpha", stand.SLEEP)
    assert w.find_retirement_blockers(station.tools, stand.begin(station, "alpha")) == ()
    (rig.polecats["alpha"].path / "x").write_text("x")
    (blocker,) = w.find_retirement_blockers(station.tools, stand.begin(station, "alpha"))
    assert blocker.kind == "untracked"
    assert refs(rig) == []
    wait_for(lambda: len(rig.tmux.panes()) == 1)
