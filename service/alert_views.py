"""The JSON view of the alerts of a forecast and of what has come of them so far."""

from pydantic import BaseModel, Field

from jobs.alerts import AlertState
from jobs.forecasts import ForecastRecord
from weather.stores.summary_request import Threshold


class Reached(BaseModel):
    """The first lead time that fulfils an alert."""

    lead_hours: int
    valid_time: str
    probability: float


class AlertPlaceView(BaseModel):
    """A place of an alert; `reached` is null as long as no complete lead time fulfils the alert there."""

    name: str
    longitude: float
    latitude: float
    reached: Reached | None
    highest_probability: float | None = Field(description="Of all lead times so far; null before the first.")


class AlertView(Threshold):
    """An alert and its places."""

    units: str
    probability: float
    places: tuple[AlertPlaceView, ...]


def count_evaluated_of(record: ForecastRecord) -> int:
    """Return for how many lead times the alerts of a forecast are evaluated; 0 without alerts."""
    return int(record.alert_state["evaluated"]) if record.alert_state else 0


def view_alerts(record: ForecastRecord) -> list[AlertView]:
    """Return the alerts of a forecast with their results so far."""
    state = AlertState.of(record.alerts, record.alert_state)
    views = []
    for alert, reached, highest in zip(record.alerts, state.reached, state.highest, strict=True):
        places = tuple(
            AlertPlaceView(
                **place.model_dump(),
                reached=None if first is None else Reached.model_validate(first),
                highest_probability=probability,
            )
            for place, first, probability in zip(alert.places, reached, highest, strict=True)
        )
        views.append(AlertView(**alert.model_dump(exclude={"places"}), places=places))
    return views
