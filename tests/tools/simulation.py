"""A rig made of values: workers, mails, issues, tools that fail, and the daemon's rounds in it.

`World` stands in for everything below the line: it answers `observe` and does what `perform` does, as the hands do it.
A memory lives only as the text of witness.json, so every round also goes through dump and load. The functions before
it make single values for tables.
"""

from __future__ import annotations

from typing import Any

import witness
from witness import (
    ABSENT,
    FOLLOW_UPS,
    MAILS_PER_TICK,
    PRESENT,
    UNKNOWN,
    Action,
    Claim,
    Config,
    Decision,
    Draft,
    Issue,
    Load,
    Look,
    Mail,
    Memory,
    Observation,
    Outcome,
    Pane,
    Port,
    Request,
    Retirement,
    Sighting,
    SpawnSight,
    Track,
    Worktree,
)

T0 = 1_750_000_000.0  # a whole second, as tmux keeps them
MIN, HOUR = 60.0, 3600.0
RIG = "demo"
ACTOR = "demo/witness@0123456789ab"
STEPS = ("verify", "preserve", "quiesce", "move", "decide", "remove", "branch", "close")
DIRT = ("modified", "changed and not committed: a.txt", "git add -A && git commit")


# ---- single values --------------------------------------------------------------------------------------------------


def settings(**given: Any) -> Config:
    """Return the default settings with an agent to run, and with these changed."""
    values = {setting.name: setting.default for setting in witness.SETTINGS}
    return Config({**values, "agent_command": ("agent",), **given}, {})


def make_pane(name: str = "alpha", **changes: Any) -> Pane:
    """Return the pane of a worker whose session was made two hours ago and that has moved just now."""
    pane = Pane(
        session=f"gt-{RIG}-{name}",
        session_id="$1",
        created_at=T0 - 2 * HOUR,
        attached=0,
        server_pid=100,
        pane_id="%1",
        pid=1001,
        dead=False,
        in_mode=False,
        activity_at=T0,
        command="agent",
    )
    return pane.but(**changes)


def make_tree(name: str = "alpha", **changes: Any) -> Worktree:
    """Return a worktree made two hours ago, in which nothing has moved since."""
    tree = Worktree(
        name=name,
        path=f"/rig/polecats/{name}",
        admin=f"/rig/.git/worktrees/{name}",
        branch=f"polecat/{name}",
        born_at=T0 - 2 * HOUR,
        git_at=T0 - 2 * HOUR,
    )
    return tree.but(**changes)


def make_sighting(name: str = "alpha", tree: dict | None = None, **pane: Any) -> Sighting:
    """Return a worker with a session; tree and pane name what differs."""
    own = make_pane(name, **pane)
    return Sighting(
        name=name, worktree=make_tree(name, **(tree or {})), session=PRESENT, panes=(own,), pane=own, pane_start=7
    )


def make_track(sighting: Sighting | None = None, **changes: Any) -> Track:
    """Return what is remembered of a worker that has been followed from the beginning."""
    sighting = sighting or make_sighting()
    pane = sighting.pane or make_pane(sighting.name)
    track = Track(
        instance=witness.instance_of(pane),
        pane_id=pane.pane_id,
        pane_pid=pane.pid,
        pane_start=7,
        agents=("agent",),
        state="working",
        state_at=pane.created_at,
        reset_at=pane.created_at,
    )
    return track.but(**changes)


def make_seen(*sightings: Sighting, **changes: Any) -> Observation:
    """Return what a tick sees when every tool answers and nothing else is there."""
    ports = dict.fromkeys(("tmux", "git", "queue", "mailbox"), Port())
    seen = Observation(
        now=T0,
        rig=RIG,
        day="2025-06-15",
        ports=ports,
        issues=(),
        claims={},
        actor=ACTOR,
        sightings={one.name: one for one in sightings},
        sessions=frozenset(one.pane.session for one in sightings if one.pane is not None),
        load=Load(per_core=0.1, free_memory_mib=9999.0, free_disk_mib=99999.0),
    )
    return seen.but(**changes)


def make_draft(seen: Observation | None = None, memory: Memory | None = None, config: Config | None = None) -> Draft:
    """Return a decision under way."""
    return Draft(seen or make_seen(), memory or Memory(), config or settings())


def make_issue(issue: str = "de-1", **changes: Any) -> Issue:
    """Return an open task that nothing blocks."""
    return Issue(id=issue, title=f"title of {issue}", created="2025-06-01T00:00:00Z").but(**changes)


