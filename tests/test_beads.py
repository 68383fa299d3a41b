"""The queue that `bd` keeps: what is ready, whose a claim is, and what the database is owed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import subprocess
import sys

import pytest
from tools import beads

import witness as w

VERSIONS = ("0.30.7", "0.47.1", "0.57.0", "1.0.0", "1.0.5")
ACTOR = "demo/witness@h1-0123456789ab"
OTHER = "demo/witness@h2-0123456789ab"


class Host:
    """One host: its rig, its `bd`, its queue."""

    def __init__(self, tmp, server, version, actor=ACTOR, **settings):
        self.server, self.actor = server, actor
        self.path = tmp
        self.path.mkdir(exist_ok=True)
        (self.path / ".gastown").mkdir(mode=0o700)
        beads.connect(self.path, server)
        self.rig = w.Rig(
            name="demo", path=str(tmp), state=str(tmp / ".gastown"), base=str(tmp), common="", polecats=str(tmp / "p")
        )
        self.config = w.make_config({"tool_timeout": 5, **settings}, "test", {})
        self.queue = self.make_queue()

    def make_queue(self) -> w.BeadsQueue:
        """Return the queue as a new process has it."""
        return w.BeadsQueue(w.Host(), self.rig, self.config, self.actor, ("beads", "test"))

    def claim(self, issue: str, state: str = "claimed", **fields) -> w.Claim:
        """Return a claim of this host."""
        given = {"state": state, "name": issue, "branch": f"polecat/{issue}", "shared": True, **fields}
        return w.Claim(issue=issue, actor=self.actor, at=5.0, **given)

    def state(self, issue: str) -> str:
        """Return what the claim file says."""
        return self.queue.claims.read()[issue].state


@pytest.fixture(params=VERSIONS)
def version(request, program):
    program.use(request.param)
    return request.param


@pytest.fixture
def host(tmp, server, program):
    return Host(tmp / "rig", server, "")


def ready(host) -> list:
    """Return the ids that are ready, in order."""
    issues, _, port = host.queue.read_issues()
    assert issues is not None, port
    return [issue.id for issue in w.list_ready(issues, 2e9)]


# ---- looking -------------------------------------------------------------------------------------------------------


def test_ready_is_what_bd_calls_ready_in_its_order(version, host, server):
    server.add("de-b")
    server.add("de-a")
    server.add("de-0", priority=0)
    server.add("de-blocked", links=[("blocks", "de-a")])
    server.add("de-wip", status="in_progress", assignee=OTHER)
    server.add("de-mine", assignee="someone")
    server.add("de-closed", status="closed")
    server.add("de-free", links=[("blocks", "de-closed")])
    assert ready(host) == ["de-0", "de-b", "de-a", "de-mine", "de-free"]
    issues = {issue.id: issue for issue in host.queue.read_issues()[0]}
    assert (issues["de-wip"].status, issues["de-wip"].assignee) == ("in_progress", OTHER)
    assert (issues["de-mine"].assignee, issues["de-0"].priority) == ("someone", 0)
    assert "de-closed" not in issues


def test_all_of_three_hundred_are_given(version, host, server):
    issues = {}
    for number in range(300):
        server.write({})
        server.add(f"de-{number}")
        issues[f"de-{number}"] = {**server.read()[f"de-{number}"], "number": number}
    server.write(issues)
    assert ready(host) == [f"de-{number}" for number in range(300)]


def test_children_of_an_epic_at_any_depth(version, tmp, server, program):
    server.add("de-epic", issue_type="epic")
    server.add("de-sub", issue_type="epic", links=[("parent-child", "de-epic")])
    server.add("de-child", links=[("parent-child", "de-epic")])
    server.add("de-deep", links=[("parent-child", "de-sub")])
    server.add("de-deeper", links=[("parent-child", "de-deep")])
    server.add("de-other")
    host = Host(tmp / "rig", server, version, epic_id="de-epic")
    for queue in (host.queue, host.make_queue()):
        issues = queue.read_issues((), () if queue is not host.queue else None)[0]
        by_id = {issue.id: issue for issue in issues}
        free = [one.id for one in issues if one.status == "open" and not w.why_filtered(one, host.config, by_id)]
        assert sorted(free) == ["de-child", "de-deep", "de-deeper"]
    assert "de-other" in by_id  # a person sees everything
    server.add("de-new", links=[("parent-child", "de-deeper")])
    issues = host.queue.read_issues()[0]
    assert [one.parents for one in issues if one.id == "de-new"] == [("de-epic",)]


def test_ring_of_parents_ends(tmp, server, program):
    program.use("1.0.0")
    server.add("de-a", links=[("parent-child", "de-b")])
    server.add("de-b", links=[("parent-child", "de-a")])
    host = Host(tmp / "rig", server, "1.0.0", epic_id="de-a")
    assert {issue.id for issue in host.queue.read_issues()[0] if issue.parents} == {"de-b"}


@pytest.mark.parametrize("epic", ["--all", "../x", "de-nope"])
def test_epic_that_is_none(version, tmp, server, program, epic):
    server.add("de-a")
    host = Host(tmp / "rig", server, version, epic_id=epic)
    issues, _, port = host.queue.read_issues()
    if epic == "de-nope":
        assert [issue.id for issue in issues or () if issue.parents] == []
    else:
        assert port.reason == f"epic_id is {epic!r}, no issue's id"
    assert all(epic not in call["argv"] for call in server.calls() if epic != "de-nope")


def test_one_call_a_look_and_two_in_every_tenth(host, server):
    server.add("de-a")
    counts = []
    for _ in range(21):
        before = len(server.calls())
        host.queue.read_issues(("de-a",))
        counts.append(len(server.calls()) - before)
    assert counts == [2, *[1] * 9, 2, *[1] * 9, 2]


def test_what_became_of_issues_we_know_is_told(version, host, server):
    server.add("de-closed", status="closed")
    server.add("de-open")
    server.add("de-waits", links=[("blocks", "de-open")])
    issues = {one.id: one.status for one in host.queue.read_issues(("de-closed", "de-gone", "de-waits"))[0]}
    assert issues == {"de-open": "open", "de-closed": "closed", "de-gone": "tombstone", "de-waits": w.NOT_READY}
    again = {one.id: one.status for one in host.queue.read_issues(("de-closed", "de-gone", "de-waits"))[0]}
    assert again == {"de-open": "open", "de-closed": "closed", "de-gone": "tombstone"}


@pytest.mark.parametrize("pair", ["0.47.1", "0.57.0", "1.0.5"])
def test_purged_issues_cost_no_call_each(program, host, server, pair):
    """Sixty claims of issues that somebody had purged held a look up for twelve seconds."""
    program.use(pair)
    server.add("de-a", status="closed")
    gone = tuple(f"de-{number}" for number in range(100, 160))
    before = len(server.calls("show"))
    statuses = {one.id: one.status for one in host.queue.read_issues((*gone, "de-a"))[0]}
    assert statuses == {**dict.fromkeys(gone, "tombstone"), "de-a": "closed"}
    assert len(server.calls("show")) == before + 2  # fifty in one


def test_name_that_is_no_issue_is_none(host, server):
    assert host.queue.read_issues((), ("alpha", "-x", "../y"))[0] == ()
    assert all("-x" not in call["argv"] for call in server.calls())


def test_open_issue_that_names_us_is_free(version, host, server):
    """Before 1.0.4 a reopened issue keeps its assignee; nobody else can take it."""
    server.add("de-a", assignee=ACTOR)
    server.add("de-b", assignee=OTHER)
    issues = {one.id: one.assignee for one in host.queue.read_issues()[0]}
    assert issues == {"de-a": "", "de-b": OTHER}


def down(server):
    server.take_down()


def corrupt(server):
    (server.folder / "corrupt").touch()


def skew(server):
    (server.folder / "skew").touch()


def garbage(server):
    server.spoil({"do": "garbage", "times": 9})


def failing(server):
    server.spoil({"do": "fail", "times": 9})


def cut(server):
    server.spoil({"do": "cut", "times": 9})


def mute(server):
    server.spoil({"do": "mute", "times": 9})


def list_fails(server):
    server.spoil({"verb": "list", "do": "fail", "times": 9})


@pytest.mark.parametrize("trouble", [down, corrupt, skew, garbage, failing, cut, mute, list_fails])
def test_trouble_is_unknown_and_ends_by_itself(version, host, server, trouble):
    server.add("de-a")
    trouble(server)
    issues, _, port = host.queue.read_issues()
    assert (issues, port.state, host.queue.fresh) == (None, w.UNKNOWN, False)
    assert port.reason
    server.bring_back()
    server.spoil()
    assert ready(host) == ["de-a"]
    assert host.queue.fresh


def test_reason_names_the_trouble_and_not_a_warning(version, host, server):
    server.take_down("10.0.0.9:3307")
    port = host.queue.read_issues()[2]
    assert port.reason.startswith("bd ready: ")
    assert "10.0.0.9:3307" in port.reason
    assert port.version == f"bd {version}"


def test_upgrade_under_us(host, server, program):
    program.use("0.47.1")
    server.add("de-a")
    assert ready(host) == ["de-a"]
    (server.folder / "skew").touch()
    program.use("1.0.5")
    issues, _, port = host.queue.read_issues()
    assert (issues, port.version) == (None, "bd 1.0.5")
    assert "schema skew" in port.reason
    (server.folder / "skew").unlink()
    assert ready(host) == ["de-a"]


def test_beginning_of_an_id_is_not_the_id(version, host, server):
    """bd takes it for one: an issue that was deleted would be answered for by its neighbour, and be changed in it."""
    server.add("de-12")
    issues = {one.id: one.status for one in host.queue.read_issues(("de-1",), ("de-",))[0]}
    assert issues == {"de-12": "open", "de-1": "tombstone"}
    assert host.queue.find("de-1") is None
    before = server.read()
    assert host.queue.claim(host.claim("de-1")) == ("lost", "it is not in the queue any more")
    host.queue.release(host.claim("de-1", "working"))
    host.queue.finish(host.claim("de-1", "handed-over"))
    assert server.read() == before


def test_id_that_lies_in_several_others_is_missing(version, host, server):
    """bd calls it ambiguous, of whole ids first tried; one deleted issue made the whole queue unknown."""
    server.add("de-1.1")
    server.add("de-1.2")
    assert host.queue.find("de-1") is None
    issues = {one.id: one.status for one in host.queue.read_issues(("de-1", "de-1.1"))[0]}
    assert issues == {"de-1.1": "open", "de-1.2": "open", "de-1": "tombstone"}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"status": "in_progress", "assignee": ACTOR}, ""),
        ({"status": "open"}, ""),
        ({"status": "closed"}, ""),
        ({"status": "in_progress", "assignee": OTHER}, f"it is in_progress with {OTHER}"),
        ({"status": "blocked"}, "it is blocked"),
    ],
)
def test_person_who_resets_learns_what_keeps_it(host, server, changes, left):
    server.add("de-1", **changes)
    assert host.queue.release(host.claim("de-1", "working")) == left
    server.take_down()
    assert host.queue.release(host.claim("de-1", "working")).startswith(
        "the queue is told as soon as it answers: bd show"
    )


def test_connection_that_is_lost_is_no_missing_issue(version, host, server):
    """From 0.57 on bd then says "no issues found matching the provided IDs", as of one that does not exist."""
    server.add("de-a", status="in_progress", assignee=ACTOR)
    server.spoil({"verb": "show", "do": "lose", "times": 99})
    with pytest.raises(w.ToolError):
        host.queue.find("de-a")
    for verb in ("release", "hand_over", "finish"):
        getattr(host.queue, verb)(host.claim("de-a", "working"))
        assert host.queue.claims.read()["de-a"].owed
    issues, _, port = host.queue.read_issues(("de-gone",))
    assert (issues, port.state) == (None, w.UNKNOWN)
    server.spoil()
    assert server.state("de-a") == ("in_progress", ACTOR)


def test_connection_that_is_lost_for_one_of_two(version, host, server):
    server.add("de-a", status="closed")
    server.add("de-b", status="closed")
    server.spoil({"verb": "show", "do": "lose-last"})
    statuses = {one.id: one.status for one in host.queue.read_issues(("de-a", "de-b"))[0]}
    assert statuses == {"de-a": "closed", "de-b": "closed"}  # it was asked for once more, alone


def test_lost_read_back_of_a_claim_is_owed(version, host, server):
    server.add("de-a")
    server.spoil({"verb": "show", "at": 2, "do": "lose", "times": 9})
    with pytest.raises(w.ToolError):
        host.queue.claim(host.claim("de-a"))
    assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == ("released", "release")
    assert server.state("de-a") == ("in_progress", ACTOR)


def test_lost_look_at_an_epic_is_unknown(tmp, server, program):
    program.use("1.0.0")
    server.add("de-epic", issue_type="epic")
    server.add("de-sub", links=[("parent-child", "de-epic")])
    server.add("de-two", links=[("parent-child", "de-epic")])
    server.add("de-deep", links=[("parent-child", "de-two")])
    host = Host(tmp / "rig", server, "1.0.0", epic_id="de-epic")
    for fault in ({"do": "lose", "times": 9}, {"at": 2, "do": "lose-last"}, {"at": 2, "do": "lose"}):
        server.spoil({"verb": "show", **fault})
        issues, _, port = host.make_queue().read_issues()
        assert (issues, "what stands below de-epic is unknown" in port.reason) == (None, True)


def test_id_that_only_a_mail_or_a_branch_names_cannot_make_the_queue_unknown(host, server, monkeypatch):
    """bd need not answer for what somebody made up; for what a claim of ours is about it must."""
    server.add("de-1")
    ask = w.Bd.ask
    monkeypatch.setattr(w.Bd, "ask", lambda bd, argv: ask(bd, argv).but(missing=()))  # it says something else of them
    issues, _, port = host.queue.read_issues((), None, ("zz-1",), ("zz-2",))
    assert (port.state, [issue.id for issue in issues]) == (w.PRESENT, ["de-1"])
    host.queue = host.make_queue()
    assert host.queue.read_issues(("zz-1",))[2].state == w.UNKNOWN


def test_item_of_show_that_cannot_be_read_is_no_missing_issue(host, server):
    server.add("de-a", status="in_progress", assignee=ACTOR, title=["no", "text"])
    with pytest.raises(w.ToolError):
        host.queue.find("de-a")


def test_failed_try_of_ours_is_ready_again(version, host, server):
    """Its claim stays ours for what it has left; nobody would ever have tried it again."""
    server.add("de-a", status="in_progress", assignee=ACTOR)
    server.add("de-b", status="in_progress", assignee=OTHER)
    server.add("de-c", status="in_progress", assignee=ACTOR)
    for issue, state in {"de-a": "failed", "de-b": "failed", "de-c": "working"}.items():
        host.queue.claims.take(host.claim(issue, state))
    assert ready(host) == ["de-a"]
    issues = {one.id: one for one in host.queue.read_issues()[0]}
    assert w.why_not_ready(issues["de-a"], 0.0, issues) == ""
    assert w.why_not_ready(issues["de-c"], 0.0, issues) == f"its status is in_progress, with {ACTOR}"


def test_look_after_a_claim_asks_what_is_in_progress(host, server):
    server.add("de-a")
    host.queue.read_issues()
    host.queue.read_issues()
    assert not host.queue.fresh
    host.queue.claim(host.claim("de-a"))
    assert [one.status for one in host.queue.read_issues()[0]] == ["in_progress"]
    assert host.queue.fresh


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "in_progress", "assignee": ACTOR}, ""),
        ({"status": "open"}, "de-a is open now"),
        ({"status": "closed", "assignee": ACTOR}, f"de-a is closed now, with {ACTOR}"),
        ({"status": "in_progress", "assignee": OTHER}, f"de-a is in_progress now, with {OTHER}"),
        (None, "de-a is not in the queue any more"),
    ],
)
def test_whose_an_issue_is_before_a_worker_goes_on_with_it(version, host, server, changes, why):
    if changes is not None:
        server.add("de-a", **changes)
    assert host.queue.why_not_ours("de-a") == why


# ---- claims --------------------------------------------------------------------------------------------------------


def test_claim_names_us_and_is_read_back(version, host, server):
    server.add("de-a")
    assert host.queue.claim(host.claim("de-a")) == ("", "")
    assert server.state("de-a") == ("in_progress", ACTOR)
    assert host.state("de-a") == "claimed"
    verbs = [call["argv"][0] for call in server.calls()]
    assert verbs == ["show", "update", "show"]


@pytest.mark.parametrize(
    ("changes", "fault", "why"),
    [
        ({"status": "closed"}, "lost", "somebody: its status is closed"),
        ({"status": "in_progress", "assignee": OTHER}, "lost", "somebody: its status is in_progress"),
        ({"assignee": OTHER}, "lost", OTHER),
        ({"status": "blocked"}, "lost", "somebody: its status is blocked"),
        ({"status": "in_progress", "assignee": ACTOR}, "host", f"{ACTOR}, and nothing here knows of it"),
    ],
)
def test_claim_of_what_is_not_free_is_refused_and_changes_nothing(version, host, server, changes, fault, why):
    server.add("de-a", **changes)
    before = server.read()
    assert host.queue.claim(host.claim("de-a")) == (fault, why)
    assert server.read() == before
    assert host.state("de-a") == "released"
    assert not host.queue.claims.read()["de-a"].owed


def test_closed_issue_is_never_claimed(version, host, server):
    server.add("de-a", status="closed")
    host.queue.claim(host.claim("de-a"))
    assert [call for call in server.calls() if call["argv"][0] == "update"] == []


def test_claim_of_a_missing_issue(version, host, server):
    assert host.queue.claim(host.claim("de-x")) == ("lost", "it is not in the queue any more")


def test_reopened_issue_that_still_names_us_is_claimed_again(version, host, server):
    server.add("de-a", assignee=ACTOR, labels=[w.HANDED_OVER_LABEL])
    assert host.queue.claim(host.claim("de-a")) == ("", "")
    assert server.state("de-a") == ("in_progress", ACTOR)
    assert server.read()["de-a"]["labels"] == []


def test_claim_that_our_own_crash_left_is_ours(version, host, server):
    """Killed after the database had it: the file says that it was us."""
    server.add("de-a", status="in_progress", assignee=ACTOR)
    host.queue.claims.take(host.claim("de-a"))
    assert host.make_queue().claim(host.claim("de-a")) == ("", "")


@pytest.mark.parametrize("how", ["late", "mute", "cut", "fail", "hang"])
def test_answer_of_a_claim_that_is_lost(version, host, server, how):
    """Whether it took effect is read back, whatever was answered or not."""
    server.add("de-a")
    host.queue.bd.timeout_s = 2.0 if how in ("late", "hang") else 20.0
    server.spoil({"verb": "update", "do": how})
    took = how in ("late", "mute", "cut")
    if how in ("late", "hang"):  # it rests, and cannot be asked
        with pytest.raises(w.ToolError):
            host.queue.claim(host.claim("de-a"))
        assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == ("released", "release")
        host.queue.bd._rests_until = 0.0
        host.queue.settle(host.queue.claims.read()["de-a"])
        assert server.state("de-a") == ("open", "")
        assert not host.queue.claims.read()["de-a"].owed
    else:
        with contextlib.nullcontext() if took else pytest.raises(w.ToolError, match="it was told to fail"):
            assert host.queue.claim(host.claim("de-a")) == ("", "")
        assert host.state("de-a") == ("claimed" if took else "released")
        # What may still take effect is given back once more.
        assert host.queue.claims.read()["de-a"].owed == ("" if took else "release")


def test_database_that_can_be_read_and_not_written_is_a_fault_of_the_tool(version, host, server):
    """Told as lost to nobody, in every tick for ever, and what bd said of it nowhere."""
    server.add("de-a")
    server.spoil({"verb": "update", "do": "fail", "times": 99})
    for _ in range(3):
        with pytest.raises(w.ToolError, match=r"bd update de-a: .*it was told to fail"):
            host.queue.claim(host.claim("de-a"))
        owing = host.queue.claims.read()["de-a"]
        assert (owing.state, owing.owed) == ("released", "release")
        host.queue.settle(owing)  # it is looked at once more
        assert not host.queue.claims.read()["de-a"].owed


def test_claim_that_cannot_be_read_back_is_given_back_later(version, host, server):
    server.add("de-a")
    server.spoil({"verb": "show", "at": 2, "do": "fail", "times": 3})
    with pytest.raises(w.ToolError):
        host.queue.claim(host.claim("de-a"))
    assert server.state("de-a") == ("in_progress", ACTOR)
    claim = host.queue.claims.read()["de-a"]
    assert (claim.state, claim.owed) == ("released", "release")
    with pytest.raises(w.ToolError):
        host.queue.settle(claim)
    server.spoil()
    host.make_queue().settle(claim)
    assert server.state("de-a") == ("open", "")


def test_failed_try_keeps_its_claim_when_the_database_is_away(version, host, server):
    """What it has left would be another's to do again."""
    server.add("de-a", status="in_progress", assignee=ACTOR)
    host.queue.claims.take(host.claim("de-a", "failed"))
    server.take_down()
    with pytest.raises(w.ToolError):
        host.queue.claim(host.claim("de-a"))
    assert host.state("de-a") == "failed"
    server.bring_back()
    assert host.queue.claim(host.claim("de-a")) == ("", "")


