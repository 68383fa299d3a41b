"""One row each: defaults, ranges, origins, and words for what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import witness as w


@pytest.mark.parametrize("setting", w.SETTINGS, ids=lambda one: one.name)
def test_default_passes_its_own_check(setting):
    assert w.check_setting(setting.name, setting.default, "test") == setting.default


@pytest.mark.parametrize("setting", w.SETTINGS, ids=lambda one: one.name)
def test_default_survives_being_written_as_text(setting):
    default = setting.default
    text = json.dumps(list(default)) if isinstance(default, tuple) else str(default)
    assert w.parse_setting(setting.name, text, "test") == default


def test_names_are_unique_and_no_variable_we_give_to_agents_is_a_setting():
    names = [setting.name for setting in w.SETTINGS]
    assert len(set(names)) == len(names)
    given_to_agents = {"WITNESS_RIG", "WITNESS_POLECAT", "WITNESS_ISSUE", "WITNESS_COMMAND"}
    assert not given_to_agents & {"WITNESS_" + name.upper() for name in names}


def test_unknown_name_names_the_nearest_and_the_file():
    with pytest.raises(w.ConfigError) as error:
        w.make_config({"max_worker": 3}, "/x/witness-config.json", {})
    assert error.value.line() == "unknown setting 'max_worker' in /x/witness-config.json; did you mean max_workers?"
    assert error.value.status == 78


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interval", 0),
        ("interval", -1),
        ("interval", True),
        ("interval", "30"),
        ("interval", float("nan")),
        ("interval", 10**9),
        ("max_workers", 1.0e9),
        ("auto_spawn", 1),
        ("auto_spawn", "yes"),
        ("labels", "a,b"),
        ("labels", [1]),
        ("on_dead", "kill"),
        ("mayor", 3),
        ("mayor", "a\nb"),
        ("epic_id", None),
    ],
)
def test_value_out_of_range_names_key_range_and_file(name, value):
    with pytest.raises(w.ConfigError) as error:
        w.make_config({name: value}, "the file", {})
    line = error.value.line()
    assert name in line
    assert "the file" in line
    assert w.SETTING_BY_NAME[name].range() in line


def test_later_origin_wins():
    config = w.make_config(
        {"interval": 5, "max_workers": 2, "mayor": "boss/"},
        "file",
        {"WITNESS_INTERVAL": "7", "WITNESS_MAX_WORKERS": "3", "WITNESS_NO_SETTING": "x"},
        ["interval=9"],
    )
    assert (config.interval, config.max_workers, config.mayor, config.stuck_after) == (9, 3, "boss/", 1800)
    origins = [config.origins[name] for name in ("interval", "max_workers", "mayor", "stuck_after")]
    assert origins == ["--set", "WITNESS_MAX_WORKERS", "file", "default"]


@pytest.mark.parametrize(
    ("text", "words"), [('["claude", "a, b"]', ("claude", "a, b")), ("a, b,c", ("a", "b", "c")), ("", ()), ("[]", ())]
)
def test_lists_are_json_or_comma_separated(text, words):
    assert w.parse_setting("labels", text, "test") == words


def test_broken_json_list_is_refused():
    with pytest.raises(w.ConfigError):
        w.parse_setting("labels", '["a", ', "test")


@pytest.mark.parametrize("pair", ["interval", "=3", "intervall=3"])
def test_set_without_name_or_value_is_refused(pair):
    with pytest.raises(w.ConfigError):
        w.make_config({}, "file", {}, [pair])


def test_session_name_must_hold_the_workers_name():
    with pytest.raises(w.ConfigError) as error:
        w.make_config({"session_name": "all-in-one"}, "file", {})
    assert "{name}" in error.value.line()


@given(name=st.sampled_from([setting.name for setting in w.SETTINGS]), text=st.text(max_size=40))
def test_any_text_is_a_value_of_the_right_type_or_one_config_error(name, text):
    try:
        value = w.parse_setting(name, text, "test")
    except w.ConfigError:
        return
    assert w.check_setting(name, value, "test") == value
    assert isinstance(value, (type(w.SETTING_BY_NAME[name].default), int, float))
