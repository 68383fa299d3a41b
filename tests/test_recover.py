"""What was retired, what was left unfinished, and the way back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tools import kit, stand

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


def retire(station, name="alpha", force=True):
    outcome = w.retire_worktree(station.tools, stand.begin(station, name, force=force), lambda _: None)
    assert outcome.data["result"] == "retired", outcome
    return outcome


def prune(rig):
    rig.git("reflog", "expire", "--expire=now", "--all")
    rig.git("gc", "--quiet", "--prune=now")


def snapshot(rig, path):
    files = {}
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            inside = os.path.relpath(full, path)
            if inside != ".git":
                link = os.path.islink(full)
                content = os.readlink(full) if link else Path(full).read_bytes()
                files[inside] = (content, os.lstat(full).st_mode & 0o777, link)
    status = rig.git("status", "--porcelain=v2", "--branch", cwd=path)
    index = rig.git("ls-files", "--stage", "-v", cwd=path)
    return files, status, index


@pytest.mark.parametrize("state", ["dirty", "flags", "unmerged", "rebase", "detached"])
def test_worktree_comes_back_as_it_was(rig, station, state):
    (rig.path / ".gitignore").write_text("*.log\n.env\n")
    rig.commit("base", {"a": "a\n", "b": "b\n", "c": "c\n"})
    worker = rig.add_polecat("alpha")
    rig.commit("work", {"w": "w\n"}, cwd=worker.path)
    (worker.path / "a").write_text("edited\n")
    (worker.path / "b").unlink()
    (worker.path / "x.sh").write_text("#!/bin/sh\n")
    (worker.path / "x.sh").chmod(0o755)
    (worker.path / "d").mkdir()
    os.symlink("../a", worker.path / "d" / "link")
    (worker.path / "out.log").write_text("ignored\n")
    (worker.path / ".env").write_text("KEY=1\n")
    (worker.path / ".env").chmod(0o600)
    if state == "dirty":
        (worker.path / "s").write_text("staged\n")
        rig.git("add", "s", cwd=worker.path)
        (worker.path / "i").write_text("intended\n")
        rig.git("add", "--intent-to-add", "i", cwd=worker.path)
    elif state == "flags":
        (worker.path / "c").write_text("hidden\n")
        rig.git("update-index", "--assume-unchanged", "c", cwd=worker.path)
    elif state == "detached":
        rig.git("checkout", "--quiet", "--detach", cwd=worker.path)
    else:
        rig.git("checkout", "--quiet", "--", ".", cwd=worker.path)
        rig.commit("ours", {"c": "ours\n"}, cwd=worker.path)
        rig.commit("theirs", {"c": "theirs\n"})
        rig.git("rebase" if state == "rebase" else "merge", "main", cwd=worker.path, check=False)
    before = snapshot(rig, worker.path)
    if state in ("unmerged", "rebase"):
        # A paused operation is refused, --force or not; the rescue holds it all the same.
        retirement = stand.begin(station, "alpha", force=True).but(tip=rig.git("rev-parse", "polecat/alpha"))
        steps = dict(w.STEPS)
        retirement = retirement.but(commit=w.preserve(station.tools, retirement, stand.tree_of(station, "alpha")))
        w.move_aside(station.tools, retirement, stand.tree_of(station, "alpha"))
        for step in ("decide", "remove", "branch", "close"):
            retirement = steps[step](station.tools, retirement.but(step=step))
    else:
        retire(station)
    assert not worker.path.exists()
    prune(rig)
    answer = w.recover_worktree(station.tools, "alpha")
    assert answer["path"] == str(worker.path)
    after = snapshot(rig, worker.path)
    assert after[1] == before[1]
    assert after[2] == before[2]
    assert after[0] == before[0]
    assert rig.git("fsck", "--no-dangling") == ""


def test_ignored_files_come_back_while_the_folder_is_kept(rig, station):
    rig.commit("ignore", {".gitignore": "*.log\n"})
    worker = rig.add_polecat("alpha")
    (worker.path / "out.log").write_text("ignored\n")
    retire(station)
    w.recover_worktree(station.tools, "alpha")
    assert (worker.path / "out.log").read_text() == "ignored\n"


def test_deleted_branch_is_made_again(rig, station):
    worker = rig.add_polecat("alpha")
    commit = rig.commit("work", {"x": "x"}, cwd=worker.path)
    rig.git("merge", "--quiet", "polecat/alpha")
    retire(station)
    assert rig.git("branch", "--list", "polecat/alpha") == ""
    assert w.recover_worktree(station.tools, "alpha")["branch"] == "polecat/alpha"
    assert rig.git("rev-parse", "polecat/alpha") == commit


@pytest.mark.parametrize("what", ["worktree", "branch", "session"])
def test_nothing_is_overwritten(rig, station, what):
    worker = rig.add_polecat("alpha")
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    retire(station)
    if what == "worktree":
        worker.path.mkdir()
    elif what == "branch":
        rig.git("branch", "-f", "polecat/alpha", "main")
    else:
        rig.tmux.new_session("gt-demo-alpha", "/", stand.SLEEP)
    with pytest.raises(w.WitnessError):
        w.recover_worktree(station.tools, "alpha")


def test_one_of_several_is_chosen_by_time(rig, station):
    for content in ("first", "second"):
        worker = rig.add_polecat("alpha")
        (worker.path / "f").write_text(content)
        retire(station)
        rig.git("branch", "-D", "polecat/alpha", check=False)
        kit.wait_for(lambda: int(w.time.time()) > int(os.stat(rig.state / "retiring").st_mtime), 3)
    rows = w.list_retired(station.tools)
    assert [row["name"] for row in rows] == ["alpha", "alpha"]
    at = rows[1]["ref"].rpartition("/")[2]
    w.recover_worktree(station.tools, "alpha", at)
    assert (rig.path / "polecats" / "alpha" / "f").read_text() == "first"


def test_unknown_name_says_so(rig, station):
    with pytest.raises(w.WitnessError, match="nobody called ghost was retired"):
        w.recover_worktree(station.tools, "ghost")


def test_foreign_ref_in_our_place_is_listed_and_not_believed(rig, station):
    rig.git("update-ref", "refs/witness/retired/odd/x", "HEAD")
    (row,) = w.list_retired(station.tools)
    assert (row["name"], row["issue"]) == ("odd", None)
    with pytest.raises(w.ToolError, match=r"meta\.json"):
        w.recover_worktree(station.tools, "odd")