CLAIM = """
import sys, os, json
sys.path.insert(0, {root!r})
import witness as w
path, actor, issues = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
rig = w.Rig(name="demo", path=path, state=path + "/.gastown", base=path, common="", polecats=path + "/p")
config = w.make_config({{"tool_timeout": 30}}, "test", {{}})
queue = w.BeadsQueue(w.Host(), rig, config, actor, ("beads", "test"))
won = []
for issue in issues:
    claim = w.Claim(issue=issue, actor=actor, at=5.0, name=issue)
    if queue.claim(claim) == ("", ""):
        won.append(issue)
print(json.dumps(won))
"""


@pytest.mark.parametrize("exclusive", [version for version in VERSIONS if version >= "0.57"])
def test_of_four_hosts_that_race_exactly_one_wins_each_issue(tmp, server, program, exclusive, pytestconfig):
    program.use(exclusive)
    issues = [server.add(f"de-{number}") for number in range(12)]
    hosts = [Host(tmp / f"h{number}", server, exclusive, f"demo/witness@h{number}") for number in range(4)]
    script = CLAIM.format(root=str(pytestconfig.rootpath))

    def race(host):
        words = [sys.executable, "-c", script, str(host.path), host.actor, ",".join(issues)]
        return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        won = list(pool.map(race, hosts))
    assert sorted(issue for one in won for issue in one) == sorted(issues)
    for host, one in zip(hosts, won):
        assert {issue for issue in issues if server.state(issue) == ("in_progress", host.actor)} == set(one)


