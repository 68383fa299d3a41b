"""The house keeps its rules, and each rule is able to fail."""

from __future__ import annotations

import sys

import pytest
from tools import house
from tools.kit import ROOT

RULER = "# " + "=" * 100
SMALL = (  # floor or room or the line, in the right order; {…} is a room's text
    "FLOOR: words",
    "room: names — what a name is",
    "FLOOR: reading",
    "room: formats — texts in",
    "FLOOR: judging",
    "room: decide — what to do",
    "FLOOR: telling",
    "room: report — what to say",
    house.THE_LINE,
    "FLOOR: hands",
    "room: host — the outside",
    "FLOOR: running",
    "room: loop — the round",
    "FLOOR: front door",
    "room: cli — the commands",
)
MAP = {
    "words": "header · names",
    "reading": "formats",
    "judging": "decide",
    "telling": "report",
    "hands": "host",
    "running": "loop",
    "front door": "cli",
}


def built(banners=SMALL, drawn=MAP, imports="", **rooms: str) -> str:
    """Return a small house; rooms maps a room's name to its text."""
    lines = ['"""A house.', "", *(f"  {floor:10}  {names}" for floor, names in drawn.items()), "", 'The end."""']
    lines.append(imports)
    for banner in banners:
        lines += [RULER, f"# {banner}", RULER]
        words = banner.split()
        if words[0] == "room:":
            lines += [rooms.get(words[1], "")]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "witness.py").read_text(encoding="utf-8")


# ---- witness.py keeps the rules -------------------------------------------------------------------------------------


def test_banners_are_whole(text):
    assert house.read(text).findings == ()


def test_floors_stand_in_order(text):
    assert house.order_findings(house.read(text)) == []


def test_map_in_the_docstring_matches_the_banners(text):
    assert house.map_findings(text) == []


def test_rooms_stay_under_the_cap(text):
    assert house.size_findings(house.read(text)) == []


def test_definitions_use_only_what_stands_above(text):
    assert house.upward_findings(text) == []


def test_nothing_above_the_line_touches_the_outside(text):
    assert house.purity_findings(text) == []


def test_imports_are_light_and_of_the_standard_library(text):
    assert house.import_findings(text) == []


def test_every_room_has_its_test_file(text):
    assert house.mirror_findings(house.read(text), ROOT) == []


def test_the_last_statement_is_the_way_in(text):
    assert text.endswith('\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n')


# ---- and each rule can fail -----------------------------------------------------------------------------------------


def all_findings(text: str) -> list[str]:
    rooms = house.read(text)
    return [
        *rooms.findings,
        *house.order_findings(rooms),
        *house.map_findings(text),
        *house.size_findings(rooms),
        *house.upward_findings(text),
        *house.purity_findings(text),
        *house.import_findings(text),
    ]


def test_a_small_house_in_order_has_no_findings():
    assert all_findings(built()) == []


def test_reading_gives_rooms_with_floor_side_and_lines():
    rooms = house.read(built(names="ONE = 1\n\n")).rooms
    assert [(room.name, room.floor, room.above) for room in rooms] == [
        ("header", "words", True),
        ("names", "words", True),
        ("formats", "reading", True),
        ("decide", "judging", True),
        ("report", "telling", True),
        ("host", "hands", False),
        ("loop", "running", False),
        ("cli", "front door", False),
    ]
    assert (rooms[0].first, rooms[0].last) == (1, 11)
    assert (rooms[1].first, rooms[1].last, rooms[1].job) == (16, 19, "what a name is")


def test_a_map_line_may_go_on():
    more = {**MAP, "words": "header ·\n              names"}
    assert house.map_findings(built(drawn=more)) == []


