from collections.abc import Callable
from typing import Any

import pytest

from jobs.alerts import Alert, AlertState, record_probabilities
from jobs.forecasts import ForecastRecord
from jobs.handling import Handling
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.states import EventKind, Status
from jobs.settings import Settings
from service.app import create_app
from tests.clock import MovableClock
from tests.in_process import run_in_process
from tests.rows import list_events, read_forecast
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]

_PLACES = [
    {"name": "harbour", "longitude": -200 + 360, "latitude": 51.3},
    {"name": "pole", "longitude": 7, "latitude": 90},
]
_ALERTS = tuple(
    Alert.model_validate(
        {"variable": variable, "op": op, "value": value, "units": units, "probability": 0.4, "places": _PLACES}
    )
    for variable, op, value, units in (
        ("wind_speed_10m", ">", 8.0, "kn"),
        ("u10", "<", 0.0, "ms"),
        ("v10", ">", 1e5, "ms"),
    )
)


class _Killed(BaseException):
    """Stands for the end of a worker's process."""


def _alert_events(database: Database, record: ForecastRecord) -> list[dict[str, Any]]:
    return [dict(event.detail) for event in list_events(database, record.id) if event.kind == EventKind.ALERT]


def _state(database: Database, record: ForecastRecord) -> AlertState:
    return AlertState.of(_ALERTS, read_forecast(database, record.id).alert_state)


def test_alerts_are_the_first_lead_times_at_which_position_gives_the_probability(
    submit_forecast: Submit, worker: Worker, database: Database, settings: Settings
) -> None:
    record = submit_forecast(handling=Handling(alerts=_ALERTS))
    while worker.run():
        pass
    assert read_forecast(database, record.id).status == Status.SUCCESSFUL
    state = _state(database, record)
    assert state.evaluated == record.num_lead_times
    with run_in_process(create_app(settings, with_worker=False)) as api:
        coords = ",".join(f"({place['longitude']} {place['latitude']})" for place in _PLACES)
        for alert, reached, highest in zip(_ALERTS, state.reached, state.highest, strict=True):
            query = {"coords": f"MULTIPOINT({coords})", "parameter-name": alert.variable, "values": "statistics"}
            query |= {
                "exceedance": f"{alert.variable}{alert.op}{alert.value}",
                "units": alert.units,
                "datetime": "2018-09-15T01/..",
            }
            if alert.units == "ms":
                del query["units"]
            series = api.get(f"/v1/forecast/{record.id}/position", params=query).json()
            for index, place in enumerate(series["positions"]):
                shares = place["values"][alert.variable][f"p{alert.op}{alert.value:g}"]
                assert highest[index] == pytest.approx(max(shares), abs=2e-6)
                first = next((lead for lead, share in enumerate(shares) if share >= 0.4), None)
                got = reached[index]
                assert (got and got["lead_hours"]) == (None if first is None else series["lead_hours"][first])
        view = api.get(f"/v1/forecast/{record.id}").json()["alerts"]
    assert [[place["reached"] for place in alert["places"]] for alert in view] == state.reached
    assert len(_alert_events(database, record)) == sum(first is not None for row in state.reached for first in row) > 0


@pytest.mark.parametrize("output", [Output(), Output(members=False)])
def test_a_worker_that_is_killed_while_it_evaluates_reports_each_alert_once(
    submit_forecast: Submit,
    worker: Worker,
    database: Database,
    settings: Settings,
    clock: MovableClock,
    output: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = submit_forecast(handling=Handling(alerts=_ALERTS), output=output)
    while worker.run():
        pass
    killed = submit_forecast(handling=Handling(alerts=_ALERTS), output=output)

    def kill(*arguments: Any) -> None:
        if arguments[2] == 1:
            raise _Killed
        record_probabilities(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("workers.claimed_forecast.record_probabilities", kill)
        with pytest.raises(_Killed):
            worker.run()
    assert _state(database, killed).evaluated == 1
    clock.advance(1000)
    other = Worker(settings, database)
    while other.run():
        pass
    assert read_forecast(database, killed.id).status == Status.SUCCESSFUL
    assert _state(database, killed) == _state(database, plain)
    key = ("lead_hours", "variable", "place")
    found = [
        sorted(str([event[name] for name in key]) for event in _alert_events(database, each))
        for each in (plain, killed)
    ]
    assert found[0] == found[1]
    assert found[0]
