"""Small builders for the values that the judging rooms work on, with everything plain that a test does not say."""

from __future__ import annotations

import witness as w

NOW = 1_800_000_000.0
OK = {name: w.Port() for name in ("tmux", "git", "queue", "mailbox")}


def config(**values) -> w.Config:
    """Return the defaults with these settings."""
    return w.make_config(values, "test", {})


def pane(name="alpha", created_at=NOW - 7200, activity_at=NOW - 10, command="python3", number=1, **fields) -> w.Pane:
    """Return the pane of a worker's session."""
    given = {
        "session": f"gt-demo-{name}",
        "session_id": f"${number}",
        "created_at": created_at,
        "attached": 0,
        "server_pid": 900,
        "pane_id": f"%{number}",
        "pid": 1000 + number,
        "dead": False,
        "in_mode": False,
        "activity_at": activity_at,
        "command": command,
    }
    return w.Pane(**{**given, **fields})


def tree(name="alpha", git_at=NOW - 10, **fields) -> w.Worktree:
    """Return a worktree of the rig demo."""
    given = {
        "name": name,
        "path": f"/rig/polecats/{name}",
        "admin": f"/rig/.git/worktrees/{name}",
        "branch": f"polecat/{name}",
        "born_at": NOW - 7200,
        "git_at": git_at,
    }
    return w.Worktree(**{**given, **fields})


def sighting(name="alpha", session=w.PRESENT, worktree=None, at=None, **fields) -> w.Sighting:
    """Return a worker with a live session; at is its last sign of life, of pane and files alike."""
    at = NOW - 10 if at is None else at
    own = pane(name, activity_at=at, **fields.pop("pane_fields", {}))
    given = {"name": name, "worktree": worktree or tree(name, git_at=at), "session": session, "shell": ""}
    if session == w.PRESENT:
        given.update(pane=own, panes=(own,), pane_start=77)
    return w.Sighting(**{**given, **fields})


def seen(*sightings, now=NOW, **fields) -> w.Observation:
    """Return what a tick saw: these workers, every tool answering, an empty queue."""
    given = {
        "now": now,
        "rig": "demo",
        "ports": OK,
        "sightings": {one.name: one for one in sightings},
        "issues": (),
        "claims": {},
        "load": w.Load(per_core=0.1, free_memory_mib=9000.0, free_disk_mib=90000.0),
        "actor": "demo/witness@1",
    }
    return w.Observation(**{**given, **fields})


def look(name="alpha", at=NOW, **fields) -> w.Look:
    """Return a second look that found nothing new."""
    return w.Look(**{"name": name, "at": at, "ok": True, **fields})


def issue(issue_id="de-1", **fields) -> w.Issue:
    """Return an open issue."""
    return w.Issue(**{"id": issue_id, "title": "T", **fields})


def claim(issue_id="de-1", state="working", **fields) -> w.Claim:
    """Return a claim of ours."""
    given = {"issue": issue_id, "actor": "demo/witness@1", "at": NOW - 100, "state": state, "name": issue_id}
    return w.Claim(**{**given, **fields})


def mail(
    subject="LIFECYCLE: polecat requesting shutdown",
    body="Polecat: alpha\n",
    sender="demo/alpha",
    at=NOW - 5,
    mail_id="m1",
) -> w.Mail:
    """Return a mail; as it stands, a good request of alpha."""
    return w.Mail(id=mail_id, sender=sender, subject=subject, body=body, at=at)


def kinds(decision) -> list:
    """Return the names of the actions' classes."""
    return [type(action).__name__ for action in decision.actions]


class Story:
    """A rig whose ticks follow each other: memory and outcomes are carried, looks are taken, letters are sent."""

    def __init__(self, memory=None, **settings):
        self.memory = memory or w.Memory()
        self.config = config(**settings)
        self.outcomes, self.looks = (), {}
        self.letters, self.events = [], []

    def tick(self, *sightings, now=NOW, looks=None, outcomes=None, **fields) -> w.Decision:
        """Decide once; looks names the looks this tick has, outcomes what the last actions did."""
        observation = seen(
            *sightings,
            now=now,
            looks=self.looks if looks is None else looks,
            outcomes=self.outcomes if outcomes is None else outcomes,
            **fields,
        )
        decision = w.decide(observation, self.memory, self.config)
        self.memory = decision.memory
        self.events += decision.events
        self.outcomes, self.looks = [], {}
        for action in decision.actions:
            if isinstance(action, w.LookTwice):
                self.looks[action.subject] = look(action.subject, at=now)
            elif isinstance(action, w.SendLetter):
                self.letters.append(action.letter)
                self.outcomes.append(outcome("letter", action.subject))
            elif isinstance(action, w.Nudge):
                self.outcomes.append(outcome("nudge", action.subject, detail="delivered to the pane"))
        self.outcomes = tuple(self.outcomes)
        return decision

    def subjects(self) -> list:
        """Return the subjects of all letters sent so far."""
        return [letter.subject for letter in self.letters]


def outcome(kind, subject, ok=True, detail="", **data) -> w.Outcome:
    """Return how an action ended."""
    return w.Outcome(kind=kind, subject=subject, ok=ok, at=NOW, detail=detail, data=data)
