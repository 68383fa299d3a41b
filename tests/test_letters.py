"""Mail in every spelling, and every text we write."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import world

import witness as w

TRUSTED = ("mayor", "deacon")


def ask(subject, body="", sender="demo/alpha"):
    return w.read_ask(world.mail(subject, body, sender), "demo", TRUSTED)


@pytest.mark.parametrize(
    ("subject", "body", "kind"),
    [
        ("LIFECYCLE: polecat requesting shutdown", "Polecat: alpha", "shutdown"),
        ("LIFECYCLE: polecat-alpha requesting shutdown", "Action: shutdown", "shutdown"),
        ("LIFECYCLE:Shutdown alpha", "Reason: work_reassigned", "shutdown"),
        ("LIFECYCLE: Shutdown alpha", "", "shutdown"),
        ("POLECAT_DONE alpha", "Exit: COMPLETED", "done"),
        ("POLECAT_DONE alpha exit=COMPLETED", "", "done"),
        ("CRASHED_POLECAT: alpha", "", "note"),
        ("MERGED alpha", "", "note"),
        ("🤝 HANDOFF", "", "note"),
        ("SPAWN: alpha starting on de-1", "", "note"),
        ("Dependency resolved: de-1", "", "note"),
        ("HELP: blocked", "", "mind"),
        ("", "", "mind"),
        ("MERGE_FAILED alpha", "", "mind"),
        ("LIFECYCLE: polecat requesting cycle", "Polecat: alpha", "mind"),
        ("lifecycle: polecat requesting shutdown", "Polecat: alpha", "mind"),
    ],
)
def test_subject_says_what_is_asked(subject, body, kind):
    assert ask(subject, body).kind == kind


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "it names no polecat"),
        ("Polecat:\nalpha", "'' is no polecat's name"),
        ("Polecat: alpha beta", "it names no polecat"),
        ("Polecat: alpha\nPolecat: beta", "it names several polecats"),
        ("Polecat: ../x", "'../x' is no polecat's name"),
        ("Polecat: -x", "'-x' is no polecat's name"),
        ("Polecat: witness", "'witness' is no polecat's name"),
        (f"Polecat: {'x' * 300}", None),
    ],
)
def test_name_is_never_guessed(body, reason):
    answer = ask("LIFECYCLE: polecat requesting shutdown", body)
    assert answer.kind == "bad"
    assert reason is None or answer.reason == reason


def test_subject_and_body_that_disagree_are_bad():
    assert ask("LIFECYCLE:Shutdown alpha", "Polecat: beta").kind == "bad"
    assert ask("LIFECYCLE:Shutdown alpha", "Polecat: alpha").kind == "shutdown"


@pytest.mark.parametrize(
    ("sender", "kind"),
    [
        ("demo/alpha", "shutdown"),
        ("demo/polecats/alpha", "shutdown"),
        ("mayor/", "shutdown"),
        ("deacon", "shutdown"),
        ("demo/beta", "bad"),
        ("other/alpha", "bad"),
        ("", "bad"),
        ("mayor/x", "bad"),
        ("gt-sling", "bad"),
    ],
)
def test_only_the_polecat_or_a_trusted_sender_may_ask(sender, kind):
    assert ask("LIFECYCLE: polecat requesting shutdown", "Polecat: alpha", sender).kind == kind


def test_written_mail_is_read_back():
    data = w.render_mail("demo/alpha", "demo/witness", "Größe → x", "line one\nPolecat: alpha\n", world.NOW, "k.1")
    mail = w.parse_mail("id", data, 3.0)
    assert (mail.sender, mail.subject, mail.body, mail.at) == (
        "demo/alpha",
        "Größe → x",
        "line one\nPolecat: alpha",
        3.0,
    )
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert message["Date"].datetime.timestamp() == world.NOW
    assert message["Message-ID"] == "<k.1@witness>"


@given(sender=st.text(max_size=60), subject=st.text(max_size=80), body=st.text(max_size=200))
def test_no_text_breaks_out_of_its_header(sender, subject, body):
    data = w.render_mail(sender, "mayor/", subject, body, world.NOW, "k")
    message = email.message_from_bytes(data)
    assert message.keys() == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
    read = w.parse_mail("id", data, 0.0)
    assert read.subject.isprintable()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_mail(data):
    mail = w.parse_mail("id", data, 0.0)
    assert mail.subject.isprintable()
    assert w.read_ask(mail, "demo", TRUSTED).kind in ("mind", "note", "bad", "shutdown", "done")


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: =?utf-8?b?!!!?=\n\nx",
        b"Subject: =?nosuch?q?x?=\n\nx",
        b"Content-Type: text/plain; charset=nosuch\n\nx",
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nPolecat: a\n--b--\n",
        b"Subject: a\n\x1b[31m b\n\n\x1b]0;t\x07x",
    ],
)
def test_broken_mail_is_read_and_clean(data):
    mail = w.parse_mail("id", data, 0.0)
    assert mail.subject.isprintable()
    assert all(line.isprintable() for line in mail.body.split("\n"))


def test_handoff_letter_is_a_request():
    subject, body = w.handoff_letter("demo", "alpha", world.NOW)
    assert ask(subject, body) == w.Ask(kind="shutdown", name="alpha")


def test_nudge_is_one_line_that_says_what_to_do():
    text = w.nudge_text("alpha", 1800, "/x/witness.pyz")
    assert "\n" not in text
    assert "/x/witness.pyz handoff" in text
    assert "30m" in text


def test_refusal_names_every_blocker_and_its_command():
    subject, body = w.refusal_letter(
        "alpha", [("modified", "changed: a", "git commit"), ("stash", "one", "git stash pop")], "W"
    )
    assert subject == "NUDGE: Cannot shutdown - modified: changed: a"
    for word in ("modified: changed: a", "git commit", "stash: one", "git stash pop", "W handoff"):
        assert word in body


def test_escalation_keeps_the_first_witness_subject_and_carries_evidence():
    matter = w.Escalation(
        cause="stuck", name="alpha", instance="1", summary="S", opened_at=world.NOW, evidence="e1\ne2"
    )
    subject, body = w.escalation_letter(matter, "demo", "W")
    assert subject == "ESCALATION: Polecat alpha stuck"
    for word in ("S", "2027-01-15T08:00:00.000Z", "e1", "e2", "W status", "W hold alpha", "W shutdown alpha --force"):
        assert word in body
    assert "resume" in w.escalation_letter(matter.but(cause="storm", name=""), "demo", "W")[1]


def test_forwarded_mail_keeps_sender_and_words():
    subject, body = w.forwarded_letter(world.mail("HELP", "which API?", "demo/alpha"))
    assert subject == "FWD: HELP"
    assert "From: demo/alpha" in body
    assert "which API?" in body
