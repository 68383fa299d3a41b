"""The seal around every test, the real tools in it, and the order in which tests run.

Nothing here reaches the user's home, git configuration or tmux server; whatever a test starts is ended by pid and
start time, and what is left all the same is an error of the run. Helpers that are no fixtures stand in tools/kit.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.configuration
import pytest
from tools import beads, kit
from tools.kit import ENVIRONMENT, ROOT, Process, Result
from tools.tmux import Tmux
from tools.town import Town

# What a child may need of the caller's environment; everything else is left outside.
KEPT = ("PATH", "LD_LIBRARY_PATH", "USER", "LOGNAME", "CI", "PYENV_ROOT")

GITCONFIG = """\
[user]
\tname = Tess Ter
\temail = tess@example.org
[init]
\tdefaultBranch = main
[commit]
\tgpgSign = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
[core]
\tfsync = none
[protocol "file"]
\tallow = always
"""

SEED = int(ENVIRONMENT.get("WITNESS_TEST_SEED") or random.SystemRandom().randrange(1_000_000))
SHARD, SHARDS = map(int, (ENVIRONMENT.get("WITNESS_TEST_SHARD") or "1/1").split("/"))


# ---- the seal -------------------------------------------------------------------------------------------------------


def sealed_environment(root: Path) -> dict[str, str]:
    """Return the whole environment of the tests, every path of it under root."""
    environment = {name: ENVIRONMENT[name] for name in KEPT if name in ENVIRONMENT}
    home = root / "home"
    environment.update(
        HOME=str(home),
        XDG_CONFIG_HOME=str(home / ".config"),
        XDG_CACHE_HOME=str(home / ".cache"),
        XDG_DATA_HOME=str(home / ".local/share"),
        XDG_STATE_HOME=str(home / ".local/state"),
        TMPDIR=str(root / "t"),
        TMUX_TMPDIR=str(root / "x"),  # a socket's path must stay under about 100 bytes
        SHIV_ROOT=str(root / "shiv"),
        # `/usr/bin/env python3` finds the interpreter that runs the tests, without a version manager's shim.
        PATH=os.pathsep.join([str(root / "bin"), ENVIRONMENT.get("PATH", os.defpath)]),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_CONFIG_GLOBAL=str(home / ".gitconfig"),
        GIT_AUTHOR_NAME="Tess Ter",
        GIT_AUTHOR_EMAIL="tess@example.org",
        GIT_COMMITTER_NAME="Tess Ter",
        GIT_COMMITTER_EMAIL="tess@example.org",
        GIT_TERMINAL_PROMPT="0",
        GIT_CEILING_DIRECTORIES=str(root.parent),
        EDITOR="false",
        SHELL="/bin/sh",
        TERM="xterm",
        TZ="UTC",
        LC_ALL="C.UTF-8",
    )
    return environment


def furnish_home(root: Path) -> None:
    """Bring the home back to what a test may expect: a git configuration and nothing else."""
    home = root / "home"
    for entry in os.listdir(home):
        if entry != ".gitconfig":
            kit.remove(home / entry)
    settings = home / ".gitconfig"
    if not settings.is_file() or settings.read_text() != GITCONFIG:
        settings.write_text(GITCONFIG)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    root = kit.make_root(ENVIRONMENT.get("WITNESS_TEST_BASE"))
    config.witness_root = root
    config.witness_leaks = []
    for name in ("home", "t", "x", "bin", "shiv", "w"):
        (root / name).mkdir(mode=0o700)
    (root / "bin/python3").symlink_to(getattr(sys, "_base_executable", "") or sys.executable)
    os.environ.clear()
    os.environ.update(sealed_environment(root))
    os.umask(0o022)
    tempfile.tempdir = None  # read TMPDIR again
    furnish_home(root)
    config.option.basetemp = config.option.basetemp or str(root / "p")

    # The same examples every time, so that a red run is about the change at hand; `thorough` looks for new ones.
    thorough = ENVIRONMENT.get("HYPOTHESIS_PROFILE") == "thorough"
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(SEED) if thorough else "0"
    hypothesis.configuration.set_hypothesis_home_dir(root / "hypothesis")
    # A machine under load is no finding, hence no deadline and no complaint about slow examples.
    common = {
        "deadline": None,
        "derandomize": False,
        "print_blob": True,
        "suppress_health_check": [hypothesis.HealthCheck.too_slow],
    }
    hypothesis.settings.register_profile("default", max_examples=60, **common)
    hypothesis.settings.register_profile("quick", max_examples=10, **common)
    hypothesis.settings.register_profile("thorough", max_examples=2000, **common)
    hypothesis.settings.load_profile(ENVIRONMENT.get("HYPOTHESIS_PROFILE") or "default")


def pytest_unconfigure(config):
    root = getattr(config, "witness_root", None)
    if root is not None:
        kit.remove(root)


@pytest.fixture(autouse=True)
def seal(request):
    """Give each test the same environment, folder, umask and home, and take back what it changed."""
    before, folder = dict(os.environ), os.getcwd()
    yield
    os.chdir(folder)
    os.umask(0o022)
    current = os.environ.get("PYTEST_CURRENT_TEST")
    if {**os.environ, "PYTEST_CURRENT_TEST": ""} != {**before, "PYTEST_CURRENT_TEST": ""}:
        os.environ.clear()
        os.environ.update(before)
        if current is not None:
            os.environ["PYTEST_CURRENT_TEST"] = current
    furnish_home(request.config.witness_root)


# ---- order, shards, counts ------------------------------------------------------------------------------------------


def pytest_report_header(config):
    shard = f", shard {SHARD} of {SHARDS}" if SHARDS > 1 else ""
    return f"order: WITNESS_TEST_SEED={SEED}{shard}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Shuffle the files, and the tests within a file: a fixture of a whole file is still made once."""
    chance = random.Random(SEED)
    files: dict[str, list] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    order = list(files.values())
    chance.shuffle(order)
    for group in order:
        chance.shuffle(group)
    items[:] = [item for group in order for item in group]
    if SHARDS > 1:  # the slow ones first, so that no shard has a long one left when the others are done
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def claim(item) -> bool:
    """Take a test for this shard; False where another one has it."""
    name = hashlib.sha256(item.nodeid.encode()).hexdigest()
    try:
        os.close(os.open(Path(ENVIRONMENT["WITNESS_TEST_BASE"], "claims", name), os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    """Run what no other shard has begun, one test after the other; without shards pytest's own loop does it."""
    if SHARDS == 1 or session.testsfailed or session.config.option.collectonly:
        return None
    ours = filter(claim, session.items)
    item = next(ours, None)
    while item is not None:
        following = next(ours, None)  # its fixtures decide which of this one's are kept
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    config = session.config
    config.witness_leaks = kit.leftovers(config.witness_root)
    if config.witness_leaks:
        kit.end(*[one for one, _, _ in config.witness_leaks])
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    counts = ENVIRONMENT.get("WITNESS_TEST_COUNTS")
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if counts and reporter:
        number = {name: len(reports) for name, reports in reporter.stats.items()}
        Path(counts).write_text(
            json.dumps(
                {
                    "passed": number.get("passed", 0) + number.get("xfailed", 0),
                    "failed": number.get("failed", 0) + number.get("error", 0) + len(config.witness_leaks),
                    "skipped": number.get("skipped", 0),
                }
            )
        )


def pytest_terminal_summary(terminalreporter, config):
    for one, words, test in config.witness_leaks:
        terminalreporter.write_line(f"ERROR left running by {test}: pid {one.pid}: {words}", red=True)


# ---- tools for tests ------------------------------------------------------------------------------------------------


@pytest.fixture
def wait_for():
    """Hand out the polling helper; `from tools.kit import wait_for` is the same one."""
    return kit.wait_for


@pytest.fixture
def tmp(request):
    """Make a temporary folder with a short path."""
    path = Path(tempfile.mkdtemp(prefix="", dir=request.config.witness_root / "w"))
    yield path
    kit.remove(path)


class Repo:
    """A real git repository."""

    def __init__(self, path: Path):
        self.path = path

    def git(self, *argv, cwd=None, check=True, **options) -> str:
        """Run git in the repository and return what it printed, without the last line end."""
        done = subprocess.run(
            ["git", *map(str, argv)],
            cwd=str(cwd or self.path),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            stdin=None if "input" in options else subprocess.DEVNULL,
            timeout=60,
            check=False,
            **options,
        )
        assert done.returncode == 0 or not check, f"git {argv} ended with {done.returncode}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def commit(self, message="change", files=None, cwd=None) -> str:
        """Write the files ({name: text or bytes}), commit everything there is, and return the commit's name."""
        folder = Path(cwd or self.path)
        for name, content in ({"file": message} if files is None else files).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all", cwd=folder)
        self.git("commit", "--quiet", "--allow-empty", "--message", message, cwd=folder)
        return self.git("rev-parse", "HEAD", cwd=folder)


@pytest.fixture
def repo(tmp):
    """Make repositories: repo(name="repo", files=None) has a first commit on main."""

    def make(name="repo", files=None) -> Repo:
        path = tmp / name
        path.mkdir(parents=True)
        made = Repo(path)
        made.git("init", "--quiet")
        made.commit("first", {"README": "first\n"} if files is None else files)
        return made

    return make


@pytest.fixture
def tmux():
    """Hand out a private tmux server, ended with the test."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    server = Tmux()
    yield server
    server.kill()


class Polecat:
    """One worker of the rig: its worktree, its branch and, where it runs, its session and pane."""

    def __init__(self, name, path, branch, session, pane_pid):
        self.name, self.path, self.branch, self.session, self.pane_pid = name, path, branch, session, pane_pid


class Rig(Repo):
    """A repository in which polecats work, with a tmux server of its own."""

    def __init__(self, path: Path, server: Tmux):
        super().__init__(path)
        self.name = path.name
        self.tmux = server
        self.polecats: dict[str, Polecat] = {}
        (path / "polecats").mkdir()

    def add_polecat(self, name, argv=None, env=None) -> Polecat:
        """Make a linked worktree for a polecat and, where argv is given, a session that runs it there."""
        path, branch, session = self.path / "polecats" / name, f"polecat/{name}", f"gt-{self.name}-{name}"
        self.git("worktree", "add", "--quiet", "-b", branch, path)
        pid = self.tmux.new_session(session, path, argv, env) if argv else None
        self.polecats[name] = Polecat(name, path, branch, session, pid)
        return self.polecats[name]

    @property
    def state(self) -> Path:
        """The state folder: the one that is there, else the one that will be made."""
        found = [self.path / name for name in (".gastown", ".runtime") if (self.path / name).is_dir()]
        return found[0] if found else self.path / ".gastown"

    def daemon(self) -> Process | None:
        """Return the rig's daemon, if the one that its pid file records runs."""
        for folder in (".gastown", ".runtime"):
            try:
                said = json.loads((self.path / folder / "witness.pid").read_text())
                one = Process(int(said["pid"]), int(said["start_time"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if kit.is_alive(one):
                return one
        return None

    def stop_daemon(self) -> None:
        """End the daemon and its children, whatever state it is in."""
        one = self.daemon()
        if one:
            children = kit.tree(one.pid)
            kit.end(one, grace_s=5)
            kit.end(*children)


@pytest.fixture
def rig(repo, tmux):
    """Make a rig called demo, with no polecat yet; its daemon, if a test started one, ends with the test."""
    made = Rig(repo("demo").path, tmux)
    yield made
    made.stop_daemon()


@pytest.fixture
def server(tmp):
    """Make an empty database of the stand-in for bd."""
    return beads.Server(tmp / "server")


@pytest.fixture
def program(tmp, monkeypatch):
    """Put the stand-in for bd in front of the PATH; program.use(version) makes it another one."""
    found = beads.Bin(tmp / "bin")
    monkeypatch.setenv("PATH", found.path())
    return found


@pytest.fixture
def origin(repo):
    """Make the repository that hosts clone, and that takes what their workers push."""
    made = repo("origin", {"README": "first\n"})
    made.git("config", "receive.denyCurrentBranch", "ignore")
    return made


@pytest.fixture
def clones(tmp):
    """Make rigs called demo that stand for hosts: clones(origin, name), each with a tmux server of its own."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    made = []

    def make(origin: Path, name: str) -> Rig:
        path = tmp / name / "demo"
        Repo(tmp).git("clone", "--quiet", origin, path)
        made.append(Rig(path, Tmux()))
        return made[-1]

    yield make
    for one in made:
        one.stop_daemon()
        one.tmux.kill()


@pytest.fixture
def town(tmp):
    """Make Gas Towns around the stand-ins: town(pair="1.0.1", **options of stand_gt.py); all of it ends with the test.

    Two towns older than 1.0.1 in one test share tmux's default socket, as they would share the user's.
    """
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    made = []

    def make(pair="1.0.1", **options) -> Town:
        made.append(Town(tmp / f"g{len(made)}", Tmux(), pair, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="session")
def pyz(pytestconfig) -> Path:
    """Return the path of a witness.pyz of this source: the one build.sh made, else one made now."""
    given = ENVIRONMENT.get("WITNESS_PYZ")
    if given:
        return Path(given)
    target = pytestconfig.witness_root / "bin/witness.pyz"
    subprocess.run(
        [sys.executable, str(ROOT / "tests/tools/archive.py"), str(target)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    return target


@pytest.fixture
def witness(pyz):
    """Run the archive as a child: witness("status", rig=rig) == (status, stdout, stderr)."""

    def call(*args, rig=None, env=None, cwd=None, timeout=60, stdin=None, python=sys.executable) -> Result:
        environment = dict(os.environ)
        if rig is not None:
            environment["WITNESS_TMUX_SOCKET"] = rig.tmux.socket
        environment.update(env or {})
        with subprocess.Popen(
            [python, str(pyz), *map(str, args)],
            env=environment,
            text=True,
            errors="replace",
            cwd=str(cwd or (rig.path if rig else "/")),
            start_new_session=True,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            try:
                stdout, stderr = child.communicate(stdin, timeout=timeout)
            except BaseException:
                # Its own session, so that whatever it waits for ends with it.
                os.killpg(child.pid, signal.SIGKILL)
                raise
        return Result(child.returncode, stdout, stderr)

    return call
