"""Parse and format times (`2018-09-15T00`), intervals of them and lead times (`120h`, `5d`, or bare hours)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np

from storage.errors import ConfigurationError

_HOURS = {"h": 1, "d": 24, "": 1}
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:Z?|T\d\d(?::\d\d(?::\d\d)?)?(?:Z|[+-]\d\d:\d\d)?)", re.ASCII)
_ODD_DATE = re.compile(r"\d{4}-\d\d-\d\d(?![T ]|$)")
"""A date before something else than a time; `datetime` takes any character for the `T`, such as the sign of a zone."""


@dataclass(frozen=True)
class Interval:
    """The times from `first` to `last`, both included; None is no limit."""

    first: np.datetime64 | None = None
    last: np.datetime64 | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the interval of a text such as `2026-04-20/..`; a single time is both ends, and `..` is no limit.

        Raises `ConfigurationError` that names `datetime`, as OGC API – EDR does, for other text.
        """
        first, slash, last = text.partition("/")
        try:
            return cls(_parse_end(first), _parse_end(last if slash else first))
        except ValueError as error:
            raise ConfigurationError(
                "`datetime` must be a time such as 2026-04-20T06:00Z, or first/last, where .. is no limit. "
                f"Got: {text!r}.",
                ("datetime",),
            ) from error

    def contains(self, time: np.datetime64) -> bool:
        """Return whether a time is in the interval."""
        return bool((self.first is None or self.first <= time) and (self.last is None or time <= self.last))

    def __str__(self) -> str:
        """Return the interval as a text that `parse` reads."""
        first, last = (".." if end is None else f"{end}Z" for end in (self.first, self.last))
        return first if first == last != ".." else f"{first}/{last}"


ANY_TIME = Interval()


def parse_lead_time(text: str) -> np.timedelta64:
    """Return a lead time; raises `ConfigurationError` unless `text` is a whole number of hours or days."""
    match = re.fullmatch(r"(\d{1,5})([hd]?)", text.strip())
    if match is None:
        raise ConfigurationError(
            f"`lead_time` must be hours or days, such as 120h or 5d, with at most 5 digits. Got: {text!r}.",
            ("lead_time",),
        )
    return np.timedelta64(int(match[1]) * _HOURS[match[2]], "h")


def format_lead_time(lead_time: np.timedelta64) -> str:
    """Return a lead time in hours, such as `120h`."""
    return f"{lead_time / np.timedelta64(1, 'h'):g}h"


def count_lead_times(text: str, time_step: np.timedelta64) -> int:
    """Return a lead time as a number of time steps; raises `ConfigurationError` unless that is a positive integer."""
    number, remainder = divmod(parse_lead_time(text), time_step)
    if remainder or number < 1:
        raise ConfigurationError(
            f"`lead_time` must be a positive multiple of {format_lead_time(time_step)}. Got: {text!r}.",
            ("lead_time",),
        )
    return int(number)


def parse_time(text: str, field: str = "init_time") -> np.datetime64:
    """Return an ISO 8601 time as UTC; a time with a zone is converted, one without is taken as UTC.

    Raises `ConfigurationError` that names `field` if `text` is not such a time.
    """
    try:
        time = datetime.fromisoformat("" if _ODD_DATE.match(text) else text)
        utc = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(f"`{field}` must be a time such as 2018-09-15T00. Got: {text!r}.", (field,)) from error
    return np.datetime64(utc, "s")


def format_time(time: np.datetime64) -> str:
    """Return a time to the minute, such as `2018-09-15T00:00`."""
    return str(np.datetime_as_string(time, unit="m"))


def _parse_end(text: str) -> np.datetime64 | None:
    if text == "..":
        return None
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    try:
        return parse_time(text.removesuffix("Z"))
    except ConfigurationError as error:
        raise ValueError(text) from error
