"""Parse JSON that others have written, and refuse what two parsers could read as different values."""

import json
import math
from collections import Counter
from typing import Any

from pydantic_core import from_json

MAX_DEPTH = 32
"""Largest number of arrays and objects within each other."""
MAX_VALUES = 10_000
"""Largest number of values in all arrays and objects."""


def parse_json(content: bytes) -> Any:
    """Return the value of JSON in UTF-8.

    Raises `ValueError` with one sentence for malformed JSON and text, objects that have a name twice, numbers that are
    not finite, deep nesting, and too many values.
    """
    try:
        from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"The JSON is malformed: {error}.") from error
    value = json.loads(content, object_pairs_hook=_object_of, parse_float=_finite)
    _check_size(value)
    return value


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(members)
    if len(result) < len(members):
        name, _ = Counter(name for name, _ in members).most_common(1)[0]
        raise ValueError(f"An object of the JSON has the name {name[:100]!r} more than once.")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"The numbers of the JSON must be finite. Got: {text[:100]}.")
    return number


def _check_size(value: Any) -> None:
    """Raise `ValueError` if a value has more than `MAX_DEPTH` levels or `MAX_VALUES` values."""
    level, number = [value], 0
    for _ in range(MAX_DEPTH + 1):
        level = [item for part in level if isinstance(part, list | dict) for item in _items(part)]
        number += len(level)
        if number > MAX_VALUES:
            raise ValueError(f"The JSON must have at most {MAX_VALUES} values. Got: more.")
        if not level:
            return
    raise ValueError(f"The JSON must have at most {MAX_DEPTH} arrays and objects within each other. Got: more.")


def _items(part: list[Any] | dict[str, Any]) -> list[Any]:
    return list(part.values()) if isinstance(part, dict) else part
