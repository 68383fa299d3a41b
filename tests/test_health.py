"""The state of one worker: the first rule that fits, from signals that are all given."""

from __future__ import annotations

import pytest
from tools.simulation import HOUR, MIN, T0, make_pane, make_sighting, make_track, make_tree, settings

from witness import (
    ABSENT,
    HEALTH_RULES,
    UNKNOWN,
    Claim,
    Look,
    Sighting,
    Signals,
    find_assignment,
    judge_health,
    weigh_rules,
)
from witness import find_progress as progress

QUIET = {"activity_at": T0 - 40 * MIN}  # a pane that has not moved for longer than stuck_after
GOOD_LOOK = Look(name="alpha", at=T0, ok=True)
BAD_LOOK = Look(name="alpha", at=T0, ok=False, reason="git timed out")
GONE = Sighting(name="alpha", worktree=make_tree(), session=ABSENT)
BLIND = Sighting(name="alpha", worktree=make_tree(), session=UNKNOWN)


def signals(sighting=None, track=None, config=None, **more) -> Signals:
    sighting = sighting or make_sighting()
    return Signals(
        sighting=sighting, track=track or make_track(sighting), now=T0, config=settings(**(config or {})), **more
    )


def rows():
    """One row a state, in the order of precedence, then rows where two rules fit and the earlier wins."""
    broken = make_sighting(tree={"trouble": "its admin folder is gone"})
    shell = make_sighting(command="bash").but(shell="interactive")
    fresh = make_sighting(created_at=T0 - 60)
    spinner = make_sighting(tree={"git_at": T0 - 4 * HOUR, "born_at": T0 - 5 * HOUR}, created_at=T0 - 5 * HOUR)
    quiet = make_sighting(**QUIET)
    everything = {"hold": "mine", "requested": "shutdown asked by demo/alpha", "idle": "its issue is closed"}
    return {
        # the plain rows
        "unknown": ("unknown", "tmux could not be asked", signals(BLIND)),
        "held": ("held", "on hold: mine", signals(hold="mine")),
        "requested": ("requested", "shutdown asked by demo/alpha", signals(requested="shutdown asked by demo/alpha")),
        "idle": ("idle", "its own record says idle", signals(idle="its own record says idle")),
        "starting": ("starting", "1m old", signals(fresh)),
        "dead": ("dead", "its session is gone", signals(GONE)),
        "stuck": ("stuck", "no progress for 40m", signals(quiet, look=GOOD_LOOK)),
        "busy": ("busy", "its pane moves, but no file has changed for 4h00m", signals(spinner)),
        "working": ("working", "its pane moves", signals()),
        # ways into a state
        "unknown-worktree": ("unknown", "its admin folder is gone", signals(broken)),
        "unknown-process-lives": (
            "unknown",
            "no session, but its process 1001 still lives",
            signals(GONE.but(process_lives=True)),
        ),
        "unknown-look-failed": ("unknown", "the second look failed: git timed out", signals(quiet, look=BAD_LOOK)),
        "dead-never-had-a-session": ("dead", "it has no session", signals(GONE, make_track(instance=""))),
        "dead-pane-ended": ("dead", "its pane has ended", signals(make_sighting(dead=True))),
        "dead-no-pane": ("dead", "its pane has ended", signals(make_sighting().but(pane=None, panes=()))),
        "dead-back-at-a-shell": (
            "dead",
            "its pane is back at a shell (bash), the agent is gone or suspended",
            signals(shell),
        ),
        "stuck-stays-stuck-without-a-look": (
            "stuck",
            "no progress for 40m",
            signals(quiet, make_track(quiet, state="stuck")),
        ),
        "working-files": ("working", "its files change", signals(make_sighting(tree={"git_at": T0 - 60}, **QUIET))),
        "working-quiet-not-yet-confirmed": ("working", "its pane moves", signals(quiet)),
        # what is none of a state
        "a-shell-that-never-ran-an-agent-is-not-dead": (
            "working",
            "its pane moves",
            signals(shell, make_track(shell, agents=())),
        ),
        "a-script-is-no-interactive-shell": ("working", "its pane moves", signals(shell.but(shell="script"))),
        "a-shell-that-cannot-be-judged-is-not-dead": ("working", "its pane moves", signals(shell.but(shell=UNKNOWN))),
        "no-grace-no-starting": ("working", "its pane moves", signals(fresh, config={"start_grace": 0})),
        "a-session-of-the-future-is-not-starting": (
            "working",
            "its files change",
            signals(make_sighting(created_at=T0 + HOUR)),
        ),
        "busy-is-off": ("working", "its pane moves", signals(spinner, config={"quiet_after": 0})),
        # two fit, the earlier wins
        "unknown-before-held": ("unknown", "tmux could not be asked", signals(BLIND, **everything)),
        "held-before-requested": ("held", "on hold: mine", signals(GONE, **everything)),
        "requested-before-idle": (
            "requested",
            "being retired (move)",
            signals(GONE, **{**everything, "hold": "", "requested": "being retired (move)"}),
        ),
        "idle-before-starting": ("idle", "its issue is closed", signals(fresh, idle="its issue is closed")),
        "idle-before-dead": ("idle", "its issue is closed", signals(GONE, idle="its issue is closed")),
        "starting-before-dead": ("starting", "1m old", signals(fresh.but(shell="interactive"))),
        "starting-before-its-first-session": (
            "starting",
            "1m old",
            signals(GONE.but(worktree=make_tree(born_at=T0 - 60)), make_track(instance="")),
        ),
        "starting-while-it-is-being-made": (
            "starting",
            "it is being made",
            signals(
                GONE.but(worktree=make_tree(born_at=T0 - 60)),
                make_track(instance=""),
                config={"start_grace": 0},
                spawn_at=T0 - 70,
            ),
        ),
        "what-was-there-before-is-not-being-made": (
            "dead",
            "it has no session",
            signals(
                GONE.but(worktree=make_tree(born_at=T0 - 60)),
                make_track(instance=""),
                config={"start_grace": 0},
                spawn_at=T0 - 50,
            ),
        ),
        "dead-before-stuck": ("dead", "its pane has ended", signals(make_sighting(dead=True, **QUIET), look=GOOD_LOOK)),
        "stuck-before-busy": (
            "stuck",
            "no progress for 2h00m",
            signals(make_sighting(activity_at=T0 - 2 * HOUR), look=GOOD_LOOK, config={"quiet_after": 3600}),
        ),
        "a-death-needs-no-second-look": ("dead", "its session is gone", signals(GONE, look=BAD_LOOK)),
    }


