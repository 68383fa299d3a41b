"""The stand-in for `gt` does to a town what the real one was seen to do, and answers as it was recorded."""

from __future__ import annotations

import json

import pytest
from tools import town as towns

ALL = sorted(towns.PAIRS)


@pytest.mark.parametrize("pair", ALL)
def test_sling_makes_a_polecat_with_a_session(town, pair, wait_for):
    there = town(pair)
    there.add("de-1", "One")
    done = there.sling("de-1")
    assert done.status == 0, done
    (name,) = there.polecats()
    assert there.session(name) in there.sessions()
    assert there.state("de-1")[1].endswith(f"/{name}")
    assert [one["name"] for one in json.loads(there.gt("polecat", "list", "demo", "--json").stdout)] == [name]
    wait_for(lambda: there.heard(name))
