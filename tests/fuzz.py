"""Feed every parser what nobody would write: a million inputs, and no exception but those it declares.

Run by `./build.sh fuzz [COUNT [SEED]]`; prints both, so that a finding can be met again. tests/test_fuzz.py runs a
sample of it with the suite.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import witness as w  # noqa: E402

ID = b"a" * 40
PANE = b"4242\t1700000000\t$1\t0\t1700000000\t%1\t4243\t0\t0\tgt-demo-alpha\tclaude\n"
LOG = ID + b" " + b"b" * 40 + b" T <t@e> 1700000000 +0000\tcommit: work\n"
STAT = b"4242 (tmux: server) S 1 4242 4242 0 -1 4194368 1 0 0 0 0 0 0 0 20 0 1 0 8888 1 1 18446744073709551615 0 0 0"
MIXED = b"From: =?utf-8?q?a?= <x@y>\nSubject: =?utf-8?b?SEVMUA==?=\nContent-Type: multipart/mixed; boundary=b\n\n"
LINK = b'"dependencies":[{"type":"blocks","depends_on_id":"de-2"}]'
FULL = w.Memory(polecats={"a": w.Track(instance="1.2.3")}, spawn=w.Spawn(issue="i", at=1.0, deadline_at=2.0))
# What each parser is meant for; three inputs of four begin as one of these.
SAMPLES = {
    "parse_panes": (PANE, PANE + PANE),
    "parse_proc_stat": (STAT,),
    "parse_meminfo": (b"MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n",),
    "parse_gitfile": (b"gitdir: /rig/.git/worktrees/alpha\n",),
    "parse_head": (b"ref: refs/heads/polecat/alpha\n", ID + b"\n"),
    "parse_status": (
        b"1 .M N... 100644 100644 100644 " + ID + b" " + ID + b" a b.txt\0? new\0",
        b"2 R. N... 100644 100644 100644 " + ID + b" " + ID + b" R100 new\0old\0u UU N... 1 2 3 4 a b c path\0",
    ),
    "list_made": (LOG, LOG.replace(b"commit: work", b"pull: Fast-forward")),
    "parse_mail": (
        b"From: demo/alpha\nSubject: LIFECYCLE: polecat requesting shutdown\n\nPolecat: alpha\n",
        MIXED + b"--b\n\nx\n--b--",
        b"Subject: POLECAT_DONE alpha exit=COMPLETED\nFrom: demo/alpha\n\nx",
    ),
    "parse_issues": (
        b'{"id":"de-1","title":"t","status":"open","priority":1,' + LINK + b"}\n",
        b'{"_type":"memory"}\n{"id": 3}\nnull\n[]\n',
    ),
    "parse_item": (
        b'{"id":"de-1","title":"t","status":"open","priority":1,"labels":["a"]}',
        b'{"id": "de-1", "pinned": true}',
    ),
    "decode_answer": (
        b'[{"id":"de-1","title":"t","status":"open","dependents":[{"id":"de-2","dependency_type":"parent-child"}]}]',
        b'{"error": "no issues found matching the provided IDs"}\nError fetching de-1: no issue found matching "de-1"',
        b"bd version 1.0.5 (dev)\n",
    ),
    "decode_gt": (
        b"Reusing idle polecat: rust\n\xe2\x9c\x93 Work attached to hook (status=hooked)\n",
        b"\xe2\x97\x8b Bead de-1 is already hooked to demo/polecats/rust, no-op\n",
        b"Error: formula not found: parsing formula: read mol-polecat-work: open x\n",
    ),
    "decode_inbox": (
        b'[{"id":"hq-1","from":"demo/rust","subject":"HELP","body":"b","timestamp":"2026-11-20T10:00:00Z"}]',
        b'[{"id":"gm-1","sender":"t","title":"s","description":"b","created_at":"2026-11-20T10:00:00Z"}]\nnull\n',
    ),
    "decode_archive": (
        b"  Error: hq-2: message not found\n\xe2\x9a\xa0 Archived 1/2 messages\n",
        b'{"acknowledged":["hq-1"],"errors":["hq-2: already acknowledged"]}',
    ),
    "decode_convoys": (
        b'[{"id":"hq-cv-1","description":"tracking de-1","dependencies":[{"type":"tracks","depends_on_id":"a:de-1"}]}]',
    ),
    "decode_merges": (b'[{"ID":"de-wisp-1","Branch":"polecat/rust/de-1@x"}]', b"null\n"),
    "decode_deacon": (b'{"running": true, "paused": false, "heartbeat": {"very_stale": true}}',),
    "read_sling_label": (b"witness:h1-0123:951782400", b"witness:handed-over"),
    "load_memory": (w.dump_memory(FULL).encode(), w.dump_memory(w.Memory()).encode()),
    "import_first": (
        b'{"rig_name":"demo","config":{"max_workers":0,"auto_spawn":false},"spawned_issues":["nudge:a"],"stats":{}}',
    ),
    "parse_rfc3339": (b"2025-06-01T00:00:00.123456789+01:00", b"2024-02-29T23:59:60Z"),
    "parse_setting": (b'["a", "b"]', b"1e400", b"true", b"a,b", b"30"),
    "is_interactive_shell": (b"bash --rcfile x -i", b"-zsh"),
}
KINDS = tuple(SAMPLES)
ODD = (b"\0", b"\xff", b"\x1b[2J", b"\n", b"\t", b"-1", b"9" * 400, b"{", b"[" * 40, b'"', b"\\ud800", b"\xe2\x80\xae")


def as_text(data: bytes) -> str:
    """Return bytes as a tool's output is read."""
    return data.decode("utf-8", "surrogateescape")


