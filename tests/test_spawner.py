"""A worker is made by a child that tells how it ended, and finds what an earlier try has left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from tools import beads, kit, stand
from tools.kit import wait_for

import witness as w


@pytest.fixture
def station(rig):
    made = stand.make_station(rig, agent_command=stand.SLEEP)
    made.queue.add("One", "demo")
    yield made
    rig.tmux.remember()
    reap(made)


def reap(station):
    if station.spawn_child is not None:
        assert not station.spawn_child.outlives(time.monotonic() + 10)


def spawn_until(station, rounds, done):
    """Do rounds until the condition holds; everything a tick does is done."""

    def step():
        stand.run_rounds(station)
        return done()

    wait_for(step, rounds, "the spawn")


def child_of(station):
    """Return the spawn child once it has said who it is."""

    def sight():
        found = w.read_spawn(station.store)
        return found if found and found.pid else None

    return wait_for(sight, 5, "the child")


def claim_of(station):
    (claim,) = station.queue.claims.read().values()
    return claim


def test_child_that_fails_half_way_tells_why(rig, station, tmp, monkeypatch):
    """git status that failed after the checkout was once only "no worker came of it"."""
    real = shutil.which("git")
    (tmp / "bin").mkdir()
    script = tmp / "bin" / "git"
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\nif 'status' in sys.argv: sys.exit('index is odd')\n"
        f"os.execv({real!r}, ['git', *sys.argv[1:]])\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp / 'bin'}:{os.environ['PATH']}")
    spawn_until(station, 10, lambda: station.store.load().issues)
    (effort,) = station.store.load().issues.values()
    assert "index is odd" in effort.error
    assert effort.attempts == 0  # the tool's fault, not the issue's


def test_places_in_the_command_are_filled_once_and_stay_words(rig):
    found = w.find_rig(w.Host(), str(rig.path), {}, "/")
    filled = w.fill_command(
        ("{name}", "x{issue}y", "{title}", "{worktree}", "{rig}", "{other}"), found, "n", "i", "{name} $x", "/p"
    )
    assert filled == ("n", "xiy", "{name} $x", "/p", "demo", "{other}")


def test_spawn_makes_branch_worktree_and_session_and_records_them(rig, station):
    spawn_until(station, 15, lambda: station.memory.spawn is None and station.queue.claims.read())
    claim = claim_of(station)
    assert (claim.state, claim.actor, claim.branch) == ("working", station.actor, f"polecat/{claim.name}")
    assert claim.start == rig.git("rev-parse", "main")
    assert rig.git("rev-parse", claim.branch) == claim.start
    (pane,) = rig.tmux.panes()
    assert (pane["session"], pane["path"]) == (f"gt-demo-{claim.name}", str(rig.path / "polecats" / claim.name))
    words = Path(f"/proc/{pane['pid']}/environ").read_text().split("\0")
    environ = dict(one.split("=", 1) for one in words if "=" in one)
    assert (environ["GT_RIG"], environ["GT_POLECAT"], environ["WITNESS_ISSUE"]) == ("demo", claim.name, claim.issue)
    assert environ["WITNESS_RIG"] == str(rig.path)
    assert not os.path.exists(station.store.path("witness-spawn.json"))
    assert w.is_locked(station.store.path("witness-spawn.lock")) is False


def test_new_branch_starts_at_the_freshly_fetched_remote(rig, station, repo):
    upstream = repo("upstream")
    rig.git("remote", "add", "origin", upstream.path)
    fresh = upstream.commit("newer", {"n": "n"})
    spawn_until(station, 15, lambda: station.memory.spawn is None and station.queue.claims.read())
    assert claim_of(station).start == fresh


def test_command_that_ends_at_once_is_a_failed_attempt(rig):
    station = stand.make_station(rig, agent_command=["/bin/false", "x"])
    station.queue.add("One", "demo")
    spawn_until(station, 15, lambda: station.memory.issues)
    (effort,) = station.memory.issues.values()
    assert effort.attempts == 1
    assert "the agent ended at once: /bin/false x" in effort.error
    assert claim_of(station).state == "failed"  # its worktree is there, and gets the next try
    assert os.path.isdir(rig.path / "polecats" / claim_of(station).name)


def test_residue_of_a_failed_spawn_gets_the_next_try(rig):
    station = stand.make_station(rig, agent_command=["/bin/false", "x"])
    station.queue.add("One", "demo")
    spawn_until(station, 15, lambda: station.memory.issues)
    name = claim_of(station).name
    station.remember(station.memory.but(issues={}))
    station.use(w.make_config({**stand.CALM, "tmux_socket": rig.tmux.socket, "agent_command": stand.SLEEP}, "t", {}))
    spawn_until(station, 15, lambda: claim_of(station).state == "working")
    assert claim_of(station).name == name
    assert len(os.listdir(rig.path / "polecats")) == 1


@pytest.mark.parametrize("moment", ["at once", "with its worktree", "with its session"])
def test_killed_spawn_child_leads_to_exactly_one_worker(rig, station, moment):
    stand.run_rounds(station, 2)  # the first of a process starts nothing
    child = child_of(station)
    if moment == "with its worktree":
        wait_for(lambda: os.listdir(rig.path / "polecats"), 5, "the worktree")
    elif moment == "with its session":
        wait_for(rig.tmux.panes, 5, "the session")
    one = kit.process(child.pid)
    assert w.end_process(child.pid, child.start, signal.SIGKILL, w.Host())
    wait_for(lambda: not kit.is_alive(one), 5)
    fresh = stand.make_station(rig, agent_command=stand.SLEEP)  # the daemon died too
    spawn_until(fresh, 15, lambda: fresh.memory.spawn is None)  # a git that it called may go on for a moment
    fresh.remember(fresh.memory.but(issues={}))  # the back-off has passed
    spawn_until(fresh, 15, lambda: fresh.memory.spawn is None and claim_of(fresh).state == "working")
    rig.tmux.remember()
    reap(fresh)
    assert len(os.listdir(rig.path / "polecats")) == 1
    assert len(rig.tmux.panes()) == 1


@pytest.fixture
def slow_checkout(rig):
    """Let each file of a checkout take its time; return a function that lets it be quick again."""
    files = {f"f{number:02}": f"{number}\n" for number in range(30)}
    rig.commit("files", {**files, ".gitattributes": "f* filter=slow\n"})
    rig.git("config", "filter.slow.smudge", "sleep 0.1; cat")
    return lambda: rig.git("config", "filter.slow.smudge", "cat")


@pytest.mark.parametrize("killed", ["both", "the child"])
def test_worktree_whose_making_was_killed_is_made_whole_before_an_agent_sees_it(rig, slow_checkout, killed):
    """Without an index every file was staged as deleted: the agent's first `add -A` took what was not there yet."""
    station = stand.make_station(rig, agent_command=stand.SLEEP)
    station.queue.add("One", "demo")
    stand.run_rounds(station, 2)  # the first of a process starts nothing
    child = child_of(station)
    tree = rig.path / "polecats" / claim_of(station).name
    wait_for((tree / "f03").exists, 10, "a part of the checkout")
    family = kit.tree(child.pid)
    for one in family if killed == "both" else (kit.process(child.pid),):
        kit.end(one)
    if killed == "both":
        slow_checkout()
        assert not (tree / "f29").exists()
        (tree / "f00").write_text("half a fi")
        assert (rig.path / ".git" / "worktrees" / tree.name / "locked").read_text().strip() == "initializing"
    else:  # what it called goes on alone, and nothing is settled before that has ended
        stand.run_rounds(station)
        assert station.memory.spawn is not None
    spawn_until(station, 15, lambda: station.memory.spawn is None)
    assert claim_of(station).state == "failed"
    station.remember(station.memory.but(issues={}))  # the back-off has passed
    spawn_until(station, 20, lambda: claim_of(station).state == "working")
    assert rig.git("status", "--porcelain", cwd=tree) == ""
    assert (rig.git("symbolic-ref", "--short", "HEAD", cwd=tree), (tree / "f29").read_text()) == (
        claim_of(station).branch,
        "29\n",
    )
    assert not (rig.path / ".git" / "worktrees" / tree.name / "locked").exists()
    if killed == "both":  # nobody has looked at what was there: it is kept as a retired worker's folder is
        (kept,) = (rig.path / ".gastown" / "retiring").glob("*.kept")
        assert (kept / "f00").read_text() == "half a fi"
    assert len(os.listdir(rig.path / "polecats")) == 1


