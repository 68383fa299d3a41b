"""Run the tests marked `real` against the programs on the PATH: `python real.py PYZ [ARG...]`.

Says first which versions run. They are two parts, the queue (bd, and dolt where it needs one) and the town (gt beside
them): where something is missing, what can be run is, and the exit status is 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MISSING = 3


def name(program: str, version: tuple) -> str:
    """Return a program with its version."""
    return f"{program} {'.'.join(map(str, version))}"


def main(argv: list[str]) -> int:
    """Run them, or say why not."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tools import realbd, realgt, suite

    bd, gt, dolt = realbd.bd_version(), realgt.gt_version(), realbd.dolt_version()
    missing = realbd.find_missing()
    found = [*([name("bd", bd)] if bd else []), *([name("gt", gt)] if gt else []), *([f"dolt {dolt}"] if dolt else [])]
    print(f"real: on the PATH: {', '.join(found) or 'neither bd nor gt'}", flush=True)
    if missing:
        needs = f"; {name('bd', bd)} needs it" if bd else ""
        print(f"real: {missing} is not on the PATH{needs}: nothing was run")
        return MISSING
    files = ["tests/test_real.py", *(["tests/test_real_town.py"] if gt else [])]
    # Each part by itself has the time of a suite; what is named by hand may stand in only one of them.
    status = 0
    for part in [files] if argv[1:] else [[file] for file in files]:
        status |= suite.main([argv[0], "-m", "real", "-v", "-rs", *part, *argv[1:]])
    if not gt:
        print(f"real: gt is not on the PATH: {files[0]} was run, no town was watched")
    return status or (0 if gt else MISSING)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
