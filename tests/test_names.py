"""What a string must look like before it becomes a path, a ref or a target."""

from __future__ import annotations

import datetime
import itertools
import os
import shlex
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w

NASTY = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "-x",
    "a b",
    "a\nb",
    "a\x00b",
    "a\x1b[31m",
    "x" * 65,
    "é",
    "witness",
    "refinery",
    "mayor",
    "deacon",
    "crew",
]


@pytest.mark.parametrize("name", NASTY)
def test_nasty_string_is_no_polecat_name(name):
    assert not w.is_polecat_name(name)


@pytest.mark.parametrize("name", ["alpha", "A1", "de-9lx", "x_y", "0", "x" * 64])
def test_plain_name_is_one(name):
    assert w.is_polecat_name(name)


@pytest.mark.parametrize("text", [*NASTY[:10], "é", "a..b", "x.lock", "x.", "x" * 129])
def test_nasty_string_is_no_issue_id(text):
    assert not w.is_issue_id(text)


@given(st.text(max_size=80))
def test_what_passes_as_a_name_stays_in_its_folder(text):
    for passes in (w.is_polecat_name, w.is_issue_id):
        if passes(text):
            assert os.path.normpath(os.path.join("/top", text)) == f"/top/{text}"
            assert not text.startswith("-")


@given(st.text(max_size=80))
def test_what_passes_as_an_address_is_one_folder(text):
    try:
        folder = w.address_folder(text)
    except w.UsageError:
        return
    assert os.path.dirname(os.path.normpath(os.path.join("/mail", folder))) == "/mail"


@given(st.text(min_size=1, max_size=140))
def test_issue_suggests_a_good_name(text):
    if w.is_issue_id(text):
        assert w.is_polecat_name(w.name_for_issue(text))


def test_free_name_counts_on():
    assert w.free_name("a", {"a", "a-2"}) == "a-3"
    assert w.free_name("a", ()) == "a"


def test_session_is_named_as_tmux_keeps_it():
    assert w.session_for("gt-{rig}-{name}", "my.rig:x", "a") == "gt-my_rig_x-a"


@given(st.text())
def test_clean_line_lets_no_control_character_through(text):
    line = w.clean_line(text)
    assert line.isprintable()
    assert len(line) <= 200


@pytest.mark.parametrize(
    ("text", "clean"),
    [("a\x1b[31mred\x1b[0m b", "ared b"), ("t\x1b]0;title\x07x", "tx"), ("a\r\nb\tc", "a b c"), ("\x9b31mx", "31mx")],
)
def test_escape_sequences_are_taken_out(text, clean):
    assert w.clean_line(text) == clean


@given(st.text())
def test_clean_text_keeps_only_lines(text):
    assert all(line.isprintable() for line in w.clean_text(text).split("\n"))


@pytest.mark.parametrize(
    "secret",
    [
        "token=abcdef123456",
        "Authorization: Bearer abcdef123456",
        "sk-abcdefghijklmnop12",
        "password: hunter2hunter2",
        "ghp_abcdefghijkl0123",
    ],
)
def test_secrets_are_masked(secret):
    masked = w.mask_secrets(f"x {secret} y")
    assert "[masked]" in masked
    assert "123456" not in masked
    assert masked.startswith("x ")


@given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2200, 1, 1)))  # noqa: DTZ001
def test_stamps_agree_with_datetime(moment):
    at = moment.replace(tzinfo=datetime.timezone.utc).timestamp()
    text = w.rfc3339(at)
    read = datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    assert abs(read - at) < 0.0011
    assert abs(w.parse_rfc3339(text) - at) < 0.0011
    assert w.time_id(at) == datetime.datetime.fromtimestamp(int(at), datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("", 0.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("2024-02-29T12:00:00+02:00", 1709200800.0),
        ("2026-11-22T11:53:54.250Z", 1795348434.25),
        ("2026-11-22 11:53:54-01:30", 1795353834.0),
    ],
)
def test_stamps_are_read(text, at):
    assert w.parse_rfc3339(text) == at


@given(st.text(max_size=30))
def test_no_stamp_is_a_value_error(text):
    try:
        w.parse_rfc3339(text)
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (60, "1m"), (3661, "1h01m"), (90000, "1d1h"), (-5, "0s")]
)
def test_spans_read_short(seconds, text):
    assert w.span(seconds) == text


# ---- names as paths, refs and targets, letter by letter -------------------------------------------------------------

