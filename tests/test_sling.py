"""A worker made by gt: whoever is at risk is kept first, the bead has one worker whatever was cut short."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from tools.kit import wait_for
from tools.town import git

import witness as w

CALM = {"min_free_disk": 0, "min_free_memory": 0, "max_load_per_core": 0, "spawn_delay_ms": 0, "start_grace": 0}


@pytest.fixture
def station(monkeypatch):
    """Make stations in a town: station(town, **settings)."""

    def make(town, **settings) -> w.Station:
        monkeypatch.setenv("PATH", town.bin.path())
        if town.version != "1.0.1":
            settings = {"sling_args": ["--hook-raw-bead"] if town.version == "0.5.0" else [], **settings}
        rig = w.find_rig(w.Host(), str(town.rig), {}, "/", "witness")
        config = w.make_config({**CALM, **settings}, "test", {})
        w.check_ground(w.Host(), rig, config)
        return w.Station(w.Host(), rig, config)

    return make


def rounds(station, until=None, duties=frozenset({"health", "shutdown", "spawn"}), limit_s=60, **wish):
    """Do rounds as the daemon would until nothing more follows, or until something holds."""
    done = []

    def one():
        seen, decision, outcomes = w.run_round(station, duties=duties, **wish)
        done.extend(outcomes)
        under_way = decision.memory.spawn is not None
        return until(seen, decision) if until else not under_way and not w.asks_for_more(outcomes)

    station.first = False
    wait_for(one, limit_s, "the last round")
    return done


def with_worker(town, station) -> tuple:
    """Make a town in which a worker of ours works on de-1; return (town, station, worker)."""
    made = town("1.0.1")
    made.add("de-1", "One")
    ours = station(made)
    rounds(ours)
    (name,) = made.polecats()
    return made, ours, name


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_ready_bead_gets_one_worker_and_reads_as_its(town, station, pair):
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    done = rounds(ours)
    assert [(one.ok, one.detail) for one in done if one.kind == "spawn"] == [(True, "")], done
    (name,) = made.polecats()
    status, holder = made.state("de-1")
    assert holder.endswith(f"/{name}")
    assert status in ("hooked", "in_progress")
    claim = ours.queue.claims.read_all()["de-1"]
    assert (claim.state, claim.name, claim.branch) == ("working", name, made.branch(name))
    assert not [label for label in made.issue("de-1")["labels"] if label.startswith("witness:")]
    rounds(ours)
    assert made.polecats() == [name]
    seen = w.observe(ours, ours.store.load())
    assert seen.sightings[name].session == w.PRESENT
    assert os.path.isdir(seen.sightings[name].worktree.path)


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_worker_that_asks_is_retired_and_gt_forgets_it(town, station, pair):
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    rounds(ours)
    (name,) = made.polecats()
    branch = made.branch(name)
    (made.tree(name) / "work").write_text("done\n")
    made.git("add", "work", name=name)
    made.git("commit", "--quiet", "--message", "work", name=name)
    tip = made.git("rev-parse", "HEAD", name=name)
    before = made.branches()
    made.put_mail("demo/witness", f"LIFECYCLE: polecat-{name} requesting shutdown", "Action: shutdown", f"demo/{name}")
    done = rounds(ours)
    (retired,) = [one for one in done if one.kind == "retire"]
    assert retired.data["result"] == "retired", retired
    assert made.polecats() == []
    assert not (made.rig / "polecats" / name).exists()
    assert made.branches() == before
    assert made.git("rev-parse", branch) == tip
    assert made.mails("demo/witness") == []
    issue = made.issue("de-1")
    assert (issue["status"], issue["assignee"]) == ("in_progress", made.holder(ours.actor))
    assert w.HANDED_OVER_LABEL in issue["labels"]
    ref = retired.data["ref"]
    assert made.git("rev-parse", f"{ref}^{{commit}}")
    if pair != "seed":
        assert [call["argv"] for call in made.calls("polecat") if "nuke" in call["argv"]] == [
            ["polecat", "nuke", "--force", f"demo/{name}"]
        ]
        assert "demo" not in made.gt("polecat", "list", "demo", "--json").stdout
    rounds(ours)
    assert made.polecats() == []


# ---- what is at risk ------------------------------------------------------------------------------------------------


class At:
    """A town in which chrome has lost its worker and rust has a live one; nothing of it is known to Witness."""

    def __init__(self, town, station, **settings):
        self.town = made = town()
        for number, name in enumerate(("first", "second"), 1):
            made.add(f"de-{number}", name)
            assert made.sling(f"de-{number}").status == 0
        self.lives, self.gone = (made.state(one)[1].rpartition("/")[2] for one in ("de-1", "de-2"))
        made.end_session(self.gone)
        self.station = station(made, **settings)
        self.station.look_at_town()
        made.add("de-9", "ready")
        self.issue = self.station.queue.find("de-9")

    def work(self) -> dict:
        """Leave work of every kind in the worktree whose worker is gone; return {what: its object}."""
        made, tree = self.town, self.town.tree(self.gone)
        (tree / "README.md").write_text("modified\n")
        (tree / "new").write_text("untracked\n")
        found = {name: made.git("hash-object", name, name=self.gone) for name in ("README.md", "new")}
        (tree / "committed").write_text("committed\n")
        made.git("add", "committed", name=self.gone)
        made.git("commit", "--quiet", "--message", "work", name=self.gone)
        found["commit"] = made.git("rev-parse", "HEAD", name=self.gone)
        made.git("reset", "--quiet", "--mixed", "HEAD~1", name=self.gone)  # reachable from no ref now
        (tree / "committed").unlink()
        return found

    def kept(self) -> list:
        """Return the refs of kept work, oldest first."""
        refs = self.town.git("for-each-ref", "--format=%(refname)", f"refs/witness/kept/{self.gone}")
        return refs.splitlines()

    def start(self, monkeypatch) -> tuple:
        """Go as far as the child that slings, which is not started; return (outcome, what was ordered of it)."""
        ordered = []
        monkeypatch.setattr(w, "start_spawn_child", lambda _, order: ordered.append(order) or "not now")
        return w.start_sling(self.station, w.StartSpawn(subject="de-9", issue=self.issue, name="")), ordered


def test_whoever_is_at_risk_is_protected_before_anything_is_claimed(town, station, monkeypatch):
    at = At(town, station)
    made, work, order = at.town, at.work(), []
    made.age_heartbeat(at.lives, 600)
    claim = at.station.queue.claim

    def spy(one):
        order.append((len(at.kept()), len(made.calls("heartbeat")), len(made.calls("sling")), made.state("de-9")[0]))
        return claim(one)

    monkeypatch.setattr(at.station.queue, "claim", spy)
    slings = len(made.calls("sling"))
    outcome, ordered = at.start(monkeypatch)
    assert order == [(1, 1, slings, "open")]
    assert (outcome.ok, outcome.detail) == (False, "not now")
    assert ordered[0]["argv"] == ("gt", "sling", "de-9", "demo", "--no-convoy")
    assert made.heartbeat(at.lives)["state"] == "working"
    assert made.calls("heartbeat")[0]["env"]["GT_SESSION"] == made.session(at.lives)
    assert made.heartbeat(at.gone) is None or len(made.calls("heartbeat")) == 1
    # And the claim of a sling that could not begin is given back, its label taken off.
    assert made.state("de-9") == ("open", "")
    assert made.issue("de-9")["labels"] == []
    (ref,) = at.kept()
    objects = made.git("rev-list", "--objects", ref)
    for what, blob in work.items():
        assert blob in objects, what
    # Kept once in each state.
    at.start(monkeypatch)
    assert at.kept() == [ref]
    (made.tree(at.gone) / "new").write_text("untracked, and more\n")
    at.start(monkeypatch)
    assert len(at.kept()) == 2
    assert made.git("hash-object", "new", name=at.gone) in made.git("rev-list", "--objects", at.kept()[-1])


def test_sling_resets_a_worktree_and_what_was_in_it_is_kept(town, station):
    at = At(town, station)
    made, work = at.town, at.work()
    made.change("de-2", status="closed")  # then gt calls its worker idle
    rounds(at.station)
    assert made.state("de-9") == ("hooked", f"demo/polecats/{at.gone}")
    assert not (made.tree(at.gone) / "new").exists()
    made.git("gc", "--quiet", "--prune=now")
    objects = made.git("rev-list", "--objects", *at.kept())
    for what, blob in work.items():
        assert blob in objects, what
    assert made.session(at.lives) in made.sessions()


@pytest.mark.parametrize("beats", [True, False])
def test_worker_that_sleeps_survives_a_sling_by_the_heartbeats_alone(town, station, monkeypatch, beats):
    at = At(town, station)
    made = at.town
    made.age_heartbeat(at.lives, 600)
    if not beats:
        monkeypatch.setitem(
            w.PERFORM, w.SendHeartbeats, lambda station, one: w.make_outcome(station, "beat", one, True)
        )
        monkeypatch.setattr(w, "perform_heartbeats", w.PERFORM[w.SendHeartbeats])
    before = [pane["pid"] for pane in made.tmux.panes() if pane["session"] == made.session(at.lives)]
    rounds(at.station, until=lambda *_: made.state("de-9")[0] == "hooked")
    after = [pane["pid"] for pane in made.tmux.panes() if pane["session"] == made.session(at.lives)]
    assert (after == before) is beats


def failing(*_):
    raise w.ToolError("no space left")


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("keep_work", "the work of {gone} cannot be kept: no space left"),
        ("list_lives", "tmux does not answer, so nobody knows whose worktrees are at risk"),
        ("perform_heartbeats", "a heartbeat could not be sent, and gt would end its session: {lives}: no answer"),
    ],
)
def test_nothing_is_slung_while_somebody_cannot_be_protected(town, station, monkeypatch, part, why):
    at = At(town, station)
    slings = len(at.town.calls("sling"))
    instead = {
        "keep_work": failing,
        "list_lives": lambda *_, **__: None,
        "perform_heartbeats": lambda one, action: w.make_outcome(one, "beat", action, False, f"{at.lives}: no answer"),
    }
    monkeypatch.setattr(w, part, instead[part])
    outcome, ordered = at.start(monkeypatch)
    assert (outcome.ok, outcome.data["fault"]) == (False, "tool")
    assert outcome.detail == why.format(gone=at.gone, lives=at.lives)
    assert ordered == []
    assert at.town.state("de-9") == ("open", "")
    assert len(at.town.calls("sling")) == slings
    assert at.station.queue.claims.read_all() == {}


def test_worktree_that_cannot_be_looked_into_keeps_slings_back(town, station, monkeypatch):
    at = At(town, station)
    trees, _ = w.list_trees(at.station)
    broken = {at.gone: trees[at.gone].but(trouble="its HEAD cannot be read")}
    monkeypatch.setattr(w, "list_worktrees", lambda *_: (tuple({**trees, **broken}.values()), (), ""))
    outcome, ordered = at.start(monkeypatch)
    assert (outcome.detail, ordered) == (f"the work of {at.gone} cannot be kept: its HEAD cannot be read", [])
    monkeypatch.setattr(w, "list_worktrees", lambda *_: ((), (), "polecats: Permission denied"))
    outcome, ordered = at.start(monkeypatch)
    assert (outcome.detail, ordered) == ("polecats: Permission denied", [])


def test_nobody_is_protected_where_a_sling_reuses_nothing(town, station, monkeypatch):
    made = town("0.5.0")
    made.add("de-1", "One")
    assert made.sling("de-1").status == 0
    (name,) = made.polecats()
    made.end_session(name)
    ours = station(made)
    ours.look_at_town()
    made.add("de-9", "ready")
    monkeypatch.setattr(w, "start_spawn_child", lambda *_: "not now")
    issue = ours.queue.find("de-9")
    assert w.start_sling(ours, w.StartSpawn(subject="de-9", issue=issue, name="")).detail == "not now"
    assert made.git("for-each-ref", "refs/witness") == ""


def test_bead_that_somebody_took_right_after_our_claim_is_left_to_him(town, station, monkeypatch):
    """gt's daemon needs no more than a moment; then a second worker was made for it."""
    at = At(town, station)
    mark = at.station.queue.mark

    def lose(claim):
        marked = mark(claim)
        at.town.change("de-9", status="hooked", assignee="demo/polecats/elsewhere")
        return marked

    monkeypatch.setattr(at.station.queue, "mark", lose)
    outcome, ordered = at.start(monkeypatch)
    assert ordered == []
    assert (outcome.ok, outcome.data["fault"]) == (False, "lost")
    assert at.town.state("de-9") == ("hooked", "demo/polecats/elsewhere")
    assert at.town.issue("de-9")["labels"] == []
    assert at.station.queue.claims.read_all()["de-9"].state == "released"


