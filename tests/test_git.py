"""git, called in one place: pinned, undeceived, and asked about what is merged."""

from __future__ import annotations

import os

import pytest
from tools import stand

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


def write(path, name, text):
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).write_text(text)


# ---- worktrees, from files alone ------------------------------------------------------------------------------------


def test_worktree_is_read_in_both_layouts(rig, station):
    rig.add_polecat("alpha")
    (rig.path / "polecats" / "beta").mkdir()
    rig.git("worktree", "add", "--quiet", "--detach", "polecats/beta/demo")
    alpha, beta = stand.tree_of(station, "alpha"), stand.tree_of(station, "beta")
    assert (alpha.path, alpha.branch) == (str(rig.path / "polecats" / "alpha"), "polecat/alpha")
    assert (beta.path, beta.branch) == (str(rig.path / "polecats" / "beta" / "demo"), "")
    assert beta.admin == str(rig.path / ".git" / "worktrees" / "demo")
    assert w.read_worktree(station.rig, "gamma") is None


def test_commit_moves_the_admin_folder_and_not_the_git_file(rig, station):
    worker = rig.add_polecat("alpha")
    for name in ("index", "HEAD", "logs/HEAD"):
        os.utime(rig.path / ".git" / "worktrees" / "alpha" / name, (5, 5))
    assert stand.tree_of(station, "alpha").git_at == 5
    rig.commit("x", {"x": "x"}, cwd=worker.path)
    assert stand.tree_of(station, "alpha").git_at > 1_000_000


def test_worktree_that_names_another_is_none(rig, station):
    alpha, beta = rig.add_polecat("alpha"), rig.add_polecat("beta")
    (alpha.path / ".git").write_text((beta.path / ".git").read_text())
    assert "does not know it under this path" in w.read_worktree(station.rig, "alpha")


def test_own_record_is_read_tolerantly(rig, station):
    worker = rig.add_polecat("alpha")
    write(worker.path, ".gastown/state.json", "[1]")
    write(worker.path, ".runtime/state.json", '{"issue": "de-1"}')
    tree = stand.tree_of(station, "alpha")
    assert tree.record == {"issue": "de-1"}
    assert tree.record_at > 0


def test_unreadable_head_is_trouble(rig, station):
    rig.add_polecat("alpha")
    (rig.path / ".git" / "worktrees" / "alpha" / "HEAD").write_text("garbage")
    assert stand.tree_of(station, "alpha").trouble == "its HEAD cannot be read"


# ---- calls ----------------------------------------------------------------------------------------------------------


def test_edit_is_seen_through_every_setting_that_hides_one(rig, station):
    worker = rig.add_polecat("alpha")
    for key, value in (
        ("status.showUntrackedFiles", "no"),
        ("core.fileMode", "false"),
        ("core.checkStat", "minimal"),
        ("core.fsmonitor", "/bin/true"),
        ("core.untrackedCache", "true"),
        ("core.hooksPath", "/bin"),
    ):
        rig.git("config", key, value)
    write(worker.path, "new", "x")
    (worker.path / "README").chmod(0o755)
    paths, newest = w.changed_files(station.tools.git, stand.tree_of(station, "alpha"))
    assert sorted(paths) == ["README", "new"]
    assert newest > 1_000_000


def test_git_that_fails_is_a_tool_error(rig, station):
    rig.add_polecat("alpha")
    tree = stand.tree_of(station, "alpha")
    (rig.path / ".git" / "worktrees" / "alpha" / "index").write_text("garbage")
    with pytest.raises(w.ToolError, match="git status: exit 128"):
        w.changed_files(station.tools.git, tree)


def test_default_branch_is_configured_or_the_remotes_or_ours(rig, station, repo):
    git, config = station.tools.git, station.config

    def configured(name):
        return w.make_config({"default_branch": name}, "t", {})

    assert w.default_branch(git, config) == "refs/heads/main"
    assert w.default_branch(git, configured("nope")) == ""
    upstream = repo("upstream")
    upstream.git("branch", "-m", "main", "trunk")
    rig.git("remote", "add", "origin", upstream.path)
    assert w.default_branch(git, config) == ""  # a remote, and nobody has asked for its HEAD
    commit, reason = w.fetch_start_point(git, config)
    assert (commit, reason) == (upstream.git("rev-parse", "trunk"), "")
    assert w.default_branch(git, config) == "refs/remotes/origin/trunk"
    assert w.default_branch(git, configured("main")) == "refs/heads/main"


