"""The `request` that a forecast echoes can be posted again as it is, and gives the same forecast bit for bit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.served import Served, small_request

FIELDS = {
    "model",
    "initial_state",
    "lead_time",
    "members",
    "seed",
    "sampler",
    "summary",
    "output",
    "deadline_seconds",
    "priority",
    "labels",
    "retention_hours",
    "alerts",
    "callback",
}


def _post_again(served: Served, forecast: dict[str, Any]) -> dict[str, Any]:
    response = served.client.post("/forecast", json=forecast["request"])
    assert response.status_code == 202, response.text
    again: dict[str, Any] = response.json()
    assert again["id"] != forecast["id"]
    return again


def _members(served: Served, forecast: dict[str, Any]) -> xr.Dataset:
    ended = served.wait(forecast["id"])
    assert ended["status"] == "successful", ended
    ensemble = xr.open_zarr(f"{served.url}/forecast/{forecast['id']}/ensemble.zarr").load()
    assert np.isfinite(ensemble.u10).all()
    return ensemble


def _check_equal(served: Served, first: dict[str, Any], second: dict[str, Any]) -> None:
    ensembles = [_members(served, forecast) for forecast in (first, second)]
    for name in ("u10", "v10", "number", "lead_time", "init_time"):
        np.testing.assert_array_equal(ensembles[0][name].values, ensembles[1][name].values)


def _upload(served: Served, gfs_files: list[Path], **fields: Any) -> dict[str, Any]:
    body = small_request(initial_state={"source": "upload"}, **fields)
    parts = [("initial_state", (path.name, path.read_bytes())) for path in gfs_files]
    response = served.client.post("/forecast", data={"request": json.dumps(body)}, files=parts)
    assert response.status_code == 202, response.text
    forecast: dict[str, Any] = response.json()
    return forecast


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"seed": None, "sampler": {}},
        {"members": [6, 2], "sampler": {"solver": "euler", "nfe": 3, "warmth": 0.5}},
        {"sampler": {"nfe": "auto"}, "deadline_seconds": 3600, "priority": "low"},
        {"summary": {"quantiles": [0.9, 0.1], "exceedance": []}, "output": {"keep_bits": 12}},
    ],
)
def test_the_request_of_a_forecast_of_the_catalogue_gives_the_same_members(
    served: Served, fields: dict[str, Any]
) -> None:
    first = served.submit(**fields)
    assert first["request"].keys() == FIELDS
    assert first["request"]["initial_state"]["init_time"] == first["init_time"]
    second = _post_again(served, first)
    assert second["request"] == first["request"]
    _check_equal(served, first, second)


def test_the_request_of_an_upload_starts_from_the_state_that_the_forecast_keeps(
    served: Served, gfs_files: list[Path]
) -> None:
    first = _upload(served, gfs_files)
    assert first["request"]["initial_state"] == {"source": "forecast", "id": first["id"]}
    second = _post_again(served, first)
    assert second["request"] == first["request"] | {"initial_state": {"source": "forecast", "id": second["id"]}}
    third = _post_again(served, second)
    _check_equal(served, first, second)
    _check_equal(served, first, third)
    receipts = [served.client.get(f"/forecast/{item['id']}/receipt").json()["request"] for item in (first, third)]
    assert receipts[0] == receipts[1]
    assert receipts[0]["sources"] == [path.name for path in gfs_files]


def test_a_list_of_members_is_a_replay_and_so_is_its_request(served: Served) -> None:
    whole = served.submit(members=4)
    served.wait(whole["id"])
    replayed = served.client.post(f"/forecast/{whole['id']}/replay", json={"members": [3, 1]}).json()
    assert (replayed["request"]["members"], replayed["init_time"]) == ([1, 3], whole["init_time"])
    body = whole["request"] | {"members": [3, 1]}
    listed = served.client.post("/forecast", json=body).json()
    again = _post_again(served, replayed)
    for forecast in (replayed, listed, again):
        ensemble = _members(served, forecast)
        np.testing.assert_array_equal(ensemble.number, [1, 3])
        np.testing.assert_array_equal(ensemble.u10, _members(served, whole).u10.sel(number=[1, 3]))


def test_the_request_of_an_estimate_can_be_posted(served: Served) -> None:
    estimate = served.client.post("/forecast?validate_only=true", json=small_request(seed=None)).json()
    assert estimate["request"].keys() == FIELDS
    forecast = served.client.post("/forecast", json=estimate["request"])
    assert forecast.status_code == 202, forecast.text
    assert forecast.json()["request"] == estimate["request"]
