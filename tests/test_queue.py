"""The local queue: one file that others read too, and claims that only one can make."""

from __future__ import annotations

import concurrent.futures
import json
import os

import pytest

import witness as w

HOST = w.Host()


def make_queue(path, backend="local"):
    return w.LocalQueue(HOST, w.find_rig(HOST, str(path), {}, "/"), (backend, "why"))


@pytest.fixture
def queue(rig):
    (rig.path / ".gastown").mkdir(mode=0o700)
    return make_queue(rig.path)


def claim(issue="de-1", actor="a", state="claimed", **fields):
    return w.Claim(issue=issue, actor=actor, at=5.0, state=state, name=issue, **fields)


def test_no_file_is_an_empty_queue(queue):
    issues, bad, port = queue.read_issues()
    assert (issues, bad, port.state) == ((), (), w.PRESENT)


def test_file_is_read_again_only_when_it_changes(queue, monkeypatch):
    issue_id = queue.add("One", "demo")
    first = queue.read_issues()[0]
    assert queue.read_issues()[0] is first
    queue.add("Two", "demo")
    assert [issue.title for issue in queue.read_issues()[0]] == ["One", "Two"]
    assert issue_id.startswith("demo-")


def test_file_that_cannot_be_read_is_unknown_and_not_empty(queue):
    os.makedirs(queue.file)
    issues, _, port = queue.read_issues()
    assert (issues, port.state) == (None, w.UNKNOWN)


def test_other_backends_are_unknown_and_refuse_to_be_written(rig):
    queue = make_queue(rig.path, "beads")
    assert queue.read_issues()[2].state == w.UNKNOWN
    with pytest.raises(w.WitnessError) as error:
        queue.add("x", "demo")
    assert "bd create" in error.value.line()
    with pytest.raises(w.WitnessError) as error:
        queue.close("de-1", "done")
    assert "bd close de-1" in error.value.line()


def test_added_issue_has_its_links(queue):
    one = queue.add("One", "demo")
    two = queue.add("Two", "demo", [("blocks", one), ("parent-child", one)], priority=0)
    issue = next(issue for issue in queue.read_issues()[0] if issue.id == two)
    assert (issue.blocked_by, issue.parents, issue.priority) == ((one,), (one,), 0)


def test_line_is_added_after_a_file_that_lacks_its_last_newline(queue):
    os.makedirs(os.path.dirname(queue.file))
    with open(queue.file, "w", encoding="utf-8") as file:
        file.write('{"id": "x"}')
    queue.add("y", "demo")
    assert [issue.title for issue in queue.read_issues()[0]] == ["", "y"]


def test_close_keeps_the_other_lines_and_the_mode(queue):
    one, two = queue.add("One", "demo"), queue.add("Two", "demo")
    os.chmod(queue.file, 0o640)
    queue.close(one, "done")
    assert {issue.id: issue.status for issue in queue.read_issues()[0]} == {one: "closed", two: "open"}
    assert os.stat(queue.file).st_mode & 0o777 == 0o640
    with pytest.raises(w.WitnessError, match="no issue nope"):
        queue.close("nope", "done")


def test_busy_file_says_so(queue, monkeypatch):
    queue.add("One", "demo")
    fd = w.take_lock(queue.lock_file)
    monkeypatch.setattr(w, "take_lock", lambda *_: None)
    with pytest.raises(w.BusyError):
        queue.add("Two", "demo")
    os.close(fd)


def _race(words):
    path, actor = words
    return make_queue(path).claim(claim(actor=actor))


def test_of_sixteen_claimants_one_wins(queue, rig):
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        answers = list(pool.map(_race, [(rig.path, f"w{number}") for number in range(16)]))
    assert answers.count("") == 1
    winner = queue.read_claims()["de-1"].actor
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
def test_claim_over_an_earlier_one(queue, state, actor, answer):
    assert queue.claim(claim(actor=actor, state=state, start="abc")) == ""
    assert queue.claim(claim(actor="me")) == answer
    present = queue.read_claims()["de-1"]
    assert (present.actor, present.state) == (("me", "claimed") if not answer else (actor, state))
    if actor == "me" and not answer:
        assert present.start == ("abc" if state in ("failed", "claimed") else "")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"issue": 3}', '{"issue": "x"}', "[" * 100000], ids=range(6))
def test_one_damaged_claim_makes_all_unknown(queue, content):
    queue.claim(claim())
    with open(os.path.join(queue.claims_folder, "x.json"), "w", encoding="utf-8") as file:
        file.write(content)
    assert queue.read_claims() is None
    assert queue.claim(claim(issue="x")) == "somebody (the claim cannot be read)"


def test_claims_are_files_others_can_read(queue):
    queue.claim(claim(branch="polecat/de-1"))
    with open(os.path.join(queue.claims_folder, "de-1.json"), encoding="utf-8") as file:
        assert json.load(file) == {
            "actor": "a",
            "at": "1970-01-01T00:00:05.000Z",
            "branch": "polecat/de-1",
            "issue": "de-1",
            "name": "de-1",
        }
