"""One look at everything: what it costs, and what it sees."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tools import beads

import witness as w

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class CountingHost(w.Host):
    """A host that remembers every outside call, and counts the files it reads."""

    def __init__(self):
        self.calls, self.reads = [], 0

    def read(self, *args):
        self.reads += 1
        return super().read(*args)

    def run(self, argv, *args, **options):
        self.calls.append(os.path.basename(argv[0]))
        return super().run(argv, *args, **options)


@pytest.fixture
def station(rig):
    host = CountingHost()
    found = w.find_rig(host, str(rig.path), {}, "/")
    config = w.make_config({"tmux_socket": rig.tmux.socket}, "f", {})
    w.check_ground(host, found, config)
    return w.Station(host, found, config)


@pytest.mark.parametrize("number", [1, 50])
def test_a_tick_asks_tmux_once_and_git_never(rig, station, number):
    for index in range(number):
        rig.add_polecat(f"w{index}", SLEEP if index < 3 else None)
    w.observe(station, w.Memory())  # the first also asks the versions
    station.host.calls.clear()
    seen = w.observe(station, w.Memory())
    assert station.host.calls == ["tmux"]
    assert len(seen.sightings) == number
    assert {port.state for name, port in seen.ports.items() if name != "spawner"} == {w.PRESENT}


def test_workers_are_seen_as_they_are(rig, station):
    alpha, beta = rig.add_polecat("alpha", SLEEP), rig.add_polecat("beta")
    rig.commit("x", {"x": "x"}, cwd=beta.path)
    seen = w.observe(station, w.Memory())
    one, other = seen.sightings["alpha"], seen.sightings["beta"]
    assert (one.session, one.pane.pid, one.worktree.branch) == (w.PRESENT, alpha.pane_pid, "polecat/alpha")
    assert one.pane_start > 0
    assert (other.session, other.pane, other.process_lives) == (w.ABSENT, None, False)
    assert abs(other.worktree.git_at - seen.now) < 5


def test_what_is_no_polecat_is_said_and_never_looked_into(rig, station, repo, tmp):
    top = rig.path / "polecats"
    (top / "empty").mkdir()
    (top / "a file").write_text("x")
    (top / "-x").mkdir()
    (top / "witness").mkdir()
    os.symlink(tmp, top / "link")
    rig.git("init", "--quiet", top / "own")
    other = repo("other")
    other.git("worktree", "add", "--quiet", "-b", "x", top / "foreign")
    (top / ".claude").mkdir()
    rig.add_polecat("alpha")
    seen = w.observe(station, w.Memory())
    assert list(seen.sightings) == ["alpha"]
    reasons = dict(seen.strangers)
    assert reasons["link"] == "it is a symbolic link"
    assert reasons["own"] == "it is a repository of its own, no linked worktree"
    assert "no worktree of this rig" in reasons["foreign"]
    assert set(reasons) == {"a file", "-x", "witness", "link", "own", "foreign", "empty"}


def test_recorded_pane_is_followed_when_others_are_split_off(rig, station):
    """A split pane once made an agent look dead."""
    alpha = rig.add_polecat("alpha", SLEEP)
    rig.tmux.run("split-window", "-t", f"={alpha.session}:", "--", *SLEEP)
    seen = w.observe(station, w.Memory())
    sighting = seen.sightings["alpha"]
    assert len(sighting.panes) == 2
    assert sighting.pane.pid == alpha.pane_pid


def test_process_that_outlives_its_session_is_seen(rig, station):
    alpha = rig.add_polecat("alpha")
    start = w.read_process(station.host, os.getpid()).start
    track = w.Track(pane_pid=os.getpid(), pane_start=start)
    assert w.observe(station, w.Memory(polecats={alpha.name: track})).sightings["alpha"].process_lives is True
    track = w.Track(pane_pid=os.getpid(), pane_start=start + 1)
    assert w.observe(station, w.Memory(polecats={alpha.name: track})).sightings["alpha"].process_lives is False


def test_unreadable_polecats_folder_makes_git_unknown(rig, station):
    os.rmdir(rig.path / "polecats")
    (rig.path / "polecats").write_text("x")
    assert w.observe(station, w.Memory()).ports["git"].state == w.UNKNOWN


def test_missing_tool_is_unknown_and_asked_again(rig, station, monkeypatch):
    real = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/nowhere")
    seen = w.observe(station, w.Memory())
    assert (seen.ports["tmux"].state, seen.ports["git"].state) == (w.UNKNOWN, w.UNKNOWN)
    assert "missing" in seen.ports["tmux"].reason
    monkeypatch.setenv("PATH", real)
    seen = w.observe(station, w.Memory())
    assert (seen.ports["tmux"].state, seen.ports["git"].state) == (w.PRESENT, w.PRESENT)
    assert seen.ports["git"].version[0].isdigit()


def test_worker_whose_record_is_nested_too_deep_is_seen_like_any_other(rig, station):
    """One such file, in one worktree, once ended every tick of the whole rig."""
    worker = rig.add_polecat("alpha", SLEEP)
    (worker.path / ".gastown").mkdir()
    (worker.path / ".gastown" / "state.json").write_text("[" * 100000)
    sighting = w.observe(station, w.Memory()).sightings["alpha"]
    assert (sighting.worktree.record, sighting.worktree.trouble) == ({}, "")


# ---- the shelf ------------------------------------------------------------------------------------------------------


def rewrite_in_place(path):
    """The same size, and the same time of change as far as anybody can set it."""
    about = path.stat()
    path.write_text("two")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def replace(path):
    other = path.with_name("other")
    other.write_text("two")
    os.replace(other, path)


def read_both(path, shelf):
    """Make something of two looks, as the reading of a worktree does."""
    seen = shelf.look(str(path))
    return shelf.read(str(path)), seen is not None and seen.st_mtime_ns


@pytest.mark.parametrize(
    ("change", "content"), [(rewrite_in_place, b"two"), (replace, b"two"), (Path.unlink, None), (None, b"one")]
)
def test_it_is_made_anew_after_any_change_of_a_file_and_only_then(tmp, change, content):
    host, path = CountingHost(), tmp / "HEAD"
    shelf = w.Shelf(host)
    path.write_text("one")
    for _ in range(3):
        shelf.turn(time.time() + 60)
        assert shelf.make("a", read_both, path)[0] == b"one"
    assert host.reads == 1
    time.sleep(0.05)  # longer than a step of the file system's clock
    if change is not None:
        change(path)
    for _ in range(2):
        shelf.turn(time.time() + 60)
        assert shelf.make("a", read_both, path)[0] == content
    assert host.reads == (1 if change is None else 2)


def test_a_file_that_comes_into_being_is_seen(tmp):
    path, shelf = tmp / "HEAD", w.Shelf(w.Host())
    shelf.turn(time.time() + 60)
    assert shelf.make("a", read_both, path) == (None, False)
    path.write_text("one")
    shelf.turn(time.time() + 60)
    assert shelf.make("a", read_both, path) == (b"one", path.stat().st_mtime_ns)


def test_a_change_between_two_looks_of_one_making_is_seen_in_the_next(tmp):
    path, shelf = tmp / "HEAD", w.Shelf(w.Host())
    path.write_text("one")

    def slow(shelf):
        before = shelf.look(str(path)).st_size
        if before == 3:
            path.write_text("three")
        return before, shelf.look(str(path)).st_size

    for answer in ((3, 5), (5, 5)):
        shelf.turn(time.time() + 60)
        assert shelf.make("a", slow) == answer


def test_a_link_is_followed_anew_each_time(tmp):
    (tmp / "real").write_text("one")
    (tmp / "HEAD").symlink_to("real")
    shelf = w.Shelf(w.Host())
    for content in (b"one", b"two"):
        shelf.turn(time.time() + 60)
        assert shelf.make("a", read_both, tmp / "HEAD")[0] == content
        rewrite_in_place(tmp / "real")


def test_a_read_that_failed_is_no_answer_to_keep(tmp, monkeypatch):
    """Too many open files: an end of which no stat of the file tells."""
    path, shelf = tmp / "HEAD", w.Shelf(w.Host())
    path.write_text("one")

    def tell(shelf):
        try:
            return shelf.read(str(path))
        except OSError as error:
            return error.strerror

    with monkeypatch.context() as patch:
        patch.setattr(w.Host, "read", lambda *_: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        shelf.turn(time.time() + 60)
        assert shelf.make("a", tell) == "Too many open files"
    shelf.turn(time.time() + 60)
    assert shelf.make("a", tell) == b"one"


def test_what_a_resolved_path_led_to_is_not_kept(tmp):
    (tmp / "a").mkdir()
    (tmp / "b").mkdir()
    (tmp / "link").symlink_to("a")
    shelf = w.Shelf(w.Host())
    for name in ("a", "b"):
        shelf.turn(time.time() + 60)
        assert shelf.make("x", lambda path, files: files.resolve(path), str(tmp / "link")) == str(tmp / name)
        (tmp / "link").unlink()
        (tmp / "link").symlink_to("b")


def test_file_changed_just_now_is_read_again(tmp):
    """Two changes within one step of the file system's clock look alike to stat; here a step is a second."""

    class CoarseHost(w.Host):
        def look(self, path):
            seen = os.stat(path)
            second = int(seen.st_ctime)
            times = {"st_mtime_ns": second * 10**9, "st_ctime_ns": second * 10**9, "st_ctime": float(second)}
            about = {"st_dev": seen.st_dev, "st_ino": seen.st_ino, "st_size": seen.st_size, "st_mode": seen.st_mode}
            return SimpleNamespace(**about, **times)

    path, shelf = tmp / "HEAD", w.Shelf(CoarseHost())
    for number in range(50):
        path.write_text(f"{number:03}")
        shelf.turn(time.time())
        assert shelf.make("a", read_both, path)[0] == f"{number:03}".encode()


