"""Verification of a batch: one truth, the scores of each part, and their means over all."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from models.testing import tiny_spec
from tests.in_process import InProcess
from tests.stored_files import write_lead_times
from weather.stores.ensemble import EnsembleStore
from weather.testing import travelling_waves

DAYS = ("2018-09-15T00:00:00", "2018-09-16T00:00:00", "2018-09-20T00:00:00")


@pytest.fixture
def batch(api: InProcess, submit_forecast: Callable[..., ForecastRecord], database: Database, tmp_path: Path) -> Any:
    """A batch of three days, of which two lead times are complete."""
    sources = [{"source": "forecast", "id": submit_forecast(init_time=day).id} for day in DAYS]
    body = {"model": "untrained", "members": 4, "lead_time": "12h", "seed": 7, "sampler": {"nfe": 2}}
    view = api.post("/v1/batch", json=body | {"initial_states": sources}).json()
    for part in view["parts"]:
        write_lead_times(EnsembleStore.open(ForecastFolder(tmp_path, part["id"]).store), range(2))
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.batch_id == view["id"]).values(lead_times=2))
    return view


def _verify(api: InProcess, batch: Any, folder: Path, *times: str) -> httpx.Response:
    travelling_waves(tiny_spec().grid.grid, [np.datetime64(time, "s") for time in times]).to_netcdf(folder / "truth.nc")
    files = [("truth", ("truth.nc", (folder / "truth.nc").read_bytes()))]
    return api.post(f"/v1/batch/{batch['id']}/verify", data={"reference": "waves"}, files=files)


def _of_part(api: InProcess, part: Any) -> Any:
    (verification,) = api.get(f"{part['href']}/diagnostics").json()["verifications"]
    assert verification["reference"] == "waves"
    return verification["scores"]


def test_scores_of_a_batch_are_means_over_the_parts_that_the_truth_covers(
    api: InProcess, batch: Any, tmp_path: Path
) -> None:
    response = _verify(api, batch, tmp_path, DAYS[0], "2018-09-15T06", "2018-09-15T12", "2018-09-16T06")
    assert response.status_code == 200, response.text
    view = response.json()
    assert view["starts"] == [part["id"] for part in batch["parts"][:2]]
    own = [_of_part(api, part)["scores"]["u10"] for part in batch["parts"][:2]]
    assert [[row["lead_hours"] for row in rows] for rows in own] == [[6, 12], [6]]
    first, second = view["scores"]["scores"]["u10"]
    assert (first["lead_hours"], first["starts"], second["lead_hours"], second["starts"]) == (6, 2, 12, 1)
    assert first["crps_fair"] == pytest.approx((own[0][0]["crps_fair"] + own[1][0]["crps_fair"]) / 2)
    assert first["rmse"] == pytest.approx(math.sqrt((own[0][0]["rmse"] ** 2 + own[1][0]["rmse"] ** 2) / 2))
    assert second["crps_fair"] == pytest.approx(own[0][1]["crps_fair"])
    assert "persistence_mae" in own[0][0]
    assert "persistence_mae" not in own[1][0]
    assert "persistence_mae" not in first
    assert api.get(f"/v1/batch/{batch['id']}/verifications").json() == [view]
    assert api.get(f"{batch['parts'][2]['href']}/diagnostics").json()["verifications"] == []


def test_a_truth_without_any_valid_time_and_a_damaged_part_are_refused(
    api: InProcess, batch: Any, tmp_path: Path
) -> None:
    refused = _verify(api, batch, tmp_path, "2018-09-15T00")
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/truth-incompatible")
    chunk = ForecastFolder(tmp_path, batch["parts"][1]["id"]).store / "u10/c.0.0.0.0.0"
    Path(str(chunk)).write_bytes(b"no chunk")
    damaged = _verify(api, batch, tmp_path, "2018-09-15T06", "2018-09-16T06")
    assert (damaged.status_code, damaged.json()["type"]) == (409, "/problems/damaged")
    assert batch["parts"][1]["id"] in damaged.json()["detail"]
    assert api.get(f"/v1/batch/{batch['id']}/verifications").json() == []


def test_without_a_complete_lead_time_there_are_no_scores(
    api: InProcess, batch: Any, database: Database, tmp_path: Path
) -> None:
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.batch_id == batch["id"]).values(lead_times=0))
    early = _verify(api, batch, tmp_path, "2018-09-15T06")
    assert (early.status_code, early.json()["type"]) == (409, "/problems/not-finished")
