import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.rows import cancel_forecast, create_key, read_forecast, succeed
from tests.served import small_request

Submit = Callable[..., ForecastRecord]

_PLACE = {"name": "harbour", "longitude": 4.5, "latitude": 51.9}
_ALERT = {"variable": "u10", "value": 5, "probability": 0.3, "places": [_PLACE]}
_LABELS = {"project": "harbour", "run/no.1": "7", "note": 'a:b "eta_seconds":7}'}


@pytest.fixture
def keeping(settings: Settings, database: Database) -> Iterator[InProcess]:
    """A service that keeps data for 48 hours."""
    with run_in_process(create_app(settings.replace(keep_hours=48.0), with_worker=False)) as api:
        yield api


def _submit(api: InProcess, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    response = api.post("/v1/forecast", json=small_request(**fields), headers=headers or {})
    assert response.status_code == 202, response.text
    view: dict[str, Any] = response.json()
    return view


def _ids(api: InProcess, query: str, headers: dict[str, str] | None = None) -> list[str]:
    page = api.get(f"/v1/forecast?{query}", headers=headers or {})
    assert page.status_code == 200, page.text
    return [view["id"] for view in page.json()["forecasts"]]


def test_labels_are_kept_and_sent_again_with_the_request(api: InProcess, database: Database) -> None:
    view = _submit(api, labels=_LABELS, retention_hours=6.5)
    assert (view["labels"], view["expires"]) == (_LABELS, None)
    assert view == api.get(f"/v1/forecast/{view['id']}").json()
    assert (view["request"]["labels"], view["request"]["retention_hours"]) == (_LABELS, 6.5)
    again = api.post("/v1/forecast", json=view["request"])
    assert again.json()["labels"] == _LABELS
    assert read_forecast(database, view["id"]).labels == _LABELS
    plain = _submit(api)
    assert (plain["labels"], plain["request"]["retention_hours"]) == ({}, None)


def test_labels_are_no_part_of_what_determines_the_values(api: InProcess, database: Database) -> None:
    plain, labelled = (read_forecast(database, _submit(api, **fields)["id"]) for fields in ({}, {"labels": _LABELS}))
    assert plain.request.digest == labelled.request.digest


def test_an_idempotency_key_belongs_to_one_request_with_its_labels(api: InProcess) -> None:
    headers = {"Idempotency-Key": "k"}
    first = _submit(api, headers, labels={"a": "1"}, retention_hours=2.0)
    again = api.post("/v1/forecast", json=small_request(labels={"a": "1"}, retention_hours=2.0), headers=headers)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    for other in ({}, {"labels": {"a": "2"}, "retention_hours": 2.0}, {"labels": {"a": "1"}, "retention_hours": 3.0}):
        refused = api.post("/v1/forecast", json=small_request(**other), headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/idempotency-key-reuse"), other


def test_a_list_has_only_forecasts_with_all_of_the_labels_page_by_page(api: InProcess) -> None:
    both = [_submit(api, labels={"a": "1", "b": "x y"})["id"] for _ in range(3)]
    one = _submit(api, labels={"a": "1"})["id"]
    _submit(api, labels={"a": "2", "b": "x y"})
    assert _ids(api, "label=a:1") == [one, *both[::-1]]
    assert _ids(api, "label=a:1&label=b:x%20y") == both[::-1]
    assert _ids(api, "label=a:1&label=b:x") == _ids(api, "label=c:1") == _ids(api, "label=a.b:1") == []
    found, path = list[str](), "/v1/forecast?label=a:1&label=b:x%20y&limit=2"
    while path:
        page = api.get(path).json()
        found += [view["id"] for view in page["forecasts"]]
        path = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    assert found == both[::-1]


def test_a_label_of_one_key_finds_no_forecast_of_another(api: InProcess, database: Database) -> None:
    mine, theirs = ({"PRIVATE-TOKEN": create_key(database, name)[1]} for name in ("mine", "theirs"))
    forecast = _submit(api, mine, labels={"secret": "plan"})
    assert _ids(api, "label=secret:plan", mine) == [forecast["id"]]
    assert _ids(api, "label=secret:plan", theirs) == []


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"labels": {"a b": "1"}}, "/labels/a b"),
        ({"labels": {"a": ""}}, "/labels/a"),
        ({"labels": {"a": "x" * 101}}, "/labels/a"),
        ({"labels": {"a": "line\nbreak"}}, "/labels/a"),
        ({"labels": {"a": "\u0000"}}, "/labels/a"),
        ({"labels": {"a": 1}}, "/labels/a"),
        ({"labels": {str(number): "x" for number in range(21)}}, "/labels"),
        ({"alerts": [_ALERT | {"variable": "t2m"}]}, "/alerts/0/variable"),
        ({"alerts": [_ALERT, _ALERT | {"places": []}]}, "/alerts/1/places"),
        ({"alerts": [_ALERT | {"probability": 0}]}, "/alerts/0/probability"),
        ({"alerts": [_ALERT | {"op": ">="}]}, "/alerts/0/op"),
        ({"alerts": [_ALERT | {"units": "mph"}]}, "/alerts/0/units"),
        ({"alerts": [_ALERT | {"places": [_PLACE | {"latitude": 91}]}]}, "/alerts/0/places/0/latitude"),
        ({"alerts": [_ALERT | {"places": [_PLACE] * 11}]}, "/alerts/0/places"),
        ({"alerts": [_ALERT] * 21}, "/alerts"),
        ({"retention_hours": 0}, "/retention_hours"),
        ({"retention_hours": 1e9}, "/retention_hours"),
        ({"retention_hours": 48.5}, "/retention_hours"),
    ],
)
def test_wrong_labels_and_retention_are_named(keeping: InProcess, fields: dict[str, Any], pointer: str) -> None:
    refused = keeping.post("/v1/forecast", json=small_request(**fields))
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    inputs = {name: value for name, value in small_request(**fields).items() if name != "model"}
    job = keeping.post("/api/retrieve/v1/processes/untrained/execution", json={"inputs": inputs})
    assert (job.status_code, [error["pointer"] for error in job.json()["errors"]]) == (422, [f"/inputs{pointer}"])


