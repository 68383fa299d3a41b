"""Answers of `bd`: every recorded one means what is stated by hand, and no spoilt one means "nothing"."""

from __future__ import annotations

import collections
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import recorded
from tools.hostile import HOSTILE

import witness as w

KINDS = {"issues", w.MISSING, w.REFUSED, w.UNKNOWN}
DATA = [one for one in recorded.EXCHANGES if one.meaning.startswith("is ")]
ERRORS = [one for one in recorded.EXCHANGES if one.meaning.split()[0] in ("missing", "refused", "unknown")]


@pytest.mark.parametrize("one", recorded.EXCHANGES, ids=recorded.name)
def test_recorded_exchange_means_what_is_stated(one):
    if one.meaning.startswith("version "):
        version = w.decode_version(one.ran)
        assert version is not None
        assert ".".join(map(str, version)) == one.meaning.split()[1] == one.version
        return
    answer = w.decode_answer(one.ran)
    kind, _, reason = one.meaning.partition(" ")
    if kind in ("is", "nothing"):
        assert recorded.say(answer) == one.meaning
        assert not answer.bad
    else:
        assert answer.kind == kind
        assert reason in answer.reason
        assert not answer.issues


def test_every_kind_of_meaning_is_there_in_number():
    """396 exchanges, 396 meanings; what a table of them would show."""
    counts = collections.Counter(one.meaning.split()[0] for one in recorded.EXCHANGES)
    assert sum(counts.values()) == 396
    assert set(counts) == {"version", "nothing", "is", "missing", "refused", "unknown"}
    assert {one.version for one in recorded.EXCHANGES} == {"0.30.7", "0.47.1", "0.57.0", "1.0.0", "1.0.5"}
    assert min(counts.values()) >= 5, counts


@pytest.mark.parametrize("one", [one for one in DATA if one.note == "claim: won"], ids=recorded.name)
def test_won_claim_names_its_holder(one):
    (issue,) = w.decode_answer(one.ran).issues
    assert (issue.status, issue.assignee) == ("in_progress", "demo/witness@h1")


@pytest.mark.parametrize("one", [one for one in DATA if one.note == "show: epic"], ids=recorded.name)
def test_children_of_an_epic_are_read_where_show_lists_them(one):
    children = w.decode_children(one.ran)
    assert children is not None
    assert len(children) == (0 if one.version == "1.0.5" else 2)


@pytest.mark.parametrize("one", ERRORS, ids=recorded.name)
def test_children_out_of_an_error_are_unknown(one):
    assert w.decode_children(one.ran) is None


def test_the_first_priority_has_no_number_in_the_oldest_version():
    zero = next(one for one in DATA if one.version == "0.30.7" and one.note == "ready: all")
    assert "priority" not in json.loads(zero.out)[0]
    assert w.decode_answer(zero.ran).issues[0].priority == 0


def test_order_is_kept():
    for one in DATA:
        assert [issue.rank for issue in w.decode_answer(one.ran).issues] == list(range(len(one.meaning.split()) - 1))


# ---- spoilt answers ------------------------------------------------------------------------------------------------


def ran(out=b"", err=b"", status=0, failure=""):
    return w.Ran(argv=("bd", "ready"), status=status, out=out, err=err, failure=failure)


OTHERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    HOSTILE,
    st.just([]),
    st.just({}),
    st.just([[]]),
    st.just({"data": []}),
    st.just({"error": "database is locked"}),
)


def mangled(content, draw, left=3):
    """Return JSON content with a few of its places changed: other types, null, one level down, keys renamed."""
    how = draw(st.sampled_from(("deeper", "deeper", "deeper", "other", "wrap", "rename", "drop", "twice")))
    if how == "other" or not left:
        return draw(OTHERS)
    if how == "wrap":
        return {"data": content}
    if isinstance(content, list) and content:
        place = draw(st.integers(0, len(content) - 1))
        if how == "twice":
            return [*content, content[place]]
        rest = [] if how == "drop" else [mangled(content[place], draw, left - 1)]
        return content[:place] + rest + content[place + 1 :]
    if isinstance(content, dict) and content:
        key = draw(st.sampled_from(sorted(content)))
        rest = {name: value for name, value in content.items() if name != key}
        if how == "drop":
            return rest
        if how == "rename":
            return {**rest, draw(st.sampled_from([key.upper(), f"{key}s", "data", "error", "_type"])): content[key]}
        return {**rest, key: mangled(content[key], draw, left - 1)}
    return draw(OTHERS)