@pytest.mark.usefixtures("slow_checkout")
def test_checkout_may_take_the_time_of_a_spawn(rig):
    """Under tool_timeout a large one was broken off at each try, for ever."""
    station = stand.make_station(rig, agent_command=stand.SLEEP, tool_timeout=2)
    station.queue.add("One", "demo")
    spawn_until(station, 30, lambda: station.memory.spawn is None and station.queue.claims.read())
    assert claim_of(station).state == "working"


@pytest.mark.parametrize("used", ["", "looked at", "worked on"])
def test_tries_that_fail_in_the_checkout_leave_one_branch(rig, used):
    """Each took a new name, and left one more branch; one that anybody has used since stays as it is."""
    station = stand.make_station(rig, agent_command=stand.SLEEP)
    station.queue.add("One", "demo")
    rig.commit("files", {"f": "f\n", ".gitattributes": "f filter=broken\n"})
    rig.git("config", "filter.broken.required", "true")
    rig.git("config", "filter.broken.clean", "cat")
    rig.git("config", "filter.broken.smudge", "false")
    starts = []
    for number in range(3):
        spawn_until(station, 15, lambda: station.memory.issues and station.memory.spawn is None)
        starts.append(claim_of(station).start)
        reap(station)
        assert (claim_of(station).state, station.memory.issues[claim_of(station).issue].attempts) == ("released", 0)
        assert starts[-1] == rig.git("rev-parse", "main")
        (branch,) = rig.git("for-each-ref", "--format=%(refname:short)", "refs/heads/polecat").split()
        rig.commit("newer", {"newer": str(number)})
        station.remember(station.memory.but(issues={}))  # the back-off has passed
    rig.git("config", "filter.broken.smudge", "cat")
    if used == "looked at":
        rig.git("worktree", "add", "--quiet", rig.path.parent / "look", branch)
    elif used == "worked on":  # and put back: only its reflog knows of it
        work = rig.git("commit-tree", "-p", branch, "-m", "work", f"{branch}^{{tree}}")
        rig.git("update-ref", f"refs/heads/{branch}", work)
        rig.git("update-ref", f"refs/heads/{branch}", starts[-1])
    spawn_until(station, 15, lambda: claim_of(station).state == "working")
    assert claim_of(station).branch == (f"{branch}-2" if used else branch)
    assert claim_of(station).start == rig.git("rev-parse", "main")
    assert rig.git("rev-parse", branch) == (starts[-1] if used else claim_of(station).start)