# ---- gt's own record of a retired worker ----------------------------------------------------------------------------


@pytest.fixture
def retired(town, station):
    """Make a town in which chrome was retired: its folder is empty, its bead handed over; return (town, station)."""
    made = town()
    made.add("de-1", "One", status="in_progress")
    ours = station(made)
    ours.look_at_town()
    made.change("de-1", assignee=ours.actor, labels=[w.HANDED_OVER_LABEL])
    (made.rig / "polecats/chrome/demo").mkdir(parents=True)
    made.git("branch", "polecat/chrome/de-1@abc", "main")
    claim = w.Claim(
        issue="de-1", actor=ours.actor, at=1.0, state="handed-over", name="chrome", shared=True, branch="polecat/chrome"
    )
    ours.queue.claims.take(claim)
    return made, ours


def put_right(made, ours) -> list:
    """Put gt's records of chrome right; return how often gt was told to forget it, and what was said of that."""
    w.put_records_right(ours, w.Retirement(name="chrome", id="chrome/1", at=1.0, issue="de-1"))
    path = Path(ours.store.path("witness-events.jsonl"))
    told = path.read_text(encoding="utf-8") if path.exists() else ""
    return len(made.calls("polecat nuke")), told


def test_gt_forgets_a_worker_of_whom_an_empty_folder_is_left(retired):
    made, ours = retired
    assert put_right(made, ours)[0] == 1
    assert not (made.rig / "polecats/chrome").exists()
    assert made.branches() == ["polecat/chrome/de-1@abc"]
    assert made.state("de-1") == ("in_progress", ours.actor)