@pytest.mark.parametrize(
    ("wrong", "finding"),
    [
        pytest.param(
            built().replace(f"# room: loop — the round\n{RULER}", "# room: loop — the round"),
            "no banner",
            id="half a banner",
        ),
        pytest.param(
            built().replace("# room: loop — the round", "# room: loop - the round"),
            "names no room",
            id="a hyphen for the dash",
        ),
        pytest.param(built().replace(RULER, RULER[:-1]), "no banner", id="a short ruler"),
        pytest.param(
            built((*SMALL, "room: cli — again"), {**MAP, "front door": "cli · cli"}),
            "room cli stands twice",
            id="a room twice",
        ),
        pytest.param(built((*SMALL, house.THE_LINE)), "a second line", id="two lines"),
        pytest.param("# nothing\n", "floors are ;", id="no house"),
        pytest.param(built((*SMALL[2:4], *SMALL[:2], *SMALL[4:])), "floors are reading, words", id="floors swapped"),
        pytest.param(
            built((*SMALL[:8], *SMALL[9:])), "room host of floor hands stands on the wrong side", id="no line"
        ),
        pytest.param(
            built((*SMALL[:6], house.THE_LINE, *SMALL[6:8], *SMALL[9:])),
            "room report of floor telling stands on the wrong side",
            id="line too high",
        ),
        pytest.param(
            built(drawn={**MAP, "words": "names · header"}), "not drawn so: words: header", id="map out of order"
        ),
        pytest.param(built(drawn={**MAP, "reading": "formats · letters"}), "not built so: reading", id="map with more"),
        pytest.param(built(drawn={**MAP, "reading": "letters"}), "not drawn so: reading: formats", id="map with less"),
        pytest.param(built(drawn=dict(reversed(MAP.items()))), "in another order", id="map upside down"),
        pytest.param(built(loop="\n" * (house.CAP_LINES - 3) + "ONE = 1"), "room loop has 351 lines", id="a long room"),
    ],
)
def test_a_house_out_of_order_is_found(wrong, finding):
    assert any(finding in found for found in all_findings(wrong)), all_findings(wrong)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("def a():\n    return b()\ndef b():\n    return 1", id="in a body"),
        pytest.param("class A:\n    def go(self):\n        return b()\ndef b():\n    return 1", id="in a method"),
        pytest.param("def a() -> b:\n    pass\nclass b:\n    pass", id="in an annotation"),
        pytest.param("def a(x: b):\n    pass\nclass b:\n    pass", id="in an argument's annotation"),
        pytest.param("class A:\n    x: b\nclass b:\n    pass", id="in a field's annotation"),
        pytest.param("def a(x=b):\n    pass\nb = 1", id="in a default"),
        pytest.param("@b\ndef a():\n    pass\ndef b(f):\n    return f", id="in a decorator"),
        pytest.param("class A(b):\n    pass\nclass b:\n    pass", id="in a base"),
        pytest.param("A = {'x': b}\nb = 1", id="in a table"),
        pytest.param("def a():\n    return [b for x in ()]\nb = 1", id="in a comprehension"),
        pytest.param("def a():\n    return lambda: b\nb = 1", id="in a lambda"),
        pytest.param("def a():\n    global b\n    b = 2\nb = 1", id="by global"),
        pytest.param("class A:\n    b = 1\n    def go(self):\n        return b\nb = 1", id="not the class's own"),
        pytest.param("def a():\n    import c\n    return b\nimport b", id="an import below"),
    ],
)
def test_a_use_of_what_stands_below_is_found(code):
    assert [found.partition(": ")[2].partition(",")[0] for found in house.upward_findings(code)] == ["uses b"]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("def b():\n    return 1\ndef a():\n    return b()", id="above"),
        pytest.param("def a(n):\n    return n and a(n - 1)", id="itself"),
        pytest.param("def a():\n    b = 1\n    return b\nb = 1", id="a local"),
        pytest.param("def a(b):\n    return b\nb = 1", id="an argument"),
        pytest.param("def a(*b, **c):\n    return b, c\nb = c = 1", id="star arguments"),
        pytest.param("def a():\n    return [b for b in ()]\nb = 1", id="a comprehension's own"),
        pytest.param("def a():\n    import b\n    return b\nb = 1", id="a local import"),
        pytest.param("def a():\n    def b():\n        return b\n    return b\nb = 1", id="an inner function"),
        pytest.param("def a():\n    b = 1\n    return lambda: b\nb = 1", id="a closure"),
        pytest.param("def a():\n    try:\n        a()\n    except OSError as b:\n        c = b\nb = 1", id="an error"),
        pytest.param("class A:\n    b = 1\n    c = b\nb = 1", id="the class's own"),
        pytest.param("class A:\n    def b(self):\n        return self.b\nb = 1", id="an attribute"),
        pytest.param("def a(x):\n    return x.b(b=1)\nb = 1", id="a keyword"),
    ],
)
def test_a_name_that_only_looks_like_one_below_is_let_pass(code):
    assert house.upward_findings(code) == []


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("def now():\n    return time.time()", "uses time"),
        ("HOME = os.environ['HOME']", "uses os"),
        ("def name(path):\n    return os.path.basename(path)", "uses os"),
        ("def decode(raw):\n    return os.fsdecode(raw)", "uses os"),
        ("def say(x):\n    print(x)", "uses print"),
        ("def load(path):\n    with open(path) as f:\n        return f.read()", "uses open"),
        ("def ask():\n    return input()", "uses input"),
        ("def guess():\n    return random.random()", "uses random"),
        ("def leave():\n    sys.exit(1)", "uses sys"),
        ("def run():\n    import subprocess\n    return subprocess", "imports subprocess"),
        ("def stamp():\n    from datetime import datetime\n    return datetime", "imports datetime"),
        ("import shutil", "imports shutil"),
        ("def sneak():\n    return __import__('os')", "uses __import__"),
        ("def sneak():\n    return eval('1')", "uses eval"),
    ],
)
@pytest.mark.parametrize("room", ["names", "formats", "decide", "report"])
def test_a_touch_of_the_outside_above_the_line_is_found(code, finding, room):
    found = house.purity_findings(built(imports="import os, sys, time, random", **{room: code}))
    assert [finding in one for one in found] == [True]