@pytest.fixture
def hanging_git(tmp, monkeypatch):
    """Put a git before the real one that hangs where it should add a worktree; it writes its pid first."""
    wrapper, pid_file = tmp / "git", tmp / "pid"
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *" worktree add "*) echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file};'
        f' exec sleep 600;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp}:{os.environ['PATH']}")
    return pid_file


@pytest.mark.parametrize("stopped", [False, True], ids=["hanging", "stopped"])
def test_overdue_spawn_is_ended_with_what_it_started(rig, hanging_git, stopped):
    """An orphaned git would make the worktree after all, when the issue has long gone to another worker."""
    station = stand.make_station(rig, agent_command=stand.SLEEP, spawn_timeout=1, tool_timeout=60)
    station.queue.add("One", "demo")
    stand.run_rounds(station, 2)  # the first of a process starts nothing
    child = child_of(station)
    git = kit.process(int(wait_for(lambda: hanging_git.exists() and hanging_git.read_text(), 5, "git to hang")))
    one = kit.process(child.pid)
    if stopped:
        os.kill(child.pid, signal.SIGSTOP)
    spawn_until(station, 15, lambda: station.memory.spawn is None)
    wait_for(lambda: not kit.is_alive(one), 5, "the child to be gone")
    if stopped:
        kit.end(git)  # who is killed by KILL can tell nobody
    assert not kit.is_alive(git)
    (effort,) = station.memory.issues.values()
    assert (effort.attempts, effort.error) == (1, "it took longer than spawn_timeout")
    assert claim_of(station).state == "released"
    assert os.listdir(rig.path / "polecats") == []
    reap(station)


