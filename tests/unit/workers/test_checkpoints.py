"""Workers whose checkpoint is not the one that a forecast was accepted with, as during an update."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.forecasts import ForecastRecord
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.settings import Settings
from models.checkpoint import save_checkpoint
from models.testing import tiny_networks, tiny_spec, write_tiny_checkpoint
from tests.helpers import wait_until
from tests.rows import read_forecast, record_heartbeat
from weather.manifest import Manifest, Sampling, read_manifest
from workers import loop
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]

NAME = "model"


def _write_version(folder: Path, seed: int) -> Manifest:
    """Write a version of the checkpoint of this name, replacing another one."""
    shutil.rmtree(folder / NAME, ignore_errors=True)
    provenance = write_tiny_checkpoint(folder / NAME, name=NAME).provenance
    shutil.rmtree(folder / NAME)
    networks = tiny_networks(tiny_spec(), trained=False, seed=seed)
    return save_checkpoint(folder / NAME, NAME, networks, Sampling(nfe=2), provenance)


@pytest.fixture
def submit(submit_forecast: Submit) -> Callable[[Manifest], ForecastRecord]:
    return lambda manifest: submit_forecast(checkpoint=NAME, checkpoint_digest=manifest.digest)


def _worker(settings: Settings, database: Database, folder: Path) -> Worker:
    worker = Worker(settings.replace(checkpoints=str(folder)), database)
    worker.record_heartbeat()
    return worker


def _pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monotonic = time.monotonic
    monkeypatch.setattr(loop.time, "monotonic", lambda: monotonic() + seconds)


def test_a_worker_with_an_older_checkpoint_leaves_the_forecast_to_one_with_the_right_one(
    settings: Settings, database: Database, submit: Callable[[Manifest], ForecastRecord], tmp_path: Path
) -> None:
    _write_version(tmp_path / "old", 1)
    forecast = submit(_write_version(tmp_path / "new", 2))
    old, new = (_worker(settings, database, tmp_path / name) for name in ("old", "new"))
    assert old.run()
    assert read_forecast(database, forecast.id).status in (Status.ACCEPTED, Status.RUNNING)
    assert old.run() is False, "it pauses, so that the other one claims the work"
    wait_until(lambda: not new.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL


def test_a_worker_that_is_updated_computes_what_it_had_left(
    settings: Settings,
    database: Database,
    submit: Callable[[Manifest], ForecastRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = _write_version(tmp_path / "versions", 2)
    forecast = submit(manifest)
    _write_version(tmp_path / "versions", 1)
    record_heartbeat(database, "another", "cpu", {})
    worker = _worker(settings, database, tmp_path / "versions")
    for _ in range(settings.worker.max_attempts + 1):
        assert worker.run()
        _pass_time(monkeypatch, loop.RETRY_SECONDS)
    assert _write_version(tmp_path / "versions", 2).digest == manifest.digest
    wait_until(lambda: not worker.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL


@pytest.mark.parametrize("others", [0, 1])
def test_a_checkpoint_that_no_worker_has_fails_the_forecast_with_the_reason(
    others: int,
    settings: Settings,
    database: Database,
    submit: Callable[[Manifest], ForecastRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once if there is no other worker, else when none has claimed the forecast within ten minutes."""
    forecast = submit(_write_version(tmp_path / "versions", 2))
    _write_version(tmp_path / "versions", 1)
    for number in range(others):
        record_heartbeat(database, f"other {number}", "cpu", {})
    worker = _worker(settings, database, tmp_path / "versions")
    assert worker.run()
    if others:
        assert read_forecast(database, forecast.id).status == Status.RUNNING
        _pass_time(monkeypatch, loop.HAND_BACK_SECONDS)
        assert worker.run()
    record = read_forecast(database, forecast.id)
    assert record.status == Status.FAILED
    assert "has changed since the forecast was accepted" in (record.error or {})["detail"]


def test_a_checkpoint_that_is_replaced_while_its_forecasts_wait_never_computes_them(
    settings: Settings, database: Database, submit: Callable[[Manifest], ForecastRecord], tmp_path: Path
) -> None:
    """A worker that has loaded the earlier one still computes with that; its receipt names the digest."""
    manifest = _write_version(tmp_path / "versions", 1)
    first, waiting = submit(manifest), submit(manifest)
    worker = _worker(settings, database, tmp_path / "versions")
    while read_forecast(database, first.id).status != Status.SUCCESSFUL:
        worker.run()
    _write_version(tmp_path / "versions", 2)
    assert read_manifest(tmp_path / "versions" / NAME).digest != manifest.digest
    wait_until(lambda: not worker.run())
    record = read_forecast(database, waiting.id)
    assert record.status == Status.SUCCESSFUL
    assert (record.receipt or {})["request"]["checkpoint_digest"] == manifest.digest
    late = submit(manifest)
    assert _worker(settings, database, tmp_path / "versions").run()
    assert read_forecast(database, late.id).status in (Status.FAILED, Status.RUNNING)


@pytest.mark.parametrize("output", [Output(), Output(members=False)])
def test_a_forecast_of_a_version_with_other_random_numbers_is_left_to_its_workers_or_fails(
    output: Output, settings: Settings, database: Database, submit_forecast: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on with other noise than it began with."""
    with monkeypatch.context() as older:
        older.setattr("weather.stores.create.RNG_NAME", "Mersenne Twister")
        forecast = submit_forecast(output=output)
    record_heartbeat(database, "older", "cpu", {})
    worker = Worker(settings, database)
    assert worker.run()
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    _pass_time(monkeypatch, loop.HAND_BACK_SECONDS)
    assert worker.run()
    record = read_forecast(database, forecast.id)
    assert record.status == Status.FAILED
    assert "draws other random numbers. Submit it again." in (record.error or {})["detail"]