def make_claim(issue: str = "de-1", state: str = "working", **changes: Any) -> Claim:
    """Return a claim of ours on an issue, given to the worker of its name."""
    return Claim(issue=issue, actor=ACTOR, at=T0, state=state, name=issue, branch=f"polecat/{issue}").but(**changes)


def of(actions, *kinds: type[Action]) -> list:
    """Return the actions of these kinds."""
    return [action for action in actions if isinstance(action, kinds)]


def words(actions) -> list[str]:
    """Return actions as short words, without the housekeeping: "Nudge alpha"."""
    quiet = (witness.SweepTrash, witness.SendLetter)
    return [f"{type(action).__name__} {action.subject}" for action in actions if not isinstance(action, quiet)]


# ---- the world ------------------------------------------------------------------------------------------------------


class CrashError(Exception):
    """The daemon was killed here."""


class Worker:
    """One worktree with, mostly, a session; what is true of it, not what anybody saw."""

    def __init__(self, world: World, name: str, issue: str = "", branch: str = "") -> None:
        self.world, self.name, self.issue = world, name, issue
        self.branch = branch or f"polecat/{name}"
        world.branches.add(self.branch)
        self.born_at = self.git_at = world.now
        self.files_at, self.changed, self.commits = 0.0, 0, 0
        self.record: dict = {}
        self.trouble = self.look_fails = ""
        self.pane: Pane | None = None
        self.shell = ""
        self.persons = 0
        self.blockers: tuple = ()  # what the verification of a retirement would find
        self.late_blockers: tuple = ()  # what it would find only after the move
        self.fails_at = ""  # the step at which a retirement fails
        self.dies_at = ""  # the step during which the daemon is killed

    def start(self, command: str = "agent", shell: str = "") -> Worker:
        """Start a session; the one before it is gone."""
        world = self.world
        world.number += 1
        at = float(int(world.now))
        self.pane = Pane(
            session=f"gt-{RIG}-{self.name}",
            session_id=f"${world.number}",
            created_at=at,
            attached=0,
            server_pid=world.server_pid,
            pane_id=f"%{world.number}",
            pid=1000 + world.number,
            dead=False,
            in_mode=False,
            activity_at=at,
            command=command,
        )
        self.shell = shell
        return self

    def end(self) -> Worker:
        """End the session and its processes."""
        self.pane, self.shell = None, ""
        return self

    def leave(self) -> Worker:
        """Let the agent exit: its pane is back at a shell."""
        self.pane, self.shell = self.pane.but(command="bash", activity_at=float(int(self.world.now))), "interactive"
        return self

    def show(self) -> Worker:
        """Let the pane move."""
        self.pane = self.pane.but(activity_at=float(int(self.world.now)))
        return self

    def commit(self) -> Worker:
        """Let git's state move."""
        self.git_at, self.commits = self.world.now, self.commits + 1
        return self

    def edit(self) -> Worker:
        """Change a file: only a second look sees it."""
        self.files_at, self.changed = self.world.now, self.changed + 1
        return self

    @property
    def alive(self) -> bool:
        """Whether an agent, or something that may be one, runs in its session."""
        return self.pane is not None and not self.pane.dead and self.shell != "interactive"

    def tree(self) -> Worktree:
        """Return the worktree as its files tell it."""
        return Worktree(
            name=self.name,
            path=f"/rig/polecats/{self.name}",
            admin=f"/rig/.git/worktrees/{self.name}",
            branch=self.branch,
            born_at=self.born_at,
            git_at=self.git_at,
            record=self.record,
            trouble=self.trouble,
        )

    def sight(self, memory: Memory) -> Sighting:
        """Return the worker as a tick sees it."""
        world = self.world
        if "tmux" in world.failing:
            return Sighting(name=self.name, worktree=self.tree())
        if self.pane is None or self.pane.pane_id in world.hidden:
            track = memory.polecats.get(self.name, Track())
            lives = self.pane is not None and track.pane_pid == self.pane.pid
            return Sighting(name=self.name, worktree=self.tree(), session=ABSENT, process_lives=lives)
        pane = self.pane.but(attached=self.persons)
        return Sighting(
            name=self.name,
            worktree=self.tree(),
            session=PRESENT,
            panes=(pane,),
            pane=pane,
            pane_start=pane.pid * 10,
            shell=self.shell,
        )