def check(answer: w.BdAnswer) -> None:
    """Hold an answer to what every answer is."""
    assert answer.kind in KINDS
    assert all(isinstance(issue, w.Issue) and w.is_issue_id(issue.id) for issue in answer.issues)
    assert answer.kind == "issues" or not answer.issues
    assert answer.kind != w.UNKNOWN or answer.reason
    assert answer.reason.isprintable()


@given(st.sampled_from(recorded.EXCHANGES), st.data())
def test_law_a_cut_answer_is_whole_or_unknown(one, data):
    raw = one.out.encode()
    at = data.draw(st.integers(0, max(0, len(raw) - 1)))
    answer = w.decode_answer(one.ran.but(out=raw[:at]))
    check(answer)
    if raw[:at].strip() != raw.strip() and one.meaning.startswith("is "):
        assert answer.kind == w.UNKNOWN


@given(st.sampled_from(recorded.EXCHANGES), st.data())
def test_law_changed_json_is_a_value_or_unknown(one, data):
    try:
        content = json.loads(one.out)
    except ValueError:
        return
    text = json.dumps(mangled(content, data.draw))
    answer = w.decode_answer(one.ran.but(out=text.encode("utf-8", "surrogatepass")))
    check(answer)
    w.decode_children(one.ran.but(out=text.encode("utf-8", "surrogatepass")))
    if one.status:
        assert answer.kind != "issues"
    if answer.kind == "issues" and not answer.issues:
        assert text in ("null", "[]", '{"data": null}', '{"data": []}')


@given(st.sampled_from(ERRORS), st.binary(max_size=60), st.binary(max_size=60))
def test_law_an_error_is_never_nothing(one, before, after):
    """Whatever else is printed around it; the oldest say some errors with status 0 and an empty standard output."""
    if one.status or not one.out:
        answer = w.decode_answer(one.ran.but(err=before + b"\n" + one.err.encode() + b"\n" + after))
        check(answer)
        assert answer.kind != "issues" or not one.err.startswith("Error") or one.out


@given(st.binary(max_size=200), st.binary(max_size=80), st.sampled_from([0, 1, 2, -9, None]))
def test_law_any_bytes_are_a_value_or_unknown(out, err, status):
    answer = w.decode_answer(ran(out, err, status))
    check(answer)
    assert status == 0 or answer.kind != "issues"
    w.decode_children(ran(out, err, status))
    w.decode_version(ran(out, err, status))


@given(
    st.sampled_from(DATA), st.lists(st.text(max_size=30).filter(lambda text: text.strip()[:1] not in ("[", "{", "n")))
)
def test_law_warnings_before_an_answer_change_nothing(one, lines):
    lines = [" ".join(line.split()) for line in lines]
    noisy = "".join(f"{line}\n" for line in lines if line[:1] not in ("[", "{")) + one.out
    answer = w.decode_answer(one.ran.but(out=noisy.encode("utf-8", "surrogatepass")))
    assert recorded.say(answer) in (one.meaning, w.UNKNOWN)


@given(st.sampled_from(DATA))
def test_law_an_answer_one_level_down_is_the_same(one):
    text = json.dumps({"data": json.loads(one.out), "schema_version": 2})
    if "data" not in json.loads(one.out):
        assert recorded.say(w.decode_answer(one.ran.but(out=text.encode()))) == one.meaning


