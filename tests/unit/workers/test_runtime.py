import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from jobs.batch_sizes import group_size_for, remember, remembered
from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, dismiss, look_up
from jobs.leases import claim, commit
from jobs.request import Output
from jobs.settings import Settings
from jobs.states import Status
from models.forecaster import Forecaster
from weather.ingest.artefact import read_canonical
from weather.manifest import Sampling, read_manifest
from weather.rounding import round_bits
from weather.store import EnsembleStore
from weather.summary_store import SummaryStore
from workers.forecast import Forecast, run_forecast
from workers.lead_times import LeadTimes, summarise_lead_time
from workers.runtime import Runtime

Submit = Callable[..., ForecastRecord]


def _alone(forecast: ForecastRecord, folder: ForecastFolder, checkpoint: Path, output: Path) -> xr.Dataset:
    """The same forecast, by `warmcast forecast`'s own path."""
    request = forecast.request
    state = read_canonical(folder.initial_state)
    lead_times = forecast.num_lead_times
    asked = Forecast(
        state, checkpoint, tuple(range(request.members)), lead_times, request.group_size, request.seed,
        request.sampling, torch.device("cpu"),
    )  # fmt: skip
    run_forecast(asked, output, resume=False, report=lambda _: None)
    return xr.open_zarr(output / "ensemble.zarr").load()


