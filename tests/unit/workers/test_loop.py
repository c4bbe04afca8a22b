import gc
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from sqlalchemy import Connection

from jobs.dispatching.leases import claim
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.logs import TextFormatter, log_subjects
from jobs.phases import report_phase
from jobs.request import Output
from jobs.rows.database import Database
from jobs.rows.states import Phase, Status
from jobs.settings import Settings
from models.forecaster import Forecaster
from models.shapes import Frames
from tests.clock import MovableClock
from tests.helpers import wait_until
from tests.rows import cancel_forecast, choose_group_size, commit, read_batch_size, read_forecast, save_batch_size
from weather.ingest.exchange import load_initial_state
from weather.manifest import Sampling, read_manifest
from weather.stores.ensemble import EnsembleStore
from weather.stores.rounding import round_bits
from workers.lead_times import StagedSummary, begin_summary
from workers.loop import RETRY_SECONDS, Worker
from workers.standalone import StandaloneForecast, run_forecast

Submit = Callable[..., ForecastRecord]


def _run_alone(forecast: ForecastRecord, folder: ForecastFolder, checkpoint: Path, output: Path) -> xr.Dataset:
    """Run the same forecast in this process, as `warmcast forecast` does."""
    request = forecast.request
    state = load_initial_state(folder.initial_state)
    lead_times = forecast.num_lead_times
    alone = StandaloneForecast(
        state,
        checkpoint,
        tuple(range(request.members)),
        lead_times,
        request.group_size,
        request.seed,
        request.sampling,
        torch.device("cpu"),
    )
    run_forecast(alone, output, resume=False, report=lambda _: None)
    return xr.open_zarr(output / "ensemble.zarr").load()