@pytest.mark.parametrize(
    ("out", "kind"),
    [
        (b"", w.UNKNOWN),
        (b"\n", w.UNKNOWN),
        (b"null\n", "issues"),
        (b"[]", "issues"),
        (b"[null]", w.UNKNOWN),
        (b"[[]]", w.UNKNOWN),
        (b"{}", w.UNKNOWN),
        (b'{"data": null}', "issues"),
        (b'{"data": {"error": "no"}}', w.UNKNOWN),
        (b'{"error": "database is locked"}', w.UNKNOWN),
        (b'[{"ID": "de-1", "Title": "renamed keys"}]', w.UNKNOWN),
        (b'[{"id": "de-1", "priority": "high"}]', w.UNKNOWN),
        (b'[{"id": "../../etc"}]', w.UNKNOWN),
        (b'[{"id": "-rf"}]', w.UNKNOWN),
        (b"[" * 100000, w.UNKNOWN),
        (b"\xff\xfe[]", w.UNKNOWN),
        (b"1" * 5000, w.UNKNOWN),
    ],
)
def test_what_is_nothing_and_what_cannot_be_known(out, kind):
    answer = w.decode_answer(ran(out))
    check(answer)
    assert (answer.kind, answer.issues) == (kind, ())


def test_item_that_cannot_be_read_is_told_and_the_others_count():
    answer = w.decode_answer(ran(b'[{"id": "de-1", "title": "x"}, {"id": 7}, {"id": "de-1", "title": "again"}]'))
    assert [issue.title for issue in answer.issues] == ["x"]
    assert answer.bad == ("item 2: no issue id: '7'",)


def test_null_beside_a_complaint_is_not_nothing():
    assert w.decode_answer(ran(b"null\n", b"Error: database is locked")).kind == w.UNKNOWN


def test_more_than_may_be_read_is_unknown():
    answer = w.decode_answer(ran(status=None, failure="printed more than 67108864 bytes"))
    assert (answer.kind, answer.reason) == (w.UNKNOWN, "printed more than 67108864 bytes")


@pytest.mark.parametrize(
    ("out", "err", "said"),
    [
        (b"", b"Warning: permissions 0755\nError: it is broken\nhint", "Error: it is broken"),
        (b'{"error": "on stdout"}', b"Warning: x", "on stdout"),
        (
            b"",
            b'Warning: x\n{\n "error": "failed to open database: down\\nmore"\n}\n',
            "failed to open database: down more",
        ),
        (b"", b"something odd", "something odd"),
        (b"", b"", ""),
    ],
)
def test_complaint_is_found_among_the_noise(out, err, said):
    assert w.find_complaint(ran(out, err, 1)) == said


# ---- gt ------------------------------------------------------------------------------------------------------------

TOWN = recorded.TOWN_EXCHANGES
INBOXES = [one for one in TOWN if one.meaning.startswith("mails")]
ARCHIVED = [one for one in TOWN if one.meaning.startswith("archived")]


@pytest.mark.parametrize("one", TOWN, ids=recorded.name)
def test_recorded_exchange_in_a_town_means_what_is_stated(one):
    meaning, _, reason = one.meaning.partition(": ") if one.meaning.split()[0] in w_kinds() else (one.meaning, "", "")
    assert recorded.say_town(one) == meaning
    if reason:
        told = w.decode_inbox(one.ran) if one.argv[2:3] == ("inbox",) else w.decode_gt(one.ran)
        assert reason in told.reason


def w_kinds() -> set:
    return {w.UNKNOWN, w.MISSING, w.REFUSED} | {f"{kind}:" for kind in (w.UNKNOWN, w.MISSING, w.REFUSED)}


def test_every_kind_of_meaning_in_a_town_is_there():
    counts = collections.Counter(one.meaning.split()[0].rstrip(":") for one in TOWN)
    assert sum(counts.values()) == 181
    assert set(counts) == {"version", "mails", "archived", "done", "missing", "refused", "unknown"}
    assert {one.version for one in TOWN if one.argv[0] == "gt"} == {"0.0.1", "0.2.6", "0.5.0", "1.0.1"}


