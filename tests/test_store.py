"""The state folder: whole files, one writer, nothing overwritten in silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import witness as w

HOST = w.Host()


@pytest.fixture
def store(rig):
    found = w.find_rig(HOST, str(rig.path), {}, "/")
    w.check_ground(HOST, found, w.make_config({}, "f", {}))
    return w.Store(HOST, found)


def put(store, name, content):
    with open(store.path(name), "wb") as file:
        file.write(content)


def events(store):
    with open(store.path("witness-events.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_memory_is_saved_and_read_by_another(store):
    store.save(w.Memory(rig_name="demo", spawned_issues=("a",)))
    again = w.Store(HOST, store.rig).load()
    assert (again.rig_name, again.spawned_issues) == ("demo", ("a",))
    assert again.last_check_at > 0


def test_folder_made_anew_under_the_lock_is_never_written_to(store):
    """A daemon in the middle of a tick once put its view into a state folder that had been made anew."""
    store.lock_fd = w.take_lock(store.path("witness.lock"))
    store.save(w.Memory(rig_name="demo"))
    os.rename(store.folder, store.folder + ".moved")
    os.mkdir(store.folder, 0o700)
    assert store.is_ours() is False
    store.write_view({"version": 1})
    store.tell("stuck", "alpha", "text")
    with pytest.raises(w.StateError, match=r"witness.lock is gone or replaced"):
        store.save(w.Memory(rig_name="other"))
    assert os.listdir(store.folder) == []
    os.rmdir(store.folder)
    os.rename(store.folder + ".moved", store.folder)
    store.write_view({"version": 1})
    assert store.is_ours()
    assert store.read_view() == {"version": 1}
    os.close(store.lock_fd)


def test_unchanged_memory_is_not_written(store):
    store.save(w.Memory(rig_name="demo"))
    before = os.stat(store.path("witness.json"))
    store.save(store.load())
    assert os.stat(store.path("witness.json")).st_ino == before.st_ino


def test_memory_written_by_another_is_read_again(store):
    store.save(w.Memory(rig_name="demo"))
    other = w.Store(HOST, store.rig)
    other.save(other.load().but(rig_name="new"))
    assert store.load().rig_name == "new"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"\0\xff\xfe", b'{"polecats": 3}', b'{"version": true}x', b"[" * 100000],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_damaged_memory_is_moved_aside_and_said(store, content):
    put(store, "witness.json", content)
    assert store.load() == w.Memory()
    (aside,) = [name for name in os.listdir(store.folder) if name.startswith("witness.json.corrupt-")]
    with open(store.path(aside), "rb") as file:
        assert file.read() == content
    assert events(store)[0]["kind"] == "corrupt"


def test_newer_memory_is_refused_and_stays(store):
    put(store, "witness.json", b'{"version": 99}')
    with pytest.raises(w.StateError, match="newer Witness"):
        store.load()
    assert os.listdir(store.folder) == ["witness.json"]


def test_memory_that_is_a_folder_stops_everything(store):
    os.mkdir(store.path("witness.json"))
    with pytest.raises(w.StateError, match=r"witness\.json"):
        store.load()


def test_memory_that_cannot_be_saved_is_an_error(store, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.host, "write", fail)
    with pytest.raises(w.StateError, match="No space left"):
        store.save(w.Memory(rig_name="x"))


def test_lock_has_one_holder_and_survives_exec(store):
    path = store.path("witness.lock")
    assert w.is_locked(path) is False
    fd = w.take_lock(path)
    assert w.is_locked(path) is True
    assert w.take_lock(path, 0.05) is None
    os.set_inheritable(fd, True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(fd,)) as child:
        os.close(fd)
        assert w.is_locked(path) is True
        child.communicate(b"\n")
    assert w.is_locked(path) is False


def test_a_passing_question_does_not_keep_a_lock_from_its_taker(store):
    path = store.path("witness.lock")
    shared = w.take_lock(path, shared=True)
    assert w.take_lock(path) is None
    os.close(shared)
    assert w.take_lock(path) is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'{"holds": 3}', b'{"paused": {"until": "soon"}}', b'{"holds": {"a": 1}}', b"[" * 100000],
    ids=lambda content: content[:20].decode("latin-1"),
)
def test_bad_hold_file_means_paused_until_a_person_resumes(store, content):
    """`start` once wrote the file anew and so ended a pause that nobody had ended."""
    put(store, "witness-hold.json", content)
    assert "cannot be read" in store.read_holds()["paused"]
    store.change_holds(stopped=None)  # what every start does
    store.change_holds(stopped=True)  # what every stop does
    with pytest.raises(w.StateError) as error:
        store.change_holds(hold=("alpha", {"reason": "r"}))
    assert "`witness resume` writes it anew" in error.value.line()
    with open(store.path("witness-hold.json"), "rb") as file:
        assert file.read() == content
    store.change_holds(paused=None, resumed_at=w.rfc3339(HOST.now()))
    assert store.read_holds()["paused"] == ""
    (aside,) = [name for name in os.listdir(store.folder) if name.startswith("witness-hold.json.corrupt-")]
    with open(store.path(aside), "rb") as file:
        assert file.read() == content
    assert events(store)[-1]["subject"] == "witness-hold.json"


def test_holds_end_by_themselves(store):
    past, future = w.rfc3339(HOST.now() - 5), w.rfc3339(HOST.now() + 500)
    store.change_holds(hold=("a", {"reason": "r", "until": past}))
    store.change_holds(hold=("b", {"reason": "r", "until": future}))
    store.change_holds(hold=("c", {"reason": "", "until": ""}))
    store.change_holds(paused={"reason": "p", "until": past})
    assert store.read_holds() == {
        "paused": "",
        "holds": {"b": "r", "c": "no reason given"},
        "resumed_at": 0.0,
        "stopped": False,
    }
    store.change_holds(hold=("b", None), paused={"reason": "p", "until": future}, stopped=True)
    holds = store.read_holds()
    assert (holds["paused"], sorted(holds["holds"]), holds["stopped"]) == ("p", ["c"], True)


def test_log_is_rotated_and_three_are_kept(store, monkeypatch):
    monkeypatch.setattr(w, "LOG_LIMIT_BYTES", 200)
    for number in range(40):
        store.log(f"line {number:04d} " + "x" * 60)
    assert sorted(name for name in os.listdir(store.folder) if name.startswith("witness.log")) == [
        "witness.log",
        "witness.log.1",
        "witness.log.2",
        "witness.log.3",
    ]
    with open(store.path("witness.log"), encoding="utf-8") as file:
        assert "line 0039" in file.read()


def test_event_is_one_clean_line_for_machines_and_people(store):
    store.tell("kind", "al\x1b[31mpha", "two\nlines\x07")
    (event,) = events(store)
    assert (event["kind"], event["subject"], event["text"]) == ("kind", "alpha", "two lines")
    with open(store.path("witness.log"), encoding="utf-8") as file:
        assert file.read().endswith("kind: alpha: two lines\n")


def test_actor_that_is_made_anew_beside_claims_is_told_once(store):
    """Its file was damaged: the work in flight was another's from then on, in silence."""
    w.Claims(HOST, store.rig).take(w.Claim(issue="de-1", actor=store.read_actor(), at=1.0))
    put(store, "witness.id", b"\0" * 40)
    store.read_actor()
    store.read_actor()
    (event,) = events(store)
    assert (event["kind"], "`witness doctor`" in event["text"]) == ("identity", True)


