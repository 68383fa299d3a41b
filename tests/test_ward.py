"""What gt may reset is kept in time, and whoever lives is told of: against real worktrees, sessions and slings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_sling import ask, rounds, station, told, with_worker  # noqa: F401 - a fixture
from tools.kit import wait_for
from tools.town import git

import witness as w


def leave_work(made, name) -> dict[str, str]:
    """Leave in a worktree what a sling would take: an edit, a new file, and a commit that no branch reaches."""
    tree = made.tree(name)
    made.git("commit", "--quiet", "--allow-empty", "--message", "lost", name=name)
    lost = made.git("rev-parse", "HEAD", name=name)
    made.git("reset", "--quiet", "--hard", "HEAD~1", name=name)
    (tree / "README.md").write_text("edited\n")
    (tree / "new").write_text("untracked\n")
    return {"lost": lost, "edited": "edited", "new": "untracked"}


def list_kept(made, name) -> list[str]:
    return made.git("for-each-ref", "--format=%(refname)", f"refs/witness/kept/{name}/").split()


def test_idle_worktree_is_kept_before_a_sling_resets_it(town, station):  # noqa: F811
    made, ours, name = with_worker(town, station)
    left = leave_work(made, name)
    made.end_session(name)
    made.change("de-1", status="closed")  # nothing hangs on its hook: gt takes it for idle
    made.add("de-2", "Two")
    rounds(ours, until=lambda seen, decision: made.state("de-2")[0] == "hooked")
    assert made.polecats() == [name]
    assert (made.tree(name) / "README.md").read_text() != "edited\n"  # it was reset
    (ref, *_) = list_kept(made, name)
    assert made.git("show", f"{ref}:files/README.md") == left["edited"]
    assert made.git("show", f"{ref}:files/new") == left["new"]
    assert left["lost"] in made.git("rev-list", ref).split()


def test_what_is_kept_is_kept_once_for_each_state(town, station):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    (made.tree(name) / "new").write_text("one\n")
    tree = w.read_worktree(ours.rig, name)
    assert w.keep_work(ours.tools, tree)
    assert w.keep_work(ours.tools, tree) == ""
    first = list_kept(made, name)
    (made.tree(name) / "new").write_text("another\n")
    ours.tools.host.pause(1.1)  # the time of a ref has seconds
    assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name))
    assert len(list_kept(made, name)) == len(first) + 1


def test_nothing_is_kept_twice_after_the_clock_was_set_back(town, station, monkeypatch):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    now, ahead = ours.host.now, [3600]
    monkeypatch.setattr(ours.host, "now", lambda: now() + ahead[0])
    for text in ("one\n", "another\n"):
        (made.tree(name) / "new").write_text(text)
        assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name))
        ahead[0] = 0
    before = list_kept(made, name)
    ours.tools.host.pause(1.1)  # the time of a ref has seconds
    assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name)) == ""
    assert list_kept(made, name) == before


def test_edit_of_a_person_in_a_dead_workers_tree_is_kept(town, station, monkeypatch):  # noqa: F811
    """The person calls no git, so nothing that a tick sees has changed; then gt's daemon slings."""
    made, ours, name = with_worker(town, station)
    made.change("de-1", status="closed")
    made.end_session(name)
    rounds(ours)
    first = list_kept(made, name)
    assert first
    (made.tree(name) / "by-hand").write_text("hours of a person\n")
    now, ahead = ours.host.now, [0]
    monkeypatch.setattr(ours.host, "now", lambda: now() + ahead[0])
    for _ in range(3):  # and what has not changed since is not kept a third time
        ahead[0] += w.KEPT_LOOK_S
        rounds(ours)
    (ref,) = set(list_kept(made, name)) - set(first)
    made.add("de-2", "Two")
    assert made.sling("de-2").status == 0
    assert not (made.tree(name) / "by-hand").exists()
    assert made.git("show", f"{ref}:files/by-hand") == "hours of a person"
    assert len(told(ours, "kept")) == 2


def test_work_of_one_whose_retirement_is_held_is_kept(town, station, monkeypatch):  # noqa: F811
    """Killed right after the retirement was saved; a person puts the worker on hold, and its session ends."""
    made, ours, name = with_worker(town, station)
    (made.tree(name) / "new").write_text("untracked\n")
    made.change("de-1", status="closed")
    ask(made, name)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(w.PERFORM, w.Retire, die)
    with pytest.raises(KeyboardInterrupt):
        rounds(ours)
    monkeypatch.undo()
    ours = station(made)
    ours.store.change_holds(hold=(name, {"reason": "let me look"}))
    made.end_session(name)
    kept = list_kept(made, name)
    for _ in range(3):
        w.run_round(ours)
    assert ours.store.load().retirements[name].step == "verify"
    (ref,) = set(list_kept(made, name)) - set(kept)
    assert made.git("show", f"{ref}:files/new") == "untracked"