def test_remote_that_cannot_be_fetched_is_a_reason(rig, station):
    rig.git("remote", "add", "origin", "/no/such/place")
    commit, reason = w.fetch_start_point(station.tools.git, station.config)
    assert commit == ""
    assert "git fetch" in reason


# ---- content on the default branch: the histories of retirement.md 7 -------------------------------------------------


def on_main(rig, station, base="HEAD"):
    return w.is_on_default(station.tools.git, rig.git("rev-parse", "polecat/alpha"), "refs/heads/main")


@pytest.fixture
def work(rig):
    """Make alpha with two commits on its branch; main has moved on meanwhile."""
    write(rig.path, "base.txt", "".join(f"line {number}\n" for number in range(20)))
    rig.commit("base", {})
    worker = rig.add_polecat("alpha")
    rig.commit("one", {"one.txt": "1\n"}, cwd=worker.path)
    rig.commit("two", {"two.txt": "2\n"}, cwd=worker.path)
    return worker


def squash(rig, message="squashed"):
    rig.git("merge", "--quiet", "--squash", "polecat/alpha")
    rig.commit(message, {})


def test_not_merged(rig, station, work):
    assert on_main(rig, station) == ""


def test_fast_forward(rig, station, work):
    rig.git("merge", "--quiet", "--ff-only", "polecat/alpha")
    assert on_main(rig, station) == "merged"


def test_merge_commit_and_main_moved_on(rig, station, work):
    rig.git("merge", "--quiet", "--no-ff", "--no-edit", "polecat/alpha")
    rig.commit("later", {"one.txt": "changed later\n"})
    assert on_main(rig, station) == "merged"


def test_squash_of_several_and_main_moved_on(rig, station, work):
    """`git cherry` says unmerged here although every line is on main."""
    rig.commit("other", {"other.txt": "x\n"})
    squash(rig)
    rig.commit("later", {"later.txt": "x\n"})
    assert on_main(rig, station)


def test_squash_then_changed_on_main(rig, station, work):
    squash(rig)
    rig.commit("later", {"one.txt": "changed later\n"})
    assert on_main(rig, station) == "squashed"


def test_rebase(rig, station, work):
    rig.commit("other", {"other.txt": "x\n"})
    tips = rig.git("rev-list", "--reverse", "main..polecat/alpha").split()
    rig.git("cherry-pick", *tips)
    rig.commit("later", {"one.txt": "changed later\n", "two.txt": "too\n"})
    assert on_main(rig, station)


def test_reverted_merge_is_kept(rig, station, work):
    squash(rig)
    rig.git("revert", "--no-edit", "HEAD")
    assert on_main(rig, station) == ""


def test_conflict_resolved_squash_is_kept(rig, station, work):
    rig.commit("same place", {"one.txt": "other\n"}, cwd=rig.path)
    rig.git("merge", "--quiet", "--squash", "polecat/alpha", check=False)
    rig.commit("resolved", {"one.txt": "both\n"})
    assert on_main(rig, station) == ""


def test_half_merged_is_kept(rig, station, work):
    rig.git("cherry-pick", rig.git("rev-list", "--reverse", "main..polecat/alpha").split()[0])
    assert on_main(rig, station) == ""


@pytest.mark.parametrize("kind", ["binary", "mode", "rename", "empty"])
def test_other_kinds_of_change_are_found_when_squashed(rig, station, kind):
    write(rig.path, "base.txt", "x\n" * 30)
    rig.commit("base", {})
    worker = rig.add_polecat("alpha")
    if kind == "binary":
        (worker.path / "b.bin").write_bytes(bytes(range(256)) * 4)
    elif kind == "mode":
        (worker.path / "base.txt").chmod(0o755)
    elif kind == "rename":
        rig.git("mv", "base.txt", "moved.txt", cwd=worker.path)
    rig.commit("change", {}, cwd=worker.path)
    assert on_main(rig, station) == ("merging it would change nothing" if kind == "empty" else "")
    if kind != "empty":
        squash(rig)
        assert on_main(rig, station)


def test_no_common_history_is_kept(rig, station):
    worker = rig.add_polecat("alpha")
    rig.git("checkout", "--quiet", "--orphan", "elsewhere", cwd=worker.path)
    rig.commit("root", {"r": "r"}, cwd=worker.path)
    rig.git("branch", "-f", "polecat/alpha", "elsewhere")
    assert on_main(rig, station) == ""


def test_lying_merge_driver_proves_nothing(rig, station, work):
    rig.commit("same", {"one.txt": "other\n", ".gitattributes": "*.txt merge=lie\n"})
    rig.git("config", "merge.lie.driver", "true")  # keeps ours, and says it merged
    assert on_main(rig, station) == ""
