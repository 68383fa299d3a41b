"""The queue of a Gas Town: beads that hang on the hooks of its workers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tools import beads

import witness as w

ACTOR = "demo/witness@h1-0123"
OTHER = "demo/witness@h2-4567"
PARKED = "demo:witness@h1-0123"
BRANCH = "polecat/rust/de-1@abc"


@pytest.fixture
def queue(tmp, server, program):
    """Make a town's queue: queue(version of bd, whether gt's daemon feeds from convoys)."""
    program.use("1.0.0")
    beads.connect(tmp, server)
    (tmp / ".gastown").mkdir(mode=0o700)
    rig = w.Rig(name="demo", path=str(tmp), state=str(tmp / ".gastown"), base="", common="", polecats=str(tmp / "p"))

    def make(version="1.0.0", feeds=False) -> w.TownQueue:
        program.use(version)
        town = SimpleNamespace(can=lambda word: word == "native" or (word == "feeds" and feeds))
        return w.TownQueue(w.Host(), rig, w.make_config({}, "test", {}), ACTOR, ("gastown", "test"), town)

    return make


def claim(state="working", issue="de-1", **fields) -> w.Claim:
    given = {"issue": issue, "actor": ACTOR, "at": 5.0, "state": state, "name": "rust", "branch": BRANCH}
    return w.Claim(**{**given, "shared": True, **fields})


def seen(queue) -> dict:
    """Return (status, holder) of each issue as a look tells it."""
    issues, _, port = queue.read_issues(("de-1",))
    assert port.state == w.PRESENT, port
    return {one.id: (one.status, one.assignee) for one in issues}


# ---- whose a bead is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", ["demo/polecats/rust", "demo/rust", ACTOR, PARKED])
def test_hooked_bead_is_in_progress_and_ours_on_our_workers_hook(server, queue, holder):
    server.add("de-1", "One", status="hooked", assignee=holder)
    ours = queue()
    ours.claims.take(claim())
    found = seen(ours)
    assert found["de-1"] == ("in_progress", ACTOR)
    assert ours.why_not_ours("de-1") == ""


@pytest.mark.parametrize(
    "holder", ["demo/polecats/nitro", "demo/nitro", OTHER, "other/polecats/rust", "demo/crew/rust", "mayor/"]
)
def test_bead_on_anothers_hook_is_not_ours(server, queue, holder):
    server.add("de-1", "One", status="hooked", assignee=holder)
    ours = queue()
    ours.claims.take(claim())
    assert seen(ours)["de-1"] == ("in_progress", holder)
    assert ours.why_not_ours("de-1").startswith("de-1 is hooked now, with ")


@pytest.mark.parametrize("state", ["released", "closed"])
def test_bead_on_the_hook_of_a_worker_of_a_settled_claim_is_not_ours(server, queue, state):
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    ours = queue()
    ours.claims.take(claim(state))
    assert seen(ours)["de-1"] == ("in_progress", "demo/polecats/rust")


@pytest.mark.parametrize(
    ("status", "holder", "hook"),
    [
        ("hooked", "demo/polecats/rust", "rust"),
        ("in_progress", "demo/polecats/rust", "rust"),
        ("hooked", "demo/rust", "rust"),
        ("open", "demo/polecats/rust", ""),
        ("closed", "demo/polecats/rust", ""),
        ("hooked", "demo/crew/rust", ""),
        ("hooked", "other/polecats/rust", ""),
        ("in_progress", ACTOR, ""),
        ("hooked", "demo/polecats/../x", ""),
        ("hooked", "demo/witness", ""),
        ("hooked", "demo/refinery", ""),
        ("hooked", "", ""),
    ],
)
def test_hook_is_of_a_worker_of_this_rig_alone(queue, status, holder, hook):
    issue = w.Issue(id="de-1", title="T", status=status, assignee=holder)
    assert queue().find_hook(issue) == hook


def test_hook_of_a_rig_whose_name_looks_like_a_pattern_is_its_own():
    rig = w.Rig(name="a.b", path="/r", state="/r/s", base="/r", common="/r", polecats="/r/p")
    ours = w.TownQueue(w.Host(), rig, w.make_config({}, "test", {}), ACTOR, ("gastown", ""), None)
    issue = w.Issue(id="de-1", title="T", status="hooked", assignee="axb/polecats/rust")
    assert ours.find_hook(issue) == ""
    assert ours.find_hook(issue.but(assignee="a.b/polecats/rust")) == "rust"


# ---- the label of a sling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.0.0", "0.47.1", "0.30.7"])
def test_label_is_put_on_with_our_id_and_the_time_and_taken_off(server, queue, version):
    server.add("de-1", "One", status="in_progress", assignee=ACTOR, labels=["keep", "witness:h2-4567:1700000000"])
    ours = queue(version)
    ours.mark(claim())
    (label,) = set(server.read()["de-1"]["labels"]) - {"keep", "witness:h2-4567:1700000000"}
    who, at = w.read_sling_label(label)
    assert (who, abs(at - w.Host().now()) < 60) == ("h1-0123", True)
    ours.unmark("de-1")
    assert server.read()["de-1"]["labels"] == ["keep", "witness:h2-4567:1700000000"]


def test_bead_that_cannot_be_labelled_is_not_slung(server, queue):
    server.add("de-1", "One", status="in_progress", assignee=ACTOR)
    ours = queue()
    server.spoil({"verb": "update", "do": "fail", "times": 9})
    with pytest.raises(w.ToolError):
        ours.mark(claim())


def test_release_takes_our_label_off_and_gives_back_only_what_reads_as_ours(server, queue):
    ours = queue()
    mine = "witness:h1-0123:1700000000"
    for number, (holder, after) in enumerate(
        ((ACTOR, ("open", "")), ("demo/polecats/rust", ("open", "")), ("demo/polecats/nitro", None), (OTHER, None))
    ):
        one = f"de-{number}"
        server.add(one, "One", status="in_progress", assignee=holder, labels=[mine])
        ours.claims.take(claim(issue=one))
        ours.release(claim(issue=one))
        assert server.state(one) == (after or ("in_progress", holder))
        assert server.read()[one]["labels"] == []
        assert ours.claims.read_all()[one].state == "released"


# ---- handing over ---------------------------------------------------------------------------------------------------


def hand_over(server, queue, feeds=False, **fields):
    """Let a worker's bead be handed over; return what bd was told that changes something."""
    server.spoil()
    ours = queue(feeds=feeds)
    ours.claims.take(claim(**fields))
    left = ours.hand_over(claim(**fields, ref="refs/witness/retired/rust/1"))
    changes = [call["argv"] for call in server.calls() if call["argv"][0] in ("update", "comments", "close")]
    return ours, left, changes


