"""What an attempt writes while the next lead times are computed, and in which order."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from jobs.dispatching import leases
from jobs.dispatching.leases import Lease
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.quality import read_diagnostics
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import read_forecast
from weather.stores.ensemble import EnsembleStore
from workers.attempt import Attempt
from workers.chunk_writers import MAX_LEAD_TIMES_AHEAD, StagedLeadTime, lead_times_ahead
from workers.loop import Worker
from workers.rollouts import GroupStates

Submit = Callable[..., ForecastRecord]


@pytest.mark.parametrize("threads", [1, 3])
def test_data_reaches_the_disk_before_its_row_and_its_row_before_it_is_published(
    submit_forecast: Submit, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    steps: list[tuple[str, int, int]] = []
    write, sync, commit, publish = (
        EnsembleStore.write_variable, EnsembleStore.sync_mark, leases.commit, EnsembleStore.publish,
    )  # fmt: skip  # four functions that are replaced in the same way

    def record_write(store: EnsembleStore, group: int, lead_index: int, *rest: Any) -> Any:
        result = write(store, group, lead_index, *rest)
        steps.append(("write", group, lead_index))
        return result

    def record_sync(store: EnsembleStore, group: int, lead_index: int) -> None:
        sync(store, group, lead_index)
        steps.append(("sync", group, lead_index))

    def record_commit(connection: Any, lease: Lease, committed: int, *rest: Any, **options: Any) -> Any:
        steps.append(("row", lease.group, committed - 1))
        return commit(connection, lease, committed, *rest, **options)

    def record_publish(store: EnsembleStore, staging: Any, group: int, lead_index: int) -> None:
        steps.append(("publish", group, lead_index))
        publish(store, staging, group, lead_index)

    forecast = submit_forecast(members=5, group_size=2, lead_hours=48)
    monkeypatch.setattr(EnsembleStore, "write_variable", record_write)
    monkeypatch.setattr(EnsembleStore, "sync_mark", record_sync)
    monkeypatch.setattr(leases, "commit", record_commit)
    monkeypatch.setattr(EnsembleStore, "publish", record_publish)
    worker = Worker(settings.replace(host_threads=threads), database)
    wait_until(lambda: not worker.run())
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL
    for group in range(3):
        synced = 0
        for lead_index in range(8):
            places = {kind: [i for i, step in enumerate(steps) if step == (kind, group, lead_index)]
                      for kind in ("write", "sync", "row", "publish")}  # fmt: skip  # one line would be too long
            assert len(places["write"]) == 2
            assert max(places["write"]) < places["row"][0] < places["publish"][0]
            later = [i for i, step in enumerate(steps) if step[:2] == ("sync", group) and step[2] >= lead_index]
            assert max(places["write"]) < later[0] < places["row"][0], "a later mark flushes those before it"
            synced += len(places["sync"])
        assert 1 <= synced <= 8
    rows = [step[1:] for step in steps if step[0] == "row"]
    assert rows == sorted(rows, key=lambda row: (row[1], row[0]))


def test_products_that_are_computed_on_the_device_equal_those_of_the_host(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (submit_forecast(members=5, group_size=2) for _ in range(2))
    assert [worker.run(), worker.run()] == [True, True]
    monkeypatch.setattr("workers.attempt.can_keep_lead_times", lambda *_: True)
    wait_until(lambda: not worker.run())
    summaries = [
        xr.open_zarr(ForecastFolder(settings.storage.data, each.id).summary).load() for each in (first, second)
    ]
    xr.testing.assert_allclose(*(summary.drop_attrs() for summary in summaries), rtol=1e-6, atol=1e-6)
    with database.read() as connection:
        host, device = (read_diagnostics(connection, each.id) for each in (first, second))
    assert host.keys() == device.keys() == {6, 12, 18, 24}
    for lead_hours, figures in host.items():
        for name, expected in figures["variables"].items():
            assert device[lead_hours]["variables"][name]["spread"] == pytest.approx(expected["spread"], rel=1e-5)


def test_a_variable_that_cannot_be_written_ends_the_attempt_and_what_is_committed_is_kept(
    submit_forecast: Submit, worker: Worker, settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = EnsembleStore.write_variable, threading.Event()

    def fail_at_the_third(store: EnsembleStore, group: int, lead_index: int, channel: int, fields: Any) -> Any:
        if (lead_index, channel) == (2, 1) and not full.is_set():
            full.set()
            raise OSError(28, "No space left on device")
        return write(store, group, lead_index, channel, fields)

    forecast = submit_forecast(members=2, group_size=2, lead_hours=36)
    whole = submit_forecast(members=2, group_size=2, lead_hours=36)
    monkeypatch.setattr(EnsembleStore, "write_variable", fail_at_the_third)
    assert worker.run()
    record = read_forecast(database, forecast.id)
    assert (record.status, record.lead_times) == (Status.RUNNING, 2)
    store = EnsembleStore.open(ForecastFolder(settings.storage.data, forecast.id).store)
    assert store.num_complete() == 2
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE work SET lease_until = NULL")
    wait_until(lambda: not worker.run() and read_forecast(database, forecast.id).status == Status.SUCCESSFUL, every=0.2)
    ensembles = [xr.open_zarr(ForecastFolder(settings.storage.data, each.id).store) for each in (forecast, whole)]
    np.testing.assert_array_equal(*(ensemble.u10.values for ensemble in ensembles))


def test_computation_waits_while_lead_times_wait_for_their_output(
    submit_forecast: Submit, worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, begun, committed = threading.Event(), list[int](), list[int]()
    commit = Attempt._commit  # the end of the pipeline

    def hold(attempt: Attempt, pieces: Sequence[Any]) -> None:
        assert release.wait(30)
        committed.extend(piece.lead_index for piece in pieces)
        commit(attempt, pieces)

    put = Attempt.put

    def count(attempt: Attempt, computed: Any, *rest: Any) -> None:
        begun.append(computed.lead_index)
        put(attempt, computed, *rest)

    submit_forecast(members=2, group_size=2, lead_hours=120)
    monkeypatch.setattr(Attempt, "_commit", hold)
    monkeypatch.setattr(Attempt, "put", count)
    thread = threading.Thread(target=worker.run)
    thread.start()
    wait_until(lambda: len(begun) == MAX_LEAD_TIMES_AHEAD["cpu"] + 2)
    thread.join(0.3)
    assert len(begun) == MAX_LEAD_TIMES_AHEAD["cpu"] + 2, "those that wait, the one being committed, and the newest"
    release.set()
    thread.join(60)
    assert committed == list(range(20))


@pytest.mark.parametrize(
    ("device", "megabytes", "expected"),
    [("cpu", 1, 2), ("cpu", 200, 2), ("cpu", 512, 1), ("cpu", 4000, 1), ("cuda", 1, 4), ("cuda", 200, 2)],
)
def test_fewer_lead_times_wait_where_they_are_large(device: str, megabytes: int, expected: int) -> None:
    assert lead_times_ahead(megabytes * 2**20, torch.device(device)) == expected


def test_a_lead_time_that_could_not_be_written_does_not_hold_back_those_before_it() -> None:
    """It counts as not ready, so that it is the first of its batch, when those before it are committed."""
    written: Future[NDArray[np.bool_]] = Future()
    written.set_result(np.array([True]))
    failed: Future[NDArray[np.bool_]] = Future()
    failed.set_exception(OSError(28, "No space left on device"))
    states, store = cast("GroupStates", None), cast("EnsembleStore", None)
    assert StagedLeadTime(states, store, [written, written]).is_written
    assert not StagedLeadTime(states, store, [written, failed]).is_written
    assert not StagedLeadTime(states, store, [written, Future()]).is_written
