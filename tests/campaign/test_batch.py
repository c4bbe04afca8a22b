"""SIGKILL of the service while it computes a batch: the batch ends, equal to single forecasts bit for bit.

One kill of a batch of two; `make campaign` sets many, of twelve. In other runs `test_kill.py` and `test_service.py`
kill single forecasts, of whose parts a batch consists.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.served import Served

FINAL = {"successful", "failed", "dismissed"}


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--kills"))


def _sources(served: Served, submit_small: Callable[..., ForecastRecord], number: int) -> list[dict[str, Any]]:
    """Return states of so many days, each kept by a short forecast."""
    database = Database(Settings.of(data=served.data).storage.sql_url)
    first = np.datetime64("2018-09-15T00:00:00")
    days = [str(first + np.timedelta64(day, "D")) for day in range(number)]
    found = [
        submit_small(database, served.data, init_time=day, checkpoint="untrained", lead_hours=6, members=1).id
        for day in days
    ]
    database.close()
    return [{"source": "forecast", "id": forecast_id} for forecast_id in found]


def _chunks(folder: Path) -> dict[str, bytes]:
    stores = [folder / "ensemble.zarr", folder / "summary.zarr"]
    paths = [path for store in stores for path in store.rglob("c.*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.campaign
def test_a_killed_batch_equals_single_forecasts(
    serve: Callable[..., Served], submit_small: Callable[..., ForecastRecord], kills: int
) -> None:
    number, lead_time, kills = (12, "360h", kills) if kills >= 10 else (2, "180h", 1)
    served = serve(group_size="2")
    sources = _sources(served, submit_small, number)
    body = {"model": "untrained", "members": 3, "lead_time": lead_time, "seed": 5, "sampler": {"nfe": 2}}
    response = served.client.post("/batch", json=body | {"initial_states": sources}, timeout=120)
    assert response.status_code == 202, response.text
    batch_id, draw = response.json()["id"], random.Random(20261127)

    def read() -> dict[str, Any]:
        view: dict[str, Any] = served.client.get(f"/batch/{batch_id}").json()
        return view

    wait_until(lambda: read()["status"] == "running")
    for _ in range(kills):
        time.sleep(draw.uniform(0.3, 1.5))
        assert read()["status"] == "running", "the batch must be longer than its kills"
        served.kill()
        served.start()
    wait_until(lambda: read()["status"] in FINAL, 400, every=0.5, describe=read)
    view = read()
    assert (view["status"], view["counts"]) == ("successful", {"successful": number}), view
    singles = [served.wait(served.submit(**body, initial_state=source)["id"], 120)["id"] for source in sources]
    folders = served.data / "forecasts"
    for part, single in zip(view["parts"], singles, strict=True):
        chunks, expected = _chunks(folders / part["id"]), _chunks(folders / single)
        assert chunks == expected, part["index"]
        assert len(chunks) > 40
    joined = xr.open_zarr(f"{served.url}/batch/{batch_id}/ensemble.zarr").load()
    opened = xr.concat(
        [xr.open_zarr(folders / single / "ensemble.zarr").drop_vars("complete").load() for single in singles],
        "init_time",
        data_vars="minimal",
        coords="minimal",
        compat="equals",
        join="exact",
    )
    xr.testing.assert_equal(joined.drop_vars("complete"), opened)
    assert (joined.complete == 1).all()
