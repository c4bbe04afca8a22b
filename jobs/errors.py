"""Errors of forecasts as jobs: their rows, requests, deadlines and leases.

WarmcastError
├── DeadlineError          a forecast cannot end by its deadline
├── ForecastNotFoundError  there is no such forecast, or it belongs to another caller
├── ForecastOverError      a forecast that has ended cannot be changed
├── IdempotencyError       an idempotency key was used again with another request
├── LeaseLostError         work was leased to another worker, or cancelled: the worker must stop
└── QueueFullError         as many forecasts wait or run as are allowed
"""

from storage.errors import WarmcastError


class DeadlineError(WarmcastError):
    """The deadline cannot be met."""


class ForecastNotFoundError(WarmcastError):
    """There is no such forecast."""


class ForecastOverError(WarmcastError):
    """The forecast has ended already."""


class IdempotencyError(WarmcastError):
    """The idempotency key was used for another request."""


class LeaseLostError(WarmcastError):
    """The work was leased to another worker, or cancelled."""


class QueueFullError(WarmcastError):
    """Too many forecasts wait or run."""
