import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from sqlalchemy import select

from jobs.dispatching.dispatch import LocalDispatcher
from jobs.dispatching.leases import Lease, claim
from jobs.dispatching.reconcile import fail_exhausted, fail_overdue, reconcile
from jobs.errors import LeaseLostError
from jobs.events import list_events
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.states import EventKind, Kind, Status
from jobs.rows.tables import forecasts, work
from tests.clock import MovableClock
from tests.rows import (
    cancel_forecast,
    commit,
    count_needed_workers,
    finish,
    is_open,
    read_forecast,
    record_heartbeat,
    renew,
)

Submit = Callable[..., ForecastRecord]
ATTEMPTS = 3


def _claim(database: Database, worker: str = "a") -> list[Lease]:
    return claim(database, worker, 30.0, ATTEMPTS)


def _events(database: Database, forecast: ForecastRecord) -> list[EventKind]:
    with database.read() as connection:
        return [event.kind for event in list_events(connection, forecast.id)]


def test_a_deadline_counts_from_acceptance_and_fails_a_waiting_forecast(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    waiting, without = insert_rows(deadline_seconds=900.0), insert_rows()
    with database.read() as connection:
        left = connection.scalar(select(forecasts.c.deadline - now()).where(forecasts.c.id == waiting.id))
    assert left is not None
    assert 800 < left <= 900
    assert is_open(database, waiting.id)
    fail_overdue(database)
    assert read_forecast(database, waiting.id).status == Status.ACCEPTED
    clock.advance(901)
    assert not is_open(database, waiting.id)
    assert [lease.forecast_id for lease in _claim(database)] == [without.id] * 3
    reconcile(database, LocalDispatcher(), ATTEMPTS)
    record = read_forecast(database, waiting.id)
    assert (record.status, record.started) == (Status.FAILED, None)
    assert record.error is not None
    assert (record.error["type"], record.error["retryable"]) == ("deadline-passed", True)
    assert record.error["detail"].startswith("It had not ended 900 s after it was accepted")
    assert _events(database, waiting) == [EventKind.ACCEPTED, EventKind.FAILED]
    assert read_forecast(database, without.id).status == Status.RUNNING


def test_an_overdue_running_forecast_keeps_its_lead_times_and_refuses_commits(
    database: Database, submit_forecast: Submit, tmp_path: Path, clock: MovableClock
) -> None:
    forecast = submit_forecast(deadline_seconds=900.0)
    leases = _claim(database)
    for lease in leases:
        commit(database, lease, 1, 30.0)
    clock.advance(901)
    assert not renew(database, leases, 30.0)
    assert count_needed_workers(database, 3) == 0
    with pytest.raises(LeaseLostError):
        commit(database, leases[0], 2, 30.0)
    fail_overdue(database)
    record = read_forecast(database, forecast.id)
    assert (record.status, record.lead_times) == (Status.FAILED, 1)
    assert xr.open_zarr(ForecastFolder(tmp_path, forecast.id).store).sizes["lead_time"] == 4


def test_a_forecast_that_ended_before_its_deadline_stays_successful(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    forecast = insert_rows(deadline_seconds=900.0)
    for lease in _claim(database):
        for committed in range(1, 5):
            commit(database, lease, committed, 30.0)
    (last,) = _claim(database)
    assert last.kind == Kind.FINISH
    finish(database, last, {}, store_bytes=1)
    clock.advance(901)
    fail_overdue(database)
    assert read_forecast(database, forecast.id).status == Status.SUCCESSFUL


def test_only_attempts_without_progress_fail_a_forecast(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    forecast = insert_rows(members=2)
    for lead in range(1, 4):
        (lease,) = _claim(database)
        commit(database, lease, lead, 30.0)
        clock.advance(31)
    for attempts in range(2, ATTEMPTS + 1):  # the commit was the first attempt since the last progress
        assert reconcile(database, LocalDispatcher(), ATTEMPTS) == 1
        assert len(_claim(database)) == 1
        assert _attempts(database) == attempts
        clock.advance(31)
    reconcile(database, LocalDispatcher(), ATTEMPTS)
    record = read_forecast(database, forecast.id)
    assert record.status == Status.FAILED
    assert record.error is not None
    assert (record.error["type"], record.error["retryable"]) == ("worker-lost", True)
    assert _events(database, forecast)[-1] == EventKind.FAILED


def test_the_reconciler_notifies_as_many_workers_as_have_work(database: Database, insert_rows: Submit) -> None:
    class RecordingDispatcher:
        def __init__(self) -> None:
            self.numbers: list[int] = []

        def notify(self, number: int) -> None:
            self.numbers.append(number)

    insert_rows()
    dispatcher = RecordingDispatcher()
    assert reconcile(database, dispatcher, ATTEMPTS) == 1  # no worker is alive: the first one to start gets the notice
    for worker in "abcdefghijk":
        record_heartbeat(database, worker, "cpu", {})
    assert reconcile(database, dispatcher, ATTEMPTS) == 3
    _claim(database)
    second, third = insert_rows(), insert_rows()
    assert reconcile(database, dispatcher, ATTEMPTS) == 8  # six free groups, and two that the first worker can release
    assert dispatcher.numbers == [1, 3, 8]
    assert {lease.forecast_id for lease in _claim(database, "b")} == {second.id}
    assert {lease.forecast_id for lease in _claim(database, "c")} == {third.id}
    assert _claim(database, "d") == []


def _attempts(database: Database) -> int:
    with database.read() as connection:
        return max(connection.scalars(select(work.c.attempts)))


def test_nothing_is_notified_or_failed_without_work(database: Database) -> None:
    assert reconcile(database, LocalDispatcher(), ATTEMPTS) == 0


def test_work_of_a_dead_worker_is_notified_again_once_its_lease_has_ended(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    insert_rows()
    assert len(_claim(database)) == 3
    for worker in "abc":
        record_heartbeat(database, worker, "cpu", {})
    assert count_needed_workers(database, ATTEMPTS) == 2, "two groups that the first worker can release"
    clock.advance(31)
    for worker in "bcd":
        record_heartbeat(database, worker, "cpu", {})
    assert reconcile(database, LocalDispatcher(), ATTEMPTS) == 3
    assert [lease.epoch for lease in _claim(database, "b")] == [2, 2, 2]


def test_a_forecast_with_work_that_is_leased_is_not_failed_after_its_last_attempt(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    """The last attempt may still succeed."""
    forecast = insert_rows(members=2)
    for _ in range(ATTEMPTS):
        (lease,) = _claim(database)
        clock.advance(31)
    renew(database, [lease], 30.0)
    fail_exhausted(database, ATTEMPTS)
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    commit(database, lease, 1, 30.0)
    clock.advance(31)
    fail_exhausted(database, ATTEMPTS)
    assert read_forecast(database, forecast.id).status == Status.RUNNING, "the commit gave all attempts back"


def test_a_forecast_fails_if_one_of_its_groups_is_out_of_attempts(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    forecast = insert_rows()
    for lead in range(1, ATTEMPTS + 1):
        for lease in _claim(database)[:2]:
            commit(database, lease, lead, 30.0)
        clock.advance(31)
    fail_exhausted(database, ATTEMPTS)
    record = read_forecast(database, forecast.id)
    assert record.status == Status.FAILED
    assert record.error is not None
    assert record.error["detail"].startswith("Its worker ended 3 times without finishing a lead time.")
    assert _events(database, forecast).count(EventKind.FAILED) == 1


def test_each_overdue_forecast_fails_although_another_has_ended_in_the_meantime(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    overdue = [insert_rows(deadline_seconds=seconds) for seconds in (10.0, 20.5, 900.0)]
    cancelled = insert_rows(deadline_seconds=10.0)
    cancel_forecast(database, cancelled.id, "local")
    clock.advance(30)
    for _ in range(2):
        fail_overdue(database)
    records = [read_forecast(database, forecast.id) for forecast in (*overdue, cancelled)]
    assert [record.status for record in records] == ["failed", "failed", "accepted", "dismissed"]
    assert records[1].error is not None
    assert "20.5 s after it was accepted" in records[1].error["detail"]
    for forecast in overdue[:2]:
        assert _events(database, forecast).count(EventKind.FAILED) == 1


def test_concurrent_reconcilers_fail_a_forecast_once(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    """Every process of the service reconciles."""
    submitted = [insert_rows(deadline_seconds=10.0) for _ in range(3)]
    clock.advance(11)
    threads = [threading.Thread(target=reconcile, args=(database, LocalDispatcher(), ATTEMPTS)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for forecast in submitted:
        assert _events(database, forecast) == [EventKind.ACCEPTED, EventKind.FAILED]


def test_an_overdue_forecast_does_not_keep_later_ones_from_the_workers(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    insert_rows(deadline_seconds=10.0)
    later = insert_rows(members=2)
    clock.advance(11)
    assert count_needed_workers(database, ATTEMPTS) == 1
    assert [lease.forecast_id for lease in _claim(database)] == [later.id]
