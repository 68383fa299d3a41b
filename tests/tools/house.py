"""The house that witness.py is: its floors and rooms, read from the banners.

`python house.py map` prints them all, `python house.py room NAME` one room with the path of its tests. The rules that
the house keeps are functions here that return findings, one sentence each; test_layout.py holds witness.py to them.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]

FLOORS = ("words", "reading", "judging", "telling", "hands", "running", "front door")
THE_LINE = "THE LINE — above it nothing touches the outside, the clock or chance; below it nothing decides"
CAP_LINES = 350
"""A room that a reader can hold in mind; a longer one becomes two with two nouns."""

RULER = re.compile(r"# ={100}")
ROOM = re.compile(r"# room: (?P<name>[a-z][a-z0-9_]*) — (?P<job>\S.*)")
FLOOR = re.compile(r"# FLOOR: (?P<name>\S.*)")
MAP_LINE = re.compile(rf" +(?P<floor>{'|'.join(FLOORS)}) {{2,}}(?P<rooms>[a-z0-9_]+(?: · [a-z0-9_]+)*)(?P<more> ·)?")
MAP_MORE = re.compile(r" +(?P<rooms>[a-z0-9_]+(?: · [a-z0-9_]+)*)(?P<more> ·)?")

IMPURE = frozenset(
    "os sys time subprocess open print input random signal socket fcntl shutil tempfile threading selectors select "
    "logging pathlib datetime pwd grp secrets uuid io exec eval compile breakpoint __import__ globals".split()
)
"""Names that reach the outside, the clock or chance; none is used above the line."""

PURE_MODULES = frozenset(
    "__future__ base64 binascii bisect collections difflib email errno fnmatch functools hashlib heapq itertools json "
    "math operator plistlib re shlex stat string struct textwrap unicodedata zlib".split()
)
"""What a room above the line may import for itself: modules of functions over values."""

HEAVY = frozenset(
    "argparse subprocess dataclasses typing datetime logging mailbox email asyncio shutil tempfile pathlib inspect "
    "hashlib signal selectors enum contextlib collections functools random socket threading uuid zipfile".split()
)
"""Modules that cost a start more than a millisecond, measured, or bring one in that does: imported where used."""


class Room(NamedTuple):
    """One room; lines count from 1, both ends included."""

    name: str
    job: str
    floor: str
    above: bool  # of the line
    first: int
    last: int

    @property
    def tests(self) -> str:
        """The path of the room's test file."""
        return f"tests/test_{self.name}.py"


class House(NamedTuple):
    """The rooms in order, and what is wrong with the banners themselves."""

    rooms: tuple[Room, ...]
    floors: tuple[str, ...]
    findings: tuple[str, ...]