def test_a_folder_is_made_anew_when_it_is_another_and_not_for_each_file_in_it(tmp):
    made, shelf = [], w.Shelf(w.Host())

    def count(files):
        made.append(files.look(str(tmp / "tree")))

    def look(change=None):
        if change is not None:
            change()
        shelf.turn(time.time() + 60)
        shelf.make("a", count)
        return len(made)

    (tmp / "tree").mkdir()
    assert [look(), look((tmp / "tree" / "file").touch), look((tmp / "tree" / "file").unlink)] == [1, 1, 1]
    os.rename(tmp / "tree", tmp / "old")
    assert [look(), look((tmp / "tree").mkdir), look()] == [2, 3, 3]


def test_what_a_look_did_not_ask_for_is_forgotten(tmp):
    shelf = w.Shelf(w.Host())
    for number in range(100):
        path = tmp / f"{number}"
        path.write_text("one")
        shelf.turn(time.time() + 60)
        shelf.make(f"{number}", read_both, path)
    assert len(shelf.before) + len(shelf.current) == 2


def test_shelf_fails_as_a_read_does(tmp):
    shelf = w.Shelf(w.Host())
    os.mkfifo(tmp / "fifo")
    for name in ("fifo", ".", "fifo/x", "x\0y"):
        told = []
        for reader in (w.Host(), shelf):
            with pytest.raises((OSError, ValueError)) as caught:
                reader.read(str(tmp / name))
            told.append(type(caught.value))
        assert told[0] is told[1]


