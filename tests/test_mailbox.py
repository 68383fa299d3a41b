"""Maildir folders, as any mail reader opens them."""

from __future__ import annotations

import mailbox
import os

import pytest

import witness as w

HOST = w.Host()


@pytest.fixture
def box(rig):
    (rig.path / ".gastown").mkdir(mode=0o700)
    return w.Mailbox(HOST, w.find_rig(HOST, str(rig.path), {}, "/"))


def inbox(box):
    return os.path.join(box.folder(box.address), "new")


def put(box, name, text="Subject: s\nFrom: a\n\nb\n", at=None):
    path = os.path.join(inbox(box), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    if at is not None:
        os.utime(path, (at, at))


def test_no_folder_is_no_mail_and_a_look_makes_none(box):
    assert box.read_inbox(()) == ((), 0, w.Port())
    assert not os.path.exists(box.root)


def test_mail_is_delivered_once_per_key_also_after_it_was_read(box):
    for _ in range(2):
        box.deliver("demo/witness", "s", "b", "key.1")
    (mail,), waiting, _ = box.read_inbox(())
    assert waiting == 1
    assert (mail.sender, mail.subject, mail.body) == ("demo/witness", "s", "b")
    box.acknowledge(mail.id)
    box.deliver("demo/witness", "s", "b", "key.1")
    assert box.read_inbox(()) == ((), 0, w.Port())
    assert len(os.listdir(os.path.join(box.folder(box.address), "cur"))) == 1


def test_acknowledging_twice_is_fine(box):
    box.deliver("demo/witness", "s", "b", "key.1")
    (mail,), _, _ = box.read_inbox(())
    box.acknowledge(mail.id)
    box.acknowledge(mail.id)
    assert os.listdir(inbox(box)) == []
    assert len(os.listdir(os.path.join(box.folder(box.address), "cur"))) == 1


def test_ten_thousand_mails_are_read_in_portions_oldest_first(box):
    folder = inbox(box)
    put(box, "m0000", at=30000)
    for number in range(1, 10000):
        if number < 9700:
            os.link(os.path.join(folder, "m0000"), os.path.join(folder, f"m{number:04d}"))
        else:
            put(box, f"m{number:04d}", at=20000 - number)
    mails, waiting, _ = box.read_inbox(())
    assert (len(mails), waiting) == (w.MAILS_PER_TICK, 10000)
    assert [mail.id for mail in mails[:2]] == ["m9999", "m9998"]
    known = {mail.id for mail in mails}
    assert not known & {mail.id for mail in box.read_inbox(known)[0]}


def test_known_mail_is_not_read_again_but_a_new_one_is(box):
    put(box, "one")
    assert [mail.id for mail in box.read_inbox(())[0]] == ["one"]
    assert box.read_inbox({"one"})[0] == ()
    assert box.read_inbox({"one"})[0] == ()  # from the folder's time alone
    put(box, "two")
    assert [mail.id for mail in box.read_inbox({"one"})[0]] == ["two"]


def test_unchanged_inbox_is_not_listed_again(box, monkeypatch):
    put(box, "one")
    os.utime(inbox(box), (1e9, 1e9))
    assert box.read_inbox({"one"})[0] == ()
    monkeypatch.setattr(w.os, "scandir", None)
    assert box.read_inbox({"one"}) == ((), 1, w.Port())


def test_mail_that_comes_in_the_same_clock_tick_is_not_missed(box):
    put(box, "one")
    assert box.read_inbox({"one"})[0] == ()
    then = os.stat(inbox(box)).st_mtime_ns
    put(box, "two")
    os.utime(inbox(box), ns=(then, then))  # a kernel's clock goes on in steps of up to 10 ms
    assert [mail.id for mail in box.read_inbox({"one"})[0]] == ["two"]


def test_hostile_entries_are_put_aside_after_three_looks(box, tmp):
    (tmp / "secret").write_text("Subject: x\n\nsecret\n")
    os.symlink(tmp / "secret", os.path.join(inbox(box), "link"))
    os.mkfifo(os.path.join(inbox(box), "fifo"))
    os.mkdir(os.path.join(inbox(box), "folder"))
    put(box, "good\x1b[31m")
    for _ in range(3):
        assert [mail.id for mail in box.read_inbox(())[0]] == ["good\x1b[31m"]
    assert sorted(os.listdir(os.path.join(box.folder(box.address), "dead"))) == ["fifo", "folder", "link"]


def test_entry_that_cannot_be_put_aside_does_not_end_the_look(box):
    os.mkfifo(os.path.join(inbox(box), "fifo"))
    with open(os.path.join(box.folder(box.address), "dead"), "w", encoding="utf-8"):
        pass
    for _ in range(4):
        assert box.read_inbox(())[0] == ()
    os.remove(os.path.join(box.folder(box.address), "dead"))
    box.read_inbox(())
    assert os.listdir(os.path.join(box.folder(box.address), "dead")) == ["fifo"]


def test_mail_of_any_name_is_read_and_acknowledged(box):
    names = ["1.M2P3.host:2,", "a\nb", "caf\udce9", "-rf", "x" * 240]
    for name in names:
        put(box, name)
    mails, _, _ = box.read_inbox(())
    assert sorted(mail.id for mail in mails) == sorted(names)
    memory = w.load_memory(
        w.dump_memory(w.Memory(requests={"a": w.Request(name="a", sender="s", at=1.0, mails=tuple(names))}))
    )
    for name in memory.requests["a"].mails:
        box.acknowledge(name)
    assert box.read_inbox(())[:2] == ((), 0)
    assert len(os.listdir(os.path.join(box.folder(box.address), "cur"))) == len(names)


def test_large_mail_is_cut(box):
    put(box, "big", "Subject: s\n\n" + "x" * 500000)
    (mail,), _, _ = box.read_inbox(())
    assert len(mail.body) <= 8000


def test_inbox_that_is_a_file_is_unknown(box):
    os.makedirs(os.path.join(box.root, "demo.witness"))
    with open(os.path.join(box.root, "demo.witness", "new"), "w", encoding="utf-8"):
        pass
    assert box.read_inbox(())[2].state == w.UNKNOWN


@pytest.mark.parametrize("address", ["", "/", "../x", "a b", "a/../b", "-x\n", "\x1b"])
def test_address_that_is_none_gets_no_mail(box, address):
    with pytest.raises(w.UsageError):
        box.deliver(address, "s", "b", "k")
    assert not os.path.exists(box.root) or os.listdir(box.root) == []


def test_standard_library_reads_our_folders(box):
    box.deliver("demo/alpha", "Grüße", "body ö", "k")
    (message,) = mailbox.Maildir(box.folder("demo/alpha"))
    assert message["From"] == "demo/witness"
    assert message.get_payload(decode=True).decode() == "body ö\n"
