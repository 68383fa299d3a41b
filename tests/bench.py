"""Print each budget beside what is measured, in one run on one machine: `./build.sh bench [--peers] [--workers N]`.

Exit 1 where a budget is broken or a line is missing. Every time is of whole processes seen from outside, in rounds in
which each command has its turn, so that whatever else the machine does falls on all alike; the unit is the start of
the bare interpreter, `python3 -I -S -c pass`. The rigs are real: worktrees of git, panes of a tmux server of our own.

--peers    measure supervisor and circus, installed into a private venv, beside ours
--workers  the largest rig (1000)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tools import kit

REFERENCE_MS = 12.0
"""What the bare interpreter takes where the CPU budgets of design 17 were set; here they grow with it."""
ROUNDS = 15
IDLE_S = 121.0
"""Four intervals and a moment: the daemon's returns from its wait are counted over two minutes."""
TICKS = 8
QUIET = {  # nobody is stuck, nothing is spawned, and no guard of the host has a say
    "WITNESS_STUCK_AFTER": "604800",
    "WITNESS_QUIET_AFTER": "604800",
    "WITNESS_AUTO_SPAWN": "false",
    "WITNESS_MIN_FREE_DISK": "0",
}
PEERS = ("supervisor==4.3.0", "circus==0.19.0")

HOURS = 24.0
SLEEPER = "import time; time.sleep(600)"
START_BUDGET = 3.5 if sys.version_info >= (3, 11) else 5.0

# name -> (the budget, its unit); `measured` gets a row of the same name, or the run fails.
BUDGETS = {
    "start to ready": (10.0, "x the bare interpreter"),
    **{
        name: row
        for size in ("1 worker", "most workers")
        for name, row in {
            f"status, {size}": (START_BUDGET, "x the bare interpreter"),
            f"calls of tmux a tick, {size}": (1.0, "at most in any tick"),
            f"calls of git a tick, {size}": (0.0, "at most in any tick"),
        }.items()
    },
    "own CPU a tick, 1 worker": (5.15, "ms, by the bare interpreter's 12 ms"),
    "own CPU a tick, 10 workers": (6.5, "ms, by the bare interpreter's 12 ms"),
    "own CPU a tick, 100 workers": (20.0, "ms, by the bare interpreter's 12 ms"),
    "own CPU a tick, most workers": (155.0, "ms, by the bare interpreter's 12 ms"),
    "own CPU for one worker more": (0.15, "ms, by the bare interpreter's 12 ms"),
    "own CPU of most workers, by as many hundreds": (1.1, "x, or it is not linear"),
    # The aim was 1.3. An interpreter that does nothing, but has imported what any tick needs (json, select, signal,
    # fcntl), is printed beside it; what is left is code, of which there is twice as much as when 1.3 was set.
    "memory of the idle daemon": (1.5, "x an interpreter that sleeps"),
    "memory after a day of 200 workers": (1.7, "x an interpreter that sleeps"),
    "memory after that day, by its 100th tick": (1.03, "x"),
    "returns of the wait a minute": (4.0, "at the default interval"),
    "idle CPU, 20 workers": (0.05, "% of one core, by the bare interpreter's 12 ms"),
}


