"""Errors of forecasts as jobs: their rows, requests, deadlines and leases.

WarmcastError
├── BatchNotFoundError     there is no such batch, or it belongs to another caller
├── BatchOverError         a batch whose forecasts have all ended cannot be cancelled
├── DeadlineError          a forecast cannot end by its deadline
├── ForecastNotFoundError  there is no such forecast, or it belongs to another caller
├── ForecastOverError      a forecast that has ended cannot be changed
├── IdempotencyError       an idempotency key was used again with another request
├── LeaseLostError         work was leased to another worker, or cancelled: the worker must stop
├── LimitExceededError     a limit of the API key does not allow the request
│   └── LimitReachedError    … now, but later
├── QueueFullError         as many forecasts wait or run as are allowed
├── ScheduleNotFoundError  there is no such schedule, or it belongs to another caller
└── StateNotFoundError     there is no such initial state, or it belongs to another caller
"""

from dataclasses import dataclass

from storage.errors import Location, WarmcastError


class BatchNotFoundError(WarmcastError):
    """There is no such batch."""


class BatchOverError(WarmcastError):
    """All forecasts of the batch have ended already."""


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


@dataclass(frozen=True)
class LimitState:
    """A limit, how much of it is used, and the time at which that is 0 again, in seconds since 1970.

    `used` is None if nothing is counted; `frees` is None if it does not depend on time alone.
    """

    name: str
    value: int | None
    used: int | None = None
    frees: float | None = None


class LimitExceededError(WarmcastError):
    """A limit of the API key does not allow the request; `state` names the limit, and says how much of it is used."""

    def __init__(self, message: str, state: LimitState, location: Location = ()) -> None:
        self.state = state
        super().__init__(message, location)


class LimitReachedError(LimitExceededError):
    """A limit of the API key does not allow the request now, but later."""


class QueueFullError(WarmcastError):
    """Too many forecasts wait or run."""


class ScheduleNotFoundError(WarmcastError):
    """There is no such schedule."""


class StateNotFoundError(WarmcastError):
    """There is no such initial state."""
