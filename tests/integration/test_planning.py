from typing import Any

import pytest
from sqlalchemy import update

from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.rows.tables import speeds
from jobs.settings import Settings
from tests.served import Served, small_request


@pytest.fixture(scope="module")
def served(own_served: Served) -> Served:
    return own_served


def _estimate(served: Served, **fields: Any) -> Any:
    response = served.client.post("/forecast?validate_only=true", json=small_request(**fields))
    assert response.status_code == 200, response.text
    return response.json()


def test_estimates_follow_from_the_speeds_measured_by_earlier_forecasts(served: Served) -> None:
    before = _estimate(served, model="planet", sampler={})
    assert {before[name] for name in ("store_bytes", "memory_bytes", "seconds")} == {None}
    assert served.wait(served.submit()["id"])["status"] == Status.SUCCESSFUL
    estimates = []
    for members, lead_time, nfe in ((3, "12h", 2), (3, "24h", 6), (3, "48h", 8)):
        fields: dict[str, Any] = {"members": members, "lead_time": lead_time, "sampler": {"nfe": nfe}}
        estimates.append(_estimate(served, **fields))
        forecast = served.submit(**fields)
        assert forecast["progress_detail"]["eta_seconds"] is not None
        served.wait(forecast["id"])
        store = served.data / "forecasts" / forecast["id"] / "ensemble.zarr"
        taken = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        assert abs(estimates[-1]["store_bytes"] / taken - 1) < 0.05
    assert 0 < estimates[0]["seconds"] < estimates[1]["seconds"] < estimates[2]["seconds"]
    assert all(estimate["memory_bytes"] > 10_000_000 for estimate in estimates)
    assert {estimate["wait_seconds"] for estimate in estimates} == {0}
    assert not estimates[0]["is_scaled"]
    assert _estimate(served, members=2)["is_scaled"]


def _set_speed(served: Served, seconds: float) -> None:
    """Overwrite the measured speed of every evaluation of the small checkpoint."""
    database = Database(Settings.of(data=served.data).storage.sql_url)
    values = dict.fromkeys(("warm_start_seconds", "flow_seconds", "beside_seconds"), seconds)
    with database.write() as connection:
        connection.execute(update(speeds).values(**values))
    database.close()


def test_evaluations_are_chosen_to_meet_the_deadline_and_a_repeated_request_is_the_same_forecast(
    served: Served,
) -> None:
    served.wait(served.submit()["id"])
    _set_speed(served, 1.0)
    automatic: dict[str, Any] = {"sampler": {"nfe": "auto"}, "seed": None}
    assert _estimate(served, **automatic)["request"]["sampler"]["nfe"] == 4
    assert _estimate(served, deadline_seconds=30, **automatic)["request"]["sampler"]["nfe"] == 4
    hurried = small_request(deadline_seconds=20, **automatic)
    first = served.client.post("/forecast", json=hurried, headers={"Idempotency-Key": "k"})
    assert (first.status_code, first.json()["request"]["sampler"]["nfe"]) == (202, 2)
    served.wait(first.json()["id"])
    _set_speed(served, 100.0)
    again = served.client.post("/forecast", json=hurried, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    refused = served.client.post("/forecast", json=hurried)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/deadline-too-soon")
    assert "`deadline_seconds` must be at least 1.6e+03 s" in refused.json()["detail"]
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/deadline_seconds"]
    chosen = served.client.post("/forecast", json=small_request(deadline_seconds=20))
    assert chosen.status_code == 202
    served.wait(chosen.json()["id"])


def test_past_its_deadline_a_forecast_fails_and_keeps_its_lead_times(served: Served) -> None:
    forecast = served.submit(lead_time="360h", members=16, sampler={"nfe": 400}, deadline_seconds=3)
    next_one = served.submit()
    ended = served.wait(forecast["id"])
    assert (ended["status"], ended["error"]["type"]) == (Status.FAILED, "deadline-passed")
    assert served.wait(next_one["id"])["status"] == Status.SUCCESSFUL
    assert served.client.get(f"/forecast/{forecast['id']}/ensemble.zarr/zarr.json").status_code == 200
