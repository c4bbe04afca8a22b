from collections.abc import Callable

import pytest
from sqlalchemy import update

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from service.authentication import LOCAL_OWNER
from tests.in_process import InProcess
from tests.rows import cancel_forecast, commit_lead_times, create_key, record_heartbeat, revoke_key

Submit = Callable[..., ForecastRecord]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_status_and_its_conditional_form(
    api: InProcess, database: Database, submit_forecast: Submit, prefix: str
) -> None:
    path = f"{prefix}/forecast/{submit_forecast(owner=LOCAL_OWNER).id}"
    first = api.get(path)
    assert (first.status_code, first.headers["content-type"]) == (200, "application/json")
    assert {**api.head(path).headers, "x-request-id": ""} == {**first.headers, "x-request-id": ""}
    unchanged = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["retry-after"] == first.headers["retry-after"]
    commit_lead_times(database, 1)
    changed = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["progress"]) == (200, 25)


def test_every_change_is_seen_by_the_next_request(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast(owner=LOCAL_OWNER)
    path = f"/v1/forecast/{record.id}"
    assert api.get(path).json()["status"] == "accepted"
    commit_lead_times(database, 2)
    assert api.get(path).json()["progress_detail"]["lead_times"] == 2
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == record.id).values(priority="low"))
    assert api.get(path).json()["priority"] == "low"
    cancel_forecast(database, record.id, LOCAL_OWNER)
    assert api.get(path).json()["status"] == "dismissed"


def test_a_key_that_is_revoked_or_of_another_owner_sees_nothing(
    api: InProcess, database: Database, submit_forecast: Submit
) -> None:
    (own, secret), (_, other) = create_key(database, "own"), create_key(database, "other")
    path = f"/v1/forecast/{submit_forecast(owner=own.id).id}"
    tag = api.get(path, headers={"PRIVATE-TOKEN": secret}).headers["etag"]
    foreign = api.get(path, headers={"PRIVATE-TOKEN": other, "If-None-Match": tag})
    assert (foreign.status_code, foreign.json()["type"]) == (404, "/problems/no-such-forecast")
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 401
    revoke_key(database, own.id)
    assert api.get(path, headers={"PRIVATE-TOKEN": secret, "If-None-Match": tag}).status_code == 401


def test_the_status_has_no_query_parameters(api: InProcess, submit_forecast: Submit) -> None:
    response = api.get(f"/v1/forecast/{submit_forecast(owner=LOCAL_OWNER).id}?wait=1")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "?wait")


def test_a_waiting_forecast_is_planned(api: InProcess, database: Database, submit_forecast: Submit) -> None:
    record = submit_forecast(owner=LOCAL_OWNER)
    record_heartbeat(database, "worker", "cpu", {})
    listed = api.get("/v1/forecast").json()["forecasts"][0]
    assert api.get(f"/v1/forecast/{record.id}").json() == listed