@pytest.mark.parametrize("label", ["", "a", "a:", ":1", "a b:1", 'a":1', "a:%0a"])
def test_a_label_to_list_by_must_be_a_name_and_a_value(api: InProcess, label: str) -> None:
    refused = api.get(f"/v1/forecast?label={label}")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "?label")


def test_the_end_and_the_retention_say_when_the_data_expires(keeping: InProcess, database: Database) -> None:
    views = [_submit(keeping, retention_hours=hours) for hours in (None, 1.5)]
    for view, hours in zip(views, (48, 1.5), strict=True):
        succeed(database, read_forecast(database, view["id"]))
        ended = keeping.get(f"/v1/forecast/{view['id']}").json()
        lasting = datetime.fromisoformat(ended["expires"]) - datetime.fromisoformat(ended["finished"])
        assert lasting == timedelta(hours=hours)
    assert keeping.delete(f"/v1/forecast/{views[0]['id']}").status_code == 204
    assert keeping.get(f"/v1/forecast/{views[0]['id']}").json()["expires"] is None


def test_a_job_has_the_same_labels(api: InProcess, database: Database) -> None:
    inputs = {name: value for name, value in small_request(labels=_LABELS).items() if name != "model"}
    job = api.post("/api/retrieve/v1/processes/untrained/execution", content=json.dumps({"inputs": inputs}),
                   headers={"Content-Type": "application/json"})  # fmt: skip  # one line would be too long
    assert job.status_code == 201, job.text
    assert read_forecast(database, job.json()["jobID"]).labels == _LABELS


def test_a_replay_has_labels_and_a_retention_of_its_own(keeping: InProcess, database: Database) -> None:
    first = succeed(database, read_forecast(database, _submit(keeping, labels={"a": "1"}, retention_hours=2.0)["id"]))
    path, headers = f"/v1/forecast/{first.id}/replay", {"Idempotency-Key": "r"}
    body = {"members": [1], "labels": {"b": "2"}, "retention_hours": 3.0}
    replayed = keeping.post(path, json=body, headers=headers)
    assert (replayed.status_code, replayed.json()["labels"]) == (202, {"b": "2"})
    assert read_forecast(database, replayed.json()["id"]).retention_hours == 3
    assert keeping.post(path, json=body, headers=headers).status_code == 200
    assert keeping.post(path, json={"members": [1]}, headers=headers).status_code == 422
    assert keeping.post(path, json={"members": [1]}).json()["labels"] == {}
    refused = keeping.post(path, json=body | {"retention_hours": 49.0})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/retention_hours")


def test_a_forecast_has_its_alerts_before_any_is_evaluated(api: InProcess) -> None:
    view = _submit(api, alerts=[_ALERT])
    (alert,) = view["alerts"]
    assert alert == {"op": ">", "units": "ms"} | _ALERT | {
        "places": [_PLACE | {"reached": None, "highest_probability": None}]
    }
    assert api.get(f"/v1/forecast/{view['id']}").json() == view
    again = api.post("/v1/forecast", json=view["request"])
    assert again.json()["alerts"] == view["alerts"]


def test_a_cancelled_forecast_keeps_its_labels(api: InProcess, database: Database) -> None:
    view = _submit(api, labels={"a": "1"})
    cancel_forecast(database, view["id"], "local")
    assert api.get(f"/v1/forecast/{view['id']}").json()["labels"] == {"a": "1"}
