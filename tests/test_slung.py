"""What a sling of gt left behind, and what makes exactly one worker of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w

VERSIONS = {"seed": (0, 0, 1), "0.2.6": (0, 2, 6), "0.5.0": (0, 5, 0), "0.9.0": (0, 9, 0), "1.0.1": (1, 0, 1)}
MODERN = ("0.9.0", "1.0.1")
FRESH = ("gt", "sling", "de-1", "demo", "--no-convoy")
START = ("gt", "session", "start", "demo/rust")
TAKE = ("gt", "sling", "de-1", "demo/polecats/rust", "--no-convoy")


def dialect(version):
    return w.choose_dialect("gt", VERSIONS[version])[0]


def slung(**there):
    return w.Slung(**{**there, "lives": frozenset(there.get("lives", ()))})


NOTHING = slung()
FOLDER = slung(made="rust")  # a worktree made for it, no session
UNHOOKED = slung(made="rust", lives=("rust",))  # 0.5.0: a session that nothing hangs on
STALLED = slung(hook="rust")  # hooked, no session
WORKS = slung(hook="rust", lives=("rust",))
TAKEN = slung(taken="demo/polecats/nitro", lives=("nitro",))
BESIDE = slung(lives=("nitro", "chrome"))  # only workers of other beads


# ---- the claim ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "state"),
    [
        (NOTHING, ("released", "")),
        (BESIDE, ("released", "")),
        (FOLDER, ("failed", "rust")),
        (UNHOOKED, ("failed", "rust")),
        (STALLED, ("failed", "rust")),
        (WORKS, ("working", "rust")),
        (TAKEN, ("lost", "")),
        (slung(taken="a person", made="rust"), ("lost", "")),
        (slung(hook="rust", lives=("nitro",)), ("failed", "rust")),
    ],
)
def test_claim_is_settled_by_what_is_there(there, state):
    assert w.judge_slung(there) == state


# ---- the next call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "version", "argv"),
    [
        (NOTHING, "1.0.1", FRESH),
        (BESIDE, "1.0.1", FRESH),
        (NOTHING, "0.5.0", FRESH),
        (NOTHING, "0.2.6", FRESH),
        (NOTHING, "seed", ("gt", "spawn", "--rig", "demo", "--issue", "de-1", "--create")),
        (FOLDER, "1.0.1", TAKE),
        (FOLDER, "0.9.0", TAKE),
        (FOLDER, "0.5.0", START),
        (FOLDER, "0.2.6", START),
        (FOLDER, "seed", ("gt", "spawn", "demo/rust", "--issue", "de-1")),
        (UNHOOKED, "1.0.1", TAKE),
        (UNHOOKED, "0.5.0", (*TAKE, "--hook-raw-bead")),
        (UNHOOKED, "0.2.6", TAKE),
        (UNHOOKED, "seed", ("gt", "spawn", "demo/rust", "--issue", "de-1")),
        (STALLED, "1.0.1", START),
        (STALLED, "0.5.0", START),
        (STALLED, "0.2.6", START),
        (STALLED, "seed", START),
        *((WORKS, version, ()) for version in VERSIONS),
        *((TAKEN, version, ()) for version in VERSIONS),
    ],
)
def test_next_call_fits_what_is_there_and_the_version(there, version, argv):
    assert w.next_sling(dialect(version), "demo", "de-1", there, ()) == argv


@pytest.mark.parametrize("version", ["1.0.1", "0.5.0", "0.2.6"])
def test_sling_args_are_said_once_and_last(version):
    words = ("--hook-raw-bead", "--args", "be brief")
    for there in (NOTHING, UNHOOKED):
        argv = w.next_sling(dialect(version), "demo", "de-1", there, words)
        assert argv[-3:] == words
        assert argv.count("--hook-raw-bead") == 1


def test_refinery_is_no_worker_and_is_started_by_its_own_command():
    assert w.start_argv("demo", "refinery") == ("gt", "refinery", "start", "demo")
    assert w.start_argv("demo", "rust") == START


# ---- laws -----------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["", "rust", "nitro", "chrome"])
SLUNG = st.builds(
    w.Slung,
    hook=NAMES,
    taken=st.sampled_from(["", "demo/polecats/nitro", "a person"]),
    made=NAMES,
    lives=st.frozensets(st.sampled_from(["rust", "nitro", "chrome"])),
)
DIALECTS = st.sampled_from(w.GT_DIALECTS)
WORDS = st.lists(st.sampled_from(["--hook-raw-bead", "--no-boot", "--args"]), max_size=2, unique=True).map(tuple)


def is_fresh(argv) -> bool:
    """Tell whether a call makes a worker that is not there yet."""
    return "--create" in argv or (argv[:2] == ("gt", "sling") and argv[3] == "demo")


@given(SLUNG, DIALECTS, WORDS)
def test_law_no_second_worker_is_made_while_something_of_the_bead_is_there(there, row, words):
    argv = w.next_sling(row, "demo", "de-1", there, words)
    assert not (is_fresh(argv) and (there.hook or there.taken or there.made))


@given(SLUNG, DIALECTS, WORDS)
def test_law_nothing_is_called_where_the_bead_has_its_worker_or_is_anothers(there, row, words):
    state, name = w.judge_slung(there)
    argv = w.next_sling(row, "demo", "de-1", there, words)
    assert (argv == ()) == (state in ("working", "lost"))
    assert (name != "") == (state in ("working", "failed"))
    assert state == "lost" or (state == "working") == (there.hook != "" and there.hook in there.lives)


@given(SLUNG, DIALECTS, WORDS)
def test_law_a_call_is_of_gt_and_names_this_bead_or_the_worker_that_is_there(there, row, words):
    argv = w.next_sling(row, "demo", "de-1", there, words)
    assert argv == w.next_sling(row, "demo", "de-1", there, words)
    if argv:
        name = w.judge_slung(there)[1]
        assert argv[0] == "gt"
        assert "de-1" in argv or argv == ("gt", "session", "start", f"demo/{name}")
        assert not name or f"demo/{name}" in argv or f"demo/polecats/{name}" in argv
        assert "--force" not in argv


@given(SLUNG, DIALECTS)
def test_law_a_worker_that_is_hooked_is_never_slung_to(there, row):
    if there.hook:
        assert w.next_sling(row, "demo", "de-1", there, ())[1:2] != ("sling",)
