"""The daemon under abuse: whatever is done to its files, clock, tmux or user, it harms nobody and says so."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools import kit, stand
from tools.kit import wait_for

import witness as w

FAST = {
    "WITNESS_INTERVAL": "1",
    "WITNESS_START_GRACE": "0",
    "WITNESS_TOOL_TIMEOUT": "1",
    "WITNESS_MIN_FREE_DISK": "0",
    "WITNESS_MIN_FREE_MEMORY": "0",
    "WITNESS_MAX_LOAD_PER_CORE": "0",
    "WITNESS_SPAWN_DELAY_MS": "0",
}
SLEEP = [kit.PYTHON, "-c", "import time; time.sleep(600)"]
SPAWNING = {**FAST, "WITNESS_AGENT_COMMAND": json.dumps(SLEEP)}


@pytest.fixture
def start(witness, rig):
    """Start the rig's daemon and return its process."""

    def call(*words, **env):
        done = witness("start", *words, rig=rig, env={**FAST, **env})
        assert done.status == 0, done
        return rig.daemon()

    return call


def view(rig):
    try:
        return json.loads((rig.state / "witness-view.json").read_text())
    except (OSError, ValueError):
        return {}


def worker(rig, name):
    """Return one worker as the latest tick saw it."""
    return next((one for one in view(rig).get("polecats", ()) if one["name"] == name), {"state": None, "why": ""})


def wait_for_tick(rig, after=None):
    """Wait for a whole tick later than the view given, and return its view."""
    last = (after or {}).get("last_tick_at")
    return wait_for(lambda: "polecats" in view(rig) and view(rig)["last_tick_at"] != last and view(rig), 15, "a tick")


def wait_for_rounds(one, number):
    """Wait until a daemon has looked so often, told by the page faults of the children it asks in every look."""
    faults = None
    for _ in range(number + 1):

        def more(before=faults):
            fields = Path(f"/proc/{one.pid}/stat").read_bytes().rpartition(b")")[2].split()
            return int(fields[8]) != before and int(fields[8])

        assert kit.is_alive(one), "the daemon has ended"
        os.kill(one.pid, signal.SIGUSR1)
        faults = wait_for(more, 10, "the daemon to look")


def log(rig):
    path = rig.state / "witness.log"
    return path.read_text(errors="replace") if path.exists() else ""