CHANGES = {
    "another branch": lambda tree, admin: (admin / "HEAD").write_text("ref: refs/heads/other\n"),
    "a detached HEAD": lambda tree, admin: (admin / "HEAD").write_text("1" * 40 + "\n"),
    "no HEAD": lambda tree, admin: (admin / "HEAD").unlink(),
    "a new index": lambda tree, admin: os.utime(admin / "index"),
    "a commit": lambda tree, admin: (admin / "logs" / "HEAD").write_text("x\n"),
    "a record": lambda tree, admin: write_record(tree / ".gastown"),
    "a record of the other kind": lambda tree, admin: write_record(tree / ".runtime"),
    "an issue": lambda tree, admin: (tree / ".beads").mkdir() or (tree / ".beads" / "issues.jsonl").write_text(""),
    "no .git": lambda tree, admin: (tree / ".git").unlink(),
    "another .git": lambda tree, admin: (tree / ".git").write_text("gitdir: /nowhere\n"),
    "another gitdir": lambda tree, admin: (admin / "gitdir").write_text("/nowhere\n"),
    "no admin folder": lambda tree, admin: os.rename(admin, admin.with_name("gone")),
    "no worktree": lambda tree, admin: os.rename(tree, tree.with_name(".gone")),
    "a link": lambda tree, admin: os.rename(tree, tree.with_name(".gone")) or tree.symlink_to(".gone"),
    "an admin folder elsewhere": lambda tree, admin: move_away(admin),
    "one made anew": lambda tree, admin: os.rename(tree, tree.with_name(".gone")) or tree.mkdir(),
}


def move_away(folder):
    """Leave a link to where everything in it goes on as it was: neither stat nor time of a file tells."""
    os.rename(folder, folder.parent.parent / "elsewhere")
    folder.symlink_to(folder.parent.parent / "elsewhere")


