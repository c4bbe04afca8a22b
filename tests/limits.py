"""Limits of keys for tests."""

from jobs.limits import Limits

LARGE_LIMITS = Limits(
    open_forecasts=10**6,
    forecast_evaluations=10**12,
    day_evaluations=10**15,
    kept_bytes=10**15,
    uploads=100,
    high_priority=True,
)
"""Limits that no test reaches unless it replaces one."""