def test_nuke_is_not_called_where_it_could_destroy_something(retired):
    made, ours = retired
    folder = made.rig / "polecats/chrome/demo"
    (folder / "deep").mkdir()
    (folder / "deep/file").write_text("work\n")
    calls, told = put_right(made, ours)
    assert (calls, "polecats/chrome holds files" in told) == (0, True), told
    (folder / "deep/file").unlink()
    made.start_session("chrome", cwd=made.path)
    calls, told = put_right(made, ours)
    assert (calls, "left as it is: a session of that name is there" in told) == (0, True)
    made.end_session("chrome")
    made.git("branch", "-D", "polecat/chrome/de-1@abc")
    made.git("branch", "polecat/chrome", "main")
    calls, told = put_right(made, ours)
    assert (calls, "left as it is: it would delete the branch polecat/chrome" in told) == (0, True)
    assert made.branches() == ["polecat/chrome"]
    made.git("branch", "-D", "polecat/chrome")
    made.spoil({"verb": "polecat nuke", "do": "fail", "times": 1})
    calls, told = put_right(made, ours)
    assert calls == 1
    assert told.count("left as it is: ") == 4


def test_branch_that_gt_deletes_is_back(retired):
    made, ours = retired
    tip = made.git("rev-parse", "polecat/chrome/de-1@abc")
    made.option(nuke_deletes="polecat/chrome/de-1@abc")
    calls, told = put_right(made, ours)
    assert (calls, "gt deleted it, it is back" in told) == (1, True)
    assert made.git("rev-parse", "polecat/chrome/de-1@abc") == tip


