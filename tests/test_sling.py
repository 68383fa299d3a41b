"""A worker made by gt: whoever is at risk is kept first, the bead has one worker whatever was cut short."""

from __future__ import annotations

import os

import pytest
from tools.kit import wait_for

import witness as w

CALM = {"min_free_disk": 0, "min_free_memory": 0, "max_load_per_core": 0, "spawn_delay_ms": 0, "start_grace": 0}


@pytest.fixture
def station(monkeypatch):
    """Make stations in a town: station(town, **settings)."""

    def make(town, **settings) -> w.Station:
        monkeypatch.setenv("PATH", town.bin.path())
        if town.version != "1.0.1":
            settings = {"sling_args": ["--hook-raw-bead"] if town.version == "0.5.0" else [], **settings}
        rig = w.find_rig(w.Host(), str(town.rig), {}, "/", "witness")
        config = w.make_config({**CALM, **settings}, "test", {})
        w.check_ground(w.Host(), rig, config)
        return w.Station(w.Host(), rig, config)

    return make


def rounds(station, until=None, duties=frozenset({"health", "shutdown", "spawn"}), limit_s=60, **wish):
    """Do rounds as the daemon would until nothing more follows, or until something holds."""
    done = []

    def one():
        seen, decision, outcomes = w.run_round(station, duties=duties, **wish)
        done.extend(outcomes)
        under_way = decision.memory.spawn is not None
        return until(seen, decision) if until else not under_way and not w.asks_for_more(outcomes)

    station.first = False
    wait_for(one, limit_s, "the last round")
    return done


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_ready_bead_gets_one_worker_and_reads_as_its(town, station, pair):
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    done = rounds(ours)
    assert [(one.ok, one.detail) for one in done if one.kind == "spawn"] == [(True, "")], done
    (name,) = made.polecats()
    status, holder = made.state("de-1")
    assert holder.endswith(f"/{name}")
    assert status in ("hooked", "in_progress")
    claim = ours.queue.claims.read_all()["de-1"]
    assert (claim.state, claim.name, claim.branch) == ("working", name, made.branch(name))
    assert not [label for label in made.issue("de-1")["labels"] if label.startswith("witness:")]
    rounds(ours)
    assert made.polecats() == [name]
    seen = w.observe(ours, ours.store.load())
    assert seen.sightings[name].session == w.PRESENT
    assert os.path.isdir(seen.sightings[name].worktree.path)


@pytest.mark.parametrize("pair", ["1.0.1", "0.5.0", "0.2.6", "seed"])
def test_worker_that_asks_is_retired_and_gt_forgets_it(town, station, pair):
    made = town(pair)
    made.add("de-1", "One")
    ours = station(made)
    rounds(ours)
    (name,) = made.polecats()
    branch = made.branch(name)
    (made.tree(name) / "work").write_text("done\n")
    made.git("add", "work", name=name)
    made.git("commit", "--quiet", "--message", "work", name=name)
    tip = made.git("rev-parse", "HEAD", name=name)
    before = made.branches()
    made.put_mail("demo/witness", f"LIFECYCLE: polecat-{name} requesting shutdown", "Action: shutdown", f"demo/{name}")
    done = rounds(ours)
    (retired,) = [one for one in done if one.kind == "retire"]
    assert retired.data["result"] == "retired", retired
    assert made.polecats() == []
    assert not (made.rig / "polecats" / name).exists()
    assert made.branches() == before
    assert made.git("rev-parse", branch) == tip
    assert made.mails("demo/witness") == []
    issue = made.issue("de-1")
    assert (issue["status"], issue["assignee"]) == ("in_progress", ours.actor)
    assert w.HANDED_OVER_LABEL in issue["labels"]
    ref = retired.data["ref"]
    assert made.git("rev-parse", f"{ref}^{{commit}}")
    if pair != "seed":
        assert [call["argv"] for call in made.calls("polecat") if "nuke" in call["argv"]] == [
            ["polecat", "nuke", "--force", f"demo/{name}"]
        ]
        assert "demo" not in made.gt("polecat", "list", "demo", "--json").stdout
    rounds(ours)
    assert made.polecats() == []