class Rig:
    """A real rig that grows: worktrees, and panes in which nothing moves."""

    def __init__(self, root: Path, pyz: Path) -> None:
        self.root, self.path, self.pyz = root, root / "demo", root / "witness.pyz"
        shutil.copy(pyz, self.pyz)
        self.count, self.socket, self.calls = 0, f"w{random.SystemRandom().randrange(16**8):08x}", root / "calls"
        for folder in (self.path, root / "home", root / "t", root / "bin"):
            folder.mkdir()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("WITNESS_", "GIT_"))}
        self.env.update(QUIET, HOME=str(root / "home"), TMUX_TMPDIR=str(root / "t"), WITNESS_TMUX_SOCKET=self.socket)
        self.env.update(GIT_CONFIG_GLOBAL=os.devnull, PATH=f"{root / 'bin'}:{os.environ['PATH']}", TMUX="")
        for tool in ("git", "tmux"):  # each call of the daemon leaves a byte
            stub = root / "bin" / tool
            stub.write_text(f'#!/bin/sh\nprintf . >>"{self.calls}.{tool}"\nexec {shutil.which(tool)} "$@"\n')
            stub.chmod(0o755)
        self.git("init", "--quiet")
        identity = ("-c", "user.name=b", "-c", "user.email=b@example.org")
        self.git(*identity, "commit", "--quiet", "--allow-empty", "-m", "first")

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.path, env=self.env, check=True, stdin=subprocess.DEVNULL)

    def tmux(self, *words: str) -> None:
        words = ("tmux", "-L", self.socket, "-f", "/dev/null", *words)
        subprocess.run(words, cwd="/", env=self.env, check=True, stdin=subprocess.DEVNULL)

    def grow(self, count: int) -> float:
        """Make workers until there are so many; return the seconds that took."""
        began, lines = time.monotonic(), []
        for number in range(self.count, count):
            name = f"w{number:04d}"
            tree = self.path / "polecats" / name
            self.git("worktree", "add", "--quiet", "-b", f"polecat/{name}", str(tree))
            lines.append(f"new-session -d -s gt-demo-{name} -c '{tree}' 'exec sleep 100000'\n")
        if lines:
            script = self.root / "sessions"
            script.write_text("".join(lines))
            if not self.count:
                self.tmux("new-session", "-d", "-s", "none", "exec sleep 100000")
            self.tmux("source-file", str(script))
        self.count = max(self.count, count)
        return time.monotonic() - began

    def argv(self, *words: str) -> list:
        return [sys.executable, str(self.pyz), *words, "--rig", str(self.path)]

    def witness(self, *words: str, **env: str) -> str:
        done = subprocess.run(
            self.argv(*words), env={**self.env, **env}, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(words)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def view(self) -> dict:
        with contextlib.suppress(OSError, ValueError):
            text = (self.path / ".gastown" / "witness-view.json").read_text()
            return json.loads(text.partition("\n,")[0] + "}")  # a thousand workers stand on the second line
        return {}

    def loop(self) -> dict:
        return self.view().get("loop", {"ticks": 0, "waits": 0})

    def note(self) -> dict:
        return json.loads((self.path / ".gastown" / "witness.pid").read_text())

    def pid(self) -> int:
        return int(self.note()["pid"])

    def count_calls(self, tool: str) -> int:
        file = Path(f"{self.calls}.{tool}")
        return file.stat().st_size if file.exists() else 0

    def end(self) -> None:
        with contextlib.suppress(BaseException):
            self.witness("stop")
        with contextlib.suppress(BaseException):
            self.tmux("kill-server")


# ---- measuring ------------------------------------------------------------------------------------------------------


def run_once(argv, env=None) -> float:
    """Return the milliseconds from before a process is started until it has ended."""
    devnull = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    began = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, env or os.environ, file_actions=devnull)
    os.waitpid(pid, 0)
    return 1000 * (time.perf_counter() - began)


def race(commands: dict, rounds: int = ROUNDS) -> dict:
    """Return name -> milliseconds of each round; everybody has a turn in each round, in an order of chance."""
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name in random.sample(list(commands), len(commands)):
            times[name].append(run_once(*commands[name]))
    return times


def spread(values) -> tuple:
    """Return (median, half of the spread of the middle half)."""
    low, _, high = statistics.quantiles(values, n=4)
    return statistics.median(values), (high - low) / 2


def ratio(times, floor) -> tuple:
    """Return spread of times as multiples of the floor's median."""
    unit = statistics.median(floor)
    return tuple(value / unit for value in spread(times))


