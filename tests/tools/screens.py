"""The golden screens: nine rigs as `status` shows them at 80 and 120 columns; `--write` draws them anew."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from tools.simulation import DIRT, HOUR, MIN, World  # noqa: E402

import witness as w  # noqa: E402

FOLDER = ROOT / "tests" / "data" / "screens"
WIDTHS = (80, 120)
SEATS = ("seat-60x15", "seat-80x24", "seat-stopped-80x24")
"""Screens of a real seat in a real pane; tests/test_seat.py compares them, and prints what it found instead."""


def show(world: World, verdict: str = "running", detail: str = "", ago_s: float = 12.0) -> dict:
    """Return the data of `status` so long after the world's latest tick."""
    seen = world.observe(world.memory)
    decision = w.decide(seen, world.memory, world.config)
    view = w.report_tick(seen, decision, world.config, world.now + world.config.interval)
    running = verdict == "running"
    daemon = {"running": running, "pid": 4242, "version": "0.1.0", "last_tick_at": view["last_tick_at"]}
    daemon["started_at"] = w.rfc3339(world.now - 76 * HOUR)
    shown = {**view, "rig": {"name": "demo", "path": "/home/ann/src/demo"}, "daemon": daemon}
    shown.update(verdict=verdict, detail=detail or None, kept={"folders": 2, "mib": 141.3})
    return w.add_ages(shown, world.now + ago_s)


def make_well(*names: str, **config) -> World:
    """Return a rig of workers that all made progress 40 s ago, each on an issue of its own."""
    world = World(**{"auto_spawn": True, "max_workers": len(names), **config})
    for number, name in enumerate(names):
        world.add(name, f"de-{number + 1}").record = {"issue": f"de-{number + 1}"}
    world.queue(*(f"de-{number + 1}" for number in range(len(names) + 2)))
    world.tick()
    work(world, 5 * MIN)
    return world


def work(world: World, duration_s: float, *quiet: str) -> None:
    """Let everybody but the quiet ones make progress for a while."""
    for _ in range(int(duration_s / MIN)):
        for worker in world.workers.values():
            if worker.name not in quiet and worker.alive:
                worker.commit().show()
        world.wait(MIN)


def all_well() -> dict:
    """Three workers at work, one without an assignment."""
    world = make_well("ann", "bob", "cat")
    world.add("dee").record = {"state": "idle"}
    world.wait(MIN)
    return show(world)


def one_stuck() -> dict:
    """One worker has been nudged and a person told."""
    world = make_well("ann", "bob", "quinn")
    work(world, 75 * MIN, "quinn")
    return show(world)


def one_refused() -> dict:
    """One worker asked to be retired and is dirty."""
    world = make_well("ann", "zoe")
    world.workers["zoe"].blockers = (DIRT, ("stash", "1 stash on polecat/zoe", "git stash pop"))
    world.ask("zoe")
    work(world, 9 * MIN)
    return show(world)


def one_dead() -> dict:
    """One worker's session is gone, with work in its tree."""
    world = make_well("ann", "bob", "mort", auto_spawn=False)
    world.workers["mort"].edit().end()
    work(world, 4 * MIN)
    return show(world)


def degraded() -> dict:
    """tmux does not answer."""
    world = make_well("ann", "bob")
    world.failing["tmux"] = "tmux: no answer within 20 s"
    world.wait(6 * MIN)
    return show(world)


def queue_down() -> dict:
    """The server of the queue cannot be reached; workers go on."""
    world = make_well("ann", "bob")
    world.failing["queue"] = "bd ready: failed to open database: Dolt server unreachable at 10.0.0.9:3307"
    work(world, 6 * MIN)
    return show(world)


def paused() -> dict:
    """A person said pause."""
    world = make_well("ann", "bob")
    world.paused = "host upgrade"
    world.wait(MIN)
    return show(world)


def daemon_dead() -> dict:
    """The daemon was killed an hour ago."""
    return show(make_well("ann", "bob"), "dead", "it ended without taking its PID file away", HOUR)


def no_worker() -> dict:
    """Nobody is there, and no agent is set."""
    world = World(auto_spawn=True, agent_command=())
    world.queue("de-1")
    world.tick()
    return show(world)


def sixty() -> dict:
    """Sixty workers; two want a person."""
    world = make_well(*(f"w{number:02d}" for number in range(1, 61)), auto_spawn=False)
    world.workers["w31"].end()
    work(world, 75 * MIN, "w07")
    return show(world)


SCREENS = {
    "all-well": all_well,
    "one-stuck": one_stuck,
    "one-refused": one_refused,
    "one-dead": one_dead,
    "degraded": degraded,
    "queue-down": queue_down,
    "paused": paused,
    "daemon-dead": daemon_dead,
    "no-worker": no_worker,
    "sixty": sixty,
}


def draw(name: str) -> dict:
    """Return the text of one screen by width."""
    data = SCREENS[name]()
    return {width: w.render_status(data, width) for width in WIDTHS}


if __name__ == "__main__":
    for one in SCREENS:
        for columns, text in draw(one).items():
            if "--write" in sys.argv[1:]:
                (FOLDER / f"{one}-{columns}.txt").write_text(text, encoding="utf-8")
            else:
                print(f"---- {one}, {columns} columns\n{text}")
