"""The whole day in a town, beginning to end, with a real daemon beside every pair of gt and bd."""

from __future__ import annotations

import pytest
from tools.day import Day, wait_for

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
    one.done(name)
    assert town.state("de-1")[0] == "closed"
    if version == "0.5.0":  # it took itself away
        wait_for(lambda: one.polecat(name) == {}, f"{name} out of the status")
        assert "retired" not in str(one.events("", name))
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
    typed = [line for line in one.town.heard(name) if f"[witness] {name}: no progress" in line]
    assert typed, one.events("nudged", name)
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
    sent_at = next(place for place, argv in enumerate(calls) if "HELP: no schema" in argv)
    looks = [argv for argv in calls[sent_at:forwarded] if "inbox" in argv and "demo/witness" in argv]
    assert len(looks) <= 1, calls
    archived = [argv for argv in calls if argv[1] == "archive" or argv[1] == "ack"]
    assert archived
    assert calls.index(archived[0]) > forwarded


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
    assert (found["status"], found["assignee"]) == ("in_progress", one.actor)
    assert w.HANDED_OVER_LABEL in found["labels"]
    assert one.sling_labels(issue) == []
    assert name not in town.gt("polecat", "list", "demo", "--json").stdout
    if town.version != "seed":
        order = [call["argv"] for call in town.calls() if mail in call["argv"] or "nuke" in call["argv"]]
        assert order[-2:] == [["polecat", "nuke", "--force", f"demo/{name}"], order[-1]]
        assert order[-1][:2] == ["mail", "archive"]
    wait_for(lambda: one.polecat(name) == {}, f"{name} out of the status")
    assert one.mails("mayor/", subject=f"RESOLVED: Polecat {name}")


def lose_the_database(one: Day, issue: str) -> None:
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
    leave_dirty(one, second)
    be_retired(one, second, "de-2")
    lose_the_database(one, "de-3")
    third = one.wait_for_worker("de-3")
    assert one.lives(third)
    assert sorted(one.slings()) == ["de-1", "de-2", "de-3"]
    typed = [line for line in one.town.heard(first) if "[witness]" in line]
    assert typed == []
    assert not one.events("nudged", first)
    one.stop()
    one.hold_the_rules()