def test_what_cannot_be_kept_defers_every_sling_and_says_so(town, station, monkeypatch):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    made.change("de-1", status="closed")
    made.add("de-2", "Two")

    def refuse(*_):
        raise w.ToolError("git could not")

    monkeypatch.setattr(w, "keep_work", refuse)
    for _ in range(3):
        seen, decision, _ = w.run_round(ours)
    assert made.state("de-2") == ("open", "")
    assert w.report_tick(seen, decision, ours.config)["queue"]["reason"] == f"the work of {name} is not kept yet"
    assert f"the work of {name} cannot be kept: git could not" == w.protect(ours)
    assert any(matter.cause == "unkept" for matter in ours.store.load().escalations.values())


@pytest.mark.parametrize("sent", [True, False])
def test_sleeping_worker_outlives_a_sling_only_by_our_heartbeat(town, station, monkeypatch, sent):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.age_heartbeat(name, 600)
    if not sent:
        told = w.Outcome(kind="beat", subject="workers", ok=True, at=0.0)
        monkeypatch.setattr(w, "perform_heartbeats", lambda *_: told)
    made.add("de-2", "Two")
    ours.remember(ours.store.load().but(beat_at=ours.host.now()))  # only those of the sling itself
    rounds(ours, until=lambda seen, decision: made.state("de-2")[0] == "hooked")
    assert (made.session(name) in made.sessions()) == sent


@pytest.mark.parametrize("attached", [True, False])
def test_person_at_the_shell_of_a_dead_worker_is_not_ended(town, station, attached):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    made.start_session(name, ["/bin/bash", "--norc", "-i"])
    (made.tree(name) / "new").write_text("untracked\n")
    target, words = f"={made.session(name)}", [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])"]
    if attached:
        words += ["tmux", "-L", made.socket, "-u", "attach", "-t", target]
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(words, env={**os.environ, "TERM": "xterm"}, **quiet) as person:
        try:
            if attached:
                wait_for(lambda: made.tmux.run("list-clients", "-t", target, check=False), 10, "the person")
            made.age_heartbeat(name, 600)
            made.add("de-2", "Two")
            ours.remember(ours.store.load().but(beat_at=ours.host.now()))  # only those of the sling itself
            rounds(ours, until=lambda *_: made.state("de-2")[0] == "hooked")
        finally:
            person.kill()
    assert (made.session(name) in made.sessions()) == attached
    assert made.git("show", f"{list_kept(made, name)[-1]}:files/new") == "untracked"


@pytest.mark.parametrize("kind", ["files", "flat", "empty"])
def test_nothing_is_slung_beside_a_folder_that_gt_would_delete(town, station, kind):  # noqa: F811
    made = town("1.0.1")
    made.add("de-1", "One")
    ours = station(made)
    old = made.rig / "polecats" / "old"
    if kind == "flat":  # as gt itself made them once
        made.git("worktree", "add", "--quiet", "-b", "polecat/old", str(old), "main")
    else:
        old.mkdir()
    if kind == "files":
        (old / "notes").write_text("mine\n")
    done = rounds(ours)
    assert bool(made.calls("sling")) == (kind == "empty")
    if kind != "empty":
        assert next(one.detail for one in done if one.kind == "spawn").startswith(f"{old} holds files")
        assert list(old.iterdir())


def test_nothing_is_slung_that_would_end_who_cannot_be_kept_alive(town, station):  # noqa: F811
    """Since 0.9 a sling ends sessions without a heartbeat; `gt heartbeat` came in 0.10."""
    made, ours, name = with_worker(town, station)
    assert w.protect(ours) == ""
    ours.town.gt.dialect = w.choose_dialect("gt", (0, 9, 0))[0]
    assert f"would end {name}" in w.protect(ours)
    made.end_session(name)
    assert w.protect(ours) == ""