def banners(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the middle line of every banner with the number of its first line."""
    number = 0
    while number < len(lines) - 2:
        if RULER.fullmatch(lines[number]) and RULER.fullmatch(lines[number + 2]):
            yield number + 1, lines[number + 1]
            number += 3
        else:
            number += 1


def read(text: str) -> House:
    """Read the house from its banners; what stands before the first one is the header, for no comment precedes it."""
    lines = text.splitlines()
    found = list(banners(lines))
    findings, floors, starts = [], [], []
    floor, above, in_banners = "", True, set()
    if not found or any(line.strip() for line in lines[: found[0][0] - 1]):
        starts.append((1, "header", "what this is, the map, the loop, the imports", FLOORS[0], above))
    for first, words in found:
        in_banners.update((first, first + 1, first + 2))
        room, named = ROOM.fullmatch(words), FLOOR.fullmatch(words)
        if room:
            if not floor:
                findings.append(f"line {first}: room {room['name']} stands on no floor")
            starts.append((first, room["name"], room["job"], floor, above))
        elif named:
            floor = named["name"]
            floors.append(floor)
            starts.append((first, "", "", floor, above))
        elif words == f"# {THE_LINE}":
            if not above:
                findings.append(f"line {first}: a second line")
            above = False
            starts.append((first, "", "", floor, above))
        else:
            findings.append(f"line {first}: a banner that names no room, floor or line: {words}")
    for number, line in enumerate(lines, 1):
        if number not in in_banners and re.match(r"# (={20,}|room: |FLOOR: |THE LINE)", line):
            findings.append(f"line {number}: no banner (three lines, the outer ones `# ` and 100 `=`): {line[:40]}")
    rooms = []
    for (first, name, job, of_floor, is_above), following in zip(starts, [*starts[1:], (len(lines) + 1,)]):
        if name:
            last = following[0] - 1
            while last > first and not lines[last - 1].strip():
                last -= 1
            rooms.append(Room(name, job, of_floor, is_above, first, last))
    names = [room.name for room in rooms]
    findings += [f"room {name} stands twice" for name in sorted(set(names)) if names.count(name) > 1]
    return House(tuple(rooms), tuple(floors), tuple(findings))


def drawn(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the map that the module docstring draws: each floor with its rooms."""
    docstring = ast.get_docstring(ast.parse(text), clean=False) or ""
    found: list[tuple[str, tuple[str, ...]]] = []
    goes_on = False
    for line in docstring.splitlines():
        match = MAP_LINE.fullmatch(line) or (MAP_MORE.fullmatch(line) if goes_on else None)
        if match:
            rooms = tuple(match["rooms"].split(" · "))
            if "floor" in match.groupdict():
                found.append((match["floor"], rooms))
            else:
                found[-1] = (found[-1][0], found[-1][1] + rooms)
        goes_on = bool(match and match["more"])
    return found


# ---- the rules ------------------------------------------------------------------------------------------------------


def order_findings(house: House) -> list[str]:
    """Hold the floors to their order, each there once, and the line between telling and hands."""
    last_above = FLOORS.index("telling")
    findings = [
        f"room {room.name} of floor {room.floor} stands on the wrong side of the line"
        for room in house.rooms
        if room.floor in FLOORS and room.above != (FLOORS.index(room.floor) <= last_above)
    ]
    if house.floors != FLOORS:
        findings.append(f"floors are {', '.join(house.floors)}; expected {', '.join(FLOORS)}")
    return findings


def map_findings(text: str) -> list[str]:
    """Hold the map in the docstring to the banners."""
    house = read(text)
    standing: dict[str, list[str]] = {floor: [] for floor in house.floors}
    for room in house.rooms:
        standing.setdefault(room.floor, []).append(room.name)
    real = [(floor, tuple(names)) for floor, names in standing.items()]
    found = drawn(text)
    findings = [
        f"drawn but not built so: {floor}: {' · '.join(names)}" for floor, names in found if (floor, names) not in real
    ]
    findings += [
        f"built but not drawn so: {floor}: {' · '.join(names)}" for floor, names in real if (floor, names) not in found
    ]
    if not findings and found != real:
        findings.append("the map draws the floors in another order, or one of them twice")
    return findings


def size_findings(house: House) -> list[str]:
    """Hold every room to the cap."""
    return [
        f"room {room.name} has {room.last - room.first + 1} lines, more than {CAP_LINES}"
        for room in house.rooms
        if room.last - room.first + 1 > CAP_LINES
    ]


def _stored(nodes: list[ast.AST]) -> set[str]:
    """Return the names that statements bind in their own scope, not in functions and classes inside them."""
    names, todo = set(), list(nodes)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        todo += ast.iter_child_nodes(node)
    return names


def _arguments(node) -> set[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    return {argument.arg for argument in every if argument}


def used(
    node: ast.AST, bound: frozenset[str] = frozenset(), outer: frozenset[str] | None = None
) -> Iterator[tuple[str, int]]:
    """Yield every name of the module that a statement uses, with its line: bodies and annotations too, not local names.

    `outer` is what functions inside see: the names of a class body are not among them.
    """
    outer = bound if outer is None else outer
    if isinstance(node, ast.Name):
        if node.id not in bound:
            yield node.id, node.lineno
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        body = node.body if isinstance(node.body, list) else [node.body]
        declared = {name for inner in ast.walk(node) if isinstance(inner, ast.Global) for name in inner.names}
        inside = outer | ((_stored(body) | _arguments(node)) - declared)
        for field in ("decorator_list", "args", "returns"):
            value = getattr(node, field, None)
            for part in value if isinstance(value, list) else [value]:
                if part is not None:
                    yield from used(part, bound, outer)
        for part in body:
            yield from used(part, inside)
    elif isinstance(node, ast.ClassDef):
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            yield from used(part, bound, outer)
        inside = bound | _stored(node.body)
        for part in node.body:
            yield from used(part, inside, outer)
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        targets = _stored([generator.target for generator in node.generators])
        for part in ast.iter_child_nodes(node):
            yield from used(part, bound | targets, outer | targets)
    else:
        for part in ast.iter_child_nodes(node):
            yield from used(part, bound, outer)


def upward_findings(text: str) -> list[str]:
    """Hold every definition to what is defined above it; a function may name itself."""
    body = ast.parse(text).body
    defined: dict[str, int] = {}
    for index, statement in enumerate(body):
        for name in _stored([statement]):
            defined.setdefault(name, index)
    findings = []
    for index, statement in enumerate(body):
        for name, line in used(statement):
            if defined.get(name, -1) > index:
                findings.append(f"line {line}: uses {name}, which stands below at line {body[defined[name]].lineno}")
    return findings


def _imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported top-level module with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." if node.level else node.module.partition(".")[0]), node.lineno


def purity_findings(text: str) -> list[str]:
    """Hold the rooms above the line to functions over values. The header's imports are there for the rooms below."""
    house, tree = read(text), ast.parse(text)
    above = [room for room in house.rooms if room.above]
    last = above[-1].last if above else 0
    header_last = house.rooms[0].last if house.rooms else 0
    findings = []
    for statement in tree.body:
        if statement.lineno > last:
            break
        is_import = isinstance(statement, (ast.Import, ast.ImportFrom))
        if not (is_import and statement.lineno <= header_last):
            findings += [
                f"line {line}: imports {name} above the line"
                for name, line in _imports(statement)
                if name not in PURE_MODULES
            ]
        findings += [f"line {line}: uses {name} above the line" for name, line in used(statement) if name in IMPURE]
    return findings


def import_findings(text: str) -> list[str]:
    """Hold the start to light modules, and the whole file to the standard library."""
    tree = ast.parse(text)
    findings = []
    todo: list[ast.AST] = list(tree.body)
    while todo:  # all that runs at import: not what stands in functions
        node = todo.pop(0)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            findings += [
                f"line {line}: imports {name} at every start" for name, line in _imports(node) if name in HEAVY
            ]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)
    findings += [
        f"line {line}: {name} is not in the standard library" for name, line in _imports(tree) if not is_standard(name)
    ]
    return findings


def is_standard(name: str) -> bool:
    """Say whether a module comes with Python."""
    if name in sys.builtin_module_names:
        return True
    known = getattr(sys, "stdlib_module_names", None)  # since Python 3.10
    if known is not None:
        return name in known
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    origin = (spec and spec.origin) or ""
    return origin == "frozen" or (origin.startswith(sysconfig.get_path("stdlib")) and "site-packages" not in origin)


def mirror_findings(house: House, root: Path) -> list[str]:
    """Hold every room to a test file; the header is this house itself, and constants are tried by it too."""
    return [
        f"room {room.name} has no {room.tests}"
        for room in house.rooms
        if room.name not in ("header", "constants") and not (root / room.tests).is_file()
    ]


# ---- build.sh map, build.sh room NAME -------------------------------------------------------------------------------


def map_lines(house: House) -> Iterator[str]:
    """Yield the house as text: floors, rooms, line ranges, jobs."""
    width = max((len(room.name) for room in house.rooms), default=0)
    digits = len(str(max((room.last for room in house.rooms), default=0)))
    floor, above = None, True
    for room in house.rooms:
        if above and not room.above:
            yield f"---- {THE_LINE}"
        if room.floor != floor:
            yield room.floor
        yield f"  {room.name:{width}}  {room.first:>{digits}}-{room.last:<{digits}}  {room.job}"
        floor, above = room.floor, room.above


def main(argv: list[str]) -> int:
    """Print the map or one room."""
    try:
        text = (ROOT / "witness.py").read_text(encoding="utf-8")
    except OSError as error:
        sys.exit(f"house: {error.filename}: {error.strerror}")
    house = read(text)
    if argv[0] == "map":
        print("\n".join(map_lines(house)))
        return 0
    found = [room for room in house.rooms if room.name == argv[1]]
    if not found:
        print(f"house: no room {argv[1]}; there are {', '.join(room.name for room in house.rooms)}", file=sys.stderr)
        return 2
    print("\n".join(text.splitlines()[found[0].first - 1 : found[0].last]))
    print(f"\n# tests: {found[0].tests}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
