"""Run the tests marked `real` against the programs on the PATH: `python real.py PYZ [ARG...]`.

Says first which versions run, and where something is missing what it is: then the exit status is 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MISSING = 3


def main(argv: list[str]) -> int:
    """Run them, or say why not."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tools import realbd, suite

    missing = realbd.find_missing()
    if missing:
        version = ".".join(map(str, realbd.bd_version()))
        print(f"real: {missing} is not on the PATH{f'; bd {version} needs it' if version else ''}: nothing was run")
        return MISSING
    version, dolt = realbd.bd_version(), realbd.dolt_version()
    server = f"dolt {dolt}" if version >= realbd.SERVER_SINCE else "no server"
    print(f"real: bd {'.'.join(map(str, version))}, {server}", flush=True)
    return suite.main(
        [argv[0], "-m", "real", "-v", "-rs", "-o", "faulthandler_timeout=1800", "tests/test_real.py", *argv[1:]]
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