def test_nuke_is_not_called_while_the_bead_hangs_on_the_hook_of_who_is_gone(retired):
    """It would open the bead: ready again, its work would be done twice."""
    made, ours = retired
    made.change("de-1", status="hooked", assignee="demo/polecats/chrome")
    calls, told = put_right(made, ours)
    assert (calls, "it would open de-1, on its hook still" in told) == (0, True)
    assert made.state("de-1") == ("hooked", "demo/polecats/chrome")


def test_bead_that_was_opened_with_a_nuke_is_claimed_again(retired, monkeypatch):
    made, ours = retired
    nuke = w.nuke_argv

    def meddle(*words):
        made.change("de-1", status="open", assignee="")
        return nuke(*words)

    monkeypatch.setattr(w, "nuke_argv", meddle)
    calls, told = put_right(made, ours)
    assert (calls, "gt opened it" in told) == (1, True)
    assert made.state("de-1") == ("in_progress", ours.actor)
    assert ours.queue.claims.read_all()["de-1"].state == "handed-over"


# ---- gt that does not answer, and sessions --------------------------------------------------------------------------


def go_away(made):
    (made.bin.folder / "gt").rename(made.bin.folder / "away")


def print_garbage(made):
    made.spoil({"do": "garbage", "times": 99})
    os.utime(made.bin.folder / "gt")  # as if it was exchanged


def hang(made):
    made.spoil({"do": "hang", "times": 99})
    os.utime(made.bin.folder / "gt")


@pytest.mark.parametrize("trouble", [go_away, print_garbage, hang])
def test_nothing_is_slung_while_gt_does_not_answer_and_workers_go_on(town, station, trouble):
    at = At(town, station, tool_timeout=2)
    w.run_round(at.station, duties=frozenset({"health"}))
    trouble(at.town)
    at.station.first = False
    for _ in range(2):
        seen, decision, _ = w.run_round(at.station, duties=frozenset({"health", "shutdown", "spawn"}))
    assert seen.ports["spawner"].state == w.UNKNOWN
    assert seen.ports["tmux"].state == w.PRESENT
    assert seen.sightings[at.lives].session == w.PRESENT
    assert not [one for one in decision.actions if isinstance(one, (w.StartSpawn, w.Restart, w.Retire))]
    draft = w.Draft(seen, decision.memory, at.station.config)
    draft.verdicts = decision.verdicts
    assert "spawner is unknown: " in w.why_no_spawn(draft) or "not kept" in w.why_no_spawn(draft)
    assert at.town.session(at.lives) in at.town.sessions()
    assert at.town.state("de-9") == ("open", "")


def test_agent_of_a_dead_worker_is_started_again_by_gt(town, station):
    at = At(town, station)
    made = at.town
    ours = w.Claim(issue="de-2", actor=at.station.actor, at=1.0, state="working", name=at.gone, shared=True)
    at.station.queue.claims.take(ours)
    branch = made.branch(at.gone)
    outcome = w.perform(at.station, w.Restart(subject=at.gone, issue="de-2"))
    assert outcome.ok, outcome
    assert [call["argv"] for call in made.calls("session start")] == [["session", "start", f"demo/{at.gone}"]]
    assert made.session(at.gone) in made.sessions()
    assert (made.branch(at.gone), made.state("de-2")) == (branch, ("hooked", f"demo/polecats/{at.gone}"))
    again = w.perform(at.station, w.Restart(subject=at.gone, issue="de-2"))
    assert (again.ok, again.detail) == (False, "something runs in its pane again")
    assert len(made.calls("session start")) == 1


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_bead_of_a_worker_retired_without_a_commit_is_free_again(town, station, pair):
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    rounds(ours)
    (name,) = made.polecats()
    made.put_mail("demo/witness", f"LIFECYCLE: polecat-{name} requesting shutdown", "Action: shutdown", f"demo/{name}")
    rounds(ours, duties=frozenset({"health", "shutdown"}))
    assert made.polecats() == []
    assert made.state("de-1") == ("open", "")
    claim = ours.queue.claims.read_all()["de-1"]
    assert (claim.state, claim.owed) == ("released", "")


