"""Hypothesis strategies for the model's values: plausible stamps and a few names, so that what is drawn meets.

Each is a function that returns a strategy. Where a value is about a polecat or an issue, its name may be given.
"""

from __future__ import annotations

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
    -2 * HOUR, -1.0, 0.0, 0.25, 10.0, 59.0, 119.0, 121.0, 299.0, 301.0, 599.0, 601.0, 1799.0, 1801.0,
    HOUR - 1, HOUR + 1, 3 * HOUR + 1, 4 * HOUR + 1, 30 * HOUR,
)


# ---- words and numbers ----------------------------------------------------------------------------------------------


def stamps() -> st.SearchStrategy:
    """Draw epoch seconds around NOW, thresholds first, in the milliseconds that a memory keeps."""
    near = st.integers(0, int(40 * HOUR) * 1000).map(lambda age_ms: round(NOW - age_ms / 1000, 3))
    return st.one_of(st.sampled_from([NOW - age_s for age_s in AGES_S]), near)


def marks() -> st.SearchStrategy:
    """Draw a stamp, or 0.0: it never was."""
    return st.one_of(st.just(0.0), stamps())


def seconds() -> st.SearchStrategy:
    """Draw a stamp of a whole second, as tmux keeps them."""
    return stamps().map(lambda at: float(int(at)))


def names() -> st.SearchStrategy:
    """Draw a polecat's name."""
    return st.sampled_from(NAMES)


def issue_ids() -> st.SearchStrategy:
    """Draw an issue's id."""
    return st.sampled_from(ISSUES)


def texts() -> st.SearchStrategy:
    """Draw a short text of any characters, hostile ones among them."""
    return st.one_of(st.sampled_from(["", "said so", "two\nlines", "\x1b[31mred", "\x9b2J", "{name} $(x) `y`", "größer"]),
                     st.text(max_size=12))


def instances() -> st.SearchStrategy:
    """Draw what `instance_of` gives for a drawn pane, or nothing."""
    return st.one_of(st.just(""), panes().map(w.instance_of))


def shas() -> st.SearchStrategy:
    """Draw the name of a commit, or nothing."""
    return st.sampled_from(["", "a" * 40, "b" * 40])


def births() -> st.SearchStrategy:
    """Draw what status listed right after the checkout."""
    return st.lists(st.tuples(st.sampled_from(["a.txt", ".env"]), shas()), max_size=2, unique_by=lambda one: one[0]).map(tuple)


def _maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(st.none(), strategy)