def read_mail(data: bytes) -> None:
    """Read a message, and what it asks for, and write it again."""
    mail = w.parse_mail("id", data, 1.0)
    w.read_ask(mail, "demo", ("mayor",))
    w.render_mail(mail.sender, "mayor/", mail.subject, mail.body, 1.0, "k")


def read_answer(data: bytes) -> None:
    """Read what bd may have printed, on both streams and with either status; an error never means "nothing"."""
    for status in (0, 1):
        ran = w.Ran(argv=("bd", "show"), status=status, out=data, err=data[::-1])
        answer = w.decode_answer(ran)
        w.decode_children(ran)
        w.decode_version(ran)
        if status and answer.kind == "issues":
            raise AssertionError(f"{data!r} with status 1 means {answer}")


def ran_as(data: bytes) -> tuple:
    """Return how a call ended that printed this: well, badly, and not at all."""
    gone = {"status": None, "failure": "no answer within 20 s"}
    ends = ({"status": 0}, {"status": 1}, gone)
    return tuple(w.Ran(**{"argv": ("gt",), "out": data, "err": data[::-1], "failure": "", **end}) for end in ends)


def read_done(data: bytes) -> None:
    """Read what a call of gt that does something printed; only a status of 0 is done."""
    for ran in ran_as(data):
        answer = w.decode_gt(ran)
        if (answer.kind == w.DONE) != ran.ok or (answer.worker and not w.is_polecat_name(answer.worker)):
            raise AssertionError(f"{ran} means {answer}")


def read_inbox(data: bytes) -> None:
    """Read an inbox, and what each mail asks for; an error is never an empty one."""
    for ran in ran_as(data):
        inbox = w.decode_inbox(ran)
        for mail in inbox.mails:
            w.read_ask(mail, "demo", ("mayor",))
        if not ran.ok and inbox.kind == "mails":
            raise AssertionError(f"{ran} means {inbox}")


def read_archived(data: bytes) -> None:
    """Read which of two mails are archived; none is by a call that never ended."""
    for ran in ran_as(data):
        done = w.decode_archive(ran, ("hq-1", "hq-2"))
        if not set(done) <= ({"hq-1", "hq-2"} if not ran.failure else set()):
            raise AssertionError(f"{ran} archived {done}")


def read_known(decode):
    """Return a reader of what is known or not; out of an error nothing is known."""

    def read(data: bytes) -> None:
        for ran in ran_as(data):
            known = decode(ran)
            if not ran.ok and known is not None:
                raise AssertionError(f"{ran} means {known!r}")

    return read


def read_memory(data: bytes) -> None:
    """Read a memory; what can be read can be written and read again."""
    memory = w.load_memory(as_text(data))
    w.load_memory(w.dump_memory(memory))


