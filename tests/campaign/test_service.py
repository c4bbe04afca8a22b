"""Kill the service at random during requests, and send it damaged files; each forecast is computed once.

A few kills and files in an ordinary run; `make campaign` sets many.
"""

import logging
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr

from models.testing import tiny_spec
from tests.helpers import wait_until
from tests.served import Served
from weather.testing import travelling_waves

Serve = Callable[..., Served]


def _request_until_answered(served: Served, method: str, path: str, **more: Any) -> httpx.Response:
    """Repeat a request until it is answered, as a client does after a broken connection."""
    answers: list[httpx.Response] = []
    wait_until(
        lambda: answers.append(served.client.request(method, path, **more)) or answers,
        120,
        ignoring=(httpx.TransportError,),
    )
    return answers[0]


def test_a_repeatedly_killed_service_computes_each_forecast_once(request: pytest.FixtureRequest, serve: Serve) -> None:
    kills = int(request.config.getoption("--kills"))
    served, draw = serve(max_attempts="10"), random.Random(1987)
    body = {
        "model": "untrained",
        "initial_state": {"source": "catalogue", "dataset": "nature-run"},
        "members": 3,
        "lead_time": "120h",
        "sampler": {"nfe": 4},
    }
    keys: dict[str, str] = {}
    for index in range(kills):
        killed = served.kill_after(draw.uniform(0.1, 4.0))
        key = {"Idempotency-Key": f"forecast {index}".replace(" ", "-")}
        answer = _request_until_answered(served, "POST", "/forecast", json=body | {"seed": index}, headers=key)
        assert answer.status_code in (200, 202), answer.text
        keys[answer.json()["id"]] = key["Idempotency-Key"]
        killed.join()
    assert len(keys) == kills
    for forecast_id in keys:
        assert served.wait(forecast_id, 60 + 15 * kills)["status"] == "successful"
        events = served.client.get(f"/forecast/{forecast_id}/events").text.splitlines()
        kinds = [line.removeprefix("event: ") for line in events if line.startswith("event: ")]
        assert kinds == ["accepted", "running", *["lead_time"] * 20, "successful"]
        ensemble = xr.open_zarr(f"{served.url}/forecast/{forecast_id}/ensemble.zarr")
        assert np.isfinite(ensemble.u10).all()
    listed = served.client.get("/forecast", params={"limit": 200}).json()["forecasts"]
    assert {forecast["id"] for forecast in listed} == set(keys)


def test_many_damaged_files_neither_stop_nor_slow_the_service(
    request: pytest.FixtureRequest, serve: Serve, gfs_files: list[Path], tmp_path: Path
) -> None:
    mutants = int(request.config.getoption("--mutants"))
    times = [np.datetime64("2018-09-14T18", "s"), np.datetime64("2018-09-15T00", "s")]
    travelling_waves(tiny_spec().grid.grid, times).to_netcdf(tmp_path / "winds.nc")
    forms = {"GRIB": [path.read_bytes() for path in gfs_files], "NetCDF": [(tmp_path / "winds.nc").read_bytes()]}
    served, draw = serve(), random.Random(2018)
    seconds: list[float] = []
    for _ in range(mutants):
        for form, contents in forms.items():
            damaged = bytearray(contents[0])
            for _ in range(draw.choice([1, 4, 64])):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            files = [("initial_state", (form, bytes(content))) for content in (damaged, *contents[1:])]
            began = time.perf_counter()
            answer = served.client.post(
                "/forecast?validate_only=true",
                files=files,
                data={"request": '{"model": "untrained", "initial_state": {"source": "upload"}}'},
            )
            seconds.append(time.perf_counter() - began)
            assert answer.status_code in (200, 413, 415, 422), answer.text
    assert served.wait(served.submit()["id"])["status"] == "successful"
    assert served.temporary_files() == []
    third = max(len(seconds) // 3, 1)
    first, last = statistics.median(seconds[:third]), statistics.median(seconds[-third:])
    detail = f"{len(seconds)} damaged files: median {first:.2f} s in the first third, {last:.2f} s in the last"
    logging.getLogger(__name__).warning(detail)
