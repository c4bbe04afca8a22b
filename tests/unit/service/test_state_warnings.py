"""What the service answers to initial states that are unlike the weather."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

from tests.in_process import InProcess

FIELDS = {"model": "untrained", "lead_time": "12h", "members": 2, "initial_state": {"source": "upload"}}


def _submit(api: InProcess, file: Path, **options: Any) -> httpx.Response:
    request = {"request": (None, json.dumps(FIELDS), "application/json")}
    files = request | {"initial_state": (file.name, file.read_bytes())}
    return api.post("/v1/forecast", files=files, **options)


@pytest.fixture
def later(winds: xr.Dataset, tmp_path: Path) -> Path:
    """A file of the year 2118."""
    winds.assign_coords(time=winds.time + np.timedelta64(100 * 365, "D")).to_netcdf(tmp_path / "later.nc")
    return tmp_path / "later.nc"


def test_warnings_are_in_the_answer_and_in_that_of_a_forecast_from_the_same_state(api: InProcess, later: Path) -> None:
    response = _submit(api, later)
    assert response.status_code == 202, response.text
    (warning,) = response.json()["warnings"]
    assert warning["code"] == "initial-state"
    assert warning["message"].startswith("The initial time, 2118-08-22T06:00, is in the future")
    forecast_id = response.json()["id"]
    assert api.get(f"/v1/forecast/{forecast_id}").json()["warnings"] == [warning]
    again = api.post("/v1/forecast", json=FIELDS | {"initial_state": {"source": "forecast", "id": forecast_id}})
    assert again.json()["warnings"] == [warning]
    replay = api.post(f"/v1/forecast/{forecast_id}/replay", json={"members": [1]})
    assert replay.json()["warnings"] == [warning]


def test_an_estimate_has_the_warnings(api: InProcess, later: Path) -> None:
    (warning,) = _submit(api, later, params={"validate_only": "true"}).json()["warnings"]
    assert warning["code"] == "initial-state"


def test_a_constant_state_is_refused_with_all_its_problems(api: InProcess, winds: xr.Dataset, tmp_path: Path) -> None:
    constant = winds.assign({name: (0 * array + 60).assign_attrs(units="m s-1") for name, array in winds.items()})
    constant.to_netcdf(tmp_path / "constant.nc")
    response = _submit(api, tmp_path / "constant.nc")
    assert response.status_code == 422
    assert "`u10` at 2018-09-15T06:00 is 60 m s-1 everywhere, so it is no analysis." in response.text
    assert {error["pointer"] for error in response.json()["errors"]} == {"/initial_state"}
