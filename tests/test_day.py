"""The whole day in a town, beginning to end, with a real daemon beside every pair of gt and bd."""

from __future__ import annotations

import time

import pytest
from tools.day import SHORT, Day, wait_for

import witness as w

pytestmark = pytest.mark.slow
EVERY_PAIR = pytest.mark.parametrize("pair", ["seed", "0.2.6", "0.5.0", "1.0.1"])


@pytest.fixture
def day(town, witness):
    """Begin days: day(pair, **settings), or day(pair, beside=another)."""
    made = []

    def make(pair: str, beside: Day | None = None, options=None, **settings) -> Day:
        place = town(pair, **({"beside": beside.town} if beside else {}), **(options or {}))
        made.append(Day(place, witness, **settings))
        return made[-1]

    yield make
    for one in made:
        one.call("stop", "--timeout", "60", "--force", status=None)
        print(*[f"{row['at']} {row['kind']} {row['subject']}: {row['text']}" for row in one.events()], sep="\n")


# ---- the parts of a day ---------------------------------------------------------------------------------------------


def begin(one: Day) -> tuple[str, str]:
    """Start; two issues are slung, each to a worker of its own, and what is no work to nobody."""
    town = one.town
    town.add("de-rig", "demo", labels=["gt:rig"])
    town.add("de-1", "One")
    town.add("de-2", "Two")
    one.start()
    names = one.wait_for_worker("de-1"), one.wait_for_worker("de-2")
    assert names[0] != names[1]
    assert town.polecats() == sorted(names)
    assert town.state("de-rig") == ("open", "")
    assert sorted(one.slings()) == ["de-1", "de-2"]
    return names


def finish(one: Day, name: str) -> None:
    """A worker finishes its issue as its gt wants it; what it was, and what it made, stays."""
    town, branch, version = one.town, one.town.branch(name), one.town.version
    one.commit(name, answer="42\n")
    if version == "seed":
        one.ask_for_shutdown(name)
        wait_for(lambda: name not in town.polecats(), f"the retirement of {name}")
        assert town.git("rev-parse", branch) == one.made[branch]
        return
    pane = one.lives(name)
    one.done(name, "de-1")
    assert town.state("de-1")[0] == "closed"
    if version != "1.0.1":  # it took itself away; in 0.2.6 all but its session
        wait_for(lambda: one.polecat(name) == {}, f"{name} out of the status")
        assert not one.events("retired", name)
        assert town.git("rev-parse", branch) == one.made[branch]
    else:
        one.quiet(name)
        wait_for(lambda: one.polecat(name).get("state") == "idle", f"{name} to be idle")
        assert one.lives(name) == pane
    if version == "1.0.1":
        assert any(line.startswith(f"POLECAT_DONE {name} exit=COMPLETED") for line in town.heard("witness"))
        assert one.mails("demo/refinery") == []
    else:
        (told,) = wait_for(lambda: one.mails("demo/refinery"), "MERGE_READY")
        assert told["subject"] == f"MERGE_READY {name}"
        (request,) = town.requests()
        assert f"Branch: {branch}\n" in told["body"]
        assert f"MR: {request['id']}\n" in told["body"]
        assert "Issue: de-1\n" in told["body"]
        wait_for(lambda: not one.inbox(), "the mail to be archived")
    assert len(town.requests()) == 1


def fall_ill(one: Day, name: str) -> None:
    """A worker says nothing more: it is reminded, then a person is told, once and with what was seen."""
    one.quiet(name)
    wait_for(lambda: one.mails("mayor/", subject=f"Polecat {name} stuck"), f"the escalation of {name}")
    # In 0.2.6 a shell is in front, and nothing is typed into one: it is reminded by mail, which gt tells it of.
    words = f"NUDGE: {name}" if one.town.version == "0.2.6" else f"[witness] {name}: no progress"
    assert [line for line in one.town.heard(name) if words in line], one.events("nudged", name)
    one.wait_for_looks(3)
    (told,) = one.mails("mayor/", subject=f"Polecat {name} stuck")
    assert told["subject"] == f"ESCALATION: Polecat {name} stuck"
    for word in ("nudged", "last output", "last lines of the pane", one.town.branch(name), "What you can do"):
        assert word in told["body"], told["body"]
    assert one.polecat(name)["escalated_at"]


