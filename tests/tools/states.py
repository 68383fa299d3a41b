"""Every state a worktree was found in: what makes it, what must be said of it, and what must survive it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Callable, NamedTuple

from tools.kit import PYTHON, wait_for

WORK = "work that exists nowhere else"
IGNORED = "build/\n*.log\n.env*\n.claude/\n"
SLEEP = [PYTHON, "-c", "import time; time.sleep(600)"]


class State(NamedTuple):
    """One state. kind: the blocker of step 1, "" for a harmless twin."""

    make: Callable  # (rig, worker) -> processes that are to be ended by whoever made it
    kind: str
    evidence: str = ""  # words of the refusal
    lost: bool = True  # a removal without looking loses WORK
    works: bool = True  # WORK is in it somewhere
    denied: bool = False  # git as it is set up here does not see it
    cleared: str = ""  # what clears it; "": the remedy as it is printed


STATES: dict[str, State] = {}


def state(kind: str, name: str = "", **about):
    """Put a maker into the table, under its own name."""

    def put(make):
        STATES[name or make.__name__.replace("_", " ")] = State(make, kind, **about)
        return make

    return put


def write(path: Path, text: str = WORK + "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ---- what status lists ----------------------------------------------------------------------------------------------


@state("modified", evidence="a.txt")
def an_edit(rig, worker):
    write(worker.path / "a.txt")


@state("modified", evidence="b.txt", lost=False, works=False)
def a_deletion(rig, worker):
    (worker.path / "b.txt").unlink()


@state("modified", evidence="staged.txt", cleared="git rm --quiet --cached staged.txt")
def a_staged_file_that_is_gone_again(rig, worker):
    write(worker.path / "staged.txt")
    rig.git("add", "staged.txt", cwd=worker.path)
    (worker.path / "staged.txt").unlink()


@state("modified", evidence="intended.txt")
def an_intent_to_add(rig, worker):
    write(worker.path / "intended.txt")
    rig.git("add", "--intent-to-add", "intended.txt", cwd=worker.path)


@state("modified", evidence="a.txt", lost=False, works=False)
def a_mode(rig, worker):
    (worker.path / "a.txt").chmod(0o755)


@state("modified", evidence="a.txt", lost=False, works=False)
def a_mode_that_git_was_told_to_ignore(rig, worker):
    rig.git("config", "core.fileMode", "false")
    (worker.path / "a.txt").chmod(0o755)


@state("modified", evidence="link")
def a_link_that_leads_elsewhere(rig, worker):
    os.symlink("a.txt", worker.path / "link")
    rig.git("add", "link", cwd=worker.path)
    rig.git("commit", "--quiet", "--message", "link", cwd=worker.path)
    (worker.path / "link").unlink()
    os.symlink(WORK, worker.path / "link")


@state("modified", evidence="b.txt")
def a_file_that_became_a_folder(rig, worker):
    (worker.path / "b.txt").unlink()
    write(worker.path / "b.txt" / "inner")


@state("modified", evidence="A.TXT")
def a_name_of_other_case(rig, worker):
    rig.git("mv", "a.txt", "A.TXT", cwd=worker.path)
    write(worker.path / "A.TXT")


@state("modified", evidence="a.txt", denied=True, cleared="touch a.txt; git commit --quiet --all --message edit")
def an_edit_of_the_same_size_and_time(rig, worker):
    rig.git("config", "core.checkStat", "minimal")
    rig.git("config", "core.trustctime", "false")
    rig.commit("same size", {"a.txt": "x" * len(WORK)}, cwd=worker.path)
    old = 1_600_000_000
    os.utime(worker.path / "a.txt", (old, old))
    rig.git("update-index", "--refresh", cwd=worker.path, check=False)
    time.sleep(1.1)  # the time of a change of the inode, which nobody can set back, is compared by the second
    (worker.path / "a.txt").write_text(WORK)
    os.utime(worker.path / "a.txt", (old, old))


@state("modified", evidence="a.txt", cleared="git -c core.fsmonitor=false commit --quiet --all --message edit")
def an_edit_that_a_monitor_of_files_denies(rig, worker):
    hook = write(rig.path / ".git" / "liar", "#!/bin/sh\nprintf '1:1\\0'\n")
    hook.chmod(0o755)
    rig.git("config", "core.fsmonitor", str(hook))
    rig.git("update-index", "--fsmonitor", cwd=worker.path)
    rig.git("status", cwd=worker.path)
    write(worker.path / "a.txt")


@state("modified", evidence="a.txt")
def an_edit_beside_a_split_index(rig, worker):
    rig.git("update-index", "--split-index", cwd=worker.path)
    write(worker.path / "a.txt")


@state("modified", evidence="a.txt", lost=False, cleared="git replace -d HEAD; git commit --quiet --all --message edit")
def an_edit_that_a_replaced_commit_hides(rig, worker):
    write(worker.path / "a.txt")
    rig.git("add", "a.txt", cwd=worker.path)
    tree = rig.git("write-tree", cwd=worker.path)
    other = rig.git("commit-tree", "-m", "other", tree, cwd=worker.path)
    rig.git("replace", rig.git("rev-parse", "HEAD", cwd=worker.path), other)


@state("untracked", evidence="new")
def a_new_file(rig, worker):
    write(worker.path / "new")


@state("untracked", evidence="new")
def a_new_file_that_git_was_told_not_to_show(rig, worker):
    rig.git("config", "status.showUntrackedFiles", "no")
    write(worker.path / "sub" / "new")


@state("untracked", evidence="line")
def a_name_of_two_lines(rig, worker):
    write(worker.path / "two\nlines")


@state("untracked", evidence="caf")
def a_name_that_is_no_utf8(rig, worker):
    with open(os.fsencode(worker.path) + b"/caf\xe9", "w", encoding="ascii") as file:
        file.write(WORK)


@state("untracked", evidence="dangling")
def a_link_to_nowhere(rig, worker):
    os.symlink(WORK, worker.path / "dangling")


@state("untracked", evidence="CLAUDE.md.bak")
def a_file_beside_a_provisioned_one(rig, worker):
    write(worker.path / "CLAUDE.md.bak")


@state("untracked", evidence="quoted")
def a_new_file_beside_an_excludes_file(rig, worker):
    rig.git("config", "core.excludesFile", str(write(rig.path / ".git" / "mine", "*.swp\n")))
    write(worker.path / "quoted")


# ---- what status does not list --------------------------------------------------------------------------------------


@state("hidden", evidence="a.txt")
def an_edit_that_is_assumed_away(rig, worker):
    rig.git("update-index", "--assume-unchanged", "a.txt", cwd=worker.path)
    write(worker.path / "a.txt")


@state("hidden", evidence="a.txt")
def an_edit_behind_skip_worktree(rig, worker):
    rig.git("update-index", "--skip-worktree", "a.txt", cwd=worker.path)
    write(worker.path / "a.txt")


@state("precious", evidence=".env", cleared="rm .env")
def a_precious_file(rig, worker):
    write(worker.path / ".env")


@state("precious", evidence="deep/.env.local", cleared="rm build/deep/.env.local")
def a_precious_file_in_an_ignored_folder(rig, worker):
    write(worker.path / "build" / "deep" / ".env.local")


@state("precious", evidence=".env", cleared="rm .env")
def a_precious_file_that_the_users_own_excludes_hide(rig, worker):
    write(worker.path / ".gitignore", "")
    rig.git("commit", "--quiet", "--all", "--message", "nothing is ignored", cwd=worker.path)
    rig.git("config", "core.excludesFile", str(write(rig.path / ".git" / "mine", ".env*\n")))
    write(worker.path / ".env")


@state("nested", evidence="build/inner", cleared="rm -rf build/inner")
def a_repository_in_an_ignored_folder(rig, worker):
    inner = worker.path / "build" / "inner"
    inner.mkdir(parents=True)
    rig.git("init", "--quiet", cwd=inner)
    write(inner / "x")


@state("nested", evidence="inner", cleared="rm -rf inner")
def a_repository_beside_the_files(rig, worker):
    inner = worker.path / "inner"
    inner.mkdir()
    rig.git("init", "--quiet", cwd=inner)
    write(inner / "x")


@state("nested", evidence="store.git", lost=False, works=False)
def a_bare_repository_in_an_ignored_folder(rig, worker):
    (worker.path / "build").mkdir()
    rig.git("init", "--quiet", "--bare", "build/store.git", cwd=worker.path)


@state("nested", evidence=".claude/worktrees/x", cleared="git worktree remove --force .claude/worktrees/x")
def a_worktree_in_an_ignored_folder(rig, worker):
    inner = worker.path / ".claude" / "worktrees" / "x"
    rig.git("worktree", "add", "--quiet", "--detach", str(inner), cwd=worker.path)
    write(inner / "x")


# ---- stashes, operations, heads --------------------------------------------------------------------------------------


@state("stash", evidence="WIP on", lost=False)
def a_stash(rig, worker):
    write(worker.path / "a.txt")
    rig.git("stash", "push", "--quiet", cwd=worker.path)


@state("stash", evidence="WIP on", lost=False)
def a_stash_on_no_branch(rig, worker):
    rig.git("checkout", "--quiet", "--detach", cwd=worker.path)
    write(worker.path / "a.txt")
    rig.git("stash", "push", "--quiet", cwd=worker.path)
    rig.git("checkout", "--quiet", worker.branch, cwd=worker.path)


def make_conflict(rig, worker) -> None:
    rig.commit("ours", {"a.txt": WORK + "\n"}, cwd=worker.path)
    rig.commit("theirs", {"a.txt": "theirs\n"})


def put_operation(name: str, words: tuple, undone: str) -> None:
    def make(rig, worker):
        make_conflict(rig, worker)
        rig.git(*words, cwd=worker.path, check=False)

    about = {"evidence": name, "cleared": undone}
    STATES[f"a paused {name}"] = State(make, "paused", **about)


put_operation("rebase", ("rebase", "main"), "git rebase --abort")
put_operation("merge", ("merge", "main"), "git merge --abort")
put_operation("cherry-pick", ("cherry-pick", "main"), "git cherry-pick --abort")


@state("paused", evidence="revert", cleared="git revert --abort")
def a_paused_revert(rig, worker):
    first = rig.commit("one", {"a.txt": "one\n"}, cwd=worker.path)
    rig.commit("two", {"a.txt": WORK + "\n"}, cwd=worker.path)
    rig.git("revert", "--no-edit", first, cwd=worker.path, check=False)


@state("paused", evidence="am", cleared="git am --abort")
def a_paused_am(rig, worker):
    make_conflict(rig, worker)
    patch = write(rig.path / ".git" / "a.patch", rig.git("format-patch", "--stdout", "-1", "main") + "\n")
    rig.git("am", "--quiet", str(patch), cwd=worker.path, check=False)


@state("paused", evidence="bisect", lost=False, works=False, cleared="git bisect reset")
def a_bisect(rig, worker):
    rig.commit("one", {"one": "1\n"}, cwd=worker.path)
    rig.git("bisect", "start", "HEAD", "HEAD~1", cwd=worker.path)


@state("detached", evidence="commits on no branch")
def commits_on_no_branch(rig, worker):
    rig.git("checkout", "--quiet", "--detach", cwd=worker.path)
    rig.commit("loose", {"loose": WORK + "\n"}, cwd=worker.path)


@state("unborn", evidence="fresh", cleared="git add -A && git commit --quiet -m all")
def a_branch_without_a_commit(rig, worker):
    rig.git("checkout", "--quiet", "--orphan", "fresh", cwd=worker.path)
    write(worker.path / "a.txt")


@state("locked", evidence="by a person", lost=False, works=False)
def a_locked_worktree(rig, worker):
    rig.git("worktree", "lock", "--reason", "by a person", worker.path)


@state("gitlink", evidence="lib", lost=False, works=False)
def a_submodule_that_nobody_declared(rig, worker):
    head = rig.git("rev-parse", "HEAD", cwd=worker.path)
    rig.git("update-index", "--add", "--cacheinfo", f"160000,{head},lib", cwd=worker.path)
    rig.git("commit", "--quiet", "--message", "lib", cwd=worker.path)


def add_submodule(rig, worker) -> Path:
    source = rig.path.parent / "source"
    if not source.exists():
        source.mkdir()
        rig.git("init", "--quiet", cwd=source)
        rig.commit("first", {"lib.txt": "lib\n"}, cwd=source)
    rig.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source), "lib", cwd=worker.path)
    rig.git("commit", "--quiet", "--message", "a submodule", cwd=worker.path)
    return worker.path / "lib"


@state("submodule", evidence="lib", cleared="rm lib/new")
def a_new_file_in_a_submodule(rig, worker):
    write(add_submodule(rig, worker) / "new")


@state("submodule", evidence="lib", cleared="git -C lib stash drop --quiet")
def a_stash_in_a_submodule(rig, worker):
    lib = add_submodule(rig, worker)
    write(lib / "lib.txt")
    rig.git("stash", "push", "--quiet", cwd=lib)


@state("submodule", evidence="lib", cleared="git -C lib push --quiet origin HEAD:refs/heads/ours")
def an_unpushed_commit_in_a_submodule(rig, worker):
    lib = add_submodule(rig, worker)
    rig.commit("unpushed", {"lib.txt": WORK + "\n"}, cwd=lib)
    rig.git("commit", "--quiet", "--all", "--message", "lib moved", cwd=worker.path)


# ---- what is around it -----------------------------------------------------------------------------------------------


@state("lock", evidence="index.lock", lost=False, works=False)
def a_lock_that_somebody_holds(rig, worker):
    lock = rig.path / ".git" / "worktrees" / worker.name / "index.lock"
    words = f"import time; f = open({str(lock)!r}, 'w'); open({str(lock) + '.ready'!r}, 'w'); time.sleep(600)"
    one = subprocess.Popen([PYTHON, "-c", words], cwd="/")
    wait_for(Path(str(lock) + ".ready").exists, 20, "the lock to be held")
    return [one]


@state("process", evidence="pid", lost=False, works=False)
def a_process_of_somebody_else(rig, worker):
    one = subprocess.Popen(SLEEP, cwd=worker.path)
    wait_for(lambda: os.readlink(f"/proc/{one.pid}/cwd") == str(worker.path), 20, "the process to be inside")
    return [one]


@state(
    "alternate",
    evidence="store",
    lost=False,
    works=False,
    cleared="git -C ../.. repack -a -d -q; rm ../../.git/objects/info/alternates",
)
def objects_borrowed_from_inside(rig, worker):
    store = worker.path / "build" / "store"
    (store / "pack").mkdir(parents=True)
    write(rig.path / ".git" / "objects" / "info" / "alternates", f"{store}\n")


@state("mirror", evidence="mirror", lost=False, works=False)
def a_mirror_of_which_a_fetch_prunes(rig, worker):
    rig.git("config", "remote.mirror.url", "/nowhere")
    rig.git("config", "remote.mirror.fetch", "+refs/*:refs/*")


# ---- harmless twins --------------------------------------------------------------------------------------------------


@state("", lost=False)
def committed_work(rig, worker):
    rig.commit("work", {"w": WORK + "\n"}, cwd=worker.path)


@state("")
def commits_that_a_reset_dropped(rig, worker):
    rig.commit("dropped", {"w": WORK + "\n"}, cwd=worker.path)
    rig.git("reset", "--quiet", "--hard", "HEAD~1", cwd=worker.path)


@state("", lost=False, works=False)
def a_stash_of_another_branch(rig, worker):
    other = rig.add_polecat("other")
    write(other.path / "a.txt")
    rig.git("stash", "push", "--quiet", cwd=other.path)


@state("", lost=False, works=False)
def a_file_out_of_the_sparse_cone(rig, worker):
    rig.commit("two folders", {"in/x": "x\n", "out/y": "y\n"}, cwd=worker.path)
    rig.git("sparse-checkout", "set", "in", cwd=worker.path)


@state("", lost=False, works=False)
def worthless_ignored_files(rig, worker):
    write(worker.path / "build" / "out.o", "object\n")
    write(worker.path / "x.log", "log\n")


@state("", lost=False, works=False)
def a_provisioned_file(rig, worker):
    write(worker.path / "CLAUDE.md", "from the tool\n")


@state("", lost=False, works=False)
def a_tracked_provisioned_file(rig, worker):
    rig.commit("rules", {"CLAUDE.md": "rules\n"}, cwd=worker.path)


@state("", lost=False, works=False)
def a_lock_that_nobody_holds(rig, worker):
    write(rig.path / ".git" / "worktrees" / worker.name / "index.lock", "")


@state("", lost=False, works=False)
def a_detached_head_on_a_branch(rig, worker):
    rig.git("checkout", "--quiet", "--detach", cwd=worker.path)


@state("", lost=False, works=False)
def a_submodule_that_is_not_checked_out(rig, worker):
    add_submodule(rig, worker)
    rig.git("submodule", "--quiet", "deinit", "lib", cwd=worker.path)


@state("")
def a_filter_that_keeps_the_content_elsewhere(rig, worker):
    rig.git("config", "filter.lfs.clean", "echo pointer")
    rig.git("config", "filter.lfs.smudge", "cat")
    rig.commit("big", {".gitattributes": "*.bin filter=lfs\n", "x.bin": WORK + "\n"}, cwd=worker.path)


@state("", lost=False)
def hooks_that_refuse_everything(rig, worker):
    rig.commit("work", {"w": WORK + "\n"}, cwd=worker.path)
    for name in ("pre-commit", "reference-transaction", "post-checkout", "pre-push", "post-index-change"):
        write(rig.path / ".git" / "hooks" / name, "#!/bin/sh\necho refused >&2; exit 1\n").chmod(0o755)


@state("", lost=False)
def a_replaced_commit(rig, worker):
    one = rig.commit("one", {"w": WORK + "\n"}, cwd=worker.path)
    rig.git("replace", one, rig.git("commit-tree", "-m", "other", f"{one}~1^{{tree}}", cwd=worker.path))


@state("", lost=False, works=False)
def a_mirror_that_leaves_our_refs_alone(rig, worker):
    a_mirror_of_which_a_fetch_prunes(rig, worker)
    rig.git("config", "--add", "remote.mirror.fetch", "^refs/witness/*")


# ---- what is left of it ----------------------------------------------------------------------------------------------


def prune(rig, base=None) -> None:
    """Do the worst that git does by itself in time: forget every reflog, and every object that no ref reaches."""
    for words in (("reflog", "expire", "--expire=now", "--all"), ("gc", "--quiet", "--prune=now")):
        rig.git("-c", "core.hooksPath=/dev/null", *words, cwd=base)


def snapshot(rig, path) -> tuple:
    """Return (files with bytes and modes, git status, index with flags and stages) of a worktree."""
    files = {}
    for folder, _, names in os.walk(os.fsencode(path)):
        for name in names:
            full = os.path.join(folder, name)
            if name != b".git":
                link = os.path.islink(full)
                content = os.readlink(full) if link else Path(os.fsdecode(full)).read_bytes()
                files[os.path.relpath(full, os.fsencode(path))] = (content, os.lstat(full).st_mode & 0o777, link)
    status = rig.git("status", "--porcelain=v2", "--branch", cwd=path)
    return files, status, rig.git("ls-files", "--stage", "-v", cwd=path)


def read_objects(rig) -> bytes:
    """Return every object there is, one after the other."""
    return subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"],
        cwd=rig.path,
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout


def survives(rig, text: str = WORK) -> bool:
    """Tell whether a text is in an object that a ref reaches, or in a file that is kept for good; reflogs are gone."""
    prune(rig)
    kept = [path.read_bytes() for path in (rig.state / "rescued").rglob("*") if path.is_file()]
    return any(text.encode() in one for one in (read_objects(rig), *kept))


def remove_without_looking(rig, worker) -> None:
    """Do what other watchdogs do: take folder, entry and branch away."""
    shutil.rmtree(worker.path)
    (rig.path / ".git" / "worktrees" / worker.name / "locked").unlink(missing_ok=True)
    rig.git("worktree", "prune")
    rig.git("branch", "--quiet", "-D", worker.branch, check=False)


def clear(rig, worker, remedy: str) -> None:
    """Run the command that a refusal names, as a person would who answers an editor with one word."""
    words = remedy.partition(" (")[0].partition(", then")[0].partition(", in the rig")[0]
    environment = {**os.environ, "GIT_EDITOR": "printf done >"}
    subprocess.run(["sh", "-c", words], cwd=worker.path, env=environment, check=False, timeout=60, capture_output=True)