def test_hand_over_labels_takes_the_bead_off_the_hook_and_tells_in_this_order(server, queue):
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    ours, left, changes = hand_over(server, queue)
    assert left == ""
    assert [argv[0] for argv in changes] == ["update", "update", "comments"]
    assert changes[0][:4] == ["update", "de-1", "--add-label", w.HANDED_OVER_LABEL]
    told = f"handed over by Witness: branch {BRANCH}, refs/witness/retired/rust/1"
    assert changes[2] == ["comments", "add", "de-1", told]
    assert server.state("de-1") == ("in_progress", ACTOR)
    done = ours.claims.read_all()["de-1"]
    assert (done.state, done.owed, done.ref) == ("handed-over", "", "refs/witness/retired/rust/1")
    assert seen(ours)["de-1"] == ("in_progress", ACTOR)


def test_bead_that_gt_may_feed_is_held_under_a_name_that_it_makes_no_session_of(server, queue):
    """Whether or not a convoy tracks it yet: one may be made of it at any time."""
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    ours, left, _ = hand_over(server, queue, feeds=True)
    assert left == ""
    assert server.state("de-1") == ("in_progress", PARKED)
    assert "/" not in PARKED
    assert seen(ours)["de-1"] == ("in_progress", ACTOR)


@pytest.mark.parametrize(
    ("status", "holder", "state"),
    [
        ("hooked", "demo/polecats/nitro", "released"),
        ("in_progress", OTHER, "released"),
        ("open", "", "released"),
    ],
)
def test_bead_that_is_not_on_our_workers_hook_any_more_is_left_as_it_is(server, queue, status, holder, state):
    server.add("de-1", "One", status=status, assignee=holder)
    ours, _, changes = hand_over(server, queue)
    assert changes == []
    assert server.state("de-1") == (status, holder)
    assert ours.claims.read_all()["de-1"].state == state