def cry_for_help(one: Day, name: str) -> None:
    """A mail that needs a mind is handed on in the tick that read it, once, and archived only then."""
    known = len(one.mail_calls())
    sent = one.town.gt(
        "mail", "send", "demo/witness", "-s", "HELP: no schema", "-m", "Where is it?", env=one.town.as_polecat(name)
    )
    assert sent.status == 0, sent
    (told,) = wait_for(lambda: one.mails("mayor/", subject="HELP: no schema"), "the forwarded mail")
    assert told["subject"] == "FWD: HELP: no schema"
    assert "Where is it?" in told["body"]
    wait_for(lambda: not one.inbox(), "the mail to be archived")
    one.wait_for_looks(3)
    assert len(one.mails("mayor/", subject="HELP: no schema")) == 1
    calls = one.mail_calls()[known:]
    forwarded = next(place for place, argv in enumerate(calls) if "FWD: HELP: no schema" in argv)
    sent_at = next((place for place, argv in enumerate(calls) if "HELP: no schema" in argv), None)
    looks = [argv for argv in calls[sent_at:forwarded] if "inbox" in argv and "demo/witness" in argv]
    assert len(looks) <= (2 if sent_at is None else 1), calls  # in the seed only calls of bd are noted
    archived = [place for place, argv in enumerate(calls) if argv[1] in ("archive", "ack") and place >= (sent_at or 0)]
    assert archived
    assert archived[0] > forwarded


def leave_dirty(one: Day, name: str) -> None:
    """A worker asks to be retired with work uncommitted: it is refused, and told once for each set of reasons."""
    town = one.town
    pane, tree = one.lives(name), town.tree(name)
    (tree / "work").write_text("half of it\n", encoding="utf-8")

    def ask(times: int) -> None:
        one.ask_for_shutdown(name)
        wait_for(lambda: len(one.events("refused", name)) == times, f"the {times}. refusal")
        one.wait_for_looks(2)

    ask(1)
    (told,) = one.mails(f"demo/{name}", subject="Cannot shutdown")
    assert told["subject"].startswith("NUDGE: Cannot shutdown - ")
    assert "work" in told["body"]
    ask(2)  # for the same reasons
    assert len(one.mails(f"demo/{name}", subject="Cannot shutdown")) == 1
    (tree / "more").write_text("more\n", encoding="utf-8")
    ask(3)
    assert len(one.mails(f"demo/{name}", subject="Cannot shutdown")) == 2
    assert (tree / "work").read_text() == "half of it\n"
    assert one.lives(name) == pane
    assert not town.git("for-each-ref", f"{w.RETIRED_REFS}{name}/")


def be_retired(one: Day, name: str, issue: str) -> None:
    """It commits, asks again, and is retired: nothing of it is lost, and its issue waits for the merge."""
    town, branch, session = one.town, one.town.branch(name), one.town.session(name)
    tip = one.commit(name, work="all of it\n")
    mail = one.ask_for_shutdown(name)
    wait_for(lambda: not one.inbox(), f"the retirement of {name}")
    assert name not in town.polecats()
    assert session not in town.sessions()
    assert str(town.tree(name)) not in town.git("worktree", "list", "--porcelain")
    assert town.git("rev-parse", f"refs/heads/{branch}") == tip
    (ref,) = town.git("for-each-ref", "--format=%(refname)", f"{w.RETIRED_REFS}{name}/").splitlines()
    town.git("merge-base", "--is-ancestor", tip, ref)
    assert town.git("show", f"{tip}:work") == "all of it"
    assert not town.git("for-each-ref", w.RETIRING_REFS)
    found = town.issue(issue)
    assert (found["status"], found["assignee"]) == ("in_progress", town.holder(one.actor))
    assert w.HANDED_OVER_LABEL in found["labels"]
    assert one.sling_labels(issue) == []
    assert name not in town.gt("polecat", "list", "demo", "--json").stdout
    if town.version != "seed":
        order = [call["argv"] for call in town.calls() if mail in call["argv"] or "nuke" in call["argv"]]
        assert order[-2:] == [["polecat", "nuke", "--force", f"demo/{name}"], order[-1]]
        assert order[-1][:2] == ["mail", "archive"]
    wait_for(lambda: one.polecat(name) == {}, f"{name} out of the status")
    assert one.mails("mayor/", subject=f"RESOLVED: Polecat {name}")


