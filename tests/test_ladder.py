"""Nudge, wait, escalate, wait for a person; what follows a death."""

from __future__ import annotations

import pytest
from tools.simulation import (
    HOUR,
    MIN,
    World,
    make_claim,
    make_draft,
    make_seen,
    make_sighting,
    make_track,
    of,
    settings,
    words,
)

from witness import (
    UNKNOWN,
    LookTwice,
    Nudge,
    Restart,
    Verdict,
    follow_instance,
    next_rung,
    note_state,
    parse_rfc3339,
    rfc3339,
)


def quiet_world(**config) -> World:
    """Return a world whose worker alpha has just become quiet; the daemon has followed it from its first minute."""
    world = World(**config)
    world.add("alpha")
    world.tick()
    world.workers["alpha"].commit().show()
    return world


def stuck_world(**config) -> World:
    """Return a world whose worker was nudged just now."""
    world = quiet_world(**config)
    for _ in range(100):
        world.tick()
        if world.nudges:
            return world
    raise AssertionError("it was never nudged")


def since(world: World, at: float) -> float:
    return round(world.now - at)


# ---- the rungs ------------------------------------------------------------------------------------------------------


def test_ladder_nudges_waits_escalates_and_then_waits_for_a_person():
    world = quiet_world()
    quiet_at = world.now
    assert of(world.wait(29 * MIN), LookTwice, Nudge) == []
    actions = world.wait(2 * MIN)
    assert words(actions) == ["LookTwice alpha", "Nudge alpha"]
    assert 30 * MIN <= since(world, quiet_at) <= 32 * MIN
    nudged_at = world.nudges[0][0]
    assert words(world.wait(quiet_at + HOUR - world.now - 1)) == []
    assert world.sent == {}
    assert words(world.wait(2 * MIN)) == ["LookTwice alpha"]
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"]
    (letter,) = world.sent.values()
    assert "made no progress for 1h00m; a nudge 30m ago did not help" in letter.body
    assert (letter.to, letter.event) == ("mayor/", "opened")
    assert words(world.wait(3 * HOUR)) == []
    assert world.nudges == [(nudged_at, "alpha")]
    assert len(world.sent) == 1


def test_escalation_carries_the_evidence_with_ages():
    world = quiet_world()
    world.workers["alpha"].issue = "de-1"
    world.workers["alpha"].record = {"issue": "de-1"}
    world.wait(65 * MIN)
    body = next(iter(world.sent.values())).body
    for line in (
        "worktree /rig/polecats/alpha, branch polecat/alpha, issue de-1",
        "git state changed 1h00m ago; 0 changed or untracked files",
        "pane %1 runs agent, last output",
        "nudged 30m ago: delivered to the pane",
        "| still thinking",
    ):
        assert f"\n  {line}" in body


def test_nothing_is_done_before_a_second_look():
    world = quiet_world()
    world.wait(29 * MIN)
    while not (actions := world.round()):
        world.now += 30
    assert words(actions) == ["LookTwice alpha"]
    assert words(world.round()) == ["Nudge alpha"]


def test_a_second_look_that_shows_changed_files_closes_the_candidate():
    world = quiet_world()
    world.wait(29 * MIN)
    world.workers["alpha"].edit()
    assert set(words(world.wait(5 * MIN))) == {"LookTwice alpha"}
    assert world.track().state == "working"
    assert world.nudges == []


def test_a_second_look_precedes_the_escalation_too_and_changed_files_end_the_episode():
    world = stuck_world()
    world.wait(28 * MIN)
    world.workers["alpha"].edit()
    world.wait(10 * MIN)
    assert world.sent == {}
    assert world.track().quiet_from_at == world.track().nudged_at == 0.0


def test_a_second_look_that_fails_leaves_the_worker_alone():
    world = quiet_world()
    world.workers["alpha"].look_fails = "git timed out"
    assert set(words(world.wait(2 * HOUR))) == {"LookTwice alpha"}
    assert world.nudges == []
    assert world.told("state")[2:] == [("alpha", "working -> unknown: the second look failed: git timed out")]


