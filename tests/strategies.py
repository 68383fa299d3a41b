"""Hypothesis strategies for the model's values: plausible stamps and a few names, so that what is drawn meets.

Each is a function that returns a strategy. Where a value is about a polecat or an issue, its name may be given.
"""

from __future__ import annotations

import functools

from hypothesis import strategies as st

import witness as w

NOW = 1_800_000_000.0
HOUR = 3600.0
RIG = "demo"
NAMES = ("alpha", "beta", "gamma", "de-1")  # a spawned worker carries its issue's name
ISSUES = ("de-1", "de-2", "de-3", "de-9lx.2")
ACTORS = ("demo/witness@1", "demo/witness@2")
TOOLS = ("tmux", "git", "queue", "mailbox", "spawner")
STEPS = ("verify", "preserve", "quiesce", "move", "decide", "remove", "branch", "close")
# On both sides of every threshold that the defaults of the settings and the constants draw.
AGES_S = (
    -2 * HOUR,
    -1.0,
    0.0,
    0.25,
    10.0,
    59.0,
    119.0,
    121.0,
    299.0,
    301.0,
    599.0,
    601.0,
    1799.0,
    1801.0,
    HOUR - 1,
    HOUR + 1,
    3 * HOUR + 1,
    4 * HOUR + 1,
    30 * HOUR,
)

once = functools.lru_cache(None)  # a strategy that is made anew for each draw is checked anew for each draw
pick = st.sampled_from


# ---- words and numbers ----------------------------------------------------------------------------------------------


@once
def stamps() -> st.SearchStrategy:
    """Draw epoch seconds around NOW, thresholds first, in the milliseconds that a memory keeps."""
    near = st.integers(0, int(40 * HOUR) * 1000).map(lambda age_ms: round(NOW - age_ms / 1000, 3))
    return st.one_of(pick([NOW - age_s for age_s in AGES_S]), near)


@once
def marks() -> st.SearchStrategy:
    """Draw a stamp, or 0.0: it never was."""
    return st.one_of(st.just(0.0), stamps())


@once
def seconds() -> st.SearchStrategy:
    """Draw a stamp of a whole second, as tmux keeps them."""
    return stamps().map(lambda at: float(int(at)))


@once
def names() -> st.SearchStrategy:
    """Draw a polecat's name."""
    return pick(NAMES)


@once
def issue_ids() -> st.SearchStrategy:
    """Draw an issue's id."""
    return pick(ISSUES)


@once
def texts() -> st.SearchStrategy:
    """Draw a short text of any characters, hostile ones among them."""
    hostile = ["", "said so", "two\nlines", "\x1b[31mred", "\x9b2J", "{name} $(x) `y`", "größer"]
    return st.one_of(pick(hostile), st.text(max_size=12))


@once
def instances() -> st.SearchStrategy:
    """Draw what `instance_of` gives for a drawn pane, or nothing."""
    return st.one_of(st.just(""), panes().map(w.instance_of))


@once
def shas() -> st.SearchStrategy:
    """Draw the name of a commit, or nothing."""
    return pick(["", "a" * 40, "b" * 40])


@once
def births() -> st.SearchStrategy:
    """Draw what status listed right after the checkout."""
    rows = st.tuples(pick(["a.txt", ".env"]), shas())
    return st.lists(rows, max_size=2, unique_by=lambda row: row[0]).map(tuple)


@once
def _maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), strategy)