def test_no_second_child_while_one_runs(rig, station):
    fd = w.take_lock(station.store.path("witness-spawn.lock"))
    try:
        assert w.start_spawn_child(station.store, {}) == "another spawn still runs"
    finally:
        os.close(fd)


def test_lost_state_folder_spawns_nothing_twice(rig, station):
    spawn_until(station, 15, lambda: station.memory.spawn is None and station.queue.claims.read())
    claim = claim_of(station)
    kit.remove(rig.path / ".gastown")
    fresh = stand.make_station(rig, agent_command=stand.SLEEP)
    stand.run_rounds(fresh, 3)
    assert fresh.queue.claims.read() == {}
    assert len(rig.tmux.panes()) == 1
    rig.tmux.run("kill-session", "-t", f"=gt-demo-{claim.name}")
    rig.git("worktree", "remove", f"polecats/{claim.name}")
    stand.run_rounds(fresh, 2)  # its branch is still there: the work may be done already
    assert "is there from an earlier worker" in next(iter(fresh.memory.issues.values())).error
    assert rig.tmux.panes() == []


def test_spawn_file_of_any_content_is_a_sight(rig, station):
    birth = json.dumps({"issue": "x", "birth": [["a", "b"]]})
    for content in ("", "{", "[]", '{"pid": 3}', '{"pid": "x", "start": null}', birth):
        with open(station.store.path("witness-spawn.json"), "w", encoding="utf-8") as file:
            file.write(content)
        sight = w.read_spawn(station.store)
        assert sight is None or sight.alive is False
    assert sight.birth == (("a", "b"),)


def test_child_is_this_very_file(rig, station):
    stand.run_rounds(station, 2)  # the first of a process starts nothing
    child = child_of(station)
    argv = wait_for(lambda: w.read_argv(w.Host(), child.pid))  # () within the exec
    assert argv[:3] == (sys.executable, "-I", "-S")
    spawn_until(station, 15, lambda: station.memory.spawn is None)


def test_session_of_somebody_is_not_taken_for_the_worker(rig, station):
    """A session of the name ran something else; no agent was started, and the retirement ended the session."""
    (issue,) = station.queue.read_issues()[0]
    name = w.name_for_issue(issue.id)
    pid = rig.tmux.new_session(f"gt-demo-{name}", "/", ["sleep", "600"])
    spawn_until(station, 10, lambda: station.store.load().issues)
    (effort,) = station.store.load().issues.values()
    assert "is there already, and is no worker's" in effort.error
    assert not (rig.path / "polecats" / name).exists()
    assert kit.process(pid) is not None
    assert claim_of(station).state == "released"


def spawned(station):
    """Spawn the one issue's worker and return its claim."""
    spawn_until(station, 15, lambda: {one.state for one in station.queue.claims.read().values()} == {"working"})
    return claim_of(station)


def ask_to_retire(station, name, rounds=1):
    request = w.Request(name=name, sender="test", at=station.host.now())
    station.store.save(station.store.load().but(requests={name: request}))
    stand.run_rounds(station, rounds, duties=frozenset({"shutdown"}))