@pytest.mark.parametrize("verb", ["comments", "update"])
def test_bd_that_hangs_while_a_bead_is_handed_over_gives_it_to_nobody_else(town, station, verb):
    made = town()
    made.add("de-1", "One")
    ours = station(made, tool_timeout=1)
    rounds(ours)
    (name,) = made.polecats()
    (made.tree(name) / "work").write_text("done\n")
    made.git("add", "work", name=name)
    made.git("commit", "--quiet", "--message", "work", name=name)
    made.server.spoil({"verb": verb, "do": "hang"})
    made.put_mail("demo/witness", f"LIFECYCLE: polecat-{name} requesting shutdown", "Action: shutdown", f"demo/{name}")
    rounds(ours)
    made.server.spoil()
    wait_for(lambda: rounds(ours) is not None and not ours.queue.claims.read_all()["de-1"].owed, 30, "the hand-over")
    rounds(ours)
    assert made.polecats() == []
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    assert made.issue("de-1")["labels"] == [w.HANDED_OVER_LABEL]
    assert ours.queue.claims.read_all()["de-1"].state == "handed-over"


def test_label_of_a_sling_that_bd_would_not_take_off_goes_later(town, station):
    made = town()
    made.add("de-1", "One")
    ours = station(made)
    made.server.spoil({"verb": "update", "at": 3, "do": "fail"})  # the claim, the label on; then the label off
    rounds(ours)
    (spoilt,) = [call["argv"] for call in made.server.calls("update") if call["spoilt"]]
    assert "--remove-label" in spoilt
    again = station(made)
    rounds(again)
    assert made.issue("de-1")["labels"] == []
    assert again.queue.claims.read_all()["de-1"].state == "working"


# ---- whoever retires -------------------------------------------------------------------------------------------------


def commit(made, name) -> None:
    """Let a worker commit its work."""
    (made.tree(name) / "work").write_text("done\n")
    made.git("add", "work", name=name)
    made.git("commit", "--quiet", "--message", "work", name=name)


def finish(made, name) -> None:
    """Let a worker commit its work and ask for its end."""
    commit(made, name)
    ask(made, name)


def ask(made, name) -> None:
    """Let a worker ask for its end."""
    made.put_mail("demo/witness", f"LIFECYCLE: polecat-{name} requesting shutdown", "Action: shutdown", f"demo/{name}")


@pytest.mark.parametrize(("state", "name"), [("released", ""), ("closed", ""), ("working", "amber")])
def test_bead_that_others_slung_is_handed_over_whatever_an_old_claim_says(town, station, state, name):
    made = town("1.0.1")
    made.add("de-1", "One")
    ours = station(made, auto_spawn=False)
    old = w.Claim(issue="de-1", actor=ours.actor, at=1.0, state=state, name=name, shared=True)
    ours.queue.claims.change(old)
    assert made.sling("de-1").status == 0
    (name,) = made.polecats()
    finish(made, name)
    rounds(ours)
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    assert w.HANDED_OVER_LABEL in made.issue("de-1")["labels"]
    claim = ours.queue.claims.read_all()["de-1"]
    assert (claim.state, claim.name) == ("handed-over", name)
    rounds(station(made))
    assert made.polecats() == []


def test_bead_stays_handed_over_although_bd_is_away_meanwhile(town, station, monkeypatch):
    made = town("1.0.1")
    made.add("de-1", "One")
    ours = station(made)
    rounds(ours)
    (name,) = made.polecats()
    finish(made, name)
    find, hand_over, away = ours.queue.find, ours.queue.hand_over, []

    def find_or_fail(issue):
        if away:
            raise w.ToolError("bd show: no answer in 20 s", "look at it with `bd show`")
        return find(issue)

    monkeypatch.setattr(ours.queue, "find", find_or_fail)
    monkeypatch.setattr(ours.queue, "hand_over", lambda claim: away.append(1) or hand_over(claim))
    done = rounds(ours)
    assert [one.data["result"] for one in done if one.kind == "retire"] == ["retired"]
    assert made.state("de-1") == ("hooked", f"demo/polecats/{name}")  # gt would have opened it
    away.clear()
    ours.remember(ours.store.load().but(owed={}))
    rounds(ours)
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    assert w.HANDED_OVER_LABEL in made.issue("de-1")["labels"]
    assert made.polecats() == []


def test_retirement_ends_although_another_worktree_has_the_entrys_name_by_then(town, station, monkeypatch):
    made = town("1.0.1")
    made.add("de-1", "One")
    made.add("de-2", "Two")
    ours = station(made, max_workers=1)
    rounds(ours)
    (name,) = made.polecats()
    finish(made, name)
    hand_over = w.hand_over_issue

    def fail_once(*words):
        monkeypatch.setattr(w, "hand_over_issue", hand_over)
        assert made.sling("de-2").status == 0
        raise w.ToolError("bd is away")

    monkeypatch.setattr(w, "hand_over_issue", fail_once)
    rounds(ours)
    (left,) = ours.store.load().retirements.values()
    assert left.step == "close"
    (other,) = made.polecats()
    assert w.read_worktree(ours.rig, other).admin == left.admin
    ours.remember(ours.store.load().but(retirements={left.name: left.but(next_at=0.0)}))
    rounds(ours)
    assert ours.store.load().retirements == {}
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    assert made.state("de-2") == ("hooked", f"demo/polecats/{other}")
    assert made.git("status", "--porcelain", "--untracked-files=no", name=other) == ""


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_bead_of_which_no_commit_came_is_free_again(town, station, pair):
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    rounds(ours)
    (name,) = made.polecats()
    assert ours.queue.claims.read_all()["de-1"].start == made.git("rev-parse", "HEAD", name=name)
    ask(made, name)
    done = rounds(ours)
    assert [one.data["no_commits"] for one in done if one.kind == "retire"] == [True]
    assert made.state("de-1") == ("open", "")
    assert ours.queue.claims.read_all()["de-1"].state == "released"


