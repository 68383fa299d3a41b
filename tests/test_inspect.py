"""Every look, on a real worktree: the work it would have lost, and the harmless twin that must not block."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from tools import stand
from tools.kit import wait_for

import witness as w


@pytest.fixture
def station(rig):
    return stand.make_station(rig)


@pytest.fixture
def alpha(rig):
    (rig.path / ".gitignore").write_text("build/\n*.log\n.env*\n.claude/\n")
    rig.commit("ignore", {"a.txt": "a\n", "b.txt": "b\n"})
    return rig.add_polecat("alpha")


def test_clean_worktree_has_no_findings(station, alpha):
    assert stand.kinds_of(station, "alpha") == {}


def test_changed_new_and_deleted_files(station, alpha):
    (alpha.path / "a.txt").write_text("changed\n")
    (alpha.path / "b.txt").unlink()
    (alpha.path / "new\nname").write_text("x")
    found = stand.kinds_of(station, "alpha")
    assert (sorted(found["modified"]), found["untracked"]) == (["a.txt", "b.txt"], ["new\nname"])


def test_staged_and_intent_to_add(rig, station, alpha):
    (alpha.path / "staged").write_text("x")
    (alpha.path / "intended").write_text("x")
    rig.git("add", "staged", cwd=alpha.path)
    rig.git("add", "--intent-to-add", "intended", cwd=alpha.path)
    assert sorted(stand.kinds_of(station, "alpha")["modified"]) == ["intended", "staged"]


def test_provisioned_file_is_no_work(rig, alpha):
    station = stand.make_station(rig, provisioned=["CLAUDE.md"])
    (alpha.path / "CLAUDE.md").write_text("from the tool\n")
    assert stand.kinds_of(station, "alpha") == {}
    rig.git("add", "CLAUDE.md", cwd=alpha.path)  # now it is in the index: the worker's
    assert stand.kinds_of(station, "alpha") == {"modified": ["CLAUDE.md"]}


POLECAT = "# Polecat\n\n**The IDLE POLECAT HERESY**: …\n"
GAS = ".runtime/\n.claude/\n.beads/\n.logs/\n"
AGENTS = "of the mayor\n"


def provided(rig, version):
    """Return a station whose gt is of this version, as it is in a town."""
    station = stand.make_station(rig)
    station.tools = station.tools.but(dialect=w.choose_dialect("gt", version)[0])
    (rig.path / "mayor/rig").mkdir(parents=True, exist_ok=True)
    (rig.path / "mayor/rig/AGENTS.md").write_text(AGENTS)
    return station


EVERYWHERE = ((".beads/redirect", "../../../.beads\n"), (".runtime/session_id", "x"), (".runtime/agent.lock", "{}"))
MINERAL = (*EVERYWHERE, (".gitignore", GAS), ("AGENTS.md", AGENTS))
COMMANDS = tuple((f".claude/commands/{name}.md", "any") for name in ("done", "handoff", "review"))


@pytest.mark.parametrize(
    ("version", "files"),
    [
        ((0, 2, 6), (*EVERYWHERE, ("AGENTS.md", AGENTS))),
        ((0, 5, 0), MINERAL),
        ((0, 9, 0), MINERAL),
        ((1, 0, 1), (*EVERYWHERE, ("CLAUDE.md", POLECAT), (".runtime/agent.lock.flock", ""), *COMMANDS)),
        ((1, 0, 1), (*EVERYWHERE, ("CLAUDE.local.md", POLECAT))),
    ],
)
def test_files_that_a_version_of_gt_puts_there_are_no_work(rig, version, files):
    worker = rig.add_polecat("beta")
    for path, text in files:
        (worker.path / path).parent.mkdir(parents=True, exist_ok=True)
        (worker.path / path).write_text(text)
    assert stand.kinds_of(provided(rig, version), "beta") == {}
    (worker.path / "notes").write_text("mine")
    assert stand.kinds_of(provided(rig, version), "beta") == {"untracked": ["notes"]}


@pytest.mark.parametrize(
    ("version", "path", "text"),
    [
        ((0, 0, 1), ".beads/redirect", "x\n"),
        ((0, 0, 1), "AGENTS.md", AGENTS),
        ((0, 2, 6), "AGENTS.md", AGENTS + "and mine\n"),
        ((0, 2, 6), ".gitignore", GAS),
        ((0, 2, 6), "CLAUDE.md", POLECAT),
        ((0, 5, 0), ".gitignore", GAS + "secret/\n"),
        ((0, 5, 0), ".gitignore", "build/\n\n# Gas Town (added by gt)\n" + GAS),
        ((0, 5, 0), "src/.gitignore", GAS),
        ((1, 0, 1), ".gitignore", GAS),
        ((1, 0, 1), "AGENTS.md", AGENTS),
        ((1, 0, 1), "CLAUDE.md", "# My own rules\n"),
        ((1, 0, 1), "CLAUDE.local.md", ""),
        ((1, 0, 1), "docs/CLAUDE.md", POLECAT),
        ((1, 0, 1), ".claude/commands/mine.md", "x"),
        ((1, 0, 1), ".claude/settings.json", "{}"),
        ((1, 0, 1), ".runtime/session_id.mine", "x"),
    ],
)
def test_file_that_only_looks_like_gts_own_is_somebodys_work(rig, version, path, text):
    worker = rig.add_polecat("beta")
    (worker.path / path).parent.mkdir(parents=True, exist_ok=True)
    (worker.path / path).write_text(text)
    assert stand.kinds_of(provided(rig, version), "beta") == {"untracked": [path]}


def test_link_in_the_place_of_gts_file_is_somebodys_work(rig):
    """What a rule was held against was the file that the link leads to."""
    worker = rig.add_polecat("beta")
    os.symlink(rig.path / "mayor/rig/AGENTS.md", worker.path / "AGENTS.md")
    os.symlink("/nowhere", worker.path / "CLAUDE.md")
    station = provided(rig, (0, 2, 6))
    assert sorted(stand.kinds_of(station, "beta")["untracked"]) == ["AGENTS.md", "CLAUDE.md"]


def test_tree_that_is_dirty_from_birth_is_no_work_until_it_changes(rig, station):
    (rig.path / "raw").write_bytes(b"x\r\n")
    blob = rig.git("hash-object", "-w", "--no-filters", "raw")
    (rig.path / "raw").unlink()
    rig.commit("attributes", {".gitattributes": "*.txt text eol=lf\n"})
    rig.git("update-index", "--add", "--cacheinfo", f"100644,{blob},crlf.txt")
    rig.git("commit", "--quiet", "--message", "crlf")
    worker = rig.add_polecat("beta")
    os.utime(worker.path / "crlf.txt")
    birth = tuple(map(tuple, w.read_birth(station.tools.git, stand.tree_of(station, "beta"))))
    assert [path for path, _ in birth] == ["crlf.txt"]
    assert stand.kinds_of(station, "beta")["modified"] == ["crlf.txt"]
    assert stand.kinds_of(station, "beta", birth=birth) == {}
    (worker.path / "crlf.txt").write_bytes(b"work\r\n")
    assert stand.kinds_of(station, "beta", birth=birth)["modified"] == ["crlf.txt"]


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_edit_behind_a_flag(rig, station, alpha, flag):
    rig.git("update-index", flag, "a.txt", "b.txt", cwd=alpha.path)
    assert stand.kinds_of(station, "alpha") == {}
    (alpha.path / "a.txt").write_text("hidden work\n")
    assert stand.kinds_of(station, "alpha") == {"hidden": ["a.txt"]}


def test_file_out_of_a_sparse_cone_is_no_work(rig, station, alpha):
    rig.commit("deep", {"deep/x": "x"}, cwd=alpha.path)
    rig.git("sparse-checkout", "set", "--no-cone", "/*.txt", "/.gitignore", cwd=alpha.path)
    assert not (alpha.path / "deep").exists()
    assert stand.kinds_of(station, "alpha") == {}


def test_precious_ignored_file_and_its_worthless_twin(station, alpha):
    (alpha.path / "build").mkdir()
    (alpha.path / "build" / "out.o").write_text("x")
    assert stand.kinds_of(station, "alpha") == {}
    (alpha.path / "build" / ".env").write_text("KEY=1")
    assert stand.kinds_of(station, "alpha") == {"precious": ["build/.env"]}


def test_repositories_inside_ignored_folders(rig, station, alpha):
    rig.git("worktree", "add", "--quiet", "-b", "sub", alpha.path / ".claude" / "tree")
    rig.git("init", "--quiet", alpha.path / "build" / "own")
    rig.git("init", "--quiet", "--bare", alpha.path / "build" / "bare.git")
    assert sorted(stand.kinds_of(station, "alpha")["nested"]) == [".claude/tree", "build/bare.git", "build/own"]


def test_alternate_inside(rig, station, alpha):
    (alpha.path / "build" / "objects").mkdir(parents=True)
    (rig.path / ".git" / "objects" / "info" / "alternates").write_text(f"{alpha.path}/build/objects\n")
    assert stand.kinds_of(station, "alpha") == {"alternate": [f"{alpha.path}/build/objects"]}


def stash(rig, worker):
    (worker.path / "a.txt").write_text("stashed\n")
    rig.git("stash", "push", "--quiet", cwd=worker.path)


def test_stash_of_this_worker_and_of_another(rig, station, alpha):
    beta = rig.add_polecat("beta")
    stash(rig, beta)
    assert stand.kinds_of(station, "alpha") == {}
    assert "polecat/beta" in stand.kinds_of(station, "beta")["stash"][0]
    stash(rig, alpha)
    assert len(stand.kinds_of(station, "alpha")["stash"]) == 1


def test_stash_older_than_the_worker_is_not_its(rig, station, alpha):
    stash(rig, alpha)
    rig.git("worktree", "remove", "--force", "polecats/alpha")
    time.sleep(1.1)
    rig.git("worktree", "add", "--quiet", "polecats/alpha", "polecat/alpha")
    assert stand.kinds_of(station, "alpha") == {}


def test_stash_on_no_branch(rig, station, alpha):
    rig.git("checkout", "--quiet", "--detach", cwd=alpha.path)
    stash(rig, alpha)
    assert "(no branch)" in stand.kinds_of(station, "alpha")["stash"][0]


@pytest.mark.parametrize("operation", ["rebase", "merge", "cherry-pick", "revert", "bisect"])
def test_paused_operation(rig, station, alpha, operation):
    """A paused rebase shows an empty status."""
    rig.commit("theirs", {"a.txt": "theirs\n"})
    rig.commit("ours", {"a.txt": "ours\n"}, cwd=alpha.path)
    if operation == "bisect":
        rig.git("bisect", "start", cwd=alpha.path)
    elif operation == "revert":
        rig.commit("later", {"a.txt": "later\n"}, cwd=alpha.path)
        rig.git("revert", "--no-edit", "HEAD~1", cwd=alpha.path, check=False)
    else:
        rig.git(operation, "main", cwd=alpha.path, check=False)
    assert operation in stand.kinds_of(station, "alpha")["paused"]


def test_detached_head_with_commits_of_its_own_and_without(rig, station, alpha):
    rig.git("checkout", "--quiet", "--detach", cwd=alpha.path)
    assert stand.kinds_of(station, "alpha") == {}
    commit = rig.commit("loose", {"x": "x"}, cwd=alpha.path)
    assert stand.kinds_of(station, "alpha") == {"detached": [commit[:12]]}


def test_unborn_and_locked(rig, station, alpha):
    rig.git("worktree", "lock", "--reason", "my reason", alpha.path)
    assert stand.kinds_of(station, "alpha") == {"locked": ["my reason"]}
    rig.git("worktree", "unlock", alpha.path)
    rig.git("checkout", "--quiet", "--orphan", "new", cwd=alpha.path)
    assert "unborn" in stand.kinds_of(station, "alpha")


def test_lock_file_blocks_only_while_somebody_holds_it(rig, station, alpha):
    lock = rig.path / ".git" / "worktrees" / "alpha" / "index.lock"
    with open(lock, "w", encoding="utf-8"):
        assert stand.kinds_of(station, "alpha")["lock"] == ["index.lock"]
    assert "lock" not in stand.kinds_of(station, "alpha")


def test_gitlink_without_gitmodules(rig, station, alpha):
    rig.git("update-index", "--add", "--cacheinfo", f"160000,{rig.git('rev-parse', 'HEAD')},sub", cwd=alpha.path)
    rig.git("commit", "--quiet", "--message", "link", cwd=alpha.path)
    assert stand.kinds_of(station, "alpha")["gitlink"] == ["sub"]


def test_submodule_clean_and_with_work(rig, station, alpha, repo):
    library = repo("library")
    rig.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", library.path, "lib", cwd=alpha.path)
    rig.git("commit", "--quiet", "--message", "submodule", cwd=alpha.path)
    assert stand.kinds_of(station, "alpha") == {}
    (alpha.path / "lib" / "new").write_text("x")
    assert "lib: changes" in stand.kinds_of(station, "alpha")["submodule"]
    rig.commit("in lib", {}, cwd=alpha.path / "lib")
    assert "lib: unpushed commits" in stand.kinds_of(station, "alpha")["submodule"]


def test_process_of_somebody_else_inside(rig, station, alpha):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=alpha.path) as child:
        found = stand.kinds_of(station, "alpha")["process"]
        child.kill()
    assert len(found) == 1
    assert f"pid {child.pid} " in found[0]


def test_workers_own_processes_do_not_block(rig, station, tmp):
    script = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], "
        "start_new_session=True); print('up', flush=True); time.sleep(60)"
    )
    worker = rig.add_polecat("beta", [sys.executable, "-c", script])
    wait_for(lambda: "up" in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:"))
    rig.tmux.remember()
    assert stand.kinds_of(station, "beta") == {}


def test_mirror_fetch(rig, station, alpha):
    rig.git("config", "--add", "remote.origin.fetch", "+refs/*:refs/*")
    assert stand.kinds_of(station, "alpha")["mirror"] == ["remote.origin.fetch"]
    rig.git("config", "--add", "remote.origin.fetch", "^refs/witness/*")
    assert stand.kinds_of(station, "alpha") == {}


def test_look_that_fails_is_a_finding(rig, station, alpha, monkeypatch):
    (rig.path / ".git" / "worktrees" / "alpha" / "index").write_text("garbage")
    found = stand.kinds_of(station, "alpha")
    assert any("status: git status: exit 128" in what for what in found["look"])


def test_git_that_is_missing_makes_every_look_a_finding(rig, station, alpha, monkeypatch):
    retirement, tree = stand.begin(station, "alpha"), stand.tree_of(station, "alpha")
    monkeypatch.setenv("PATH", "/nowhere")
    found = w.inspect_worktree(station.tools, retirement, tree)
    assert {finding.kind for finding in found} == {"look"}
    assert w.find_blockers(found, retirement.but(force=True))


def test_unreadable_folder_is_a_finding(rig, station, alpha):
    (alpha.path / "build" / "closed").mkdir(parents=True)
    (alpha.path / "build" / "closed").chmod(0)
    found = stand.kinds_of(station, "alpha")
    (alpha.path / "build" / "closed").chmod(0o700)
    assert found == {} if os.geteuid() == 0 else "look" in found


def test_tens_of_thousands_of_ignored_files(rig, station, alpha):
    for number in range(300):
        folder = alpha.path / "build" / f"d{number:03d}"
        folder.mkdir(parents=True)
        for index in range(200):
            (folder / f"a_rather_long_name_of_a_file_{index}.o").touch()
    assert stand.kinds_of(station, "alpha") == {}


def test_person_who_looks_at_the_session_blocks_and_a_control_client_does_not(rig, station, tmp):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    attach = ["tmux", "-L", rig.tmux.socket, "-u"]

    def clients():
        return rig.tmux.run("list-clients", "-t", f"={worker.session}", check=False)

    with subprocess.Popen(
        [*attach, "-C", "attach", "-t", f"={worker.session}"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as control:
        wait_for(clients, 10, "the control client")
        assert stand.kinds_of(station, "alpha") == {}
        control.stdin.close()
        control.wait(10)
    code = "import pty, sys; pty.spawn(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *attach, "attach", "-t", f"={worker.session}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
    ) as person:
        try:
            wait_for(clients, 10, "the person")
            assert stand.kinds_of(station, "alpha") == {"attached": [worker.session]}
        finally:
            person.kill()