def test_a_worker_reports_each_phase_as_it_begins(
    submit_forecast: Submit, worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = list[str]()

    def record(connection: Connection, forecast_id: str, name: str, phase: Phase) -> None:
        report_phase(connection, forecast_id, name, phase)
        phases.append(phase)

    for module in ("jobs.dispatching.leases", "workers.loop"):
        monkeypatch.setattr(f"{module}.report_phase", record)
    first, second = submit_forecast(), submit_forecast(seed=2)
    while worker.run():
        pass
    assert {read_forecast(database, each.id).status for each in (first, second)} == {Status.SUCCESSFUL}
    assert phases == [
        *("reading_state", "loading_model", "rollout", "finalising"),
        *("reading_state", "rollout", "finalising"),  # with the model of the first
    ]


def test_all_threads_of_a_forecast_end_with_it_without_the_garbage_collector(
    submit_forecast: Submit, worker: Worker
) -> None:
    """Else they end in whatever thread collects garbage, which may hold a lock that they need for it."""
    submit_forecast()
    before = set(threading.enumerate())
    gc.disable()
    try:
        while worker.run():
            pass
        remaining = {thread.name for thread in set(threading.enumerate()) - before}
    finally:
        gc.enable()
    assert not remaining


def test_a_worker_writes_the_same_store_as_the_command_line(
    submit_forecast: Submit,
    worker: Worker,
    settings: Settings,
    database: Database,
    untrained_checkpoint: Path,
    tmp_path: Path,
) -> None:
    forecast = submit_forecast()
    assert [worker.run(), worker.run(), worker.run()] == [True, True, False]
    record, folder = read_forecast(database, forecast.id), ForecastFolder(settings.storage.data, forecast.id)
    assert record.status == Status.SUCCESSFUL
    ensemble = xr.open_zarr(folder.store).load()
    assert (ensemble.complete == 1).all()
    alone = _run_alone(record, folder, untrained_checkpoint, tmp_path / "alone")
    xr.testing.assert_equal(ensemble, alone)
    assert json.loads(folder.receipt.read_text()) == record.receipt
    assert record.receipt is not None
    assert (record.receipt["nonfinite_members"], record.receipt["device"]) == ([], "cpu")
    assert record.receipt["warnings"] == list(record.request.warnings)
    assert not (folder.path / "staging").exists()


def test_a_committed_lead_time_is_published_and_not_computed_again(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, clock: MovableClock
) -> None:
    forecast = submit_forecast(members=2)
    folder = ForecastFolder(settings.storage.data, forecast.id)
    store = EnsembleStore.open(folder.store)
    (lease,) = claim(database, "died before publishing", 30.0, 2)
    attempt = store.open_staging(folder.attempt(0, lease.epoch))
    marked = np.full((2, 2, *store.layout.grid.shape), 7, np.float32)
    attempt.commit(0, 0, marked)
    commit(database, lease, 1, 30.0)
    attempt.commit(0, 1, marked)
    clock.advance(31)
    wait_until(lambda: not worker.run())
    ensemble = xr.open_zarr(folder.store).load()
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL
    assert (ensemble.u10[0, 0] == 7).all()
    assert not (ensemble.u10[0, 1] == 7).any()


def test_the_summary_equals_numpy_on_the_members(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database
) -> None:
    forecast = submit_forecast()
    assert [worker.run(), worker.run()] == [True, True]
    folder = ForecastFolder(settings.storage.data, forecast.id)
    ensemble, summary = xr.open_zarr(folder.store).load(), xr.open_zarr(folder.summary).load()
    assert (summary.complete == 1).all()
    assert (summary.members == 5).all()
    ensemble = ensemble.assign_coords(longitude=(ensemble.longitude + 180) % 360 - 180).sortby("longitude")
    ensemble = ensemble.astype("float64")
    ensemble["wind_speed_10m"] = np.hypot(ensemble.u10, ensemble.v10)
    for name in ("u10", "v10", "wind_speed_10m"):
        for found, expected in (
            (summary[f"{name}_mean"], ensemble[name].mean("number")),
            (summary[f"{name}_spread"], ensemble[name].std("number", ddof=1)),
            (summary[f"{name}_quantiles"], ensemble[name].quantile(summary["quantile"].values, "number")),
        ):
            xr.testing.assert_allclose(
                found.drop_vars("valid_time"), expected.transpose(*found.dims).drop_vars("valid_time"), 1e-6, 1e-6
            )
    gales = (ensemble.wind_speed_10m > 17.2).mean("number")
    np.testing.assert_allclose(summary.wind_speed_10m_above.isel(wind_speed_10m_above_threshold=0), gales, rtol=1e-6)


def test_a_worker_that_ends_between_commit_and_summary_leaves_no_gap(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = submit_forecast(), submit_forecast()
    assert [worker.run(), worker.run()] == [True, True]
    killed = []

    def die(*arguments: Any) -> StagedSummary | None:
        if not killed:
            killed.append(True)
            raise SystemExit
        return begin_summary(*arguments)

    monkeypatch.setattr("workers.attempt.begin_summary", die)
    with pytest.raises(SystemExit):
        worker.run()
    wait_until(lambda: not worker.run())
    assert read_forecast(database, cut.id).status == Status.SUCCESSFUL
    summaries = [
        xr.open_zarr(ForecastFolder(settings.storage.data, forecast.id).summary).load() for forecast in (whole, cut)
    ]
    assert (summaries[1].complete == 1).all()
    xr.testing.assert_identical(summaries[0].drop_attrs(), summaries[1].drop_attrs())


@pytest.mark.parametrize("output", [Output(keep_bits=5), Output(members=False)])
def test_rounded_or_discarded_members_resume_exactly_after_every_death(
    output: Output,
    submit_forecast: Submit,
    worker: Worker,
    settings: Settings,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact, other = (submit_forecast(lead_hours=72, output=kept) for kept in (Output(), output))
    assert [worker.run(), worker.run()] == [True, True]
    written = []
    folder = ForecastFolder(settings.storage.data, other.id)
    frames = folder.frames

    def die(*arguments: Any) -> StagedSummary | None:
        written.append(len({path.name.split(".")[2] for path in frames.glob("u10/c.0.*")}))
        if len(written) in (2, 5):
            for store in (folder.store, folder.summary):
                if store.exists():
                    (store / f".half.{len(written)}.partial").write_bytes(b"half")
            raise SystemExit
        return begin_summary(*arguments)

    monkeypatch.setattr("workers.attempt.begin_summary", die)
    for _ in range(2):
        with pytest.raises(SystemExit):
            worker.run()
    wait_until(lambda: not worker.run())
    assert read_forecast(database, other.id).status == Status.SUCCESSFUL
    kept_after_a_death = 2
    assert max(written) <= 4 + 2 * kept_after_a_death
    assert not frames.exists()
    expected, found = (ForecastFolder(settings.storage.data, forecast.id) for forecast in (exact, other))
    summaries = [xr.open_zarr(folder.summary).load().drop_attrs() for folder in (expected, found)]
    xr.testing.assert_identical(*summaries)
    assert found.store.exists() == output.members
    if output.keep_bits:
        members, rounded = (xr.open_zarr(folder.store).load() for folder in (expected, found))
        assert (rounded.complete == 1).all()
        assert rounded.attrs["warmcast_keep_bits"] == output.keep_bits
        for name in ("u10", "v10"):
            np.testing.assert_array_equal(rounded[name], round_bits(members[name].values, output.keep_bits))


def test_a_member_computed_alone_equals_the_member_of_the_ensemble(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database
) -> None:
    together, alone = submit_forecast(), submit_forecast(members=2, member_numbers=(1, 4))
    wait_until(lambda: not worker.run())
    both = [
        xr.open_zarr(ForecastFolder(settings.storage.data, forecast.id).store).load() for forecast in (together, alone)
    ]
    assert both[1].number.values.tolist() == [1, 4]
    xr.testing.assert_equal(both[0].sel(number=[1, 4]), both[1])


def test_a_cancelled_forecast_frees_its_worker_within_an_evaluation(
    submit_forecast: Submit, worker: Worker, database: Database
) -> None:
    forecast = submit_forecast(lead_hours=6 * 2000)
    running = threading.Thread(target=worker.run)
    running.start()
    wait_until(lambda: read_forecast(database, forecast.id).lead_times >= 2)
    cancel_forecast(database, forecast.id, "local")
    cancelled = time.monotonic()
    running.join(10)
    assert time.monotonic() - cancelled < 3
    assert read_forecast(database, forecast.id).status == Status.DISMISSED
    assert worker.run() is False


def test_a_soft_stop_releases_the_work_and_another_worker_can_claim_it(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database
) -> None:
    forecast = submit_forecast(lead_hours=6 * 300)

    def stop(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)

    def stop_soon() -> None:
        wait_until(lambda: read_forecast(database, forecast.id).lead_times >= 2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_soon).start()
    with pytest.raises(SystemExit):
        worker.run()
    signal.signal(signal.SIGTERM, before)
    done = read_forecast(database, forecast.id).lead_times
    assert 0 < done < 300
    leases = claim(database, "next", 30, 2)
    assert len(leases) == 3
    assert all(done <= lease.committed <= done + 1 for lease in leases)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"checkpoint_digest": "0" * 64}, "has changed since the forecast was accepted"),
        ({"checkpoint_digest": "0" * 64, "checkpoint": "demo"}, "No checkpoint is named `demo`. Expected one of: "),
    ],
)
def test_a_checkpoint_that_has_changed_or_is_gone_fails_the_forecast_with_its_cause(
    submit_forecast: Submit, worker: Worker, database: Database, changes: dict[str, str], cause: str
) -> None:
    forecast = submit_forecast(**changes)
    assert worker.run()
    record = read_forecast(database, forecast.id)
    assert record.status == Status.FAILED
    assert record.error is not None
    assert cause in record.error["detail"]
    assert worker.run() is False