def write_record(folder):
    folder.mkdir()
    (folder / "state.json").write_text('{"state": "idle"}')


def test_a_nested_worktree_that_became_a_link_is_seen(rig, station):
    """As gt lays them out: polecats/NAME/RIG."""
    path = rig.path / "polecats" / "alpha" / "demo"
    rig.git("worktree", "add", "--quiet", "-b", "polecat/alpha", str(path))
    shelf = w.Shelf(w.Host())
    for _ in range(2):
        shelf.turn(time.time() + 60)
        assert isinstance(shelf.make("alpha", w.read_worktree, station.rig, "alpha"), w.Worktree)
    move_away(path)
    shelf.turn(time.time() + 60)
    assert shelf.make("alpha", w.read_worktree, station.rig, "alpha") == "it is a symbolic link"


def test_worktrees_behind_a_link_are_read_anew(rig, station):
    rig.add_polecat("alpha")
    shelf = w.Shelf(w.Host())
    for _ in range(2):
        shelf.turn(time.time() + 60)
        assert [tree.name for tree in w.list_worktrees(station.rig, shelf)[0]] == ["alpha"]
    move_away(rig.path / ".git" / "worktrees")
    shelf.turn(time.time() + 60)
    trees, strangers, _ = w.list_worktrees(station.rig, shelf)
    assert (trees, strangers) == ((), (("alpha", w.read_worktree(station.rig, "alpha")),))


class OnceBlindHost(w.Host):
    """A host of which one look fails, as on a file system that answers EIO now and then."""

    def __init__(self, failing: int) -> None:
        self.left = failing

    def look(self, path):
        self.left -= 1
        return None if self.left == 0 else super().look(path)


def test_a_look_that_failed_is_no_answer_to_keep(rig, station):
    rig.add_polecat("alpha")
    write_record(rig.path / "polecats" / "alpha" / ".gastown")
    fresh, seen = w.read_worktree(station.rig, "alpha"), []
    for failing in range(1, 40):
        shelf = w.Shelf(OnceBlindHost(failing))
        for _ in range(3):
            shelf.turn(time.time() + 60)
            seen.append(shelf.make("alpha", w.read_worktree, station.rig, "alpha") == fresh)
        assert seen[-1], failing
    assert not all(seen)  # it did make a difference while it failed


@pytest.mark.parametrize("change", CHANGES)
def test_a_worktree_from_the_shelf_is_what_its_files_say(rig, station, change):
    rig.add_polecat("alpha")
    path = rig.path / "polecats" / "alpha"
    admin = Path((path / ".git").read_text().split(": ", 1)[1].strip())
    shelf = w.Shelf(w.Host())
    for _ in range(2):
        shelf.turn(time.time() + 60)
        before = shelf.make("alpha", w.read_worktree, station.rig, "alpha")
    assert before == w.read_worktree(station.rig, "alpha")
    time.sleep(0.05)
    CHANGES[change](path, admin)
    shelf.turn(time.time() + 60)
    after = shelf.make("alpha", w.read_worktree, station.rig, "alpha")
    assert after == w.read_worktree(station.rig, "alpha") != before


def test_ticks_read_the_files_of_a_worktree_once(rig, station, monkeypatch):
    rig.add_polecat("alpha")
    host, real = station.host, station.host.now
    monkeypatch.setattr(host, "now", lambda: real() + 60)
    counts = []
    for _ in range(3):
        before = host.reads
        assert w.observe(station, w.Memory()).sightings["alpha"].worktree.branch == "polecat/alpha"
        counts.append(host.reads - before)
    assert counts[1] == counts[2] == counts[0] - 3  # .git, gitdir and HEAD
    rig.git("checkout", "--quiet", "-b", "other", cwd=rig.path / "polecats" / "alpha")
    assert w.observe(station, w.Memory()).sightings["alpha"].worktree.branch == "other"


# ---- a queue that bd keeps


@pytest.fixture
def shared(rig, tmp, monkeypatch):
    """Return a station whose queue is bd's, and its server."""
    server, program = beads.Server(tmp / "server"), beads.Bin(tmp / "bin")
    monkeypatch.setenv("PATH", program.path())
    beads.connect(rig.path, server)
    host = CountingHost()
    found = w.find_rig(host, str(rig.path), {}, "/")
    config = w.make_config({"tmux_socket": rig.tmux.socket}, "f", {})
    w.check_ground(host, found, config)
    return w.Station(host, found, config), server


