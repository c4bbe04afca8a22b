from collections.abc import Callable
from typing import Any

import pytest

from jobs.alerts import Alert, AlertState, Probabilities, check_alerts, count_evaluated, record_probabilities
from jobs.forecasts import ForecastRecord
from jobs.handling import Handling
from jobs.rows.database import Database
from jobs.rows.states import EventKind
from storage.errors import ConfigurationError
from tests.rows import cancel_forecast, list_events, read_forecast

Insert = Callable[..., ForecastRecord]


def _alert(probability: float = 0.5, places: int = 2, **fields: Any) -> Alert:
    given = [{"name": f"place {index}", "longitude": index, "latitude": 0} for index in range(places)]
    alert = {"variable": "wind_speed_10m", "value": 17.2, "probability": probability, "places": given}
    return Alert.model_validate(alert | fields)


@pytest.fixture
def forecast(insert_rows: Insert) -> ForecastRecord:
    """A forecast with an alert at two places, and one at one place."""
    return insert_rows(handling=Handling(alerts=(_alert(0.3), _alert(1.0, 1, value=20))))


def _record(database: Database, forecast: ForecastRecord, lead_index: int, probabilities: Probabilities) -> None:
    times = {"lead_hours": 6 * (lead_index + 1), "valid_time": f"time {lead_index}"}
    with database.write() as connection:
        record_probabilities(connection, forecast.id, lead_index, times, probabilities)


def _reported(database: Database, forecast: ForecastRecord) -> list[tuple[str, float, int]]:
    """Return place, limit and lead hours of each event of an alert."""
    events = [event.detail for event in list_events(database, forecast.id) if event.kind == EventKind.ALERT]
    return [(event["place"]["name"], event["limit"], event["lead_hours"]) for event in events]


def test_an_alert_is_reported_once_for_each_place_at_its_first_lead_time(
    database: Database, forecast: ForecastRecord
) -> None:
    for index, probabilities in enumerate([[[0.2, 0.3], [0.9]], [[0.4, 0.1], [1.0]], [[0.5, 0.9], [1.0]]]):
        _record(database, forecast, index, probabilities)
    assert _reported(database, forecast) == [("place 1", 0.3, 6), ("place 0", 0.3, 12), ("place 0", 1.0, 12)]
    state = AlertState.of(forecast.alerts, read_forecast(database, forecast.id).alert_state)
    assert (state.evaluated, state.highest) == (3, [[0.5, 0.9], [1.0]])
    assert [[first and first["probability"] for first in row] for row in state.reached] == [[0.4, 0.3], [1.0]]


def test_a_lead_time_that_is_evaluated_twice_or_too_early_changes_nothing(
    database: Database, forecast: ForecastRecord
) -> None:
    _record(database, forecast, 1, [[1.0, 1.0], [1.0]])
    assert (_reported(database, forecast), read_forecast(database, forecast.id).alert_state) == ([], None)
    for _ in range(2):
        _record(database, forecast, 0, [[1.0, 0.0], [0.0]])
    assert _reported(database, forecast) == [("place 0", 0.3, 6)]
    with database.read() as connection:
        assert count_evaluated(connection, forecast.id) == 1


def test_a_forecast_that_has_ended_reports_nothing(database: Database, forecast: ForecastRecord) -> None:
    cancel_forecast(database, forecast.id, forecast.owner)
    _record(database, forecast, 0, [[1.0, 1.0], [1.0]])
    assert _reported(database, forecast) == []


def test_without_a_member_there_is_no_probability(database: Database, forecast: ForecastRecord) -> None:
    _record(database, forecast, 0, [[None, 0.1], [None]])
    state = AlertState.of(forecast.alerts, read_forecast(database, forecast.id).alert_state)
    assert (_reported(database, forecast), state.highest) == ([], [[None, 0.1], [None]])


def test_a_share_that_is_rounded_down_still_reaches_its_limit(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows(handling=Handling(alerts=(_alert(0.7, 1),)))
    _record(database, forecast, 0, [[0.699999988079071]])
    assert len(_reported(database, forecast)) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"variable": "t2m"}, "variable"), ({"variable": "wind_from_direction_10m"}, "variable")],
)
def test_an_alert_of_another_variable_is_refused(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_alerts([_alert(), _alert(**fields)], ("u10", "v10"))
    assert refused.value.location == ("alerts", 1, field)
    check_alerts([_alert(units="kn"), _alert(variable="u10", units="kmh")], ("u10", "v10"))