def test_worker_that_only_pulled_did_not_do_the_issue(rig, station):
    """Commits of others lay between its start and its tip, all merged: the issue was closed."""
    claim = spawned(station)
    rig.commit("somebody else's work", {"other": "o"})
    rig.git("merge", "--quiet", "--ff-only", "main", cwd=rig.path / "polecats" / claim.name)
    ask_to_retire(station, claim.name, 2)
    assert claim_of(station).state == "released"
    assert station.queue.read_issues()[0][0].status == "open"
    (effort,) = station.store.load().issues.values()
    assert "was retired without a commit" in effort.error


def test_worker_that_pulled_and_worked_did_it(rig, station):
    claim = spawned(station)
    folder = rig.path / "polecats" / claim.name
    rig.commit("somebody else's work", {"other": "o"})
    rig.git("merge", "--quiet", "--ff-only", "main", cwd=folder)
    rig.commit("its own", {"own": "o"}, cwd=folder)
    rig.git("merge", "--quiet", "--ff-only", claim.branch)
    ask_to_retire(station, claim.name, 2)
    assert claim_of(station).state == "closed"


def test_claim_that_cannot_be_read_stops_a_retirement_and_a_reset(rig, station):
    """The hand-over was lost with it, and the finished issue got a second worker."""
    claim = spawned(station)
    rig.commit("the finished work", {"x": "x"}, cwd=rig.path / "polecats" / claim.name)
    bad = Path(station.queue.claims.folder) / "other.json"
    bad.write_text("")
    ask_to_retire(station, claim.name, 3)
    assert (rig.path / "polecats" / claim.name).is_dir()
    with pytest.raises(w.ToolError, match="cannot be read"):
        w._reset_issues(station, [claim.issue])
    retirement = stand.begin(station, claim.name, issue=claim.issue)
    outcome = w.perform(station, w.Retire(subject=claim.name, retirement=retirement))
    assert (outcome.ok, "cannot be read" in outcome.detail) == (False, True)
    bad.unlink()
    assert station.store.load().retirements[claim.name].step == "close"
    stand.run_rounds(station, 2, duties=frozenset({"shutdown"}))
    assert claim_of(station).state == "handed-over"


def test_damaged_claim_is_told_to_a_person_by_name(rig, station):
    """The rig stood still in silence: every tool answered, and no letter named the file."""
    bad = Path(station.queue.claims.folder) / "de-7.json"
    bad.parent.mkdir(mode=0o700)
    bad.write_bytes(b"")
    late = w.Host.now(station.host)
    for number in range(4):
        station.host.now = lambda: late + 60 * number  # noqa: B023 - called within the round
        stand.run_rounds(station)
    (matter,) = station.memory.escalations.values()
    assert f"{bad}: is no claim; mend it, or remove it" in matter.summary
    assert station.memory.spawn is None
    (letter,) = (rig.path / ".gastown" / "mail" / "mayor" / "new").iterdir()
    assert "de-7.json" in letter.read_text()
    bad.unlink()
    stand.run_rounds(station)
    assert station.memory.escalations == {}


def test_issue_whose_line_was_deleted_does_not_jam_the_retirement_of_its_worker(rig, station):
    claim = spawned(station)
    rig.commit("work", {"x": "x"}, cwd=rig.path / "polecats" / claim.name)
    rig.git("merge", "--quiet", claim.branch)
    Path(station.queue.file).write_text("")
    ask_to_retire(station, claim.name, 2)
    assert claim_of(station).state == "handed-over"
    assert ("unclosed", claim.issue) in stand.events(station)
    assert station.store.load().retirements == {}


def test_a_child_that_ends_before_it_reads_its_order_holds_nobody_up(rig, station, monkeypatch):
    """An order larger than a pipe, whose reader is gone: written for ever, as long as we held its other end, too."""
    monkeypatch.setattr(w, "call_ourselves", lambda *_: ["false"])
    said = w.start_spawn_child(station.store, {"title": "x" * 300_000})
    assert said == "the spawn child could not be started: Broken pipe"


# ---- a shared queue