def test_an_error_of_the_machine_is_tried_again_later(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, clock: MovableClock
) -> None:
    forecast = submit_forecast()
    staging = ForecastFolder(settings.storage.data, forecast.id).path / "staging"
    staging.write_text("a file instead of a folder")
    assert worker.run()
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    assert worker.run() is False
    staging.unlink()
    clock.advance(RETRY_SECONDS)
    wait_until(lambda: not worker.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL


def test_a_missing_store_fails_the_forecast(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database
) -> None:
    forecast = submit_forecast(sampling=Sampling(nfe=4))
    shutil.rmtree(ForecastFolder(settings.storage.data, forecast.id).store)
    worker.run()
    assert read_forecast(database, forecast.id).status == Status.FAILED


def test_a_lost_member_is_marked_and_counted_and_the_others_continue(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, lose_a_member: Callable[[], None]
) -> None:
    finite, losing = submit_forecast(members=3, group_size=3), submit_forecast(members=3, group_size=3)
    assert [worker.run(), worker.run()] == [True, True]
    assert read_forecast(database, finite.id).status == Status.SUCCESSFUL
    lose_a_member()
    wait_until(lambda: not worker.run())
    record = read_forecast(database, losing.id)
    assert record.status == Status.SUCCESSFUL
    assert record.receipt is not None
    assert record.receipt["nonfinite_members"] == [1]
    expected, found = (
        xr.open_zarr(ForecastFolder(settings.storage.data, each.id).store).load() for each in (finite, losing)
    )
    assert found.complete.values.tolist() == [[1, 1, 1], *[[1, 2, 1]] * 3]
    assert found.u10.isel(number=1, lead_time=slice(1, None)).isnull().all()
    xr.testing.assert_equal(found[["u10", "v10"]].isel(lead_time=0), expected[["u10", "v10"]].isel(lead_time=0))
    xr.testing.assert_equal(found[["u10", "v10"]].sel(number=[0, 2]), expected[["u10", "v10"]].sel(number=[0, 2]))


def test_the_best_group_size_is_measured_once_and_saved(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, untrained_checkpoint: Path
) -> None:
    digest = read_manifest(untrained_checkpoint).digest
    assert choose_group_size(database, digest) == 8
    submit_forecast()
    worker.run()
    found = read_batch_size(database, digest, "cpu")
    assert found is not None
    save_batch_size(database, digest, "cpu", 3)
    submit_forecast()
    other = Worker(settings, database)
    wait_until(lambda: not other.run())
    assert (read_batch_size(database, digest, "cpu"), choose_group_size(database, digest)) == (3, 3)


def test_a_batch_size_that_was_halved_is_saved(
    submit_forecast: Submit,
    worker: Worker,
    database: Database,
    untrained_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = read_manifest(untrained_checkpoint).digest
    save_batch_size(database, digest, "cpu", 8)

    class Scarce(Forecaster):
        def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
            if len(frames[0]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().step(frames, valid_time, noise)

    monkeypatch.setattr("workers.forecasters.Forecaster", Scarce)
    forecast = submit_forecast(members=5, group_size=5)
    wait_until(lambda: not worker.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL
    assert choose_group_size(database, digest) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _move_to(disk: Path, forecast: ForecastRecord, settings: Settings) -> ForecastFolder:
    """Move a forecast's folder to another disk."""
    folder = ForecastFolder(settings.storage.data, forecast.id)
    shutil.move(folder.path, disk / forecast.id)
    folder.path.symlink_to(disk / forecast.id)
    return folder


def _run_until_ended(
    worker: Worker, database: Database, forecast: ForecastRecord, clock: MovableClock
) -> ForecastRecord:
    """Run a worker until the forecast has ended, with each retry at its time."""

    def has_ended() -> bool:
        worker.run()
        clock.advance(RETRY_SECONDS)
        return read_forecast(database, forecast.id).status in (Status.FAILED, Status.SUCCESSFUL)

    wait_until(has_ended)
    return read_forecast(database, forecast.id)


def test_a_disk_that_becomes_full_fails_the_forecast_with_its_cause_and_keeps_complete_lead_times(
    submit_forecast: Submit,
    worker: Worker,
    settings: Settings,
    database: Database,
    small_disk: Path,
    clock: MovableClock,
) -> None:
    forecast = submit_forecast(lead_hours=6 * 100)
    folder = _move_to(small_disk, forecast, settings)
    record = _run_until_ended(worker, database, forecast, clock)
    assert (record.status, record.error and record.error["type"]) == (Status.FAILED, "insufficient-storage")
    assert 0 < record.lead_times < 100
    ensemble = xr.open_zarr(folder.store)
    complete = (ensemble.complete == 1).all("number").values
    assert complete[: record.lead_times].all()
    assert np.isfinite(ensemble.u10[0, : record.lead_times].values).all()


def test_a_forecast_continues_once_the_disk_has_space_again(
    submit_forecast: Submit,
    worker: Worker,
    settings: Settings,
    database: Database,
    small_disk: Path,
    clock: MovableClock,
) -> None:
    forecast = submit_forecast()
    _move_to(small_disk, forecast, settings)
    filling = small_disk / "filling"
    filling.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    assert worker.run()
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    filling.unlink()
    assert _run_until_ended(worker, database, forecast, clock).status == Status.SUCCESSFUL


def test_a_read_only_disk_fails_the_forecast_with_its_cause(
    submit_forecast: Submit,
    worker: Worker,
    settings: Settings,
    database: Database,
    small_disk: Path,
    clock: MovableClock,
) -> None:
    forecast = submit_forecast()
    _move_to(small_disk, forecast, settings)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    record = _run_until_ended(worker, database, forecast, clock)
    assert (record.status, record.error and record.error["type"]) == (Status.FAILED, "store-not-writable")
    assert "Read-only file system" in (record.error or {})["detail"]


def test_a_device_without_memory_fails_the_forecast_with_its_cause(
    submit_forecast: Submit,
    worker: Worker,
    database: Database,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(Forecaster):
        def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("workers.forecasters.Forecaster", Full)
    record = _run_until_ended(worker, database, submit_forecast(), clock)
    assert (record.status, record.error and record.error["type"]) == (Status.FAILED, "out-of-memory")


def test_the_lines_of_a_worker_name_forecast_key_and_request(
    submit_forecast: Submit, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(TextFormatter())
    with log_subjects(request_id="r1"):
        forecast = submit_forecast(owner="key_1", checkpoint_digest="0" * 64)
    assert worker.run()
    (line,) = caplog.text.splitlines()
    assert f" request=r1 key=key_1 forecast={forecast.id} workers.loop: The forecast fails: " in line
