import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sqlalchemy import update

from jobs.clock import now
from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, look_up
from jobs.planning import Outlook
from jobs.plans import plan_of
from jobs.settings import Settings
from jobs.speeds import look_out
from jobs.states import Status
from jobs.tables import forecasts
from weather.manifest import read_manifest
from workers import speeds
from workers.runtime import Runtime

Submit = Callable[..., ForecastRecord]


def _outlook(database: Database) -> Outlook:
    with database.read() as connection:
        return look_out(connection)


def _done(runtime: Runtime, database: Database, forecast: ForecastRecord) -> ForecastRecord:
    while runtime.run():
        pass
    return look_up(database, forecast.id)


def test_a_forecast_teaches_what_later_ones_take(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, untrained_checkpoint: Path
) -> None:
    manifest = read_manifest(untrained_checkpoint)
    assert _outlook(database).speeds == {}
    assert _done(runtime, database, submitted()).status == Status.SUCCESSFUL
    plans = []
    for members, lead_hours, nfe in ((2, 12, 2), (4, 18, 2), (6, 36, 4)):
        asked = submitted(members=members, lead_hours=lead_hours, sampling=manifest.sampling.changed(nfe=nfe))
        plan = plan_of(_outlook(database), asked.request, manifest)
        assert plan.store_bytes is not None
        record = _done(runtime, database, asked)
        store = ForecastFolder(settings.data, record.id).store
        taken = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        assert plan.store_bytes == pytest.approx(taken, rel=0.05)
        plans.append(plan)
    assert runtime.machine in _outlook(database).machines
    seconds = [plan.seconds for plan in plans if plan.seconds is not None]
    memory = [plan.memory_bytes for plan in plans if plan.memory_bytes is not None]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert 10e6 < memory[0] < memory[1] < memory[2] < 10e9


def test_a_long_forecast_teaches_while_it_runs(
    submitted: Submit, runtime: Runtime, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "TELL_SECONDS", 0.05)
    forecast = submitted(lead_hours=6 * 2000, deadline_seconds=900.0)
    running = threading.Thread(target=runtime.run)
    running.start()
    while not (_outlook(database).speeds and look_up(database, forecast.id).lead_times):
        assert running.is_alive()
        time.sleep(0.02)
    ((machine, speed),) = _outlook(database).speeds[forecast.request.checkpoint_digest]
    assert (machine.device, machine.threads, speed.group_size) == ("cpu", torch.get_num_threads(), 2)
    assert min(speed.warm_start_seconds, speed.flow_seconds, speed.beside_seconds) > 0
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == forecast.id).values(deadline=now()))
    asked = time.monotonic()
    running.join(20)
    assert time.monotonic() - asked < 10
    record = look_up(database, forecast.id)
    assert record.status == Status.FAILED
    assert record.error is not None
    assert record.error["type"] == "deadline-passed"
    assert 0 < record.lead_times < 2000


def test_a_store_of_lost_members_teaches_nothing(
    submitted: Submit, runtime: Runtime, database: Database, lose_a_member: Callable[[], None]
) -> None:
    lose_a_member()
    assert _done(runtime, database, submitted()).status == Status.SUCCESSFUL
    assert _outlook(database).storages == {}