def test_work_that_came_by_fast_forward_is_handed_over_and_not_slung_again(town, station):
    """An agent works in a worktree inside its own: its log of HEAD knew of no commit, and a second worker was made."""
    made, ours, name = with_worker(town, station)
    inner = made.tree(name) / ".claude/worktrees/feature"
    made.git("worktree", "add", "--quiet", "-b", "feature", inner, name=name)
    (inner / "work").write_text("done\n")
    git("add", "work", cwd=inner)
    git("commit", "--quiet", "--message", "the whole work", cwd=inner)
    made.git("merge", "--quiet", "--ff-only", "feature", name=name)
    made.git("worktree", "remove", "--force", inner, name=name)
    ask(made, name)
    (retired,) = [one for one in rounds(ours) if one.kind == "retire"]
    assert (retired.data["result"], retired.data["no_commits"]) == ("retired", False)
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))


@pytest.mark.parametrize("reused", [False, True])
def test_bead_is_not_closed_for_commits_of_others_that_its_worker_pulled_in(town, station, reused):
    """In a worktree used again, the commits for the bead before stood in the log and made these its own."""
    made, ours, name = with_worker(town, station)
    if reused:
        commit(made, name)
        made.git("push", "--quiet", "origin", "HEAD:main", name=name)
        made.change("de-1", status="closed")
        made.end_session(name)
        made.add("de-2", "Two")
        rounds(ours, until=lambda *_: made.state("de-2")[0] == "hooked")
        rounds(ours)
    bead = "de-2" if reused else "de-1"
    assert made.state(bead)[1] == f"demo/polecats/{name}"
    other = made.folder / "other"
    git("clone", "--quiet", made.origin, other, cwd=made.folder)
    git("commit", "--quiet", "--allow-empty", "--message", "others", cwd=other)
    git("push", "--quiet", "origin", "HEAD:main", cwd=other)
    made.git("fetch", "--quiet", "origin", name=name)
    made.git("merge", "--quiet", "--ff-only", "origin/main", name=name)
    ask(made, name)
    (retired,) = [one for one in rounds(ours) if one.kind == "retire"]
    assert (retired.data["result"], retired.data["no_commits"]) == ("retired", True)
    assert made.state(bead) == ("open", "")


# ---- other hosts ----------------------------------------------------------------------------------------------------


def test_bead_that_another_host_slings_is_given_back(town, station):
    """For seconds of its sling it is open and nobody's, and what we saw of its labels may be older."""
    made = town("1.0.1")
    made.add("de-1", "One", labels=[f"witness:other-host:{int(time.time())}"])
    ours = station(made)
    done = w.perform(ours, w.StartSpawn(subject="de-1", issue=w.Issue(id="de-1", title="One"), name=""))
    assert (done.ok, done.data["fault"]) == (False, "lost")
    assert "other-host" in done.detail
    assert made.state("de-1") == ("open", "")
    assert len(made.issue("de-1")["labels"]) == 1
    assert made.calls("sling") == []


def test_bead_that_a_killed_sling_left_open_is_claimed_again_before_its_label_goes(town, station, monkeypatch):
    made = town()
    made.add("de-1", "One")
    ours = station(made)
    made.spoil({"verb": "sling", "do": "kill", "phase": "open"})
    unmark, read = ours.queue.unmark, []
    monkeypatch.setattr(ours.queue, "unmark", lambda issue: read.append(made.state(issue)) or unmark(issue))
    rounds(ours)
    assert read[0] == ("in_progress", ours.actor)
    assert made.issue("de-1")["labels"] == []
    assert ours.queue.claims.read_all()["de-1"].state == "failed"
    assert len(made.polecats()) == 1


def test_label_of_a_sling_stays_while_its_bead_cannot_be_claimed_again(town, station, monkeypatch):
    made = town()
    made.add("de-1", "One")
    ours = station(made)
    made.spoil({"verb": "sling", "do": "kill", "phase": "open"})
    monkeypatch.setattr(ours.queue, "keep", lambda claim: ours.queue.claims.change(claim.but(owed="claim")) or "no")
    rounds(ours, lambda _, decision: ours.queue.claims.read_all()["de-1"].state == "failed")
    assert [label for label in made.issue("de-1")["labels"] if label.startswith(w.SLING_LABEL)]
    again = station(made)
    rounds(again)
    assert made.state("de-1") == ("in_progress", ours.actor)
    assert made.issue("de-1")["labels"] == []