def read_settings(data: bytes) -> None:
    """Read a value as one setting of each kind."""
    for name in ("interval", "max_workers", "auto_spawn", "agent_command", "on_dead", "epic_id"):
        w.parse_setting(name, as_text(data), "--set")


def clean(data: bytes) -> None:
    """Make a text fit to be shown; nothing in it may reach a terminal as more than text."""
    for text in (w.clean_line(as_text(data)), *w.clean_text(as_text(data)).split("\n"), w.plain(as_text(data))):
        if not text.isprintable():
            raise AssertionError(f"{text!r} is not clean")


# How each parser is fed, and what it may raise.
PARSERS = {
    "parse_panes": (lambda data: w.parse_panes(as_text(data)), ()),
    "parse_proc_stat": (w.parse_proc_stat, ()),
    "parse_meminfo": (w.parse_meminfo, ()),
    "parse_gitfile": (w.parse_gitfile, ()),
    "parse_head": (w.parse_head, ()),
    "parse_status": (w.parse_status, (ValueError,)),
    "list_made": (w.list_made, ()),
    "parse_mail": (read_mail, ()),
    "parse_issues": (lambda data: w.parse_issues(as_text(data)), ()),
    "parse_item": (lambda data: w.parse_item(json.loads(as_text(data))), (ValueError, RecursionError)),
    "decode_answer": (read_answer, ()),
    "decode_gt": (read_done, ()),
    "decode_inbox": (read_inbox, ()),
    "decode_archive": (read_archived, ()),
    "decode_convoys": (read_known(w.decode_convoys), ()),
    "decode_merges": (read_known(w.decode_merges), ()),
    "decode_deacon": (read_known(w.decode_deacon), ()),
    "read_sling_label": (lambda data: w.read_sling_label(as_text(data)), ()),
    "load_memory": (read_memory, (ValueError, RecursionError, w.StateError)),
    "import_first": (lambda data: w.import_first(as_text(data)), (ValueError, RecursionError)),
    "parse_rfc3339": (lambda data: w.parse_rfc3339(as_text(data)), (ValueError,)),
    "parse_setting": (read_settings, (w.ConfigError,)),
    "is_interactive_shell": (lambda data: w.is_interactive_shell(tuple(as_text(data).split())), ()),
    "clean": (clean, ()),
    "fit": (lambda data: w.fit(w.plain(as_text(data)), 20), ()),
}


def spoil(chance: random.Random, name: str) -> bytes:
    """Return a sample, mostly one that the parser is meant for, with a few things done to it that nobody would do."""
    kind = name if name in SAMPLES and chance.random() < 0.75 else chance.choice(KINDS)
    data = bytearray(chance.choice(SAMPLES[kind]))
    for _ in range(chance.randrange(6)):
        at = chance.randrange(len(data) + 1)
        how = chance.randrange(5)
        if how == 0:
            data[at:at] = chance.choice(ODD)
        elif how == 1:
            del data[at : at + chance.randrange(1, 30)]
        elif how == 2:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 3:
            data += chance.choice(SAMPLES[chance.choice(KINDS)])[at:]
        else:
            data[at:at] = data[at : at + chance.randrange(1, 20)]
    return bytes(data)


def feed(count: int, seed: int) -> list:
    """Feed so many inputs, to each parser in turn; return (parser, input, exception) of what was not declared."""
    chance = random.Random(seed)
    found = []
    names = list(PARSERS)
    for number in range(count):
        name = names[number % len(names)]
        data = spoil(chance, name)
        parse, declared = PARSERS[name]
        try:
            parse(data)
        except declared:
            continue
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            found.append((name, data, f"{type(error).__name__}: {error}"))
    return found


def main(words) -> int:
    """Feed COUNT inputs drawn by SEED and print what was found."""
    count = int(words[0]) if words else 1_000_000
    seed = int(words[1]) if len(words) > 1 else random.SystemRandom().randrange(1_000_000)
    began = time.monotonic()
    found = feed(count, seed)
    for name, data, error in found[:20]:
        print(f"{name}({data!r}) raised {error}")
    spent = time.monotonic() - began
    print(f"{count} inputs, {len(PARSERS)} parsers, seed {seed}, {spent:.0f} s: {len(found)} undeclared exceptions")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[2:]))  # the first word is the archive, which is not needed here
