"""The eight steps: what they keep, what they refuse, and that a kill at any point loses nothing."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile

import pytest
from tools import kit, stand
from tools.kit import wait_for

import witness as w


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
    assert "/polecats/alpha " not in rig.git("worktree", "list")
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


LEFT = {
    "detached": ("checkout --quiet --detach main",),
    "reset": ("branch elsewhere", "reset --quiet --hard main"),
    "another branch": ("switch --quiet polecat/alpha", "merge --quiet --ff-only main"),
}


@pytest.mark.parametrize("main_moves", [False, True])
@pytest.mark.parametrize("how", LEFT)
def test_work_that_its_worker_left_on_another_branch_is_work(rig, station, how, main_moves):
    """Its tip was that of main, so the issue was closed as merged, or begun again, and the branch was not kept."""
    worker = rig.add_polecat("alpha")
    start = rig.git("rev-parse", "main")
    if how == "another branch":
        rig.git("switch", "--quiet", "-c", "feature", cwd=worker.path)
    commit = rig.commit("work", {"x": "x"}, cwd=worker.path)
    if main_moves:
        rig.commit("of others", {"o": "o"})
    for words in LEFT[how]:
        rig.git(*words.split(), cwd=worker.path)
    outcome, _ = retire(station, "alpha", start=start)
    assert outcome.data["result"] == "retired", outcome
    assert (outcome.data["tip"], outcome.data["no_commits"], outcome.data["merged"]) == (commit, False, False)
    for branch in set(rig.git("branch", "--format=%(refname:short)").split()) - {"main"}:
        rig.git("branch", "-D", "--quiet", branch)
    assert commit in rig.git("rev-list", outcome.data["ref"]).split()


def test_work_left_on_two_branches_has_no_one_tip(rig, station):
    worker = rig.add_polecat("alpha")
    start = rig.git("rev-parse", "main")
    for name in ("one", "two"):
        rig.git("switch", "--quiet", "-c", name, "main", cwd=worker.path)
        rig.commit(name, {name: "x"}, cwd=worker.path)
    rig.git("switch", "--quiet", "polecat/alpha", cwd=worker.path)
    outcome, _ = retire(station, "alpha", start=start)
    assert (outcome.data["tip"], outcome.data["no_commits"], outcome.data["merged"]) == ("", False, False)


def test_commit_that_an_amend_has_replaced_is_no_work_left_behind(rig, station):
    worker = rig.add_polecat("alpha")
    start = rig.git("rev-parse", "main")
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    rig.git("commit", "--quiet", "--amend", "--message", "better", cwd=worker.path)
    rig.git("merge", "--quiet", "polecat/alpha")
    outcome, _ = retire(station, "alpha", start=start)
    assert (outcome.data["no_commits"], outcome.data["merged"]) == (False, True)


TAKEN = ("merge --quiet --ff-only helper", "reset --quiet --hard helper", "checkout --quiet -B polecat/alpha helper")


@pytest.mark.parametrize("words", TAKEN)
def test_work_that_came_from_a_worktree_of_its_own_is_work(rig, station, words):
    """An agent's helper commits in a worktree of its own: HEAD's log of the agent knew of no commit."""
    worker = rig.add_polecat("alpha")
    start = rig.git("rev-parse", "main")
    rig.git("worktree", "add", "--quiet", "-b", "helper", rig.path.parent / "helper", cwd=worker.path)
    commit = rig.commit("work", {"x": "x"}, cwd=rig.path.parent / "helper")
    rig.git("worktree", "remove", rig.path.parent / "helper")
    rig.git(*words.split(), cwd=worker.path)
    rig.git("branch", "-D", "--quiet", "helper")
    outcome, _ = retire(station, "alpha", start=start)
    assert (outcome.data["tip"], outcome.data["no_commits"]) == (commit, False)


def test_log_of_head_that_expired_says_nothing(rig, station):
    worker = rig.add_polecat("alpha")
    start = rig.git("rev-parse", "main")
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    rig.git("merge", "--quiet", "polecat/alpha")
    rig.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "--all")
    assert retire(station, "alpha", start=start)[0].data["no_commits"] is False


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
    found, troubles = w.find_unfinished(station.tools, ())
    assert troubles == []
    assert [(one.name, one.step, one.tip) for one in found] == [("alpha", "move", commit)]
    assert w.find_unfinished(station.tools, (retirement.id,)) == ([], [])
    assert w.retire_worktree(station.tools, found[0], lambda _: None).data["result"] == "retired"


def test_ref_of_a_worker_that_lives_on_is_kept_aside(rig, station):
    rig.add_polecat("alpha")
    retirement = stand.begin(station, "alpha")
    w.preserve(station.tools, retirement.but(tip=rig.git("rev-parse", "main")), stand.tree_of(station, "alpha"))
    assert w.find_unfinished(station.tools, ()) == ([], [])
    assert refs(rig) == [f"refs/witness/kept/{retirement.id}"]


def count_effects(rig):
    make_messy(rig, "probe")
    host = stand.FaultyHost()
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
        host = stand.FaultyHost()
        station = stand.make_station(rig, host)
        record = stand.begin(station, name, force=True)
        recorded = [record]
        host.number, host.at, host.after = 0, number, after
        try:
            outcome = w.retire_worktree(station.tools, record, recorded.append)
        except stand.KilledError:
            station = stand.make_station(rig)
            outcome = w.retire_worktree(station.tools, recorded[-1], recorded.append)
        rig.tmux.remember()
        assert outcome.data["result"] == "retired", (number, outcome)
        ref = outcome.data["ref"]
        reachable = rig.git("rev-list", "--objects", "--glob=refs/witness/retired/*", "--branches")
        assert [one for one in made if one not in reachable] == [], number
        assert rig.git("show", f"{ref}:files/new") == "new"
        assert not worker.path.exists()
        assert f"/polecats/{name} " not in rig.git("worktree", "list")
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


# ---- what a review of the promises found ---------------------------------------------------------------------------


def test_hold_or_pause_that_comes_while_work_is_preserved_stops_it_before_anybody_is_ended(rig, station):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    agent = kit.process(worker.pane_pid)
    said = iter(["I want to look", "I want to look"])
    outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha"), lambda _: None, lambda: next(said, ""))
    assert outcome.data["result"] == "refused"
    assert outcome.data["blockers"] == [
        ["held", "a person said stop: I want to look", "witness release alpha, or witness resume"]
    ]
    assert kit.is_alive(agent)
    assert [ref.rpartition("/")[0] for ref in refs(rig)] == ["refs/witness/kept/alpha"]
    assert w.retire_worktree(station.tools, stand.begin(station, "alpha"), lambda _: None).data["result"] == "retired"


def test_daemon_asks_for_holds_right_before_somebody_is_ended(rig, station, monkeypatch):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    agent = kit.process(worker.pane_pid)
    real = w.preserve

    def preserve(*args, **options):
        station.store.change_holds(hold=("alpha", {"reason": "let me look"}))  # `hold alpha` while step 3 runs
        return real(*args, **options)

    monkeypatch.setattr(w, "preserve", preserve)
    outcome = w.perform(station, w.Retire(subject="alpha", retirement=stand.begin(station, "alpha")))
    assert [one[0] for one in outcome.data["blockers"]] == ["held"]
    assert kit.is_alive(agent)


@pytest.mark.parametrize("step", ["preserve", "quiesce"])
def test_step_that_failed_is_not_tried_again_without_a_new_look(rig, station, step):
    """The agent worked on meanwhile; the second try ended it in the middle of an edit."""
    worker = rig.add_polecat("alpha", stand.SLEEP)
    rig.commit("work", {"x": "x"}, cwd=worker.path)
    agent, records = kit.process(worker.pane_pid), []
    with pytest.raises(stand.KilledError):
        w.retire_worktree(station.tools, stand.begin(station, "alpha"), stop_at(step, records))
    (worker.path / "x").write_text("half an edit\n")
    outcome = w.retire_worktree(station.tools, records[-1], records.append)
    assert outcome.data["result"] == "refused"
    assert [one[0] for one in outcome.data["blockers"]] == ["modified"]
    assert kit.is_alive(agent)
    assert (worker.path / "x").read_text() == "half an edit\n"


def stop_at(step, records):
    """Return a record function that is killed when a step is recorded."""

    def record(retirement):
        records.append(retirement)
        if retirement.step == step:
            raise stand.KilledError

    return record


def test_person_who_attaches_after_the_verification_is_not_thrown_out(rig, station, monkeypatch):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    agent = kit.process(worker.pane_pid)
    real = w.preserve
    clients = []

    def preserve(*args, **options):
        clients.append(
            subprocess.Popen(
                [
                    kit.PYTHON,
                    "-c",
                    "import pty, sys; pty.spawn(sys.argv[1:])",
                    "tmux",
                    "-L",
                    rig.tmux.socket,
                    "attach",
                    "-t",
                    f"={worker.session}",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "TERM": "xterm"},
            )
        )
        wait_for(lambda: rig.tmux.run("list-clients", "-t", f"={worker.session}", check=False), 10, "the client")
        return real(*args, **options)

    monkeypatch.setattr(w, "preserve", preserve)
    try:
        outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha"), lambda _: None)
    finally:
        for client in clients:
            client.kill()
            client.wait()
            client.stdin.close()
    assert [one[0] for one in outcome.data["blockers"]] == ["attached"]
    assert kit.is_alive(agent)


def test_worktree_that_a_person_removed_meanwhile_is_gone_and_does_not_jam(rig, station):
    worker, records = rig.add_polecat("alpha"), []
    commit = rig.commit("work", {"x": "x"}, cwd=worker.path)
    with pytest.raises(stand.KilledError):
        w.retire_worktree(station.tools, stand.begin(station, "alpha"), stop_at("quiesce", records))
    rig.git("worktree", "remove", "--force", worker.path)
    outcome = w.retire_worktree(station.tools, records[-1], records.append)
    assert outcome.data["result"] == "gone"
    assert [ref.rpartition("/")[0] for ref in refs(rig)] == ["refs/witness/kept/alpha"]
    assert commit in rig.git("rev-list", refs(rig)[0]).split()


def test_folder_that_somebody_makes_at_its_place_does_not_jam_the_end(rig, station):
    """A build service made polecats/alpha/target anew each time."""
    worker = rig.add_polecat("alpha")

    def record(retirement):
        if retirement.step == "decide":
            (worker.path / "target").mkdir(parents=True, exist_ok=True)

    outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha"), record)
    assert outcome.data["result"] == "retired"
    assert (worker.path / "target").is_dir()


def test_unfinished_retirements_are_found_beside_refs_of_submodules_and_broken_ones(rig, station, repo):
    """One ref of a submodule hid every unfinished retirement from a Witness that had lost its memory."""
    library = repo("library", {"l": "l\n"})
    allow = ("-c", "protocol.file.allow=always")
    rig.git(*allow, "submodule", "--quiet", "add", library.path, "lib")
    rig.git("commit", "--quiet", "--message", "submodule")
    alpha, beta = rig.add_polecat("alpha"), rig.add_polecat("beta")
    rig.git(*allow, "submodule", "--quiet", "update", "--init", cwd=alpha.path)
    rig.commit("dropped", {"d": "d"}, cwd=alpha.path / "lib")
    rig.git("reset", "--quiet", "--hard", "HEAD~1", cwd=alpha.path / "lib")
    rig.commit("work", {"b": "b"}, cwd=beta.path)
    for name in ("alpha", "beta"):
        with pytest.raises(stand.KilledError):
            w.retire_worktree(station.tools, stand.begin(station, name), stop_at("decide", []))
    rig.git("update-ref", f"{w.RETIRING_REFS}gamma/20250101T000000Z", "main")
    assert any("-sub/" in ref for ref in refs(rig))
    found, troubles = w.find_unfinished(station.tools, ())
    assert sorted(one.name for one in found) == ["alpha", "beta"]
    assert len(troubles) == 1
    assert "gamma/20250101T000000Z" in troubles[0]
    stand.run_rounds(station, 3)
    assert sorted(row["name"] for row in w.list_retired(station.tools)) == ["alpha", "beta"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="a second file system is needed")
def test_worktree_on_another_file_system_is_refused_before_its_worker_is_ended(rig, station):
    """It could not be moved, and the agent had been ended by then."""
    worker = rig.add_polecat("alpha", stand.SLEEP)
    agent = kit.process(worker.pane_pid)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        tools = w.make_tools(station.host, station.rig.but(state=other), station.config)
        outcome = w.retire_worktree(tools, stand.begin(station, "alpha"), lambda _: None)
    assert [one[0] for one in outcome.data["blockers"]] == ["elsewhere"]
    assert kit.is_alive(agent)


def test_type_change_of_a_file_comes_back(rig, station):
    worker = rig.add_polecat("alpha")
    rig.commit("a", {"f": "f\n", "d/x": "x\n", "e/deep/y": "y\n"}, cwd=worker.path)
    (worker.path / "f").unlink()
    (worker.path / "f").mkdir()
    (worker.path / "f" / "g").write_text("work\n")
    for folder in ("d", "e"):
        shutil.rmtree(worker.path / folder)
        (worker.path / folder).write_text("a file now\n")
    before = rig.git("status", "--porcelain", "-uall", cwd=worker.path)
    outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha", force=True), lambda _: None)
    assert outcome.data["result"] == "retired"
    w.recover_worktree(station.tools, "alpha")
    assert (worker.path / "f" / "g").read_text() == "work\n"
    assert (worker.path / "d").read_text() == (worker.path / "e").read_text() == "a file now\n"
    assert rig.git("status", "--porcelain", "-uall", cwd=worker.path) == before


def test_retirement_whose_entry_is_still_there_is_not_called_done(rig, station, monkeypatch):
    rig.add_polecat("alpha")
    real, records = w.drop_entry, []
    monkeypatch.setattr(w, "drop_entry", lambda *_: None)
    outcome = w.retire_worktree(station.tools, stand.begin(station, "alpha"), records.append)
    assert (outcome.data["result"], "is still there" in outcome.detail) == ("failed", True)
    assert [ref.split("/")[2] for ref in refs(rig)] == ["retiring"]
    monkeypatch.setattr(w, "drop_entry", real)
    again = w.retire_worktree(station.tools, records[-1].but(step="remove"), records.append)
    assert again.data["result"] == "retired"