# Made of what has broken out of folders, lines and options before.
NEAR_NAMES = st.lists(
    st.sampled_from(
        [
            "a",
            "Z",
            "9",
            "_",
            "-",
            ".",
            "..",
            "/",
            "\\",
            "~",
            "\n",
            "\r",
            "\0",
            "\x1b",
            "\x7f",
            "\x85",
            " ",
            "é",
            "\u2028",
            "\ud800",
            "${x}",
            "%2e",
            ".lock",
            "@{",
        ]
    ),
    max_size=6,
).map("".join)
GOOD_NAMES = st.text("abcXYZ019_-", min_size=1, max_size=12).filter(w.is_polecat_name)


@given(NEAR_NAMES)
def test_a_name_is_made_of_plain_letters_alone(text):
    for passes, also in ((w.is_polecat_name, "_-"), (w.is_issue_id, "_-.")):
        if passes(text):
            assert all(char.isascii() and (char.isalnum() or char in also) for char in text)
            assert os.path.normpath(f"/top/{text}") == f"/top/{text}"
            assert text[0] not in "-._"
            assert not text.endswith((".lock", "."))


@pytest.mark.parametrize("char", [chr(code) for code in (*range(33), *range(127, 160))])
def test_no_control_character_is_part_of_a_name(char):
    for text in (char, f"a{char}", f"a{char}b", f"{char}a"):
        assert not w.is_polecat_name(text)
        assert not w.is_issue_id(text)


@pytest.mark.parametrize("text", ["de-9lx", "de-9lx.2", "A", "0", "a.b.c", "x" * 128, "x_y", "alpha-1"])
def test_plain_id_is_one(text):
    assert w.is_issue_id(text)


@pytest.mark.parametrize(
    "text", ["x" * 300, "-x", ".x", "_x", "a..b", "..", ".", "a/b", "x.lock", "", "a:b", "a b", "a\\b"]
)
def test_other_strings_are_no_id(text):
    assert not w.is_issue_id(text)


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("demo/alpha", "demo.alpha"),
        ("mayor/", "mayor"),
        ("/mayor", "mayor"),
        ("demo/witness", "demo.witness"),
        ("demo/polecats/alpha", "demo.polecats.alpha"),
        ("größe/x", "größe.x"),
        ("me@host", "me@host"),
    ],
)
def test_address_is_one_folder(address, folder):
    assert w.address_folder(address) == folder


@pytest.mark.parametrize(
    "address",
    ["", "/", "..", "../x", "a/../b", "a//b", ".hidden", "./a", "a\n", "a\0b", "a b", "x" * 202, "a\\b", "a:b"],
)
def test_what_is_no_address_is_refused_in_one_clean_line(address):
    with pytest.raises(w.UsageError) as error:
        w.address_folder(address)
    assert error.value.line().isprintable()
    assert error.value.status == 2


@given(NEAR_NAMES)
def test_no_address_leads_out_of_its_folder(text):
    try:
        folder = w.address_folder(text)
    except w.UsageError:
        return
    assert "/" not in folder
    assert folder not in ("", ".", "..")
    assert folder.isprintable()


@given(
    st.one_of(
        st.text("aZ9._-", min_size=1, max_size=128).filter(w.is_issue_id), st.sampled_from(sorted(w.NOT_POLECATS))
    )
)
def test_any_id_suggests_a_name_and_never_a_reserved_one(issue):
    name = w.name_for_issue(issue)
    assert w.is_polecat_name(name)
    assert w.is_polecat_name(w.free_name(name, {name}))


@given(GOOD_NAMES, st.sets(st.sampled_from(["a", "a-2", "a-3", "b", "b-2"])))
def test_free_name_is_free_and_the_wanted_one_where_it_can_be(name, taken):
    free = w.free_name(name, taken)
    assert free not in taken
    assert (free == name) == (name not in taken)


@given(st.text(max_size=20), GOOD_NAMES)
def test_no_session_name_holds_what_tmux_takes_for_a_target(rig, name):
    for template in ("gt-{rig}-{name}", "{name}", "x.{rig}:{name}.y"):
        session = w.session_for(template, rig, name)
        assert name in session
        assert not set(session) & set(".:")


# ---- text made clean ------------------------------------------------------------------------------------------------


def test_no_character_that_cannot_be_seen_comes_through():
    """C0, C1, bidi marks and overrides, zero widths, separators, surrogates, private and unassigned ones."""
    hidden = "".join(chr(code) for code in range(0x3000) if not chr(code).isprintable())
    hidden += "\ud800\udfff\ue000\ufeff\U000e0001"
    assert {"\x00", "\x1b", "\x7f", "\x9b", "\xad", "\u061c", "\u200b", "\u202e", "\u2028", "\u2066"} <= set(hidden)
    for char in hidden.replace("\x1b", ""):
        assert w.clean_line(f"a{char}b") == "a b"
    assert w.clean_line(hidden, 1 << 20) == ""
    assert w.clean_text(hidden, 1 << 20).strip("\n") == ""


