"""One commit that reaches all that only this worktree could reach."""

from __future__ import annotations

import json
import os

import pytest
from tools import stand

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


def keep(rig, station, name="alpha", **changes):
    """Preserve a worker as it is and return (retirement, rescue commit)."""
    retirement = stand.begin(station, name, **changes)
    retirement = retirement.but(tip=rig.git("rev-parse", f"polecat/{name}"))
    return retirement, w.preserve(station.tools, retirement, stand.tree_of(station, name))


def prune(rig):
    rig.git("reflog", "expire", "--expire=now", "--all")
    rig.git("gc", "--quiet", "--prune=now")


def test_commits_dropped_by_a_reset_stay_reachable(rig, station):
    worker = rig.add_polecat("alpha")
    dropped = [rig.commit(f"c{number}", {f"f{number}": "x"}, cwd=worker.path) for number in range(3)]
    rig.git("reset", "--quiet", "--hard", "main", cwd=worker.path)
    _, commit = keep(rig, station)
    prune(rig)
    assert set(dropped) <= set(rig.git("rev-list", commit).split())
    # One parent for the whole line of dropped commits, not one for each.
    assert len(rig.git("rev-list", "--parents", "-n1", commit).split()) == 3


def test_stash_and_paused_rebase_stay_reachable(rig, station):
    worker = rig.add_polecat("alpha")
    (worker.path / "README").write_text("stashed\n")
    rig.git("stash", "push", "--quiet", cwd=worker.path)
    stash = rig.git("rev-parse", "stash")
    rig.commit("theirs", {"README": "theirs\n"})
    ours = rig.commit("ours", {"README": "ours\n"}, cwd=worker.path)
    rig.git("rebase", "main", cwd=worker.path, check=False)
    _, commit = keep(rig, station)
    rig.git("stash", "clear")
    rig.git("update-ref", "-d", "refs/heads/polecat/alpha")
    kept = rig.git("rev-list", commit).split()
    assert {stash, ours} <= set(kept)
    assert "admin/rebase-merge/head-name" in rig.git("ls-tree", "-r", "--name-only", commit).splitlines()


def test_tree_holds_what_differs_byte_by_byte(rig, station):
    worker = rig.add_polecat("alpha")
    odd = worker.path / "new\nline \udcff.bin".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    odd.write_bytes(bytes(range(256)))
    (worker.path / "README").unlink()
    retirement, commit = keep(rig, station)
    names = rig.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    assert sum(name.startswith("files/") for name in names) == 1
    meta = json.loads(rig.git("show", f"{commit}:meta.json"))
    assert meta["deleted"] == ["README"]
    assert meta["retirement"]["id"] == retirement.id
    assert meta["branch"] == "polecat/alpha"


def test_filtered_file_is_kept_as_it_lies_on_disk(rig, station):
    rig.git("config", "filter.up.clean", "tr a-z A-Z")
    rig.git("config", "filter.up.smudge", "cat")
    rig.commit("filter", {".gitattributes": "*.up filter=up\n", "x.up": "loud\n"})
    worker = rig.add_polecat("alpha")
    (worker.path / "x.up").write_text("Loud\n")  # the filter makes both the same
    _, commit = keep(rig, station)
    assert rig.git("show", f"{commit}:files/x.up") == "Loud"


def test_staged_and_unmerged_blobs_are_kept(rig, station):
    worker = rig.add_polecat("alpha")
    rig.commit("theirs", {"README": "theirs\n"})
    rig.commit("ours", {"README": "ours\n"}, cwd=worker.path)
    rig.git("merge", "main", cwd=worker.path, check=False)
    (worker.path / "s").write_text("staged\n")
    rig.git("add", "s", cwd=worker.path)
    (worker.path / "s").write_text("edited after\n")
    _, commit = keep(rig, station)
    assert rig.git("show", f"{commit}:index/2/README") == "ours"
    assert rig.git("show", f"{commit}:index/3/README") == "theirs"
    assert rig.git("show", f"{commit}:index/0/s") == "staged"
    assert rig.git("show", f"{commit}:files/s") == "edited after"


def test_second_rescue_stands_on_the_first(rig, station):
    worker = rig.add_polecat("alpha")
    retirement, first = keep(rig, station)
    late = rig.commit("late", {"late": "x"}, cwd=worker.path)
    second = w.preserve(station.tools, retirement, stand.tree_of(station, "alpha"), committed=True)
    assert {first, late} <= set(rig.git("rev-list", second).split())
    assert rig.git("rev-parse", w.RETIRING_REFS + retirement.id) == second
    assert w.read_meta(station.tools.git, second)["committed"] is True


