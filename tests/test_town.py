"""A Gas Town around the rig: what its files say, and the program that runs it."""

from __future__ import annotations

import hashlib
import json

import pytest
from tools import kit
from tools.town import PAIRS

import witness as w

ALL = tuple(PAIRS)


@pytest.fixture
def gastown(monkeypatch):
    """Make what we know of a town: gastown(town, **settings)."""

    def make(town, **settings) -> w.Gastown:
        monkeypatch.setenv("PATH", town.bin.path())
        rig = w.find_rig(w.Host(), str(town.rig), {}, "/")
        return w.Gastown(w.Host(), rig, w.make_config(settings, "test", {}))

    return make


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "base"),
    [
        ("town", "town"),
        ("My Town", "my-town"),
        ("a.b_c", "a-b-c"),
        ("--x--", "x"),
        ("Grüße", "gr-e"),
        ("...", "default"),
        ("日本", "default"),
    ],
)
def test_socket_is_named_by_folder_and_path(tmp, folder, base):
    path = tmp / folder
    path.mkdir()
    assert w.name_socket(str(path)) == f"{base}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    (tmp / "link").symlink_to(path)
    assert w.name_socket(str(tmp / "link")).endswith(w.name_socket(str(path))[-6:])


@pytest.mark.parametrize("pair", ALL)
def test_town_is_looked_at_as_its_version_names_things(town, gastown, pair):
    made = town(pair)
    ours = gastown(made)
    look, port = ours.look()
    assert (port.state, port.version) == (w.PRESENT, f"gt {'0.0.1' if pair == 'seed' else pair}")
    assert look.path == str(made.path)
    assert w.session_for(look.session, "demo", "rust") == made.session("rust")
    assert look.refinery == made.session("refinery")
    assert ours.session_of("witness") == made.session("witness")
    assert look.socket == (made.socket if pair == "1.0.1" else "")
    assert (look.typed, look.reuses) == (pair == "1.0.1", pair == "1.0.1")
    assert (look.left, look.convoys) == ("", {})


def test_prefix_is_the_rigs_own_or_gt(town, gastown):
    made = town()
    path = made.path / "mayor/rigs.json"
    for entry, prefix in (
        ({"beads": {"prefix": "de"}}, "de"),
        ({"beads": {"prefix": "a_b-9"}}, "a_b-9"),
        ({"beads": {"prefix": "-x"}}, "gt"),
        ({"beads": {"prefix": "a b"}}, "gt"),
        ({"beads": {"prefix": "a:b"}}, "gt"),
        ({"beads": {"prefix": "x" * 65}}, "gt"),
        ({"beads": {"prefix": 3}}, "gt"),
        ({"beads": []}, "gt"),
        ({}, "gt"),
        (None, "gt"),
    ):
        path.write_text(json.dumps({"rigs": {"demo": entry, "other": {"beads": {"prefix": "ot"}}}}))
        ours = gastown(made)
        assert ours.read_prefix() == prefix, entry
    path.write_text("[")
    assert ours.read_prefix() == "gt"


def test_socket_that_gt_was_told_is_used(town, gastown, monkeypatch):
    made = town()
    ours = gastown(made)
    ours.gt.meet()
    for told, own in (("mine", "mine"), ("", made.socket), ("default", made.socket), ("auto", made.socket)):
        monkeypatch.setenv("GT_TMUX_SOCKET", told)
        assert ours.find_socket() == own


# ---- who gives work to workers --------------------------------------------------------------------------------------


def test_scheduler_that_gives_issues_is_left_to_it(town, gastown):
    made = town()
    ours = gastown(made)
    left = "left to gt: its scheduler gives issues to workers (scheduler.max_polecats is 1)"
    for limit in (None, -1, 0, True, "5", 1):
        made.set_scheduler(limit)
        assert ours.look()[0].left == (left if limit == 1 and limit is not True else ""), limit


