"""The local queue: one file that others read too."""

from __future__ import annotations

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
