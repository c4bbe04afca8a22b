from collections.abc import Callable
from pathlib import Path

import pytest
import xarray as xr
from sqlalchemy import select

from jobs.dispatching.dispatch import LocalDispatcher
from jobs.dispatching.leases import Lease, claim
from jobs.dispatching.reconcile import fail_overdue, reconcile
from jobs.errors import LeaseLostError
from jobs.events import list_events
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.states import EventKind, Kind, Status
from jobs.rows.tables import forecasts, work
from tests.clock import MovableClock
from tests.rows import commit, count_needed_workers, finish, is_open, read_forecast, record_heartbeat, renew

Submit = Callable[..., ForecastRecord]
ATTEMPTS = 3


def _claim(database: Database, worker: str = "a") -> list[Lease]:
    return claim(database, worker, 30.0, ATTEMPTS)


def _events(database: Database, forecast: ForecastRecord) -> list[EventKind]:
    with database.read() as connection:
        return [event.kind for event in list_events(connection, forecast.id)]


def test_a_deadline_counts_from_acceptance_and_fails_a_waiting_forecast(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    waiting, without = submit_forecast(deadline_seconds=900.0), submit_forecast()
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
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    forecast = submit_forecast(deadline_seconds=900.0)
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
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    forecast = submit_forecast(members=2)
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


def test_the_reconciler_notifies_as_many_workers_as_have_work(database: Database, submit_forecast: Submit) -> None:
    class RecordingDispatcher:
        def __init__(self) -> None:
            self.numbers: list[int] = []

        def notify(self, number: int) -> None:
            self.numbers.append(number)

    submit_forecast()
    dispatcher = RecordingDispatcher()
    assert reconcile(database, dispatcher, ATTEMPTS) == 1  # no worker is alive: the first one to start gets the notice
    for worker in "abcdefghijk":
        record_heartbeat(database, worker, "cpu", {})
    assert reconcile(database, dispatcher, ATTEMPTS) == 3
    _claim(database)
    second, third = submit_forecast(), submit_forecast()
    assert reconcile(database, dispatcher, ATTEMPTS) == 8  # six free groups, and two that the first worker can release
    assert dispatcher.numbers == [1, 3, 8]
    assert {lease.forecast_id for lease in _claim(database, "b")} == {second.id}
    assert {lease.forecast_id for lease in _claim(database, "c")} == {third.id}
    assert _claim(database, "d") == []


def _attempts(database: Database) -> int:
    with database.read() as connection:
        return max(connection.scalars(select(work.c.attempts)))