def test_a_tick_asks_bd_once_and_twice_in_every_tenth(rig, shared):
    station, server = shared
    rig.add_polecat("alpha", SLEEP)
    server.add("de-1")
    asked = []
    for _ in range(12):
        station.host.calls.clear()
        seen = w.observe(station, w.Memory())
        asked.append(station.host.calls.count("bd"))
        assert [issue.id for issue in seen.issues] == ["de-1"]
        assert (seen.whole, seen.fresh) == (False, asked[-1] > 1)
    assert asked == [3, *[1] * 9, 2, 1]  # the first asks the version, too
    assert station.host.calls == ["tmux", "bd"]


def test_issue_that_a_person_names_is_looked_up(rig, shared):
    station, server = shared
    server.add("de-1", status="closed")
    seen = w.observe(station, w.Memory(), person=True, only=("de-1", "alpha"))
    assert [(issue.id, issue.status) for issue in seen.issues] == [("de-1", "closed")]


def test_what_memory_and_claims_name_is_followed(rig, shared):
    station, server = shared
    for issue in ("de-1", "de-2", "de-3", "de-4"):
        server.add(issue, status="closed")
    station.queue.claims.take(w.Claim(issue="de-1", actor=station.actor, at=1.0, state="working", name="de-1"))
    station.queue.claims.take(w.Claim(issue="de-4", actor=station.actor, at=1.0, state="released", name="de-4"))
    memory = w.Memory(issues={"de-2": w.Effort(attempts=1)}, spawned_issues=("de-3", "../x"))
    seen = w.observe(station, memory)
    assert sorted(issue.id for issue in seen.issues) == ["de-1", "de-2", "de-3"]
    decision = w.decide(seen, memory, station.config)
    assert (decision.memory.issues, decision.memory.spawned_issues) == ({}, ("../x",))


def test_what_is_not_shown_is_not_forgotten(rig, shared):
    """An issue in progress is not ready, and that says nothing of its failed attempts."""
    station, server = shared
    server.add("de-1", status="blocked")
    memory = w.Memory(issues={"de-1": w.Effort(attempts=2)})
    for _ in range(12):
        memory = w.decide(w.observe(station, memory), memory, station.config).memory
    assert memory.issues["de-1"].attempts == 2


def test_database_that_is_away_is_no_reason_for_the_file_beside_it(rig, shared):
    station, server = shared
    w.run_round(station)
    assert station.store.load().backend == "beads"
    (rig.path / ".beads" / "metadata.json").unlink()
    (rig.path / ".beads" / "issues.jsonl").write_text('{"id": "de-stale", "title": "stale"}\n')
    later = w.Station(station.host, station.rig, station.config)
    assert (later.queue.backend, later.queue.backend_why) == ("beads", "remembered; its database is away")
    seen, _, _ = w.run_round(later)
    assert later.queue.backend == "beads"
    assert "de-stale" not in [issue.id for issue in seen.issues or ()]
    server.take_down()
    seen, _, _ = w.run_round(later)
    assert (seen.issues, seen.ports["queue"].state) == (None, w.UNKNOWN)


def test_queue_that_was_set_is_not_remembered_away(rig, shared):
    station, _ = shared
    w.run_round(station)
    local = w.Station(station.host, station.rig, w.make_config({"backend": "local"}, "f", {}))
    w.run_round(local)
    assert (local.queue.backend, local.store.load().backend) == ("local", "local")


@pytest.mark.parametrize("trouble", ["large", "unreadable"])
def test_memory_that_is_large_or_away_is_no_reason_for_the_file(rig, shared, monkeypatch, trouble):
    """Read by a smaller limit than its own, it once said that there had been no other queue."""
    station, _ = shared
    w.run_round(station)
    path = Path(station.store.path("witness.json"))
    (rig.path / ".beads" / "metadata.json").unlink()
    if trouble == "large":
        text = path.read_text().rstrip().rstrip("}")
        path.write_text(text + ', "config": {"x": "' + "y" * (2 << 20) + '"}}')
        assert w.Station(station.host, station.rig, station.config).queue.backend == "beads"
        return
    real = station.host.read

    def read(name, *limits):
        if name == str(path):
            raise PermissionError(13, "Permission denied", name)
        return real(name, *limits)

    monkeypatch.setattr(station.host, "read", read)
    queue = w.Station(station.host, station.rig, station.config).queue
    issues, _, port = queue.read_issues()
    assert (issues, port.state, "Permission denied" in port.reason) == (None, w.UNKNOWN, True)