def test_open_convoys_count_while_gts_daemon_runs(town, gastown):
    made = town()
    made.add("de-1", "One")
    assert made.gt("sling", "de-1", "demo").status == 0
    (convoy,) = made.convoys()
    ours = gastown(made)
    assert ours.look()[0].convoys == {}
    made.start_daemon()
    assert ours.look()[0].convoys == {"de-1": convoy}
    made.stop_daemon(crash=True)  # its pid file stays, its lock falls free
    assert ours.look()[0].convoys == {}


def test_daemon_of_a_version_that_feeds_nothing_counts_for_nothing(town, gastown):
    made = town("0.5.0")
    made.start_daemon()
    ours = gastown(made)
    assert ours.daemon_runs()
    assert ours.look()[0].convoys == {}
    assert made.town_server.calls("list") == []


def test_convoys_are_asked_for_in_every_tenth_look_and_an_unknown_answer_keeps_every_spawn_back(town, gastown):
    made = town()
    made.start_daemon()
    ours = gastown(made)
    for _ in range(w.CONVOYS_EVERY + 1):
        assert ours.look()[1].state == w.PRESENT
    assert len(made.town_server.calls("list")) == 2
    other = gastown(made)
    made.town_server.take_down()
    town_seen, port = other.look()
    assert (town_seen.left, port.state) == ("", w.UNKNOWN)
    assert port.reason.startswith("its open convoys cannot be read: ")
    made.town_server.bring_back()
    assert other.look()[1] == w.Port(version="gt 1.0.1")


def test_settings_that_cannot_be_read_are_none(town, gastown):
    made = town()
    (made.path / "settings/config.json").write_text("{")
    ours = gastown(made)
    assert ours.read_settings() == {}
    assert ours.look()[0].left == ""


# ---- gt that does not answer ----------------------------------------------------------------------------------------


def test_gt_that_never_told_its_version_is_no_town(town, gastown):
    made = town()
    made.spoil({"verb": "version", "do": "garbage", "times": 99})
    look, port = gastown(made).look()
    assert (look, port.state) == (None, w.UNKNOWN)
    assert port.reason.startswith("gt version: it printed ")


def test_gt_that_is_gone_leaves_what_was_known_of_the_town(town, gastown):
    made = town()
    ours = gastown(made)
    before, _ = ours.look()
    (made.bin.folder / "gt").rename(made.bin.folder / "away")
    look, port = ours.look()
    assert look == before
    assert (port.state, port.reason) == (w.UNKNOWN, "gt is not on the PATH")
    (made.bin.folder / "away").rename(made.bin.folder / "gt")
    assert ours.look()[1].state == w.PRESENT


def test_gt_that_was_exchanged_is_spoken_to_as_what_it_is_now(town, gastown):
    made = town()
    ours = gastown(made)
    assert ours.look()[0].reuses
    (made.bin.folder / "gt.json").write_text(json.dumps({"version": "0.5.0"}))
    (made.bin.folder / "gt").touch()
    look, port = ours.look()
    assert (look.version, look.reuses, port.version) == ("0.5.0", False, "gt 0.5.0")


def test_gt_is_told_who_we_are_and_nothing_of_who_called_us(town, gastown, monkeypatch):
    made = town()
    for name in ("GT_POLECAT", "GT_SESSION", "GT_CREW", "BD_DOLT_AUTO_COMMIT", "GT_ROLE", "BEADS_DIR"):
        monkeypatch.setenv(name, "another")
    monkeypatch.setenv("GT_DOLT_PORT", "3399")
    gastown(made).gt.run("gt", "polecat", "list", "demo", "--json")
    (call,) = made.calls("polecat list")
    assert call["cwd"] == str(made.rig)
    said = {key: value for key, value in call["env"].items() if not key.startswith(("BD_", "BEADS_"))}
    assert said == {
        "GT_ROLE": "demo/witness",
        "GT_RIG": "demo",
        "GT_TOWN_ROOT": str(made.path),
        "GT_ROOT": str(made.path),
        "GT_DOLT_PORT": "3399",
    }
    assert call["env"]["BD_ACTOR"] == "demo/witness"
    assert "BEADS_DIR" not in call["env"]
    assert "BD_DOLT_AUTO_COMMIT" not in call["env"]