ESCAPES = st.lists(st.sampled_from(["\x1b", "[", "]", "0", ";", "m", "\x07", "\\", "\x9b", "P", "\n", "x", "  "]))


@given(ESCAPES.map("".join))
def test_broken_escape_sequences_are_taken_out_too(text):
    line = w.clean_line(text)
    assert line.isprintable()
    assert w.clean_line(line) == line
    assert all(one.isprintable() for one in w.clean_text(text).split("\n"))


@given(st.text(), st.integers(1, 30))
def test_cleaning_twice_is_cleaning_once_and_limits_hold(text, limit):
    for clean in (w.clean_line, w.clean_text):
        assert clean(clean(text)).rstrip("\n") == clean(text).rstrip("\n")
        assert len(clean(text, limit)) <= limit


def test_text_keeps_lines_and_indents():
    assert w.clean_text("def f():\r\n    return\t1\n\n  \x1b[1mb\x1b[0m  c\n") == "def f():\n    return 1\n\n  b c"


def test_a_cut_line_says_that_it_was_cut():
    assert w.clean_line("x" * 11, 10) == "x" * 9 + "…"
    assert w.clean_line("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    "text",
    [
        "the token is gone",
        "secrets.py",
        "pass the salt",
        "authorization",
        "tokens: 5",
        "a bearer",
        "skate-park",
        "",
        "key=1",
    ],
)
def test_plain_words_are_not_masked(text):
    assert w.mask_secrets(text) == text


@given(st.text())
def test_masking_is_done_with_any_text(text):
    assert isinstance(w.mask_secrets(text), str)


def test_a_screen_full_of_blanks_does_not_stall_the_mask():
    """20,000 blanks after the word once took a quarter of a minute."""
    started_s = time.process_time()
    assert w.mask_secrets("token" + " " * 20000) == "token" + " " * 20000
    assert time.process_time() - started_s < 2


@given(st.text(st.characters(exclude_characters="\0")))
def test_a_shell_reads_one_word(text):
    assert shlex.split(w.shell_word(text)) == [text]