@pytest.mark.parametrize("row", rows())
def test_the_first_rule_that_fits_is_the_state(row):
    state, why, given = rows()[row]
    verdict = judge_health(given)
    assert (verdict.state, verdict.why) == (state, why)


def test_there_is_a_row_for_each_rule_by_its_name_in_the_order_of_precedence():
    names = [state for state, _ in HEALTH_RULES]
    assert list(rows())[: len(names)] == names
    assert [rows()[name][0] for name in names] == names


def test_every_rule_is_weighed_those_behind_the_first_that_fits_included():
    given = signals(make_sighting(created_at=T0 - 60))
    weighed = weigh_rules(given)
    assert [state for state, _ in weighed] == [state for state, _ in HEALTH_RULES]
    assert next((state, why) for state, why in weighed if why) == ("starting", "1m old")
    assert weighed[-1] == ("working", "its pane moves")
    assert judge_health(given).signals is given


def test_a_quiet_worker_is_a_candidate_until_a_second_look_confirms_it():
    quiet = make_sighting(**QUIET)
    assert judge_health(signals(quiet)).candidate
    assert not judge_health(signals(quiet, look=GOOD_LOOK)).candidate
    assert not judge_health(signals()).candidate


@pytest.mark.parametrize("state", ["held", "requested", "idle"])
def test_a_worker_that_is_left_alone_is_no_candidate(state):
    assert not judge_health(signals(make_sighting(**QUIET), **{{"held": "hold"}.get(state, state): "so"})).candidate


