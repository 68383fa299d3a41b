"""Run the whole suite in four processes, or one run with the given pytest arguments: `python suite.py PYZ [ARG...]`.

Prints the output of the first shard as it comes and then those of the others, and ends with the line
`N passed, N failed, N skipped` over all.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 4
"""Two for each core of the smallest machine that builds this: half of the time of a test is waiting."""
LIMIT_S = 75 * 60
"""A hanging suite ends with a message, long before whoever waits for it gives up."""
GRACE_S = 60
"""For the tests under way to end what they started, after an interrupt."""
NO_TESTS = 5
"""pytest's exit status where nothing was collected: no fault of one shard among several."""


def start(arguments: list[str], settings: dict[str, str], stdout) -> subprocess.Popen:
    """Start one pytest process, away from the terminal: an interrupt reaches it once, from here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    stderr = subprocess.STDOUT if stdout else None
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env={**environment, **settings},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def wait(children: list[subprocess.Popen]) -> None:
    """Wait for all; where that is interrupted or takes too long, let them clean up and end."""
    try:
        for child in children:
            child.wait(timeout=LIMIT_S)
    except (KeyboardInterrupt, subprocess.TimeoutExpired) as error:
        print(f"\nsuite: {'interrupted' if isinstance(error, KeyboardInterrupt) else 'took too long'}", flush=True)
        for number in (signal.SIGINT, signal.SIGKILL):
            for child in children:
                if child.poll() is None:
                    child.send_signal(number)
            for child in children:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=GRACE_S)


def interrupt(_number, _frame) -> None:
    """Treat TERM like an interrupt: the shards must end what their tests started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def clear(kit, base: Path) -> int:
    """End what shards that died left behind, remove their folders, and return how many processes there were."""
    left = kit.leftovers(base)
    for one, words, test in left:
        print(f"suite: left running by {test}: pid {one.pid}: {words}")
    kit.end(*[one for one, _, _ in left])
    kit.remove(base)
    return len(left)


def main(argv: list[str]) -> int:
    """Run, print the sum, and say whether all is well."""
    sys.path.insert(0, str(ROOT / "tests"))
    from tools import kit

    pyz, arguments = argv[0], argv[1:]
    seed = os.environ.get("WITNESS_TEST_SEED") or str(random.SystemRandom().randrange(1_000_000))
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    shards = 1 if arguments else SHARDS
    base = kit.make_root()
    # A copy, for somebody may build again while the tests run.
    pyz = shutil.copy(pyz, base)
    (base / "claims").mkdir()  # the shards take their tests from one heap; see conftest.py
    counts = [base / f"counts-{number + 1}" for number in range(shards)]
    with contextlib.ExitStack() as opened:
        children, outputs = [], [None] + [opened.enter_context(tempfile.TemporaryFile()) for _ in range(1, shards)]
        for number in range(shards):
            settings = {
                "WITNESS_PYZ": pyz,
                "WITNESS_TEST_SEED": seed,
                "WITNESS_TEST_BASE": str(base),
                "WITNESS_TEST_COUNTS": str(counts[number]),
                "WITNESS_TEST_SHARD": f"{number + 1}/{shards}",
            }
            children.append(start(arguments, settings, outputs[number]))
        wait(children)
        for output in filter(None, outputs):
            output.seek(0)
            sys.stdout.flush()
            sys.stdout.buffer.write(output.read())
    sums = {"passed": 0, "failed": 0, "skipped": 0}
    for number, child in enumerate(children):
        if counts[number].exists():
            for name, value in json.loads(counts[number].read_text()).items():
                sums[name] += value
        elif child.returncode != NO_TESTS:
            print(f"\nsuite: shard {number + 1} ended with {child.returncode} before it could count")
            sums["failed"] += 1
    sums["failed"] += clear(kit, base)
    ran = sums["passed"] + sums["failed"]
    if not ran:
        print("suite: no test ran")
    print(f"random seed: {seed} (WITNESS_TEST_SEED={seed} repeats the order)")
    print(f"{sums['passed']} passed, {sums['failed']} failed, {sums['skipped']} skipped", flush=True)
    well = ran and not sums["failed"] and {child.returncode for child in children} <= {0, NO_TESTS}
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
