"""Every history of a branch that was seen at the end of a worker's life, and what becomes of the branch."""

from __future__ import annotations

from typing import Callable, NamedTuple

WORK = "work that exists nowhere else"


class Fate(NamedTuple):
    """make: (rig, worker, origin), on a worker with one commit that holds WORK; origin has main."""

    make: Callable
    result: str  # deleted or kept
    reason: str = ""
    recovered: bool = True  # the branch comes back where it was


FATES: dict[str, Fate] = {}


def fate(result: str, reason: str = "", **about):
    """Put a maker into the table, under its own name."""

    def put(make):
        FATES[make.__name__.replace("_", " ")] = Fate(make, result, reason, **about)
        return make

    return put


def squash(rig, worker):
    """Bring the work to the default branch as one new commit, as a hosting site's button does."""
    rig.git("merge", "--quiet", "--squash", worker.branch)
    rig.commit("squashed", {})


@fate("kept", "not on the default branch or a remote")
def neither_pushed_nor_merged(rig, worker, origin):
    """Nothing happened to it."""


@fate("deleted", "merged")
def merged(rig, worker, origin):
    rig.git("merge", "--quiet", "--no-ff", "--no-edit", worker.branch)
    rig.git("push", "--quiet", "origin", "main")


@fate("kept", "not on the default branch or a remote")
def merged_and_then_worked_on_again(rig, worker, origin):
    merged(rig, worker, origin)
    rig.commit("again", {"again": "again\n"}, cwd=worker.path)


@fate("deleted", "squashed")
def squashed_and_main_moved_on(rig, worker, origin):
    squash(rig, worker)
    rig.commit("later", {"w": "changed later\n"})
    rig.git("push", "--quiet", "origin", "main")


@fate("kept", "not on the default branch or a remote")
def merged_and_reverted(rig, worker, origin):
    squash(rig, worker)
    rig.git("revert", "--no-edit", "HEAD")
    rig.git("push", "--quiet", "origin", "main")


@fate("deleted", "on origin as polecat/alpha")
def pushed_and_not_merged(rig, worker, origin):
    rig.git("push", "--quiet", "--set-upstream", "origin", worker.branch)


@fate("kept", "not on the default branch or a remote")
def pushed_and_then_worked_on_again(rig, worker, origin):
    pushed_and_not_merged(rig, worker, origin)
    rig.commit("again", {"again": "again\n"}, cwd=worker.path)


@fate("kept", "not on the default branch or a remote")
def pushed_and_deleted_there(rig, worker, origin):
    pushed_and_not_merged(rig, worker, origin)
    rig.git("update-ref", "-d", f"refs/heads/{worker.branch}", cwd=origin)


@fate("deleted", "on fork as polecat/alpha")
def pushed_to_the_second_of_several_remotes(rig, worker, origin):
    rig.git("clone", "--quiet", "--bare", origin, origin.parent / "fork.git")
    rig.git("remote", "add", "fork", origin.parent / "fork.git")
    rig.git("push", "--quiet", "fork", worker.branch)


@fate("kept", "")
def one_of_several_remotes_is_out_of_reach(rig, worker, origin):
    rig.git("remote", "add", "fork", origin.parent / "nowhere.git")


@fate("kept", "not on the default branch or a remote")
def no_remote(rig, worker, origin):
    rig.git("remote", "remove", "origin")


@fate("deleted", "merged")
def no_remote_and_merged(rig, worker, origin):
    rig.git("remote", "remove", "origin")
    rig.git("merge", "--quiet", "--ff-only", worker.branch)


@fate("kept", "", recovered=False)
def checked_out_elsewhere(rig, worker, origin):
    pushed_and_not_merged(rig, worker, origin)
    rig.git("worktree", "add", "--quiet", "--force", rig.path.parent / "elsewhere", worker.branch)


@fate("kept", "", recovered=False)
def a_symref_to_another(rig, worker, origin):
    merged(rig, worker, origin)
    rig.git("branch", "target", worker.branch)
    rig.git("symbolic-ref", f"refs/heads/{worker.branch}", "refs/heads/target")


@fate("kept", "", recovered=False)
def main_is_checked_out_by_the_worker(rig, worker, origin):
    merged(rig, worker, origin)
    rig.git("checkout", "--quiet", "--detach")
    rig.git("checkout", "--quiet", "main", cwd=worker.path)


@fate("kept", "", recovered=False)
def a_branch_of_a_persons_name(rig, worker, origin):
    pushed_and_not_merged(rig, worker, origin)
    rig.git("checkout", "--quiet", "-b", "mine", cwd=worker.path)


@fate("deleted", "on origin")
def another_branch_of_the_workers_name(rig, worker, origin):
    rig.git("checkout", "--quiet", "-b", "polecat/alpha-2", cwd=worker.path)
    rig.git("push", "--quiet", "origin", "polecat/alpha-2")


@fate("kept", "not on the default branch or a remote")
def the_name_used_again_at_the_commit_of_main(rig, worker, origin):
    rig.git("push", "--quiet", "origin", f"main:refs/heads/{worker.branch}")