@pytest.mark.parametrize("one", INBOXES, ids=recorded.name)
def test_mails_come_oldest_first_with_their_senders_and_times(one):
    mails = w.decode_inbox(one.ran).mails
    assert [mail.at for mail in mails] == sorted(mail.at for mail in mails)
    assert all(mail.at > w.parse_rfc3339("2026-11-01T00:00:00Z") for mail in mails)
    assert all(mail.subject.isprintable() and "\x1b" not in mail.body for mail in mails)


def test_mail_that_is_archived_already_or_gone_counts_as_archived_and_no_other():
    def settled(text, status=1, mails=("hq-1", "hq-2")):
        return w.decode_archive(ran(text.encode(), status=status), mails)

    assert settled("✓ Message archived", 0) == ("hq-1", "hq-2")
    assert settled("⚠ Archived 1/2 messages\n  Error: hq-2: message not found\n") == ("hq-1", "hq-2")
    assert settled("⚠ Archived 1/2 messages\n  Error: hq-2: database is locked\n") == ("hq-1",)
    assert settled("⚠ Archived 0/2 messages\n  Error: hq-2: database is locked\n") == ()  # half of it was lost
    assert settled("Error: not in a Gas Town workspace") == ()
    assert settled('{"acknowledged": ["hq-1"], "errors": ["hq-2: database is locked"]}', 0) == ("hq-1",)
    assert w.decode_archive(ran(b"", failure="no answer within 20 s"), ("hq-1",)) == ()


def test_mail_without_a_time_or_of_another_form_is_no_mail():
    whole = {"id": "hq-1", "from": "demo/a", "subject": "HELP", "body": "", "timestamp": "2026-11-22T11:43:41Z"}
    for change in ({"timestamp": None}, {"timestamp": "soon"}, {"id": "-x"}, {"id": 7}, {"body": ["x"]}):
        inbox = w.decode_inbox(ran(json.dumps([{**whole, **change}]).encode()))
        assert (inbox.kind, inbox.mails) == (w.UNKNOWN, ())
        inbox = w.decode_inbox(ran(json.dumps([whole, {**whole, "id": "hq-2", **change}]).encode()))
        assert [mail.id for mail in inbox.mails] == ["hq-1"]
        assert len(inbox.bad) == 1


@given(st.data())
def test_spoilt_inbox_is_mails_or_unknown_and_never_empty_out_of_an_error(data):
    one = data.draw(st.sampled_from([one for one in INBOXES if len(one.meaning) > 6]))
    content = mangled(json.loads(one.out), data.draw)
    inbox = w.decode_inbox(ran(json.dumps(content).encode("utf-8", "surrogateescape")))
    known = {mail["id"] for mail in json.loads(one.out)}
    assert inbox.kind in ("mails", w.UNKNOWN)
    assert not inbox.mails or inbox.kind == "mails"
    if inbox.kind == "mails" and not inbox.mails:
        assert content in (None, [], {"data": None}, {"data": []})
    assert len({mail.id for mail in inbox.mails} - known) <= 1


@given(st.sampled_from(TOWN), st.integers(0, 4000), st.sampled_from((0, 1, 2, None)))
def test_cut_answer_of_gt_has_a_meaning(one, at, status):
    out = one.out.encode()
    failure = "" if status is not None else "it hung"
    spoilt = w.Ran(argv=one.argv, status=status, out=out[:at], err=one.err.encode(), failure=failure)
    assert w.decode_gt(spoilt).kind in (w.DONE, w.MISSING, w.REFUSED, w.UNKNOWN)
    if status is None:
        assert w.decode_gt(spoilt).kind == w.UNKNOWN
        assert w.decode_archive(spoilt, ("hq-1",)) == ()
    inbox = w.decode_inbox(spoilt)
    if one.argv[2:3] == ("inbox",) and at < len(out.rstrip()):
        assert inbox.kind == w.UNKNOWN
    assert isinstance(w.decode_archive(spoilt, ("hq-1",)), tuple)


@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from((0, 1)))
def test_garbage_of_gt_has_a_meaning(out, err, status):
    spoilt = ran(out, err, status)
    assert w.decode_gt(spoilt).kind in (w.DONE, w.MISSING, w.REFUSED, w.UNKNOWN)
    assert w.is_polecat_name(w.decode_gt(spoilt).worker or "x")
    assert w.decode_inbox(spoilt).kind in ("mails", w.UNKNOWN)
    assert set(w.decode_archive(spoilt, ("a", "b"))) <= {"a", "b"}


def test_hundred_megabytes_of_mail_are_no_trouble():
    row = {"id": "hq-1", "from": "demo/a", "subject": "x", "body": "y" * 1000, "timestamp": "2026-11-22T11:43:41Z"}
    many = json.dumps([{**row, "id": f"hq-{place}"} for place in range(20000)]).encode()
    assert len(w.decode_inbox(ran(many)).mails) == 20000


def test_what_gt_hands_on_of_bd_is_the_error_and_not_its_standing_warnings():
    """With the database away, `status` said that a folder's mode was wrong."""
    warning = "Warning: $TOWN/.beads has permissions 0755 (recommended: 0700). Run: chmod 700 $TOWN/.beads"
    err = f'Error: listing messages: {warning}\n{warning}\n{{\n  "error": "Dolt server unreachable"\n}}\nUsage:\n  gt\n'
    assert w.find_complaint(ran(err=err.encode(), status=1)) == "Dolt server unreachable"
    err = f"Error: all sends failed: {warning}\nError: Dolt server unreachable at 127.0.0.1:3307\n"
    said = w.find_complaint(ran(err=err.encode(), status=1))
    assert said == "Error: all sends failed: Error: Dolt server unreachable at 127.0.0.1:3307"
    assert w.find_complaint(ran(err=f"{warning}\n".encode(), status=1)) == warning
    assert w.find_complaint(ran(err=b"Error: plain\nUsage: x\n", status=1)) == "Error: plain"


def test_garbage_of_empty_lines_is_read_in_no_time():
    """Each line start once looked at all that followed: a tool that prints 1 GB of them stopped the daemon for good."""
    ran = w.Ran(argv=(), status=0, out=b"\n" * 200_000, err=b"", failure="")
    began = time.monotonic()
    assert w.decode_answer(ran).kind == w.UNKNOWN
    assert w.decode_version(ran) is None
    assert w.decode_archive(ran.but(status=1), ["hq-1"]) == ()
    assert time.monotonic() - began < 10


# ---- nothing, and a complaint ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "err"),
    [
        ("[]", "Error: database is locked\n"),
        ("null", "dial tcp 127.0.0.1:3307: connect: connection refused\n"),
        ("[]", "Warning: old\nfatal: no database\n"),
        ('{"data": null, "error": "database is locked"}', ""),
        ('{"data": [], "error": "database is locked"}', ""),
        ('{"data": [{"id": "de-1"}], "error": "cut short"}', ""),
    ],
)
def test_nothing_beside_a_complaint_is_not_known(out, err):
    ran = w.Ran(argv=("bd", "list"), status=0, out=out.encode(), err=err.encode(), failure="")
    assert w.decode_answer(ran).kind == w.UNKNOWN
    assert w.decode_inbox(ran).kind == w.UNKNOWN


@pytest.mark.parametrize("out", ["[]", "null", '{"data": [], "schema_version": 1}', '{"data": null, "error": null}'])
@pytest.mark.parametrize("err", ["", "Warning: bd is old\n", "note: no Error: here\n"])
def test_nothing_without_a_complaint_is_nothing(out, err):
    ran = w.Ran(argv=("bd", "list"), status=0, out=out.encode(), err=err.encode(), failure="")
    assert (w.decode_answer(ran).kind, w.decode_answer(ran).issues) == ("issues", ())
    assert (w.decode_inbox(ran).kind, w.decode_inbox(ran).mails) == ("mails", ())


@pytest.mark.parametrize("out", ["[]", "null"])
def test_nothing_with_the_word_that_it_is_missing_says_what_is_missing(out):
    ran = w.Ran(argv=(), status=0, out=out.encode(), err=b'Error: no issue found matching "de-9"\n', failure="")
    answer = w.decode_answer(ran)
    assert (answer.issues, answer.missing) == ((), ("de-9",))
