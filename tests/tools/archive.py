"""Build witness.pyz: `python archive.py OUTPUT`. The same source gives the same bytes wherever it is built.

flit_core makes the wheel, shiv the archive. Then the archive is written once more: in sorted order, uncompressed
(what zlib puts out differs between its versions), with fixed modes and times, with entry.py as its __main__.py and
unpack.py beside it.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
from pathlib import Path

from flit_core import buildapi
from shiv import __version__ as shiv_version
from shiv import builder
from shiv.bootstrap.environment import Environment

ROOT = Path(__file__).resolve().parents[2]
INTERPRETER = "/usr/bin/env python3"
BUILT_AT = "1980-01-01 00:00:00"
"""The earliest time that a zip archive can hold; the entries get it too."""


def make_wheel(work: Path) -> Path:
    """Build the wheel from the two files it needs, and nothing else that lies beside them."""
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "witness.py"):
        shutil.copyfile(ROOT / name, source / name)
    os.chdir(source)  # a build backend builds what it stands in
    return source / buildapi.build_wheel(".")


def make_archive(wheel: Path, work: Path) -> Path:
    """Have shiv make the archive of the wheel's contents."""
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(work / "stage")
    target = work / "shiv.pyz"
    environment = Environment(
        built_at=BUILT_AT, shiv_version=shiv_version, entry_point="witness:main", compile_pyc=False, reproducible=True
    )
    builder.create_archive([work / "stage"], target, INTERPRETER, "_bootstrap:bootstrap", environment, compressed=False)
    return target


def entry_point(contents: dict[str, bytes]) -> bytes:
    """Return the archive's __main__.py: entry.py with this build's constants."""
    build_id = json.loads(contents["environment.json"])["build_id"]
    size = len(contents["site-packages/witness.py"])
    text = Path(__file__).with_name("entry.py").read_text(encoding="utf-8")
    for name, value in (("BUILD_ID", json.dumps(build_id)), ("SIZE", str(size))):
        text, count = re.subn(rf"(?m)^{name} = \S+", f"{name} = {value}", text)
        if count != 1:
            sys.exit(f"build: entry.py holds {count} lines `{name} = …`, expected 1")
    return text.encode()


def rewrite(archive: Path) -> bytes:
    """Return the archive in its one normal form."""
    with zipfile.ZipFile(archive) as opened:
        contents = {info.filename: opened.read(info) for info in opened.infolist() if not info.is_dir()}
    contents["__main__.py"] = entry_point(contents)
    contents["_unpack.py"] = Path(__file__).with_name("unpack.py").read_bytes()
    written = io.BytesIO()
    written.write(b"#!" + INTERPRETER.encode() + b"\n")
    with zipfile.ZipFile(written, "w") as target:
        for name in sorted(contents):
            info = zipfile.ZipInfo(name)  # of 1980-01-01, stored, unless it is told otherwise
            info.create_system = 3  # Unix
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            target.writestr(info, contents[name])
    return written.getvalue()


def main(argv: list[str]) -> int:
    """Build the archive and put it into its place in one step."""
    target = Path(argv[0]).absolute()
    folder = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="witness-build-") as made:
        work = Path(made)
        data = rewrite(make_archive(make_wheel(work), work))
        os.chdir(folder)
    # Beside the target, because a rename is in one step only within a file system; a running archive keeps its inode.
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        part.chmod(0o755)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        sys.exit(f"build: cannot write {target}: {error.strerror}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