class World:
    """Everything outside, one daemon in it, and what both have done."""

    def __init__(self, **config: Any) -> None:
        self.config = settings(**{"auto_spawn": False, **config})
        self.now, self.number, self.server_pid = T0, 0, 100
        self.workers: dict[str, Worker] = {}
        self.moved: dict[str, Worker] = {}  # worktrees that a retirement has moved aside, by the retirement's id
        self.retired: dict[str, Worker] = {}
        self.strangers: tuple = ()
        self.failing: dict[str, str] = {}  # tmux, git, queue, mailbox, or folder: what each complains of
        self.hidden: set[str] = set()  # panes of a tmux server whose socket was deleted
        self.claims_lost = False
        self.inbox: dict[str, Mail] = {}
        self.acked: list[str] = []
        self.sent: dict[str, witness.Letter] = {}  # by key: a second delivery finds the first
        self.sinks_fail = False
        self.nudges: list[tuple[float, str]] = []
        self.issues: dict[str, Issue] = {}
        self.branches: set[str] = set()
        self.claims: dict[str, Claim] = {}
        self.child: SpawnSight | None = None
        self.load = Load(per_core=0.1, free_memory_mib=9999.0, free_disk_mib=99999.0)
        self.paused, self.holds, self.resumed_at = "", {}, 0.0
        self.town: witness.Town | None = None
        self.disk = witness.dump_memory(Memory())
        self.events: list[tuple] = []
        self.done: list[Action] = []
        self.first, self.outcomes, self.looks = True, (), {}
        self.records: dict[str, Retirement] = {}  # what git's refs tell of retirements that have preserved something
        self.taken_up = False

    # -- what happens outside --------------------------------------------------------------------------

    def add(self, name: str = "alpha", issue: str = "", branch: str = "") -> Worker:
        """Make a worker with a running agent."""
        self.workers[name] = Worker(self, name, issue, branch)
        return self.workers[name].start()

    def lose_socket(self) -> None:
        """Delete the tmux socket: who lives cannot be seen any more, and the next session gets a new server."""
        self.hidden = {worker.pane.pane_id for worker in self.workers.values() if worker.pane is not None}
        self.server_pid += 1

    def queue(self, *ids: str, **about: Any) -> None:
        """Put open issues into the queue."""
        for number, one in enumerate(ids):
            self.issues[one] = make_issue(one, created=f"2025-06-01T00:00:{number:02d}Z", **about)

    def mail(self, subject: str, body: str = "", sender: str = "demo/alpha") -> str:
        """Put a mail into our inbox and return its id."""
        self.number += 1
        mail = Mail(id=f"m{self.number:05d}", sender=sender, subject=subject, body=body, at=self.now)
        self.inbox[mail.id] = mail
        return mail.id

    def ask(self, name: str = "alpha", sender: str = "") -> str:
        """Put a worker's request to be shut down into our inbox."""
        subject, body = witness.handoff_letter(RIG, name, self.now)
        return self.mail(subject, body, sender or f"{RIG}/{name}")

    def end_child(
        self, ok: bool | None, reason: str = "", fault: str = "", worktree: bool = True, session: bool = True
    ) -> None:
        """Let the spawn child end: ok=None is a death without a word; it leaves what is named."""
        child = self.child
        name = child.name
        if worktree and name not in self.workers:
            self.workers[name] = Worker(self, name, child.issue, child.branch)
        if session and worktree and self.workers[name].pane is None:
            self.workers[name].start()
        self.child = child.but(alive=False, ok=ok, reason=reason, fault=fault, commit="c0ffee")

    # -- looking and doing, as the hands do ------------------------------------------------------------

    @property
    def memory(self) -> Memory:
        """What witness.json says."""
        return witness.load_memory(self.disk)

    def save(self, memory: Memory) -> None:
        """Write witness.json."""
        self.disk = witness.dump_memory(memory)

    def observe(self, memory: Memory, gap: bool = False, **wish: Any) -> Observation:
        """Look at everything."""
        failing = self.failing
        ports = {
            port: Port(state=UNKNOWN, reason=failing[port]) if port in failing else Port()
            for port in ("tmux", "git", "queue", "mailbox")
        }
        ports["spawner"] = Port() if self.config.agent_command else Port(state=ABSENT, reason="no agent_command")
        if "folder" in failing:
            ports["git"] = Port(state=UNKNOWN, reason=failing["folder"])
        known = {mail for request in memory.requests.values() for mail in request.mails}
        fresh = sorted((mail for mail in self.inbox.values() if mail.id not in known), key=lambda mail: mail.at)
        workers = () if "folder" in failing else self.workers.values()
        return Observation(
            now=round(self.now, 3),
            day=witness.rfc3339(self.now)[:10],
            rig=RIG,
            first=self.first,
            gap=gap,
            ports=ports,
            sightings={worker.name: worker.sight(memory) for worker in workers},
            strangers=() if "folder" in failing else self.strangers,
            sessions=None if "tmux" in failing else self.list_sessions(),
            looks=self.looks,
            outcomes=self.outcomes,
            mails=() if "mailbox" in failing else tuple(fresh[:MAILS_PER_TICK]),
            mails_waiting=len(self.inbox),
            issues=None if "queue" in failing else tuple(self.issues.values()),
            claims=None if self.claims_lost else dict(self.claims),
            spawn=self.child,
            load=self.load,
            paused=self.paused,
            holds=dict(self.holds),
            resumed_at=self.resumed_at,
            actor=ACTOR,
            town=self.town,
            **wish,
        )

    def list_sessions(self) -> frozenset:
        """Return the names of all sessions."""
        return frozenset(worker.pane.session for worker in self.workers.values() if worker.pane is not None)

    def outcome(self, kind: str, action: Action, ok: bool, detail: str = "", **data: Any) -> Outcome:
        """Return how an action ended."""
        return Outcome(kind=kind, subject=action.subject, ok=ok, at=self.now, detail=detail, data=data)

    def perform(self, action: Action) -> Outcome:
        """Do one action."""
        self.done.append(action)
        return getattr(self, f"do_{type(action).__name__}")(action)

    def do_LookTwice(self, action):  # noqa: N802 - named after the action
        worker = self.workers.get(action.subject)
        reason = "it is gone" if worker is None else worker.look_fails or self.failing.get("git", "")
        look = Look(
            name=action.subject,
            at=self.now,
            ok=not reason,
            reason=reason,
            files_at=worker.files_at if worker else 0.0,
            changed=worker.changed if worker else 0,
            screen="$ thinking\nstill thinking",
        )
        self.looks = {**self.looks, action.subject: look}
        return self.outcome("look", action, look.ok, look.reason)

    def do_KeepWork(self, action):  # noqa: N802
        return self.outcome("keep", action, True, mark=action.mark)

    def do_SendHeartbeats(self, action):  # noqa: N802
        return self.outcome("beat", action, True)

    def do_Patrol(self, action):  # noqa: N802
        return self.outcome("patrol", action, True)

    def do_Nudge(self, action):  # noqa: N802
        self.nudges.append((self.now, action.subject))
        worker = self.workers.get(action.subject)
        if worker is not None and worker.pane is not None:
            worker.show()  # a paste moves the pane even of a hung program
        return self.outcome("nudge", action, True, "delivered to the pane")

    def do_SendLetter(self, action):  # noqa: N802
        if self.sinks_fail:
            return self.outcome("letter", action, False, "no room on the disk", mailed=False)
        self.sent.setdefault(action.subject, action.letter)
        return self.outcome("letter", action, True, mailed=True)

    def do_AckMail(self, action):  # noqa: N802
        if self.inbox.pop(action.subject, None):
            self.acked.append(action.subject)
        return self.outcome("ack", action, True)

    def do_Restart(self, action):  # noqa: N802
        worker = self.workers.get(action.subject)
        if worker is None or worker.persons or worker.alive:
            return self.outcome("restart", action, False, "it cannot be restarted")
        worker.start()
        return self.outcome("restart", action, True)

    def do_Retire(self, action):  # noqa: N802
        retirement = action.retirement
        worker = self.workers.get(retirement.name) or self.moved.get(retirement.id)
        if worker is None:
            return self.outcome("retire", action, True, "it is gone already", result="gone")
        for step in STEPS[STEPS.index(retirement.step) :]:
            retirement = retirement.but(step=step)
            memory = self.memory
            self.save(memory.but(retirements={**memory.retirements, retirement.name: retirement}))
            if worker.dies_at == step:
                worker.dies_at = ""
                raise CrashError
            if worker.fails_at == step:
                return self.outcome("retire", action, False, f"step {step}: no answer", result="failed")
            blockers = self.retire_step(step, worker, retirement)
            if blockers:
                return self.outcome(
                    "retire",
                    action,
                    False,
                    "refused",
                    result="refused",
                    escalate=step == "move",
                    blockers=[list(one) for one in blockers],
                )
        self.settle_claim(worker, retirement)
        return self.outcome(
            "retire",
            action,
            True,
            "branch kept",
            result="retired",
            no_commits=not worker.commits,
            ref=f"refs/witness/retired/{retirement.id}",
        )

    @staticmethod
    def find_strangers(worker: Worker, retirement: Retirement) -> tuple:
        """Return the blocker for processes inside that are not of the instance that is being retired."""
        foreign = worker.pane is not None and witness.instance_of(worker.pane) != retirement.instance
        return (("process", "somebody else's process is inside", "end it"),) * foreign

    def retire_step(self, step: str, worker: Worker, retirement: Retirement) -> tuple:
        """Do one step; return the blockers it found."""
        if step == "verify":
            attached = (("attached", "a person is looking at its session", "detach"),) * bool(worker.persons)
            return worker.blockers * (not retirement.force) + attached + self.find_strangers(worker, retirement)
        if step == "preserve":
            self.records[retirement.id] = retirement.but(step="move")
        if step == "quiesce":
            strangers = self.find_strangers(worker, retirement)
            if strangers:
                del self.records[retirement.id]
                return strangers
            worker.end()
        if step == "move":
            if worker.late_blockers:
                self.records.pop(retirement.id, None)
                if self.moved.pop(retirement.id, None):
                    self.workers[worker.name] = worker
                return worker.late_blockers
            if self.workers.pop(worker.name, None):
                self.moved[retirement.id] = worker
        if step == "close" and self.moved.pop(retirement.id, None):
            self.retired[retirement.id] = worker
        return ()

    def settle_claim(self, worker: Worker, retirement: Retirement) -> None:
        """Hand the issue over; one without a commit is set free."""
        claim = self.claims.get(retirement.issue)
        if claim is not None and claim.actor == ACTOR and claim.name == worker.name:
            state = "handed-over" if worker.commits else "released"
            self.claims[claim.issue] = claim.but(state=state, tip="c0ffee")

    def do_StartSpawn(self, action):  # noqa: N802
        claim = self.claims.get(action.issue.id)
        left = [
            one
            for one in (*self.branches, *self.retired)
            if one in (f"polecat/{action.name}", action.name) or one.startswith(f"{action.name}/")
        ]
        if claim is None and left:
            return self.outcome("spawn", action, False, f"{left[0]} is there from an earlier worker", fault="taken")
        ours = claim is not None and claim.actor == ACTOR and claim.state in ("failed", "claimed")
        if claim is not None and not ours and claim.state not in ("released", "closed"):
            return self.outcome("spawn", action, False, f"claimed by {claim.actor}", fault="host")
        branch = claim.branch if ours and claim.name == action.name else f"polecat/{action.name}"
        self.claims[action.issue.id] = Claim(
            issue=action.issue.id, actor=ACTOR, at=self.now, name=action.name, branch=branch
        )
        self.child = SpawnSight(alive=True, issue=action.issue.id, name=action.name, pid=9, start=9, branch=branch)
        return self.outcome("spawn-started", action, True)

    def do_EndSpawn(self, action):  # noqa: N802
        sight = action.sight
        if action.overdue and self.child is not None:
            self.child = sight = self.child.but(alive=False)
        claim = self.claims.get(action.subject)
        if "tmux" in self.failing:
            return self.outcome("spawn-unsettled", action, False, self.failing["tmux"])
        worker = self.workers.get(claim.name if claim is not None else sight.name)
        alive = worker is not None and worker.pane is not None and not worker.pane.dead
        reason = "" if alive else sight.reason or action.why or "no worker came of it"
        if claim is not None and claim.state in ("claimed", "failed"):
            state = "working" if not reason else "failed" if worker is not None else "released"
            self.claims[claim.issue] = claim.but(state=state)
        self.child = None
        return self.outcome(
            "spawn", action, not reason, reason, name=worker.name if worker else "", fault=sight.fault if reason else ""
        )

    def do_ReleaseOrphan(self, action):  # noqa: N802
        self.claims[action.subject] = action.claim.but(state="released")
        return self.outcome("release", action, True)

    def do_SettleClaim(self, action):  # noqa: N802
        self.claims[action.subject] = action.claim.but(owed="")
        return self.outcome("settle", action, True)

    def do_CheckMerged(self, action):  # noqa: N802
        return self.outcome("merged", action, False, "not on the default branch")

    def do_SweepTrash(self, action):  # noqa: N802
        return self.outcome("sweep", action, True)

    # -- rounds --------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Lose what only the daemon's process knew."""
        self.first, self.outcomes, self.looks, self.taken_up = True, (), {}, False

    def take_up(self, memory: Memory) -> Memory:
        """Add the unfinished retirements that only git knows of."""
        if self.taken_up or "tmux" in self.failing or "git" in self.failing:
            return memory
        self.taken_up = True
        found = {self.records[one].name: self.records[one] for one in self.moved}
        return memory.but(retirements={**found, **memory.retirements})

    def decide(self, seen: Observation, memory: Memory) -> Decision:
        """Decide; whoever holds laws over every round overrides this."""
        return witness.decide(seen, memory, self.config)

    def round(self, gap: bool = False, crash_after: int | None = None, **wish: Any) -> list[Action]:
        """Do one round and return its actions; with crash_after the daemon is killed once so many are done."""
        memory = self.take_up(self.memory)
        seen = self.observe(memory, gap, **wish)
        decision = self.decide(seen, memory)
        self.looks = {}
        self.save(decision.memory)
        self.events += [(self.now, *event) for event in decision.events]
        try:
            outcomes = tuple(self.perform(action) for action in decision.actions[:crash_after])
        except CrashError:
            crash_after = 0
        if crash_after is not None:
            self.restart()
            return []
        self.first, self.outcomes = False, outcomes
        return list(decision.actions)

    def tick(self, after_s: float | None = None, **how: Any) -> list[Action]:
        """Let time pass, then do a round and those that follow at once; return all their actions."""
        self.now += self.config.interval if after_s is None else after_s
        actions, rounds = [], 0
        while True:
            actions += self.round(**how)
            how.pop("gap", None)
            rounds += 1
            if not any(outcome.kind != "sweep" for outcome in self.outcomes) or rounds > FOLLOW_UPS:
                return actions
            self.now += 0.05

    def wait(self, duration_s: float) -> list[Action]:
        """Let the daemon tick at its interval for a while; return all actions."""
        actions, until = [], self.now + duration_s
        while self.now < until:
            actions += self.tick(min(self.config.interval, max(until - self.now, 0.001)))
        return actions

    def person(self, *duties: str, **wish: Any) -> list[Action]:
        """Run a one-shot command: a process of its own, with the same memory."""
        kept = self.first, self.outcomes, self.looks
        self.restart()
        actions = self.tick(0.0, person=True, duties=frozenset(duties), **wish)
        self.first, self.outcomes, self.looks = kept
        return actions

    def shutdown(self, *names: str, force: bool = False) -> list[Action]:
        """Run `shutdown NAME`."""
        memory = self.memory
        requests = dict(memory.requests)
        for name in names:
            asked = requests.get(name, Request(name=name, sender="a person", at=self.now))
            requests[name] = asked.but(force=force, next_at=0.0)
        self.save(memory.but(requests=requests))
        actions = self.person("shutdown", only=names)
        memory = self.memory
        kept = {name: one.but(force=False) for name, one in memory.requests.items() if name not in names or one.mails}
        self.save(memory.but(requests=kept))
        return actions

    def reset_spawn(self, issue: str) -> bool:
        """Run `spawn reset ISSUE`."""
        claim = self.claims.get(issue)
        if claim is not None and claim.state in ("claimed", "working") and claim.name in self.workers:
            return False
        if claim is not None:
            self.claims[issue] = claim.but(state="released")
        memory = self.memory
        self.save(memory.but(issues={key: one for key, one in memory.issues.items() if key != issue}))
        return True

    # -- reading ---------------------------------------------------------------------------------------

    def track(self, name: str = "alpha") -> Track:
        """Return what is remembered of a worker."""
        return self.memory.polecats[name]

    def told(self, kind: str) -> list[tuple]:
        """Return the events of a kind as (subject, text)."""
        return [(subject, text) for _, one, subject, text in self.events if one == kind]

    def subjects(self) -> list[str]:
        """Return the subjects of the letters sent, in order."""
        return [letter.subject for letter in self.sent.values()]
