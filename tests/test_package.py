"""The archive and the checkout: what ships, on every Python here, from whatever folder and for whatever user."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest
from tools import kit
from tools.kit import ROOT

# Read as text: to import the module would prove nothing about the archive.
VERSION = re.search(r'^__version__ = "([^"]+)"$', (ROOT / "witness.py").read_text(encoding="utf-8"), re.MULTILINE)[1]
BUILD_ID_CHARACTERS = 64  # a SHA-256 in hexadecimal
UTILITIES = ("bash", "env", "dirname", "sed", "grep", "tail", "rm")


def run(*argv, **options) -> kit.Result:
    """Run a child and return its status and what it said."""
    done = subprocess.run(
        list(map(str, argv)),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=options.pop("timeout", 60),
        **options,
    )
    return kit.Result(done.returncode, done.stdout, done.stderr)


def environment(**changes) -> dict[str, str]:
    """Return the sealed environment with changes; None takes a variable away."""
    return {name: str(value) for name, value in {**os.environ, **changes}.items() if value is not None}


@pytest.fixture
def checkout(tmp, pyz):
    """Make a copy of what a build reads, in a folder whose name holds a space and a letter that is not ASCII."""
    copy = tmp / "é x"
    copy.mkdir()
    for name in ("pyproject.toml", "build.sh"):
        shutil.copy(ROOT / name, copy / name)
    # Of the archive under test, not of the folder: somebody may be editing there.
    with zipfile.ZipFile(pyz) as opened:
        (copy / "witness.py").write_bytes(opened.read("site-packages/witness.py"))
    shutil.copytree(ROOT / "tests/tools", copy / "tests/tools", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


# ---- running it -----------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_version_on_every_python(pyz):
    said = {version: run(python, pyz, "--version") for version, python in kit.pythons().items()}
    assert said, "no CPython from 3.9 on"
    assert said == dict.fromkeys(said, (0, f"witness {VERSION}\n", ""))


@pytest.mark.smoke
def test_an_unknown_command_is_a_usage_error_on_every_python(pyz):
    said = {version: run(python, pyz, "no-such-command") for version, python in kit.pythons().items()}
    assert {version: (one.status, one.stdout) for version, one in said.items()} == dict.fromkeys(said, (2, ""))
    assert not [one for one in said.values() if "Traceback" in one.stderr or "no-such-command" not in one.stderr]


def test_the_archive_runs_by_itself(pyz):
    assert run(pyz, "--version") == (0, f"witness {VERSION}\n", "")


def test_the_module_and_the_archive_say_the_same(pyz):
    assert run(sys.executable, ROOT / "witness.py", "--version") == run(sys.executable, pyz, "--version")


@pytest.mark.parametrize("options", [["-I"], ["-S"], ["-I", "-S"], ["-E"], ["-s"], ["-B"], ["-X", "utf8"]])
def test_interpreter_options_do_not_matter(pyz, options):
    assert run(sys.executable, *options, pyz, "--version").stdout == f"witness {VERSION}\n"


def test_a_module_of_the_same_name_on_the_path_is_not_taken(pyz, tmp):
    (tmp / "witness.py").write_text("raise SystemExit('wrong')\n")
    assert run(sys.executable, pyz, "--version", cwd=tmp, env=environment(PYTHONPATH=tmp)).status == 0


# ---- unpacking ------------------------------------------------------------------------------------------------------


def unpacked(root: Path) -> list[Path]:
    """Return the builds that are unpacked under a folder."""
    return sorted(root.glob("witness.pyz_*/site-packages/witness.py"))


def test_the_first_start_unpacks_into_a_private_folder_and_the_next_reuses_it(pyz, tmp):
    root = tmp / "root"
    stamps = []
    for _ in range(2):
        assert run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=root, HOME=tmp)).status == 0
        stamps.append([os.stat(path).st_mtime_ns for path in unpacked(root)])
    assert stamps[0] == stamps[1]
    assert len(stamps[0]) == 1
    assert len(unpacked(root)[0].parts[-3]) == len("witness.pyz_") + BUILD_ID_CHARACTERS
    folder = unpacked(root)[0].parent
    assert [oct(os.stat(path).st_mode & 0o777) for path in (root, folder.parent, folder)] == ["0o700"] * 3
    assert not (tmp / ".shiv").exists()


def test_without_shiv_root_the_home_is_used(pyz, tmp):
    assert run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=None, HOME=tmp)).status == 0
    assert len(unpacked(tmp / ".shiv")) == 1


@pytest.mark.parametrize("home", ["/dev/null", "/proc/nowhere", "relative", ""])
def test_without_a_usable_home_a_private_folder_is_used(pyz, tmp, home):
    said = run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=None, HOME=home, TMPDIR=tmp), cwd="/")
    assert said == (0, f"witness {VERSION}\n", "")
    assert len(unpacked(tmp / f"witness-{os.geteuid()}")) == 1


def test_a_home_that_others_can_write_is_not_used(pyz, tmp):
    home = tmp / "home"
    home.mkdir()
    home.chmod(0o777)
    assert run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=None, HOME=home, TMPDIR=tmp)).status == 0
    assert os.listdir(home) == []
    assert len(unpacked(tmp / f"witness-{os.geteuid()}")) == 1


def test_a_private_name_that_another_took_is_left_alone(pyz, tmp):
    taken, link = tmp / f"witness-{os.geteuid()}", tmp / f"witness-{os.geteuid()}-1"
    taken.mkdir()
    taken.chmod(0o777)
    (tmp / "elsewhere").mkdir(mode=0o700)
    link.symlink_to(tmp / "elsewhere")
    said = run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=None, HOME="/dev/null", TMPDIR=tmp))
    assert said.status == 0
    assert os.listdir(taken) == os.listdir(tmp / "elsewhere") == []
    assert len(unpacked(tmp / f"witness-{os.geteuid()}-2")) == 1


@pytest.mark.parametrize("damage", ["", "x = 1\n"])
def test_a_module_that_was_cut_off_is_unpacked_again(pyz, tmp, damage):
    surroundings = environment(SHIV_ROOT=tmp)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    whole = unpacked(tmp)[0].read_bytes()
    unpacked(tmp)[0].write_text(damage)
    assert run(sys.executable, pyz, "--version", env=surroundings) == (0, f"witness {VERSION}\n", "")
    assert unpacked(tmp)[0].read_bytes() == whole


def test_first_starts_at_the_same_time_all_work(pyz, tmp):
    children = [
        subprocess.Popen(
            [sys.executable, str(pyz), "--version"],
            env=environment(SHIV_ROOT=tmp / "root"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(6)
    ]
    assert {child.communicate(timeout=60)[0] for child in children} == {f"witness {VERSION}\n".encode()}
    assert {child.returncode for child in children} == {0}


def test_the_umask_is_left_as_it_was(pyz, tmp):
    code = (
        "import os, runpy, sys; os.umask(0o137); sys.argv[0] = sys.argv[1]; del sys.argv[1]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: print(oct(os.umask(0)))"
    )
    said = run(sys.executable, "-c", code, pyz, "--version", env=environment(SHIV_ROOT=tmp / "root"))
    assert said == (0, f"witness {VERSION}\n0o137\n", "")


def test_compiled_code_is_kept_even_where_it_is_switched_off(pyz, tmp):
    surroundings = environment(SHIV_ROOT=tmp, PYTHONDONTWRITEBYTECODE=1)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    assert len(list(unpacked(tmp)[0].parent.glob("__pycache__/witness.*.pyc"))) == 1


def test_what_is_compiled_at_the_first_start_leaves_the_docstrings_out(pyz, tmp):
    assert run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=tmp)).status == 0
    code = (
        "import sys; sys.path[0] = sys.argv[1]; import witness;"
        "print(witness.__doc__, witness.main.__doc__, witness.main.__code__.co_firstlineno)"
    )
    said = run(sys.executable, "-B", "-c", code, unpacked(tmp)[0].parent)
    lines = unpacked(tmp)[0].read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.startswith("def main("))
    assert said == (0, f"None None {number}\n", "")


@pytest.mark.parametrize("fault", ["folder", "source"])
def test_what_cannot_be_compiled_at_the_first_start_is_left_to_the_import(pyz, tmp, fault):
    module = tmp / "witness.py"
    module.write_text("x = 1\n" if fault == "folder" else "x = \n")
    if fault == "folder":
        (tmp / "__pycache__").write_bytes(b"")
    code = (
        "import sys; sys.path[0] = sys.argv[1]; BUILD_ID, SIZE, is_private = 'x', 1, bool;"
        "import _unpack; print(_unpack.compile_bare(sys.argv[2]))"
    )
    assert run(sys.executable, "-c", code, pyz, module) == (0, "None\n", "")


def test_the_start_imports_nothing_of_shiv_once_unpacked(pyz):
    assert run(sys.executable, pyz, "--version").status == 0
    said = run(sys.executable, "-I", "-S", "-X", "importtime", pyz, "--version")
    imported = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}
    assert "witness" in imported
    assert not imported & {"_bootstrap", "zipfile", "compileall", "subprocess"}


def test_nowhere_to_unpack_is_one_line(pyz):
    code = (
        "import sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0]); BUILD_ID, SIZE = 'x', 1;"
        "is_private = bool; import _unpack;"
        "_unpack.roots = lambda: iter(['/dev/null/a', '/proc/b']); _unpack.unpack(False)"
    )
    said = run(sys.executable, "-c", code, pyz)
    assert said.status == 1
    assert re.fullmatch(
        r"witness: cannot unpack itself \(/dev/null/a: [^;]+; /proc/b: .+\); set SHIV_ROOT to .+\n", said.stderr
    )


@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize("fault", ["writable", "foreign"])
def test_an_unpacked_build_that_others_can_change_is_not_run(pyz, tmp, level, fault):
    """Whoever can write there puts in code that runs with the rights of whoever starts a witness."""
    root, surroundings = tmp / "root", environment(SHIV_ROOT=tmp / "root", HOME=tmp / "home", TMPDIR=tmp)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    (module,) = unpacked(root)
    text = module.read_text()
    module.write_text("raise SystemExit('planted')\n".ljust(len(text) - 1) + "\n")
    module.write_bytes(module.read_bytes().ljust(len(text.encode())))
    shutil.rmtree(module.parent / "__pycache__")
    assert "planted" in run(sys.executable, pyz, "--version", env=surroundings).stderr  # the trap works
    path = [root, module.parents[1], module.parent, module][level]
    if fault == "writable":
        path.chmod(0o777)
    elif os.geteuid():
        pytest.skip("only root can give a folder to another user")
    else:
        os.chown(path, 12345, -1)
    assert run(sys.executable, pyz, "--version", env=surroundings) == (0, f"witness {VERSION}\n", "")
    if path == module:  # in a folder that is ours alone it is put there anew
        assert module.read_text() == text
    else:
        assert len(unpacked(tmp / f"witness-{os.geteuid()}")) == 1


def test_a_home_that_others_can_write_is_not_trusted_with_what_lies_in_it(pyz, tmp):
    home, surroundings = tmp / "home", environment(SHIV_ROOT=None, HOME=tmp / "home", TMPDIR=tmp)
    home.mkdir(mode=0o700)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    assert len(unpacked(home / ".shiv")) == 1
    home.chmod(0o777)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    assert len(unpacked(tmp / f"witness-{os.geteuid()}")) == 1


def test_a_start_after_one_that_was_killed_at_any_moment_works(pyz, tmp):
    """Killed while shiv unpacks, while Python writes the compiled code, or later: the next start makes it whole."""
    began = time.monotonic()
    surroundings = environment(SHIV_ROOT=tmp / "whole")
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    whole_s = time.monotonic() - began
    left = set()
    for number in range(12):
        root = tmp / f"root{number}"
        child = subprocess.Popen(
            [sys.executable, str(pyz), "--version"], env=environment(SHIV_ROOT=root), stdout=subprocess.DEVNULL
        )
        time.sleep(whole_s * (number + 1) / 13)
        child.kill()
        child.wait()
        left.add(tuple(sorted(path.name for path in root.rglob("*") if "lock" not in path.name)))
        for _ in range(2):
            said = run(sys.executable, pyz, "--version", env=environment(SHIV_ROOT=root))
            assert said == (0, f"witness {VERSION}\n", ""), left
    assert len(left) >= 2, "the kills came all at one moment"


@pytest.mark.parametrize("where", ["witness.py", "__pycache__/witness.*.pyc"])
@pytest.mark.parametrize("damage", ["zeros", "half"])
def test_a_start_after_a_power_cut_works(pyz, tmp, where, damage):
    """The names and sizes are there, the bytes not: what was written without fsync, as both are."""
    surroundings = environment(SHIV_ROOT=tmp)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    whole = unpacked(tmp)[0].read_bytes()
    (path,) = unpacked(tmp)[0].parent.glob(where)
    data, about = path.read_bytes(), path.stat()
    kept = 16 if path.suffix == ".pyc" else 0  # a header that is whole makes Python read on
    path.write_bytes(data[:kept] + bytes(len(data) - kept) if damage == "zeros" else data[: len(data) // 2])
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    if path.suffix == ".py":
        shutil.rmtree(path.parent / "__pycache__")
    assert run(sys.executable, pyz, "--version", env=surroundings) == (0, f"witness {VERSION}\n", "")
    assert unpacked(tmp)[0].read_bytes() == whole


def test_a_module_that_cannot_be_imported_says_why(pyz, tmp):
    broken = tmp / "broken.pyz"
    with zipfile.ZipFile(pyz) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            text = b"raise RuntimeError('no such luck')\n"
            new.writestr(name, text.ljust(len(data)) if name == "site-packages/witness.py" else data)
    said = run(sys.executable, broken, "--version", env=environment(SHIV_ROOT=tmp / "root"))
    assert said.status == 1
    assert "RuntimeError: no such luck" in said.stderr


def test_first_starts_at_the_same_time_over_a_damaged_build_all_work(pyz, tmp):
    surroundings = environment(SHIV_ROOT=tmp)
    assert run(sys.executable, pyz, "--version", env=surroundings).status == 0
    unpacked(tmp)[0].write_text("")
    children = [
        subprocess.Popen(
            [sys.executable, str(pyz), "--version"], env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for _ in range(4)
    ]
    assert {child.communicate(timeout=60)[0] for child in children} == {f"witness {VERSION}\n".encode()}


def test_a_python_that_is_too_old_is_told_so(monkeypatch):
    source = (ROOT / "tests/tools/entry.py").read_text()
    for text in (source, (ROOT / "tests/tools/unpack.py").read_text()):
        ast.parse(text, feature_version=(3, 4))
    entry = runpy.run_path(str(ROOT / "tests/tools/entry.py"))
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    with pytest.raises(SystemExit, match=r"^witness: needs Python 3.9 or newer; .* is 3\.8$"):
        entry["start"]()


# ---- the bytes ------------------------------------------------------------------------------------------------------


def test_the_archive_holds_what_it_must_and_no_more(pyz):
    info = f"site-packages/witness-{VERSION}.dist-info/"
    with zipfile.ZipFile(pyz) as opened:
        entries = opened.infolist()
        comment, module = opened.comment, opened.read("site-packages/witness.py")
    assert [entry.filename for entry in entries] == [
        "__main__.py",
        "_bootstrap/__init__.py",
        "_bootstrap/environment.py",
        "_bootstrap/filelock.py",
        "_bootstrap/interpreter.py",
        "_unpack.py",
        "environment.json",
        f"{info}METADATA",
        f"{info}RECORD",
        f"{info}WHEEL",
        f"{info}entry_points.txt",
        "site-packages/witness.py",
    ]
    assert {(entry.date_time, entry.external_attr >> 16, entry.compress_type, entry.extra) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED, b"")
    }
    assert comment == b""
    assert module == (ROOT / "witness.py").read_bytes()


def test_the_archive_begins_with_its_interpreter_and_ends_with_its_index(pyz):
    data = pyz.read_bytes()
    assert data.startswith(b"#!/usr/bin/env python3\nPK\x03\x04")
    assert data[-22:-18] == b"PK\x05\x06"  # the end record, 22 bytes without a comment
    assert os.stat(pyz).st_mode & 0o777 == 0o755


def test_the_archive_names_no_place_where_it_was_built(pyz):
    data = pyz.read_bytes()
    places = {f"{ROOT}/", f"{kit.ENVIRONMENT.get('HOME', '')}/", os.environ["HOME"], "witness-build-", "file://"}
    assert [place for place in places if len(place) > 1 and place.encode() in data] == []


def build(folder: Path, python: str, umask: int) -> bytes:
    """Build the archive of a checkout with an interpreter that borrows this one's tools, and return its bytes."""
    tools = sysconfig.get_path("purelib")
    code = "import os, runpy, sys; os.umask(int(sys.argv.pop(1)))\nrunpy.run_path(sys.argv.pop(1), run_name='__main__')"
    target = folder / "witness.pyz"
    surroundings = environment(PYTHONPATH=tools, PYTHONDONTWRITEBYTECODE=1, SOURCE_DATE_EPOCH=0, TZ="Japan")
    said = run(python, "-c", code, umask, folder / "tests/tools/archive.py", target, cwd="/", env=surroundings)
    assert said == (0, "", "")
    assert os.stat(target).st_mode & 0o777 == 0o755
    return target.read_bytes()