def test_a_forecast_ends_as_the_command_line_would_have_made_it(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, untrained_checkpoint: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    forecast = submitted()
    assert [runtime.run(), runtime.run(), runtime.run()] == [True, True, False]
    record, folder = look_up(database, forecast.id), ForecastFolder(settings.data, forecast.id)
    assert record.status == Status.SUCCESSFUL
    ensemble = xr.open_zarr(folder.store).load()
    assert (ensemble.complete == 1).all()
    alone = _alone(record, folder, untrained_checkpoint, tmp_path / "alone")
    xr.testing.assert_equal(ensemble, alone)
    assert json.loads(folder.receipt.read_text()) == record.receipt
    assert record.receipt is not None
    assert (record.receipt["nonfinite_members"], record.receipt["device"]) == ([], "cpu")
    assert not (folder.path / "staging").exists()


def test_what_was_committed_but_not_published_is_published_and_not_computed_again(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database
) -> None:
    forecast = submitted(members=2)
    folder = ForecastFolder(settings.data, forecast.id)
    store = EnsembleStore.open(folder.store)
    (lease,) = claim(database, "died before it published", 0.01, 2)
    attempt = store.staging(folder.attempt(0, lease.epoch))
    marked = np.full((2, 2, *store.layout.grid.shape), 7, np.float32)
    attempt.commit(0, 0, marked)
    commit(database, lease, 1, 0.01)
    attempt.commit(0, 1, marked)
    time.sleep(0.05)
    while runtime.run():
        pass
    ensemble = xr.open_zarr(folder.store).load()
    assert look_up(database, forecast.id).status == Status.SUCCESSFUL
    assert (ensemble.u10[0, 0] == 7).all()
    assert not (ensemble.u10[0, 1] == 7).any()


def test_the_summary_is_numpys_on_the_members(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database
) -> None:
    forecast = submitted()
    assert [runtime.run(), runtime.run()] == [True, True]
    folder = ForecastFolder(settings.data, forecast.id)
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
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = submitted(), submitted()
    assert [runtime.run(), runtime.run()] == [True, True]
    killed = []

    def die(*arguments: object) -> None:
        if not killed:
            killed.append(True)
            raise SystemExit
        summarise_lead_time(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("workers.attempt.summarise_lead_time", die)
    with pytest.raises(SystemExit):
        runtime.run()
    while runtime.run():
        pass
    assert look_up(database, cut.id).status == Status.SUCCESSFUL
    summaries = [xr.open_zarr(ForecastFolder(settings.data, forecast.id).summary).load() for forecast in (whole, cut)]
    assert (summaries[1].complete == 1).all()
    xr.testing.assert_identical(summaries[0].drop_attrs(), summaries[1].drop_attrs())


@pytest.mark.parametrize("output", [Output(keep_bits=5), Output(members=False)])
def test_what_is_not_kept_exactly_goes_on_exactly_after_every_death(
    output: Output, submitted: Submit, runtime: Runtime, settings: Settings, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    exact, other = (submitted(lead_hours=72, output=kept) for kept in (Output(), output))
    assert [runtime.run(), runtime.run()] == [True, True]
    written = []
    frames = ForecastFolder(settings.data, other.id).frames

    def die(summary: SummaryStore, lead_times: LeadTimes, lead_index: int) -> None:
        written.append(len({path.name.split(".")[2] for path in frames.glob("u10/c.0.*")}))
        if len(written) in (2, 5):
            raise SystemExit
        summarise_lead_time(summary, lead_times, lead_index)

    monkeypatch.setattr("workers.attempt.summarise_lead_time", die)
    for _ in range(2):
        with pytest.raises(SystemExit):
            runtime.run()
    while runtime.run():
        pass
    assert look_up(database, other.id).status == Status.SUCCESSFUL
    left_by_a_death = 2
    assert max(written) <= 3 + 2 * left_by_a_death
    assert not frames.exists()
    expected, found = (ForecastFolder(settings.data, forecast.id) for forecast in (exact, other))
    summaries = [xr.open_zarr(folder.summary).load().drop_attrs() for folder in (expected, found)]
    xr.testing.assert_identical(*summaries)
    assert found.store.exists() == output.members
    if output.keep_bits:
        members, rounded = (xr.open_zarr(folder.store).load() for folder in (expected, found))
        assert (rounded.complete == 1).all()
        assert rounded.attrs["warmcast_keep_bits"] == output.keep_bits
        for name in ("u10", "v10"):
            np.testing.assert_array_equal(rounded[name], round_bits(members[name].values, output.keep_bits))


def test_a_member_alone_is_the_member_among_all(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database
) -> None:
    together, alone = submitted(), submitted(members=2, member_numbers=(1, 4))
    while runtime.run():
        pass
    both = [xr.open_zarr(ForecastFolder(settings.data, forecast.id).store).load() for forecast in (together, alone)]
    assert both[1].number.values.tolist() == [1, 4]
    xr.testing.assert_equal(both[0].sel(number=[1, 4]), both[1])


def test_a_dismissed_forecast_frees_its_worker_within_an_evaluation(
    submitted: Submit, runtime: Runtime, database: Database
) -> None:
    forecast = submitted(lead_hours=6 * 2000)
    running = threading.Thread(target=runtime.run)
    running.start()
    while look_up(database, forecast.id).lead_times < 2:
        time.sleep(0.02)
    dismiss(database, forecast.id, "local")
    asked = time.monotonic()
    running.join(10)
    assert time.monotonic() - asked < 3
    assert look_up(database, forecast.id).status == Status.DISMISSED
    assert runtime.run() is False


def test_a_soft_stop_hands_the_work_back_and_another_worker_goes_on(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database
) -> None:
    forecast = submitted(lead_hours=6 * 300)

    def stop(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, stop)

    def stop_soon() -> None:
        while look_up(database, forecast.id).lead_times < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_soon).start()
    with pytest.raises(SystemExit):
        runtime.run()
    signal.signal(signal.SIGTERM, before)
    done = look_up(database, forecast.id).lead_times
    assert 0 < done < 300
    leases = claim(database, "next", 30, 2)
    assert len(leases) == 3
    assert all(done <= lease.committed <= done + 1 for lease in leases)


def test_a_checkpoint_that_has_changed_fails_the_forecast_with_its_cause(
    submitted: Submit, runtime: Runtime, database: Database
) -> None:
    forecast = submitted(checkpoint_digest="0" * 64)
    assert runtime.run()
    record = look_up(database, forecast.id)
    assert record.status == Status.FAILED
    assert record.error is not None
    assert "has changed since the forecast was accepted" in record.error["detail"]
    assert runtime.run() is False


def test_an_error_of_the_machine_is_tried_again_later(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database
) -> None:
    forecast = submitted()
    staging = ForecastFolder(settings.data, forecast.id).path / "staging"
    staging.write_text("in the way")
    assert runtime.run()
    assert look_up(database, forecast.id).status == Status.RUNNING
    assert runtime.run() is False
    staging.unlink()
    while look_up(database, forecast.id).status == Status.RUNNING:
        runtime.run()
        time.sleep(0.2)
    assert look_up(database, forecast.id).status == Status.SUCCESSFUL


def test_a_store_that_is_gone_fails_the_forecast(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database
) -> None:
    forecast = submitted(sampling=Sampling(nfe=4))
    shutil.rmtree(ForecastFolder(settings.data, forecast.id).store)
    runtime.run()
    assert look_up(database, forecast.id).status == Status.FAILED


def test_a_member_that_is_lost_is_marked_and_counted_and_the_others_go_on(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, lose_a_member: Callable[[], None]
) -> None:
    sound, losing = submitted(members=3, group_size=3), submitted(members=3, group_size=3)
    while look_up(database, sound.id).status != Status.SUCCESSFUL:
        runtime.run()
    lose_a_member()
    while runtime.run():
        pass
    record = look_up(database, losing.id)
    assert record.status == Status.SUCCESSFUL
    assert record.receipt is not None
    assert record.receipt["nonfinite_members"] == [1]
    expected, found = (xr.open_zarr(ForecastFolder(settings.data, each.id).store).load() for each in (sound, losing))
    assert found.complete.values.tolist() == [[1, 1, 1], *[[1, 2, 1]] * 3]
    assert found.u10.isel(number=1, lead_time=slice(1, None)).isnull().all()
    xr.testing.assert_equal(found[["u10", "v10"]].isel(lead_time=0), expected[["u10", "v10"]].isel(lead_time=0))
    xr.testing.assert_equal(found[["u10", "v10"]].sel(number=[0, 2]), expected[["u10", "v10"]].sel(number=[0, 2]))


def test_the_size_of_groups_is_tried_once_and_remembered(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, untrained_checkpoint: Path
) -> None:
    digest = read_manifest(untrained_checkpoint).digest
    assert group_size_for(database, digest) == 8
    submitted()
    runtime.run()
    found = remembered(database, digest, "cpu")
    assert found is not None
    remember(database, digest, "cpu", 3)
    submitted()
    other = Runtime(settings, database)
    while other.run():
        pass
    assert (remembered(database, digest, "cpu"), group_size_for(database, digest)) == (3, 3)


def test_a_batch_that_did_not_fit_is_remembered(
    submitted: Submit, runtime: Runtime, database: Database, untrained_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = read_manifest(untrained_checkpoint).digest
    remember(database, digest, "cpu", 8)

    class Scarce(Forecaster):
        def step(
            self, previous: torch.Tensor, newest: torch.Tensor, valid_time: np.datetime64, noise: torch.Tensor
        ) -> torch.Tensor:
            if len(newest) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().step(previous, newest, valid_time, noise)

    monkeypatch.setattr("workers.runtime.Forecaster", Scarce)
    forecast = submitted(members=5, group_size=5)
    while runtime.run():
        pass
    assert look_up(database, forecast.id).status == Status.SUCCESSFUL
    assert group_size_for(database, digest) == 2


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


def _on(disk: Path, forecast: ForecastRecord, settings: Settings) -> ForecastFolder:
    """Move a forecast's folder to another disk."""
    folder = ForecastFolder(settings.data, forecast.id)
    shutil.move(folder.path, disk / forecast.id)
    folder.path.symlink_to(disk / forecast.id)
    return folder


def _tried_until_over(runtime: Runtime, database: Database, forecast: ForecastRecord) -> ForecastRecord:
    while look_up(database, forecast.id).status not in (Status.FAILED, Status.SUCCESSFUL):
        runtime.run()
        time.sleep(0.05)
    return look_up(database, forecast.id)


def test_a_disk_that_becomes_full_fails_the_forecast_with_its_cause_and_keeps_what_is_complete(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.runtime.RETRY_SECONDS", 0.05)
    forecast = submitted(lead_hours=6 * 100)
    folder = _on(small_disk, forecast, settings)
    record = _tried_until_over(runtime, database, forecast)
    assert (record.status, record.error and record.error["type"]) == (Status.FAILED, "insufficient-storage")
    assert 0 < record.lead_times < 100
    ensemble = xr.open_zarr(folder.store)
    complete = (ensemble.complete == 1).all("number").values
    assert complete[: record.lead_times].all()
    assert np.isfinite(ensemble.u10[0, : record.lead_times].values).all()


def test_a_disk_that_has_room_again_is_tried_again(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.runtime.RETRY_SECONDS", 0.05)
    forecast = submitted()
    _on(small_disk, forecast, settings)
    filling = small_disk / "filling"
    filling.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    assert runtime.run()
    assert look_up(database, forecast.id).status == Status.RUNNING
    filling.unlink()
    assert _tried_until_over(runtime, database, forecast).status == Status.SUCCESSFUL


def test_a_disk_that_cannot_be_written_fails_the_forecast_with_its_cause(
    submitted: Submit, runtime: Runtime, settings: Settings, database: Database, small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("workers.runtime.RETRY_SECONDS", 0.05)
    forecast = submitted()
    _on(small_disk, forecast, settings)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    record = _tried_until_over(runtime, database, forecast)
    assert (record.status, record.error and record.error["type"]) == (Status.FAILED, "store-not-writable")
    assert "Read-only file system" in (record.error or {})["detail"]


def test_a_device_without_memory_fails_the_forecast_with_its_cause(
    submitted: Submit, runtime: Runtime, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Forecaster):
        def step(
            self, previous: torch.Tensor, newest: torch.Tensor, valid_time: np.datetime64, noise: torch.Tensor
        ) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("workers.runtime.Forecaster", Full)
    record = _tried_until_over(runtime, database, submitted())
    assert (record.status, record.error and record.error["type"]) == (Status.FAILED, "out-of-memory")
