"""The source `forecast` of an initial state, and the `request` of forecasts in every state of their rows."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.retention import delete_data
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from service.requests import ForecastBody
from tests.in_process import InProcess
from tests.rows import succeed
from tests.served import small_request
from weather.ingest.exchange import load_initial_state

Submit = Callable[..., ForecastRecord]


def _source(forecast_id: str) -> dict[str, Any]:
    return {"initial_state": {"source": "forecast", "id": forecast_id}}


def _check(response: httpx.Response, pointer: str, detail: str) -> None:
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "/problems/validation"), problem
    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert detail in problem["detail"]


@pytest.fixture
def accepted(api: InProcess) -> dict[str, Any]:
    """A forecast that was submitted over HTTP."""
    view: dict[str, Any] = api.post("/forecast", json=small_request(seed=None)).json()
    return view


def test_every_field_of_a_request_is_filled_in(api: InProcess, accepted: dict[str, Any]) -> None:
    request = accepted["request"]
    assert request.keys() == ForecastBody.model_fields.keys()
    assert request["seed"] >= 0
    assert request["initial_state"] == {
        "source": "catalogue",
        "dataset": "nature-run",
        "init_time": accepted["init_time"],
    }
    assert request["sampler"].keys() == {"solver", "nfe", "warmth"}
    assert None not in request["sampler"].values()
    assert request["summary"]["exceedance"] == [{"variable": "wind_speed_10m", "op": ">", "value": 17.2}]
    assert ForecastBody.model_validate(request).model_dump(mode="json") == request
    assert api.get("/forecast").json()["forecasts"][0]["request"] == request


def test_a_forecast_starts_from_the_state_that_an_earlier_one_keeps(api: InProcess, accepted: dict[str, Any]) -> None:
    response = api.post("/forecast", json=small_request(**_source(accepted["id"]), members=7))
    assert response.status_code == 202, response.text
    data = api.app.state.service.data
    states = [
        load_initial_state(ForecastFolder(data, view["id"]).initial_state) for view in (accepted, response.json())
    ]
    assert states[0].digest == states[1].digest
    assert response.json()["init_time"] == accepted["init_time"]


def test_an_unknown_forecast_and_one_of_another_owner_give_the_same_response(
    api: InProcess, submit_forecast: Submit
) -> None:
    for forecast_id in ("fc_unknown", submit_forecast(owner="alice").id):
        refused = api.post("/forecast", json=small_request(**_source(forecast_id)))
        expected = f"`id` must be the id of one of your forecasts. Got: {forecast_id!r}."
        _check(refused, "/initial_state/id", expected)
        assert refused.json()["detail"] == expected


def test_a_forecast_whose_data_is_deleted_is_not_a_source(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    record = succeed(database, submit_forecast())
    delete_data(database, api.app.state.service.data, record.id, record.owner)
    _check(api.post("/forecast", json=small_request(**_source(record.id))), "/initial_state/id", "data is deleted.")


def test_a_forecast_of_another_checkpoint_is_not_a_source(api: InProcess, submit_forecast: Submit) -> None:
    record = submit_forecast(checkpoint="other", checkpoint_digest="d" * 64)
    refused = api.post("/forecast", json=small_request(**_source(record.id)))
    _check(refused, "/initial_state/id", "of the same checkpoint, untrained in its present version. Got: ")


def test_errors_of_a_source_are_reported_with_the_others(api: InProcess) -> None:
    refused = api.post("/forecast", json=small_request(**_source("fc_unknown"), lead_time="7h"))
    assert {error["pointer"] for error in refused.json()["errors"]} == {"/initial_state/id", "/lead_time"}


@pytest.mark.parametrize(
    ("members", "pointer", "detail"),
    [
        ([], "/members", "at least 1 item"),
        ([1, 1], "/members", "`members` must be different numbers. Got more than once: 1."),
        ([1, -1], "/members/1", "greater than or equal to 0. Got: -1."),
        ([1, "x"], "/members/1", "valid integer"),
        ("x", "/members", "valid integer"),
        (None, "/members", "valid integer"),
    ],
)
def test_members_are_a_number_or_different_numbers(api: InProcess, members: Any, pointer: str, detail: str) -> None:
    _check(api.post("/forecast", json=small_request(members=members)), pointer, detail)


def test_a_list_counts_as_its_length_and_is_kept_in_ascending_order(api: InProcess) -> None:
    view = api.post("/forecast", json=small_request(members=[9, 0, 4])).json()
    assert view["request"]["members"] == [0, 4, 9]
    estimate = api.post("/forecast?validate_only=true", json=small_request(members=[9, 0, 4])).json()
    assert estimate["request"] == view["request"]


def test_a_row_without_a_source_is_echoed_with_its_own_state(
    api: InProcess, database: Database, accepted: dict[str, Any]
) -> None:
    """Rows from before the source was stored do not have it."""
    with database.write() as connection:
        (stored,) = connection.scalars(select(forecasts.c.request))
        old = {name: value for name, value in stored.items() if name != "initial_state"}
        connection.execute(update(forecasts).values(request=old))
    view = api.get(f"/forecast/{accepted['id']}").json()
    assert view["request"] == accepted["request"] | _source(accepted["id"])
    assert api.post("/forecast", json=view["request"]).status_code == 202


def test_a_request_above_the_present_limits_can_still_be_read(api: InProcess, submit_forecast: Submit) -> None:
    record = submit_forecast(checkpoint="A Checkpoint Of Old", deadline_seconds=0.5)
    view = api.get(f"/forecast/{record.id}")
    assert (view.status_code, view.json()["request"]["model"]) == (200, "A Checkpoint Of Old")
    assert api.get("/forecast").status_code == 200


def test_one_key_submits_the_same_forecast_for_any_name_of_its_state(api: InProcess) -> None:
    """The initial state counts by its values, so a repeated request may name its time or not."""
    headers = {"Idempotency-Key": "k"}
    first = api.post("/forecast", json=small_request(), headers=headers)
    again = api.post("/forecast", json=first.json()["request"], headers=headers)
    assert (first.status_code, again.status_code, again.json()["id"]) == (202, 200, first.json()["id"])
