#!/usr/bin/env bash
# The one entry for every chore around witness.py; `./build.sh help` lists them.
set -euo pipefail
unset CDPATH PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONOPTIMIZE PIP_TARGET PIP_PREFIX PIP_USER

# sysexits(3): a file that is needed is not there; a tool is missing on this machine; this folder cannot be written.
NO_INPUT=66 UNAVAILABLE=69 CANNOT_WRITE=73

die() { # status, message: the one line that says what is wrong and what to do
    printf 'build.sh: %s\n' "$2" >&2
    exit "$1"
}

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
VENV=$ROOT/.venv
PYZ=$ROOT/witness.pyz

usage() {
    cat <<'END'
./build.sh              build witness.pyz (the same source gives the same bytes anywhere)
./build.sh test         lint, build, and run all tests on two cores
./build.sh test ARG...  build, and run pytest with these arguments
./build.sh demo         build, and show the main job on a throw-away rig
./build.sh bench        build, and print the budgets beside what is measured
./build.sh crash        break one whole cycle at every call and write, in every way (./build.sh crash 40: so many)
./build.sh crash slings cut gt's sling short in every listed way (./build.sh crash --list: the list)
./build.sh mutants      take away, one at a time, what keeps a promise; a test must notice
./build.sh real         the tests against the real bd, gt and dolt on the PATH; 3 where one is missing
./build.sh fuzz         feed every parser a million inputs; no exception but those it declares
./build.sh lint         ruff alone
./build.sh map          the house that witness.py is: floors, rooms, lines, jobs
./build.sh room NAME    one room, and where its tests are
./build.sh python       the interpreter that all of these use
./build.sh help         this text
PYTHON=/path/to/python3 in the environment chooses the interpreter.
END
}

# ---- the interpreter, and the tools in a private virtual environment ------------------------------------------------

is_python() { "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; }
has_venv() { is_python "$1" && "$1" -I -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() { # is_python or has_venv: print the first interpreter that fits
    local name names='python3 python3.13 python3.12 python3.11 python3.10 python3.9 python3.14 python3.15'
    if [ -n "${PYTHON:-}" ]; then
        "$1" "$PYTHON" && printf '%s\n' "$PYTHON"
        return
    fi
    for name in $names; do
        if "$1" "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    return 1
}

need_python() { # is_python or has_venv: set python, or say what is missing
    if python=$(find_python "$1"); then
        return
    elif [ -n "${PYTHON:-}" ] && ! is_python "$PYTHON"; then
        die $UNAVAILABLE "PYTHON=$PYTHON is no Python 3.9 or newer"
    elif find_python is_python >/dev/null; then
        die $UNAVAILABLE 'Python cannot make a virtual environment: install its venv and ensurepip (Debian, Ubuntu: apt-get install python3-venv)'
    fi
    die $UNAVAILABLE 'Python 3.9 or newer is missing: install it (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python3), or set PYTHON=/path/to/python3'
}

need_tool() { # name
    command -v "$1" >/dev/null || die $UNAVAILABLE "$1 is missing: install it (Debian, Ubuntu: apt-get install $1; macOS: brew install $1)"
}

need_folder() {
    [ -w "$ROOT" ] || die $CANNOT_WRITE "cannot write in $ROOT: run this as its owner, or in a copy of your own"
}

pins() { # every pinned tool of pyproject.toml, one a line
    sed -n -e 's/^requires = \["\(.*\)"\]$/\1/p' -e '/^dev = \[/,/^\]/s/^ *"\(.*\)",$/\1/p' "$ROOT/pyproject.toml"
}

identity() { # an interpreter: its own path, which a shim or a link hides, and its version
    "$1" -I -c 'import sys; print(getattr(sys, "_base_executable", "") or sys.executable, sys.version.split()[0])'
}

is_ready() { # the environment is whole, holds these pins and, where PYTHON asks for one, that interpreter
    local stamp=$VENV/stamp
    [ -r "$stamp" ] && [ "$(sed 1d "$stamp")" = "$(pins)" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$(sed -n 1p "$stamp")" = "$(identity "$PYTHON")" ] || return 1
    "$VENV/bin/python" -I -c '' >/dev/null 2>&1
}

make_venv() { # by $python; the caller holds the lock. The stamp comes last: without it the environment is made anew
    local log=$ROOT/.venv.log said
    rm -rf -- "$VENV" 2>/dev/null || die $CANNOT_WRITE "cannot remove $VENV: it is somebody else's"
    printf 'build.sh: installing the pinned tools into %s (first use, or the pins changed)\n' "$VENV" >&2
    if ! "$python" -I -m venv -- "$VENV" >"$log" 2>&1 </dev/null; then
        said=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1) || said='no message'
        die $UNAVAILABLE "$python cannot make a virtual environment: $said (Debian, Ubuntu: apt-get install python3-venv)"
    fi
    # shellcheck disable=SC2046 # one word a pin
    if ! "$VENV/bin/python" -I -m pip --disable-pip-version-check --no-input install $(pins) >"$log" 2>&1 </dev/null; then
        said=$(grep '^ERROR' "$log" | tail -n 1) || said='no message'
        die $UNAVAILABLE "pip could not install the pinned tools: $said (all it said: $log)"
    fi
    { identity "$python" && pins; } >"$VENV/stamp"
    rm -f -- "$log"
}

need_venv() {
    if is_ready; then return; fi
    need_python has_venv
    need_folder
    if ! : 2>/dev/null >>"$ROOT/.venv.lock"; then
        die $CANNOT_WRITE "cannot write $ROOT/.venv.lock: remove it, or run this as its owner"
    fi
    # Held while this shell keeps the file open. By Python, because not every system has flock(1).
    exec 9>>"$ROOT/.venv.lock"
    "$python" -I -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
    is_ready || make_venv
    exec 9>&-
}

# ---- the chores -----------------------------------------------------------------------------------------------------

lint() { (cd -- "$ROOT" && "$VENV/bin/python" -I -m ruff check --quiet --output-format concise .); }

build() {
    [ -r "$ROOT/witness.py" ] || die $NO_INPUT "$ROOT/witness.py is missing"
    need_folder
    "$VENV/bin/python" -I "$ROOT/tests/tools/archive.py" "$PYZ"
}

house() { # arguments for house.py, which needs no tools
    need_python is_python
    "$python" -I "$ROOT/tests/tools/house.py" "$@"
}

word=${1:-build}
[ $# -eq 0 ] || shift
case $word in
build)
    need_venv
    build
    printf '%s\n' "$PYZ"
    ;;
test)
    need_tool git
    need_tool tmux
    need_venv
    [ $# -gt 0 ] || lint || die 1 'ruff found what stands above'
    build
    exec "$VENV/bin/python" -I "$ROOT/tests/tools/suite.py" "$PYZ" "$@"
    ;;
demo | bench | mutants | fuzz | crash | real)
    need_tool git
    need_tool tmux
    [ -r "$ROOT/tests/$word.py" ] || die $NO_INPUT "$ROOT/tests/$word.py is missing"
    need_venv
    build
    exec "$VENV/bin/python" "$ROOT/tests/$word.py" "$PYZ" "$@"
    ;;
lint)
    need_venv
    lint
    ;;
map)
    house map
    ;;
room)
    [ $# -eq 1 ] || die 2 'room needs one name; ./build.sh map lists them'
    house room "$1"
    ;;
python)
    need_python has_venv
    identity "$python"
    ;;
help | -h | --help)
    usage
    ;;
*)
    die 2 "no chore $word; there are build, test, demo, bench, crash, mutants, real, fuzz, lint, map, room, python, help"
    ;;
esac
