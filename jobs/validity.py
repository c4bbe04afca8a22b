"""Parse times of keys and of the audit log: a duration from now, such as `90d`, or a time."""

import math
import re
from datetime import UTC, datetime

from storage.errors import ConfigurationError

_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d{1,5})([mhd])", re.ASCII)


def parse_duration(text: str, name: str) -> float:
    """Return the seconds of a duration such as `90d`; raise `ConfigurationError` that names `name` for other text."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(
            f"`{name}` must be minutes, hours or days, such as 30m, 24h or 90d, with at most 5 digits. Got: {text!r}."
        )
    return int(found[1]) * _SECONDS[found[2]]


def parse_expiry(text: str, now: float) -> float:
    """Return the time, in seconds since 1970, of a duration such as `90d` from `now`, or of a time (UTC by default).

    Raises `ConfigurationError` if the text is neither, or the time is not after `now`.
    """
    time = now + parse_duration(text, "expires") if _DURATION.fullmatch(text.strip()) else _parse_time(text)
    if not now < time:
        raise ConfigurationError(
            "`expires` must be a duration such as 90d or 12h, or a time in the future such as 2027-01-31T12:00Z. "
            f"Got: {text!r}."
        )
    return time


def parse_past(text: str, now: float) -> float:
    """Return the time, in seconds since 1970, of a duration such as `7d` before `now`, or of a time (UTC by default).

    Raises `ConfigurationError` that names `since` for other text.
    """
    time = now - parse_duration(text, "since") if _DURATION.fullmatch(text.strip()) else _parse_time(text)
    if math.isnan(time):
        raise ConfigurationError(
            f"`since` must be a duration such as 7d or 12h, or a time such as 2026-11-20T12:00Z. Got: {text!r}."
        )
    return time


def _parse_time(text: str) -> float:
    """Return the time of a text in ISO 8601; not a number for other text."""
    try:
        time = datetime.fromisoformat(text.strip())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan
