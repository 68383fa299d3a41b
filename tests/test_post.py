"""The mail of a Gas Town: `gt mail`, or what bd kept before it."""

from __future__ import annotations

import json

import pytest
from tools.town import PAIRS

import witness as w

ALL = tuple(PAIRS)
NATIVE = ("1.0.1", "0.5.0", "0.2.6")
ASK = "LIFECYCLE: polecat requesting shutdown"


@pytest.fixture
def post(monkeypatch):
    """Make the mail of a town: post(town)."""

    def make(town) -> w.TownMail:
        monkeypatch.setenv("PATH", town.bin.path())
        rig = w.find_rig(w.Host(), str(town.rig), {}, "/")
        return w.TownMail(w.Host(), w.Gastown(w.Host(), rig, w.make_config({}, "test", {})))

    return make


def read(post, known=()):
    """Return the mails of an inbox that can be read."""
    mails, _, port = post.read_inbox(known)
    assert port.state == w.PRESENT, port
    return mails


# ---- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ALL)
def test_mail_is_read_oldest_first_and_archived_for_good(town, post, pair):
    made = town(pair)
    ours = post(made)
    assert read(ours) == ()
    made.put_mail("demo/witness", ASK, "Polecat: rust", "demo/rust", created_at="2026-11-20T10:00:00Z")
    made.put_mail("demo/witness", "HELP", "me", "demo/polecats/nitro", created_at="2026-11-20T09:00:00Z")
    made.put_mail("demo/refinery", "not ours")
    mails = read(ours)
    assert [(one.sender.split("/")[-1], one.subject, one.body) for one in mails] == [
        ("nitro", "HELP", "me"),
        ("rust", ASK, "Polecat: rust"),
    ]
    assert [w.rfc3339(one.at)[:19] for one in mails] == ["2026-11-20T09:00:00", "2026-11-20T10:00:00"]
    ours.acknowledge(mails[0].id)
    assert ours.flush() == ""
    assert [one.subject for one in read(ours)] == [ASK]
    assert [one.subject for one in read(post(made))] == [ASK]
    assert read(ours, {mails[1].id}) == ()


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0"])
def test_who_we_are_is_said_outright(town, post, pair):
    """Left to find out by itself, gt answered with the inbox of another."""
    made = town(pair)
    ours = post(made)
    read(ours)
    (call,) = made.calls("mail inbox")
    assert call["argv"] == ["mail", "inbox", "--identity", "demo/witness", "--json"]
    assert call["cwd"] == str(made.rig)
    assert (call["env"]["GT_ROLE"], call["env"]["BD_ACTOR"]) == ("demo/witness", "demo/witness")


def test_the_oldest_gt_has_four_boxes_and_each_mail_is_closed_where_it_lies(town, post):
    made = town("seed")
    for number in range(5):  # so that no id is used twice
        made.add(f"de-{number}")
    boxes = [(server, name) for server in (made.town_server, made.server) for name in ("demo/witness", "demo-witness")]
    for number, (server, name) in enumerate(boxes):
        made.put_mail(name, f"mail {number}", server=server, created_at=f"2026-11-20T10:00:0{number}Z")
    made.put_mail("demo-rust", "not ours")
    ours = post(made)
    mails = read(ours)
    assert [one.subject for one in mails] == ["mail 0", "mail 1", "mail 2", "mail 3"]
    for mail in mails:
        ours.acknowledge(mail.id)
    assert ours.flush() == ""
    assert read(ours) == ()
    states = [row["status"] for server, name in boxes for row in server.read().values() if row["assignee"] == name]
    assert set(states) == {"closed"}
    assert [mail["status"] for mail in made.mails("demo-rust")] == ["open"]


def test_one_box_that_cannot_be_read_makes_all_of_them_unknown(town, post):
    made = town("seed")
    made.put_mail("demo-witness", "one", server=made.town_server)
    made.server.take_down()
    mails, _, port = post(made).read_inbox(())
    assert (mails, port.state) == ((), w.UNKNOWN)
    assert port.reason.startswith("bd mail inbox: ")


def test_inbox_that_is_not_answered_is_unknown_and_never_empty(town, post):
    made = town()
    made.put_mail("demo/witness", "one")
    ours = post(made)
    for how in ("fail", "garbage", "cut"):
        made.spoil({"verb": "mail inbox", "do": how, "times": 9})
        mails, _, port = ours.read_inbox(())
        assert (mails, port.state) == ((), w.UNKNOWN)
        made.spoil()
        assert len(read(ours)) == 1


def fill(made, number: int) -> None:
    """Put so many mails into our inbox."""
    first = made.put_mail("demo/witness", "POLECAT_STARTED")
    issues = made.town_server.read()
    for place in range(number):
        stamp = f"2026-11-{1 + place // 3600 % 20:02d}T{place // 60 % 24:02d}:{place % 60:02d}:00Z"
        one = f"hq-wisp-x{place}"
        issues[one] = {**issues[first], "id": one, "number": place + 2, "created_at": stamp}
    del issues[first]
    made.town_server.write(issues)


def test_ten_thousand_mails_are_read_200_at_a_time_and_20_are_archived_in_one_call(town, post):
    made = town()
    fill(made, 10000)
    ours = post(made)
    mails, waiting, port = ours.read_inbox(())
    assert (len(mails), waiting, port.state) == (w.MAILS_PER_TICK, 10000, w.PRESENT)
    assert [one.at for one in mails] == sorted(one.at for one in mails)
    assert len(made.calls("mail inbox")) == 1
    for mail in mails[: w.ACKS_PER_TICK]:
        ours.acknowledge(mail.id)
    assert ours.flush() == ""
    (call,) = made.calls("mail archive")
    assert call["argv"] == ["mail", "archive", *(mail.id for mail in mails[: w.ACKS_PER_TICK])]
    assert ours.flush() == ""
    assert len(made.calls("mail archive")) == 1
    assert ours.read_inbox(())[1] == 10000 - w.ACKS_PER_TICK


def test_mails_that_cannot_be_archived_hide_none_that_come_later(town, post):
    """Two hundred of them filled what one look reads, and no request was seen any more."""
    made = town()
    fill(made, 210)
    ours = post(made)
    old = {mail.id for mail in ours.read_inbox(())[0]} | {mail.id for mail in ours.read_inbox(())[0]}
    made.put_mail("demo/witness", ASK, "Polecat: rust", "demo/rust")
    mails, waiting, _ = ours.read_inbox((), tuple(old))
    assert waiting == 211
    assert mails[-1].id in old
    assert ASK in [mail.subject for mail in mails if mail.id not in old]


def test_mail_that_nobody_can_read_is_told_of(town, post, monkeypatch):
    made = town()
    made.put_mail("demo/witness", "HELP", "me", "demo/rust")
    ours = post(made)
    assert (len(read(ours)), ours.bad) == (1, ())
    whole = w.decode_inbox

    def spoil(ran):
        inbox = whole(ran)
        return inbox.but(bad=("mail 2: it has no time",)) if inbox.mails else inbox

    monkeypatch.setattr(w, "decode_inbox", spoil)
    made.put_mail("demo/witness", "HELP", "too", "demo/rust")
    assert (len(read(ours)), ours.bad) == (2, ("mail 2: it has no time",))


def test_inbox_that_is_there_unchanged_is_not_read_anew(town, post, monkeypatch):
    made = town()
    made.put_mail("demo/witness", "one")
    ours = post(made)
    before = read(ours)
    assert read(ours) == before
    monkeypatch.setattr(w, "decode_inbox", None)
    assert read(ours) == before


# ---- archiving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", NATIVE)
def test_what_is_archived_or_gone_already_counts_as_archived(town, post, pair):
    made = town(pair)
    one, two = (made.put_mail("demo/witness", subject) for subject in ("one", "two"))
    ours = post(made)
    read(ours)
    made.town_server.change(one, status="closed")
    for mail in (one, two):
        ours.acknowledge(mail)
    assert ours.flush() == ""
    assert made.mails("demo/witness") == []


@pytest.mark.parametrize("pair", ALL)
def test_archive_that_fails_says_so_and_leaves_the_mail_there(town, post, pair):
    made = town(pair)
    one = made.put_mail("demo/witness", "one")
    ours = post(made)
    read(ours)
    ours.acknowledge(one)
    if pair == "seed":
        made.town_server.spoil({"verb": "mail", "do": "fail", "times": 9})
    else:
        made.spoil({"verb": "mail archive", "do": "fail", "times": 9})
    assert ours.flush().startswith("not archived: ")
    made.spoil()
    made.town_server.spoil()
    assert [mail.id for mail in read(ours)] == [one]
    ours.acknowledge(one)
    assert ours.flush() == ""


def test_mail_that_was_never_read_here_is_not_archived(town, post):
    made = town()
    one = made.put_mail("demo/witness", "one")
    ours = post(made)
    read(ours)
    other = made.put_mail("demo/witness", "two")
    ours.acknowledge("hq-nowhere")
    assert ours.flush() == ""
    assert made.calls("mail archive") == []
    assert {mail["id"] for mail in made.mails("demo/witness")} == {one, other}


# ---- sending --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ALL)
def test_letter_arrives_from_the_witness_with_its_key(town, post, pair):
    made = town(pair)
    post(made).deliver("mayor/", "ESCALATION: x", "two\nlines", "stuck.alpha.1")
    (mail,) = made.mails("mayor/")
    assert (mail["subject"], mail["body"]) == ("ESCALATION: x", "two\nlines\n\nWitness-Key: stuck.alpha.1\n")
    assert mail["sender"] == "demo/witness"


def test_letter_to_a_worker_of_the_oldest_gt_lies_where_its_inbox_is(town, post):
    made = town("seed")
    post(made).deliver("demo/rust", "NUDGE", "b", "k")
    (mail,) = made.mails("demo-rust")
    assert mail["id"] in made.town_server.read()


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "seed"])
def test_letter_that_may_have_been_sent_is_looked_for_first(town, post, pair):
    """In the oldest gt it was looked for in another inbox than it was sent to, so that each crash sent one more."""
    made = town(pair)
    ours = post(made)
    for to in ("mayor/", "demo/refinery"):
        name = to if pair != "seed" or to.endswith("/") else to.replace("/", "-")
        for key, again, there in (("k.1", False, 1), ("k.1", True, 1), ("k", True, 2), ("k.1", True, 2)):
            ours.deliver(to, "s", "b", key, again=again)
            assert len(made.mails(name)) == there


def test_letter_longer_than_is_read_back_is_found_again_too(town, post):
    made = town()
    for again in (False, True):
        post(made).deliver("mayor/", "s", "a line\n" * 2000, "k.1", again=again)
    assert len(made.mails("mayor/")) == 1


def test_letter_to_one_who_is_unknown_goes_to_the_mayor(town, post):
    made = town()
    post(made).deliver("demo/nobody", "NUDGE: Cannot shutdown", "why", "k")
    (mail,) = made.mails("mayor/")
    assert mail["subject"] == "for demo/nobody: NUDGE: Cannot shutdown"
    assert mail["body"].startswith("gt knows no demo/nobody.\n\nwhy")


def test_letter_to_one_who_is_unknown_reaches_the_mayor_once_although_it_is_sent_again(town, post):
    """After a crash it was looked for where it never arrived, and the mayor got a second copy of each."""
    made = town()
    for again in (False, True):
        post(made).deliver("demo/nobody", "s", "b", "k", again=again)
    assert len(made.mails("mayor/")) == 1


def test_letter_that_fails_is_a_tool_error(town, post):
    made = town()
    ours = post(made)
    ours.town.gt.meet()
    made.spoil({"verb": "mail send", "do": "fail", "times": 9})
    with pytest.raises(w.ToolError):
        ours.deliver("mayor/", "s", "b", "k")
    with pytest.raises(w.ToolError):
        ours.deliver("demo/rust", "s", "b", "k")
    assert len(made.calls("mail send")) == 2


def test_address_that_is_none_is_refused_before_gt_is_called(town, post):
    made = town()
    ours = post(made)
    for to in ("", "-x", "--identity", "-demo/rust", "/x", "../x", "a b", "x\n", "\x1b"):
        with pytest.raises(w.UsageError):
            ours.deliver(to, "s", "b", "k")
    assert made.calls() == []


@pytest.mark.parametrize("pair", ["1.0.1", "seed"])
def test_letter_is_cut_in_bytes_at_a_whole_character_and_keeps_its_key(town, post, pair):
    made = town(pair)
    post(made).deliver("mayor/", "ü" * 300, ("€" * 99 + "\n") * 400, "k")
    (mail,) = made.mails("mayor/")
    assert mail["subject"] == "ü" * (w.SUBJECT_BYTES // 2)
    key, _, body = mail["body"].partition("\n\n")
    body = body[:-1]
    assert set(body) == {"€", "\n"}
    assert w.BODY_BYTES - 3 < len(body.encode()) <= w.BODY_BYTES
    assert key == "Witness-Key: k"
    assert len(mail["subject"].encode()) < 500
    assert len(mail["body"].encode()) < 65535


@pytest.mark.parametrize("pair", ALL)
def test_any_text_is_one_word(town, post, pair):
    made = town(pair)
    ours = post(made)
    for text in ("--priority=0", "-x", "", "\x1b[2J$(id)`id`", "a\x00b"):
        ours.deliver("mayor/", f"re: {text}", text, "k")
        mail = made.mails("mayor/")[-1]
        assert mail["subject"] == w.clean_line(f"re: {text}")
        assert mail["body"] == f"{w.clean_text(text)}\n\nWitness-Key: k\n"


def test_letter_of_a_worker_is_sent_as_it(town, post):
    made = town()
    post(made).deliver("demo/witness", ASK, "Polecat: rust", "k", sender="demo/rust")
    (mail,) = made.mails("demo/witness")
    assert mail["sender"] in ("demo/rust", "demo/polecats/rust")
    (call,) = made.calls("mail send")
    assert call["env"]["GT_POLECAT"] == "rust"
    ours = post(made)
    (read_back,) = read(ours)
    assert w.read_ask(read_back, "demo", ()).kind == "shutdown"


def test_secret_of_the_town_is_in_no_argument(town, post, monkeypatch):
    made = town()
    monkeypatch.setenv("GT_DOLT_PASSWORD", "hunter2")
    post(made).deliver("mayor/", "s", "b", "k")
    assert "hunter2" not in json.dumps([call["argv"] for call in made.calls()])