@pytest.mark.parametrize("how", ["its entry names another place", "it names an old place"])
def test_nothing_is_slung_while_a_worktree_is_there_that_cannot_be_read(town, station, how):  # noqa: F811
    """To gt it is an idle worktree, and it resets it; to us it is none, and its work was kept by nobody."""
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    made.change("de-1", status="closed")
    tree = made.tree(name)
    (tree / "precious").write_text("hours of work\n")
    if how == "it names an old place":
        (tree / ".git").write_text("gitdir: /old/place/.repo.git/worktrees/demo1\n")
    else:
        admin = w.read_worktree(ours.rig, name).admin
        w.Host().write(f"{admin}/gitdir", b"/elsewhere/polecats/x/demo/.git\n")
    made.add("de-2", "Two")
    done = rounds(ours)
    assert next(one.detail for one in done if one.kind == "spawn").startswith(f"the work of {name} cannot be kept: ")
    assert made.state("de-2") == ("open", "")
    assert (tree / "precious").read_text() == "hours of work\n"


@pytest.mark.parametrize("how", ["with an older time", "staged only"])
def test_what_was_changed_without_a_newer_time_is_kept_again(town, station, how):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    tree, now = made.tree(name), ours.host.now()
    for file, age_s in (("a", 1000), ("b", 10)):
        (tree / file).write_text("first\n")
        os.utime(tree / file, (now - age_s, now - age_s))
    if how == "staged only":
        made.git("add", "a", name=name)
    assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name))
    assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name)) == ""
    (tree / "a").write_text("a second one\n")
    blob = made.git("hash-object", "-w", "a", name=name)
    if how == "staged only":
        made.git("add", "a", name=name)
        (tree / "a").write_text("first\n")
    os.utime(tree / "a", (now - 500, now - 500))  # as `cp -p` and `tar` leave it
    ours.tools.host.pause(1.1)  # the time of a ref has seconds
    assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name))
    assert blob in made.git("rev-list", "--objects", *list_kept(made, name))


@pytest.mark.parametrize("kind", ["precious", "unsaved text", "skip-worktree", "filtered", "submodule"])
def test_what_git_status_does_not_show_is_kept_again(town, station, tmp_path, kind):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)
    tree = made.tree(name)
    (made.base() / "info").mkdir(exist_ok=True)
    (made.base() / "info/exclude").write_text(".env\n.*.swp\n")
    (made.base() / "info/attributes").write_text("clean filter=clean\n")
    made.git("config", "filter.clean.clean", "echo the same")
    if kind == "submodule":
        made.git("init", "--quiet", "-b", "main", str(tmp_path / "source"))
        git("commit", "--quiet", "--allow-empty", "--message", "first", cwd=tmp_path / "source")
        allowed = ("-c", "protocol.file.allow=always")
        made.git(*allowed, "submodule", "--quiet", "add", str(tmp_path / "source"), "lib", name=name)
    file = {"precious": ".env", "unsaved text": ".notes.swp", "filtered": "clean"}.get(kind, "README.md")
    if kind == "skip-worktree":
        made.git("update-index", "--skip-worktree", "README.md", name=name)
    for number, text in enumerate(("one\n", "two\n")):
        if kind == "submodule":
            git("commit", "--quiet", "--allow-empty", "--message", text, cwd=tree / "lib")
        else:
            (tree / file).write_text(text)
        if kind == "filtered" and not number:
            made.git("add", "clean", name=name)
            made.git("commit", "--quiet", "--message", "filtered", name=name)
        ours.tools.host.pause(1.1)  # the time of a ref has seconds
        ref = w.keep_work(ours.tools, w.read_worktree(ours.rig, name))
        assert ref
        assert w.keep_work(ours.tools, w.read_worktree(ours.rig, name)) == ""
    if kind == "precious":
        assert Path(ours.store.path("rescued"), ref[len(w.KEPT_REFS) :], ".env").read_text() == text
    elif kind == "submodule":
        tip = git("rev-parse", "HEAD", cwd=tree / "lib")
        assert made.git("for-each-ref", f"--points-at={tip}", f"{ref}-sub/")
    else:
        assert made.git("show", f"{ref}:files/{file}") == text.strip()