def mails(rig, address):
    folder = rig.state / "mail" / address / "new"
    return [path.read_text() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def is_one_line(done):
    """Tell whether a failed command said what is wrong in one line, and nothing else."""
    return done.stdout == "" and re.fullmatch(r"witness: [^\n]+\n", done.stderr) is not None


# ---- the pid file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bystander():
    """Run a process that has nothing to do with any rig; it must outlive the test's body."""
    with subprocess.Popen(SLEEP) as child:
        yield child
        assert child.poll() is None, "a stranger was ended"
        child.kill()


def pid_files(bystander):
    """Return what may stand in a pid file although it names no daemon of ours: name -> content, None for a folder."""
    began = kit.start_time(bystander.pid)
    return {
        "recycled": json.dumps({"pid": bystander.pid, "start_time": began - 1}).encode(),
        "bare number": b"%d\n" % bystander.pid,
        "empty": b"",
        "binary": b"\0\xff\xfe" * 50,
        "its own group": json.dumps({"pid": 0, "start_time": began}).encode(),
        "everybody": json.dumps({"pid": -1, "start_time": began}).encode(),
        "negative": json.dumps({"pid": -bystander.pid, "start_time": began}).encode(),
        "huge number": json.dumps({"pid": 10**30, "start_time": 10**30}).encode(),
        "huge file": b'{"pid": %d, "x": "' % bystander.pid + b"x" * (2 << 20) + b'"}',
        "folder": None,
    }


def test_no_pid_file_makes_a_stranger_the_daemon_while_somebody_holds_the_lock(witness, rig, bystander):
    """Nothing is signalled, nothing is started, and the one line names the file that is wrong."""
    rig.state.mkdir(mode=0o700)
    path = rig.state / "witness.pid"
    fd = w.take_lock(str(rig.state / "witness.lock"))
    try:
        for name, content in pid_files(bystander).items():
            if path.exists():
                path.unlink()
            path.mkdir() if content is None else path.write_bytes(content)
            status = witness("status", rig=rig)
            assert (status.status, status.stderr) == (0, ""), name
            assert "its PID file is not its own" in status.stdout, name
            stopped = witness("stop", "--force", "--timeout", "0.05", rig=rig)
            assert stopped.status == 1, name
            assert is_one_line(stopped), name
            assert "witness.pid" in stopped.stderr, name
            assert "nothing was signalled" in stopped.stderr, name
            started = witness("start", "--timeout", "0.05", rig=rig)
            assert started.status == 1, name
            assert is_one_line(started), name
            assert "no daemon says it is ready" in started.stderr, name
            assert bystander.poll() is None, name
    finally:
        os.close(fd)


def test_pid_file_of_a_living_stranger_is_only_left_over_while_nobody_holds_the_lock(witness, rig, bystander):
    rig.state.mkdir(mode=0o700)
    note = {"pid": bystander.pid, "start_time": kit.start_time(bystander.pid)}
    (rig.state / "witness.pid").write_text(json.dumps(note))
    assert witness("status", rig=rig).status == 1
    assert witness("stop", "--force", rig=rig) == (0, "witness not running\n", "")
    assert witness("reload", rig=rig).status == 3
    started = witness("start", rig=rig, env=FAST)
    assert started.status == 0
    assert rig.daemon().pid not in (None, bystander.pid)


def test_copy_of_a_rig_that_is_just_starting_does_not_signal_the_original(witness, rig, start, tmp):
    """The copy's lock is busy and its pid file, still the original's, names a process with the right start time."""
    one = start()
    wait_for_tick(rig)
    shutil.copytree(rig.path, tmp / "copy", symlinks=True, ignore=shutil.ignore_patterns("*.tmp"))
    fd = w.take_lock(str(tmp / "copy/.gastown/witness.lock"))
    try:
        stopped = witness("stop", "--force", "--timeout", "0.1", "--rig", tmp / "copy")
        assert (stopped.status, "nothing was signalled" in stopped.stderr) == (1, True)
        assert witness("start", "--timeout", "0.1", "--rig", tmp / "copy").status == 1
        assert witness("reload", "--rig", tmp / "copy").status == 3
    finally:
        os.close(fd)
    assert kit.is_alive(one)
    assert witness("status", rig=rig).status == 0


# ---- its files taken away -------------------------------------------------------------------------------------------


def test_lock_file_deleted_ends_the_daemon_by_itself(witness, rig, start):
    one = start()
    wait_for_tick(rig)
    before = (rig.state / "witness.json").read_bytes()
    os.remove(rig.state / "witness.lock")
    wait_for(lambda: not kit.is_alive(one), 10, "the daemon to end")
    assert log(rig).count("witness.lock is gone or replaced: another Witness may be running") == 1
    assert "Traceback" not in log(rig)
    assert (rig.state / "witness.json").read_bytes() == before  # the folder may be another's: nothing is written
    assert start() != one


def test_state_folder_deleted_ends_the_daemon_and_makes_nothing_anew(witness, rig, start):
    worker = rig.add_polecat("alpha", SLEEP)
    one = start()
    wait_for_tick(rig)
    # Deleted in one step, as seen by the daemon; what it writes by path afterwards would show.
    os.rename(rig.state, rig.path / ".away")
    shutil.rmtree(rig.path / ".away")
    wait_for(lambda: not kit.is_alive(one), 10, "the daemon to end")
    assert not rig.state.exists()
    assert witness("status", rig=rig).status == 3
    assert witness("stop", rig=rig) == (0, "witness not running\n", "")
    assert not rig.state.exists()
    assert start() != one
    assert kit.process(worker.pane_pid) is not None


# ---- no space -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(rig):
    """Put the rig's state folder on a file system of 1 MiB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system; the test with a failing host stands for it")
    rig.state.mkdir(mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(rig.state)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield rig.state
    rig.stop_daemon()
    wait_for(lambda: subprocess.run(["umount", str(rig.state)], check=False).returncode == 0, 10, "the umount")


def fill(folder):
    """Write a file that takes all the space there is."""
    fd = os.open(folder / "ballast", os.O_WRONLY | os.O_CREAT)
    try:
        for size in (4096, 1):
            while True:
                try:
                    os.write(fd, b"x" * size)
                except OSError:
                    break
    finally:
        os.close(fd)


def pad(path):
    """Let a file end with its last page: the slack of a page takes a few lines also on a full disk."""
    with open(path, "ab") as file:
        file.write(b"x" * (-file.tell() % 4096 - 1) + b"\n")


def test_full_disk_stops_nothing_but_the_acting(witness, rig, small_disk):
    """A daemon that could not write its log died of the complaint about it."""
    assert witness("start", rig=rig, env=SPAWNING).status == 0
    one = rig.daemon()
    wait_for_tick(rig)
    for name in ("witness.log", "witness-events.jsonl"):
        pad(small_disk / name)
    fill(small_disk)
    before = {name: (small_disk / name).read_bytes() for name in ("witness.json", "witness.log")}
    assert witness("add", "one", rig=rig).status == 0  # the queue stands on another disk
    wait_for_rounds(one, 2)
    assert {name: (small_disk / name).read_bytes() for name in before} == before
    assert os.listdir(rig.path / "polecats") == []
    os.remove(small_disk / "ballast")
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: len(rig.tmux.panes()) == 1, 15, "the spawn")
    wait_for(lambda: "spawned:" in log(rig), 15, "the spawn to be settled")
    assert kit.is_alive(one)
    assert len(rig.tmux.panes()) == 1
    assert "Traceback" not in log(rig)


def test_daemon_is_stopped_on_a_full_disk_too(witness, rig, small_disk):
    """It could not note its end, nor `stop` that it was asked for: neither keeps it running."""
    assert witness("start", rig=rig, env=FAST).status == 0
    one = rig.daemon()
    wait_for_tick(rig)
    for name in ("witness.log", "witness-events.jsonl"):
        pad(small_disk / name)
    fill(small_disk)
    done = witness("stop", rig=rig)
    assert not kit.is_alive(one)
    assert done.status == 0
    assert re.fullmatch(
        rf"witness stopped \(pid {one.pid}\), which will not be remembered: .*No space left on device.*\n", done.stdout
    )
    done = witness("start", rig=rig)
    fill(small_disk)  # its pid file has set one page free
    done = witness("start", rig=rig)
    assert (done.status, is_one_line(done), "No space left" in done.stderr) == (1, True, True)
    assert witness("stop", rig=rig).stdout.startswith("witness not running")
    assert rig.daemon() is None


# ---- an ordinary user -----------------------------------------------------------------------------------------------

SOMEBODY = 54321
"""A user whom root becomes for these tests; no account has this number, which is one more thing that may not matter."""


class Ordinary:
    """A rig in a folder of an ordinary user, and commands run as that user, whose home may be anything."""

    def __init__(self, folder, archive):
        self.folder, self.path, self.state = folder, folder / "demo", folder / "demo/.gastown"
        self.uid = os.geteuid() or SOMEBODY
        self.archive = folder / "witness.pyz"
        shutil.copyfile(archive, self.archive)
        for name in ("home", "t"):
            (folder / name).mkdir(mode=0o700)
        self.environment = {**os.environ, **FAST, "TMPDIR": str(folder / "t"), "TMUX_TMPDIR": str(folder / "t")}
        self.environment["HOME"] = str(folder / "home")
        self.environment["GIT_CONFIG_GLOBAL"] = os.devnull
        del self.environment["SHIV_ROOT"]
        self.give(folder)
        pythons = [sys.executable, *kit.pythons().values(), shutil.which("python3", path=os.defpath)]
        self.python = next(filter(self.can_run, pythons), None)
        if self.python is None:
            pytest.skip(f"no Python on this machine can be run by uid {self.uid}")
        assert self.run("git", "init", "--quiet", self.path).status == 0
        self.state.mkdir(mode=0o700)
        self.give(self.state)

    def give(self, path):
        """Make everything below a path the user's."""
        for place in [path, *path.rglob("*")]:
            if not place.is_symlink():
                os.chown(place, self.uid, -1)

    def can_run(self, path):
        try:
            return bool(path) and self.run(path, "-c", "import sys; sys.exit(sys.version_info < (3, 9))").status == 0
        except OSError:
            return False

    def run(self, *words, **env):
        """Run a command as the user; a variable that is None is not there."""
        environment = {name: value for name, value in {**self.environment, **env}.items() if value is not None}
        switch = {"user": self.uid, "group": self.uid, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(
            list(map(str, words)),
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
            **switch,
        )
        return kit.Result(done.returncode, done.stdout, done.stderr)

    def witness(self, *words, **env):
        return self.run(self.python, self.archive, *words, "--rig", self.path, **env)

    def daemon(self):
        """Return the daemon that the pid file records, if it runs and is the user's."""
        path = self.state / "witness.pid"
        note = json.loads(path.read_text()) if path.exists() else {"pid": 0, "start_time": 0}
        one = kit.Process(note["pid"], note["start_time"])
        return one if kit.is_alive(one) and os.stat(f"/proc/{one.pid}").st_uid == self.uid else None


@pytest.fixture
def ordinary(pyz):
    folder = kit.make_root()  # outside of this run's own folder, which no other user may enter
    os.chmod(folder, 0o755)
    try:
        made = Ordinary(folder, pyz)
        yield made
        kit.end(*filter(None, [made.daemon()]), grace_s=5)
    finally:
        kit.remove(folder)


@pytest.fixture
def init():
    """Return a process of another user, whom an ordinary one cannot signal."""
    one = kit.process(1)
    if one is None or os.stat("/proc/1").st_uid == (os.geteuid() or SOMEBODY):
        pytest.skip("process 1 is not another user's here")
    return one


def test_process_of_another_user_is_alive_and_not_signalled(ordinary, init):
    """`stop` waited its whole time for it, and then said that it finishes the action in hand."""
    lock = ordinary.state / "witness.lock"
    fd = w.take_lock(str(lock))
    try:
        note = {"pid": init.pid, "start_time": init.start_time, "lock": lock.stat().st_ino}
        (ordinary.state / "witness.pid").write_text(json.dumps(note))
        ordinary.give(ordinary.state)
        assert ordinary.witness("status").stdout.startswith("witness running (pid 1")
        done = ordinary.witness("stop", "--timeout", "20", "--force")
        assert (done.status, is_one_line(done)) == (1, True)
        assert "pid 1 is another user's; nothing was signalled" in done.stderr
        done = ordinary.witness("reload")
        assert (done.status, is_one_line(done)) == (1, True)
        assert "pid 1 is another user's; nothing was signalled" in done.stderr
        assert ordinary.witness("start").stdout == "witness already running (pid 1)\n"
    finally:
        os.close(fd)
    assert ordinary.witness("stop") == (0, "witness not running\n", "")
    assert kit.is_alive(init)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_process_of_another_user_inside_does_not_block_a_retirement(ordinary):
    """Its folders cannot be read, and a backup or a scanner that passes by is nobody's work."""
    ordinary.run("git", "-C", ordinary.path, "commit", "--quiet", "--allow-empty", "-m", "x")
    tree = ordinary.path / "polecats/alpha"
    added = ordinary.run("git", "-C", ordinary.path, "worktree", "add", "-q", "-b", "polecat/alpha", tree)
    assert added.status == 0, added
    one = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd=tree)
    try:
        done = ordinary.witness("shutdown", "alpha", WITNESS_TMUX_SOCKET=f"w{os.urandom(4).hex()}")
        assert (done.status, done.stderr) == (0, ""), done
        assert not tree.exists()
        assert one.poll() is None
    finally:
        one.kill()
        one.wait(10)


def test_read_only_state_folder_starts_nothing_and_is_named_in_one_line(ordinary):
    ordinary.state.chmod(0o500)
    done = ordinary.witness("start")
    assert (done.status, is_one_line(done)) == (1, True)
    assert f"{ordinary.state}/witness.lock: Permission denied" in done.stderr
    assert ordinary.witness("status").status == 3
    assert ordinary.witness("stop").status == 0
    assert os.listdir(ordinary.state) == []


def test_state_folder_made_read_only_lets_the_daemon_go_on_and_be_stopped(ordinary):
    assert ordinary.witness("start").status == 0
    one = ordinary.daemon()
    wait_for_tick(ordinary)
    (ordinary.path / "polecats/nobody").mkdir(parents=True)  # something to remember: a stranger among the workers
    ordinary.give(ordinary.path / "polecats")
    ordinary.state.chmod(0o500)
    os.kill(one.pid, signal.SIGUSR1)
    wait_for(lambda: "Permission denied" in log(ordinary), 10, "the complaint")
    wait_for_rounds(one, 1)
    assert "Traceback" not in log(ordinary)
    done = ordinary.witness("stop")
    assert (done.status, kit.is_alive(one)) == (0, False)
    assert re.fullmatch(
        r"witness stopped \(pid \d+\), which will not be remembered: .*Permission denied\n", done.stdout
    )
    assert "Traceback" not in log(ordinary)
    assert ordinary.witness("status").status == 1  # its pid file could not be taken away
    ordinary.state.chmod(0o700)
    assert ordinary.witness("start").status == 0
    assert ordinary.daemon() != one


@pytest.mark.parametrize("home", ["none", "missing", "read-only"])
def test_home_is_not_needed(ordinary, home):
    folder = ordinary.folder / "home"
    folder.chmod(0o500)
    env = {"HOME": {"none": None, "missing": str(folder / "gone"), "read-only": str(folder)}[home]}
    assert ordinary.witness("start", **env).status == 0
    one = ordinary.daemon()
    wait_for_tick(ordinary)
    assert ordinary.witness("status", **env).status == 0
    assert ordinary.witness("stop", **env) == (0, f"witness stopped (pid {one.pid})\n", "")
    assert not kit.is_alive(one)
    assert os.listdir(folder) == []
    (private,) = (ordinary.folder / "t").glob("witness-*")
    assert (private.stat().st_uid, private.stat().st_mode & 0o777) == (ordinary.uid, 0o700)


# ---- the caller's umask ---------------------------------------------------------------------------------------------

TELL_UMASK = "import os, time; open('umask', 'w').write(oct(os.umask(0))); time.sleep(600)"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_our_files_are_private_and_an_agent_gets_the_callers_umask(witness, rig, umask):
    os.umask(umask)
    assert witness("add", "one", rig=rig).status == 0
    command = json.dumps([kit.PYTHON, "-c", TELL_UMASK])
    assert witness("start", rig=rig, env={**SPAWNING, "WITNESS_AGENT_COMMAND": command}).status == 0
    wait_for(lambda: "spawned:" in log(rig), 15, "the spawn")
    rig.tmux.remember()
    (told,) = wait_for(lambda: list((rig.path / "polecats").glob("*/umask")), 5, "the agent")
    assert wait_for(told.read_text) == oct(umask)
    assert witness("mail", "send", "mayor/", "-s", "HELP", "-b", "x", rig=rig).status == 0
    assert witness("hold", "alpha", "--reason", "x", rig=rig).status == 0
    assert witness("config", "set", "max_workers", "3", rig=rig).status == 0
    assert witness("stop", rig=rig).status == 0
    assert rig.state.stat().st_mode & 0o777 == 0o700
    ours = list(rig.state.rglob("*"))
    assert {"witness.log", "witness.json", "claims", "mail", "witness-hold.json"} <= {path.name for path in ours}
    found = {str(path.relative_to(rig.state)): oct(path.stat().st_mode & 0o777) for path in ours}
    assert found == {str(path.relative_to(rig.state)): "0o700" if path.is_dir() else "0o600" for path in ours}


# ---- tmux -----------------------------------------------------------------------------------------------------------


def test_tmux_that_was_never_there_is_no_trouble_and_comes_as_it_likes(witness, rig, start):
    """Never there, then started, killed with everything in it, started anew: each is seen, and nobody is harmed."""
    (rig.path / "polecats/alpha").parent.mkdir(exist_ok=True)
    rig.git("worktree", "add", "--quiet", "-b", "polecat/alpha", rig.path / "polecats/alpha")
    one = start()
    shown = wait_for_tick(rig)
    assert shown["ports"]["tmux"]["state"] == "ok"
    assert worker(rig, "alpha")["state"] == "dead"
    first = rig.tmux.new_session("gt-demo-alpha", rig.path / "polecats/alpha", SLEEP)
    wait_for(lambda: worker(rig, "alpha")["state"] == "working", 10, "the first session to be seen")
    rig.tmux.run("kill-server")
    wait_for(lambda: kit.process(first) is None, 5, "its end")
    wait_for(lambda: worker(rig, "alpha")["state"] == "dead", 10, "the end of the server to be seen")
    second = rig.tmux.new_session("gt-demo-alpha", rig.path / "polecats/alpha", SLEEP)
    wait_for(lambda: worker(rig, "alpha")["state"] == "working", 10, "the second session to be seen")
    assert kit.process(second) is not None
    assert (rig.path / "polecats/alpha/README").is_file()
    assert kit.is_alive(one)
    assert "Traceback" not in log(rig)


def test_tmux_that_cannot_be_asked_freezes_everything_until_it_answers(witness, rig):
    """A server that hangs, then one whose socket file is gone: no spawn, no restart, no word of a death."""
    worker_ = rig.add_polecat("alpha", SLEEP)
    env = {**SPAWNING, "WITNESS_ON_DEAD": "restart"}
    server = rig.tmux.server()
    os.kill(server, signal.SIGSTOP)
    try:
        assert witness("start", rig=rig, env=env).status == 0
        one = rig.daemon()
        assert witness("add", "one", rig=rig).status == 0
        wait_for_rounds(one, 2)
        shown = wait_for_tick(rig)
        assert worker(rig, "alpha")["state"] == "unknown"
        assert "no answer within 1 s" in shown["ports"]["tmux"]["reason"]
        assert "tmux is unknown" in shown["queue"]["reason"]
        assert os.listdir(rig.path / "polecats") == ["alpha"]
    finally:
        os.kill(server, signal.SIGCONT)
    wait_for(lambda: worker(rig, "alpha")["state"] == "working", 10, "tmux to be believed again")
    wait_for(lambda: "spawned:" in log(rig), 15, "the spawn")
    address = rig.tmux.run("display-message", "-p", "#{socket_path}")
    rig.tmux.remember()
    os.unlink(address)
    try:
        wait_for(lambda: worker(rig, "alpha")["state"] == "unknown", 10, "the lost socket to be seen")
        wait_for_rounds(one, 2)
        assert not os.path.exists(address)  # nothing has started a second server there
    finally:
        os.kill(server, signal.SIGUSR1)  # makes its socket anew
    wait_for(lambda: worker(rig, "alpha")["state"] == "working", 10, "tmux to be believed once more")
    assert kit.process(worker_.pane_pid) is not None
    # That tmux did not answer may be told; of a worker there is nothing to tell.
    assert not any("Polecat" in text.partition("\n\n")[0] for text in mails(rig, "mayor"))
    assert len(rig.tmux.panes()) == 2


# ---- several rigs ---------------------------------------------------------------------------------------------------


def test_start_inside_a_worktree_is_a_start_of_its_rig(witness, rig):
    """Also where the worktree holds a state folder of its own."""
    place = rig.add_polecat("alpha").path
    (place / ".gastown").mkdir()
    (place / ".gastown/witness.json").write_text("{}")
    (place / "deep").mkdir()
    env = {**FAST, "WITNESS_TMUX_SOCKET": rig.tmux.socket}
    done = witness("start", cwd=place / "deep", env=env)
    assert done == (0, f"witness started (pid {rig.daemon().pid}), rig demo in {rig.path}\n", "")
    assert witness("stop", cwd=place).status == 0
    assert os.listdir(place / ".gastown") == ["witness.json"]


@pytest.fixture
def twin(rig, repo, tmux):
    """Make a second rig of the same name, on the same tmux server: sessions of both are called alike."""
    made = type(rig)(repo("twin/demo").path, tmux)
    yield made
    made.stop_daemon()


def test_rig_of_the_same_name_does_not_touch_the_workers_of_the_other(witness, rig, twin):
    """`shutdown alpha` in one rig once ended the other's alpha, for both of their sessions have the same name."""
    mine = rig.add_polecat("alpha", SLEEP)
    twin.git("worktree", "add", "--quiet", "-b", "polecat/alpha", twin.path / "polecats/alpha")
    assert witness("start", rig=rig, env=FAST).status == 0
    assert witness("start", rig=twin, env={**FAST, "WITNESS_ON_DEAD": "restart"}).status == 0
    assert rig.daemon() != twin.daemon()
    wait_for_tick(rig)
    wait_for_tick(twin)
    assert worker(rig, "alpha")["state"] == "working"
    found = worker(twin, "alpha")
    assert (found["state"], f"session gt-demo-alpha is of {mine.path}" in found["why"]) == ("unknown", True)
    done = witness("shutdown", "alpha", "--force", rig=twin, env=FAST)
    assert done.status == 1
    assert f"not begun: session gt-demo-alpha is of {mine.path}" in done.stdout
    assert (twin.path / "polecats/alpha/README").is_file()
    assert witness("stop", rig=twin).status == 0
    assert kit.process(mine.pane_pid) is not None
    wait_for_tick(rig, view(rig))
    assert worker(rig, "alpha")["state"] == "working"


def test_clones_of_one_repository_with_its_issues_spawn_beside_each_other(witness, rig, twin):
    """The second took the first one's session for the worker that it had just made."""
    assert witness("add", "one", rig=rig).status == 0
    shutil.copytree(rig.path / ".beads", twin.path / ".beads")
    assert witness("spawn", rig=rig, env=SPAWNING).status == 0
    (pane,) = rig.tmux.panes()
    rig.tmux.remember()
    done = witness("spawn", rig=twin, env=SPAWNING)
    assert done.status == 1
    assert f"session {pane['session']} is of {rig.path}/polecats/" in done.stdout + done.stderr
    assert [one["pid"] for one in rig.tmux.panes()] == [pane["pid"]]
    (issue,) = json.loads(witness("issues", "--json", rig=twin).stdout)["issues"]
    env = {**SPAWNING, "WITNESS_SESSION_NAME": "twin-{name}"}
    assert witness("spawn", "reset", issue["id"], rig=twin, env=env).status == 0
    done = witness("spawn", issue["id"], rig=twin, env=env)
    rig.tmux.remember()
    assert done.status == 0, done
    assert len(rig.tmux.panes()) == 2


# ---- a host that fails, a clock that jumps --------------------------------------------------------------------------


class FullDisk(w.Host):
    """A host whose disk is full from the n-th durable write on, and whose clock runs ahead as far as it is told."""

    def __init__(self):
        self.count, self.full_from, self.ahead_s = 0, None, 0.0

    def now(self):
        return super().now() + self.ahead_s

    def _count(self, path):
        self.count += 1
        if self.full_from is not None and self.count >= self.full_from:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def write(self, path, *words, **options):
        self._count(path)
        super().write(path, *words, **options)

    def append(self, path, content, *words, **options):
        try:
            self._count(path)
        except OSError:
            super().append(path, content[: len(content) // 2], *words, **options)  # the first half found room
            raise
        super().append(path, content, *words, **options)

    def move(self, old, new):
        self._count(new)
        super().move(old, new)

    def make_folder(self, path, *words, **options):
        if not os.path.isdir(path):
            self._count(path)
        super().make_folder(path, *words, **options)


def take_turns(station, number, step_s):
    """Do rounds as a daemon would, so many seconds apart; return why some failed."""
    failed = []
    for _ in range(number):
        station.host.ahead_s += step_s
        try:
            stand.run_rounds(station)
        except w.StateError as error:
            failed.append(error.line())
    return failed


def test_disk_that_is_full_from_any_write_on_loses_nothing_and_repeats_nothing(rig, monkeypatch):
    """A nudge, a letter of a death and a forwarded mail are due; the disk fills up at the first, second, … write."""
    rig.add_polecat("alpha", SLEEP)
    rig.add_polecat("beta")
    real, done = w.perform, []

    def perform(station, action):
        on_disk = Path(station.store.path("witness.json")).read_text()
        saved_at = w.load_memory(on_disk).last_check_at
        assert on_disk == w.dump_memory(station.memory.but(last_check_at=saved_at))
        done.append(action)
        return real(station, action)

    monkeypatch.setattr(w, "perform", perform)
    met = 0
    for number in range(1, 200):
        shutil.rmtree(rig.state, ignore_errors=True)
        host = FullDisk()
        settings = {"stuck_after": 5, "nudge_wait": 60, "escalate_after": 86400, "nudge_via": "mail"}
        station = stand.make_station(rig, host, interval=1, **settings)
        stand.run_rounds(station)
        station.mailbox.deliver("demo/witness", "HELP: which API?", "?", "help", sender="demo/alpha")
        done.clear()
        host.count, host.full_from = 0, number
        failed = take_turns(station, 4, 10)
        assert all("No space left on device" in line for line in failed), failed
        met, count = max(met, host.count), host.count
        host.full_from = None
        assert take_turns(station, 6, 120) == []
        subjects = sorted(re.search(r"\nSubject: (.*)", text).group(1) for text in mails(rig, "mayor"))
        assert len([one for one in subjects if "beta dead" in one]) == 1, (number, subjects)
        assert len([one for one in subjects if "HELP" in one]) == 1, (number, subjects)
        assert len(mails(rig, "demo.alpha")) <= 1, number
        assert sum(isinstance(action, w.Nudge) for action in done) == 1, number
        assert len(os.listdir(rig.state / "mail/demo.witness/new")) == 0, number
        assert station.memory.pending == {}, number
        if count < number:
            break
    assert met > 10
    assert len(mails(rig, "demo.alpha")) == 1


YEAR_S = 365 * 86400


@pytest.fixture
def pager(tmp):
    """Make an escalate_command that fails until the file `works` is there, and then notes each call."""
    command = tmp / "page"
    command.write_text(f"#!/bin/sh\ntest -e {tmp}/works && echo paged >>{tmp}/pages\n")
    command.chmod(0o755)
    return command


def test_clock_that_was_a_year_ahead_leaves_nothing_waiting_for_a_year(rig, tmp, pager):
    """What was noted under the wrong clock waited until that time would come again."""
    rig.add_polecat("alpha", stand.SPEAK)
    rig.add_polecat("beta")
    host = FullDisk()
    station = stand.make_station(rig, host, interval=1, escalate_command=[str(pager)])
    take_turns(station, 2, 1)
    host.ahead_s += YEAR_S
    stand.run_rounds(station, gap=True)
    assert not any(kind in ("nudged", "letter") for kind, _ in stand.events(station))
    assert station.memory.polecats["alpha"].state == "working"
    take_turns(station, 4, 2)
    assert station.memory.pending  # beta's death was to be told, and the command failed
    host.ahead_s -= YEAR_S
    (tmp / "works").touch()
    stand.run_rounds(station, gap=True)
    take_turns(station, 4, 100)
    assert station.memory.pending == {}
    assert (tmp / "pages").read_text() == "paged\n"
    assert station.memory.polecats["alpha"].state == "working"
    noted = (rig.state / "witness.json").read_text()
    ahead = {name for name, year in re.findall(r'"(\w+)": "(\d{4})-', noted) if int(year) > time.gmtime().tm_year}
    assert ahead == {"opened_at"}  # which is part of a name, and nothing waits for it


def test_spawn_under_way_gets_its_whole_time_after_a_gap(rig):
    """A clock set forward ended a spawn that had just begun."""
    host = FullDisk()
    station = stand.make_station(rig, host, interval=1)
    stand.run_rounds(station)
    now = host.now()
    station.remember(station.memory.but(spawn=w.Spawn(issue="demo-1", at=now, deadline_at=now + 300)))
    fd = w.take_lock(station.store.path("witness-spawn.lock"))  # as the child holds it
    try:
        host.ahead_s += YEAR_S
        _, decision, _ = stand.run_rounds(station, gap=True)
        assert not any(isinstance(action, w.EndSpawn) for action in decision.actions)
        assert station.memory.spawn.deadline_at == pytest.approx(host.now() + 300, abs=5)
        host.ahead_s -= YEAR_S
        stand.run_rounds(station, gap=True)
        assert station.memory.spawn.deadline_at == pytest.approx(host.now() + 300, abs=5)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("wall_s", "slow_s", "gap"), [(100, 0, True), (-60, 0, True), (100, 100, False), (0, 0, False)]
)
def test_clock_set_anew_within_a_tick_is_a_gap_and_a_slow_tick_is_none(rig, monkeypatch, wall_s, slow_s, gap):
    """A host that was suspended during a long retirement had all its workers looked at as stuck."""
    host = FullDisk()
    station = stand.make_station(rig, host)
    fd = w.take_lock(station.store.path("witness.lock"))
    loop = w.Loop(station, fd, station.store.read_config, [].append)
    real, gaps = host.mono, []

    def tick(after_gap):
        gaps.append(after_gap)
        loop.stopping = "enough" if len(gaps) == 3 else ""
        if len(gaps) == 1:
            host.ahead_s += wall_s
            monkeypatch.setattr(host, "mono", lambda: real() + slow_s)
        return False, host.now()

    monkeypatch.setattr(loop, "_tick", tick)
    monkeypatch.setattr(loop, "_wait", lambda _: False)
    try:
        loop.run()
    finally:
        os.close(fd)
    assert gaps == [False, gap, False]


def test_worker_born_under_a_clock_that_ran_ahead_may_ask_for_shutdown(rig):
    """Its every request was older than itself, and archived as stale."""
    rig.add_polecat("alpha", SLEEP)
    (rig.path / "polecats/alpha/new").write_text("not committed")  # so that the answer is a refusal, which says so
    host = FullDisk()
    host.ahead_s = -YEAR_S
    station = stand.make_station(rig, host, interval=1)
    station.mailbox.deliver("demo/witness", "LIFECYCLE:Shutdown alpha", "Polecat: alpha", "ask", sender="demo/alpha")
    (letter,) = (rig.state / "mail/demo.witness/new").iterdir()
    os.utime(letter, (host.now(), host.now()))
    stand.run_rounds(station, 3)
    assert ("refused", "alpha") in stand.events(station)


LONG_STOP_S = 11.0
"""Longer than what counts as a gap at an interval of 1 s: the greater of two intervals and 10 s."""


def wait_until_idle(one):
    """Wait until a daemon is between two ticks: it has no child and sleeps in its wait."""

    def sleeps():
        return Path(f"/proc/{one.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"S"

    wait_for(lambda: kit.tree(one.pid) == [one] and sleeps(), 5, "the wait between two ticks")


SPEAK_UNTIL = "import os, sys, time\nwhile True: os.path.exists(sys.argv[1]) or print(1, flush=True); time.sleep(0.2)"


def test_daemon_that_was_stopped_for_long_does_nothing_that_a_timer_causes_in_its_first_tick(rig, start, tmp):
    """As after a suspend: the worker stood still as long, and is not called stuck for it."""
    rig.add_polecat("alpha", [kit.PYTHON, "-c", SPEAK_UNTIL, str(tmp / "quiet")])
    one = start(WITNESS_STUCK_AFTER="3", WITNESS_NUDGE_WAIT="1", WITNESS_NUDGE_VIA="mail")
    wait_for_tick(rig)
    wait_until_idle(one)
    os.kill(one.pid, signal.SIGSTOP)
    try:
        (tmp / "quiet").touch()
        began, before = time.monotonic(), view(rig)
        wait_for(lambda: time.monotonic() - began > LONG_STOP_S, 20, "the time of the stop to pass")
        assert view(rig) == before
    finally:
        os.kill(one.pid, signal.SIGCONT)
    wait_for_tick(rig, before)
    assert worker(rig, "alpha")["state"] == "working"
    assert mails(rig, "demo.alpha") == []
    wait_for(lambda: mails(rig, "demo.alpha"), 20, "the timers to run again")  # for it goes on standing still
    assert kit.is_alive(one)
    assert "Traceback" not in log(rig)


def test_daemon_survives_a_clock_set_forth_and_back_under_it(witness, rig, tmp):
    """The same with a real clock: libfaketime shows the daemon the time that a file says."""
    faketime = shutil.which("faketime")
    if not faketime:
        pytest.skip("faketime is not installed; the clock of a host in this process stands for it")
    # From 3.11 on Python sleeps by clock_nanosleep, and libfaketime (0.9.10) lets that fail once the clock was set.
    old = next((path for version, path in kit.pythons().items() if version in ("3.9", "3.10")), None)
    if not old:
        pytest.skip("no Python 3.9 or 3.10 is here; a newer one cannot sleep under libfaketime")
    clock = tmp / "clock"
    clock.write_text("+0d\n")
    rig.add_polecat("alpha", stand.SPEAK)
    library = subprocess.run(
        [faketime, "+0d", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True, timeout=20
    ).stdout.strip()
    env = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "FAKE_UTIME": "0",
    }
    assert witness("--version", python=old).status == 0  # unpacked before, which sets times of files
    assert witness("start", rig=rig, env={**FAST, **env}, python=old).status == 0
    one = rig.daemon()
    for shift in ("+400d", "-400d", "+0d"):
        before = wait_for_tick(rig)
        clock.write_text(f"{shift}\n")
        os.kill(one.pid, signal.SIGUSR1)
        wait_for_tick(rig, before)
        wait_for_rounds(one, 2)
        assert worker(rig, "alpha")["state"] == "working"
    assert kit.is_alive(one)
    assert mails(rig, "mayor") == mails(rig, "demo.alpha") == []
    assert "Traceback" not in log(rig)
    assert witness("stop", rig=rig).status == 0