# ---- stamps against datetime ----------------------------------------------------------------------------------------

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
LAST_MS = int((datetime.datetime(2200, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 1000


@given(st.integers(1, LAST_MS))
def test_stamp_is_written_as_datetime_writes_it_and_read_back(at_ms):
    text = w.rfc3339(at_ms / 1000)
    moment = EPOCH + datetime.timedelta(milliseconds=at_ms)
    assert text == moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"
    assert w.parse_rfc3339(text) == pytest.approx(at_ms / 1000, abs=1e-6, rel=0)
    assert w.rfc3339(w.parse_rfc3339(text)) == text


def test_ends_of_months_are_the_calendars():
    for year, month in itertools.product(range(1970, 2201), range(1, 13)):
        last = (datetime.date(year + month // 12, month % 12 + 1, 1) - datetime.timedelta(days=1)).day
        for day in (1, last):
            moment = datetime.datetime(year, month, day, 23, 59, 59, tzinfo=UTC)
            at = moment.timestamp()
            assert w.utc(at) == (year, month, day, 23, 59, 59)
            assert w.time_id(at) == moment.strftime("%Y%m%dT%H%M%SZ")
            assert w.parse_rfc3339(moment.strftime("%Y-%m-%dT%H:%M:%SZ")) == at
        with pytest.raises(ValueError, match="no such day"):
            w.parse_rfc3339(f"{year}-{month:02d}-{last + 1:02d}T00:00:00Z")


@given(
    moment=st.datetimes(datetime.datetime(1970, 1, 3), datetime.datetime(2200, 1, 1)),  # noqa: DTZ001
    offset_min=st.integers(-1439, 1439),
    digits=st.integers(0, 6),
    between=st.sampled_from("Tt "),
    blank=st.sampled_from(["", " ", "\n"]),
)
def test_any_offset_and_fraction_is_read(moment, offset_min, digits, between, blank):
    zone = datetime.timezone(datetime.timedelta(minutes=offset_min))
    moment = moment.replace(microsecond=moment.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits), tzinfo=zone)
    sign, rest = "-" if offset_min < 0 else "+", divmod(abs(offset_min), 60)
    text = moment.strftime(f"%Y-%m-%d{between}%H:%M:%S")
    text += f".{moment.microsecond:06d}"[: digits + 1] if digits else ""
    text += f"{sign}{rest[0]:02d}:{rest[1]:02d}"
    assert w.parse_rfc3339(blank + text + blank) == pytest.approx(moment.timestamp(), abs=1e-6, rel=0)


@given(
    st.tuples(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)),
    st.tuples(st.integers(0, 25), st.integers(0, 61), st.integers(0, 61)),
    st.tuples(st.integers(0, 25), st.integers(0, 61)),
)
def test_what_is_no_moment_for_datetime_is_no_stamp(date, clock, offset):
    (year, month, day), (hour, minute, second) = date, clock
    text = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}+{offset[0]:02d}:{offset[1]:02d}"
    try:
        leap = second == 60  # RFC 3339 has it, datetime has not
        plain = datetime.datetime(year or 4, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
        good = offset[0] < 24 and offset[1] < 60
    except ValueError:
        good = False
    if not good:
        with pytest.raises(ValueError, match=r"no RFC 3339 stamp|no such day"):
            w.parse_rfc3339(text)
    elif year:
        shift_s = (offset[0] * 60 + offset[1]) * 60
        assert w.parse_rfc3339(text) == (plain - EPOCH).total_seconds() + leap - shift_s


@pytest.mark.parametrize(
    "text",
    [
        "now",
        "2026-11-22",
        "2026-11-22T11:53",
        "1795348434",
        "2026-02-30T00:00:00Z",
        "2026-11-22T24:00:00Z",
        "\uff12\uff10\uff12\uff16-11-22T00:00:00Z",
        "2026-11-22T11:53:54+2",
        "2026-11-22T11:53:54 UTC",
        "2026-11-22T11:53:54.Z",
        "-001-01-01T00:00:00Z",
        "x" * 10000,
    ],
)
def test_garbage_is_a_value_error_that_quotes_little_of_it(text):
    with pytest.raises(ValueError, match="no ") as error:
        w.parse_rfc3339(text)
    assert len(str(error.value)) < 100


@pytest.mark.parametrize("at", [1e18, 253402300800.0, 1e12, -1.5, -86400.0, -62135596800.0, -1e18])
def test_stamp_of_a_file_from_anywhere_in_time_can_be_read_back(at):
    """A mail whose file said the year 20000 once made a memory that could not be read again."""
    text = w.rfc3339(at)
    read = w.parse_rfc3339(text)
    assert len(text) == len("2026-11-22T11:53:54.250Z")
    assert w.rfc3339(read) == text
    assert read == at or abs(at) > 2e11


def test_zero_time_of_go_programs_is_read():
    assert w.parse_rfc3339("0001-01-01T00:00:00Z") == -62135596800.0


@given(st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z"))
def test_own_stamps_are_read_as_all_others(text):
    """Read without a pattern; the same with a space for the T goes the long way."""

    def read(stamp):
        try:
            return w.parse_rfc3339(stamp)
        except ValueError as error:
            return str(error).partition(":")[0]

    assert read(text) == read(text.replace("T", " "))


@pytest.mark.parametrize("stamp", [7, 7.5, True, ["2026"], {"at": 1}])
def test_what_is_no_text_is_no_stamp(stamp):
    """A PID file with a number for a stamp once ended `status` with a traceback."""
    with pytest.raises(ValueError, match="no RFC 3339 stamp"):
        w.parse_rfc3339(stamp)


# ---- the label of a sling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "who", "at"),
    [
        ("witness:h1-0123:951782400", "h1-0123", 951782400.0),
        ("witness:a.b_c-9:0", "a.b_c-9", 0.0),
        (w.HANDED_OVER_LABEL, "", 0.0),
        ("witness:h1", "", 0.0),
        ("witness:h1:", "", 0.0),
        ("witness::951782400", "", 0.0),
        ("witness:h1:-5", "", 0.0),
        ("witness:h1:1e9", "", 0.0),
        ("witness:h1:9999999999999", "", 0.0),
        ("witness:h 1:951782400", "", 0.0),
        ("witness:h1:951782400 ", "", 0.0),
        ("witness:h1:951782400\n", "", 0.0),
        ("witness:h1:٣", "", 0.0),
        ("Witness:h1:951782400", "", 0.0),
        ("xwitness:h1:951782400", "", 0.0),
        ("", "", 0.0),
    ],
)
def test_label_of_a_sling_names_who_slings_and_since_when(label, who, at):
    assert w.read_sling_label(label) == (who, at)


@given(st.text(alphabet="witnes:h1-.\n 0", max_size=30), st.integers(0, 10**12 - 1))
def test_law_any_label_is_a_slings_or_none(text, at):
    who, since = w.read_sling_label(text)
    assert (who == "") <= (since == 0.0)
    label = f"{w.SLING_LABEL}{who or 'h1'}:{at}"
    assert w.read_sling_label(label) == (who or "h1", float(at))
