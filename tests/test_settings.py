"""One row each: defaults, ranges, origins, and words for what is wrong."""

from __future__ import annotations

import json

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

import witness as w

NUMBERS = [setting for setting in w.SETTINGS if setting.kind in ("seconds", "number")]


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
        ("epic_id", "a\x1b[31m"),
        ("interval", None),
        ("interval", [30]),
        ("interval", float("inf")),
        ("interval", float("-inf")),
        ("interval", 10**400),
        ("labels", None),
        ("labels", {"a": 1}),
        ("agent_command", ["agent", "a\0b"]),
        ("backend", "gastown "),
        ("on_dead", ["report"]),
        ("auto_spawn", None),
    ],
)
def test_value_out_of_range_names_key_range_and_file(name, value):
    with pytest.raises(w.ConfigError) as error:
        w.make_config({name: value}, "the file", {})
    line = error.value.line()
    assert name in line
    assert "the file" in line
    assert w.SETTING_BY_NAME[name].range() in line


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda one: one.name)
def test_range_ends_where_it_says(setting):
    for value in (setting.low, setting.high):
        assert w.check_setting(setting.name, value, "test") == value
    for value in (setting.low - 1, setting.low - 0.001, setting.high + 1, -setting.high):
        with pytest.raises(w.ConfigError):
            w.check_setting(setting.name, value, "test")


@pytest.mark.parametrize(
    "text", ["nan", "NaN", "inf", "-inf", "1e400", "-1e400", "9" * 400, "9" * 5000, "0x10", "", " "]
)
def test_no_number_or_a_huge_one_is_refused_as_text_too(text):
    with pytest.raises(w.ConfigError) as error:
        w.make_config({}, "file", {"WITNESS_INTERVAL": text})
    assert "WITNESS_INTERVAL" in error.value.line()


@pytest.mark.parametrize(("text", "value"), [("45", 45), ("1.5", 1.5), ("1e3", 1000.0), (" 7 ", 7)])
def test_numbers_are_read_from_text(text, value):
    assert w.parse_setting("interval", text, "test") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("1", True),
        ("YES", True),
        (" on ", True),
        ("false", False),
        ("0", False),
        ("no", False),
        ("Off", False),
    ],
)
def test_flags_are_read_from_words(text, value):
    assert w.parse_setting("auto_spawn", text, "test") is value


@pytest.mark.parametrize("text", ["", "maybe", "2", "None"])
def test_no_flag_is_refused(text):
    with pytest.raises(w.ConfigError, match="auto_spawn is"):
        w.parse_setting("auto_spawn", text, "test")


@pytest.mark.parametrize(
    ("file", "environ", "sets", "where"),
    [
        ({"interval": 0}, {}, (), "/rig/witness-config.json"),
        ({}, {"WITNESS_INTERVAL": "0"}, (), "WITNESS_INTERVAL"),
        ({}, {}, ("interval=0",), "--set"),
    ],
)
def test_refusal_names_where_the_value_stands(file, environ, sets, where):
    with pytest.raises(w.ConfigError) as error:
        w.make_config(file, "/rig/witness-config.json", environ, sets)
    assert error.value.line() == f"interval is 0 in {where}; it takes 1 to 31622400 s"
    assert (error.value.status, error.value.kind) == (78, "config")


def test_unknown_name_close_to_none_says_where_the_names_are():
    with pytest.raises(w.ConfigError, match="unknown setting 'zzzzzz' in file") as error:
        w.make_config({"zzzzzz": 1}, "file", {})
    assert "did you mean" not in error.value.remedy
    assert error.value.remedy


def test_settings_are_read_as_attributes_and_no_other_name_is_one():
    config = w.make_config({}, "file", {})
    assert config.interval == config.values["interval"]
    with pytest.raises(AttributeError, match="intervall"):
        _ = config.intervall


def test_every_row_says_what_it_is_for_and_what_it_takes():
    for setting in w.SETTINGS:
        assert setting.help, setting.name
        assert setting.range(), setting.name
        assert setting.kind in ("seconds", "number", "flag", "text", "words", "choice"), setting.name
        assert (setting.kind == "choice") == bool(setting.choices), setting.name


@given(strategies.config_files())
def test_any_file_in_order_is_taken_as_it_stands(file):
    config = w.make_config(file, "the file", {})
    for setting in w.SETTINGS:
        value = getattr(config, setting.name)
        if setting.name in file:
            assert value == (tuple(file[setting.name]) if setting.kind == "words" else file[setting.name])
        else:
            assert value == setting.default
        assert config.origins[setting.name] == ("the file" if setting.name in file else "default")


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


@given(st.sampled_from(NUMBERS), st.permutations([1, 2, 3]), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_the_last_origin_that_names_a_setting_wins(setting, offsets, named):
    layers = ("file", "WITNESS_" + setting.name.upper(), "--set")
    values = [setting.low + offset for offset in offsets]
    config = w.make_config(
        {setting.name: values[0]} if named[0] else {},
        layers[0],
        {layers[1]: str(values[1])} if named[1] else {},
        [f"{setting.name}={values[2]}"] if named[2] else (),
    )
    given_by = [(layer, value) for layer, value, is_named in zip(layers, values, named) if is_named]
    origin, value = given_by[-1] if given_by else ("default", setting.default)
    assert (config.origins[setting.name], getattr(config, setting.name)) == (origin, value)