def oversleep(one: Day, sleeper: str, idle: str) -> None:
    """Two send no heartbeats: one that has work, and one that has finished and left something behind."""
    (one.town.tree(idle) / "afterthought").write_text("not committed\n", encoding="utf-8")
    for name in (sleeper, idle):
        one.town.age_heartbeat(name, 1000)


def be_spared(one: Day, sleeper: str, pane: str, idle: str, issue: str) -> None:
    """A sling of 1.0.1 ends who sleeps, and resets the worktree of who is idle: neither has cost anything."""
    town = one.town
    assert one.lives(sleeper) == pane
    assert not one.events("instance", sleeper)
    assert one.worker_of(issue) == idle
    assert not (town.tree(idle) / "afterthought").exists()
    refs = town.git("for-each-ref", "--format=%(refname)", f"{w.KEPT_REFS}{idle}/").splitlines()
    assert "not committed" in [town.git("show", f"{ref}:files/afterthought", check=False) for ref in refs]


def be_replaced(one: Day, name: str, issue: str, other: str) -> None:
    """A sling says that a worker's issue is another's now: believed where the issue says so, too."""
    town, pane, asked = one.town, one.lives(name), len(one.events("requested", name))  # the seed uses names again
    letter = f"Reason: work_reassigned\nRequestedBy: mayor\nBead: {issue}\nNewAssignee: demo/polecats/{other}"
    town.put_mail("demo/witness", f"LIFECYCLE:Shutdown {name}", letter, "gt-sling")
    wait_for(lambda: not one.inbox(), "the mail to be archived")
    one.wait_for_looks(2)
    assert one.lives(name) == pane
    assert len(one.events("requested", name)) == asked
    if town.version in ("0.5.0", "1.0.1"):
        flags = ("--force", "--no-convoy", "--hook-raw-bead")
        slung = town.gt("sling", issue, f"demo/polecats/{other}", *flags, env={"GT_ROLE": "mayor", "BD_ACTOR": "mayor"})
        assert slung.status == 0, slung
    else:
        holder = town.state(issue)[1].replace(name, other)
        town.change(issue, assignee=holder)
        town.put_mail("demo/witness", f"LIFECYCLE:Shutdown {name}", letter, "gt-sling")
    wait_for(lambda: name not in town.polecats() and not one.inbox(), f"the retirement of {name}")
    assert town.session(name) not in town.sessions()
    assert one.worker_of(issue) == other
    assert w.HANDED_OVER_LABEL not in town.issue(issue)["labels"]
    assert one.lives(other)


def lose_the_database(one: Day, issue: str, idle: str) -> None:
    """The databases go away and come back: said since when and why, nobody is touched, nothing is slung."""
    town, slung = one.town, one.slings()
    panes = {pane["pane"]: pane["pid"] for pane in town.tmux.panes()}
    for server in (town.server, town.town_server):
        server.take_down("10.0.0.9:3307")
    town.add(issue, "While it was away")

    def degraded():
        ports = one.status()["ports"]
        return all(ports[port]["state"] == "degraded" for port in ("queue", "mailbox")) and ports

    ports = wait_for(degraded, "the trouble with the database")
    for port in ("queue", "mailbox"):
        assert ports[port]["since_at"]
        assert "10.0.0.9:3307" in ports[port]["reason"], ports
    one.wait_for_looks(4)
    text = one.call("status").stdout
    assert "10.0.0.9:3307" in text
    assert one.slings() == slung
    assert {pane["pane"]: pane["pid"] for pane in town.tmux.panes()} == panes
    if idle in town.polecats():  # it was known to be idle, and nothing says that it is not
        wait_for(lambda: one.polecat(idle)["progress_age_s"] > SHORT["stuck_after"] + 2, f"{idle} to be long silent")
        one.wait_for_looks(2)
        assert one.polecat(idle)["state"] == "idle"
        assert not one.events("nudged", idle)
    for server in (town.server, town.town_server):
        server.bring_back()
    wait_for(
        lambda: all(one.status()["ports"][port]["state"] == "ok" for port in ("queue", "mailbox")),
        "the database to be seen again",
    )


# ---- the stories ----------------------------------------------------------------------------------------------------