# ---- what the database is owed -------------------------------------------------------------------------------------


def test_release_gives_it_back(version, host, server):
    server.add("de-a", status="in_progress", assignee=ACTOR, labels=[w.HANDED_OVER_LABEL, "other"])
    host.queue.release(host.claim("de-a", "working"))
    assert server.state("de-a") == ("open", "")
    assert server.read()["de-a"]["labels"] == ["other"]
    assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == ("released", "")


def test_hand_over_marks_it_and_keeps_it_ours(version, host, server):
    server.add("de-a", status="in_progress", assignee=ACTOR)
    host.queue.hand_over(host.claim("de-a", "working", tip="abc"))
    assert server.state("de-a") == ("in_progress", ACTOR)
    assert server.read()["de-a"]["labels"] == [w.HANDED_OVER_LABEL]
    assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == ("handed-over", "")


def test_finish_closes_it(version, host, server):
    server.add("de-a", status="in_progress", assignee=ACTOR)
    host.queue.finish(host.claim("de-a", "handed-over", ref="refs/witness/retired/a/1"))
    assert server.read()["de-a"]["status"] == "closed"
    assert server.read()["de-a"]["close_reason"] == "merged; refs/witness/retired/a/1"
    assert host.state("de-a") == "closed"


@pytest.mark.parametrize("verb", ["release", "hand_over", "finish", "keep"])
def test_what_cannot_be_told_is_owed_and_told_later(version, host, server, verb):
    status = "open" if verb == "keep" else "in_progress"
    server.add("de-a", status=status, assignee=ACTOR if verb != "keep" else "")
    host.queue.claims.take(host.claim("de-a", "working"))
    server.take_down()
    getattr(host.queue, verb)(host.claim("de-a", "working"))
    owing = host.queue.claims.read()["de-a"]
    assert owing.owed == {"release": "release", "hand_over": "label", "finish": "close", "keep": "claim"}[verb]
    before = server.read()
    with pytest.raises(w.ToolError):
        host.make_queue().settle(owing)
    assert (server.read(), host.queue.claims.read()["de-a"]) == (before, owing)
    server.bring_back()
    host.make_queue().settle(owing)
    assert not host.queue.claims.read()["de-a"].owed
    assert server.read() != before


