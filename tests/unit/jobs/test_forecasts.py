import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr

from jobs.dispatching.leases import claim
from jobs.errors import ForecastNotFoundError, ForecastOverError, IdempotencyError
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Status
from tests.rows import cancel_forecast, read_forecast
from weather.errors import StoreError
from weather.ingest.exchange import load_initial_state

Submit = Callable[..., ForecastRecord]


def test_the_ensemble_of_an_accepted_forecast_can_be_opened_at_once(submit_forecast: Submit, tmp_path: Path) -> None:
    forecast = submit_forecast()
    folder = ForecastFolder(tmp_path, forecast.id)
    assert (forecast.status, forecast.lead_times, forecast.num_lead_times) == (Status.ACCEPTED, 0, 4)
    ensemble = xr.open_zarr(folder.store)
    assert dict(ensemble.sizes) | {"lead_time": 4, "number": 5} == dict(ensemble.sizes)
    assert ensemble.u10.isnull().all()
    assert load_initial_state(folder.initial_state).digest == forecast.request.initial_state_digest


def test_a_forecast_of_another_owner_is_not_found(database: Database, submit_forecast: Submit) -> None:
    forecast = submit_forecast(owner="alice")
    assert read_forecast(database, forecast.id, "alice") == forecast
    for attempt in (read_forecast, cancel_forecast):
        with pytest.raises(ForecastNotFoundError, match="There is no forecast"):
            attempt(database, forecast.id, "bob")
    assert read_forecast(database, forecast.id).status == Status.ACCEPTED


def test_concurrent_submissions_with_one_key_create_one_forecast(submit_forecast: Submit, tmp_path: Path) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(submit_forecast(key="k").id)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 20
    assert len(set(made)) == 1
    assert [folder.name for folder in (tmp_path / "forecasts").iterdir()] == [made[0]]


def test_a_key_identifies_one_request_of_one_owner(submit_forecast: Submit) -> None:
    forecast = submit_forecast(key="k")
    with pytest.raises(IdempotencyError, match=f"was used for another request, forecast {forecast.id}"):
        submit_forecast(key="k", seed=4)
    assert submit_forecast(key="k", owner="bob").id != forecast.id


def test_a_forecast_that_has_ended_cannot_be_cancelled(database: Database, submit_forecast: Submit) -> None:
    forecast = submit_forecast()
    claim(database, "a", 30.0, 3)
    assert cancel_forecast(database, forecast.id, "local").status == Status.DISMISSED
    with pytest.raises(ForecastOverError, match="it is dismissed"):
        cancel_forecast(database, forecast.id, "local")


def test_a_forecast_without_disk_space_leaves_no_folder(submit_forecast: Submit, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="MB are free"):
        submit_forecast(members=1_000_000, lead_hours=60_000, group_size=1000)
    assert not list((tmp_path / "forecasts").glob("*"))


def test_concurrent_repeated_migrations_change_nothing(database: Database, submit_forecast: Submit) -> None:
    forecast = submit_forecast()
    threads = [threading.Thread(target=database.migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_forecast(database, forecast.id) == forecast
