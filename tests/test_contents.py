"""What lies in a worktree, seen through flags, filters and submodules; most of it is held in test_inspect.py."""

from __future__ import annotations

import os
import shutil

import pytest
from tools import stand

import witness as w

ADD = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add")
UPDATE = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")


@pytest.fixture
def station(rig):
    return stand.make_station(rig, trash_hours=0)


@pytest.fixture
def add_submodule(rig, repo):
    """Add a submodule to the rig; the returned function gives its worker with it checked out."""

    def add(path="lib", name="alpha", source=None, checked_out=True, words=()):
        library = source or repo("library", {"l": "l\n"})
        rig.git(*ADD, library.path.as_uri(), path)
        rig.git("commit", "--quiet", "--message", "submodule")
        # The rig's own copy must not be where a worker's commits survive.
        rig.git("submodule", "--quiet", "deinit", "--force", path)
        shutil.rmtree(rig.path / ".git" / "modules")
        worker = rig.add_polecat(name)
        if checked_out:
            rig.git(*UPDATE, *words, cwd=worker.path)
        return worker

    return add


def retire(station, name, **changes):
    return w.retire_worktree(station.tools, stand.begin(station, name, **changes), lambda _: None)


def survives(rig, commit, *globs) -> bool:
    """Tell whether a commit outlives everything that git and we throw away."""
    w.sweep_trash(stand.make_station(rig, trash_hours=0).tools, 1e12)
    rig.git("reflog", "expire", "--expire=now", "--all")
    rig.git("gc", "--quiet", "--prune=now")
    return rig.git("cat-file", "-t", commit, check=False) == "commit"


@pytest.mark.parametrize("name", ['"a"', '"b', "Icon\r", "new\nline", " lead", "-dash", "\u00e4"])
def test_name_that_git_would_unquote_is_hashed_as_itself(rig, station, name):
    """With `"a"` beside `a` the rescue held the neighbour's bytes."""
    worker = rig.add_polecat("alpha")
    (worker.path / "a").write_text("of the neighbour\n")
    (worker.path / name).write_text("the real work\n")
    outcome = retire(station, "alpha", force=True)
    assert outcome.data["result"] == "retired", outcome
    assert rig.git("show", f"{outcome.data['ref']}:files/{name}") == "the real work"


def test_reflog_of_any_length_is_read_to_its_end(rig, station):
    """Its first 4 MiB were read, and the newest commits stand last."""
    worker = rig.add_polecat("alpha")
    base = rig.git("rev-parse", "HEAD", cwd=worker.path)
    dropped = rig.commit("dropped", {"d": "d"}, cwd=worker.path)
    for _ in range(2):  # ORIG_HEAD names it after the first
        rig.git("reset", "--quiet", "--hard", base, cwd=worker.path)
    line = f"{base} {base} t <t@t> 1700000000 +0000\tcheckout: moving from x to x {'y' * 60}\n"
    for log in (rig.path / ".git/worktrees/alpha/logs/HEAD", rig.path / ".git/logs/refs/heads/polecat/alpha"):
        log.write_text(line * 22000 + log.read_text())
    assert retire(station, "alpha").data["result"] == "retired"
    assert survives(rig, dropped)


def test_files_in_a_submodule_that_is_not_checked_out_are_work(rig, station, add_submodule):
    """A new worktree has none checked out, and git shows what is written into their folders nowhere."""
    worker = add_submodule(checked_out=False)
    (worker.path / "lib" / "deep").mkdir()
    (worker.path / "lib" / "deep" / "work.c").write_text("int main;\n")
    assert rig.git("status", "--porcelain", "-uall", cwd=worker.path) == ""
    refused = retire(station, "alpha")
    assert refused.data["result"] == "refused"
    assert "lib/deep/work.c" in refused.data["blockers"][0][1]
    outcome = retire(station, "alpha", force=True)
    assert rig.git("show", f"{outcome.data['ref']}:files/lib/deep/work.c") == "int main;"
    w.recover_worktree(station.tools, "alpha")
    assert (worker.path / "lib" / "deep" / "work.c").read_text() == "int main;\n"


def test_submodule_whose_folder_is_empty_does_not_block(rig, station, add_submodule):
    add_submodule(checked_out=False)
    assert stand.kinds_of(station, "alpha") == {}


def test_unpushed_commits_of_a_submodule_taken_out_of_the_tree_survive(rig, station, add_submodule):
    """`deinit` leaves them in the admin folder, which went with the worktree's entry."""
    worker = add_submodule()
    rig.git("switch", "--quiet", "--create", "feature", cwd=worker.path / "lib")
    commit = rig.commit("unpushed in lib", {"n": "n\n"}, cwd=worker.path / "lib")
    rig.git("submodule", "--quiet", "deinit", "--force", "lib", cwd=worker.path)
    assert retire(station, "alpha").data["result"] == "retired"
    assert survives(rig, commit)
    assert any(ref.endswith("/lib/refs/heads/feature") for ref, _ in w.list_refs(station.tools.git, w.RETIRED_REFS))


@pytest.mark.parametrize("path", ["lib/forge-std", "bin/tool", "third_party/x"])
def test_submodule_of_any_path_is_fetched_from(rig, station, add_submodule, path):
    """git fetch recursed into submodules from /, where /lib and /bin are links."""
    worker = add_submodule(path)
    dropped = rig.commit("dropped", {"x": "x"}, cwd=worker.path / path)
    rig.git("reset", "--quiet", "--hard", "HEAD~1", cwd=worker.path / path)
    assert retire(station, "alpha").data["result"] == "retired"
    assert survives(rig, dropped)