@pytest.mark.parametrize("verb", ["release", "hand_over", "finish"])
@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({"status": "in_progress", "assignee": OTHER}, "released"),
        ({"status": "open", "assignee": ""}, "released"),
        ({"status": "closed", "assignee": ACTOR}, "closed"),
        (None, "closed"),
    ],
)
def test_what_others_have_done_to_it_stands(version, host, server, verb, changes, after):
    if changes is not None:
        server.add("de-a", **changes)
    before = server.read()
    getattr(host.queue, verb)(host.claim("de-a", "working"))
    assert server.read() == before
    assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == (after, "")


@pytest.mark.parametrize("assignee", ["", ACTOR])
def test_issue_that_was_set_open_under_a_worker_is_claimed_again(version, host, server, assignee):
    server.add("de-a", assignee=assignee)
    host.queue.keep(host.claim("de-a", "working"))
    assert server.state("de-a") == ("in_progress", ACTOR)
    assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == ("working", "")


def test_issue_that_another_has_meanwhile_is_not_taken_back(version, host, server):
    server.add("de-a", status="in_progress", assignee=OTHER)
    host.queue.keep(host.claim("de-a", "working"))
    assert server.state("de-a") == ("in_progress", OTHER)


@pytest.mark.parametrize("verb", ["hand_over", "finish"])
def test_issue_that_its_worker_called_blocked_is_still_ours(version, host, server, verb):
    server.add("de-a", status="blocked", assignee=ACTOR)
    getattr(host.queue, verb)(host.claim("de-a", "working"))
    assert (host.state("de-a"), host.queue.claims.read()["de-a"].owed) == (
        {"hand_over": "handed-over", "finish": "closed"}[verb],
        "",
    )
    issue = server.read()["de-a"]
    assert w.HANDED_OVER_LABEL in issue["labels"] if verb == "hand_over" else issue["status"] == "closed"


