"""Moved aside, its entry dropped, its branch deleted or kept; resumed wherever it was killed."""

from __future__ import annotations

import pytest
from tools import stand

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


@pytest.fixture
def begun(rig, station):
    worker = rig.add_polecat("alpha")
    commit = rig.commit("work", {"x": "x"}, cwd=worker.path)
    return stand.begin(station, "alpha").but(tip=commit)


def test_worktree_is_moved_aside_and_back(rig, station, begun):
    tree = stand.tree_of(station, "alpha")
    moved = w.move_aside(station.tools, begun, tree)
    assert moved.path.startswith(str(rig.state / "retiring" / "alpha."))
    assert w.find_moved(station.tools, begun) == moved.path
    assert rig.git("status", "--porcelain", cwd=moved.path) == ""
    w.move_back(station.tools, begun, moved)
    assert stand.tree_of(station, "alpha").branch == "polecat/alpha"


def test_a_kill_inside_gits_own_move_is_gone_on_from(rig, station, begun):
    """git renames first and writes the new place down after."""
    tree = stand.tree_of(station, "alpha")
    aside = w.move_aside(station.tools, begun, tree).path
    (rig.path / ".git" / "worktrees" / "alpha" / "gitdir").write_text(f"{begun.path}/.git\n")
    assert w.find_moved(station.tools, begun) == aside
    w.drop_entry(station.tools, begun)
    assert not (rig.path / ".git" / "worktrees" / "alpha").exists()
    assert w.find_moved(station.tools, begun) == aside + ".kept"


def test_neighbour_whose_folder_is_elsewhere_keeps_its_entry(rig, station, begun):
    """`git worktree prune` once dropped a neighbour's."""
    beta = rig.add_polecat("beta")
    beta.path.rename(rig.path / "elsewhere")
    w.move_aside(station.tools, begun, stand.tree_of(station, "alpha"))
    w.drop_entry(station.tools, begun)
    assert (rig.path / ".git" / "worktrees" / "beta").exists()
    w.drop_entry(station.tools, begun)  # done already is done


def test_folder_that_came_back_is_never_removed(rig, station, begun):
    aside = w.move_aside(station.tools, begun, stand.tree_of(station, "alpha")).path
    w.drop_entry(station.tools, begun.but(admin="/nowhere"))  # only the rename
    rig.git("init", "--quiet", aside)
    with pytest.raises(w.ToolError, match="is there again"):
        w.drop_entry(station.tools, begun.but(id="alpha/other"))
    assert (rig.path / ".git" / "worktrees" / "alpha").exists()


def test_branch_that_moved_between_look_and_deletion_is_kept(rig, station, begun, monkeypatch):
    rig.git("checkout", "--quiet", "--detach", cwd=rig.polecats["alpha"].path)
    rig.git("merge", "--quiet", "polecat/alpha")
    facts = w.gather_branch_facts(station.tools, begun)
    assert w.decide_fate(facts)[0] == "deleted"
    moved = rig.commit("more", {"y": "y"}, cwd=rig.polecats["alpha"].path)
    rig.git("update-ref", "refs/heads/polecat/alpha", moved)
    monkeypatch.setattr(w, "gather_branch_facts", lambda *_: facts)
    result, why = w.settle_branch(station.tools, begun)
    assert (result, rig.git("rev-parse", "polecat/alpha")) == ("kept", moved)
    assert "could not delete" in why


def test_unreachable_remote_keeps_the_branch(rig, station, begun):
    rig.git("checkout", "--quiet", "--detach", cwd=rig.polecats["alpha"].path)
    rig.git("remote", "add", "origin", "/no/such/place")
    assert w.settle_branch(station.tools, begun)[0] == "kept"


def test_branch_is_pushed_where_that_is_wanted(rig, begun, tmp):
    rig.git("init", "--quiet", "--bare", tmp / "origin.git")
    station = stand.make_station(rig, push_on_retire=True)
    assert w.push_branch(station.tools, begun) == "there is no remote"
    rig.git("remote", "add", "origin", tmp / "origin.git")
    assert w.push_branch(station.tools, begun) == ""
    assert rig.git("rev-parse", "polecat/alpha", cwd=tmp / "origin.git") == begun.tip
    rig.git("remote", "set-url", "origin", "/no/such/place")
    assert "git push" in w.push_branch(station.tools, begun)
    assert w.push_branch(stand.make_station(rig).tools, begun) == ""


def test_branch_that_is_checked_out_while_it_is_deleted_comes_back(rig, station, begun, monkeypatch):
    """Between the look and the deletion another worktree can take it; its HEAD would name nothing."""
    rig.git("merge", "--quiet", "polecat/alpha")
    w.move_aside(station.tools, begun, stand.tree_of(station, "alpha"))
    w.drop_entry(station.tools, begun)
    other = rig.path.parent / "other"
    rig.git("worktree", "add", "--quiet", "--detach", other)
    real = station.tools.git.change

    def change(tree, *words, **options):
        answer = real(tree, *words, **options)
        if "-d" in words:
            rig.git("symbolic-ref", "HEAD", "refs/heads/polecat/alpha", cwd=other)
        return answer

    monkeypatch.setattr(station.tools.git, "change", change)
    result, why = w.settle_branch(station.tools, begun)
    assert (result, why) == ("kept", f"{other} has just checked it out")
    assert rig.git("rev-parse", "polecat/alpha") == begun.tip
