"""The person's side, through the built archive: look, retire, spawn, hold, queue."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from tools import kit, stand
from tools.kit import wait_for

CALM = {
    "WITNESS_START_GRACE": "0",
    "WITNESS_MIN_FREE_DISK": "0",
    "WITNESS_MIN_FREE_MEMORY": "0",
    "WITNESS_MAX_LOAD_PER_CORE": "0",
    "WITNESS_SPAWN_DELAY_MS": "0",
    "WITNESS_AGENT_COMMAND": json.dumps([kit.PYTHON, "-c", "import time; time.sleep(600)"]),
}


@pytest.fixture
def run(witness, rig):
    """Run a command of the person; the answer is (status, object of --json, text)."""

    def call(*words, **env):
        done = witness(*words, "--json", rig=rig, env={**CALM, **env})
        rig.tmux.remember()
        data = json.loads(done.stdout)
        assert (data["schema"], data["command"]) == (1, words[0]), done
        assert data["ok"] is (done.status == 0)
        return done.status, data

    yield call
    rig.tmux.remember()


def test_health_looks_and_acts_without_a_daemon(run, rig):
    rig.add_polecat("alpha", stand.SPEAK)
    rig.add_polecat("beta")
    status, data = run("health", "--dry-run")
    assert (status, [one["state"] for one in data["polecats"]]) == (1, ["working", "dead"])
    assert not (rig.state / "mail" / "mayor").exists()
    status, data = run("health")
    assert status == 1
    kinds = [action["kind"] for action in data["actions"]]
    assert kinds == ["LookTwice", "SendLetter"]
    assert all(action.keys() >= {"kind", "polecat", "issue", "done", "reason"} for action in data["actions"])
    assert len(list((rig.state / "mail" / "mayor" / "new").iterdir())) == 1
    assert run("health", "alpha")[0] == 0
    assert run("health", "ghost")[0] == 1


def test_one_shot_health_judges_by_stamps_and_nudges(run, rig, tmp):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    wait_for(lambda: rig.tmux.panes()[0]["command"].startswith("python"))
    rig.tmux.run("wait-for", "-S", "x")
    wait_for(lambda: run("health", WITNESS_STUCK_AFTER="1")[1]["polecats"][0]["state"] == "stuck", 10)
    assert run("status")[0] == 3
    wait_for(lambda: "[witness] alpha" in rig.tmux.run("capture-pane", "-p", "-t", f"={worker.session}:"), 5)


def test_shutdown_refuses_previews_forces_lists_and_recovers(run, rig):
    worker = rig.add_polecat("alpha", stand.SLEEP)
    (worker.path / "new").write_text("mine\n")
    status, data = run("shutdown", "alpha", "--dry-run")
    assert (status, data["polecats"][0]["result"]) == (1, "refused")
    status, data = run("shutdown", "alpha")
    (one,) = data["polecats"]
    assert (status, one["result"], one["blockers"][0]["kind"]) == (1, "refused", "untracked")
    assert one["blockers"][0].keys() == {"kind", "evidence", "remedy"}
    status, data = run("shutdown", "alpha", "--force")
    (one,) = data["polecats"]
    assert (status, one["result"], one["branch"]["result"]) == (0, "retired", "deleted")
    assert rig.git("show", f"{one['ref']}:files/new") == "mine"
    status, data = run("retired")
    assert data["retired"][0].keys() >= {"name", "issue", "at", "commit", "ref", "branch"}
    status, data = run("recover", "alpha")
    assert (status, (worker.path / "new").read_text()) == (0, "mine\n")
    assert run("recover", "alpha")[0] == 1
    rig.git("worktree", "remove", "--force", "polecats/alpha")
    status, data = run("shutdown", "alpha", "ghost")
    assert (status, [one["result"] for one in data["polecats"]]) == (0, ["gone", "gone"])


def test_shutdown_of_a_held_worker_and_of_no_name(run, rig, witness):
    rig.add_polecat("alpha")
    run("hold", "alpha")
    status, data = run("shutdown", "alpha")
    assert (status, data["polecats"][0]["result"]) == (1, "failed")
    assert "not begun" in data["polecats"][0]["detail"]
    assert run("shutdown", "../x")[0] == 2
    assert witness("shutdown", rig=rig).stdout == "nobody asked to be shut down; name a polecat\n"


def test_shutdown_with_a_daemon_running(run, rig, witness):
    rig.add_polecat("alpha", stand.SLEEP)
    assert witness("start", rig=rig, env={**CALM, "WITNESS_INTERVAL": "1"}).status == 0
    status, data = run("shutdown", "alpha")
    assert (status, data["polecats"][0]["result"]) == (0, "retired")


def test_spawn_explains_starts_waits_and_resets(run, rig):
    one = run("add", "One")[1]["id"]
    two = run("add", "Two", "--blocked-by", one)[1]["id"]
    epic = run("add", "Epic", "--type", "epic")[1]["id"]
    status, data = run("spawn", "--explain")
    reasons = {row["id"]: (row["result"], row["reason"]) for row in data["issues"]}
    assert reasons == {
        one: ("would spawn", None),
        two: ("not spawned", f"blocked by {one}"),
        epic: ("not spawned", "its type is epic (skip_types)"),
    }
    assert [row["id"] for row in run("spawn", "--dry-run")[1]["issues"]] == [one]
    status, data = run("spawn", one)
    assert (status, data["issues"]) == (0, [{"id": one, "result": "spawned", "reason": None, "polecat": one}])
    status, data = run("spawn", one)
    assert (status, data["issues"][0]["reason"]) == (1, f"worked on by {one}")
    assert run("spawn", "reset", one)[1]["issues"][0]["result"] == "refused"
    assert run("spawn", two)[1]["issues"][0]["reason"] == f"blocked by {one}"
    assert run("spawn", epic)[0] == 0  # a named issue passes the filters
    assert run("spawn", "ghost")[1]["issues"][0]["reason"] == "no such issue"
    assert run("shutdown", one)[0] == 0  # without a commit: the issue was not done
    assert run("spawn", "--explain", one)[1]["issues"][0]["reason"].startswith("after a failure it waits")
    assert run("spawn", "reset", one)[1]["issues"][0]["result"] == "reset"
    assert run("spawn", one)[1]["issues"][0]["result"] == "spawned"


@pytest.mark.parametrize("how", ["move", "delete"])
def test_issue_of_a_worker_that_lives_without_its_worktree_is_not_reset(run, rig, how):
    """Somebody moved or deleted the worktree; set free, the issue got a second worker beside the first."""
    issue = run("add", "One")[1]["id"]
    assert run("spawn", issue)[0] == 0
    worktree = rig.path / "polecats" / issue
    rig.git("worktree", "move", worktree, rig.path.parent / "moved") if how == "move" else shutil.rmtree(worktree)
    status, data = run("spawn", "reset", issue)
    (row,) = data["issues"]
    session = f"gt-demo-{issue}"
    assert (status, row["result"], row["polecat"]) == (1, "refused", issue)
    assert row["reason"] == f"{issue} lives without its worktree; `tmux kill-session -t ={session}` first"
    assert f"lives in session {session} without its worktree" in run("spawn", issue)[1]["issues"][0]["reason"]
    rig.tmux.run("kill-session", "-t", f"={session}")
    assert run("spawn", "reset", issue)[0] == 0


def test_issue_is_reset_although_its_worker_lives_on_with_another(run, rig):
    """A person was told that `spawn reset` frees it, and then that its worker works on it."""
    issue = run("add", "One")[1]["id"]
    assert run("spawn", issue)[0] == 0
    rig.git("branch", "-m", "polecat/rust/de-9@x", cwd=rig.path / "polecats" / issue)
    assert run("spawn", "reset", issue)[1]["issues"][0]["result"] == "reset"


def test_issue_is_not_reset_while_nobody_can_tell_whether_its_worker_lives(run, rig, tmp):
    issue = run("add", "One")[1]["id"]
    assert run("spawn", issue)[0] == 0
    rig.git("worktree", "move", rig.path / "polecats" / issue, tmp / "moved")
    (tmp / "bin").mkdir()
    (tmp / "bin" / "tmux").write_text("#!/bin/sh\nexit 7\n")
    (tmp / "bin" / "tmux").chmod(0o755)
    status, data = run("spawn", "reset", issue, PATH=f"{tmp / 'bin'}:{os.environ['PATH']}")
    assert (status, data["issues"][0]["result"]) == (1, "refused")
    assert "cannot be told" in data["issues"][0]["reason"]


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"WITNESS_MAX_WORKERS": "0"}, "0 live workers, max_workers is 0"),
        ({"WITNESS_MIN_FREE_MEMORY": "1e9"}, "MiB of memory are free"),
        ({"WITNESS_MIN_FREE_DISK": "1e9"}, "MiB of disk are free"),
        ({"WITNESS_AGENT_COMMAND": "[]"}, "agent_command is not set"),
    ],
)
def test_what_keeps_every_spawn_back_is_said(run, env, reason):
    issue = run("add", "One")[1]["id"]
    status, data = run("spawn", issue, **env)
    assert status == 1
    assert reason in data["issues"][0]["reason"]
    assert reason in run("spawn", **env)[1]["reason"]


def test_epic_is_a_filter_at_any_depth(run):
    epic = run("add", "Epic", "--type", "epic")[1]["id"]
    sub = run("add", "Sub", "--type", "epic", "--parent", epic)[1]["id"]
    deep = run("add", "Deep", "--parent", sub)[1]["id"]
    other = run("add", "Other", "--priority", "0")[1]["id"]
    rows = run("spawn", "--explain", WITNESS_EPIC_ID=epic)[1]["issues"]
    results = {row["id"]: row["result"] for row in rows}
    assert (results[deep], results[other]) == ("would spawn", "not spawned")


def test_wrong_agent_waits_for_a_person_after_three_tries(run, rig):
    issue = run("add", "One")[1]["id"]
    for number in range(1, 4):
        status, data = run("spawn", issue, WITNESS_AGENT_COMMAND='["/bin/false", "x"]')
        assert status == 1, data
        assert "the agent ended at once" in data["issues"][0]["reason"]
        memory = json.loads((rig.state / "witness.json").read_text())
        assert memory["issues"][issue]["attempts"] == number
        memory["issues"][issue].pop("next_at")
        (rig.state / "witness.json").write_text(json.dumps(memory))
    assert f"`spawn reset {issue}` tries again" in run("spawn", issue)[1]["issues"][0]["reason"]
    assert f"Issue {issue} was given up after 3 failed attempts" in "".join(
        path.read_text() for path in (rig.state / "mail" / "mayor" / "new").iterdir()
    )
    assert len(list((rig.path / "polecats").iterdir())) == 1  # each try found the worktree of the first


def test_issues_are_added_listed_and_closed(run, witness, rig):
    one = run("add", "One", "--label", "x", "--priority", "1")[1]["id"]
    (row,) = run("issues")[1]["issues"]
    assert row.keys() >= {"id", "title", "status", "spawnable", "reason"}
    assert (row["id"], row["spawnable"]) == (one, True)
    assert run("close", one)[0] == 0
    assert run("issues")[1]["issues"] == []
    assert run("issues", "--all")[1]["issues"][0]["status"] == "closed"
    assert run("close", "ghost")[0] == 1
    assert "no issues" in witness("issues", rig=rig).stdout


def test_queue_of_another_backend_is_not_written(run, rig):
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads" / "beads.db").touch()
    for words, said in ((("add", "x"), "beads"), (("close", "x"), "beads"), (("issues",), "bd is not on the PATH")):
        status, data = run(*words)
        assert status == 1
        assert said in data["error"]["message"]


def test_nothing_is_called_unknown_while_the_queue_is(run, rig):
    """With bd away, an issue was "no such issue", and "no worker, issue or retired worker"."""
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads" / "beads.db").touch()
    (row,) = run("spawn", "de-1")[1]["issues"]
    assert row["reason"] == "the queue is unknown: bd is not on the PATH"
    status, data = run("explain", "de-1")
    assert (status, data["error"]["message"]) == (
        1,
        "de-1 is no worker, and the queue is unknown: bd is not on the PATH",
    )


def test_hold_pause_and_their_ends(run, rig):
    rig.add_polecat("alpha", stand.SPEAK)
    assert run("hold", "alpha", "--reason", "mine", "--for", "2h")[0] == 0
    assert run("health")[1]["polecats"][0]["why"] == "on hold: mine"
    assert run("release", "alpha")[0] == 0
    assert run("health")[1]["polecats"][0]["state"] == "working"
    assert run("pause", "--reason", "upgrade")[0] == 0
    issue = run("add", "One")[1]["id"]
    assert run("spawn", issue)[1]["issues"][0]["reason"] == "paused: upgrade"
    assert run("resume")[0] == 0
    assert run("spawn", issue)[0] == 0
    assert run("hold", "../x")[0] == 2
    assert run("pause", "--for", "soon")[0] == 2
