"""The promises, held in a world in which anything may happen at any moment, the daemon's own death included.

`World` is the model: the clock, workers that work, stall and die, mails, issues, tools that fail, a person. `decide`
acts on it through `Audited`, which knows what is true, as opposed to what was seen, and holds each action to it.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tools.simulation import ACTOR, DIRT, HOUR, Worker, World, make_claim, make_issue

from witness import CLOSED, FOLLOW_UPS, SPAWN_ATTEMPTS, Memory

NAMES = ("alpha", "beta", "gamma")
ISSUES = ("de-1", "de-2", "de-3")
OTHER = "other/witness@ffffffffffff"
TOOLS = ("tmux", "git", "queue", "mailbox", "folder")
STEPS = ("", "verify", "preserve", "quiesce", "move", "decide", "remove", "branch", "close")
SETTLED = {"working", "failed", "handed-over", "released", "closed"}
FAULTS = ("", "host", "tool")


class Audited(World):
    """A world that holds every action to what is true at that moment."""

    def __init__(self, **config) -> None:
        super().__init__(**config)
        self.asked: dict[str, list[float]] = {}  # believable requests, by mail or by a person, and when
        self.begun: set[str] = set()
        self.elapsed = 0.0  # what a clock shows that nobody sets
        self.nudged: dict[str, float] = {}
        self.restarted: dict[str, list[float]] = {}
        self.tries: Counter = Counter()  # spawns of an issue since anybody said "do it anew"
        self.excuses: Counter = Counter()  # those that were no attempt of the issue, or were forgotten in a crash
        self.minds: set[str] = set()  # mails that need a mind
        self.requests: dict[str, str] = {}  # believable requests by mail: whose
        self.seen = None

    # -- time and truth --------------------------------------------------------------------------------

    def tick(self, after_s=None, **how):
        """Let time pass; the daemon must come to rest within the rounds it may do at once."""
        self.elapsed += self.config.interval if after_s is None else after_s
        before = len(self.done)
        actions = super().tick(after_s, **how)
        rest = [one for one in self.outcomes if one.kind not in ("sweep", "ack", "letter")]
        assert rest == [] or len(self.done) - before < FOLLOW_UPS or how.get("person"), "it does not come to rest"
        return actions

    def decide(self, seen, memory):
        """Remember what was seen."""
        self.seen = seen
        decision = super().decide(seen, memory)
        self.check_ledger(memory, decision)
        return decision

    def check_ledger(self, memory: Memory, decision) -> None:
        """Each escalation that is open was told, or is about to be."""
        after = decision.memory
        for key, matter in after.escalations.items():
            letter = f"{key}.{int(matter.opened_at)}.{matter.raises}"
            assert letter in after.pending or letter in self.sent, f"nobody was told of {key}"

    def life_of(self, worker: Worker) -> int:
        """Return since when a worker has the life it has now, or had the last that anybody could see."""
        if worker.pane is not None:
            return int(worker.pane.created_at)
        track = self.memory.polecats.get(worker.name)
        return max(int(worker.born_at), int(track.instance.rpartition(".")[2] or 0) if track is not None else 0)

    def may_act(self) -> None:
        """Nothing is begun while paused, or on a look that failed."""
        assert not self.paused, "it is paused"
        assert not {"tmux", "git", "folder"} & set(self.failing), "a tool did not answer"

    def may_act_on(self, name: str) -> None:
        """Nothing is begun that touches a worker that is held, or whose session only looks absent."""
        self.may_act()
        assert name not in self.holds, f"{name} is held"
        assert self.is_hidden(name) != "known", f"{name} lives, only its socket is gone"

    def is_hidden(self, name: str) -> str:
        """Say of a worker whose socket was deleted whether the memory could know that it lives; "" for others."""
        pane, track = self.workers[name].pane, self.memory.polecats.get(name)
        if pane is None or pane.pane_id not in self.hidden:
            return ""
        return "known" if track is not None and track.pane_pid == pane.pid else "never seen"

    # -- actions ---------------------------------------------------------------------------------------

    def do_Nudge(self, action):  # noqa: N802
        name = action.subject
        self.may_act_on(name)
        worker = self.workers[name]
        # One that was never seen to run anything but a shell is not known to be dead; it gets mail.
        assert worker.alive or (worker.pane is not None and worker.pane.command not in action.agents), f"{name} is dead"
        assert self.elapsed - self.nudged.get(name, -HOUR) >= self.config.nudge_wait, f"{name} was nudged just now"
        self.nudged[name] = self.elapsed
        return super().do_Nudge(action)

    def do_Restart(self, action):  # noqa: N802
        name = action.subject
        self.may_act_on(name)
        assert not self.workers[name].alive or self.is_hidden(name), f"{name} is alive"
        assert self.issues[action.issue].status == "open", "its issue is not open"
        times = self.restarted.setdefault(name, [])
        times.append(self.elapsed)
        assert sum(at > self.elapsed - HOUR for at in times) <= self.config.max_restarts, "too many restarts"
        return super().do_Restart(action)

    def do_Retire(self, action):  # noqa: N802
        retirement, name = action.retirement, action.subject
        worker = self.workers.get(name)
        if retirement.step in ("verify", "preserve"):
            self.may_act_on(name)
        if retirement.id not in self.begun and retirement.id not in self.moved:
            assert worker is not None
            life, mails = self.life_of(worker), self.asked.get(name, ())
            asked = any(at >= life or worker.pane is None for at in mails)
            assert asked or self.is_hidden(name), f"nobody asked for {name} since {life}"
        self.begun.add(retirement.id)
        outcome = super().do_Retire(action)
        if outcome.data["result"] == "retired" and retirement.issue and not outcome.data["no_commits"]:
            self.tries[retirement.issue] = self.excuses[retirement.issue] = 0
        return outcome

    def do_StartSpawn(self, action):  # noqa: N802
        issue = action.issue.id
        self.may_act()
        assert not {"queue"} & set(self.failing), "the queue did not answer"
        assert not self.memory.storm_at, "it is halted"
        assert self.issues[issue].status == "open", "the issue is not open"
        live = [name for name, worker in self.workers.items() if self.is_live(worker)]
        assert len(live) < self.config.max_workers, "there are workers enough"
        assert self.child is None or not self.child.alive, "two spawns at a time"
        self.tries[issue] += 1
        outcome = super().do_StartSpawn(action)
        if outcome.kind == "spawn":
            self.excuses[issue] += 1
        assert self.tries[issue] - self.excuses[issue] <= SPAWN_ATTEMPTS, f"{issue} is tried without end"
        return outcome

    def is_live(self, worker: Worker) -> bool:
        """Tell whether a worker takes one of the places; one whose issue is closed is idle."""
        issue = worker.record.get("issue") or worker.issue
        is_idle = worker.record.get("state") == "idle" or getattr(self.issues.get(issue), "status", "") in CLOSED
        return worker.alive and not is_idle and self.is_hidden(worker.name) != "never seen"

    def do_EndSpawn(self, action):  # noqa: N802
        assert not {"tmux", "git"} & set(self.failing), "its effects cannot be seen"
        outcome = super().do_EndSpawn(action)
        if not outcome.ok and outcome.data.get("fault"):
            self.excuses[action.subject] += 1
        return outcome

    def do_AckMail(self, action):  # noqa: N802
        mail = self.inbox.get(action.subject)
        memory = self.memory
        if mail is not None and mail.id in self.minds:
            assert f"fwd.{mail.id}" in {*memory.pending, *self.sent}, "archived unread"
        name = self.requests.get(action.subject, "")
        if mail is not None and name in self.workers and not self.is_hidden(name):
            stale = mail.at < self.life_of(self.workers[name])
            assert stale or name in memory.requests, f"the request of {name} was dropped"
        return super().do_AckMail(action)


class Rounds(RuleBasedStateMachine):
    """What may happen; between any two of these the daemon may or may not have looked."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Audited(auto_spawn=True, on_dead="restart", max_workers=3, spawn_delay_ms=1000)

    @initialize()
    def begin(self):
        self.world.queue(*ISSUES[:2])
        self.world.tick()

    # -- time, and the daemon itself -------------------------------------------------------------------

    @rule(after_s=st.sampled_from([0, 1, 30, 30, 130, 400, 1900]))
    def look(self, after_s):
        self.world.tick(after_s)

    @rule(minutes=st.sampled_from([2, 35, 70]))
    def let_time_pass(self, minutes):
        for _ in range(4):
            self.world.tick(minutes * 15)

    @rule(hours=st.sampled_from([1, 9]))
    def suspend(self, hours):
        self.world.tick(hours * HOUR, gap=True)

    @rule()
    def set_the_clock_back(self):
        self.world.now -= 1000
        self.world.tick(0, gap=True)

    @rule(actions=st.integers(0, 4), rounds=st.integers(1, 3))
    def die_between_save_and_outcome(self, actions, rounds):
        """Killed after the memory was saved and so many actions were done; whatever came of them is not known."""
        world = self.world
        world.now += 30
        world.elapsed += 30
        for _ in range(rounds - 1):
            world.round()
        world.excuses.update(ISSUES)
        world.round(crash_after=actions)

    @rule(step=st.sampled_from(STEPS[1:]), which=st.integers(0, 5))
    @precondition(lambda self: self.world.workers)
    def die_within_a_retirement(self, step, which):
        self.any_worker(which).dies_at = step

    @rule()
    def restart(self):
        self.world.restart()

    @rule()
    def lose_the_memory(self):
        world = self.world
        # What was forwarded and not yet sent is lost with it; it lies in the mailbox among what was read.
        world.minds -= {key[len("fwd.") :] for key in world.memory.pending}
        world.save(Memory())
        world.restart()
        world.tries.clear()
        world.excuses.clear()
        world.restarted.clear()
        world.tick()

    # -- workers ---------------------------------------------------------------------------------------

    def any_worker(self, which: int) -> Worker:
        names = sorted(self.world.workers)
        return self.world.workers[names[which % len(names)]]

    @rule(name=st.sampled_from(NAMES), record=st.sampled_from([{}, {"state": "idle"}]))
    def make_a_worker_by_hand(self, name, record):
        world = self.world
        if name not in world.workers and name not in world.memory.retirements and not world.moved:
            world.add(name).record = record

    @rule(which=st.integers(0, 5), what=st.sampled_from(["commit", "commit", "edit", "show", "leave", "come back"]))
    @precondition(lambda self: self.world.workers)
    def something_moves(self, which, what):
        worker = self.any_worker(which)
        if worker.pane is None:
            return
        if what == "come back":
            worker.pane, worker.shell = worker.pane.but(command="agent"), ""
        else:
            getattr(worker, what)()

    @rule(which=st.integers(0, 5), what=st.sampled_from(["end", "start", "start"]))
    @precondition(lambda self: self.world.workers)
    def a_session_comes_or_goes(self, which, what):
        worker = self.any_worker(which)
        if worker.pane is None or worker.pane.pane_id not in self.world.hidden:
            getattr(worker, what)()

    @rule(
        which=st.integers(0, 5),
        persons=st.integers(0, 1),
        look=st.sampled_from(["", "", "git timed out"]),
        trouble=st.sampled_from(["", "", "", "no admin folder"]),
    )
    @precondition(lambda self: self.world.workers)
    def circumstances_change(self, which, persons, look, trouble):
        worker = self.any_worker(which)
        worker.persons, worker.look_fails, worker.trouble = persons, look, trouble

    @rule(which=st.integers(0, 5), early=st.booleans(), late=st.booleans(), fails_at=st.sampled_from(STEPS))
    @precondition(lambda self: self.world.workers)
    def a_retirement_will_go_so(self, which, early, late, fails_at):
        worker = self.any_worker(which)
        worker.blockers, worker.late_blockers, worker.fails_at = (DIRT,) * early, (DIRT,) * late, fails_at

    @rule(which=st.integers(0, 5))
    @precondition(lambda self: self.world.workers)
    def a_worktree_vanishes(self, which):
        worker = self.any_worker(which)
        if worker.name not in self.world.memory.retirements and worker.pane is None:
            del self.world.workers[worker.name]

    # -- mail ------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 5), sender=st.sampled_from(["", "mayor/"]))
    @precondition(lambda self: self.world.workers)
    def ask_to_be_shut_down(self, which, sender):
        world, worker = self.world, self.any_worker(which)
        world.now += 1
        world.requests[world.ask(worker.name, sender)] = worker.name
        world.asked.setdefault(worker.name, []).append(world.now)

    @rule(name=st.sampled_from([*NAMES, *ISSUES]))
    def forge_a_request(self, name):
        self.world.ask(name, "demo/delta")

    @rule(subject=st.sampled_from(["HELP", "what is this", "MERGED x", "POLECAT_DONE alpha exit=0"]))
    def send_mail(self, subject):
        mail = self.world.mail(subject)
        if subject in ("HELP", "what is this"):
            self.world.minds.add(mail)

    # -- tools -----------------------------------------------------------------------------------------

    @rule(tools=st.sets(st.sampled_from(TOOLS), max_size=2))
    def tools_fail(self, tools):
        self.world.failing = dict.fromkeys(tools, "timed out")

    @rule()
    def tools_work_again(self):
        self.world.failing, self.world.claims_lost, self.world.sinks_fail = {}, False, False
        self.world.hidden = set()

    @rule()
    def the_socket_is_deleted(self):
        self.world.lose_socket()

    @rule(what=st.sampled_from(["claims_lost", "sinks_fail"]))
    def something_else_fails(self, what):
        setattr(self.world, what, True)

    @rule()
    def the_claims_are_deleted(self):
        self.world.claims = {}
        self.world.tries.clear()
        self.world.excuses.clear()

    # -- issues and spawns -----------------------------------------------------------------------------

    @rule(issue=st.sampled_from(ISSUES), status=st.sampled_from(["open", "open", "closed"]))
    def an_issue_changes(self, issue, status):
        world = self.world
        if world.issues.get(issue, make_issue(issue)).status != status:
            world.tries[issue] = world.excuses[issue] = 0
        world.issues[issue] = make_issue(issue, status=status)

    @rule(issue=st.sampled_from(ISSUES))
    def another_host_claims(self, issue):
        if self.world.claims.get(issue, make_claim(state="closed")).state in ("closed", "released"):
            self.world.claims[issue] = make_claim(issue, actor=OTHER, name="")

    @rule(
        ok=st.sampled_from([True, True, False, None]),
        fault=st.sampled_from(FAULTS),
        tree=st.booleans(),
        session=st.booleans(),
    )
    @precondition(lambda self: self.world.child is not None and self.world.child.alive)
    def the_spawn_ends(self, ok, fault, tree, session):
        world = self.world
        if ok:
            world.end_child(ok=True)
        else:
            world.end_child(
                ok=ok,
                reason="no such command" * (ok is False),
                fault=fault * (ok is False),
                worktree=tree,
                session=session,
            )

    # -- persons ---------------------------------------------------------------------------------------

    @rule(paused=st.sampled_from(["", "", "a talk"]), held=st.sets(st.sampled_from([*NAMES, "de-1"]), max_size=1))
    def pause_and_hold(self, paused, held):
        self.world.paused, self.world.holds = paused, dict.fromkeys(held, "mine")

    @rule()
    def resume(self):
        self.world.resumed_at = self.world.now

    @rule(which=st.integers(0, 5), force=st.booleans())
    @precondition(lambda self: self.world.workers)
    def a_person_shuts_down(self, which, force):
        world, name = self.world, self.any_worker(which).name
        world.asked.setdefault(name, []).append(max(world.now, world.life_of(world.workers[name])))
        world.shutdown(name, force=force)

    @rule(duty=st.sampled_from(["health", "spawn"]))
    def a_person_asks(self, duty):
        self.world.person(duty)

    @rule(issue=st.sampled_from(ISSUES), reset=st.booleans())
    def a_person_spawns(self, issue, reset):
        world = self.world
        if reset and world.reset_spawn(issue):
            world.tries[issue] = world.excuses[issue] = 0
        world.person("spawn", only=(issue,))

    # -- what always holds -----------------------------------------------------------------------------

    @invariant()
    def no_issue_has_two_workers(self):
        there = [*self.world.workers.values(), *self.world.moved.values()]
        counts = Counter(worker.issue for worker in there if worker.issue)
        assert [issue for issue, count in counts.items() if count > 1] == []

    @invariant()
    def no_worker_is_lost(self):
        """A worktree that left its place was retired, step by step, or its owner removed it."""
        assert len(self.world.retired) == len(set(self.world.retired))
        assert set(self.world.moved) <= self.world.begun
        assert set(self.world.retired) <= self.world.begun

    @invariant()
    def attempts_stay_below_the_cap_and_memory_is_bounded(self):
        world, memory = self.world, self.world.memory
        assert all(effort.attempts <= SPAWN_ATTEMPTS for effort in memory.issues.values())
        assert all(len(track.restarts) <= world.config.max_restarts for track in memory.polecats.values())
        assert len(memory.polecats) <= len(NAMES) + 4 * len(ISSUES)
        assert len(memory.escalations) <= 5 * (len(memory.polecats) + len(ISSUES)) + len(TOOLS) + 2

    def teardown(self):
        """When everything works again, everything comes to its end."""
        world = self.world
        world.failing, world.claims_lost, world.sinks_fail, world.hidden = {}, False, False, set()
        world.paused, world.holds, world.resumed_at = "", {}, world.now
        world.config = world.config.__class__({**world.config.values, "auto_spawn": False}, {})
        for worker in (*world.workers.values(), *world.moved.values()):
            worker.persons, worker.blockers, worker.late_blockers = 0, (), ()
            worker.fails_at = worker.dies_at = worker.trouble = worker.look_fails = ""
        if world.child is not None and world.child.alive:
            world.end_child(ok=True)
        world.tick(2000)
        for _ in range(5):
            world.tick(3700)
        memory = world.memory
        assert (world.inbox, memory.pending, memory.requests) == ({}, {}, {})
        assert (world.moved, memory.retirements, memory.spawn) == ({}, {}, None)
        assert {claim.state for claim in world.claims.values() if claim.actor == ACTOR} <= SETTLED
        assert {f"fwd.{mail}" for mail in world.minds} <= set(world.sent)
        assert set(memory.polecats) == set(world.workers)
        assert memory.storm_at == 0.0 or len(world.workers) > 2


def test_the_promises_hold_whatever_happens():
    run_state_machine_as_test(Rounds, settings=profile(stateful_step_count=40))


def test_the_model_is_a_world_in_which_work_gets_done():
    """Else the promises would hold because nothing ever happens."""
    world = Audited(auto_spawn=True, spawn_delay_ms=1000)
    world.queue(*ISSUES)
    for _ in range(30):
        world.tick()
        if world.child is not None and world.child.alive:
            world.end_child(ok=True)
        for worker in list(world.workers.values()):
            world.asked.setdefault(worker.commit().name, []).append(world.now)
            world.ask(worker.name)
    assert sorted(worker.issue for worker in world.retired.values()) == list(ISSUES)
    assert {claim.state for claim in world.claims.values()} == {"handed-over"}
