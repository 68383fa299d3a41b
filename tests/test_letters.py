"""Mail in every spelling, and every text we write."""

from __future__ import annotations

import email
import email.policy
import mailbox
import os
import re
import subprocess
import sys

import pytest
import strategies
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
        ("MERGE_FAILED alpha", "", "failed"),
        ("LIFECYCLE: polecat requesting cycle", "Polecat: alpha", "mind"),
        ("lifecycle: polecat requesting shutdown", "Polecat: alpha", "mind"),
        ("  LIFECYCLE: polecat requesting shutdown  ", "Polecat: alpha", "shutdown"),
        ("LIFECYCLE: polecat requesting shutdown now", "Polecat: alpha", "mind"),
        ("Re: LIFECYCLE: polecat requesting shutdown", "Polecat: alpha", "mind"),
        ("LIFECYCLE: refinery requesting shutdown", "Polecat: alpha", "mind"),
        ("LIFECYCLE: polecat-alpha requesting restart", "", "mind"),
        ("LIFECYCLE:Shutdown", "Polecat: alpha", "mind"),
        ("LIFECYCLE:Shutdown alpha beta", "", "mind"),
        ("LIFECYCLE:Shutdown  alpha", "", "mind"),
        ("POLECAT_DONE", "Polecat: alpha", "mind"),
        ("POLECAT_DONE alpha", "Polecat: alpha\nExit: ESCALATED", "done"),
        ("POLECAT_STARTED alpha", "", "note"),
        ("WORK_DONE: de-1", "", "note"),
        ("RESTART_POLECAT: alpha", "", "note"),
        ("GUPP_VIOLATION: alpha", "", "note"),
        ("ORPHANED_WORK: alpha", "", "note"),
        ("ZOMBIE_DETECTED: alpha", "", "note"),
        ("🤝HANDOFF: later", "", "note"),
        ("HELP", "", "mind"),
        ("FORCE_KILL: unresponsive", "", "kill"),
        ("SWARM_START", "", "mind"),
        ("CRITICAL: disk", "", "mind"),
        ("MERGED", "", "mind"),
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
        ("Polecat:", "'' is no polecat's name"),
        ("Polecat:   \n  alpha\n", "'' is no polecat's name"),
        ("Polecat: alpha, beta", "it names no polecat"),
        ("Polecat: alpha\nPolecat:\n", "it names several polecats"),
        ("Polecat = alpha", "it names no polecat"),
        ("polecat: alpha", "it names no polecat"),
        ("> Polecat: alpha", "it names no polecat"),
        ("Polecat: $(reboot)", "'$(reboot)' is no polecat's name"),
        ("Polecat: al\u202epha", None),
        ("Polecat: größe", "'größe' is no polecat's name"),
    ],
)
def test_name_is_never_guessed(body, reason):
    answer = ask("LIFECYCLE: polecat requesting shutdown", body)
    assert answer.kind == "bad"
    assert reason is None or answer.reason == reason


@pytest.mark.parametrize(
    "body",
    [
        "Polecat: alpha",
        "Polecat:alpha",
        "Polecat:\talpha\t",
        "  Polecat: alpha  ",
        "Lifecycle request from polecat.\n\nAction: shutdown\nPolecat: alpha\n\nPlease verify.",
        "Polecat: alpha\nPolecat: alpha\n",
    ],
)
def test_name_stands_on_its_own_line(body):
    assert ask("LIFECYCLE: polecat requesting shutdown", body) == w.Ask(kind="shutdown", name="alpha")


def test_name_is_found_in_a_mail_with_line_ends_of_windows():
    data = b"From: demo/alpha\r\nSubject: LIFECYCLE: polecat requesting shutdown\r\n\r\nAction: x\r\nPolecat: alpha\r\n"
    assert w.read_ask(w.parse_mail("id", data, 0.0), "demo", TRUSTED) == w.Ask(kind="shutdown", name="alpha")


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
        ("alpha", "bad"),
        ("/", "bad"),
        (" ", "bad"),
        ("demo/crew/alpha", "bad"),
        ("demo/alphabet", "bad"),
        ("xdemo/alpha", "bad"),
        ("DEMO/alpha", "bad"),
        ("demo/alpha/", "shutdown"),
        ("demo/polecats/beta", "bad"),
        ("demo/witness", "bad"),
        ("mayor deacon", "bad"),
    ],
)
def test_only_the_polecat_or_a_trusted_sender_may_ask(sender, kind):
    assert ask("LIFECYCLE: polecat requesting shutdown", "Polecat: alpha", sender).kind == kind


def test_whom_to_trust_may_be_written_as_an_address():
    """`mayor/` is how the mayor is addressed everywhere else; as a trusted sender it was nobody."""
    mail = world.mail(sender="mayor/")
    assert w.read_ask(mail, "demo", ("mayor/",)).kind == "shutdown"
    assert w.read_ask(mail.but(sender="mayor"), "demo", ("mayor/",)).kind == "shutdown"


@pytest.mark.parametrize("sender", ["", " ", "/"])
def test_an_empty_word_among_the_trusted_makes_nobody_trusted(sender):
    assert w.read_ask(world.mail(sender=sender), "demo", ("", "/")).kind == "bad"


@given(strategies.mails(), st.sampled_from([(), ("mayor",), ("mayor/", "deacon")]))
def test_nobody_is_retired_on_the_word_of_another(mail, trusted):
    answer = w.read_ask(mail, "demo", trusted)
    assert answer.kind in ("shutdown", "done", "note", "mind", "bad")
    assert answer.reason.isprintable()
    if answer.kind in ("shutdown", "done"):
        assert w.is_polecat_name(answer.name)
        who = mail.sender.strip().strip("/")
        assert who in (f"demo/{answer.name}", f"demo/polecats/{answer.name}", *(one.strip("/") for one in trusted))
        assert answer.name in mail.subject or re.search(rf"(?m)^Polecat: {answer.name}$", mail.body)
    if answer.kind == "bad":
        assert answer.reason


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
        b"Subject: =?utf-8?q?=1B=5B31mred?=\n\n=1B[31m",
        b"Subject: =?unicode_escape?q?\\N{DIGIT?=\n\nx",
        b"Subject: =?idna?b?eG4tLQ==?=\n\nx",
        b"Subject: =?\0?q?x?=\n\nx",
        b"Subject: =?hex?q?zz?=\n\nx",
        b"Subject: " + b"x" * 10000 + b"\n\n" + b"y" * 100000,
        b"Subject: " + b"=?utf-8?q?x?= " * 4000 + b"\n\nx",
        b"Subject:\n " + b"\n ".join([b"x"] * 5000) + b"\n\nx",
        b"From: " + b"<" * 60000 + b"\n\nx",
        b'Content-Type: text/plain; charset="\0"\n\n\xff\xfe',
        b"Content-Transfer-Encoding: base64\n\n!!!!\xff=",
        b"Content-Transfer-Encoding: x-uuencode\n\nbegin 666 x\n\xff\n",
        b"Content-Transfer-Encoding: quoted-printable\n\n=ZZ=1B[31m=9B",
        b"Content-Type: text/plain;" + b" a=b;" * 10000 + b"\n\nx",
        b"Content-Type: message/external-body\n\nx",
        b"\0" * 1000,
        b"\xff\xfe" * 1000,
        b":" * 1000,
        b"\n" * 60000,
    ],
    ids=range(24),
)
def test_broken_mail_is_read_and_clean(data):
    mail = w.parse_mail("id", data, 0.0)
    assert mail.subject.isprintable()
    assert all(line.isprintable() for line in mail.body.split("\n"))


@pytest.mark.parametrize(
    ("data", "subject"),
    [
        (b"Subject: =?utf-8?q?Gr=C3=B6=C3=9Fe?= =?utf-8?b?IOKGkg==?= x\n\n", "Größe → x"),
        (b"Subject: =?iso-8859-1?q?Gr=F6=DFe?=\n\n", "Größe"),
        ("Subject: Größe →\n\n".encode(), "Größe →"),
        (b"Subject: a\n\tb\n c\n\n", "a b c"),
        (b"subject: lower\n\n", "lower"),
        (b"Subject: first\nSubject: second\n\n", "first"),
        (b"Subject:\n\n", ""),
        (b"From: x\n\n", ""),
    ],
)
def test_subject_is_read_in_every_encoding(data, subject):
    assert w.parse_mail("id", data, 0.0).subject == subject


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        ("demo/alpha", "demo/alpha"),
        ("<demo/alpha>", "demo/alpha"),
        ("Alpha <demo/alpha>", "demo/alpha"),
        ("<mayor/> <demo/alpha>", "demo/alpha"),
        ("mayor/ <evil/x>", "evil/x"),
        ("demo/alpha <", "demo/alpha <"),
        ("größe/alpha", "größe/alpha"),
        ("=?utf-8?q?gr=C3=B6=C3=9Fe/alpha?=", "größe/alpha"),
    ],
)
def test_sender_is_the_address(header, sender):
    assert w.parse_mail("id", f"From: {header}\n\n".encode(), 0.0).sender == sender


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"", b"Polecat: alpha\n"),
        (b"Content-Transfer-Encoding: base64\n", b"UG9sZWNhdDogYWxwaGEK\n"),
        (b"Content-Transfer-Encoding: quoted-printable\n", b"Polecat: al=\npha\n"),
        (b"Content-Type: multipart/mixed; boundary=b\n", b"--b\n\nPolecat: alpha\n--b\n\nmore\n--b--\n"),
        (
            b"Content-Type: multipart/mixed; boundary=b\n",
            b"--b\nContent-Type: image/png\n\nx\n--b\nContent-Type: text/plain\n\nPolecat: alpha\n--b--\n",
        ),
    ],
)
def test_text_is_found_in_every_wrapping(head, body):
    assert w.parse_mail("id", b"Subject: x\n" + head + b"\n" + body, 0.0).body == "Polecat: alpha"


@pytest.mark.parametrize(
    "part", [b"Content-Type: message/rfc822\n\n", b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n"]
)
def test_a_thousand_mails_within_each_other_are_one_that_needs_a_mind(part):
    """Reading them went as deep as they were nested; one such mail stopped every tick."""
    nested = b"".join(part % (number, number) if b"%" in part else part for number in range(1200))
    mail = w.parse_mail("id", b"From: demo/alpha\nSubject: HELP\n" + nested[: w.MAIL_LIMIT_BYTES], 0.0)
    assert (mail.sender, mail.subject, mail.body) == ("demo/alpha", "HELP", "")


LINES = st.lists(
    st.sampled_from(
        [
            b"Subject: ",
            b"From: ",
            b"x",
            b"=?utf-8?b?",
            b"=?iso-2022-jp?q?",
            b"?=",
            b"\n",
            b"\n ",
            b"\n\n",
            b"\xff",
            b"\x1b[31m",
            b"--b",
            b"Content-Type: multipart/mixed; boundary=b\n",
            b"Content-Type: text/plain; charset=",
            b"utf-16",
            b"utf-8*0*",
            b"''",
            b"Content-Transfer-Encoding: ",
            b"base64",
            b"uuencode",
            b"quoted-printable",
            b"=",
            b"begin 6 x\n",
            b"\r",
            b"\0",
            b";",
            b'"',
        ]
    ),
    max_size=24,
).map(b"".join)


@given(LINES)
def test_pieces_of_mails_in_any_order_are_a_mail(data):
    mail = w.parse_mail("id", data, 0.0)
    assert mail.subject.isprintable()
    assert mail.sender.isprintable()
    assert len(mail.subject) <= 300
    assert all(line.isprintable() for line in mail.body.split("\n"))


PLAIN_LINES = st.lists(
    st.sampled_from(
        [
            b"From: demo/alpha\n",
            b"from:Alpha <demo/alpha>\n",
            b"Subject:  HELP: x \n",
            b"Subject: second\n",
            b"Subject: =?utf-8?q?HELP?=\n",
            b"Content-Type: text/plain\n",
            b"Content-Type: Text/Plain; charset=utf-8\n",
            b"Content-Type: text/html; charset=utf-8\n",
            b"Content-Type: image/png\n",
            b"Content-Type: text\n",
            b"Content-Transfer-Encoding: 8BIT\n",
            b"Content-Transfer-Encoding: base64\n",
            b"MIME-Version: 1.0\n",
            b"X: \n",
            b": x\n",
            b"no header\n",
            b"From someone\n",
            b" continued\n",
            b"\n",
            b"\r\n",
            b"Polecat: alpha\n",
            b"Polecat: al\x1bpha\n",
            "Größe\n".encode(),
            b"\xff\xfe\n",
            b"eA==",
        ]
    ),
    max_size=9,
).map(b"".join)


@given(st.one_of(PLAIN_LINES, LINES, st.binary(max_size=200)))
def test_a_plain_mail_is_read_as_email_reads_it(data):
    plain = w._split_plain(data)
    if plain is not None:
        assert [w.clean_line(one) for one in plain[:2]] == [w.clean_line(one) for one in w._split_any(data)[:2]]
        assert plain[2] == w._split_any(data)[2]


def test_our_own_mails_are_plain():
    """`email` is 3.5 MiB that a daemon keeps from its first mail on."""
    script = (
        "import sys, witness as w; data = w.render_mail('demo/alpha', 'mayor/', 'HELP: x', 'Größe?', 1.8e9, 'k'); "
        "mail = w.parse_mail('id', data, 0.0); print(ascii((mail.sender, mail.subject, mail.body)), "
        "sorted({'email', 'socket', 'datetime', 'random'} & set(sys.modules)))"
    )
    code = f"import sys; sys.path.insert(0, {os.path.dirname(w.__file__)!r}); {script}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == r"('demo/alpha', 'HELP: x', 'Gr\xf6\xdfe?') []" + "\n"


@given(sender=strategies.texts(), subject=strategies.texts(), body=strategies.texts())
def test_any_written_mail_is_read_back_clean_and_whole(sender, subject, body):
    mail = w.parse_mail("id", w.render_mail(sender, "mayor/", subject, body, world.NOW, "k"), 1.5)
    assert mail.subject == w.clean_line(subject)
    assert mail.body == w.clean_text(body).rstrip("\n") or mail.body == w.clean_text(body)
    assert mail.sender == re.sub(r".*<([^<>]*)>$", r"\1", w.clean_line(sender))


@pytest.mark.parametrize(
    "subject", ["=?utf-8?q?other?=", "a =?utf-8?b?eA==?= b", "x" * 300, "ö" * 300, "a: b", "From: x"]
)
def test_subject_that_looks_encoded_or_is_long_comes_back(subject):
    mail = w.parse_mail("id", w.render_mail("a", "b", subject, "", world.NOW, "k"), 0.0)
    assert mail.subject == subject


@given(strategies.stamps())
def test_date_is_the_moment(at):
    message = email.message_from_bytes(w.render_mail("a", "b", "c", "d", at, "k"), policy=email.policy.default)
    assert message["Date"].datetime.timestamp() == int(at)


def test_letter_is_opened_by_any_mail_reader(tmp):
    box = mailbox.Maildir(tmp / "box", create=True)
    subject, body = w.escalation_letter(
        w.Escalation(cause="stuck", name="alpha", instance="1", summary="Größe → x", opened_at=world.NOW), "demo", "W"
    )
    (tmp / "box/new/1.a.host").write_bytes(w.render_mail("demo/witness", "mayor/", subject, body, world.NOW, "k.1"))
    ((_, message),) = mailbox.Maildir(tmp / "box", factory=None).items()
    assert (message["Subject"], message["From"], message["To"]) == (subject, "demo/witness", "mayor/")
    assert message.get_payload(decode=True).decode() == w.clean_text(body) + "\n"
    assert message.get_content_charset() == "utf-8"
    assert not message.defects
    assert os.listdir(tmp / "box/new") == ["1.a.host"]
    box.close()


def test_handoff_letter_is_a_request():
    subject, body = w.handoff_letter("demo", "alpha", world.NOW)
    assert ask(subject, body) == w.Ask(kind="shutdown", name="alpha")


def test_nudge_is_one_line_that_says_what_to_do():
    text = w.nudge_text("alpha", 1800, "/x/witness.pyz")
    assert "\n" not in text
    assert "/x/witness.pyz handoff" in text
    assert "30m" in text


def test_nudge_in_a_town_names_what_hands_work_to_the_refinery():
    """A worker that handed off instead of `gt done` left its work where no refinery looks."""
    text = w.nudge_text("alpha", 1800, "/x/witness.pyz", in_town=True)
    assert "run `gt done`" in text
    assert "handoff" not in text


@given(strategies.names(), st.floats(0, 1e9), st.sampled_from(["witness", "/a b/witness.pyz", "python3 witness.py"]))
def test_nudge_is_one_printable_line_whatever_it_says(name, quiet_s, command):
    text = w.nudge_text(name, quiet_s, command)
    assert text.isprintable()
    assert name in text
    assert f"`{command} handoff`" in text


@given(
    st.lists(st.tuples(strategies.texts(), strategies.texts(), strategies.texts()), min_size=1, max_size=3),
    strategies.escalations(),
    strategies.mails(),
)
def test_every_letter_can_be_sent_and_read_back_clean(blockers, matter, mail):
    letters = [
        w.refusal_letter("alpha", blockers, "W"),
        w.escalation_letter(matter, "demo", "W"),
        w.resolved_letter(matter, "gone"),
        w.forwarded_letter(mail),
    ]
    for subject, body in letters:
        read = w.parse_mail("id", w.render_mail("demo/witness", "mayor/", subject, body, world.NOW, "k"), 0.0)
        assert read.subject == w.clean_line(subject, 300)
        assert read.subject
        assert read.body.rstrip("\n") == w.clean_text(body, 8000).rstrip("\n")
        assert w.read_ask(read, "demo", ("demo/witness",)).kind == "mind"


@pytest.mark.parametrize(
    ("cause", "subject"),
    [
        ("stuck", "ESCALATION: Polecat alpha stuck"),
        ("dead", "ESCALATION: Polecat alpha dead"),
        ("busy", "ESCALATION: Polecat alpha busy without a change"),
        ("refused", "ESCALATION: Polecat alpha cannot be shut down"),
        ("port-tmux", "ESCALATION: demo: tmux does not answer"),
    ],
)
def test_escalation_says_in_its_subject_what_it_is(cause, subject):
    matter = w.Escalation(cause=cause, name="alpha", instance="", summary="tmux does not answer", opened_at=world.NOW)
    assert w.escalation_letter(matter, "demo", "W")[0] == subject


def test_escalation_raised_again_says_so_and_its_end_says_why():
    matter = w.Escalation(cause="stuck", name="alpha", instance="1", summary="S", opened_at=world.NOW, raises=3)
    assert "Told for the 3. time" in w.escalation_letter(matter, "demo", "W")[1]
    assert "Told" not in w.escalation_letter(matter.but(raises=1), "demo", "W")[1]
    assert w.resolved_letter(matter, "it works") == ("RESOLVED: Polecat alpha stuck", "S\n\nResolved: it works\n")
    assert w.resolved_letter(matter.but(cause="storm", name=""), "calm")[0] == "RESOLVED: storm"


def test_forwarded_mail_without_a_subject_has_one():
    assert w.forwarded_letter(world.mail("", "x"))[0] == "FWD: (no subject)"


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


# ---- in a Gas Town --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "sender", "body", "kind", "name", "bead"),
    [
        ("LIFECYCLE:Shutdown alpha", "gt-sling", "Reason: work_reassigned\nBead: de-1", "reassigned", "alpha", "de-1"),
        ("LIFECYCLE: Shutdown alpha", "gt-sling", "Bead: de-1.2\n", "reassigned", "alpha", "de-1.2"),
        ("LIFECYCLE:Shutdown alpha", "demo/alpha", "Bead: de-1", "shutdown", "alpha", ""),
        ("LIFECYCLE:Shutdown alpha", "mayor/", "Bead: de-1", "shutdown", "alpha", ""),
        ("LIFECYCLE:Shutdown alpha", "gt-sling/", "Bead: de-1", "bad", "alpha", ""),
        ("LIFECYCLE:Shutdown alpha", "demo/gt-sling", "Bead: de-1", "bad", "alpha", ""),
        ("LIFECYCLE:Shutdown alpha", "gt-sling", "bead: de-1", "bad", "alpha", ""),
        ("LIFECYCLE:Shutdown alpha", "gt-sling", "Bead: de-1\nBead: de-2", "bad", "alpha", ""),
        ("LIFECYCLE:Shutdown alpha", "gt-sling", "Bead: -rf", "bad", "alpha", ""),
        ("LIFECYCLE:Shutdown refinery", "gt-sling", "Bead: de-1", "bad", "", ""),
        ("LIFECYCLE: polecat requesting shutdown", "gt-sling", "Polecat: alpha\nBead: de-1", "bad", "alpha", ""),
        ("POLECAT_DONE alpha", "gt-sling", "Bead: de-1", "bad", "alpha", ""),
    ],
)
def test_sling_may_only_say_that_a_bead_is_anothers_now(subject, sender, body, kind, name, bead):
    asked = ask(subject, body, sender)
    assert (asked.kind, asked.name, asked.bead) == (kind, name, bead)


@given(strategies.mails())
def test_law_only_the_sling_itself_says_that_a_bead_is_anothers(mail):
    asked = w.read_ask(mail, "demo", TRUSTED)
    if asked.kind == "reassigned":
        assert mail.sender == w.SLINGER
        assert w.is_issue_id(asked.bead)
        assert w.is_polecat_name(asked.name)


@pytest.mark.parametrize("subject", ["LIFECYCLE:Shutdown alpha", "POLECAT_DONE alpha", "HELP"])
def test_merge_letter_says_only_what_stands_in_the_mail(subject):
    mail = world.mail(subject, "Branch: b\nIssue: de-1\nMR: mr\nFoo: x\nBranch: --force\n")
    subject, body = w.merge_letter("demo", "alpha", mail)
    assert subject == "MERGE_READY alpha"
    assert sorted(body.splitlines()) == ["Branch: --force", "Issue: de-1", "MR: mr", "Polecat: alpha", "Rig: demo"]
