import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sqlalchemy import update

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.planning.estimates import Estimator
from jobs.planning.measured import load_estimator
from jobs.planning.plans import Plan
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.rows.tables import forecasts
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import read_forecast
from weather.manifest import read_manifest
from workers import timing
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]


def _estimator(database: Database) -> Estimator:
    with database.read() as connection:
        return load_estimator(connection)


def _run_to_end(worker: Worker, database: Database, forecast: ForecastRecord) -> ForecastRecord:
    wait_until(lambda: not worker.run())
    return read_forecast(database, forecast.id)


def test_the_speed_of_one_forecast_predicts_that_of_later_ones(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, untrained_checkpoint: Path
) -> None:
    manifest = read_manifest(untrained_checkpoint)
    assert _estimator(database).speeds == {}
    assert _run_to_end(worker, database, submit_forecast()).status == Status.SUCCESSFUL
    requests = []
    for members, lead_hours, nfe in ((2, 12, 2), (4, 18, 2), (6, 36, 4)):
        forecast = submit_forecast(members=members, lead_hours=lead_hours, sampling=manifest.sampling.replace(nfe=nfe))
        plan = Plan.of(forecast.request, manifest).with_estimates(_estimator(database), manifest, "local")
        assert plan.store_bytes is not None
        record = _run_to_end(worker, database, forecast)
        store = ForecastFolder(settings.storage.data, record.id).store
        taken = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        assert plan.store_bytes == pytest.approx(taken, rel=0.05)
        requests.append(forecast.request)
    estimator = _estimator(database)
    assert worker.machine in estimator.machines
    plans = [Plan.of(request, manifest).with_estimates(estimator, manifest, "local") for request in requests]
    seconds = [plan.seconds for plan in plans if plan.seconds is not None]
    memory = [plan.memory_bytes for plan in plans if plan.memory_bytes is not None]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert 10e6 < memory[0] < memory[1] < memory[2] < 10e9


def test_a_long_forecast_saves_its_speed_while_it_runs(
    submit_forecast: Submit, worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "SAVE_SECONDS", 0.05)
    forecast = submit_forecast(lead_hours=6 * 2000, deadline_seconds=900.0)
    running = threading.Thread(target=worker.run)
    running.start()
    wait_until(lambda: _estimator(database).speeds and read_forecast(database, forecast.id).lead_times)
    ((machine, speed),) = _estimator(database).speeds[forecast.request.checkpoint_digest]
    assert (machine.device_kind, machine.threads, speed.group_size) == ("cpu", torch.get_num_threads(), 2)
    assert min(speed.warm_start_seconds, speed.flow_seconds, speed.overhead_seconds) > 0
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == forecast.id).values(deadline=now()))
    changed = time.monotonic()
    running.join(20)
    assert time.monotonic() - changed < 10
    record = read_forecast(database, forecast.id)
    assert record.status == Status.FAILED
    assert record.error is not None
    assert record.error["type"] == "deadline-passed"
    assert 0 < record.lead_times < 2000


def test_the_compression_of_lost_members_is_not_saved(
    submit_forecast: Submit, worker: Worker, database: Database, lose_a_member: Callable[[], None]
) -> None:
    lose_a_member()
    assert _run_to_end(worker, database, submit_forecast()).status == Status.SUCCESSFUL
    assert _estimator(database).compressions == {}