def _some(strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    return st.lists(strategy, max_size=most).map(tuple)


def _by(key: str, strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:
    rows = st.lists(strategy, max_size=most, unique_by=lambda one: getattr(one, key))
    return rows.map(lambda found: {getattr(one, key): one for one in found})


# ---- settings -------------------------------------------------------------------------------------------------------


def values_of(setting: w.Setting) -> st.SearchStrategy:
    """Draw a value that a setting accepts."""
    if setting.name == "session_name":
        return st.sampled_from([setting.default, "{name}", "w.{rig}:{name}"])
    if setting.kind == "flag":
        return st.booleans()
    if setting.kind == "choice":
        return st.sampled_from(setting.choices)
    if setting.kind in ("seconds", "number"):
        numbers = [setting.low, setting.default, setting.high, min(setting.low + 1, setting.high)]
        return st.one_of(st.sampled_from(numbers), st.integers(setting.low, min(setting.high, 4 * int(HOUR))),
                         st.floats(setting.low, min(setting.high, 4 * HOUR), allow_nan=False))
    if setting.kind == "words":
        return st.lists(st.sampled_from(["a", "task", "bug", "mayor", "{name}", "*.pem"]), max_size=3)
    return st.sampled_from(["", "de", "mayor/", "main", "é"])


def config_files() -> st.SearchStrategy:
    """Draw the content of a configuration file that is in order."""
    return st.fixed_dictionaries({}, optional={setting.name: values_of(setting) for setting in w.SETTINGS})


def configs() -> st.SearchStrategy:
    """Draw settings: the defaults with an agent to run, or whatever a file may say."""
    plain = st.just(w.make_config({"agent_command": ["agent"]}, "test", {}))
    return st.one_of(plain, config_files().map(lambda given: w.make_config(given, "test", {})))


# ---- what is seen ---------------------------------------------------------------------------------------------------


@st.composite
def panes(draw, name=None):
    """Draw the pane of a polecat's session."""
    name = name or draw(names())
    number = draw(st.integers(1, 3))
    return w.Pane(
        session=f"gt-{RIG}-{name}", session_id=f"${number}", created_at=draw(seconds()), attached=draw(st.integers(0, 2)),
        server_pid=draw(st.sampled_from([900, 901])), pane_id=f"%{number}", pid=1000 + number,
        dead=draw(st.sampled_from([False, False, False, True])), in_mode=draw(st.sampled_from([False, False, True])),
        activity_at=draw(seconds()), command=draw(st.sampled_from(["agent", "python3", "bash", "vim", "ssh", ""])))


@st.composite
def worktrees(draw, name=None):
    """Draw the worktree of a polecat."""
    name = name or draw(names())
    branches = [f"polecat/{name}", f"polecat/{name}", "", "main", f"polecat/{name}/de-2@x"]
    records = [{}, {}, {}, {"issue": "de-1"}, {"issue": "../x"}, {"state": "idle"}, {"issue": "de-2", "state": "done"},
               {"issue": 3, "state": None}]
    return w.Worktree(
        name=name, path=f"/rig/polecats/{name}", admin=f"/rig/.git/worktrees/{name}", branch=draw(st.sampled_from(branches)),
        born_at=draw(marks()), git_at=draw(marks()), record_at=draw(marks()), record=draw(st.sampled_from(records)),
        trouble=draw(st.sampled_from(["", "", "", "", "no admin folder"])))


@st.composite
def sightings(draw, name=None):
    """Draw what one tick saw of a polecat."""
    name = name or draw(names())
    session = draw(st.sampled_from([w.PRESENT, w.PRESENT, w.PRESENT, w.ABSENT, w.UNKNOWN]))
    given = {}
    if session == w.PRESENT:
        own = draw(st.lists(panes(name), max_size=2, unique_by=lambda pane: pane.pane_id))
        shell = draw(st.sampled_from(["", "", "interactive", "script", w.UNKNOWN]))
        given = {"panes": tuple(own), "pane": own[0] if own else None, "pane_start": draw(st.sampled_from([0, 7])),
                 "shell": shell}
    elif session == w.ABSENT:
        given = {"process_lives": draw(st.booleans())}
    return w.Sighting(name=name, worktree=draw(worktrees(name)), session=session, **given)


def looks(name=None) -> st.SearchStrategy:
    """Draw a second look, also one that failed."""
    name = names() if name is None else st.just(name)
    good = st.builds(w.Look, name=name, at=stamps(), ok=st.just(True), files_at=marks(), changed=st.integers(0, 3),
                     screen=texts(), persons=st.sampled_from([0, 0, 0, 1]))
    bad = st.builds(w.Look, name=name, at=stamps(), ok=st.just(False), reason=st.sampled_from(["no answer", "git failed"]))
    return st.one_of(good, good, bad)


SUBJECTS = (
    "LIFECYCLE: polecat requesting shutdown", "LIFECYCLE: polecat-alpha requesting shutdown", "LIFECYCLE:Shutdown beta",
    "POLECAT_DONE alpha", "CRASHED_POLECAT: beta", "MERGED alpha", "HELP: blocked", "",
)
BODIES = ("Polecat: alpha\n", "Polecat: beta\n", "Polecat:\nalpha\n", "Polecat: ../x\n", "Polecat: alpha\nPolecat: beta\n",
          "", "please")
SENDERS = ("demo/alpha", "demo/polecats/beta", "other/alpha", "mayor/", "deacon", "", "alpha")


def mails() -> st.SearchStrategy:
    """Draw a mail of our inbox, good requests and forgeries alike."""
    return st.builds(
        w.Mail, id=st.sampled_from(["m1", "m2", "m3", "m4"]), sender=st.one_of(st.sampled_from(SENDERS), texts()),
        subject=st.one_of(st.sampled_from(SUBJECTS), texts()), body=st.one_of(st.sampled_from(BODIES), texts()), at=stamps())


@st.composite
def issues(draw, issue=None):
    """Draw an issue; what it waits for may be itself, a ring, or not in the queue."""
    others = st.sampled_from([*ISSUES, "gone"])
    issue = issue or draw(issue_ids())
    return w.Issue(
        id=issue, title=draw(texts()), status=draw(st.sampled_from(["open", "open", "open", "in_progress", "closed", "blocked",
                                                                  "tombstone"])),
        priority=draw(st.integers(0, 4)), type=draw(st.sampled_from(["task", "task", "bug", "epic", "molecule"])),
        assignee=draw(st.sampled_from(["", "", "someone", *ACTORS])), labels=draw(_some(st.sampled_from(["a", "b"]), 2)),
        blocked_by=draw(_some(others, 2)), parents=draw(_some(others, 2)),
        created=draw(st.sampled_from(["", "2026-11-22T11:53:54Z", "2026-11-22T11:53:55Z"])),
        deferred_until=draw(st.one_of(st.just(""), st.just(""), stamps().map(w.rfc3339), st.just("soon"))),
        aside=draw(st.sampled_from(["", "", "", "pinned"])))


@st.composite
def claims(draw, issue=None):
    """Draw a claim on an issue, ours or another's."""
    issue = issue or draw(issue_ids())
    name = draw(st.sampled_from([w.name_for_issue(issue), *NAMES, ""]))
    return w.Claim(
        issue=issue, actor=draw(st.sampled_from([ACTORS[0], ACTORS[0], ACTORS[1]])), at=draw(stamps()),
        state=draw(st.sampled_from(["claimed", "working", "failed", "handed-over", "released", "closed"])), name=name,
        branch=draw(st.sampled_from(["", f"polecat/{name}"])), start=draw(shas()),
        ref=draw(st.sampled_from(["", f"refs/witness/retired/{name}/20270115T080000Z"])), tip=draw(shas()),
        birth=draw(births()))


def spawn_sights() -> st.SearchStrategy:
    """Draw the recorded spawn child as a tick sees it."""
    return st.builds(
        w.SpawnSight, alive=st.booleans(), issue=issue_ids(), name=names(), pid=st.sampled_from([0, 1001]),
        start=st.sampled_from([0, 7]), ok=st.sampled_from([None, True, False]), reason=texts(),
        fault=st.sampled_from(["", "host", "tool"]), branch=st.sampled_from(["", "polecat/de-1"]), commit=shas(),
        birth=births())


def loads() -> st.SearchStrategy:
    """Draw the host's guards; None where the system cannot say."""
    return st.builds(w.Load, per_core=_maybe(st.floats(0, 9)), free_memory_mib=_maybe(st.floats(0, 9000)),
                     free_disk_mib=_maybe(st.floats(0, 90000)))


def ports(answers=(w.PRESENT, w.PRESENT, w.PRESENT, w.PRESENT, w.UNKNOWN)) -> st.SearchStrategy:
    """Draw how each tool answered; absence is known of the spawner alone."""
    one = st.sampled_from(answers).map(lambda state: w.Port(state=state, reason="no answer" if state == w.UNKNOWN else ""))
    return st.fixed_dictionaries(
        {**dict.fromkeys(TOOLS[:4], one), "spawner": st.sampled_from([w.Port(), w.Port(state=w.ABSENT, reason="not set")])})


def outcomes() -> st.SearchStrategy:
    """Draw how an action of the last tick ended."""
    ends = {
        "retire": st.sampled_from([{}, {"blockers": (("modified", "changed: a.txt", "git commit"),)}, {"gone": True}]),
        "letter": st.sampled_from([{}, {"mailed": True}]),
    }
    return st.sampled_from(["nudge", "letter", "spawn", "restart", "retire"]).flatmap(
        lambda kind: st.builds(w.Outcome, kind=st.just(kind), subject=st.one_of(names(), issue_ids(), st.just("k1")),
                               ok=st.booleans(), at=stamps(), detail=texts(), data=ends.get(kind, st.just({}))))


@st.composite
def observations(draw, answers=None):
    """Draw everything one tick knows; what hangs on a tool that did not answer is unknown too."""
    answered = draw(ports(answers) if answers else ports())
    seen = draw(_by("name", sightings(), len(NAMES)))
    blind = w.Sighting(name="", worktree=w.Worktree(name="", path="", admin=""))
    if answered["tmux"].state == w.UNKNOWN:
        seen = {name: blind.but(name=name, worktree=one.worktree) for name, one in seen.items()}
    queue = answered["queue"].state == w.PRESENT
    return w.Observation(
        now=NOW, rig=RIG, day=draw(st.sampled_from(["2027-01-14", "2027-01-15"])), first=draw(st.booleans()),
        gap=draw(st.booleans()), person=draw(st.booleans()),
        duties=draw(st.frozensets(st.sampled_from(["health", "shutdown", "spawn"]), min_size=1)),
        only=draw(_some(st.one_of(names(), issue_ids()), 1)), ports=answered, sightings=seen,
        strangers=draw(_some(st.just(("crew", "no linked worktree of the rig")), 1)), looks=draw(_by("name", looks(), 2)),
        outcomes=draw(_some(outcomes(), 2)),
        mails=tuple(draw(_by("id", mails())).values()) if answered["mailbox"].state == w.PRESENT else (),
        mails_waiting=draw(st.integers(0, 3)),
        issues=tuple(draw(_by("id", issues())).values()) if queue else None,
        claims=draw(_by("issue", claims())) if queue else None,
        spawn=draw(_maybe(spawn_sights())), load=draw(_maybe(loads())), paused=draw(st.sampled_from(["", "", "", "lunch"])),
        holds=draw(st.dictionaries(names(), st.just("mine"), max_size=1)), resumed_at=draw(marks()), actor=ACTORS[0])


# ---- what is remembered ---------------------------------------------------------------------------------------------


def tracks() -> st.SearchStrategy:
    """Draw what is remembered of a polecat."""
    states = ("", "unknown", "held", "requested", "idle", "starting", "dead", "stuck", "busy", "working")
    return st.builds(
        w.Track, instance=instances(), pane_id=st.sampled_from(["", "%1", "%2"]), pane_pid=st.sampled_from([0, 1001]),
        pane_start=st.sampled_from([0, 7]), agents=_some(st.sampled_from(["agent", "python3"]), 2),
        state=st.sampled_from(states), state_at=marks(), reset_at=marks(), quiet_from_at=marks(), nudged_at=marks(),
        nudge_result=st.sampled_from(["", "delivered to the pane", "failed: no answer"]), escalated_at=marks(),
        last_nudge_at=marks(), busy_told=st.booleans(), dead_ticks=st.integers(0, 2),
        restarts=_some(stamps().map(w.rfc3339), 4), screen=texts(), screen_at=marks())


def blockers() -> st.SearchStrategy:
    """Draw (kind, evidence, remedy) of what stood in the way of a retirement."""
    return st.sampled_from([("modified", "changed: a.txt", "git commit"), ("stash", "one", "git stash pop")])


def requests(name=None) -> st.SearchStrategy:
    """Draw a wish that a polecat be retired."""
    return st.builds(
        w.Request, name=names() if name is None else st.just(name), sender=st.sampled_from(SENDERS), at=stamps(),
        force=st.booleans(), mails=_some(st.sampled_from(["m1", "m2"]), 2), looks=st.integers(0, 5), next_at=marks(),
        blockers=_some(blockers(), 2), told=st.sampled_from(["", "modified"]), escalated=st.booleans())


@st.composite
def retirements(draw, name=None):
    """Draw a retirement under way."""
    name = name or draw(names())
    at = draw(stamps())
    return w.Retirement(
        name=name, id=f"{name}/{w.time_id(at)}", at=at, step=draw(st.sampled_from(STEPS)), force=draw(st.booleans()),
        issue=draw(st.sampled_from(["", *ISSUES])), branch=draw(st.sampled_from(["", f"polecat/{name}"])), tip=draw(shas()),
        start=draw(shas()), path=f"/rig/polecats/{name}", admin=f"/rig/.git/worktrees/{name}",
        session=draw(st.sampled_from(["", f"gt-{RIG}-{name}"])), instance=draw(instances()),
        pane_id=draw(st.sampled_from(["", "%1"])), pane_pid=draw(st.sampled_from([0, 1001])),
        pane_start=draw(st.sampled_from([0, 7])), birth=draw(births()), commit=draw(shas()), committed=draw(st.booleans()),
        branch_result=draw(st.sampled_from(["", "deleted", "kept"])), branch_reason=draw(texts()), error=draw(texts()),
        tries=draw(st.integers(0, 4)), next_at=draw(marks()))


def efforts() -> st.SearchStrategy:
    """Draw what was tried for one issue."""
    return st.builds(w.Effort, attempts=st.integers(0, 4), next_at=marks(), error=texts())


def escalations() -> st.SearchStrategy:
    """Draw an open matter for a person."""
    return st.builds(
        w.Escalation, cause=st.sampled_from(["stuck", "dead", "busy", "refused", "storm", "port-tmux", "spawn-de-1"]),
        name=st.sampled_from(["", *NAMES]), instance=instances(), summary=texts(), opened_at=stamps(), raised_at=marks(),
        raises=st.integers(0, 4), evidence=texts())


def letters() -> st.SearchStrategy:
    """Draw a message on its way out."""
    return st.builds(
        w.Letter, to=st.sampled_from(["mayor/", "demo/alpha"]), subject=texts(), body=texts(), at=stamps(),
        tries=st.integers(0, 5), next_at=marks(), command=st.booleans(), mailed=st.booleans())


@st.composite
def memories(draw):
    """Draw a memory; its tables are keyed as the rooms key them."""
    figures = st.sampled_from(["total_nudges", "today_nudges", "total_spawns", "today_spawns"])
    matters = draw(_some(escalations(), 2))
    return w.Memory(
        rig_name=draw(st.sampled_from(["", RIG])), state=draw(st.sampled_from(["stopped", "running"])),
        pid=draw(st.sampled_from([0, 4711])), started_at=draw(marks()), monitored_polecats=draw(_some(names(), 2)),
        last_check_at=draw(marks()), stats=draw(st.dictionaries(figures, st.integers(0, 9), max_size=3)),
        config=draw(st.sampled_from([{}, {"max_workers": 0}])), spawned_issues=draw(_some(issue_ids(), 2)),
        polecats=draw(st.dictionaries(names(), tracks(), max_size=3)), requests=draw(_by("name", requests(), 2)),
        retirements=draw(_by("name", retirements(), 2)), issues=draw(st.dictionaries(issue_ids(), efforts(), max_size=2)),
        escalations={f"{one.cause}.{one.name}.{one.instance}": one for one in matters},
        ports=draw(st.dictionaries(st.sampled_from([*TOOLS, "look.alpha"]), st.builds(w.PortTrack, since_at=stamps(),
                                                                                    reason=texts()), max_size=2)),
        pending=draw(st.dictionaries(st.sampled_from(["k1", "k2", "fwd.m1"]), letters(), max_size=2)),
        spawn=draw(_maybe(st.builds(w.Spawn, issue=issue_ids(), at=stamps(), deadline_at=stamps()))),
        spawned_at=draw(marks()), failures=draw(_some(stamps().map(w.rfc3339), 3)), breaker_at=draw(marks()),
        storm_at=draw(marks()), calm_ticks=draw(st.integers(0, 2)), merged_at=draw(marks()), swept_at=draw(marks()),
        exceptions=draw(st.integers(0, 2)), day=draw(st.sampled_from(["", "2027-01-15"])))
