"""Header fields that say what is left of a key's limits: `RateLimit` and `RateLimit-Policy` of an IETF draft.

Source: draft-ietf-httpapi-ratelimit-headers-11, sections 3.1 and 4.1: lists of strings with parameters (RFC 9651). The
names of the policies are those of the limits. `qu` is `concurrent-requests` where that is what the draft defines; its
registry (section 10.3) has no unit for evaluations and stored data, and its default, requests, would be wrong for them:
they have units with our prefix. There is no partition key `pk`: each API key has its own quota.
"""

import math
import time
from collections.abc import Sequence

from jobs.errors import LimitState

_LARGEST = 10**15 - 1
"""The largest integer of a structured field (RFC 9651)."""
_DAY_SECONDS = 86400
_UNITS = {"open_forecasts": "concurrent-requests", "day_evaluations": "warmcast-evaluations"}


def rate_limit_headers(states: Sequence[LimitState], *, has_window: bool = True) -> dict[str, str]:
    """Return the fields for those limits that have a value and a usage; without any, there are none.

    Without `has_window` the time `t` is left out. So it must be beside a `Retry-After` that is about something else,
    such as the next poll, since the draft allows none before the end of the window (section 6).
    """
    counted = [state for state in states if state.value is not None and state.used is not None]
    if not counted:
        return {}
    remaining = (_remaining(state, has_window=has_window) for state in counted)
    return {"RateLimit-Policy": ", ".join(map(_policy, counted)), "RateLimit": ", ".join(remaining)}


def _policy(state: LimitState) -> str:
    window = "" if state.frees is None else f";w={_DAY_SECONDS}"
    unit = _UNITS.get(state.name, f"warmcast-{state.name.replace('_', '-')}")
    return f'"{state.name}";q={min(state.value or 0, _LARGEST)};qu="{unit}"{window}'


def _remaining(state: LimitState, *, has_window: bool) -> str:
    left = min(max((state.value or 0) - (state.used or 0), 0), _LARGEST)
    reset = "" if state.frees is None or not has_window else f";t={max(math.ceil(state.frees - time.time()), 0)}"
    return f'"{state.name}";r={left}{reset}'
