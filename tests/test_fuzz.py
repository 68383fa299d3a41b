"""A sample of the million inputs of tests/fuzz.py, and that it would find something."""

from __future__ import annotations

import json

import fuzz

import witness as w


def test_no_parser_raises_what_it_does_not_declare():
    assert fuzz.feed(16_000, 7) == []


def test_every_parser_of_foreign_text_is_fed():
    parsers = {name for name in vars(w) if name.startswith("parse_")}
    assert parsers <= set(fuzz.PARSERS)


def test_an_undeclared_exception_is_found(monkeypatch):
    monkeypatch.setitem(fuzz.PARSERS, "parse_gitfile", (json.loads, ()))
    found = fuzz.feed(2000, 7)
    assert found
    assert {name for name, _, _ in found} == {"parse_gitfile"}