@pytest.fixture
def shared(rig, tmp, monkeypatch):
    """Return a function that makes stations whose queue is bd's, and the server."""
    server, program = beads.Server(tmp / "server"), beads.Bin(tmp / "bin")
    monkeypatch.setenv("PATH", program.path())
    beads.connect(rig.path, server)
    made = []

    def make(**settings):
        made.append(stand.make_station(rig, **{"agent_command": stand.SLEEP, **settings}))
        return made[-1]

    yield make, server
    rig.tmux.remember()
    for one in made:
        reap(one)


def test_reset_waits_for_the_spawn_of_its_own_issue(rig, shared):
    """Set free while its worker was being made, it got a second one."""
    make, server = shared
    server.add("de-1")
    station = make()
    stand.run_rounds(station, 2)  # the first one starts nothing
    assert station.memory.spawn.issue == "de-1"
    (row,) = w._reset_issues(station, ["de-1"]).data["issues"]
    assert (row["result"], row["reason"]) == ("refused", "a worker is being started for it; wait for that")
    assert server.state("de-1") == ("in_progress", station.actor)
    spawn_until(station, 15, lambda: station.queue.claims.read()["de-1"].state == "working")
    stand.run_rounds(station, 3)
    assert [pane["session"] for pane in rig.tmux.panes()] == ["gt-demo-de-1"]


def test_failed_try_that_left_a_worktree_is_tried_again(rig, shared, monkeypatch):
    """Its claim stays ours in the queue, so no look called it ready, and it was never tried again."""
    make, server = shared
    server.add("de-1")
    station = make(agent_command=["/bin/false"])
    spawn_until(station, 20, lambda: station.memory.issues and station.memory.spawn is None)
    assert station.queue.claims.read()["de-1"].state == "failed"
    assert server.state("de-1") == ("in_progress", station.actor)
    late = w.Host()
    now = late.now
    late.now = lambda: now() + 600
    later = make(host=late)
    spawn_until(later, 20, lambda: later.queue.claims.read()["de-1"].state == "working")
    assert [pane["session"] for pane in rig.tmux.panes()] == ["gt-demo-de-1"]
    assert rig.git("for-each-ref", "--format=%(refname:short)", "refs/heads/polecat") == "polecat/de-1"


def test_dead_worker_of_an_issue_that_another_has_now_is_not_started_again(rig, shared):
    make, server = shared
    server.add("de-1")
    station = make()
    spawn_until(station, 20, lambda: {one.state for one in station.queue.claims.read().values()} == {"working"})
    server.change("de-1", assignee="demo/witness@other-0123456789ab")
    action = w.Restart(subject="de-1", issue="de-1", title="t", why="dead")
    rig.tmux.remember()
    rig.tmux.run("kill-session", "-t", "=gt-demo-de-1")
    rig.tmux.new_session("gt-demo-de-1", rig.path / "polecats" / "de-1", ["sh"])
    outcome = w.perform(station, action)
    assert rig.tmux.panes()  # what is left of it is not ended for a worker that is not started
    assert (outcome.ok, outcome.detail) == (False, "de-1 is in_progress now, with demo/witness@other-0123456789ab")
    server.take_down()
    assert w.perform(station, action).ok is False
    server.bring_back()
    server.change("de-1", assignee=station.actor)
    assert w.perform(station, action).ok is True


def test_local_hand_over_is_not_done_again_once_there_is_a_database(rig, shared):
    """Open in the new database, it was taken for reopened."""
    make, server = shared
    server.add("de-1")
    first = make(backend="local")
    first.queue.claims.take(
        w.Claim(
            issue="de-1", actor=first.actor, at=1.0, state="handed-over", name="de-1", tip="abc", branch="polecat/de-1"
        )
    )
    station = make()
    stand.run_rounds(station, 4)
    assert server.state("de-1") == ("in_progress", station.actor)
    assert server.read()["de-1"]["labels"] == [w.HANDED_OVER_LABEL]
    assert rig.tmux.panes() == []
