import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weather.strict_json import MAX_DEPTH, MAX_VALUES, parse_json

_TEXT = st.text(st.characters(codec="utf-8"))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_json_is_the_value_that_was_written(value: object) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"{} {}", "malformed"),
        (b"\xef\xbb\xbf{}", "malformed"),
        ('{"a": 1}'.encode("utf-16"), "malformed"),
        (b'"\xff"', "malformed"),
        (b'"\\ud800"', "malformed"),
        (b"NaN", "malformed"),
        (b"[-Infinity]", "malformed"),
        (b"1" * 5000, "malformed"),
        (b"[1e400]", "finite"),
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "'c' more than once"),
        (b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2), f"at most {MAX_DEPTH}"),
        (b'{"a":' * 100_000, "malformed"),
        (json.dumps([0] * (MAX_VALUES + 1)).encode(), f"at most {MAX_VALUES}"),
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(content: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_json(content)
