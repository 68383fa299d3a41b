"""Which rig, which repository, which state folder."""

from __future__ import annotations

import json
import os
import stat

import pytest

import witness as w

HOST = w.Host()


def find(folder, option="", **environ):
    return w.find_rig(HOST, option, environ, str(folder))


def test_rig_is_found_from_a_subfolder_and_from_inside_a_worktree(rig):
    worker = rig.add_polecat("alpha")
    (rig.path / "src").mkdir()
    (worker.path / ".gastown").mkdir()
    (worker.path / ".gastown" / "witness.json").write_text("{}")  # a worktree may hold a .gastown of its own
    for folder in (rig.path, rig.path / "src", worker.path):
        found = find(folder)
        assert (found.path, found.name, found.common) == (str(rig.path), "demo", str(rig.path / ".git"))
        assert found.polecats == str(rig.path / "polecats")


def test_rig_is_named_by_option_before_variable(rig, repo):
    other = repo("other")
    assert find("/", option=str(other.path), WITNESS_RIG=str(rig.path)).path == str(other.path)
    assert find("/", WITNESS_RIG=str(rig.path)).path == str(rig.path)


def test_no_rig_says_what_was_looked_for(tmp):
    with pytest.raises(w.UsageError) as error:
        find(tmp)
    assert str(tmp) in error.value.line()
    assert "polecats/" in error.value.line()
    with pytest.raises(w.UsageError, match="no rig: /no/such/place"):
        find("/", option="/no/such/place")


def test_folder_without_a_repository_is_no_rig(tmp):
    (tmp / "polecats").mkdir()
    with pytest.raises(w.UsageError, match="holds no git repository"):
        find(tmp)


@pytest.mark.parametrize("base", [".repo.git", "mayor/rig"])
def test_base_repository_of_a_town_rig(repo, tmp, base):
    rig = tmp / "town" / "shop"
    rig.mkdir(parents=True)
    (rig / "config.json").write_text(json.dumps({"type": "rig", "name": "Shop.One"}))
    made = repo("seed")
    bare = ["--bare"] if base == ".repo.git" else []
    made.git("clone", "--quiet", *bare, made.path, rig / base)
    found = find(rig)
    assert found.base == str(rig / base)
    assert found.name == "Shop-One"
    assert w.find_common(HOST, found.base) == found.common


def test_town_is_the_nearest_with_its_file(tmp):
    rig = tmp / "town" / "rigs" / "shop"
    rig.mkdir(parents=True)
    assert w.find_town(str(rig)) == ""
    (tmp / "town" / "mayor").mkdir()
    (tmp / "town" / "mayor" / "town.json").write_text("{}")
    assert w.find_town(str(rig)) == str(tmp / "town")


@pytest.mark.parametrize(
    ("folders", "lock", "chosen"),
    [
        ((), "", ".gastown"),
        ((".runtime",), "", ".runtime"),
        ((".gastown", ".runtime"), "", ".gastown"),
        ((".gastown", ".runtime"), ".runtime", ".runtime"),
    ],
)
def test_state_folder_is_chosen(rig, folders, lock, chosen):
    for name in folders:
        (rig.path / name).mkdir()
    if lock:
        (rig.path / lock / "witness.lock").touch()
    assert find(rig.path).state == str(rig.path / chosen)


def test_ground_is_made_private_and_kept_out_of_status(rig):
    found = find(rig.path)
    for _ in range(2):
        w.check_ground(HOST, found, w.make_config({}, "f", {}))
    assert stat.S_IMODE(os.stat(found.state).st_mode) == 0o700
    lines = (rig.path / ".git" / "info" / "exclude").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["/.gastown/", "/polecats/"]
    rig.add_polecat("alpha")
    assert rig.git("status", "--porcelain") == ""


def test_our_excludes_do_not_hide_a_workers_folder(rig):
    """Unanchored, they once hid a worker's docs/polecats/."""
    w.check_ground(HOST, find(rig.path), w.make_config({}, "f", {}))
    (rig.path / "docs" / "polecats").mkdir(parents=True)
    (rig.path / "docs" / "polecats" / "x").write_text("x")
    assert "docs/" in rig.git("status", "--porcelain")


def test_state_folder_that_others_can_write_is_refused(rig):
    found = find(rig.path)
    os.mkdir(found.state)
    os.chmod(found.state, 0o777)
    with pytest.raises(w.StateError, match="mode 777"):
        w.check_ground(HOST, found, w.make_config({}, "f", {}))


def test_state_folder_that_is_a_link_or_a_file_is_refused(rig, tmp):
    found = find(rig.path)
    (tmp / "elsewhere").mkdir()
    os.symlink(tmp / "elsewhere", found.state)
    with pytest.raises(w.StateError, match="is no folder"):
        w.check_ground(HOST, found, w.make_config({}, "f", {}))


@pytest.mark.parametrize(
    ("files", "backend"),
    [
        ((), "local"),
        ((".beads/issues.jsonl",), "local"),
        ((".beads/beads.db",), "beads"),
        ((".beads/dolt/x",), "beads"),
    ],
)
def test_backend_is_what_lies_on_disk(rig, files, backend):
    for name in files:
        (rig.path / name).parent.mkdir(parents=True, exist_ok=True)
        (rig.path / name).touch()
    found = find(rig.path)
    assert w.find_backend(HOST, found, w.make_config({}, "f", {}))[0] == backend
    assert w.find_backend(HOST, found, w.make_config({"backend": "local"}, "f", {}))[0] == "local"


def test_server_setting_is_a_database_too(rig):
    (rig.path / ".beads").mkdir()
    (rig.path / ".beads" / "metadata.json").write_text('{"dolt_mode": "server"}')
    assert w.find_backend(HOST, find(rig.path), w.make_config({}, "f", {}))[0] == "beads"


