"""The one gateway: what children get of our surroundings, files that are written whole or not at all."""

from __future__ import annotations

import concurrent.futures
import os
import stat

import pytest

import witness as w


@pytest.fixture
def host():
    return w.Host()


def test_environment_is_scrubbed(host, monkeypatch):
    for name in (
        "GIT_DIR",
        "TMUX",
        "TMUX_PANE",
        "CLAUDECODE",
        "GT_POLECAT",
        "BD_ACTOR",
        "BEADS_DIR",
        "WITNESS_INTERVAL",
    ):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LC_ALL", "de_DE")
    ran = host.run(["env"], 20, env={"GIT_DIR": "/mine"})
    there = dict(line.partition("=")[::2] for line in ran.text().splitlines())
    assert there["GIT_DIR"] == "/mine"
    assert there["LC_ALL"] == "C.UTF-8"
    assert "HOME" in there
    assert not {"TMUX", "TMUX_PANE", "CLAUDECODE", "GT_POLECAT", "BD_ACTOR", "BEADS_DIR", "WITNESS_INTERVAL"} & set(
        there
    )


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_written_file_has_its_mode_under_any_umask(host, tmp, umask):
    before = os.umask(umask)
    try:
        host.make_folder(str(tmp / "a" / "b"))
        host.write(str(tmp / "a" / "b" / "f"), b"x")
        host.append(str(tmp / "a" / "log"), b"x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp / "a" / name).stat().st_mode) for name in (".", "b", "b/f", "log")]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_crash_between_write_and_rename_leaves_the_old_content(host, tmp, monkeypatch):
    path = tmp / "f"
    host.write(str(path), b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(w.os, "rename", fail)
    with pytest.raises(OSError, match="No space"):
        host.write(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp) == ["f"]


def test_of_many_claimants_one_creates_the_file(host, tmp):
    path = str(tmp / "claim")
    with concurrent.futures.ProcessPoolExecutor(4) as pool:
        won = list(pool.map(_claim, [path] * 20, range(20)))
    assert sum(won) == 1
    assert (tmp / "claim").read_bytes() == b"%d" % won.index(True)
    assert os.listdir(tmp) == ["claim"]


def _claim(path, number):
    return w.Host().write_new(path, b"%d" % number)


def test_reading_never_hangs_and_never_swallows_too_much(host, tmp):
    os.mkfifo(tmp / "fifo")
    (tmp / "big").write_bytes(b"x" * 100)
    assert host.read(str(tmp / "nothing")) is None
    assert host.read(str(tmp / "big")) == b"x" * 100
    for name, limit in (("fifo", 100), (".", 100), ("big", 99)):
        with pytest.raises(OSError, match=r"regular|larger|directory"):
            host.read(str(tmp / name), limit)


def test_appending_follows_no_link(host, tmp):
    (tmp / "target").write_text("mine")
    os.symlink(tmp / "target", tmp / "log")
    with pytest.raises(OSError, match="symbolic"):
        host.append(str(tmp / "log"), b"x")
    assert (tmp / "target").read_text() == "mine"


def test_removing_twice_is_fine(host, tmp):
    host.write(str(tmp / "f"), b"")
    host.remove(str(tmp / "f"))
    host.remove(str(tmp / "f"))
    assert os.listdir(tmp) == []


def test_writing_follows_no_link_that_lies_in_wait(host, tmp):
    (tmp / "target").write_text("mine")
    os.symlink(tmp / "target", f"{tmp / 'f'}.{os.getpid()}.tmp")
    with pytest.raises(OSError, match="symbolic"):
        host.write(str(tmp / "f"), b"x")
    host.write(str(tmp / "f"), b"x")  # the link is gone, and nothing stands in the way
    assert ((tmp / "target").read_text(), (tmp / "f").read_bytes()) == ("mine", b"x")