@pytest.mark.parametrize(
    ("verb", "state"), [("hand_over", "handed-over"), ("finish", "closed"), ("keep", "handed-over")]
)
@pytest.mark.parametrize("away", [False, True])
def test_claim_that_bd_never_heard_of_is_made_before_it_is_marked_or_closed(version, host, server, verb, state, away):
    """Open there, work that was handed over beside a file was taken for set free, and done again."""
    server.add("de-a")
    before = "handed-over" if verb == "keep" else "working"
    host.queue.claims.take(host.claim("de-a", before, tip="abc", shared=False))
    if away:
        server.take_down()
    getattr(host.queue, verb)(host.queue.claims.read()["de-a"])
    server.bring_back()
    for _ in range(3):
        claim = host.queue.claims.read()["de-a"]
        if claim.owed:
            host.queue.settle(claim)
    claim = host.queue.claims.read()["de-a"]
    assert (claim.state, claim.owed, claim.shared) == (state, "", True)
    assert server.state("de-a") == ("closed" if verb == "finish" else "in_progress", ACTOR)
    assert server.read()["de-a"]["labels"] == ([] if verb == "finish" else [w.HANDED_OVER_LABEL])


@pytest.mark.parametrize("verb", ["hand_over", "finish"])
def test_owed_claim_that_is_written_over_is_made_all_the_same(version, host, server, verb):
    """Set open under its worker while bd was down, then handed over: the end read as set free."""
    server.add("de-a")
    host.queue.claims.take(host.claim("de-a", "working", shared=True))
    server.take_down()
    host.queue.keep(host.queue.claims.read()["de-a"])
    getattr(host.queue, verb)(host.queue.claims.read()["de-a"])
    server.bring_back()
    host.queue.settle(host.queue.claims.read()["de-a"])
    assert server.state("de-a")[0] == {"hand_over": "in_progress", "finish": "closed"}[verb]
    assert host.state("de-a") == {"hand_over": "handed-over", "finish": "closed"}[verb]


