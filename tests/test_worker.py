"""The worker's side: handoff and mail, through the built archive."""

from __future__ import annotations

import json
import mailbox
import os

import pytest
from tools import stand

import witness as w


@pytest.fixture
def worker(rig):
    return rig.add_polecat("alpha", stand.SLEEP)


def inbox(rig, address="demo.witness"):
    folder = rig.state / "mail" / address
    return list(mailbox.Maildir(folder, create=False)) if folder.is_dir() else []


def test_clean_worktree_is_handed_off(witness, rig, worker):
    (worker.path / "src").mkdir()
    done = witness("handoff", rig=rig, cwd=worker.path / "src")
    assert done.status == 0
    assert done.stdout.startswith("handed off: alpha asked to be shut down")
    assert "`witness start`" in done.stdout  # nobody would look at it
    (message,) = inbox(rig)
    assert (message["From"], message["Subject"]) == ("demo/alpha", "LIFECYCLE: polecat requesting shutdown")
    assert "Polecat: alpha\n" in message.get_payload()


def test_dirty_worktree_is_told_what_to_do_and_nothing_is_sent(witness, rig, worker):
    (worker.path / "new").write_text("x")
    done = witness("handoff", rig=rig, cwd=worker.path)
    assert done.status == 1
    assert "- untracked: never committed: new" in done.stdout
    assert f"git -C {worker.path} add -A" in done.stdout
    assert inbox(rig) == []
    data = json.loads(witness("handoff", "--json", rig=rig, cwd=worker.path).stdout)
    assert (data["ok"], data["blockers"][0]["kind"]) == (False, "untracked")


def test_handoff_outside_a_worktree_says_where_it_belongs(witness, rig):
    done = witness("handoff", rig=rig)
    assert done.status == 2
    assert "lies in no worker's worktree" in done.stderr


def test_mail_is_sent_listed_and_acknowledged(witness, rig, worker):
    assert witness("mail", "send", "demo/beta", "-s", "Grüße", "-b", "a\nb", cwd=worker.path).status == 0
    data = json.loads(witness("mail", "inbox", "demo/beta", "--json", rig=rig).stdout)
    (message,) = data["messages"]
    assert message.keys() >= {"id", "from", "to", "subject", "at"}
    assert (message["from"], message["subject"], message["body"]) == ("demo/alpha", "Grüße", "a\nb")
    assert "Grüße" in witness("mail", "inbox", "demo/beta", rig=rig).stdout
    assert witness("mail", "ack", "--address", "demo/beta", message["id"], rig=rig).status == 0
    assert witness("mail", "inbox", "demo/beta", rig=rig).stdout == "no mail\n"
    assert witness("mail", "ack", "--address", "demo/beta", "nope", rig=rig).status == 1


def test_worker_reads_its_own_inbox_by_where_it_stands(witness, rig, worker):
    witness("mail", "send", "demo/alpha", "-s", "for you", rig=rig)
    assert "for you" in witness("mail", "inbox", cwd=worker.path).stdout


@pytest.mark.parametrize("address", ["../../x", "", "a b"])
def test_hostile_address_writes_nowhere(witness, rig, address):
    done = witness("mail", "send", address, "-s", "x", rig=rig)
    assert done.status == 2
    assert "is no mail address" in done.stderr
    assert not (rig.path / "x").exists()


def run_daemon_once(rig, station, times=2):
    for _ in range(times):
        w.run_round(station)


@pytest.mark.parametrize(
    ("sender", "body"),
    [
        ("demo/beta", "Polecat: alpha"),
        ("", "Polecat: alpha"),
        ("demo/alpha", "Polecat: ../../etc"),
        ("demo/alpha", "Polecat: "),
        ("demo/alpha", "Polecat: ghost"),
        ("mayor", "Polecat: alpha\nPolecat: beta"),
    ],
)
def test_request_that_cannot_be_believed_is_put_away_and_nothing_happens(witness, rig, worker, sender, body):
    station = stand.make_station(rig)
    station.mailbox.deliver(station.mailbox.address, "LIFECYCLE: polecat requesting shutdown", body, "k", sender or "x")
    run_daemon_once(rig, station)
    assert station.memory.requests == {}
    assert worker.path.exists()
    assert [message.get_subdir() for message in inbox(rig)] == ["cur"]


def test_request_older_than_the_worker_is_stale(witness, rig):
    """A message of 22:38 once killed the worker that had the name since 23:59."""
    station = stand.make_station(rig)
    subject, body = w.handoff_letter("demo", "alpha", 0.0)
    station.mailbox.deliver(station.mailbox.address, subject, body, "k", "demo/alpha")
    (name,) = (rig.state / "mail" / "demo.witness" / "new").iterdir()
    worker = rig.add_polecat("alpha", stand.SLEEP)
    os.utime(name, (5, 5))
    run_daemon_once(rig, station)
    assert station.memory.requests == {}
    assert worker.path.exists()
    assert any(kind == "mail" for kind, _ in stand.events(station))
