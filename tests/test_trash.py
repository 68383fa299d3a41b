"""Kept folders go when they are old; never anything beside them."""

from __future__ import annotations

import os
import time

import pytest
from tools import stand

import witness as w


@pytest.fixture
def kept(rig):
    """Make a kept folder with a read-only cache and links that lead out."""
    station = stand.make_station(rig, trash_hours=1)
    folder = rig.state / "retiring" / "alpha.20260101T000000Z.kept"
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / "mod").write_text("x")
    os.symlink(rig.path, folder / "out")
    os.symlink("/nowhere", folder / "dangling")
    (folder / "cache").chmod(0o500)
    return station, folder


def test_young_folder_stays_and_an_old_one_goes(rig, kept):
    station, folder = kept
    assert w.sweep_trash(station.tools, time.time()) == []
    assert folder.exists()
    assert w.sweep_trash(station.tools, time.time() + 3700) == [folder.name]
    assert not folder.exists()
    assert (rig.path / "README").exists()


def test_folder_goes_sooner_where_disk_runs_low(rig, kept):
    station, folder = kept
    station.config.values["min_free_disk"] = 1 << 40
    assert w.sweep_trash(station.tools, time.time()) == [folder.name]


def test_unfinished_and_rescued_folders_are_never_swept(rig, kept):
    station, _ = kept
    for name in ("retiring/beta.20260101T000000Z", "rescued/alpha/20260101T000000Z"):
        (rig.state / name).mkdir(parents=True)
    w.sweep_trash(station.tools, time.time() + 10**9)
    assert (rig.state / "retiring/beta.20260101T000000Z").exists()
    assert (rig.state / "rescued/alpha/20260101T000000Z").exists()


def test_what_cannot_be_deleted_is_said_and_stays(rig, kept, monkeypatch):
    station, folder = kept

    def fail(*_):
        raise OSError(5, "Input/output error", "x")

    monkeypatch.setattr(w.os, "rmdir", fail)
    assert w.sweep_trash(station.tools, time.time() + 3700) == [f"{folder.name} is left: x: Input/output error"]


def test_nothing_kept_is_nothing_swept(rig):
    assert w.sweep_trash(stand.make_station(rig).tools, time.time()) == []


def test_index_that_a_kill_left_behind_is_swept(rig):
    station = stand.make_station(rig)
    folder = rig.state / "retiring"
    folder.mkdir()
    for name in ("index.0123456789ab", "index.0123456789ab.lock", "notes"):
        (folder / name).write_text("x")
    w.sweep_trash(station.tools, station.host.now())
    assert sorted(path.name for path in folder.iterdir()) == ["notes"]