@once
def _some(strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(tuple)


@once
def _by(key: str, strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(lambda found: {getattr(one, key): one for one in found})


def _per(make, name, pool) -> st.SearchStrategy:
    """Draw what `make` makes for the name given, or for one of the pool."""
    return make(name) if name else st.one_of([make(one) for one in pool])


# ---- settings -------------------------------------------------------------------------------------------------------


def values_of(setting: w.Setting) -> st.SearchStrategy:
    """Draw a value that a setting accepts."""
    if setting.name == "session_name":
        return pick([setting.default, "{name}", "w.{rig}:{name}"])
    if setting.kind == "flag":
        return st.booleans()
    if setting.kind == "choice":
        return pick(setting.choices)
    if setting.kind in ("seconds", "number"):
        high = min(setting.high, 4 * int(HOUR))
        edges = [setting.low, setting.default, setting.high, min(setting.low + 1, setting.high)]
        return st.one_of(pick(edges), st.integers(setting.low, high), st.floats(setting.low, high, allow_nan=False))
    if setting.kind == "words":
        return st.lists(pick(["a", "task", "bug", "mayor", "{name}", "*.pem"]), max_size=3)
    return pick(["", "de", "mayor/", "main", "é"])


@once
def config_files() -> st.SearchStrategy:
    """Draw the content of a configuration file that is in order."""
    return st.fixed_dictionaries({}, optional={setting.name: values_of(setting) for setting in w.SETTINGS})


@once
def configs() -> st.SearchStrategy:
    """Draw settings: the defaults with an agent to run, or whatever a file may say."""
    plain = st.just(w.make_config({"agent_command": ["agent"]}, "test", {}))
    return st.one_of(plain, config_files().map(lambda given: w.make_config(given, "test", {})))


# ---- what is seen ---------------------------------------------------------------------------------------------------


@once
def _panes_of(name: str) -> st.SearchStrategy:
    numbered = [
        st.builds(
            w.Pane,
            session=st.just(f"gt-{RIG}-{name}"),
            session_id=st.just(f"${number}"),
            created_at=seconds(),
            attached=st.integers(0, 2),
            server_pid=pick([900, 901]),
            pane_id=st.just(f"%{number}"),
            pid=st.just(1000 + number),
            dead=pick([False, False, False, True]),
            in_mode=pick([False, False, True]),
            activity_at=seconds(),
            command=pick(["agent", "python3", "bash", "vim", "ssh", ""]),
        )
        for number in (1, 2, 3)
    ]
    return st.one_of(numbered)


@once
def panes(name=None) -> st.SearchStrategy:
    """Draw the pane of a polecat's session."""
    return _per(_panes_of, name, NAMES)


@once
def _worktrees_of(name: str) -> st.SearchStrategy:
    branches = [f"polecat/{name}", f"polecat/{name}", "", "main", f"polecat/{name}/de-2@x"]
    records = [
        {},
        {},
        {},
        {"issue": "de-1"},
        {"issue": "../x"},
        {"state": "idle"},
        {"issue": "de-2", "state": "done"},
        {"issue": 3, "state": None},
    ]
    return st.builds(
        w.Worktree,
        name=st.just(name),
        path=st.just(f"/rig/polecats/{name}"),
        admin=st.just(f"/rig/.git/worktrees/{name}"),
        branch=pick(branches),
        born_at=marks(),
        git_at=marks(),
        record_at=marks(),
        record=pick(records),
        trouble=pick(["", "", "", "", "no admin folder"]),
    )


@once
def worktrees(name=None) -> st.SearchStrategy:
    """Draw the worktree of a polecat."""
    return _per(_worktrees_of, name, NAMES)


@once
def _sightings_of(name: str) -> st.SearchStrategy:
    common = {"name": st.just(name), "worktree": worktrees(name)}
    own = st.lists(panes(name), max_size=2, unique_by=lambda pane: pane.pane_id).map(tuple)
    there = st.builds(
        w.Sighting,
        **common,
        session=st.just(w.PRESENT),
        panes=own,
        pane_start=pick([0, 7]),
        shell=pick(["", "", "interactive", "script", w.UNKNOWN]),
    )
    there = there.map(lambda one: one.but(pane=one.panes[0] if one.panes else None))
    gone = st.builds(w.Sighting, **common, session=st.just(w.ABSENT), process_lives=st.booleans())
    return st.one_of(there, there, there, gone, st.builds(w.Sighting, **common))


@once
def sightings(name=None) -> st.SearchStrategy:
    """Draw what one tick saw of a polecat."""
    return _per(_sightings_of, name, NAMES)


@once
def looks(name=None) -> st.SearchStrategy:
    """Draw a second look, also one that failed."""
    whose = st.just(name) if name else names()
    good = st.builds(
        w.Look,
        name=whose,
        at=stamps(),
        ok=st.just(True),
        files_at=marks(),
        changed=st.integers(0, 3),
        screen=texts(),
        persons=pick([0, 0, 0, 1]),
    )
    bad = st.builds(w.Look, name=whose, at=stamps(), ok=st.just(False), reason=pick(["no answer", "git failed"]))
    return st.one_of(good, good, bad)


SUBJECTS = (
    "LIFECYCLE: polecat requesting shutdown",
    "LIFECYCLE: polecat-alpha requesting shutdown",
    "LIFECYCLE:Shutdown beta",
    "POLECAT_DONE alpha",
    "CRASHED_POLECAT: beta",
    "MERGED alpha",
    "HELP: blocked",
    "",
)
BODIES = (
    "Polecat: alpha\n",
    "Polecat: beta\n",
    "Polecat:\nalpha\n",
    "Polecat: ../x\n",
    "Polecat: alpha\nPolecat: beta\n",
    "",
    "please",
)
SENDERS = ("demo/alpha", "demo/polecats/beta", "other/alpha", "mayor/", "deacon", "", "alpha")


@once
def mails() -> st.SearchStrategy:
    """Draw a mail of our inbox, good requests and forgeries alike."""
    return st.builds(
        w.Mail,
        id=pick(["m1", "m2", "m3", "m4"]),
        sender=st.one_of(pick(SENDERS), texts()),
        subject=st.one_of(pick(SUBJECTS), texts()),
        body=st.one_of(pick(BODIES), texts()),
        at=stamps(),
    )


@once
def issues(issue=None) -> st.SearchStrategy:
    """Draw an issue; what it waits for may be itself, a ring, or not in the queue."""
    others = pick([*ISSUES, "gone"])
    return st.builds(
        w.Issue,
        id=st.just(issue) if issue else issue_ids(),
        title=texts(),
        status=pick(["open", "open", "open", "in_progress", "closed", "blocked", "tombstone"]),
        priority=st.integers(0, 4),
        type=pick(["task", "task", "bug", "epic", "molecule"]),
        assignee=pick(["", "", "someone", *ACTORS]),
        labels=_some(pick(["a", "b"]), 2),
        blocked_by=_some(others, 2),
        parents=_some(others, 2),
        created=pick(["", "2026-11-22T11:53:54Z", "2026-11-22T11:53:55Z"]),
        deferred_until=st.one_of(st.just(""), st.just(""), stamps().map(w.rfc3339), st.just("soon")),
        aside=pick(["", "", "", "pinned"]),
    )


@once
def _claims_of(issue: str) -> st.SearchStrategy:
    name = w.name_for_issue(issue)
    return st.builds(
        w.Claim,
        issue=st.just(issue),
        actor=pick([ACTORS[0], ACTORS[0], ACTORS[1]]),
        at=stamps(),
        state=pick(["claimed", "working", "failed", "handed-over", "released", "closed"]),
        name=pick([name, name, *NAMES, ""]),
        branch=pick(["", f"polecat/{name}"]),
        start=shas(),
        ref=pick(["", f"refs/witness/retired/{name}/20270115T080000Z"]),
        tip=shas(),
        birth=births(),
    )


@once
def claims(issue=None) -> st.SearchStrategy:
    """Draw a claim on an issue, ours or another's."""
    return _per(_claims_of, issue, ISSUES)


@once
def spawn_sights() -> st.SearchStrategy:
    """Draw the recorded spawn child as a tick sees it."""
    return st.builds(
        w.SpawnSight,
        alive=st.booleans(),
        issue=issue_ids(),
        name=names(),
        pid=pick([0, 1001]),
        start=pick([0, 7]),
        ok=pick([None, True, False]),
        reason=texts(),
        fault=pick(["", "host", "tool"]),
        commit=shas(),
        birth=births(),
        branch=pick(["", "polecat/de-1"]),
    )


@once
def loads() -> st.SearchStrategy:
    """Draw the host's guards; None where the system cannot say."""
    return st.builds(
        w.Load,
        per_core=_maybe(st.floats(0, 9)),
        free_memory_mib=_maybe(st.floats(0, 9000)),
        free_disk_mib=_maybe(st.floats(0, 90000)),
    )


@once
def ports(answers=(w.PRESENT, w.PRESENT, w.PRESENT, w.PRESENT, w.UNKNOWN)) -> st.SearchStrategy:
    """Draw how each tool answered; absence is known of the spawner alone."""
    each = pick([w.Port(state=one, reason="no answer" if one == w.UNKNOWN else "") for one in answers])
    spawner = pick([w.Port(), w.Port(state=w.ABSENT, reason="agent_command is not set")])
    return st.fixed_dictionaries({**dict.fromkeys(TOOLS[:4], each), "spawner": spawner})


@once
def outcomes() -> st.SearchStrategy:
    """Draw how an action of the last tick ended."""

    def ends(kind: str, *data: dict) -> st.SearchStrategy:
        subject = st.one_of(names(), issue_ids(), pick(["k1", "k2"]))
        return st.builds(
            w.Outcome,
            kind=st.just(kind),
            subject=subject,
            ok=st.booleans(),
            at=stamps(),
            detail=texts(),
            data=pick([{}, *data]),
        )

    blocked = {"blockers": (("modified", "changed: a.txt", "git commit"),)}
    return st.one_of(
        ends("nudge"),
        ends("spawn"),
        ends("restart"),
        ends("letter", {"mailed": True}),
        ends("retire", blocked, {"gone": True}),
    )


@once
def towns() -> st.SearchStrategy:
    """Draw what is known of the town in which the rig stands."""
    return st.builds(
        w.Town,
        path=st.just("/town"),
        version=pick(["0.0.1", "0.5.0", "1.0.1"]),
        session=pick(["gt-{rig}-{name}", "de-{name}"]),
        refinery=st.just("de-refinery"),
        socket=pick(["", "town-04a577"]),
        typed=st.booleans(),
        reuses=st.booleans(),
        seat=pick(["", "ours", "claude"]),
        can_seat=st.booleans(),
        left=pick(["", "", "left to gt"]),
        convoys=st.dictionaries(issue_ids(), st.just("hq-cv-1"), max_size=1),
    )


def _only_what_answered(seen: w.Observation) -> w.Observation:
    """Take away what hangs on a tool that did not answer."""
    silent = {name for name, port in seen.ports.items() if port.state == w.UNKNOWN}
    changes = {}
    if "tmux" in silent:
        changes["sightings"] = {
            name: w.Sighting(name=name, worktree=one.worktree) for name, one in seen.sightings.items()
        }
    if "queue" in silent:
        changes.update(issues=None, claims=None)
    if "mailbox" in silent:
        changes.update(mails=(), mails_waiting=0)
    return seen.but(**changes)


@once
def observations(answers=None) -> st.SearchStrategy:
    """Draw everything one tick knows; `answers` are the states that tools may have."""
    return st.builds(
        w.Observation,
        now=st.just(NOW),
        rig=st.just(RIG),
        day=pick(["2027-01-14", "2027-01-15"]),
        first=st.booleans(),
        gap=st.booleans(),
        person=st.booleans(),
        only=_some(st.one_of(names(), issue_ids()), 1),
        duties=st.frozensets(pick(["health", "shutdown", "spawn"]), min_size=1),
        ports=ports(answers) if answers else ports(),
        sightings=_by("name", sightings(), len(NAMES)),
        looks=_by("name", looks(), 2),
        outcomes=_some(outcomes(), 2),
        strangers=_some(st.just(("crew", "no linked worktree of the rig")), 1),
        mails=_by("id", mails()).map(lambda found: tuple(found.values())),
        mails_waiting=st.integers(0, 3),
        issues=_by("id", issues()).map(lambda found: tuple(found.values())),
        claims=_by("issue", claims()),
        spawn=_maybe(spawn_sights()),
        load=_maybe(loads()),
        paused=pick(["", "", "", "lunch"]),
        holds=st.dictionaries(names(), st.just("mine"), max_size=1),
        resumed_at=marks(),
        actor=st.just(ACTORS[0]),
        town=_maybe(towns()),
    ).map(_only_what_answered)


# ---- what is remembered ---------------------------------------------------------------------------------------------


@once
def tracks() -> st.SearchStrategy:
    """Draw what is remembered of a polecat."""
    states = ("", "unknown", "held", "requested", "idle", "starting", "dead", "stuck", "busy", "working")
    return st.builds(
        w.Track,
        instance=instances(),
        pane_id=pick(["", "%1", "%2"]),
        pane_pid=pick([0, 1001]),
        pane_start=pick([0, 7]),
        agents=_some(pick(["agent", "python3"]), 2),
        state=pick(states),
        state_at=marks(),
        reset_at=marks(),
        quiet_from_at=marks(),
        nudged_at=marks(),
        escalated_at=marks(),
        last_nudge_at=marks(),
        busy_told=st.booleans(),
        nudge_result=pick(["", "delivered to the pane", "failed: no answer"]),
        dead_ticks=st.integers(0, 2),
        restarts=_some(stamps().map(w.rfc3339), 4),
        screen=texts(),
        screen_at=marks(),
    )


@once
def blockers() -> st.SearchStrategy:
    """Draw (kind, evidence, remedy) of what stood in the way of a retirement."""
    return pick([("modified", "changed: a.txt", "git commit"), ("stash", "one", "git stash pop")])


@once
def requests(name=None) -> st.SearchStrategy:
    """Draw a wish that a polecat be retired."""
    return st.builds(
        w.Request,
        name=st.just(name) if name else names(),
        sender=pick(SENDERS),
        at=stamps(),
        force=st.booleans(),
        mails=_some(pick(["m1", "m2"]), 2),
        looks=st.integers(0, 5),
        next_at=marks(),
        blockers=_some(blockers(), 2),
        told=pick(["", "modified"]),
        escalated=st.booleans(),
    )


@once
def _retirements_of(name: str) -> st.SearchStrategy:
    drawn = st.builds(
        w.Retirement,
        name=st.just(name),
        id=st.just(""),
        at=stamps(),
        step=pick(STEPS),
        force=st.booleans(),
        issue=pick(["", *ISSUES]),
        branch=pick(["", f"polecat/{name}"]),
        tip=shas(),
        start=shas(),
        path=st.just(f"/rig/polecats/{name}"),
        admin=st.just(f"/rig/.git/worktrees/{name}"),
        session=pick(["", f"gt-{RIG}-{name}"]),
        instance=instances(),
        pane_id=pick(["", "%1"]),
        pane_pid=pick([0, 1001]),
        pane_start=pick([0, 7]),
        birth=births(),
        commit=shas(),
        committed=st.booleans(),
        branch_reason=texts(),
        branch_result=pick(["", "deleted", "kept"]),
        error=texts(),
        tries=st.integers(0, 4),
        next_at=marks(),
    )
    return drawn.map(lambda one: one.but(id=f"{name}/{w.time_id(one.at)}"))


@once
def retirements(name=None) -> st.SearchStrategy:
    """Draw a retirement under way."""
    return _per(_retirements_of, name, NAMES)


@once
def efforts() -> st.SearchStrategy:
    """Draw what was tried for one issue."""
    return st.builds(w.Effort, attempts=st.integers(0, 4), next_at=marks(), error=texts())


@once
def escalations() -> st.SearchStrategy:
    """Draw an open matter for a person."""
    causes = ("stuck", "dead", "busy", "refused", "storm", "port-tmux", "spawn-de-1")
    return st.builds(
        w.Escalation,
        cause=pick(causes),
        name=pick(["", *NAMES]),
        instance=instances(),
        summary=texts(),
        opened_at=stamps(),
        raised_at=marks(),
        raises=st.integers(0, 4),
        evidence=texts(),
    )


@once
def letters() -> st.SearchStrategy:
    """Draw a message on its way out."""
    return st.builds(
        w.Letter,
        to=pick(["mayor/", "demo/alpha"]),
        subject=texts(),
        body=texts(),
        at=stamps(),
        tries=st.integers(0, 5),
        next_at=marks(),
        event=st.sampled_from(["", "opened", "resolved"]),
        mailed=st.booleans(),
    )


@once
def port_tracks() -> st.SearchStrategy:
    """Draw since when a tool has not answered."""
    return st.builds(w.PortTrack, since_at=stamps(), reason=texts())


@once
def memories() -> st.SearchStrategy:
    """Draw a memory; its tables are keyed as the rooms key them."""
    figures = pick(["total_nudges", "today_nudges", "total_spawns", "today_spawns"])
    by_matter = _some(escalations(), 2).map(
        lambda found: {f"{one.cause}.{one.name}.{one.instance}": one for one in found}
    )
    return st.builds(
        w.Memory,
        rig_name=pick(["", RIG]),
        state=pick(["stopped", "running"]),
        pid=pick([0, 4711]),
        started_at=marks(),
        monitored_polecats=_some(names(), 2),
        last_check_at=marks(),
        config=pick([{}, {"max_workers": 0}]),
        stats=st.dictionaries(figures, st.integers(0, 9), max_size=3),
        spawned_issues=_some(issue_ids(), 2),
        polecats=st.dictionaries(names(), tracks(), max_size=3),
        requests=_by("name", requests(), 2),
        retirements=_by("name", retirements(), 2),
        issues=st.dictionaries(issue_ids(), efforts(), max_size=2),
        escalations=by_matter,
        ports=st.dictionaries(pick([*TOOLS, "look.alpha"]), port_tracks(), max_size=2),
        pending=st.dictionaries(pick(["k1", "k2", "fwd.m1"]), letters(), max_size=2),
        spawn=_maybe(st.builds(w.Spawn, issue=issue_ids(), at=stamps(), deadline_at=stamps())),
        spawned_at=marks(),
        failures=_some(stamps().map(w.rfc3339), 3),
        breaker_at=marks(),
        storm_at=marks(),
        calm_ticks=st.integers(0, 2),
        merged_at=marks(),
        swept_at=marks(),
        exceptions=st.integers(0, 2),
        day=pick(["", "2027-01-15"]),
    )
