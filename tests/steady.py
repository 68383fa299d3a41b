"""A simulated day of the daemon's real loop: `python -I -S steady.py FOLDER-OF-WITNESS.PY FOLDER HOURS`.

It prints one line of JSON. 200 workers come and go, 20 of them at a time. They work, fall silent, die, come back, ask
to be retired; mail and issues change, too. The clock, tmux and git are simulated; the loop, all that decides, every
file and its fsync are not. What is asked: whether a daemon holds after a day what it held after a hundred ticks, and no
more. The module must be compiled already: to compile it takes more memory than a day.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time

sys.path.insert(0, sys.argv[1])
import witness as w

WORKERS = 200
ALIVE_SHARE = 0.1  # of the day that each is there: 20 at a time
SETTLED_TICK = 100  # every kind of thing has happened a few times by then
NO_PID = 1 << 30  # above the kernel's highest: nobody has it


class Simulated(w.Host):
    """The host with a clock that is told, and tools that answer from a table."""

    def __init__(self) -> None:
        self.at = self.began = time.time()
        self.panes, self.calls = {}, 0

    def now(self) -> float:
        return self.at

    def mono(self) -> float:
        return self.at - self.began

    def pause(self, seconds: float) -> None:
        self.at += seconds

    def run(self, argv, timeout_s, cwd="/", env=None, stdin=b"", limit_bytes=0, keep_fds=(), sink=None, began=None):
        self.calls += 1
        out = {"list-panes": self.list_panes, "-V": lambda _: "tmux 3.3a", "capture-pane": lambda _: "thinking\n" * 30}
        word = next((word for word in argv if word in out), "")
        text = out[word](argv) if word else "git version 2.39.5" if argv[1:] == ("--version",) else ""
        return w.Ran(argv=tuple(argv), status=0, out=text.encode(), err=b"")

    def list_panes(self, argv) -> str:
        mark = argv[-1].rpartition("\t")[2]
        row = "900\t{born}\t${number}\t0\t{at}\t%{number}\t{pid}\t0\t0\tgt-demo-{name}\t{command}\t{mark}\n"
        return "".join(row.format(mark=mark, **pane) for pane in self.panes.values())


class World:
    """The workers of the day, and what becomes of them from tick to tick."""

    def __init__(self, rig: w.Rig, host: Simulated, hours: float) -> None:
        self.rig, self.host, self.whole_s = rig, host, 3600 * hours
        self.alive, self.sessions, self.mails = set(), 0, 0

    def paths(self, name: str) -> tuple:
        return f"{self.rig.polecats}/{name}", f"{self.rig.common}/worktrees/{name}"

    def come(self, name: str) -> None:
        tree, admin = self.paths(name)
        os.makedirs(tree)
        os.makedirs(f"{admin}/logs")
        texts = {
            f"{tree}/.git": f"gitdir: {admin}\n",
            f"{admin}/gitdir": f"{tree}/.git\n",
            f"{admin}/HEAD": f"ref: refs/heads/polecat/{name}\n",
            f"{admin}/commondir": "../..\n",
            f"{admin}/index": "x",
            f"{admin}/logs/HEAD": "x\n",
        }
        for path, text in texts.items():
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.utime(path, (self.host.at, self.host.at))
        self.alive.add(name)
        self.open_session(name)

    def open_session(self, name: str) -> None:
        self.sessions += 1
        number, at = self.sessions, int(self.host.at)
        pane = {"born": at, "number": number, "at": at, "pid": NO_PID + number, "name": name, "command": "agent"}
        self.host.panes[name] = pane

    def go(self, name: str) -> None:
        for path in self.paths(name):
            self.host.delete_tree(path)
        self.host.panes.pop(name, None)
        self.alive.remove(name)

    def mail(self, sender: str, subject: str, body: str) -> None:
        folder = f"{self.rig.state}/mail/demo.witness/new"
        os.makedirs(folder, exist_ok=True)
        self.mails += 1
        name = f"{int(self.host.at)}.{self.mails}"
        with open(f"{folder}/{name}", "w", encoding="ascii") as file:
            file.write(f"From: demo/{sender}\nTo: demo/witness\nSubject: {subject}\n\n{body}\n")
        os.utime(f"{folder}/{name}", (self.host.at, self.host.at))

    def is_over(self) -> bool:
        return self.host.mono() >= self.whole_s

    def turn(self, tick: int) -> None:
        """Let a tick's worth of the day happen."""
        share = self.host.mono() / self.whole_s
        for number in range(WORKERS):
            begin = number / WORKERS * (1 + ALIVE_SHARE) - ALIVE_SHARE
            name, there = f"w{number:03}", begin <= share < begin + ALIVE_SHARE
            if there != (name in self.alive):
                (self.come if there else self.go)(name)
        for name in sorted(self.alive):
            kind, pane = int(name[1:]) % 5, self.host.panes.get(name)
            silent = kind == 1 and tick // 150 % 2  # stuck for over an hour, and well again
            if not silent and (tick * 7 + int(name[1:]) * 3) % 5 < 2:  # the same day each time
                os.utime(f"{self.paths(name)[1]}/index", (self.host.at, self.host.at))
            if pane is not None and not silent:
                pane["at"] = int(self.host.at)
            if kind == 2 and tick % 15 == 0:
                self.host.panes.pop(name, None) or self.open_session(name)
            if kind == 3 and tick % 60 == 0:
                self.mail(name, "LIFECYCLE: polecat requesting shutdown", f"Polecat: {name}")
            if kind == 4 and tick % 50 == 0:
                self.mail(name, f"HELP: {tick}", "which API?")
        if tick % 20 == 0:
            rows = [{"id": f"de-{n}", "title": f"Issue {n}", "status": "open"} for n in range(tick, tick + 50)]
            os.makedirs(f"{self.rig.path}/.beads", exist_ok=True)
            with open(f"{self.rig.path}/.beads/issues.jsonl", "w", encoding="ascii") as file:
                file.write("".join(json.dumps(row) + "\n" for row in rows))