def test_actor_is_made_once_and_anew_elsewhere(store):
    actor = store.read_actor()
    assert actor.startswith("demo/witness@")
    assert store.read_actor() == actor
    with open(store.path("witness.id"), encoding="utf-8") as file:
        data = json.load(file)
    put(store, "witness.id", json.dumps({**data, "machine": "another"}).encode())
    assert store.read_actor() != actor
    assert not os.path.exists(store.path("witness-events.jsonl"))  # nothing was claimed under the first
    actor = store.read_actor()
    moved = w.Store(HOST, store.rig.but(path=store.rig.path + "-moved"))
    assert moved.read_actor() != actor
    os.remove(store.path("witness.id"))
    os.mkdir(store.path("witness.id"))
    with pytest.raises(w.StateError, match=r"witness\.id"):
        store.read_actor()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"interval": "x"}', b"\xff", b"[" * 100000], ids=range(5))
def test_bad_settings_file_is_named(store, content):
    put(store, "witness-config.json", content)
    with pytest.raises(w.ConfigError, match=r"witness-config\.json"):
        store.read_config({})


def test_view_is_data_or_nothing(store):
    assert store.read_view() == {}
    view = {"a": "é", "branch": "caf\udce9"}  # git takes names that are no UTF-8
    store.write_view(view)
    assert store.read_view() == view
    put(store, "witness-view.json", b"{")
    assert store.read_view() == {}


def test_log_is_rotated_at_five_mebibytes(store):
    store.log("first")
    os.truncate(store.path("witness.log"), 5 * 1024 * 1024 - 1)
    store.log("second")
    store.log("third")
    with open(store.path("witness.log"), encoding="utf-8") as file:
        assert [line.split()[1] for line in file] == ["third"]
    assert os.path.getsize(store.path("witness.log.1")) > 5 * 1024 * 1024


@pytest.mark.parametrize("make", [os.mkdir, lambda path: os.symlink("/dev/null", path)], ids=["folder", "link"])
def test_lock_that_cannot_be_opened_is_told_in_one_line(store, make):
    make(store.path("witness.lock"))
    with pytest.raises(w.StateError, match=r"witness\.lock"):
        w.take_lock(store.path("witness.lock"))
