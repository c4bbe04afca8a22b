"""Periods of data: whole years, and spans of dates such as `2026-04-18T00/2026-05-06T12`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from storage.errors import ConfigurationError

Period = int | str
"""A year, a date, or the text FIRST/LAST of two dates; with or without hours. A date is its whole day, or hour."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}(:\d{2})?)?")
_EXPECTED = "years such as 2018 or 1979-2017, or dates such as 2026-04-18T00/2026-05-06 or 2026-04-18"
_SMALLEST_GAP = np.timedelta64(1, "D")
"""Time between two periods that is needed if one of them is given by date."""


def parse_periods(value: Any) -> tuple[Period, ...]:
    """Return the periods in a year, a text or a list of them, with ranges of years expanded.

    Raises `ValueError` for anything else, and for dates in the wrong order.
    """
    periods: list[Period] = []
    for item in value if isinstance(value, list | tuple) else [value]:
        text = str(item).strip()
        if years := re.fullmatch(r"(\d{1,4})(?: ?- ?(\d{1,4}))?", text):
            first, last = int(years[1]), int(years[2] or years[1])
            if last < first:
                raise ValueError(f"the years of a range must ascend. Got: {text}")
            periods += range(first, last + 1)
        else:
            periods.append(_check_span(text))
    return tuple(periods)


Periods = Annotated[tuple[Period, ...], BeforeValidator(parse_periods)]
"""Periods, which YAML and JSON may give as one item or as a list; ranges of years are expanded."""


def read_periods(texts: Iterable[Any], field: str) -> tuple[Period, ...]:
    """Return the periods in texts that a user gave; raises `ConfigurationError` that names `field`."""
    try:
        return parse_periods(list(texts))
    except ValueError as error:
        raise ConfigurationError(f"`{field}` is wrong: {error}.", (field,)) from error


def select_times(valid_times: NDArray[Any], periods: Sequence[Period]) -> NDArray[np.bool_]:
    """Return whether each valid time is in one of the periods; missing times are in none."""
    selected = np.zeros(valid_times.shape, bool)
    for first, last in _merge(periods):
        selected |= (valid_times >= first) & (valid_times <= last)
    return selected


def find_shared(one: Sequence[Period], other: Sequence[Period]) -> str | None:
    """Return what two lists of periods share, or which are too close; None if they are apart.

    Years that follow each other are apart. If a period is given by date, there must be a day or more between it and the
    periods of the other list, because the weather of a day tells much about the next one.
    """
    years = sorted({item for item in one if isinstance(item, int)} & {item for item in other if isinstance(item, int)})
    if years:
        return str(years)
    for mine, its in product(one, other):
        (first, last), (other_first, other_last) = _bounds(mine), _bounds(its)
        is_dated = isinstance(mine, str) or isinstance(its, str)
        if is_dated and first <= other_last + _SMALLEST_GAP and other_first <= last + _SMALLEST_GAP:
            return f"{mine} and {its}"
    return None


def check_apart(uses: Mapping[str, Sequence[Period]]) -> None:
    """Raise `ValueError` if the periods of two uses, such as `train` and `test`, overlap, or if dates touch."""
    names = list(uses)
    for number, first in enumerate(names):
        for second in names[number + 1 :]:
            shared = find_shared(uses[first], uses[second])
            if shared is not None and shared.startswith("["):
                raise ValueError(f"a year may not both {first} and {second}: {shared}")
            if shared is not None:
                raise ValueError(
                    f"periods that {first} and periods that {second} must have a day or more between them. Got: "
                    f"{shared}"
                )


def format_periods(periods: Sequence[Period]) -> str:
    """Return periods in order of time, consecutive years as a range: `1979–2017, 2019, 2026-04-18/2026-05-06`."""
    parts: list[list[Period]] = []
    for period in sorted(periods, key=_bounds):
        before = parts[-1][-1] if parts else None
        if isinstance(period, int) and isinstance(before, int) and period == before + 1:
            parts[-1].append(period)
        else:
            parts.append([period])
    return ", ".join(f"{part[0]}–{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)


def _check_span(text: str) -> str:
    """Return a date or a span without spaces; raises `ValueError` unless the text is one."""
    ends = [end.strip() for end in text.split("/")]
    if len(ends) > 2 or not all(_DATE.fullmatch(end) for end in ends):
        raise ValueError(f"a period must be {_EXPECTED}. Got: {text!r}")
    span = "/".join(ends)
    first, last = _bounds(span)
    if last < first:
        raise ValueError(f"the dates of a period must ascend. Got: {span}")
    return span


def _bounds(period: Period) -> tuple[np.datetime64, np.datetime64]:
    """Return the first and the last second of a period; raises `ValueError` for a date that does not exist."""
    ends = [f"{period:04d}"] if isinstance(period, int) else period.split("/")
    try:
        first, last = np.datetime64(ends[0]), np.datetime64(ends[-1])
    except ValueError as error:
        raise ValueError(f"a period must be of dates that exist. Got: {period}") from error
    return first.astype("datetime64[s]"), (last + 1).astype("datetime64[s]") - np.timedelta64(1, "s")


def _merge(periods: Sequence[Period]) -> list[tuple[np.datetime64, np.datetime64]]:
    """Return the bounds of periods in order of time, those that touch as one."""
    merged: list[tuple[np.datetime64, np.datetime64]] = []
    for first, last in sorted(map(_bounds, periods)):
        if merged and first <= merged[-1][1] + np.timedelta64(1, "s"):
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