# ---- workers that others made ---------------------------------------------------------------------------------------


def told(ours, kind) -> list:
    """Return (subject, text) of the events of a kind."""
    path = Path(ours.store.path("witness-events.jsonl"))
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [(row["subject"], row["text"]) for row in rows if row["kind"] == kind]


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0"])
def test_bead_that_others_slung_and_nobody_worked_on_is_open_again_and_never_closed(town, station, pair):
    """Its tip is that of the default branch: without knowing where it began it seemed merged."""
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made, auto_spawn=False)
    assert made.sling("de-1").status == 0
    (name,) = made.polecats()
    ask(made, name)
    (retired,) = [one for one in rounds(ours) if one.kind == "retire"]
    assert (retired.data["result"], retired.data["no_commits"]) == ("retired", True)
    assert made.state("de-1") == ("open", "")
    assert told(ours, "released") == [("de-1", f"{name} was retired without a commit")]


def test_bead_whose_beginning_nobody_knows_is_handed_over_and_not_closed(town, station, monkeypatch):
    made = town("1.0.1")
    made.add("de-1", "One")
    ours = station(made, auto_spawn=False)
    assert made.sling("de-1").status == 0
    (name,) = made.polecats()
    monkeypatch.setattr(w, "read_start", lambda *_: "")
    monkeypatch.setattr(w, "list_made", lambda *_: ["?"])
    ask(made, name)
    rounds(ours)
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    claim = ours.queue.claims.read_all()["de-1"]
    assert (claim.state, claim.start) == ("handed-over", "")
    assert w.perform(ours, w.CheckMerged(subject="de-1", claim=claim)).ok is False
    assert made.state("de-1")[0] == "in_progress"


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_bead_of_a_worker_on_a_branch_of_its_own_is_handed_over_and_not_opened_by_nuke(town, station, pair):
    """Nothing but its hook says what it works on."""
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    assert made.sling("de-1").status == 0
    (name,) = made.polecats()
    made.git("switch", "--quiet", "-c", "fix/one", name=name)
    finish(made, name)
    rounds(ours)
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    assert w.HANDED_OVER_LABEL in made.issue("de-1")["labels"]
    assert made.polecats() == []
    assert len(made.calls("sling")) == (0 if pair == "seed" else 1)


def test_nuke_is_not_called_while_another_bead_hangs_on_the_hook(town, station):
    made, ours, name = with_worker(town, station)
    made.add("de-2", "Two", status="hooked", assignee=f"demo/polecats/{name}")
    finish(made, name)
    rounds(ours)
    assert made.state("de-1") == ("in_progress", made.holder(ours.actor))
    assert made.state("de-2") == ("hooked", f"demo/polecats/{name}")
    assert made.calls("polecat nuke") == []
    assert "it would open de-2, on its hook still" in str(told(ours, "retired"))


def test_spawn_whose_worktree_has_no_readable_head_is_settled(town, station, monkeypatch):
    """A kill inside `git worktree add` leaves zeros there, and no worker was made any more, without a word."""
    made = town("1.0.1")
    made.add("de-1", "One")
    ours = station(made)
    made.spoil({"verb": "sling", "do": "kill", "phase": "folder"})
    settle, ends = w.end_sling, []

    def damage(station_, *words):
        for name in made.polecats():
            tree = w.read_worktree(ours.rig, name)
            Path(tree.admin, "HEAD").write_text("0" * 40 + "\n")
        ends.append(settle(station_, *words))
        return ends[-1]

    monkeypatch.setattr(w, "end_sling", damage)
    rounds(ours, until=lambda *_: ends)
    assert ends[0].kind == "spawn", ends[0]


def test_handed_over_bead_is_not_set_free_when_the_claims_are_lost(town, station):
    made, ours, name = with_worker(town, station)
    finish(made, name)
    rounds(ours)
    claim = ours.queue.claims.read_all()["de-1"]
    shutil.rmtree(ours.store.path("claims"))
    lost = claim.but(state="working", name="de-1", branch="", start="", at=0.0)
    action = w.ReleaseOrphan(subject="de-1", claim=lost)
    for change, why in (
        ({}, f"its label {w.HANDED_OVER_LABEL} says that its work waits to be merged"),
        ({"labels": []}, f"its branch {claim.branch} has commits"),
    ):
        made.change("de-1", **change)
        done = w.perform(ours, action)
        assert (done.ok, done.detail, done.data) == (False, why, {"kept": True})
    made.git("branch", "-D", claim.branch)
    assert "refs/witness/retired/" in w.perform(ours, action).detail
    assert made.state("de-1")[0] == "in_progress"


def test_claim_ends_with_the_bead_of_a_worker_that_is_slung_anew(town, station):
    made, ours, name = with_worker(town, station)
    made.change("de-1", status="closed")
    made.end_session(name)
    rounds(ours)
    assert ours.queue.claims.read_all()["de-1"].state == "working"  # it is idle, and its claim says why
    made.add("de-2", "Two")
    rounds(ours, until=lambda *_: made.state("de-2")[0] == "hooked")
    assert made.polecats() == [name]
    rounds(ours, until=lambda *_: ours.queue.claims.read_all()["de-1"].state == "closed")
    assert "de-1" not in w._list_wanted(ours.store.load(), ours.queue.claims.read())


