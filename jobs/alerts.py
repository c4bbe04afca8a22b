"""Alerts: events at places that a forecast reports the first time that its ensemble makes them probable enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from sqlalchemy import Connection, select, update

from jobs.events import append_event
from jobs.rows.states import OPEN, EventKind
from jobs.rows.tables import forecasts
from storage.errors import ConfigurationError
from weather.schema import FrozenModel, check_printable
from weather.stores.summary_request import Threshold, summary_variables

MAX_ALERTS = 20
MAX_ALERT_PLACES = 10

_ROUNDING = 1e-6
"""What a share of members may lack by its rounding to float32."""

Probabilities = Sequence[Sequence[float | None]]
"""The probability of each alert at each of its places; None if no member is left."""


class AlertPlace(FrozenModel):
    """A place that an alert is for."""

    name: Annotated[str, Field(min_length=1, max_length=60), AfterValidator(check_printable)]
    longitude: float = Field(ge=-180, le=360, description="Degrees.")
    latitude: float = Field(ge=-90, le=90, description="Degrees.")


class Alert(Threshold):
    """An event at places: it is reported for each place once, when its probability first reaches `probability`."""

    value: float = Field(ge=-1e6, le=1e6, description="In `units`, or in the variable's unit if it is no speed.")
    units: Literal["ms", "kn", "kmh"] = Field("ms", description="Units of a speed: m s⁻¹, knots or km/h.")
    probability: float = Field(gt=0, le=1, description="The share of members from which on the event is reported.")
    places: tuple[AlertPlace, ...] = Field(min_length=1, max_length=MAX_ALERT_PLACES)


@dataclass(frozen=True)
class AlertState:
    """How far alerts are evaluated: the number of lead times, and by alert and place what has come of it.

    `reached` is the first lead time that fulfils the alert, and `highest` the highest probability so far.
    """

    evaluated: int
    reached: list[list[dict[str, Any] | None]]
    highest: list[list[float | None]]

    @classmethod
    def of(cls, alerts: Sequence[Alert], value: Mapping[str, Any] | None) -> "AlertState":
        """Return the state in a row, or the one before the first lead time."""
        if value is None:
            empty: list[list[Any]] = [[None] * len(alert.places) for alert in alerts]
            return cls(0, empty, [list(row) for row in empty])
        return cls(**value)


def parse_alerts(value: Sequence[Mapping[str, Any]] | None) -> tuple[Alert, ...]:
    """Return the alerts in a row."""
    return tuple(Alert.model_validate(each) for each in value or ())


def check_alerts(alerts: Sequence[Alert], variables: Sequence[str]) -> None:
    """Raise `ConfigurationError` for an alert that a forecast of these variables cannot evaluate."""
    known = {variable.name: variable for variable in summary_variables(variables)}
    for index, alert in enumerate(alerts):
        variable = known.get(alert.variable)
        if variable is None:
            message = f"`variable` of an alert may be {', '.join(known)}. Got: {alert.variable!r}."
            raise ConfigurationError(message, ("alerts", index, "variable"))
        if alert.units != "ms" and variable.units != "m s-1":
            message = f"`units` must be left out: {alert.variable} is no speed. Got: {alert.units!r}."
            raise ConfigurationError(message, ("alerts", index, "units"))


def count_evaluated(connection: Connection, forecast_id: str) -> int:
    """Return for how many lead times, from the first on, the alerts of a forecast are evaluated."""
    value = connection.scalar(select(forecasts.c.alert_state).where(forecasts.c.id == forecast_id))
    return int(value["evaluated"]) if value else 0


def record_probabilities(
    connection: Connection, forecast_id: str, lead_index: int, times: Mapping[str, Any], probabilities: Probabilities
) -> None:
    """Store the probabilities at a lead time, and append an event for each alert and place that it fulfils first.

    `times` are its `lead_hours` and `valid_time`. Nothing changes unless this is the next lead time to evaluate of a
    forecast that has not ended, so that several workers, or one that repeats its work, report each event once.
    """
    columns = forecasts.c.status, forecasts.c.alerts, forecasts.c.alert_state
    row = connection.execute(select(*columns).where(forecasts.c.id == forecast_id).with_for_update()).one()
    alerts = parse_alerts(row.alerts)
    state = AlertState.of(alerts, row.alert_state)
    if row.status not in OPEN or state.evaluated != lead_index:
        return
    for alert, found, reached, highest in zip(alerts, probabilities, state.reached, state.highest, strict=True):
        for index, (place, probability) in enumerate(zip(alert.places, found, strict=True)):
            if probability is None:
                continue
            highest[index] = max(highest[index] or 0.0, round(probability, 6))
            if reached[index] is None and probability >= alert.probability - _ROUNDING:
                first = reached[index] = {**times, "probability": round(probability, 6)}
                event = alert.model_dump(exclude={"places", "probability"}) | {"limit": alert.probability}
                append_event(connection, forecast_id, EventKind.ALERT, **event, place=place.model_dump(), **first)
    changed = {"evaluated": lead_index + 1, "reached": state.reached, "highest": state.highest}
    connection.execute(update(forecasts).where(forecasts.c.id == forecast_id).values(alert_state=changed))