# ---- progress -------------------------------------------------------------------------------------------------------


def test_progress_is_the_newest_stamp_of_git_record_birth_and_pane():
    hour = T0 - HOUR
    for tree, pane in (
        ({"git_at": hour + 1}, {}),
        ({"record_at": hour + 1}, {}),
        ({"born_at": hour + 1}, {}),
        ({}, {"activity_at": hour + 1}),
        ({}, {"created_at": hour + 1}),
    ):
        assert hour + 1 == progress(signals(make_sighting(tree=tree, **{"activity_at": hour, **pane})))[0]


def test_progress_of_files_alone_leaves_the_pane_out():
    assert progress(signals(make_sighting(activity_at=T0 - 60))) == (T0 - 60, T0 - 2 * HOUR)


def test_changed_files_count_only_on_a_second_look_that_worked():
    quiet, look = make_sighting(**QUIET), GOOD_LOOK.but(files_at=T0 - 60)
    assert progress(signals(quiet, look=look)) == (T0 - 60, T0 - 60)
    assert progress(signals(quiet, look=look.but(ok=False))) == (T0 - 40 * MIN, T0 - 2 * HOUR)
    assert judge_health(signals(quiet, look=look)).state == "working"


@pytest.mark.parametrize(("after_s", "counts"), [(-1, True), (0, False), (0.9, False), (299, False), (301, True)])
def test_our_own_paste_is_no_progress(after_s, counts):
    """tmux keeps whole seconds, so the second of the nudge itself is ours too."""
    nudged_at = T0 - 10 * MIN + 0.5
    sighting = make_sighting(activity_at=float(int(nudged_at + after_s)))
    seen_at = progress(signals(sighting, make_track(sighting, last_nudge_at=nudged_at)))[0]
    assert (sighting.pane.activity_at if counts else T0 - 2 * HOUR) == seen_at


def test_progress_never_falls_behind_where_the_episode_began():
    """The pane's stamp before the nudge is overwritten by our paste; the episode remembers it."""
    sighting = make_sighting(activity_at=T0 - 5)
    track = make_track(sighting, last_nudge_at=T0 - 10, quiet_from_at=T0 - 35 * MIN, state="stuck")
    verdict = judge_health(signals(sighting, track))
    assert (verdict.state, verdict.progress_at, verdict.quiet_s) == ("stuck", T0 - 35 * MIN, 35 * MIN)


@pytest.mark.parametrize("stamp", [{"tree": {"git_at": T0 + HOUR}}, {"activity_at": T0 + HOUR}])
def test_a_stamp_of_the_future_counts_as_now(stamp):
    verdict = judge_health(signals(make_sighting(**{**QUIET, **stamp})))
    assert (verdict.state, verdict.progress_at, verdict.quiet_s) == ("working", T0, 0.0)


def test_timers_count_from_a_start_or_a_gap_at_the_earliest():
    quiet = make_sighting(**QUIET)
    fresh = make_track(quiet, reset_at=T0 - 29 * MIN)
    assert not judge_health(signals(quiet, fresh)).candidate
    assert judge_health(signals(quiet, make_track(quiet, reset_at=T0 - 31 * MIN))).candidate


def test_a_person_is_answered_by_the_stamps_whatever_the_timers_say():
    quiet = make_sighting(**QUIET)
    assert judge_health(signals(quiet, make_track(quiet, reset_at=T0), person=True)).candidate


def test_a_restart_does_not_end_an_episode():
    quiet = make_sighting(**QUIET)
    track = make_track(quiet, reset_at=T0 - 1, quiet_from_at=T0 - 40 * MIN, state="stuck")
    assert judge_health(signals(quiet, track)).state == "stuck"


def test_busy_counts_from_a_start_or_a_gap_at_the_earliest():
    spinner = make_sighting(tree={"git_at": T0 - 4 * HOUR, "born_at": T0 - 5 * HOUR}, created_at=T0 - 5 * HOUR)
    fresh = make_track(spinner, reset_at=T0 - HOUR)
    assert judge_health(signals(spinner, fresh)).state == "working"
    assert judge_health(signals(spinner, fresh, person=True)).state == "busy"


