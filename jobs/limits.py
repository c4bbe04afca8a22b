"""Limits of API keys: what a key may use, what it uses, and the check of a new forecast.

A limit that a key does not have itself is that of the settings. Without a key, which only callers on the same machine
can be, there are no limits but the length of the queue.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from sqlalchemy import Connection, func, select

from jobs.errors import LimitExceededError, LimitReachedError, LimitState, QueueFullError
from jobs.kept_states import count_states
from jobs.planning.plans import Plan
from jobs.rows.advisory_locks import Lock, lock_until_end
from jobs.rows.clock import now
from jobs.rows.states import Priority
from jobs.rows.tables import api_keys, usage
from jobs.settings import LimitSettings

_DAY_SECONDS = 86400


@dataclass(frozen=True)
class Limits:
    """The limits of a key.

    Attributes:
        open_forecasts: Forecasts that wait or run at the same time.
        forecast_evaluations: Evaluations of the networks for one forecast: members × lead times × (NFE + 1).
        day_evaluations: Evaluations for all forecasts that are accepted on one day, in UTC.
        kept_bytes: Bytes of all forecasts whose data is available, planned ones for open forecasts, and of all
            initial states that are kept.
        uploads: Uploads that are received or read at the same time.
        high_priority: Whether forecasts may have the priority `high`.
    """

    open_forecasts: int
    forecast_evaluations: int
    day_evaluations: int
    kept_bytes: int
    uploads: int
    high_priority: bool


LIMIT_NAMES = tuple(field.name for field in fields(Limits))


@dataclass(frozen=True)
class Usage:
    """What the forecasts of an owner use; `day_evaluations` of the day in UTC that ends at `day_ends`."""

    open_forecasts: int
    day_evaluations: int
    kept_bytes: int
    day_ends: float

    def without(self, forecast: "NewForecast") -> "Usage":
        """Return what was used before a forecast was accepted."""
        return replace(
            self,
            open_forecasts=self.open_forecasts - forecast.number,
            day_evaluations=self.day_evaluations - forecast.number * forecast.evaluations,
            kept_bytes=self.kept_bytes - forecast.number * forecast.expected_bytes,
        )


@dataclass(frozen=True)
class NewForecast:
    """What a forecast that is submitted would use, or each of the `number` forecasts of a batch."""

    evaluations: int
    expected_bytes: int
    priority: Priority
    number: int = 1

    @classmethod
    def of(cls, plan: Plan, priority: Priority, number: int = 1) -> Self:
        """Return what a planned forecast would use, or each of the `number` forecasts of a batch."""
        return cls(plan.network_evaluations, plan.expected_bytes, priority, number)

    @property
    def name(self) -> str:
        """The words for it in messages."""
        return "The forecast" if self.number == 1 else f"The batch of {self.number} forecasts"


@dataclass(frozen=True)
class Admission:
    """The rules by which forecasts are accepted: the limits of keys without their own, and the length of the queue.

    A key may keep `max_states` initial states.
    """

    defaults: Limits
    max_open: int
    max_states: int = 1000

    def check(self, connection: Connection, owner: str, forecast: NewForecast, *, is_counted: bool) -> None:
        """Raise an error if a forecast of an owner may not be accepted now; `is_counted`: its row exists already.

        Raises `LimitExceededError` for a limit that time does not free, `LimitReachedError` for one that it does, and
        `QueueFullError`. In the transaction that inserts the row, no other transaction that calls `lock_queue` can
        accept a forecast in the meantime.
        """
        limits, used = read_limits(connection, owner, self.defaults), read_usage(connection, owner)
        num_open = count_open(connection)
        if is_counted:
            used, num_open = used.without(forecast), num_open - forecast.number
        if limits is not None:
            _check_forecast(limits, forecast)
            _check_usage(limits, used, forecast)
        self._check_queue(num_open, used.open_forecasts, forecast.number, is_key=limits is not None)

    def check_forecast(self, connection: Connection, owner: str, forecast: NewForecast) -> None:
        """Raise `LimitExceededError` if an owner may not submit a forecast, whatever its other forecasts use."""
        limits = read_limits(connection, owner, self.defaults)
        if limits is not None:
            _check_forecast(limits, forecast)

    def check_states(self, connection: Connection, owner: str) -> None:
        """Raise `LimitExceededError` if an owner keeps more initial states than it may, in number or in bytes.

        Call it in the transaction that inserts the row of a state; no other one that calls `lock_queue` can then use
        the same free place.
        """
        lock_queue(connection)
        limits, used = read_limits(connection, owner, self.defaults), read_usage(connection, owner)
        if limits is None:
            return
        number = count_states(connection, owner)[0]
        if number > self.max_states:
            raise LimitExceededError(
                f"This API key keeps {number - 1} initial states, of at most {self.max_states}. Delete one of them.",
                LimitState("states", self.max_states, number - 1),
            )
        if used.kept_bytes > limits.kept_bytes:
            raise LimitExceededError(
                f"The initial state has no room in the {limits.kept_bytes} bytes that this API key may keep. Delete "
                "the data of earlier forecasts, or other initial states.",
                LimitState("kept_bytes", limits.kept_bytes, used.kept_bytes),
            )

    def _check_queue(self, num_open: int, own: int, number: int, *, is_key: bool) -> None:
        """Raise `QueueFullError` unless a queue has `number` places for an owner that has `own` forecasts in it.

        A key may have as many open forecasts as there are free places, at least one. So one key alone fills half of the
        queue, and no number of keys can keep another one out.
        """
        _check_number(number, (self.max_open + 1) // 2 if is_key else self.max_open)
        free = self.max_open - num_open
        if is_key and own + number > max(free - number + 1, 1):
            raise QueueFullError(
                f"{num_open} forecasts wait or run, of at most {self.max_open}. An API key may have as many of them as "
                f"places are free, and this one has {own}. Wait until one ends, or cancel one."
            )
        if not is_key and free < number:
            limit = f"The limit of forecasts that wait or run is reached: {self.max_open}."
            if number > 1:
                limit = (
                    f"Of at most {self.max_open} forecasts, {num_open} wait or run: a batch of {number} has no place."
                )
            raise QueueFullError(f"{limit} Try again later.")


def read_limits(connection: Connection, owner: str, defaults: Limits) -> Limits | None:
    """Return the limits of the key with this id; None if there is no such key."""
    columns = [api_keys.c[name] for name in LIMIT_NAMES]
    own = connection.execute(select(*columns).where(api_keys.c.id == owner)).mappings().one_or_none()
    return None if own is None else with_own(defaults, dict(own))


def default_limits(settings: LimitSettings) -> Limits:
    """Return the limits of keys without their own."""
    return Limits(
        open_forecasts=settings.key_open_forecasts,
        forecast_evaluations=settings.key_forecast_evaluations,
        day_evaluations=settings.key_day_evaluations,
        kept_bytes=settings.key_kept_bytes,
        uploads=settings.key_uploads,
        high_priority=settings.key_high_priority,
    )


def with_own(defaults: Limits, own: Mapping[str, Any]) -> Limits:
    """Return the default limits with those that are not None in `own`."""
    return Limits(**asdict(defaults) | {name: value for name, value in own.items() if value is not None})


def read_usage(connection: Connection, owner: str) -> Usage:
    """Return what the forecasts and the kept initial states of an owner use now."""
    time = float(connection.scalar(select(now())) or 0.0)
    today = int(time // _DAY_SECONDS)
    row = connection.execute(select(usage).where(usage.c.owner == owner)).one_or_none()
    ends = float((today + 1) * _DAY_SECONDS)
    _, state_bytes = count_states(connection, owner)
    if row is None:
        return Usage(0, 0, state_bytes, ends)
    evaluations = row.day_evaluations if row.day >= today else 0
    return Usage(row.waiting + row.running, evaluations, row.kept_bytes + state_bytes, ends)


def list_states(limits: Limits | None, used: Usage) -> list[LimitState]:
    """Return all limits that are numbers with their usage; without limits their values are None."""
    value = dict.fromkeys(LIMIT_NAMES) if limits is None else asdict(limits)
    return [
        LimitState("open_forecasts", value["open_forecasts"], used.open_forecasts),
        LimitState("forecast_evaluations", value["forecast_evaluations"]),
        LimitState("day_evaluations", value["day_evaluations"], used.day_evaluations, used.day_ends),
        LimitState("kept_bytes", value["kept_bytes"], used.kept_bytes),
        LimitState("uploads", value["uploads"]),
    ]


def count_open(connection: Connection) -> int:
    """Return the number of forecasts that wait or run, of all owners."""
    return int(connection.scalar(select(func.sum(usage.c.waiting + usage.c.running))) or 0)


def lock_queue(connection: Connection) -> None:
    """Wait until no other transaction that called this is open; on SQLite every transaction that writes does so.

    Call it after the insertion of a forecast, which waits for transactions of the same owner: then one that does not
    end keeps no other owner waiting.
    """
    lock_until_end(connection, Lock.QUEUE)


def _check_forecast(limits: Limits, forecast: NewForecast) -> None:
    """Raise `LimitExceededError` if a key with these limits may never submit the forecast."""
    if forecast.priority == Priority.HIGH and not limits.high_priority:
        raise LimitExceededError(
            "`priority` must be low or normal: this API key may not use high. Got: 'high'.",
            LimitState("high_priority", 0),
            ("body", "priority"),
        )
    _check_number(forecast.number, limits.open_forecasts)
    if forecast.evaluations > limits.forecast_evaluations:
        raise LimitExceededError(
            f"A forecast of this API key may take at most {limits.forecast_evaluations} evaluations of the networks: "
            f"members × lead times × (NFE + 1). Got: {forecast.evaluations}. Request fewer members, lead times or NFE.",
            LimitState("forecast_evaluations", limits.forecast_evaluations),
            ("body", "members"),
        )


def _check_number(number: int, limit: int) -> None:
    """Raise `LimitExceededError` if a batch has more forecasts than may ever wait or run at the same time."""
    if number > max(limit, 1):
        raise LimitExceededError(
            f"`initial_states` may be at most {limit} here, as many forecasts as may wait or run at the same time. "
            f"Got: {number}. Submit several batches, one after another.",
            LimitState("open_forecasts", limit),
            ("body", "initial_states"),
        )


def _check_usage(limits: Limits, used: Usage, forecast: NewForecast) -> None:
    """Raise an error if a key that uses so much exceeds its limits with one more forecast."""
    if used.open_forecasts + forecast.number > limits.open_forecasts:
        wait = "Wait until one ends, or cancel one."
        if forecast.number > 1:
            wait = f"Wait until there are places for a batch of {forecast.number}, or cancel some."
        raise LimitReachedError(
            f"This API key has {used.open_forecasts} forecasts that wait or run, of at most {limits.open_forecasts}. "
            + wait,
            LimitState("open_forecasts", limits.open_forecasts, used.open_forecasts),
        )
    evaluations, expected_bytes = forecast.number * forecast.evaluations, forecast.number * forecast.expected_bytes
    if used.day_evaluations + evaluations > limits.day_evaluations:
        raise LimitReachedError(
            f"{forecast.name} takes {evaluations} evaluations of the networks, but of the "
            f"{limits.day_evaluations} that this API key has for a day (UTC), {used.day_evaluations} are used. Request "
            "fewer members, lead times or NFE, or wait until the next day.",
            LimitState("day_evaluations", limits.day_evaluations, used.day_evaluations, used.day_ends),
        )
    if used.kept_bytes + expected_bytes > limits.kept_bytes:
        raise LimitExceededError(
            f"{forecast.name} is expected to take {expected_bytes} bytes, but of the {limits.kept_bytes} that "
            f"this API key may keep, {used.kept_bytes} are used. Delete the data of earlier forecasts, or request "
            "fewer members or lead times.",
            LimitState("kept_bytes", limits.kept_bytes, used.kept_bytes),
        )