def test_damaged_object_files_are_empty(tmp):
    (tmp / "a").write_bytes(b"\0\xff")
    (tmp / "b").write_text("[1]")
    (tmp / "c").write_text('{"a": ' + "[" * 100000)  # a worker's record, nested so deep, once stopped every tick
    assert [w.read_object(HOST, str(tmp / name)) for name in ("a", "b", "c", "none", ".")] == [{}] * 5


def test_rig_without_a_working_tree_is_found_from_inside_its_worktrees(repo, tmp):
    rig = tmp / "town" / "shop"
    rig.mkdir(parents=True)
    made = repo("seed")
    made.git("clone", "--quiet", "--bare", made.path, rig / ".repo.git")
    made.git(
        "worktree", "add", "--quiet", "-b", "polecat/alpha", rig / "polecats" / "alpha" / "shop", cwd=rig / ".repo.git"
    )
    found = find(rig / "polecats" / "alpha" / "shop")
    assert (found.path, found.base) == (str(rig), str(rig / ".repo.git"))
    tree = w.read_worktree(found, "alpha")
    assert (tree.branch, tree.trouble) == ("polecat/alpha", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_what_belongs_to_another_is_refused(rig):
    found, plain = find(rig.path), w.make_config({}, "f", {})
    os.mkdir(found.state, 0o700)
    os.chown(found.state, 65534, -1)
    with pytest.raises(w.StateError, match="belongs to uid 65534"):
        w.check_ground(HOST, found, plain)
    os.chown(found.state, 0, -1)
    os.chown(found.path, 65534, -1)
    with pytest.raises(w.UsageError, match="belongs to uid 65534 and this is root"):
        w.check_ground(HOST, found, plain)
    w.check_ground(HOST, found, w.make_config({"as_root": True}, "f", {}))


@pytest.mark.parametrize(
    ("folder", "name"), [("a.b:c d", "a-b-c-d"), ("--x", "x"), ("é", "rig"), ("$(x)", "x"), ("y" * 250, "y" * 100)]
)
def test_rig_of_any_folder_has_a_name_that_addresses_and_sessions_can_hold(repo, folder, name):
    """A daemon in a folder of 200 characters ended right after it had said that it was ready."""
    found = find(repo(folder).path)
    assert found.name == name
    assert w.address_folder(f"{found.name}/{'p' * 64}")


# ---- in a Gas Town --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ["seed", "0.2.6", "0.5.0", "1.0.1"])
def test_rig_in_a_town_is_found_from_everywhere_in_it_and_its_workers_are_those_in_polecats(
    town, pair, tmp, monkeypatch
):
    made = town(pair)
    monkeypatch.setenv("PATH", made.bin.path())
    made.add("de-1", "One")
    assert made.sling("de-1").status == 0
    (name,) = made.polecats()
    base = "mayor/rig" if pair == "seed" else ".repo.git"
    for folder in ("", "witness", "refinery", "polecats", "crew", f"polecats/{name}", "mayor/rig", "refinery/rig"):
        found = find(made.rig / folder)
        assert (found.path, found.name, found.base) == (str(made.rig), "demo", str(made.rig / base)), folder
    rig = find(made.rig)
    assert find(made.tree(name)).path == str(made.rig)
    assert w.find_town(rig.path) == str(made.path)
    assert w.find_backend(HOST, rig, w.make_config({}, "test", {}))[0] == "gastown"
    # Whatever else lies beside the workers is none.
    for other in ("refinery", "mayor", "witness", "deacon", "crew"):
        (made.rig / "polecats" / other).symlink_to(made.tree(name))
    (made.rig / "polecats/.claude").mkdir(exist_ok=True)
    (made.rig / "polecats/rust.pending").write_text("1")
    (made.rig / "polecats/empty/demo").mkdir(parents=True)
    trees, strangers, trouble = w.list_worktrees(rig, w.Shelf(HOST))
    assert [(tree.name, tree.path) for tree in trees] == [(name, str(made.tree(name)))]
    assert trees[0].branch == made.branch(name)
    assert sorted(folder for folder, _ in strangers) == [
        "crew",
        "deacon",
        "empty",
        "mayor",
        "refinery",
        "rust.pending",
        "witness",
    ]
    assert trouble == ""


def test_worktree_of_the_refinery_is_no_workers_although_it_is_of_the_same_repository(town):
    made = town()
    os.rename(made.rig / "refinery/rig", made.rig / "polecats/refinery")
    made.git("worktree", "repair", made.rig / "polecats/refinery")
    assert w.list_worktrees(find(made.rig), w.Shelf(HOST))[:2] == ((), (("refinery", "its name is no polecat's"),))


def test_nearest_town_counts_and_a_rig_outside_of_any_is_in_none(town, tmp):
    made = town()
    (tmp / "mayor").mkdir(exist_ok=True)
    (tmp / "mayor/town.json").write_text("{}")
    assert w.find_town(str(made.rig)) == str(made.path)
    (made.path / "mayor/town.json").unlink()
    assert w.find_town(str(made.rig)) == str(tmp)
    (tmp / "mayor/town.json").unlink()
    assert w.find_town(str(made.rig)) == ""


def test_nothing_of_a_towns_rig_is_written_to_by_looking_for_it(town):
    made = town()
    before = sorted(str(path) for path in made.rig.rglob("*"))
    rig = find(made.rig)
    w.check_ground(HOST, rig, w.make_config({}, "test", {}))
    after = sorted(str(path) for path in made.rig.rglob("*"))
    assert set(after) - set(before) <= {str(made.rig / ".gastown")}
