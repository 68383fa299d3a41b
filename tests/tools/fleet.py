"""Hosts that each run a Witness on their own clone, with one queue between them."""

from __future__ import annotations

import collections
import json
import sys
from pathlib import Path

from tools import kit

SHIPPER = Path(__file__).parent.parent / "agents" / "shipper.sh"
CALM = {"min_free_disk": 0, "min_free_memory": 0, "max_load_per_core": 0, "spawn_delay_ms": 0, "start_grace": 0}


class Fleet:
    """The hosts, the work they do, and the log in which every worker says that it began."""

    def __init__(self, folder: Path, witness, **settings) -> None:
        self.log = folder / "began.log"
        self.witness = witness
        self.settings = {**CALM, "interval": 1, "tool_timeout": 60, **settings}
        # A fleet at work must not starve the tests beside it, of which some have a minute for a whole story.
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec nice -n 10 {sys.executable} "$@"\n', encoding="utf-8")
        self.python.chmod(0o755)
        self.hosts: list = []
        self.env: dict[str, str] = {}

    def add(self, rig, how: str, **settings) -> None:
        """Take a rig in: its workers do as `how` says."""
        self.hosts.append(rig)
        (rig.path / ".gastown").mkdir(mode=0o700)
        agent = [str(SHIPPER), str(self.log), how]
        told = {**self.settings, "agent_command": agent, "tmux_socket": rig.tmux.socket, **settings}
        path = rig.path / ".gastown" / "witness-config.json"
        path.write_text(json.dumps(told), encoding="utf-8")
        path.chmod(0o600)

    def call(self, rig, *words, **options):
        """Run one command of Witness on a host."""
        return self.witness(*words, rig=rig, env=self.env, **{"python": str(self.python), "timeout": 180, **options})

    def start(self, rig) -> None:
        """Start a host's daemon."""
        done = self.call(rig, "start", "--timeout", "120")
        assert done.status == 0, done

    def kill(self, rig) -> bool:
        """Kill a host's daemon as a crash would, its workers left alone; False where none runs."""
        one = rig.daemon()
        if one is None:
            return False
        kit.end(one)
        return True

    def began(self) -> collections.Counter:
        """Return how often a worker began each issue."""
        if not self.log.exists():
            return collections.Counter()
        return collections.Counter(line.split()[0] for line in self.log.read_text(encoding="utf-8").splitlines())

    def work_of(self, issue: str) -> list[str]:
        """Return the hosts that hold a commit of an issue's work, on whatever ref."""
        look = ("log", "--all", "--format=%H", f"--grep=^work on {issue}$", "-1")
        return [str(rig.path) for rig in self.hosts if rig.git(*look)]

    def status(self, rig) -> dict:
        """Return what `status --json` says."""
        return json.loads(self.call(rig, "status", "--json").stdout)