def test_owed_claim_of_an_issue_that_was_deleted_is_owed_no_more(version, host, server):
    """It once ended the tick with a traceback, and every one after it."""
    assert host.queue.keep(host.claim("de-gone", "working")) == ""
    assert (host.state("de-gone"), host.queue.claims.read()["de-gone"].owed) == ("working", "")


def test_finish_that_closes_nothing_says_so(version, host, server):
    server.add("de-a", status="in_progress", assignee=OTHER)
    assert host.queue.finish(host.claim("de-a", "working", shared=True)) == f"it is in_progress with {OTHER}"


@pytest.mark.parametrize("how", ["fail", "mute", "late"])
def test_told_counts_only_when_it_is_seen(version, host, server, how):
    server.add("de-a", status="in_progress", assignee=ACTOR)
    host.queue.bd.timeout_s = 2.0 if how == "late" else 20.0
    server.spoil({"verb": "update", "do": how})
    host.queue.release(host.claim("de-a", "working"))
    owed = host.queue.claims.read()["de-a"].owed
    assert owed == {"fail": "release", "mute": "", "late": "release"}[how]


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda queue: queue.add("x", "demo", (), priority=1), "bd create"),
        (lambda queue: queue.close("de-1", "done"), "bd close de-1"),
    ],
)
def test_person_is_sent_to_bd(host, call, instead):
    with pytest.raises(w.WitnessError) as error:
        call(host.queue)
    assert instead in error.value.line()
