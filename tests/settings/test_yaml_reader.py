import hypothesis
import pytest
from hypothesis import strategies as st
from remedies import assert_helps

from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import (
    assign_settings,
    dump_settings,
    parse_settings,
    read_settings,
)

TEXT = st.text() | st.from_regex(r"[-+]?\d*\.?\d*[eE]?[-+]?\d*", fullmatch=True)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    LEAF, lambda its: st.lists(its, max_size=3) | st.dictionaries(st.text(), its, max_size=3)
)


@hypothesis.given(VALUES)
def test_what_is_written_is_read(value):
    assert parse_settings(dump_settings(value)) == value


@hypothesis.given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_read_as_python_writes_it(number):
    assert parse_settings(f"a: {number!r}") == {"a": number}


@pytest.mark.parametrize(
    ("text", "first", "again"),
    [
        ("a: 1\na: 2", 1, 2),
        ("{a: 1, 'a': 2}", 1, 1),
        ("a:\n  b: 1\n  c: 2\n  b: 1", 2, 4),
        ("- {a: 1}\n- a: 1\n  a: 1", 2, 3),
    ],
)
def test_a_key_that_stands_twice_is_refused(text, first, again):
    with pytest.raises(ConfigError, match=f"in line {first} and again in line {again}"):
        parse_settings(text)


def test_the_same_key_in_two_mappings_is_none_twice():
    assert parse_settings("a: {a: 1}\nb: {a: 2}") == {"a": {"a": 1}, "b": {"a": 2}}


@pytest.mark.parametrize("content", [b"[1, 2", b"a: 1\na: 2", b"\xff\xfe\x00", b"a: \xe4"])
def test_what_is_wrong_names_the_file(tmp_path, content):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"wrong\.yaml: "):
        read_settings(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2024-02-30", r"it cannot be read as timestamp \(day .*line 2, column 4"),
        ("a: " + "9" * 5000, "it cannot be read as int"),
        ('a: "\\UFFFFFFFF"', "an escape sequence that is no character"),
        ("&a [*a]", "the value refers to itself"),
        ("[" * 3000, "brackets within brackets, too deep"),
        ("a: 1\nb: \x07", r"got the character #x0007 \(line 2\)"),
        ("a:\n\t- b", "Indent with spaces, not with tabs"),
        ("a: @b", "'@' that cannot start any token.* in quotes"),
    ],
)
def test_what_yaml_cannot_hold_is_an_error_of_ours(text, says):
    with pytest.raises(ConfigError, match=says) as raised:
        parse_settings(text)
    assert_helps(raised.value)


def test_an_assignment_leads_by_keys_and_places_and_leaves_what_was_given():
    given = {"a": {"b": [1, {"c": 2}]}, "n": None}
    changed = assign_settings(given, ["a.b.1.c=[3, 1e-3]", "n.new.key=x: y", "a.d=", "t=a=b"])
    assert changed == {
        "a": {"b": [1, {"c": [3, 1e-3]}], "d": None},
        "n": {"new": {"key": {"x": "y"}}},
        "t": "a=b",
    }
    assert given == {"a": {"b": [1, {"c": 2}]}, "n": None}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("a", "got 'a', expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("a..b=1", "expected KEY=VALUE"),
        ("a.b.2=1", "'a.b' is a list of length 2"),
        ("a.b.c=1", "'a.b' is a list of length 2"),
        ("a.b.0.c=1", "'a.b.0' is 1, expected a mapping"),
        ("a=[1", "--set a=\\[1: invalid YAML"),
    ],
)
def test_a_wrong_assignment_is_named(assignment, message):
    with pytest.raises(ConfigError, match=message):
        assign_settings({"a": {"b": [1, 2]}}, [assignment])
