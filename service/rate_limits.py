"""Header fields that say what is left of a key's limits: `RateLimit` and `RateLimit-Policy` of an IETF draft.

Source: draft-ietf-httpapi-ratelimit-headers-10. The names of the policies are those of the limits.
"""

import math
import time
from collections.abc import Sequence

from jobs.errors import LimitState

_LARGEST = 10**15 - 1
"""The largest integer of a structured field (RFC 9651)."""
_DAY_SECONDS = 86400
_UNITS = {"open_forecasts": "forecasts", "day_evaluations": "evaluations", "kept_bytes": "content-bytes"}


def rate_limit_headers(states: Sequence[LimitState]) -> dict[str, str]:
    """Return the fields for those limits that have a value and a usage; without any, there are none."""
    counted = [state for state in states if state.value is not None and state.used is not None]
    if not counted:
        return {}
    return {"RateLimit-Policy": ", ".join(map(_policy, counted)), "RateLimit": ", ".join(map(_remaining, counted))}


def _policy(state: LimitState) -> str:
    window = "" if state.frees is None else f";w={_DAY_SECONDS}"
    return f'"{state.name}";q={min(state.value or 0, _LARGEST)};qu="{_UNITS.get(state.name, state.name)}"{window}'


def _remaining(state: LimitState) -> str:
    left = min(max((state.value or 0) - (state.used or 0), 0), _LARGEST)
    reset = "" if state.frees is None else f";t={max(math.ceil(state.frees - time.time()), 0)}"
    return f'"{state.name}";r={left}{reset}'
