"""Dialects of `bd`: one row a version, chosen by what it says of itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools import recorded

import witness as w

VERSIONS = st.tuples(st.integers(0, 3), st.integers(0, 99), st.integers(0, 99))


def dialect(version: str) -> w.BdDialect:
    return w.choose_dialect("bd", tuple(int(part) for part in version.split(".")))[0]


def test_rows_stand_in_order_and_each_differs_from_the_one_before():
    rows = w.BD_DIALECTS
    assert [row.since for row in rows] == sorted({row.since for row in rows})
    for one, other in zip(rows, rows[1:]):
        assert one.but(since=other.since) != other


@pytest.mark.parametrize(
    ("version", "claims", "exclusive", "reopens", "deep"),
    [
        ("0.30.7", False, False, True, False),
        ("0.36.9", False, False, True, False),
        ("0.37.0", False, False, True, True),
        ("0.47.1", True, False, True, True),
        ("0.49.6", True, False, True, True),
        ("0.50.0", True, False, True, False),
        ("0.56.1", True, False, True, False),
        ("0.57.0", True, True, True, False),
        ("0.63.3", True, True, True, False),
        ("1.0.0", True, True, True, False),
        ("1.0.3", True, True, True, False),
        ("1.0.4", True, True, False, True),
        ("1.0.5", True, True, False, True),
    ],
)
def test_version_gets_its_row(version, claims, exclusive, reopens, deep):
    row = dialect(version)
    assert (row.claims, row.exclusive, row.reopens, row.deep) == (claims, exclusive, reopens, deep)


@given(VERSIONS)
def test_law_every_version_has_a_row_and_an_unknown_one_a_note(version):
    row, note = w.choose_dialect("bd", version)
    assert row.since <= version or row is w.BD_DIALECTS[0]
    assert bool(note) == (version > w.NEWEST_BD or version < w.BD_DIALECTS[0].since)
    assert not note or ".".join(map(str, version)) in note


@given(VERSIONS, VERSIONS)
def test_law_a_later_version_never_gets_an_earlier_row(one, other):
    if one <= other:
        assert w.choose_dialect("bd", one)[0].since <= w.choose_dialect("bd", other)[0].since


# What we call, beside the recordings in which the same words stand.
ASKED = {
    "ready: all": lambda row, one: w.ready_argv(row),
    "ready: below an epic": lambda row, one: w.ready_argv(row, one.argv[-1]),
    "list: in progress": lambda row, one: w.held_argv(row),
    "show": lambda row, one: w.show_argv(one.argv[2:3]),
    "show: two at once": lambda row, one: w.show_argv(one.argv[2:4]),
    "claim: won": lambda row, one: w.claim_argv(row, one.argv[2], "demo/witness@h1"),
    "release a claim": lambda row, one: w.release_argv(one.argv[2], False),
    "close": lambda row, one: w.close_argv(one.argv[2], "done"),
    "mark in progress without assignee": lambda row, one: w.keep_argv(one.argv[2]),
}


@pytest.mark.parametrize("note", ASKED)
def test_our_words_are_those_that_were_recorded(note):
    found = [one for one in recorded.EXCHANGES if one.note == note]
    assert len({one.version for one in found}) >= 3
    for one in found:
        row = dialect(one.version)
        if note.startswith("claim") and not row.claims:
            continue
        if note == "ready: below an epic" and not row.deep:
            assert ASKED[note](row, one) == one.argv[:5]
            continue
        assert ASKED[note](row, one) == one.argv, one.file


def test_no_value_is_taken_for_an_option():
    """An id begins with no dash; what may begin with one follows an option that takes a value."""
    for argv in (
        w.claim_argv(w.BD_DIALECTS[-1], "de-1", "--actor"),
        w.claim_argv(w.BD_DIALECTS[0], "de-1", "--actor"),
        w.close_argv("de-1", "--force"),
    ):
        place = max(argv.index(word) for word in ("--actor", "--force") if word in argv)
        assert argv[place - 1].startswith("--")
    assert not w.is_issue_id("--force")


def test_marked_issue_loses_its_mark_when_it_is_given_back():
    assert w.HANDED_OVER_LABEL in w.release_argv("de-1", True)
    assert w.HANDED_OVER_LABEL not in w.release_argv("de-1", False)


# ---- gt ------------------------------------------------------------------------------------------------------------


def town_dialect(version: str) -> w.GtDialect:
    return w.choose_dialect("gt", tuple(int(part) for part in version.split(".")))[0]


def test_rows_of_gt_stand_in_order_and_each_differs_from_the_one_before():
    rows = w.GT_DIALECTS
    assert [row.since for row in rows] == sorted({row.since for row in rows})
    for one, other in zip(rows, rows[1:]):
        assert one.but(since=other.since) != other


@given(VERSIONS)
def test_law_every_version_of_gt_has_a_row_and_an_unknown_one_a_note(version):
    row, note = w.choose_dialect("gt", version)
    assert row.since <= version or row is w.GT_DIALECTS[0]
    assert bool(note) == (version > w.NEWEST_GT or version < w.GT_DIALECTS[0].since)


TOWN_ASKED = {
    "inbox: empty": lambda row, one: w.inbox_argv(row, "demo/witness"),
    "mail: archive (closes)": lambda row, one: w.archive_argv(row, one.argv[3:4]),
    "mail: acknowledge (closes)": lambda row, one: w.archive_argv(row, one.argv[3:4]),
    "mail: archive several, one missing": lambda row, one: w.archive_argv(row, one.argv[3:]),
    "spawn: --create": lambda row, one: w.sling_argv(row, "demo", one.argv[5], "", ()),
    "nuke --force of the empty folder: puts the records right": lambda row, one: w.nuke_argv(
        "demo", one.argv[4].partition("/")[2]
    ),
}


@pytest.mark.parametrize("note", TOWN_ASKED)
def test_our_words_in_a_town_are_those_that_were_recorded(note):
    found = [one for one in recorded.TOWN_EXCHANGES if one.note == note]
    assert found
    for one in found:
        row = w.choose_dialect("gt", (0, 0, 1) if "seed" in one.file else tuple(map(int, one.version.split("."))))[0]
        assert set(TOWN_ASKED[note](row, one)) == set(one.argv), one.file


@pytest.mark.parametrize("version", ["0.2.6", "0.5.0", "1.0.1"])
def test_sling_names_the_rig_or_the_worker_and_makes_no_convoy(version):
    row = town_dialect(version)
    assert w.sling_argv(row, "demo", "de-1", "", ()) == ("gt", "sling", "de-1", "demo", "--no-convoy")
    argv = w.sling_argv(row, "demo", "de-1", "rust", ("--hook-raw-bead",))
    assert argv == ("gt", "sling", "de-1", "demo/polecats/rust", "--no-convoy", "--hook-raw-bead")


@pytest.mark.parametrize("one", [one for one in recorded.TOWN_EXCHANGES if one.note == "mail: send"], ids=recorded.name)
def test_mail_is_sent_as_it_was_recorded(one):
    row = w.choose_dialect("gt", (0, 0, 1) if "seed" in one.file else tuple(map(int, one.version.split("."))))[0]
    subject, body = one.argv[5], one.argv[7]
    assert w.send_argv(row, "demo/rust", "demo/witness", subject, body) == one.argv


@pytest.mark.parametrize(
    ("gt", "bd", "bad"),
    [
        ("1.0.1", "1.0.0", False),
        ("1.0.1", "1.0.5", True),
        ("0.5.0", "0.47.1", False),
        ("0.5.0", "0.50.0", True),
        ("0.2.6", "0.47.1", False),
        ("0.2.6", "0.43.0", True),
        ("0.2.6", "0.49.0", True),
        ("0.0.1", "0.30.7", False),
        ("0.0.1", "0.32.0", True),
    ],
)
def test_pairs_that_are_known_not_to_work_are_named(gt, bd, bad):
    why = w.find_bad_pair(*(tuple(map(int, one.split("."))) for one in (gt, bd)))
    assert bool(why) == bad
    assert not bad or (gt in why and bd in why)