def test_pure_modules_and_names_of_ones_own_are_let_pass_above_the_line():
    code = "import re\ndef go(time, sys):\n    import json\n    return re, json, time, sys"
    assert house.purity_findings(built(decide=code)) == []


def test_below_the_line_the_outside_is_open():
    code = "def go():\n    import subprocess\n    return subprocess, os.getpid(), time.time()"
    assert house.purity_findings(built(host=code, imports="import os, sys, time")) == []


@pytest.mark.parametrize(
    ("code", "findings"),
    [
        ("import argparse", ["imports argparse at every start"]),
        ("from typing import Any", ["imports typing at every start"]),
        ("import email.message", ["imports email at every start"]),
        ("if True:\n    import signal", ["imports signal at every start"]),
        ("try:\n    import selectors\nexcept ImportError:\n    pass", ["imports selectors at every start"]),
        ("class A:\n    import inspect", ["imports inspect at every start"]),
        ("def a():\n    import requests", ["requests is not in the standard library"]),
        ("import pytest", ["pytest is not in the standard library"]),
        ("from . import other", [". is not in the standard library"]),
        ("import os, sys, json, re, time, errno, stat\nfrom __future__ import annotations", []),
        ("def a():\n    import argparse, email.message\n    from signal import SIGTERM", []),
    ],
)
def test_heavy_and_foreign_imports_are_found(code, findings):
    assert [found.partition(": ")[2] for found in house.import_findings(code)] == findings


def test_the_standard_library_is_known_without_the_list_that_python_3_9_lacks(monkeypatch):
    monkeypatch.delattr(sys, "stdlib_module_names", raising=False)
    names = ("os", "sys", "json", "mailbox", "pytest", "tools", "nowhere", ".")
    assert [name for name in names if house.is_standard(name)] == ["os", "sys", "json", "mailbox"]


def test_a_room_without_tests_is_found(tmp):
    (tmp / "tests").mkdir()
    for name in ("names", "formats", "decide", "report", "host", "cli"):
        (tmp / f"tests/test_{name}.py").touch()
    assert house.mirror_findings(house.read(built()), tmp) == ["room loop has no tests/test_loop.py"]


# ---- what build.sh prints -------------------------------------------------------------------------------------------


def test_map_prints_floors_rooms_and_the_line():
    lines = list(house.map_lines(house.read(built())))
    assert lines[:3] == [
        "words",
        "  header    1-11  what this is, the map, the loop, the imports",
        "  names    16-18  what a name is",
    ]
    assert lines[9] == f"---- {house.THE_LINE}"
    assert lines[10:12] == ["hands", "  host     47-49  the outside"]


def test_room_prints_the_room_and_its_tests(capsys):
    assert house.main(["room", "header"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("#!/usr/bin/env python3\n")
    assert out.endswith("\n# tests: tests/test_header.py\n")


def test_an_unknown_room_names_those_there_are(capsys):
    assert house.main(["room", "cellar"]) == 2
    assert capsys.readouterr().err.startswith("house: no room cellar; there are header, constants, ")