# ---- the round ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ALL)
def test_round_finds_mayor_and_deacon_dead_and_alive(town, gastown, pair):
    made = town(pair)
    ours = gastown(made)
    ours.gt.meet()
    found = ours.patrol(set())
    assert (found["mayor"], found["deacon"]) == ("it has no session", "it has no session")
    assert found["waiting"] == (None if pair == "seed" else 0)
    for who in ("mayor", "deacon"):
        made.start_session(who)
    found = ours.patrol(set(made.sessions()))
    assert (found["mayor"], found["deacon"]) == ("", "")


def test_round_counts_what_waits_to_be_merged(town, gastown):
    made = town()
    made.add("de-mr", "Merge: de-1", issue_type="merge-request", labels=["gt:merge-request"])
    ours = gastown(made)
    ours.gt.meet()
    assert ours.patrol(set())["waiting"] == 1


def test_round_in_which_gt_does_not_answer_finds_nothing_out(town, gastown):
    made = town()
    ours = gastown(made)
    ours.gt.meet()
    for how in ("fail", "garbage", "mute", "cut"):
        made.spoil({"do": how, "times": 99})
        found = ours.patrol(None)
        assert (found["waiting"], found["mayor"], found["deacon"]) == (None, None, None), how


def test_round_without_sight_of_tmux_asks_gt_alone(town, gastown):
    made = town("0.5.0")
    ours = gastown(made)
    ours.gt.meet()
    found = ours.patrol(None)
    assert (found["waiting"], found["mayor"], found["deacon"]) == (0, None, None)


def test_nothing_that_harms_is_called(town, gastown):
    made = town()
    ours = gastown(made)
    ours.look()
    ours.patrol(set())
    verbs = {" ".join(call["argv"][:2]) for call in made.calls()}
    assert verbs == {"version", "refinery ready", "mayor status", "deacon status"}
    assert kit.leftovers(made.folder) == []


# ---- looks that fail ------------------------------------------------------------------------------------------------


def test_prefix_that_cannot_be_read_makes_nobody_dead(town, gastown):
    made = town("1.0.1")
    known, new = gastown(made), gastown(made)
    assert known.look()[0].session == "de-{name}"
    path = made.path / "mayor/rigs.json"
    whole = path.read_text()
    for text in (whole[:20], '{"rigs": {}}', whole.replace('"de"', "null"), whole.replace('"demo"', '"other"')):
        assert text != whole
        path.write_text(text)
        assert known.look()[0].session == "de-{name}", text
    for text in (whole[:20], '{"rigs": {}}', whole.replace('"demo"', '"other"')):
        path.write_text(text)
        sight, port = new.look()
        assert (sight, port.state) == (None, w.UNKNOWN), text
        assert "rigs.json" in port.reason


@pytest.mark.parametrize("settings", [{}, {"backend": "gastown"}])
def test_town_that_is_away_is_unknown_and_no_other_backend(town, monkeypatch, settings):
    made = town("1.0.1")
    monkeypatch.setenv("PATH", made.bin.path())
    rig = w.find_rig(w.Host(), str(made.rig), {}, "/", "witness")
    config = w.make_config(settings, "test", {})
    w.check_ground(w.Host(), rig, config)
    station = w.Station(w.Host(), rig, config)
    station.remember(w.Memory().but(backend=station.queue.backend))
    (made.path / "mayor/town.json").rename(made.path / "mayor/elsewhere")
    station = w.Station(w.Host(), rig, config)
    assert station.queue.backend == "gastown"
    seen = w.observe(station, station.store.load())
    assert (seen.town, seen.ports["tmux"].state) == (None, w.UNKNOWN)
    assert "town is away" in seen.ports["spawner"].reason