def test_a_second_look_that_keeps_failing_is_told_once():
    """Else a stuck worker whose git hangs is neither nudged nor ever spoken of."""
    world = quiet_world()
    world.workers["alpha"].look_fails = "git timed out"
    world.wait(3 * HOUR)
    assert world.subjects() == ["ESCALATION: demo: alpha cannot be judged: the second look failed: git timed out"]
    world.workers["alpha"].look_fails = ""
    world.wait(5 * MIN)
    assert "RESOLVED: Polecat alpha look" in world.subjects()


def test_progress_after_a_nudge_closes_the_episode_silently():
    world = stuck_world()
    world.tick(10 * MIN)
    world.workers["alpha"].commit()
    world.tick()
    assert world.sent == {}
    assert world.told("progress") == [("alpha", "its files change")]
    track = world.track()
    assert (track.quiet_from_at, track.nudged_at, track.nudge_result, track.escalated_at) == (0.0, 0.0, "", 0.0)


def test_progress_after_an_escalation_says_resolved_once():
    world = stuck_world()
    world.wait(40 * MIN)
    world.workers["alpha"].commit()
    world.wait(10 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck", "RESOLVED: Polecat alpha stuck"]
    assert world.memory.escalations == {}


def test_the_next_episode_starts_from_zero():
    world = stuck_world()
    world.wait(40 * MIN)
    world.workers["alpha"].commit()
    world.tick()
    assert words(world.wait(70 * MIN)) == ["LookTwice alpha", "Nudge alpha", "LookTwice alpha"]
    assert world.subjects()[2:] == ["ESCALATION: Polecat alpha stuck"]


def test_our_paste_is_not_taken_for_an_answer():
    world = stuck_world()
    world.wait(35 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"]


def test_an_answer_in_the_pane_after_nudge_wait_is_progress():
    world = stuck_world()
    world.wait(6 * MIN)
    world.workers["alpha"].show()
    world.tick()
    assert world.track().state == "working"


def test_never_more_than_one_nudge_per_nudge_wait_even_over_episodes():
    world = quiet_world(stuck_after=10, start_grace=0, interval=5, nudge_wait=300, escalate_after=7200)
    for _ in range(30):
        world.workers["alpha"].commit()
        world.wait(30)
    times = [at for at, _ in world.nudges]
    assert len(times) >= 3
    assert min(later - at for at, later in zip(times, times[1:])) >= 300


def test_a_new_session_does_not_bring_a_second_nudge_within_nudge_wait():
    world = quiet_world(stuck_after=10, start_grace=0, interval=5, nudge_wait=300, escalate_after=7200)
    world.wait(30)
    world.workers["alpha"].start()
    world.wait(250)
    assert len(world.nudges) == 1


def test_escalation_comes_no_sooner_than_nudge_wait_after_the_nudge():
    world = quiet_world(nudge_wait=3600)
    world.wait(80 * MIN)
    assert (len(world.nudges), len(world.sent)) == (1, 0)
    world.wait(12 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"]


def test_a_nudge_is_aimed_at_the_pane_and_the_agents_seen_in_it():
    world = stuck_world(nudge_via="mail,pane")
    (nudge,) = of(world.done, Nudge)
    assert nudge.pane.pane_id == world.workers["alpha"].pane.pane_id
    assert (nudge.agents, nudge.via, nudge.why) == (("agent",), "mail,pane", "no progress for 30m")
    assert nudge.text.startswith("[witness] alpha: no progress seen for 30m.")
    assert world.track().nudge_result == "delivered to the pane"
    assert world.told("nudged") == [("alpha", "delivered to the pane")]


def test_a_nudge_whose_outcome_was_lost_is_not_repeated():
    world = quiet_world()
    world.wait(29 * MIN)
    while not of(world.round(), LookTwice):
        world.now += 30
    world.round(crash_after=1)
    assert len(world.nudges) == 1
    world.wait(25 * MIN)
    assert len(world.nudges) == 1
    assert world.track().nudge_result == "its outcome is not known"


# ---- first tick, gap, restart ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [False, True], ids=["start", "gap"])
def test_a_start_or_a_gap_resets_the_timers_of_a_worker_that_was_quiet(gap):
    world = quiet_world()
    world.wait(20 * MIN)
    if gap:
        world.now += 8 * HOUR
        world.tick(gap=True)
    else:
        world.restart()
        world.now += 8 * HOUR
        world.tick()
    assert world.done == [] or words(world.done) == []
    assert words(world.wait(29 * MIN)) == []
    assert words(world.wait(2 * MIN)) == ["LookTwice alpha", "Nudge alpha"]


def test_the_first_tick_and_a_gap_start_no_timer_action():
    world = stuck_world()
    world.tick(8 * HOUR, gap=True)
    assert words(world.done[-1:]) != ["LookTwice alpha"]
    world.restart()
    world.tick(8 * HOUR)
    assert world.sent == {}


def test_a_restart_keeps_the_rungs_and_the_next_comes_no_sooner_than_nudge_wait_later():
    world = stuck_world()
    world.restart()
    world.tick(2 * HOUR)
    started_at = world.now
    world.wait(290)
    assert world.sent == {}
    world.wait(60)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"]
    assert since(world, started_at) <= 360
    assert len(world.nudges) == 1


def test_a_restart_amid_a_pause_does_not_nudge_before_nudge_wait():
    """The episode was open and its first rung not yet climbed."""
    world = quiet_world()
    world.wait(29 * MIN)
    while not of(world.round(), LookTwice):
        world.now += 30
    world.paused = "a talk"
    world.round()
    assert (world.track().state, world.nudges) == ("stuck", [])
    world.paused = ""
    world.restart()
    world.tick()
    world.wait(290)
    assert world.nudges == []
    world.wait(60)
    assert len(world.nudges) == 1


def test_a_person_need_not_wait_for_the_timers():
    world = quiet_world()
    world.wait(20 * MIN)
    world.now += 20 * MIN
    world.restart()
    world.round()
    assert words(world.person("health")) == ["LookTwice alpha", "Nudge alpha"]


def test_a_person_is_served_without_a_daemon_that_has_ever_run():
    world = World()
    world.add("alpha")
    world.now += 40 * MIN
    assert words(world.person("health")) == ["LookTwice alpha", "Nudge alpha"]


def test_a_person_who_names_a_worker_has_only_that_one_looked_at():
    world = World()
    world.add("alpha")
    world.add("beta")
    world.now += 40 * MIN
    assert words(world.person("health", only=("beta",))) == ["LookTwice beta", "Nudge beta"]


def test_an_idle_worker_is_not_reminded_while_the_queue_is_away():
    """That its issue is closed was known; that nobody can say so any more does not make it stuck."""
    world = World(stuck_after=30 * MIN)
    world.queue("de-1", "de-2")
    world.issues["de-1"] = world.issues["de-1"].but(status="closed")
    world.add("alpha").record = {"issue": "de-1"}
    world.add("beta").record = {"issue": "de-2"}
    world.wait(2 * MIN)
    world.failing["queue"] = "no route to host"
    world.wait(2 * HOUR)
    assert {name for _, name in world.nudges} == {"beta"}
    assert world.memory.polecats["alpha"].state == "idle"


# ---- raised again ---------------------------------------------------------------------------------------------------


def test_an_escalation_is_raised_again_every_four_hours_at_most_three_times():
    world = stuck_world()
    world.wait(31 * MIN)
    first_at = world.now
    assert len(world.sent) == 1
    for number in (2, 3, 4):
        world.wait(first_at + (number - 1) * 4 * HOUR - 2 * MIN - world.now)
        assert len(world.sent) == number - 1
        world.wait(4 * MIN)
        assert len(world.sent) == number
    world.wait(20 * HOUR)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"] * 4
    assert "Told for the 4. time" in list(world.sent.values())[-1].body


# ---- what ends an escalation ----------------------------------------------------------------------------------------


def escalated_world(**config) -> World:
    world = stuck_world(**config)
    world.wait(31 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"]
    return world


def test_a_stuck_worker_whose_issue_is_closed_is_resolved():
    """Idle is no fault; without this the mayor is told again for twelve hours."""
    world = escalated_world()
    world.queue("de-1", status="closed")
    world.workers["alpha"].record = {"issue": "de-1"}
    world.wait(20 * HOUR)
    assert world.subjects()[1:] == ["RESOLVED: Polecat alpha stuck"]
    assert world.track().quiet_from_at == 0.0


def test_a_stuck_worker_that_dies_is_reported_dead_and_no_longer_stuck():
    world = escalated_world()
    world.workers["alpha"].end()
    world.wait(5 * MIN)
    assert world.subjects()[1:] == ["RESOLVED: Polecat alpha stuck", "ESCALATION: Polecat alpha dead"]


def test_a_new_session_closes_what_was_open_of_the_old_one():
    world = escalated_world()
    world.workers["alpha"].start()
    world.tick()
    assert world.subjects()[1:] == ["RESOLVED: Polecat alpha stuck"]
    assert world.told("instance") == [("alpha", "a new session has taken its place")]


def test_a_tick_without_tmux_neither_ends_nor_repeats_an_episode():
    world = escalated_world()
    world.failing["tmux"] = "no answer"
    world.tick()
    assert world.track().state == "unknown"
    del world.failing["tmux"]
    world.wait(5 * MIN)
    assert (len(world.nudges), len(world.sent)) == (1, 1)
    assert world.track().state == "stuck"


def test_a_hold_in_an_episode_keeps_its_rungs():
    world = stuck_world()
    world.holds = {"alpha": "mine"}
    world.wait(2 * HOUR)
    assert world.sent == {}
    world.holds = {}
    world.wait(MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha stuck"]
    assert len(world.nudges) == 1


# ---- dead -----------------------------------------------------------------------------------------------------------


def dead_world(**config) -> World:
    """Return a world whose worker, assigned to an open issue, has just died."""
    world = World(**config)
    world.queue("de-1")
    world.add("alpha", "de-1").record = {"issue": "de-1"}
    world.wait(5 * MIN)
    world.workers["alpha"].end()
    return world


def test_a_death_is_reported_after_two_ticks_once():
    world = dead_world()
    world.tick()
    assert (world.track().state, words(world.done), world.sent) == ("dead", [], {})
    world.tick()
    assert world.subjects() == ["ESCALATION: Polecat alpha dead"]
    body = next(iter(world.sent.values())).body
    assert "is dead: its session is gone. Its work is untouched in /rig/polecats/alpha" in body
    assert "branch polecat/alpha, 0 changed or untracked files" in body
    assert "issue de-1" in body
    world.wait(3 * HOUR)
    assert len(world.sent) == 1
    assert words(world.done) == ["LookTwice alpha"]


def test_two_looks_within_a_moment_are_not_two_ticks():
    """A round that follows at once, for the outcome of something else, sees the same moment."""
    world = dead_world()
    world.mail("HELP", sender="demo/beta")
    world.tick()
    assert world.subjects() == ["FWD: HELP"]
    assert world.track().state == "dead"
    world.workers["alpha"].start()
    world.wait(MIN)
    assert world.subjects() == ["FWD: HELP"]


def test_a_death_is_reported_although_git_cannot_say_what_was_left():
    world = dead_world()
    world.workers["alpha"].look_fails = "git timed out"
    world.wait(2 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha dead"]
    assert "git could not be asked: git timed out" in next(iter(world.sent.values())).body


def test_a_death_seen_once_and_gone_again_is_not_reported():
    world = dead_world()
    world.tick()
    world.workers["alpha"].start()
    world.wait(10 * MIN)
    assert world.sent == {}


def test_a_death_that_ends_is_resolved():
    world = dead_world()
    world.wait(5 * MIN)
    world.workers["alpha"].start()
    world.wait(5 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha dead", "RESOLVED: Polecat alpha dead"]


def test_an_agent_that_comes_back_in_the_same_pane_resolves_its_death():
    world = World()
    worker = world.add("alpha")
    world.wait(5 * MIN)
    worker.leave()
    world.wait(2 * MIN)
    worker.pane, worker.shell = worker.pane.but(command="agent"), ""
    world.wait(2 * MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha dead", "RESOLVED: Polecat alpha dead"]


def test_a_death_is_not_reported_by_the_first_tick():
    world = dead_world()
    world.tick()
    world.restart()
    world.round()
    assert words(world.done) == []


def test_a_person_is_told_of_a_death_at_once():
    world = dead_world()
    assert words(world.person("health")) == ["LookTwice alpha"]
    assert world.subjects() == ["ESCALATION: Polecat alpha dead"]


def test_a_restart_starts_the_agent_again_and_tells_nobody():
    world = dead_world(on_dead="restart")
    assert words(world.wait(2 * MIN)) == ["Restart alpha"]
    (restart,) = of(world.done, Restart)
    assert (restart.issue, restart.title) == ("de-1", "title of de-1")
    world.wait(10 * MIN)
    assert (world.track().state, world.sent) == ("working", {})
    assert world.memory.stats["total_restarts"] == 1


def test_restarts_within_an_hour_are_bounded_then_it_is_reported():
    world = dead_world(on_dead="restart")
    for _ in range(60):
        world.tick()
        if world.workers["alpha"].pane is not None and world.track().state != "dead":
            world.workers["alpha"].end()
    times = [parse_rfc3339(at) for at in world.track().restarts]
    assert len(of(world.done, Restart)) == 3
    assert min(later - at for at, later in zip(times, times[1:])) >= 120
    assert world.subjects()[-1] == "ESCALATION: Polecat alpha dead"
    assert "restarted 3 times within an hour" in list(world.sent.values())[-1].body


def test_restarts_are_allowed_again_after_an_hour():
    world = dead_world(on_dead="restart", max_restarts=1)
    world.wait(2 * MIN)
    world.workers["alpha"].end()
    world.wait(30 * MIN)
    assert len(of(world.done, Restart)) == 1
    world.wait(40 * MIN)
    assert len(of(world.done, Restart)) == 2


def suspended_world() -> World:
    """Return a world whose worker's agent was suspended: its shell is in front, and each restart finds it alive."""
    world = World(on_dead="restart")
    world.queue("de-1")
    world.add("alpha", "de-1").record = {"issue": "de-1"}
    world.wait(5 * MIN)
    world.workers["alpha"].leave()
    world.do_Restart = lambda action: world.outcome("restart", action, False, "pid 7 (agent) lives", lives=True)
    return world


def test_suspended_agent_is_told_of_once_and_never_called_dead():
    world = suspended_world()
    world.wait(5 * MIN)
    (letter,) = world.sent.values()
    assert "Polecat alpha was not restarted: pid 7 (agent) lives" in letter.body
    world.wait(3 * HOUR)
    assert len(world.sent) == 1
    assert world.told("restarted") == []


def test_suspended_agent_that_is_back_in_front_is_resolved():
    world = suspended_world()
    world.wait(5 * MIN)
    worker = world.workers["alpha"]
    worker.pane, worker.shell = worker.pane.but(command="agent"), ""
    world.wait(2 * MIN)
    assert "RESOLVED: Polecat alpha suspended" in world.subjects()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, ["Restart alpha"], id="all-is-well"),
        pytest.param({"status": "closed"}, [], id="closed-issue-is-idle"),
        pytest.param({"issues": {}}, ["LookTwice alpha"], id="issue-not-known-to-be-open"),
        pytest.param({"queue": "no answer"}, ["LookTwice alpha"], id="queue-unknown"),
        pytest.param({"record": {}}, ["LookTwice alpha"], id="no-assignment"),
        pytest.param({"claim": make_claim(name="alpha")}, ["Restart alpha"], id="its-own-claim"),
        pytest.param({"claim": make_claim(name="beta")}, ["LookTwice alpha"], id="anothers-claim"),
        pytest.param({"claim": make_claim(state="failed", name="alpha")}, ["LookTwice alpha"], id="failed-spawn"),
        pytest.param({"claim": make_claim(state="handed-over", name="alpha")}, ["LookTwice alpha"], id="handed-over"),
        pytest.param({"claims_lost": True}, ["LookTwice alpha"], id="claims-unknown"),
        pytest.param({"config": {"agent_command": ()}}, ["LookTwice alpha"], id="nothing-to-run"),
        pytest.param({"config": {"max_restarts": 0}}, ["LookTwice alpha"], id="no-restarts"),
        pytest.param({"config": {"on_dead": "report"}}, ["LookTwice alpha"], id="report"),
        pytest.param({"hold": "mine"}, [], id="held"),
        pytest.param({"paused": "a talk"}, [], id="paused"),
        pytest.param({"tmux": "no answer"}, [], id="tmux-unknown"),
        pytest.param({"git": "no answer"}, [], id="git-unknown"),
    ],
)
def test_a_restart_needs_an_open_issue_and_nobody_who_says_no(change, expected):
    world = dead_world(**{"on_dead": "restart", **change.get("config", {})})
    world.issues = change.get(
        "issues", {key: one.but(status=change.get("status", "open")) for key, one in world.issues.items()}
    )
    world.workers["alpha"].record = change.get("record", {"issue": "de-1"})
    world.claims, world.claims_lost = ({"de-1": change["claim"]} if "claim" in change else {}), "claims_lost" in change
    world.failing = {port: change[port] for port in ("queue", "tmux", "git") if port in change}
    world.holds, world.paused = ({"alpha": change["hold"]} if "hold" in change else {}), change.get("paused", "")
    world.wait(90)
    assert words(of(world.done, LookTwice, Restart)) == expected


def test_a_socket_that_was_deleted_is_no_death():
    world = dead_world(on_dead="restart")
    world.workers["alpha"].start()
    world.wait(3 * MIN)
    world.lose_socket()
    world.wait(30 * MIN)
    assert (words(world.done), world.track().state) == ([], "unknown")


# ---- busy -----------------------------------------------------------------------------------------------------------


def spinner(**config) -> World:
    """Return a world whose worker's pane has moved for hours without any change of files."""
    world = quiet_world(**config)
    for _ in range(190):
        world.workers["alpha"].show()
        world.tick(MIN)
    return world


def test_busy_is_reported_once_and_nobody_is_disturbed():
    world = spinner()
    assert world.track().state == "busy"
    for _ in range(60):
        world.workers["alpha"].show()
        world.tick(MIN)
    assert world.subjects() == ["ESCALATION: Polecat alpha busy without a change"]
    assert words(world.done) == []


def test_busy_that_ends_in_a_change_is_resolved():
    world = spinner()
    world.workers["alpha"].commit()
    world.tick()
    assert world.subjects()[1:] == ["RESOLVED: Polecat alpha busy"]


def test_busy_over_a_restart_is_neither_resolved_nor_told_again():
    world = spinner()
    world.restart()
    for _ in range(200):
        world.workers["alpha"].show()
        world.tick(MIN)
    assert len(world.subjects()) == 1


def test_a_spinner_that_stops_is_not_resolved_before_it_is_judged():
    world = spinner()
    world.wait(27 * MIN)
    world.workers["alpha"].look_fails = "git timed out"
    world.wait(3 * MIN)
    assert "RESOLVED: Polecat alpha busy" not in world.subjects()
    world.workers["alpha"].look_fails = ""
    world.wait(MIN)
    assert "RESOLVED: Polecat alpha busy" in world.subjects()
    assert len(world.nudges) == 1


# ---- the track ------------------------------------------------------------------------------------------------------


def test_a_track_follows_its_instance_and_starts_from_nothing_with_a_new_one():
    sighting = make_sighting(session_id="$2")
    old = make_track(
        restarts=(rfc3339(make_seen().now - 60),),
        nudged_at=1.0,
        last_nudge_at=5.0,
        dead_ticks=2,
        agents=("agent", "other"),
        quiet_from_at=1.0,
    )
    draft = make_draft(make_seen(sighting))
    draft.put("polecats", "alpha", old)
    follow_instance(draft, sighting)
    track = draft.memory.polecats["alpha"]
    assert track.instance != old.instance
    assert (track.restarts, track.last_nudge_at) == (old.restarts, 5.0)
    assert (track.nudged_at, track.quiet_from_at, track.dead_ticks, track.agents) == (0.0, 0.0, 0, ("agent",))


@pytest.mark.parametrize(
    ("command", "shell", "agents"),
    [
        ("node", "", ("agent", "node")),
        ("bash", "script", ("agent", "bash")),
        ("bash", "interactive", ("agent",)),
        ("bash", UNKNOWN, ("agent",)),
        ("-zsh", "interactive", ("agent",)),
        ("vim", "", ("agent",)),
        ("ssh", "", ("agent",)),
        ("sudo", "", ("agent",)),
        ("less", "", ("agent",)),
        ("", "", ("agent",)),
        ("agent", "", ("agent",)),
    ],
)
def test_agents_are_what_ran_in_front_and_is_no_shell_editor_pager_or_ssh(command, shell, agents):
    sighting = make_sighting(command=command).but(shell=shell)
    draft = make_draft(make_seen(sighting))
    draft.put("polecats", "alpha", make_track(sighting))
    follow_instance(draft, sighting)
    assert draft.memory.polecats["alpha"].agents == agents


def test_only_the_latest_agents_are_kept():
    draft = make_draft()
    for number in range(12):
        follow_instance(draft, make_sighting(command=f"agent{number}"))
    assert draft.memory.polecats["alpha"].agents == tuple(f"agent{number}" for number in range(4, 12))


def test_a_pane_that_was_replaced_within_the_instance_is_followed():
    draft = make_draft()
    draft.put("polecats", "alpha", make_track(nudged_at=5.0))
    follow_instance(draft, make_sighting(pane_id="%7", pid=77))
    track = draft.memory.polecats["alpha"]
    assert (track.pane_id, track.pane_pid, track.nudged_at) == ("%7", 77, 5.0)


def test_the_last_line_of_the_screen_is_kept_from_the_second_look():
    world = stuck_world()
    assert world.track().screen == "still thinking"
    assert world.track().screen_at == pytest.approx(world.nudges[0][0], abs=1)


@pytest.mark.parametrize("state", ["unknown", "held", "requested"])
def test_a_death_is_not_resolved_by_a_look_that_says_nothing_of_it(state):
    world = dead_world()
    world.wait(5 * MIN)
    draft = make_draft(memory=world.memory)
    note_state(draft, Verdict(name="alpha", state=state, why="so"))
    assert len(draft.memory.escalations) == 1


def test_next_rung_names_the_rung_and_when_it_is_due():
    config = settings()
    assert next_rung(make_track(reset_at=0.0), config)[0] == "nudge"
    assert next_rung(make_track(reset_at=0.0, last_nudge_at=1000.0), config) == ("nudge", 1300.0)
    assert next_rung(make_track(state_at=1400.0, reset_at=1500.0), config) == ("nudge", 1800.0)
    assert next_rung(make_track(state_at=1600.0, reset_at=1500.0), config) == ("nudge", 0.0)
    nudged = make_track(quiet_from_at=1000.0, nudged_at=2800.0, reset_at=0.0)
    assert next_rung(nudged, config) == ("escalate", 4600.0)
    assert next_rung(nudged.but(nudged_at=4500.0), config) == ("escalate", 4800.0)
    assert next_rung(nudged.but(reset_at=9000.0), config) == ("escalate", 9300.0)
    assert next_rung(nudged.but(escalated_at=5000.0), config) == ("person", 0.0)