def test_first_worker_is_slung_where_no_folder_of_workers_is_yet(town, station):  # noqa: F811
    made = town("1.0.1")
    shutil.rmtree(made.rig / "polecats")
    made.add("de-1", "One")
    rounds(station(made))
    assert made.state("de-1")[0] == "hooked"


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device", "/x"), w.ToolError("git could not")])
def test_a_host_that_cannot_keep_work_is_no_fault_of_the_issue(town, station, monkeypatch, fault):  # noqa: F811
    made, ours, name = with_worker(town, station)
    made.end_session(name)

    def refuse(*_):
        raise fault

    ours.look_at_town()
    monkeypatch.setattr(w, "keep_work", refuse)
    made.add("de-2", "Two")
    action = w.StartSpawn(subject="de-2", issue=ours.queue.find("de-2"), name="")
    done = w.perform(ours, action)
    assert (done.ok, done.data["fault"]) == (False, "tool")
    assert done.detail.startswith(f"the work of {name} cannot be kept: ")


def test_convoys_that_cannot_be_read_for_long_are_told_of(town, station):  # noqa: F811
    """They keep every sling back, and nobody knew."""
    made = town("1.0.1")
    made.start_daemon()
    made.add("de-1", "One")
    ours = station(made)
    ours.first = False
    made.town_server.take_down()
    w.run_round(ours)
    memory = ours.store.load()
    track = memory.ports["spawner"]
    assert memory.escalations == {}
    ours.remember(memory.but(ports={**memory.ports, "spawner": track.but(since_at=track.since_at - 600)}))
    seen, decision, _ = w.run_round(ours)
    (matter,) = [one for one in decision.memory.escalations.values() if one.cause == "port-spawner"]
    assert "its open convoys cannot be read: " in matter.summary
    reason = w.report_tick(seen, decision, ours.config)["queue"]["reason"]
    assert reason.startswith("spawner is unknown: its open convoys cannot be read: ")
    assert any("its open convoys cannot be read: " in str(finding) for finding in w._check_town(ours, seen))
    assert made.state("de-1") == ("open", "")


# ---- heartbeats -----------------------------------------------------------------------------------------------------


def test_heartbeats_are_sent_while_the_inbox_hangs(town, station):  # noqa: F811
    """It waits for a database, a heartbeat for none: gt's daemon would end every silent worker meanwhile."""
    made, ours, _ = with_worker(town, station)
    ours = station(made, tool_timeout=1)
    ours.first = False
    made.spoil({"verb": "mail inbox", "do": "hang", "times": 99})
    before = len(made.calls("heartbeat"))
    for beats in (1, 2, 3):
        ours.remember(ours.store.load().but(beat_at=0.0))
        seen, _, outcomes = w.run_round(ours, duties=frozenset({"health"}))
        assert seen.ports["mailbox"].state == w.UNKNOWN
        assert [one.ok for one in outcomes if one.kind == "beat"] == [True]
        assert len(made.calls("heartbeat")) == before + beats


@pytest.mark.parametrize("call", ["refinery start", "session start"])
def test_heartbeats_are_sent_after_a_call_that_hung(town, station, monkeypatch, call):  # noqa: F811
    made, ours, name = with_worker(town, station)
    monkeypatch.setattr(w, "SESSION_START_S", 1.0)
    ours = station(made, tool_timeout=1)
    ours.look_at_town()
    made.spoil({"verb": call, "do": "hang", "times": 1})
    who = "refinery" if call == "refinery start" else name
    assert not w.perform(ours, w.StartSession(subject=who)).ok
    asked = len(made.calls("version"))
    assert w.perform(ours, w.SendHeartbeats(subject="workers", sessions=(made.session(name),))).ok
    assert len(made.calls("version")) == asked  # in the dialect that was met


def test_heartbeats_that_hang_hold_up_a_tick_once_and_are_tried_again_in_time(town, station, monkeypatch):  # noqa: F811
    made, ours, name = with_worker(town, station)
    ours = station(made, tool_timeout=1)
    ours.look_at_town()
    made.spoil({"verb": "heartbeat", "do": "hang", "times": 99})
    before = len(made.calls("heartbeat"))
    action = w.SendHeartbeats(subject="workers", sessions=(made.session(name), "de-b", "de-c"))
    assert not w.perform(ours, action).ok
    assert "it hung; it is asked again in" in w.perform(ours, action).detail
    assert len(made.calls("heartbeat")) == before + 1
    assert ours.town.gt.run("gt", "mayor", "status", "--running").ok  # all else is asked on
    monkeypatch.setattr(ours.town.beats, "_hung", 30)
    monkeypatch.setattr(ours.town.beats, "_rests_until", 0.0)
    assert not w.perform(ours, action).ok
    leave_s = ours.town.beats._rests_until - ours.host.mono()
    assert leave_s + w.BEAT_TIMEOUT_S + w.BEAT_S < 180