def test_bead_that_gt_closed_before_the_merge_stays_closed_and_says_where_its_work_is(server, queue):
    server.add("de-1", "One", status="closed", assignee="demo/polecats/rust")
    ours, left, _ = hand_over(server, queue)
    assert left == ""
    assert server.state("de-1") == ("closed", "demo/polecats/rust")
    assert server.read()["de-1"]["labels"] == [w.HANDED_OVER_LABEL]
    assert len(server.read()["de-1"]["comments"]) == 1
    assert ours.claims.read_all()["de-1"].state == "closed"


def test_hand_over_while_the_database_is_away_is_owed_and_told_later(server, queue):
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    server.take_down()
    ours, left, _ = hand_over(server, queue)
    assert left.startswith("the queue is told as soon as it answers: ")
    owed = ours.claims.read_all()["de-1"]
    assert (owed.state, owed.owed) == ("handed-over", "label")
    server.bring_back()
    ours.settle(owed)
    assert w.HANDED_OVER_LABEL in server.read()["de-1"]["labels"]
    assert ours.claims.read_all()["de-1"].owed == ""


@pytest.mark.parametrize("at", [1, 2, 3])
def test_hand_over_of_which_a_call_fails_is_done_again_to_the_same_end(server, queue, at):
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    ours = queue()
    ours.claims.take(claim())
    server.spoil({"do": "fail", "at": at, "times": 2})
    ours.hand_over(claim(ref="r"))
    assert server.state("de-1")[0] != "open"
    server.spoil()
    ours.hand_over(claim(ref="r"))
    assert server.state("de-1") == ("in_progress", ACTOR)
    assert server.read()["de-1"]["labels"] == [w.HANDED_OVER_LABEL]
    assert ours.claims.read_all()["de-1"].state == "handed-over"


def test_bead_that_gt_opened_is_claimed_again_and_stays_handed_over(server, queue):
    server.add("de-1", "One", labels=[w.HANDED_OVER_LABEL])
    ours = queue()
    one = claim("handed-over", ref="r")
    ours.claims.take(one)
    assert ours.take_back(one) == ""
    assert server.state("de-1") == ("in_progress", ACTOR)
    held = ours.claims.read_all()["de-1"]
    assert held.state == "handed-over"
    assert held.owed in ("", "label")
    ours.settle(held)
    assert server.read()["de-1"]["labels"] == [w.HANDED_OVER_LABEL]


@pytest.mark.parametrize("feeds", [False, True])
def test_marked_bead_that_gt_opened_before_we_were_killed_is_claimed_again(server, queue, feeds):
    """Killed between gt's nuke, which opens it, and the claim that follows: what is owed is only the label."""
    server.add("de-1", "One", labels=[w.HANDED_OVER_LABEL])
    ours, left, _ = hand_over(server, queue, feeds=feeds)
    assert left == ""
    assert server.state("de-1") == ("in_progress", PARKED if feeds else ACTOR)
    assert ours.claims.read_all()["de-1"].state == "handed-over"


# ---- what hangs on a hook -------------------------------------------------------------------------------------------


def test_all_beads_on_a_workers_hook_are_listed_and_an_answer_that_fails_is_none(server, queue):
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    server.add("de-2", "Two", status="in_progress", assignee="demo/rust")
    server.add("de-3", "Three", status="hooked", assignee="demo/polecats/nitro")
    server.add("de-4", "Four", status="closed", assignee="demo/polecats/rust")
    ours = queue()
    assert ours.list_hooked("rust") == ["de-1", "de-2"]
    assert ours.list_hooked("slate") == []
    for at in (1, 2):
        server.spoil({"verb": "list", "do": "fail", "at": at, "times": 1})
        with pytest.raises(w.ToolError):
            ours.list_hooked("rust")
        server.spoil()


def test_hooked_bead_is_known_in_every_look_and_not_only_in_the_tenth(server, queue):
    server.add("de-1", "One", status="hooked", assignee="demo/polecats/rust")
    ours = queue()
    ours.claims.take(claim())
    for _ in range(w.LIST_EVERY):
        assert seen(ours)["de-1"] == ("in_progress", ACTOR)
