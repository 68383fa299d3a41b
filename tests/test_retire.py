"""What stands against a retirement: all of it at once, each with the command that clears it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w

FORCEABLE = {"modified", "untracked", "hidden", "precious"}
KINDS = sorted(w.BLOCKERS)


def retirement(**fields):
    return w.Retirement(**{"name": "alpha", "id": "alpha/x", "at": 5.0, "path": "/rig/polecats/alpha", **fields})


def finding(kind, what="x"):
    return w.Finding(kind=kind, what=what)


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_blocks_and_names_evidence_and_command(kind):
    (blocker,) = w.find_blockers([finding(kind, "the thing")], retirement())
    assert blocker.kind == kind
    assert "the thing" in blocker.evidence
    assert blocker.remedy
    assert "{" not in blocker.remedy + blocker.evidence


@pytest.mark.parametrize("kind", KINDS)
def test_force_lets_only_preserved_files_pass(kind):
    blockers = w.find_blockers([finding(kind)], retirement(force=True))
    assert bool(blockers) is (kind not in FORCEABLE)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.text(max_size=30))), st.booleans())
def test_blockers_are_total_and_complete(rows, force):
    found = [finding(kind, what) for kind, what in rows]
    blockers = w.find_blockers(found, retirement(force=force))
    wanted = {kind for kind, _ in rows} - (FORCEABLE if force else set())
    assert [one.kind for one in blockers] == [kind for kind in w.BLOCKERS if kind in wanted]
    assert all(one.evidence.isprintable() for one in blockers)


def test_many_of_one_kind_are_counted():
    (blocker,) = w.find_blockers([finding("untracked", f"f{number}") for number in range(9)], retirement())
    assert blocker.evidence == "never committed: f0, f1, f2, f3, f4 and 4 more"


def test_remedy_can_be_pasted_where_the_path_has_a_space():
    (blocker,) = w.find_blockers([finding("modified")], retirement(path="/my rig/it's/a"))
    assert blocker.remedy == "git -C '/my rig/it'\"'\"'s/a' commit -a"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (".env", True),
        ("a/b/.env.local", True),
        ("x/server.pem", True),
        ("id_rsa", True),
        ("db.sqlite3", True),
        ("my-secrets.txt", True),
        ("build/out.o", False),
        ("environment", False),
        ("a.env/x", False),
    ],
)
def test_precious_files_are_known_by_their_names(path, answer):
    assert w.is_precious(path, w.SETTING_BY_NAME["precious"].default) is answer


@pytest.mark.parametrize(
    ("path", "answer"),
    [("a/.x.py.swp", True), ("x~", True), ("#x#", True), (".#x", True), ("x.py", False), (".swp", False)],
)
def test_unsaved_texts_are_known(path, answer):
    assert w.is_swap_file(path) is answer


@pytest.mark.parametrize(
    ("specs", "answer"),
    [
        (["+refs/heads/*:refs/remotes/origin/*"], False),
        (["+refs/*:refs/*"], True),
        (["+refs/*:refs/*", "^refs/witness/*"], False),
        (["refs/witness/x:refs/witness/x"], True),
        (["refs/heads/main"], False),
        ([], False),
    ],
)
def test_mirrors_that_would_delete_our_refs_are_known(specs, answer):
    assert w.covers_rescue_refs(specs) is answer


def test_tips_are_commits_that_no_other_names_as_parent():
    printed = "c b\nb a\na\nx a\n"
    assert set(w.find_tips({"a", "b", "c", "x", "old"}, printed)) == {"c", "x"}
