"""Claims: files that only one can make, and the record that outlives the worker."""

from __future__ import annotations

import concurrent.futures
import json
import os

import pytest

import witness as w

HOST = w.Host()


def make_claims(path):
    return w.Claims(HOST, w.find_rig(HOST, str(path), {}, "/"))


@pytest.fixture
def claims(rig):
    (rig.path / ".gastown").mkdir(mode=0o700)
    return make_claims(rig.path)


def claim(issue="de-1", actor="a", state="claimed", **fields):
    return w.Claim(issue=issue, actor=actor, at=5.0, state=state, name=issue, **fields)


def _race(words):
    path, actor = words
    return make_claims(path).take(claim(actor=actor))


def test_of_sixteen_claimants_one_wins(claims, rig):
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        answers = list(pool.map(_race, [(rig.path, f"w{number}") for number in range(16)]))
    assert answers.count("") == 1
    winner = claims.read()["de-1"].actor
    assert answers.index("") == int(winner[1:])
    assert all(answer in ("", f"{winner} (claimed)") for answer in answers)


@pytest.mark.parametrize(
    ("state", "actor", "answer"),
    [
        ("released", "other", ""),
        ("closed", "other", ""),
        ("failed", "me", ""),
        ("claimed", "me", ""),
        ("working", "me", "me (working)"),
        ("handed-over", "me", "me (handed-over)"),
        ("failed", "other", "other (failed)"),
        ("claimed", "other", "other (claimed)"),
        ("working", "other", "other (working)"),
    ],
)
def test_claim_over_an_earlier_one(claims, state, actor, answer):
    assert claims.take(claim(actor=actor, state=state, start="abc")) == ""
    assert claims.take(claim(actor="me")) == answer
    present = claims.read()["de-1"]
    assert (present.actor, present.state) == (("me", "claimed") if not answer else (actor, state))
    if actor == "me" and not answer:
        assert present.start == ("abc" if state in ("failed", "claimed") else "")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"issue": 3}', '{"issue": "x"}', "[" * 100000], ids=range(6))
def test_one_damaged_claim_makes_all_unknown(claims, content):
    claims.take(claim())
    with open(os.path.join(claims.folder, "x.json"), "w", encoding="utf-8") as file:
        file.write(content)
    assert claims.read() is None
    assert claims.take(claim(issue="x")) == "somebody (the claim cannot be read)"


def test_claims_are_files_others_can_read(claims):
    claims.take(claim(branch="polecat/de-1"))
    with open(os.path.join(claims.folder, "de-1.json"), encoding="utf-8") as file:
        assert json.load(file) == {
            "actor": "a",
            "at": "1970-01-01T00:00:05.000Z",
            "branch": "polecat/de-1",
            "issue": "de-1",
            "name": "de-1",
        }