def test_another_folder_umask_and_clock_give_the_same_bytes(pyz, checkout):
    (checkout / "README.md").write_text("beside the source, not of it\n")
    assert build(checkout, sys.executable, 0o077) == pyz.read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o027])
def test_another_python_gives_the_same_bytes(pyz, checkout, umask):
    others = {
        version: python
        for version, python in kit.pythons().items()
        if version != f"{sys.version_info[0]}.{sys.version_info[1]}"
    }
    if not others:
        pytest.skip("there is one Python only")
    # The oldest and the newest: what lies between them differs less.
    for python in {others[version] for version in (*list(others)[:1], *list(others)[-1:])}:
        assert build(checkout, python, umask) == pyz.read_bytes(), python


def test_a_changed_module_is_another_build(pyz, checkout, tmp):
    with open(checkout / "witness.py", "a") as module:
        module.write("# changed\n")
    build(checkout, sys.executable, 0o022)
    for archive in (pyz, checkout / "witness.pyz"):
        assert run(sys.executable, archive, "--version", env=environment(SHIV_ROOT=tmp / "root")).status == 0
    assert len(unpacked(tmp / "root")) == 2


# ---- the checkout ---------------------------------------------------------------------------------------------------


def tracked() -> list[str]:
    """Return the files of the checkout, or of its copy without git, that are the project's own."""
    if (ROOT / ".git").exists():
        listed = run(
            "git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT
        )
        assert listed.status == 0, listed.stderr
        return [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    ignored = [line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()]
    top = [name for name in os.listdir(ROOT) if not any(Path(name).match(pattern) for pattern in ignored)]
    return [
        str(Path(folder, name).relative_to(ROOT))
        for one in top
        for folder, _, names in os.walk(ROOT / one)
        for name in names
        if "__pycache__" not in folder
    ] + [name for name in top if (ROOT / name).is_file()]


def test_the_top_level_holds_what_it_must_and_no_more():
    top = {name.partition("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} <= {
        "pyproject.toml",
        "witness.py",
        "tests",
        "build.sh",
        "README.md",
    }
    assert {"pyproject.toml", "witness.py", "tests", "build.sh", ".ci", ".gitignore"} <= top


def test_nothing_secret_is_in_the_project():
    secret = re.compile(
        rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b"
        rb"|\bxox[abprs]-[0-9A-Za-z-]{20}|\bsk-[A-Za-z0-9]{40}"
    )
    assert [name for name in tracked() if secret.search((ROOT / name).read_bytes())] == []


def test_what_must_be_executable_is():
    assert [name for name in ("build.sh", ".ci/run", "witness.py") if not os.access(ROOT / name, os.X_OK)] == []


# ---- build.sh -------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp, request):
    """Make a PATH that holds next to nothing, and the tools asked for by name: bare("git")."""
    folder = tmp / "bin"
    folder.mkdir()

    def make(*more) -> dict[str, str]:
        for name in (*UTILITIES, *more):
            found = shutil.which(name)
            if found:
                (folder / name).symlink_to(found)
        return environment(PATH=folder, PYENV_ROOT=None)

    return make


@pytest.mark.parametrize("word", ["help", "-h", "--help"])
def test_help_names_every_chore(word, bare):
    said = run("bash", ROOT / "build.sh", word, env=bare("cat"))
    words = set(re.findall(r"^\./build\.sh +([a-z]+)\b", said.stdout, re.MULTILINE))
    cases = (ROOT / "build.sh").read_text().partition("case $word in")[2]
    known = {name for line in re.findall(r"^([a-z][a-z |-]*)\)$", cases, re.MULTILINE) for name in line.split(" | ")}
    assert (said.status, said.stderr) == (0, "")
    assert words | {"build", "-h", "--help"} == known | {"-h", "--help"}


def test_an_unknown_chore_names_those_there_are():
    said = run("bash", ROOT / "build.sh", "dmeo")
    assert said.status == 2
    assert re.fullmatch(r"build\.sh: no chore dmeo; there are build, test, demo, .*help\n", said.stderr)


@pytest.mark.parametrize(
    ("missing", "chore", "there", "told"),
    [
        ("python", "map", (), r"Python 3\.9 or newer is missing: install it \(.*apt-get install python3.*\)"),
        ("python", "build", (), r"Python 3\.9 or newer is missing: install it \(.*apt-get install python3.*\)"),
        ("git", "test", ("tmux",), r"git is missing: install it \(.*apt-get install git;.*\)"),
        ("tmux", "test", ("git",), r"tmux is missing: install it \(.*apt-get install tmux;.*\)"),
        ("tmux", "demo", ("git",), r"tmux is missing: install it \(.*apt-get install tmux;.*\)"),
    ],
)
def test_a_missing_tool_is_one_line(checkout, bare, missing, chore, there, told):
    said = run("bash", checkout / "build.sh", chore, env=bare(*there), cwd="/")
    assert (said.status, said.stdout) == (69, "")
    assert re.fullmatch(rf"build\.sh: {told}.*\n", said.stderr)


def script(path: Path, text: str) -> None:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_python_without_venv_is_one_line(checkout, bare, tmp):
    surroundings = bare()
    script(tmp / "bin/python3", f'case "$*" in *ensurepip*) exit 1;; esac; exec "{sys.executable}" "$@"')
    said = run("bash", checkout / "build.sh", env=surroundings)
    assert (said.status, said.stdout) == (69, "")
    assert re.fullmatch(
        r"build\.sh: Python cannot make a virtual environment: .*apt-get install python3-venv\)\n", said.stderr
    )


def test_an_interpreter_asked_for_that_is_none_is_one_line(checkout, bare):
    said = run("bash", checkout / "build.sh", env={**bare(), "PYTHON": "/bin/false"})
    assert said == (69, "", "build.sh: PYTHON=/bin/false is no Python 3.9 or newer\n")


def test_a_demo_that_is_not_there_is_one_line(checkout, bare):
    said = run("bash", checkout / "build.sh", "demo", env=bare("git", "tmux"))
    assert said == (66, "", f"build.sh: {checkout}/tests/demo.py is missing\n")


def test_continuous_integration_says_what_it_cannot_install(checkout, bare):
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    said = run("bash", checkout / ".ci/run", env=bare(), cwd="/")
    assert (said.status, said.stdout) == (69, "")
    assert re.fullmatch(r"\.ci/run: missing here: git tmux python3 python3-venv; install them, .*\n", said.stderr)


def test_map_and_room_need_no_tools(checkout, bare, tmp):
    surroundings = bare()
    script(tmp / "bin/python3", f'exec "{sys.executable}" "$@"')
    assert run("bash", checkout / "build.sh", "map", env=surroundings).stdout.startswith("words\n  header ")
    assert run("bash", checkout / "build.sh", "room", "header", env=surroundings).status == 0
    assert run("bash", checkout / "build.sh", "room", env=surroundings).status == 2
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_a_pip_that_fails_is_one_line_and_leaves_nothing_that_looks_whole(checkout):
    said = run("bash", checkout / "build.sh", env=environment(PIP_NO_INDEX=1, PYTHON=sys.executable))
    assert (said.status, said.stdout) == (69, "")
    first, last = said.stderr.splitlines()
    assert first.startswith("build.sh: installing the pinned tools into ")
    assert re.fullmatch(r"build\.sh: pip could not install the pinned tools: ERROR: .* \(all it said: .*\)", last)
    assert not (checkout / ".venv/stamp").exists()


# ---- the frame of the tests -----------------------------------------------------------------------------------------


@pytest.fixture
def suite(checkout, pyz):
    """Run the suite of a checkout that holds the given tests: suite("def test…", args=[], env={}) -> lines, status."""
    shutil.copy(ROOT / "tests/conftest.py", checkout / "tests/conftest.py")

    def call(text: str, *args, **changes) -> tuple[int, list[str]]:
        (checkout / "tests/test_made.py").write_text(text)
        said = run(
            sys.executable,
            "-I",
            checkout / "tests/tools/suite.py",
            pyz,
            *args,
            env=environment(**changes),
            cwd="/",
            timeout=120,
        )
        return said.status, (said.stdout + said.stderr).splitlines()

    return call


def sleeping(*seconds: int) -> list[int]:
    """Return the processes that sleep for one of these times."""
    argvs = {f"sleep\0{second}\0".encode() for second in seconds}
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += [int(entry.name)] if (entry / "cmdline").read_bytes() in argvs else []
    return found


MIXED = """
import os, pytest
@pytest.mark.parametrize("number", range(8))
def test_one(number, tmp):
    with open(os.path.join(os.path.dirname(__file__), "ran"), "a") as ran:
        ran.write(f"{number}\\n")
    assert number != 3
def test_none():
    pytest.skip("for the count")
@pytest.fixture
def broken():
    raise ValueError
def test_broken(broken):
    pass
"""


@pytest.mark.slow
def test_the_shards_run_every_test_once_and_their_sum_comes_last(suite, checkout):
    status, lines = suite(MIXED, WITNESS_TEST_SEED=7)
    assert (status, lines[-1]) == (1, "7 passed, 2 failed, 1 skipped")
    assert lines[-2] == "random seed: 7 (WITNESS_TEST_SEED=7 repeats the order)"
    assert sorted((checkout / "tests/ran").read_text().split()) == list("01234567")
    assert len([line for line in lines if line.startswith("order: WITNESS_TEST_SEED=7, shard ")]) == 4


@pytest.mark.slow
def test_with_arguments_one_process_runs_and_the_seed_repeats_its_order(suite, checkout):
    orders = []
    for seed in (7, 7, 8):
        status, lines = suite(MIXED, "-q", "-k", "test_one and not 3", WITNESS_TEST_SEED=seed)
        assert (status, lines[-1]) == (0, "7 passed, 0 failed, 0 skipped")
        orders.append((checkout / "tests/ran").read_text())
        (checkout / "tests/ran").unlink()
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [("", "suite: no test ran"), ("import nowhere_to_be_found", "E   ModuleNotFoundError: No module named")],
    ids=["no test", "a file that does not import"],
)
def test_a_run_that_proves_nothing_fails(suite, text, told):
    status, lines = suite(text, "tests/test_made.py")
    assert status == 1
    assert [line for line in lines if line.startswith(told)]
    assert lines[-1].startswith("0 passed, ")


@pytest.mark.slow
def test_a_shard_that_dies_is_counted_and_cleaned_up_after(suite):
    text = "import os, subprocess\ndef test_end():\n    subprocess.Popen(['sleep', '296'])\n    os._exit(0)"
    status, lines = suite(text, "tests/test_made.py")
    assert (status, lines[-1]) == (1, "0 passed, 2 failed, 0 skipped")
    assert "suite: shard 1 ended with 0 before it could count" in lines
    assert [line.rpartition(" pid ")[0] for line in lines if "sleep 296" in line] == [
        "suite: left running by tests/test_made.py::test_end (call):"
    ]
    assert sleeping(296) == []


@pytest.mark.slow
def test_a_process_left_running_fails_the_run_and_is_ended(suite):
    text = """
import subprocess
def test_leak():
    left = subprocess.Popen(["sleep", "300"], start_new_session=True)
    left.returncode = 0  # or its destructor warns
def test_tmux_server(tmux):
    tmux.new_session("one", "/", ["sh", "-c", "setsid sleep 299 & trap '' HUP TERM; sleep 298 & wait"])
    tmux.seen.clear()
def test_fine(rig):
    rig.add_polecat("nux", ["sleep", "297"])
"""
    status, lines = suite(text, "tests/test_made.py")
    assert status == 1
    told = [re.sub(r"pid \d+", "pid N", line) for line in lines if line.startswith("ERROR left running")]
    assert told == ["ERROR left running by tests/test_made.py::test_leak (call): pid N: sleep 300"]
    assert lines[-1] == "3 passed, 1 failed, 0 skipped"
    assert sleeping(297, 298, 299, 300) == []


def test_the_environment_of_the_tests_leads_nowhere_else(pytestconfig):
    root = str(pytestconfig.witness_root)
    paths = (
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_STATE_HOME",
        "TMPDIR",
        "TMUX_TMPDIR",
        "SHIV_ROOT",
        "GIT_CONFIG_GLOBAL",
    )
    assert [name for name in paths if not os.environ[name].startswith(root + "/")] == []
    foreign = re.compile("WITNESS_|TMUX$|TMUX_PANE$|GT_|BD_|BEADS_|GIT_(DIR|WORK_TREE|INDEX_FILE)$|PYTHON|PIP_|NOTIFY_")
    assert [name for name in os.environ if foreign.match(name)] == []
    assert len(f"{root}/x/tmux-{os.getuid()}/w12345678") < 100, "a socket's path must fit its address"


@pytest.mark.parametrize("turn", ["one", "other"])
def test_what_a_test_changes_outside_its_folder_is_taken_back(turn):
    assert "LEFT_BEHIND" not in os.environ
    assert os.umask(0o077) == 0o022
    assert os.listdir(Path.home()) == [".gitconfig"]
    assert os.getcwd() != "/"
    assert run("git", "config", "--global", "user.name").stdout == "Tess Ter\n"
    # In whatever order the two come, the second sees what the first left.
    os.environ["LEFT_BEHIND"] = turn
    os.chdir("/")
    Path.home().joinpath("left-behind").touch()
    Path.home().joinpath(".gitconfig").write_text("[user]\n\tname = Somebody Else\n")