# ---- what hooks do not say ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("commits", [False, True])
def test_bead_of_another_host_stays_with_its_worker_of_the_same_name(town, station, commits):
    """Two towns on one queue call their first worker alike, and a hook names no host."""
    here = town("1.0.1")
    there = town(beside=here)
    here.add("de-1", "One")
    here.add("de-2", "Two")
    ours = station(here)
    assert there.sling("de-1").status == 0
    assert here.sling("de-2").status == 0
    (name,) = here.polecats()
    assert there.polecats() == [name]
    here.git("switch", "--quiet", "-c", "fix/two", name=name)
    if commits:
        commit(here, name)
    here.change("de-2", status="closed")  # as `gt done` does
    ask(here, name)
    rounds(ours, until=lambda *_: ours.store.load().stats.get("total_retired"))
    rounds(ours)
    assert here.state("de-1") == ("hooked", f"demo/polecats/{name}")
    assert here.issue("de-1")["labels"] == []
    assert not [call for call in here.calls("sling") if call["argv"][1] == "de-1"]


def test_worker_with_a_bead_by_hand_is_not_ended_by_a_sling(town, station):
    """Its branch names the closed one, so it seemed idle while a build of its was silent."""
    made, ours, name = with_worker(town, station)
    made.change("de-1", status="closed")
    made.add("de-5", "By hand")
    assert made.sling("de-5", f"demo/polecats/{name}").status == 0
    ours = station(made, stuck_after=1, nudge_via="mail")
    ours.first = False
    time.sleep(2.5)
    made.age_heartbeat(name, 600)
    made.add("de-9", "Ready")
    before = [pane["pid"] for pane in made.tmux.panes() if pane["session"] == made.session(name)]
    rounds(ours, until=lambda *_: made.state("de-9")[0] == "hooked")
    assert [pane["pid"] for pane in made.tmux.panes() if pane["session"] == made.session(name)] == before


def test_worker_with_a_second_bead_is_not_retired_because_its_first_went_to_another(town, station):
    made, ours, name = with_worker(town, station)
    made.add("de-5", "Five")
    assert made.sling("de-5", f"demo/polecats/{name}").status == 0
    assert made.sling("de-1", "demo", "--force").status == 0  # gt types LIFECYCLE:Shutdown for the first
    rounds(ours)
    assert made.session(name) in made.sessions()
    assert "works on de-5" in str(told(ours, "mail"))
    assert told(ours, "retired") == []


# ---- looks that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0"])
def test_sling_is_not_settled_while_its_worktree_cannot_be_read(town, station, monkeypatch, pair):
    """For one tick its .git gave an I/O error: the claim was taken for another's, or the bead opened again."""
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    ours.first = False
    if pair == "0.5.0":  # made, and its bead not hooked yet
        made.spoil({"verb": "sling", "do": "kill", "phase": "session"})
    w.run_round(ours)
    wait_for(lambda: ours.spawn_child is None or ours.spawn_child.poll() is not None, 60, "the end of the child")
    (name,) = made.polecats()
    with monkeypatch.context() as patch:
        patch.setattr(w, "read_worktree", lambda *_: f"{w.UNREADABLE}: Input/output error")
        _, _, outcomes = w.run_round(ours)
        assert "Input/output error" in str([one.detail for one in outcomes if one.kind == "spawn-unsettled"])
        assert ours.queue.claims.read_all()["de-1"].state == "claimed"
        assert made.state("de-1") != ("open", "")
    rounds(ours)
    claim = ours.queue.claims.read_all()["de-1"]
    assert (claim.state, claim.name) == ("working" if pair == "1.0.1" else "failed", name)
    assert made.session(name) in made.sessions()


def test_folder_of_worktrees_that_cannot_be_read_settles_nothing(town, station, monkeypatch):
    ours = station(town("1.0.1"))
    monkeypatch.setattr(w, "list_worktrees", lambda *_: ((), (), "polecats: Input/output error"))
    with pytest.raises(w.ToolError, match="Input/output error"):
        w.list_trees(ours)


def test_bead_is_given_back_although_its_name_has_another_worker(town, station, monkeypatch):
    """Killed before the hand-over, while gt gave the name away: it stayed on a wrong hook, and nobody was told."""
    made, ours, name = with_worker(town, station)

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    ask(made, name)  # nothing was committed
    with monkeypatch.context() as patch:
        patch.setattr(w, "hand_over_issue", die)
        with pytest.raises(Killed):
            rounds(ours)
    for issue in ("de-7", "de-8"):  # meanwhile others sling
        made.add(issue, "More")
        assert made.sling(issue).status == 0
    assert name in made.polecats()
    rounds(station(made, auto_spawn=False))
    assert made.state("de-1") == ("open", "")
    assert {made.state(issue)[0] for issue in ("de-7", "de-8")} == {"hooked"}