def test_a_worker_known_to_be_busy_stays_busy_over_a_restart():
    """Else each restart of the daemon would tell the mayor that the spinner is at work again."""
    spinner = make_sighting(tree={"git_at": T0 - 4 * HOUR, "born_at": T0 - 5 * HOUR}, created_at=T0 - 5 * HOUR)
    assert judge_health(signals(spinner, make_track(spinner, reset_at=T0, busy_told=True))).state == "busy"


# ---- assignment -----------------------------------------------------------------------------------------------------


def claim(**changes) -> Claim:
    return Claim(issue="de-1", actor="demo/witness@1", at=T0, state="working", name="alpha").but(**changes)


@pytest.mark.parametrize(
    ("tree", "claims", "statuses", "expected"),
    [
        pytest.param({}, {}, {}, ("", ""), id="hand-made-works-on-its-branch"),
        pytest.param({}, None, None, ("", ""), id="unknown-queue-and-claims-say-nothing"),
        pytest.param({"record": {"issue": "de-7"}}, {}, {}, ("de-7", ""), id="its-own-record"),
        pytest.param({}, {"de-1": claim()}, {}, ("de-1", ""), id="the-claim"),
        pytest.param({}, {"de-1": claim(name="beta")}, {}, ("", ""), id="the-claim-of-another"),
        pytest.param({}, {"de-1": claim(state="claimed")}, {}, ("de-1", ""), id="the-claim-being-spawned"),
        pytest.param({}, {"de-1": claim(state="failed")}, {}, ("de-1", ""), id="the-claim-of-a-failed-attempt"),
        pytest.param({}, {"de-1": claim(state="handed-over")}, {}, ("", ""), id="a-claim-that-was-handed-over"),
        pytest.param({"branch": "polecat/nux/de-9@mx1"}, {}, {}, ("de-9", ""), id="the-branch"),
        pytest.param({"branch": "polecat/alpha"}, {}, {}, ("", ""), id="a-branch-without-an-issue"),
        pytest.param({"branch": ""}, {}, {}, ("", ""), id="a-detached-head"),
        pytest.param({"record": {"issue": "de-7"}}, {"de-1": claim()}, {}, ("de-7", ""), id="record-before-claim"),
        pytest.param({"record": {"issue": "../x"}}, {}, {}, ("", ""), id="a-record-that-names-no-issue"),
        pytest.param({}, {"de-1": claim()}, {"de-1": "closed"}, ("de-1", "its issue de-1 is closed"), id="closed"),
        pytest.param({}, {"de-1": claim()}, {"de-1": "tombstone"}, ("de-1", "its issue de-1 is closed"), id="dropped"),
        pytest.param({}, {"de-1": claim()}, {"de-2": "closed"}, ("de-1", ""), id="an-issue-not-in-the-list"),
        pytest.param({}, {"de-1": claim()}, None, ("de-1", ""), id="the-list-is-not-known"),
        pytest.param({"record": {"state": "idle"}}, {}, {}, ("", "its own record says idle"), id="record-says-idle"),
        pytest.param({"record": {"state": "done"}}, {}, {}, ("", "its own record says idle"), id="record-says-done"),
        pytest.param({"record": {"state": "working"}}, {}, {}, ("", ""), id="record-says-working"),
        pytest.param(
            {"record": {"state": "idle"}}, {"de-1": claim()}, {}, ("de-1", ""), id="claim-outweighs-idle-record"
        ),
    ],
)
def test_assignment_and_idle_only_when_known(tree, claims, statuses, expected):
    own = next((one for one in (claims or {}).values() if one.name == "alpha"), None)
    assert find_assignment(make_sighting(tree=tree), own, statuses) == expected


def test_the_pane_of_a_table_is_the_one_the_track_follows():
    """The builders of these tables agree with each other: one instance, one pane."""
    assert make_track().instance == make_track(make_sighting(pane_id="%9")).instance
    assert make_pane().pane_id == make_track().pane_id
