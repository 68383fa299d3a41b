"""A station on a real rig, for tests that do one thing of the daemon in this very process."""

from __future__ import annotations

import json

from tools.kit import PYTHON

import witness as w

SPEAK = [PYTHON, "-c", "import time\nwhile True: print(time.time(), flush=True); time.sleep(0.2)"]
SLEEP = [PYTHON, "-c", "import time; time.sleep(600)"]
CALM = {"min_free_disk": 0, "min_free_memory": 0, "max_load_per_core": 0, "spawn_delay_ms": 0, "start_grace": 0}


class KilledError(Exception):
    """Stands for kill -9: nothing below catches it."""


class FaultyHost(w.Host):
    """A host that is killed before or after the n-th effect: outside calls and durable writes alike."""

    def __init__(self, at=None, after=False):
        self.at, self.after, self.number = at, after, 0

    def _effect(self, do):
        self.number += 1
        hit = self.number == self.at
        if hit and not self.after:
            raise KilledError
        answer = do()
        if hit:
            raise KilledError
        return answer

    def run(self, *args, **options):
        return self._effect(lambda: super(FaultyHost, self).run(*args, **options))

    def write(self, *args, **options):
        return self._effect(lambda: super(FaultyHost, self).write(*args, **options))

    def move(self, *args):
        return self._effect(lambda: super(FaultyHost, self).move(*args))

    def remove(self, *args):
        return self._effect(lambda: super(FaultyHost, self).remove(*args))


def make_station(rig, host=None, **settings) -> w.Station:
    """Return a station of the rig with its private tmux server."""
    host = host or w.Host()
    found = w.find_rig(host, str(rig.path), {}, "/", "witness")
    config = w.make_config({**CALM, "tmux_socket": rig.tmux.socket, **settings}, "test", {})
    w.check_ground(host, found, config)
    return w.Station(host, found, config)


def run_rounds(station, number=1, **wish):
    """Do rounds as the loop does them and return the last (observation, decision, outcomes)."""
    answer = None
    for _ in range(number):
        answer = w.run_round(station, **wish)
    return answer


def events(station) -> list:
    """Return (kind, subject) of every event so far."""
    with open(station.store.path("witness-events.jsonl"), encoding="utf-8") as file:
        return [(event["kind"], event["subject"]) for event in map(json.loads, file)]


def begin(station, name, **changes) -> w.Retirement:
    """Return the record of a retirement of a polecat as the daemon would begin it now."""
    seen = w.observe(station, w.Memory())
    draft = w.Draft(seen, w.Memory(), station.config)
    request = w.Request(name=name, sender="test", at=seen.now)
    return w.begin_retirement(draft, seen.sightings[name], request).but(**changes)


def tree_of(station, name) -> w.Worktree:
    """Return the polecat's worktree."""
    found = w.read_worktree(station.rig, name)
    assert isinstance(found, w.Worktree), found
    return found


def kinds_of(station, name, **changes) -> dict:
    """Return what an inspection finds: kind -> what."""
    retirement = begin(station, name, **changes)
    found = {}
    for finding in w.inspect_worktree(station.tools, retirement, tree_of(station, name)):
        found.setdefault(finding.kind, []).append(finding.what)
    return found