def test_shallow_submodule_blocks_only_while_it_has_commits_of_its_own(rig, station, repo, add_submodule):
    """A fetch from it refused every ref and said nothing."""
    library = repo("library", {"l": "l\n"})
    library.commit("second", {"l": "2\n"})
    worker = add_submodule(source=library, words=("--depth", "1"))
    assert rig.git("rev-parse", "--is-shallow-repository", cwd=worker.path / "lib") == "true"
    assert stand.kinds_of(station, "alpha") == {}
    rig.commit("thrown away", {"n": "n"}, cwd=worker.path / "lib")
    rig.git("reset", "--quiet", "--hard", "HEAD~1", cwd=worker.path / "lib")
    assert stand.kinds_of(station, "alpha") == {"submodule": ["lib: commits of its own in a shallow clone"]}
    rig.git("reflog", "expire", "--expire=now", "--all", cwd=worker.path / "lib")
    (rig.path / ".git/worktrees/alpha/modules/lib/ORIG_HEAD").unlink(missing_ok=True)
    assert retire(station, "alpha").data["result"] == "retired"


def test_submodule_within_a_submodule_is_looked_at_kept_and_retired(rig, station, repo, add_submodule):
    deep, library = repo("deep", {"d": "d\n"}), repo("library", {"l": "l\n"})
    library.git(*ADD, deep.path.as_uri(), "deep")
    library.git("commit", "--quiet", "--message", "deep")
    worker = add_submodule(source=library, words=("--recursive",))
    inner = worker.path / "lib" / "deep"
    assert stand.kinds_of(station, "alpha") == {}
    (inner / "d").write_text("edit\n")
    assert stand.kinds_of(station, "alpha")["submodule"] == ["lib: changes", "lib/deep: changes"]
    rig.git("checkout", "--quiet", "--", "d", cwd=inner)
    dropped = rig.commit("dropped", {"x": "x"}, cwd=inner)
    rig.git("reset", "--quiet", "--hard", "HEAD~1", cwd=inner)
    rig.tmux.new_session("gt-demo-alpha", worker.path, stand.SLEEP)
    outcome = retire(station, "alpha")
    assert outcome.data["result"] == "retired", outcome
    assert survives(rig, dropped)


def test_work_in_a_file_that_differs_by_case_alone_is_seen(rig, station):
    """A rig copied from a system that folds case keeps core.ignoreCase, which hides it."""
    worker = rig.add_polecat("alpha")
    rig.commit("one", {"Makefile": "M\n"}, cwd=worker.path)
    rig.git("config", "core.ignoreCase", "true")
    (worker.path / "makefile").write_text("new work\n")
    assert stand.kinds_of(station, "alpha") == {"untracked": ["makefile"]}
    outcome = retire(station, "alpha", force=True)
    assert rig.git("show", f"{outcome.data['ref']}:files/makefile") == "new work"


def test_autostash_of_a_merge_survives(rig, station):
    worker = rig.add_polecat("alpha")
    rig.commit("a", {"a": "1\n", "z": "z\n"}, cwd=worker.path)
    rig.git("switch", "--quiet", "--create", "side", "main")
    rig.commit("side", {"a": "2\n"})
    rig.git("switch", "--quiet", "main")
    (worker.path / "z").write_text("an edit\n")
    rig.git("merge", "--squash", "--autostash", "side", cwd=worker.path, check=False)
    stashed = (rig.path / ".git/worktrees/alpha/MERGE_AUTOSTASH").read_text().strip()
    assert retire(station, "alpha", force=True).data["result"] == "retired"
    assert survives(rig, stashed)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_file_in_the_admin_folder_does_not_stop_the_rescue(rig, station):
    """The socket of git's own fsmonitor lies there."""
    rig.add_polecat("alpha")
    os.mkfifo(rig.path / ".git/worktrees/alpha/fsmonitor--daemon.ipc")
    assert retire(station, "alpha").data["result"] == "retired"


def test_many_late_files_are_bounded_and_the_rest_is_named(rig, station, monkeypatch):
    """A build that still ran put 150 MB through git, and each try left half of it behind."""
    monkeypatch.setattr(w, "LATE_BYTES", 1000)
    (rig.path / ".gitignore").write_text("target/\n*.swp\n")
    rig.commit("ignore", {})
    worker = rig.add_polecat("alpha")
    retirement = stand.begin(station, "alpha")
    (worker.path / "target").mkdir()
    (worker.path / "target" / "big.o").write_bytes(b"x" * 5000)
    (worker.path / "target" / "small.o").write_bytes(b"x" * 10)
    (worker.path / ".unsaved.swp").write_bytes(b"x" * 900)
    assert w.list_late(station.tools, retirement, stand.tree_of(station, "alpha")) == (
        [".unsaved.swp", "target/small.o"],
        ["target/big.o"],
    )
    outcome = w.retire_worktree(station.tools, retirement, lambda _: None)
    meta = w.read_meta(station.tools.git, outcome.data["commit"])
    assert meta["left"] == ["target/big.o"]


def test_rescue_is_written_through_to_the_disk(rig, station, monkeypatch):
    """Only the commit was; a power cut would have left it without its files."""
    worker = rig.add_polecat("alpha")
    (worker.path / "new").write_text("work\n")
    wrote = []
    real = w.Host.run

    def run(self, argv, *args, **options):
        if {"hash-object", "write-tree", "commit-tree", "update-ref"} & set(argv) and not {"--verify"} & set(argv):
            wrote.append((argv, "core.fsync=all" in argv or ("hash-object" in argv and "-w" not in argv)))
        return real(self, argv, *args, **options)

    monkeypatch.setattr(w.Host, "run", run)
    assert retire(station, "alpha", force=True).data["result"] == "retired"
    assert len(wrote) > 6
    late = [argv for argv, durable in wrote if not durable]
    assert [argv for argv in late if "-d" not in argv] == []  # the branch's own deletion may be lost: it is kept then