def test_ignored_file_that_changed_meanwhile_and_unsaved_text_are_kept(rig, station):
    rig.commit("ignore", {".gitignore": "*.log\n.*.swp\n"})
    worker = rig.add_polecat("alpha")
    (worker.path / "old.log").write_text("old\n")
    os.utime(worker.path / "old.log", (5, 5))
    retirement = stand.begin(station, "alpha")
    (worker.path / "late.log").write_text("late\n")
    (worker.path / ".x.swp").write_text("unsaved\n")
    os.utime(worker.path / ".x.swp", (5, 5))
    os.utime(worker.path / "late.log", (retirement.at + 5, retirement.at + 5))
    retirement = retirement.but(tip=rig.git("rev-parse", "main"))
    commit = w.preserve(station.tools, retirement, stand.tree_of(station, "alpha"))
    names = rig.git("ls-tree", "-r", "--name-only", commit, "files/").splitlines()
    assert names == ["files/.x.swp", "files/late.log"]


def test_submodules_commits_are_fetched(rig, station, repo):
    library = repo("library")
    worker = rig.add_polecat("alpha")
    rig.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library.path, "lib", cwd=worker.path)
    rig.git("commit", "--quiet", "--message", "submodule", cwd=worker.path)
    dropped = rig.commit("dropped in lib", {"x": "x"}, cwd=worker.path / "lib")
    rig.git("reset", "--quiet", "--hard", "HEAD~1", cwd=worker.path / "lib")
    retirement, _ = keep(rig, station)
    place = f"{w.RETIRING_REFS}{retirement.id}-sub/lib/"
    assert dropped in rig.git("rev-list", f"--glob={place}*").split()
    outcome = w.retire_worktree(station.tools, retirement, lambda _: None)
    assert outcome.data["result"] == "retired", outcome
    assert dropped in rig.git("rev-list", f"--glob={w.RETIRED_REFS}{retirement.id}-sub/*").split()


def test_failed_write_is_a_tool_error_and_leaves_no_ref(rig, station, monkeypatch):
    rig.add_polecat("alpha")
    real = station.tools.git.change

    def fail(tree, *words, **options):
        if "commit-tree" in words:
            raise w.ToolError("git commit-tree: exit 128: disk full")
        return real(tree, *words, **options)

    monkeypatch.setattr(station.tools.git, "change", fail)
    with pytest.raises(w.ToolError, match="disk full"):
        keep(rig, station)
    assert rig.git("for-each-ref", "refs/witness/") == ""


@pytest.mark.parametrize("ignored", [True, False], ids=["ignored", "untracked"])
def test_secret_never_becomes_a_git_object(rig, station, ignored):
    if ignored:
        rig.commit("ignore", {".gitignore": ".env\n"})
    worker = rig.add_polecat("alpha")
    (worker.path / ".env").write_text("PASSWORD=correct-horse\n")
    (worker.path / "plain.txt").write_text("ordinary\n")
    outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha", force=True), lambda _: None)
    assert outcome.data["result"] == "retired", outcome
    objects = rig.git("cat-file", "--batch-all-objects", "--batch", "--unordered")
    assert "ordinary" in objects
    assert "correct-horse" not in objects
    (kept,) = (rig.state / "rescued").glob("alpha/*/.env")
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("PASSWORD=correct-horse\n", 0o600)
    w.recover_worktree(station.tools, "alpha")
    assert (worker.path / ".env").read_text() == "PASSWORD=correct-horse\n"


def test_rescue_of_which_an_object_vanished_is_no_rescue(rig, station, monkeypatch):
    """A gc --prune=now beside us has removed objects under a new ref."""
    worker = rig.add_polecat("alpha")
    (worker.path / "new.txt").write_text("work that is nowhere else\n")
    name = rig.git("hash-object", worker.path / "new.txt")
    real = station.tools.git.change

    def change(tree, *words, **options):
        answer = real(tree, *words, **options)
        if "update-ref" in words:
            (rig.path / ".git" / "objects" / name[:2] / name[2:]).unlink()
        return answer

    monkeypatch.setattr(station.tools.git, "change", change)
    outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha", force=True), lambda _: None)
    assert (outcome.data["result"], "step preserve" in outcome.detail) == ("failed", True)
    assert (worker.path / "new.txt").exists()