@EVERY_PAIR
def test_day_in_a_town(day, pair):
    """Two are slung, one finishes, one is stuck, nudged, escalated, refused, retired; the database goes and comes."""
    one = day(pair)
    first, second = begin(one)
    fall_ill(one, second)
    finish(one, first)
    cry_for_help(one, second)
    pane = one.lives(second)
    lose_the_database(one, "de-3", first)
    third = one.wait_for_worker("de-3")
    assert third != second
    assert one.lives(second) == pane
    leave_dirty(one, second)
    be_retired(one, second, "de-2")
    one.town.add("de-4", "Four")
    fourth = one.wait_for_worker("de-4")
    be_replaced(one, third, "de-3", fourth)
    assert sorted(set(one.slings())) == ["de-1", "de-2", "de-3", "de-4"]
    assert not one.events("nudged", first) or pair == "seed"
    one.stop()
    one.hold_the_rules()


def test_sleeping_worker_and_idle_ones_work_outlive_a_sling(day):
    """gt 1.0.1 takes who has sent no heartbeat for dead, and whoever is idle for free."""
    one = day("1.0.1")
    first, second = begin(one)
    finish(one, first)
    one.quiet(second)
    pane = one.lives(second)
    wait_for(lambda: one.polecat(first)["progress_age_s"] > SHORT["stuck_after"] + 2, f"{first} to be long silent")
    oversleep(one, second, first)
    one.town.add("de-3", "Three")
    one.wait_for_worker("de-3")
    be_spared(one, second, pane, first, "de-3")
    one.stop()
    one.hold_the_rules()


def test_two_towns_share_a_queue(day):
    """Each issue is slung once, and what another Witness has begun to sling is left to it."""
    one = day("1.0.1", max_workers=3)
    other = day("1.0.1", beside=one, max_workers=3)
    towns = (one, other)
    ids = [f"de-{number}" for number in range(1, 7)]
    for each in towns:  # so long an issue that is being slung is open, and nobody's
        each.town.option(open_s=1.5)
    one.town.add("de-0", "Elsewhere", labels=[f"witness:elsewhere-0123456789ab:{int(time.time())}"])
    for issue in ids:
        one.town.add(issue)
    for each in towns:
        each.start()
    wait_for(lambda: all(one.worker_of(issue) for issue in ids), "all to have a worker")
    wait_for(lambda: sum(len(each.events("spawned")) for each in towns) == len(ids), "every sling to be settled")
    for each in towns:
        each.wait_for_looks(2)
    assert sorted(one.slings() + other.slings()) == ids
    assert [len(each.town.polecats()) for each in towns] == [3, 3]
    for each in towns:
        assert "de-0" not in each.slings()
    assert one.town.state("de-0") == ("open", "")
    assert one.sling_labels("de-0") != []
    assert all(one.sling_labels(issue) == [] for issue in ids)
    assert one.reasons()["de-0"].startswith("the Witness elsewhere-0123456789ab is giving it")
    one.town.change("de-0", labels=["witness:elsewhere-0123456789ab:1"])  # long ago
    assert "is giving it" not in one.reasons()["de-0"]
    for each in towns:
        each.stop()
        each.hold_the_rules()


def test_what_gt_slings_itself_is_left_to_it(day):
    """Issues of open convoys while its daemon runs; everything once its scheduler has a limit."""
    one = day("1.0.1")
    town = one.town
    town.add("de-1", "Of a convoy")
    town.add("de-2", "Of none")
    town.town_server.add(
        "hq-cv-abcde",
        "Work: Of a convoy",
        issue_type="convoy",
        description="Auto-created convoy tracking de-1",
        links=[("tracks", "de-1")],
    )
    town.start_daemon()
    one.start()
    one.wait_for_worker("de-2")
    one.wait_for_looks(3)
    assert town.state("de-1") == ("open", "")
    why = "left to gt: its daemon gives it to a worker, out of the convoy hq-cv-abcde"
    assert one.reasons()["de-1"] == why
    assert town.daemon_round() == ["de-1"]
    assert one.worker_of("de-1")
    assert one.slings() == ["de-2"]
    wait_for(lambda: one.polecat(one.worker_of("de-1")).get("issue") == "de-1", "the worker that gt made")
    town.set_scheduler(5)
    one.wait_for_looks(2)  # one that is under way has read the settings as they were
    town.add("de-3", "For the scheduler")
    why = "scheduler.max_polecats is 5"
    wait_for(lambda: why in (one.status()["queue"]["reason"] or ""), "the scheduler in the status")
    assert why in one.reasons()["de-3"]
    town.set_scheduler(None)
    one.wait_for_worker("de-3")
    assert one.slings() == ["de-2", "de-3"]
    one.stop()
    one.hold_the_rules()