def resident_kib() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


class Day(w.Loop):
    """The loop, whose wait is no wait."""

    world: World
    seen: dict

    def _wait(self, wait_s: float) -> bool:
        self.waits += 1
        self.caught.clear()  # a new mail's, which wakes us anyway
        self.station.host.at += wait_s
        self.world.turn(self.ticks)
        if self.ticks == SETTLED_TICK or self.world.is_over():
            gc.collect()
            self.seen["last" if self.world.is_over() else "settled"] = {
                "resident_kib": resident_kib(),
                "blocks": sys.getallocatedblocks(),
                "workers": len(self.world.alive),
                "memory_bytes": os.path.getsize(self.station.store.path(w.MEMORY_FILE)),
            }
        if self.world.is_over():
            self.stopping = "the day is over"
        return False


def main() -> None:
    """Live the day and print what was held in it."""
    gc.freeze()  # as the daemon does after its import
    path, hours = os.path.join(sys.argv[2], "demo"), float(sys.argv[3])
    os.makedirs(f"{path}/polecats")
    for name in ("objects", "refs", "worktrees"):
        os.makedirs(f"{path}/.git/{name}")
    with open(f"{path}/.git/HEAD", "w", encoding="ascii") as file:
        file.write("ref: refs/heads/main\n")
    host = Simulated()
    rig = w.find_rig(host, path, {}, "/", "witness")
    host.make_folder(rig.state)
    config = w.make_config({}, "the day", {})
    station = w.Station(host, rig, config)
    loop = Day(station, w.take_lock(station.store.path(w.LOCK_FILE)), lambda: config, lambda _: None)
    loop.world, loop.seen = World(rig, host, hours), {}
    loop.install_signals()
    loop.world.turn(0)
    began = time.process_time()
    loop.run()
    spent_s = time.process_time() - began
    kinds = {}
    for name in (f"{w.EVENTS_FILE}.1", w.EVENTS_FILE):
        if os.path.exists(station.store.path(name)):
            with open(station.store.path(name), encoding="utf-8") as file:
                for line in file:
                    kind = json.loads(line)["kind"]
                    kinds[kind] = kinds.get(kind, 0) + 1
    answer = {"ticks": loop.ticks, "hours": round(host.mono() / 3600, 1), "calls": host.calls, "cpu_s": spent_s}
    print(json.dumps({**answer, "events": kinds, "troubles": loop.troubles, **loop.seen}))


if __name__ == "__main__":
    main()
