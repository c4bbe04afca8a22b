import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from jobs.database import Database
from jobs.errors import ForecastNotFoundError, ForecastOverError, IdempotencyError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, dismiss, look_up
from jobs.leases import claim
from jobs.states import Status
from weather.errors import StoreError
from weather.ingest.artefact import read_canonical

Submit = Callable[..., ForecastRecord]


def test_the_ensemble_of_an_accepted_forecast_can_be_opened_at_once(submitted: Submit, tmp_path: Path) -> None:
    forecast = submitted()
    folder = ForecastFolder(tmp_path, forecast.id)
    assert (forecast.status, forecast.lead_times, forecast.num_lead_times) == (Status.ACCEPTED, 0, 4)
    ensemble = xr.open_zarr(folder.store)
    assert dict(ensemble.sizes) | {"lead_time": 4, "number": 5} == dict(ensemble.sizes)
    assert ensemble.u10.isnull().all()
    assert read_canonical(folder.initial_state).digest == forecast.request.initial_state_digest


def test_what_is_another_owners_is_not_there(database: Database, submitted: Submit) -> None:
    forecast = submitted(owner="alice")
    assert look_up(database, forecast.id, "alice") == forecast
    for attempt in (look_up, dismiss):
        with pytest.raises(ForecastNotFoundError, match="There is no forecast"):
            attempt(database, forecast.id, "bob")
    assert look_up(database, forecast.id).status == Status.ACCEPTED


def test_a_key_that_comes_many_times_at_once_makes_one_forecast(submitted: Submit, tmp_path: Path) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(submitted(key="k").id)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 20
    assert len(set(made)) == 1
    assert [folder.name for folder in (tmp_path / "forecasts").iterdir()] == [made[0]]


def test_a_key_is_of_one_request_and_one_owner(submitted: Submit) -> None:
    forecast = submitted(key="k")
    with pytest.raises(IdempotencyError, match=f"was used for another request, forecast {forecast.id}"):
        submitted(key="k", seed=4)
    assert submitted(key="k", owner="bob").id != forecast.id


def test_what_has_ended_cannot_be_dismissed(database: Database, submitted: Submit) -> None:
    forecast = submitted()
    claim(database, "a", 30.0, 3)
    assert dismiss(database, forecast.id, "local").status == Status.DISMISSED
    with pytest.raises(ForecastOverError, match="it is dismissed"):
        dismiss(database, forecast.id, "local")


def test_a_forecast_that_cannot_be_stored_leaves_nothing(submitted: Submit, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="MB are free"):
        submitted(members=100_000_000, group_size=8)
    assert not list((tmp_path / "forecasts").glob("*"))


def test_migrating_again_and_at_once_is_harmless(database: Database, submitted: Submit) -> None:
    forecast = submitted()
    threads = [threading.Thread(target=database.migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert look_up(database, forecast.id) == forecast