def cpu_ms(pid: int) -> float:
    """Return the CPU time of a process without its children, exact to the nanosecond where the kernel tells."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000.0 / os.sysconf("SC_CLK_TCK")


def children_ms(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * 1000.0 / os.sysconf("SC_CLK_TCK")


def status_of(pid: int, key: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(key + ":")))


def measure_ticks(rig: Rig, ticks: int = TICKS) -> dict:
    """Return what each of so many ticks of the running daemon costs; its children and the calls of tools told apart."""
    begin = rig.loop()["ticks"] + 2  # the first ones read versions and settle in
    kit.wait_for(lambda: rig.loop()["ticks"] >= begin, 120, "the first ticks")
    pid, rows = rig.pid(), []
    for number in range(begin, begin + ticks + 1):
        kit.wait_for(lambda number=number: rig.loop()["ticks"] >= number, 120, "a tick that is measured")
        rows.append((cpu_ms(pid), children_ms(pid), rig.count_calls("tmux"), rig.count_calls("git")))
    columns = zip(*([new - old for old, new in zip(before, after)] for before, after in zip(rows, rows[1:])))
    own, children, tmux, git = columns
    state = rig.path / ".gastown" / "witness.json"
    figures = {"own_ms": own, "children_ms": statistics.mean(children), "tmux": max(tmux), "git": max(git)}
    return {**figures, "state": state.stat().st_size}


# ---- the parts of a run ---------------------------------------------------------------------------------------------


class Table:
    """What was measured, line by line, and whether it holds."""

    def __init__(self) -> None:
        self.lines, self.good = {}, True

    def put(self, name: str, value: float, spread: float = 0.0) -> None:
        budget, unit = BUDGETS[name]
        holds = value <= budget
        self.lines[name] = value
        self.good = self.good and holds
        shown = f"{value:9.3f}" + (f" ± {spread:.3f}" if spread else "")
        print(f"{'ok    ' if holds else 'BROKEN'} {name:45} {shown:18} of {budget:g} {unit}", flush=True)

    def note(self, text: str) -> None:
        print(f"       {text}", flush=True)

    def close(self) -> int:
        for name in BUDGETS:
            if name not in self.lines:
                print(f"MISSING {name}")
                self.good = False
        return 0 if self.good else 1


def measure_status(rig: Rig, floor_argv: list) -> dict:
    """Return the milliseconds of status, the daemon running, and of the bare interpreter."""
    rig.witness("start")  # at the default interval: a tick of a thousand workers each second would be measured, too
    kit.wait_for(lambda: rig.loop()["ticks"] >= 1, 60, "the first tick")
    rig.witness("status")
    times = race({"floor": (floor_argv,), "status": (rig.argv("status"), rig.env)}, 2 * ROUNDS)
    rig.witness("stop")
    return times


def measure_start(rig: Rig, table: Table, floor_argv: list) -> None:
    """Measure `start` until it returns, which is when the daemon is ready; warm, then cold."""
    times = {"floor": [], "start": [], "cold": []}
    for number in range(2 * ROUNDS):
        cold = number % 3 == 2
        env = {**rig.env, "SHIV_ROOT": str(rig.root / f"cold{number}")} if cold else rig.env
        times["floor"].append(run_once(floor_argv))
        times["cold" if cold else "start"].append(run_once(rig.argv("start"), env))
        rig.witness("stop")
    table.put("start to ready", *ratio(times["start"], times["floor"]))
    table.note("cold, the archive not yet unpacked: {:.1f} ± {:.1f} x".format(*ratio(times["cold"], times["floor"])))


def measure_scale(rig: Rig, table: Table, sizes: list, floor_argv: list) -> None:
    """Measure ticks and status at each size of the rig."""
    costs = {}
    for size in sizes:
        took_s = rig.grow(size)
        rig.witness("start", WITNESS_INTERVAL="1")
        found = measure_ticks(rig)
        resident_kib = status_of(rig.pid(), "VmRSS")
        rig.witness("stop")
        times = measure_status(rig, floor_argv)
        scale = statistics.median(times["floor"]) / REFERENCE_MS
        label = {1: "1 worker", sizes[-1]: "most workers"}.get(size, f"{size} workers")
        costs[size], width = (value / scale for value in spread(found["own_ms"]))
        table.put(f"own CPU a tick, {label}", costs[size], width)
        status = ratio(times["status"], times["floor"])
        seen = ""
        if size in (1, sizes[-1]):
            table.put(f"calls of tmux a tick, {label}", found["tmux"])
            table.put(f"calls of git a tick, {label}", found["git"])
            table.put(f"status, {label}", *status)
        else:
            seen = f"status {status[0]:.2f} ± {status[1]:.2f} x; "
        made = f"{size} worktrees and panes, the last made in {took_s:.1f} s" if size > 1 else "one worktree and pane"
        table.note(
            f"{seen}{made}; children {found['children_ms']:.1f} ms a tick; "
            f"resident {resident_kib} KiB; state file {found['state'] / 1024:.0f} KiB"
        )
    most, before = sizes[-1], sizes[-2]
    table.put("own CPU for one worker more", (costs[most] - costs[before]) / (most - before))
    table.put("own CPU of most workers, by as many hundreds", costs[most] / costs[100] / (most / 100))


def measure_idle(rig: Rig, table: Table, floor_argv: list) -> None:
    """Measure a daemon at the default interval on 20 workers that do nothing."""
    rig.grow(20)
    rig.witness("start")
    kit.wait_for(lambda: rig.loop()["ticks"] >= 1, 30, "the first tick")
    time.sleep(5)
    pid, began = rig.pid(), time.monotonic()
    needed = "import json, select, signal, fcntl; "
    sleepers = [
        subprocess.Popen([sys.executable, *words]) for words in (("-c", SLEEPER), ("-I", "-S", "-c", needed + SLEEPER))
    ]
    before = (cpu_ms(pid), children_ms(pid), status_of(pid, "voluntary_ctxt_switches"), rig.loop()["waits"])
    time.sleep(IDLE_S)
    seconds = time.monotonic() - began
    after = (cpu_ms(pid), children_ms(pid), status_of(pid, "voluntary_ctxt_switches"), rig.loop()["waits"])
    own, children, switches, waits = (new - old for old, new in zip(before, after))
    unit, imported = (status_of(one.pid, "VmRSS") for one in sleepers)
    table.put("memory of the idle daemon", status_of(pid, "VmRSS") / unit)
    table.note(
        f"resident {status_of(pid, 'VmRSS')} KiB; an interpreter that sleeps {unit} KiB; one that has also imported "
        f"json, select, signal and fcntl {imported} KiB ({imported / unit:.2f} x)"
    )
    for one in sleepers:
        one.kill()
        one.wait()
    table.put("returns of the wait a minute", 60 * waits / seconds)
    scale = statistics.median(race({"floor": (floor_argv,)})["floor"]) / REFERENCE_MS
    table.put("idle CPU, 20 workers", own / 10 / seconds / scale)
    table.note(f"children {children / 10 / seconds:.3f} %; {60 * switches / seconds:.1f} voluntary switches a minute")
    rig.witness("stop")


def measure_day(rig: Rig, table: Table) -> None:
    """Measure what a daemon holds after a simulated day of its real loop, with 200 workers coming and going."""
    rig.witness("start")
    folder = str(Path(rig.note()["module"]).parent)
    rig.witness("stop")
    argv = [sys.executable, "-I", "-S", str(Path(__file__).with_name("steady.py")), folder, str(rig.root / "day")]
    done = subprocess.run([*argv, str(HOURS)], env=rig.env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the simulated day: {done.stderr}")
    day = json.loads(done.stdout)
    with subprocess.Popen([sys.executable, "-c", SLEEPER]) as sleeper:
        time.sleep(0.5)
        unit = status_of(sleeper.pid, "VmRSS")
        sleeper.kill()
    settled, last = day["settled"], day["last"]
    table.put("memory after a day of 200 workers", last["resident_kib"] / unit)
    table.put("memory after that day, by its 100th tick", last["resident_kib"] / settled["resident_kib"])
    table.note(
        f"{day['hours']:.0f} hours in {day['ticks']} ticks, {1000 * day['cpu_s'] / day['ticks']:.1f} ms each; "
        f"{sum(day['events'].values())} events; Python's blocks in use {settled['blocks']} and {last['blocks']}, "
        f"witness.json {settled['memory_bytes']} and {last['memory_bytes']} bytes"
    )


def measure_floods(rig: Rig, table: Table) -> None:
    """State what large inputs cost a tick: nothing of it has a budget, all of it must stay bounded."""
    state, queue = rig.path / ".gastown", rig.path / ".beads"
    queue.mkdir()
    rows = ({"id": f"demo-{n}", "title": f"Issue {n}", "status": "open", "priority": n % 5} for n in range(10_000))
    (queue / "issues.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rig.witness("start", WITNESS_INTERVAL="1")
    table.note(f"10,000 issues: {statistics.median(measure_ticks(rig)['own_ms']):.1f} ms a tick")
    rig.witness("stop")
    (queue / "issues.jsonl").unlink()
    inbox = state / "mail" / "demo.witness" / "new"
    inbox.mkdir(parents=True, exist_ok=True)
    for number in range(10_000):
        (inbox / f"{number:05d}.x").write_text("From: demo/alpha\nTo: demo/witness\nSubject: MERGED x\n\nx\n")
    rig.witness("start", WITNESS_INTERVAL="1")
    cost = statistics.median(measure_ticks(rig)["own_ms"])
    table.note(f"10,000 mails: {cost:.1f} ms a tick while 20 of them are noted in each")
    rig.witness("stop")
    shutil.rmtree(inbox)
    line = json.dumps({"at": "2026-01-01T00:00:00Z", "kind": "state", "subject": "alpha", "text": "x" * 400}) + "\n"
    with open(state / "witness-events.jsonl", "a", encoding="ascii") as file:
        file.write(line * ((100 << 20) // len(line)))
    rig.witness("start", WITNESS_INTERVAL="1")
    cost = statistics.median(measure_ticks(rig)["own_ms"])
    times = race({"events": (rig.argv("events"), rig.env), "status": (rig.argv("status"), rig.env)}, 5)
    events, status = (statistics.median(times[name]) for name in ("events", "status"))
    table.note(f"100 MiB of events: {cost:.1f} ms a tick; events {events:.0f} ms, status {status:.0f} ms")
    rig.witness("stop")


def measure_mail(rig: Rig, table: Table) -> None:
    """State how soon a mail is acted on, at the default interval."""
    rig.witness("start")
    kit.wait_for(lambda: rig.loop()["ticks"] >= 1, 30, "the first tick")
    folder = rig.path / ".gastown" / "mail" / "demo.witness"
    waits = []
    for _ in range(5):
        time.sleep(1.2)
        began = time.monotonic()
        rig.witness("mail", "send", "demo/witness", "-s", "MERGED x", "-b", "x")
        kit.wait_for(lambda: not list((folder / "new").iterdir()), 60, "the mail to be read")
        waits.append(time.monotonic() - began)
    table.note(f"a mail is read {1000 * statistics.median(waits):.0f} ms after its sender was started")
    rig.witness("stop")


# ---- the peers ------------------------------------------------------------------------------------------------------


def measure_peers(root: Path, rig: Rig, table: Table, floor_argv: list) -> None:
    """Measure what supervisor and circus take for `status` and at rest, each with one program."""
    venv.create(root / "peers", with_pip=True)
    python = root / "peers" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS, "setuptools<80"], check=True)
    bin_ = root / "peers" / "bin"
    (root / "supervisord.conf").write_text(
        f"[unix_http_server]\nfile={root}/s.sock\n[supervisord]\nlogfile={root}/s.log\npidfile={root}/s.pid\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[supervisorctl]\nserverurl=unix://{root}/s.sock\n[program:one]\ncommand=sleep 100000\n"
    )
    (root / "circus.ini").write_text(
        f"[circus]\nendpoint=ipc://{root}/c\npubsub_endpoint=ipc://{root}/p\n[watcher:one]\ncmd=sleep 100000\n"
    )
    conf = ["-c", str(root / "supervisord.conf")]
    started = [
        subprocess.Popen([bin_ / "supervisord", "-n", *conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
        subprocess.Popen([bin_ / "circusd", root / "circus.ini"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
    ]
    try:
        kit.wait_for((root / "s.sock").exists, 30, "supervisord")
        kit.wait_for((root / "c").exists, 30, "circusd")
        time.sleep(3)
        rig.witness("start")
        kit.wait_for(lambda: rig.loop()["ticks"] >= 1, 30, "the first tick")
        commands = {
            "floor": (floor_argv,),
            "witness": (rig.argv("status"), rig.env),
            "supervisor": ([str(bin_ / "supervisorctl"), *conf, "status"],),
            "circus": ([str(bin_ / "circusctl"), "--endpoint", f"ipc://{root}/c", "status"],),
        }
        times = race(commands, 9)
        pids = {"witness": rig.pid(), "supervisor": started[0].pid, "circus": started[1].pid}
        for name, pid in pids.items():
            value, spread = ratio(times[name], times["floor"])
            table.note(f"{name:10} status {value:.1f} ± {spread:.1f} x; resident {status_of(pid, 'VmRSS')} KiB")
        rig.witness("stop")
    finally:
        for one in started:
            one.send_signal(signal.SIGTERM)
        for one in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(20)
            one.kill()


def main(words) -> int:
    """Measure everything in one run and print it."""
    parser = argparse.ArgumentParser(prog="./build.sh bench", description="Print the budgets beside what is measured.")
    parser.add_argument("pyz", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peers", action="store_true", help="measure supervisor and circus beside ours")
    parser.add_argument("--workers", type=int, default=1000, help="the largest rig (1000)")
    options = parser.parse_args(words)
    if not sys.platform.startswith("linux"):
        parser.error("the figures are read from /proc, which this system does not have")
    floor_argv = [sys.executable, "-I", "-S", "-c", "pass"]
    table, root = Table(), kit.make_root()
    rig = Rig(root, options.pyz)
    try:
        floor = statistics.median(race({"floor": (floor_argv,)})["floor"])
        print(
            f"{platform.python_implementation()} {platform.python_version()} ({sys.executable}), "
            f"{os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}; the bare interpreter takes {floor:.1f} ms",
            flush=True,
        )
        measure_start(rig, table, floor_argv)
        measure_scale(rig, table, sorted({1, 10, 100, max(options.workers, 101)}), floor_argv)
        rig.end()
        kit.remove(rig.path)
        small = root / "small"
        small.mkdir()
        rig = Rig(small, options.pyz)
        measure_idle(rig, table, floor_argv)
        measure_mail(rig, table)
        measure_day(rig, table)
        measure_floods(rig, table)
        if options.peers:
            measure_peers(root, rig, table, floor_argv)
        return table.close()
    finally:
        rig.end()
        kit.end(*(one for one, _, _ in kit.leftovers(root)), grace_s=1)
        kit.remove(root)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
