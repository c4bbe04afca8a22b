import threading
from collections.abc import Callable

import pytest
from sqlalchemy import update

from jobs.dispatching.leases import Lease, claim
from jobs.errors import LeaseLostError
from jobs.events import list_events
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import EventKind, Kind, Status
from jobs.rows.tables import work
from tests.clock import MovableClock
from tests.rows import (
    cancel_forecast,
    commit,
    count_needed_workers,
    fail,
    finish,
    is_open,
    read_forecast,
    release,
    renew,
)

Submit = Callable[..., ForecastRecord]
LEASE, ATTEMPTS = 30.0, 3


def _claim(database: Database, worker: str = "a") -> list[Lease]:
    return claim(database, worker, LEASE, ATTEMPTS)


def _events(database: Database, forecast_id: str) -> list[EventKind]:
    with database.read() as connection:
        return [event.kind for event in list_events(connection, forecast_id)]


def _commit_all(database: Database, leases: list[Lease]) -> None:
    for lead in range(1, 5):
        for lease in leases:
            commit(database, lease, lead, LEASE)


def test_a_claim_leases_every_free_group_of_the_oldest_forecast(database: Database, submit_forecast: Submit) -> None:
    first, second = submit_forecast(), submit_forecast()
    leases = _claim(database)
    assert [(lease.forecast_id, lease.group, lease.epoch, lease.committed) for lease in leases] == [
        (first.id, group, 1, 0) for group in range(3)
    ]
    assert read_forecast(database, first.id).status == Status.RUNNING
    assert {lease.forecast_id for lease in _claim(database, "b")} == {second.id}
    assert _claim(database, "c") == []


def test_concurrent_workers_claim_each_group_once(database: Database, submit_forecast: Submit) -> None:
    forecasts = [submit_forecast() for _ in range(10)]
    taken: list[Lease] = []

    def work_on() -> None:
        idle = 0
        while idle < 3:
            leases = _claim(database, threading.current_thread().name)
            idle = 0 if leases else idle + 1
            taken.extend(leases)

    threads = [threading.Thread(target=work_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((lease.forecast_id, lease.group) for lease in taken) == sorted(
        (forecast.id, group) for forecast in forecasts for group in range(3)
    )
    assert {lease.epoch for lease in taken} == {1}


def test_the_last_group_inserts_the_finishing_work_once_and_finishing_ends_the_forecast(
    database: Database, submit_forecast: Submit
) -> None:
    forecast = submit_forecast()
    _commit_all(database, _claim(database))
    record = read_forecast(database, forecast.id)
    assert (record.status, record.lead_times) == (Status.RUNNING, 4)
    (last,) = _claim(database)
    assert last.kind == Kind.FINISH
    finish(database, last, {"done": True}, store_bytes=1000)
    record = read_forecast(database, forecast.id)
    assert (record.status, record.receipt) == (Status.SUCCESSFUL, {"done": True})
    with pytest.raises(LeaseLostError):
        finish(database, last, {"done": "again"}, store_bytes=1000)
    expected = [EventKind.ACCEPTED, EventKind.RUNNING, *[EventKind.LEAD_TIME] * 4, EventKind.SUCCESSFUL]
    assert _events(database, forecast.id) == expected
    assert _claim(database) == []


def test_groups_that_end_at_the_same_time_insert_the_finishing_work_once(
    database: Database, submit_forecast: Submit
) -> None:
    submit_forecast()
    leases = _claim(database)
    for lease in leases:
        commit(database, lease, 3, LEASE)
    threads = [threading.Thread(target=commit, args=(database, lease, 4, LEASE)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.kind for lease in _claim(database)] == [Kind.FINISH]


def test_a_complete_lead_time_is_assigned_to_its_last_group(database: Database, submit_forecast: Submit) -> None:
    submit_forecast()
    leases = _claim(database)
    assigned = [list(commit(database, lease, lead, LEASE)) for lead in range(1, 5) for lease in leases]
    assert assigned == [[], [], [0], [], [], [1], [], [], [2], [], [], [3]]


def test_a_complete_lead_time_of_a_shared_forecast_is_assigned_to_the_worker_that_is_ahead(
    database: Database, submit_forecast: Submit
) -> None:
    forecast = submit_forecast()
    ahead, between, behind = _claim(database)

    def assigned(lease: Lease, committed: int) -> list[int]:
        return list(commit(database, lease, committed, LEASE, shared=True))

    assert [assigned(ahead, 1), assigned(between, 1), assigned(behind, 1)] == [[], [], []]
    assert [assigned(ahead, 2), assigned(between, 2), assigned(behind, 2)] == [[0], [], []]
    assert [assigned(between, 3), assigned(ahead, 3), assigned(ahead, 4)] == [[1], [], []]
    assert [assigned(behind, 3), assigned(between, 4), assigned(behind, 4)] == [[], [2], []]
    assert read_forecast(database, forecast.id).lead_times == 4
    assert [lease.kind for lease in _claim(database)] == [Kind.FINISH]


def test_a_worker_whose_lease_was_taken_over_makes_no_change(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    forecast = submit_forecast()
    old = _claim(database)
    commit(database, old[0], 1, LEASE)
    clock.advance(LEASE + 1)
    new = _claim(database, "b")
    assert [(lease.epoch, lease.committed) for lease in new] == [(2, 1), (2, 0), (2, 0)]
    with pytest.raises(LeaseLostError):
        commit(database, old[0], 2, LEASE)
    with pytest.raises(LeaseLostError):
        fail(database, old[1], {"type": "broken"})
    assert not renew(database, old, LEASE)
    release(database, old, counts=False)
    assert _claim(database, "c") == []
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    assert renew(database, new, LEASE)


def test_a_renewed_lease_cannot_be_claimed_until_it_ends(
    database: Database, submit_forecast: Submit, clock: MovableClock
) -> None:
    submit_forecast()
    leases = _claim(database)
    for _ in range(3):
        clock.advance(LEASE - 5)
        assert renew(database, leases, LEASE)
        assert _claim(database, "b") == []
    clock.advance(LEASE + 1)
    assert [lease.epoch for lease in _claim(database, "b")] == [2, 2, 2]


def test_released_work_continues_at_its_last_committed_lead_time(database: Database, submit_forecast: Submit) -> None:
    submit_forecast()
    leases = _claim(database)
    for lease in leases:
        commit(database, lease, 2, LEASE)
    release(database, leases, counts=False)
    assert [(lease.epoch, lease.committed) for lease in _claim(database, "b")] == [(2, 2)] * 3


def test_a_cancelled_forecast_is_never_claimed_and_refuses_commits(database: Database, submit_forecast: Submit) -> None:
    waiting, running = submit_forecast(), submit_forecast()
    cancel_forecast(database, waiting.id, "local")
    leases = _claim(database)
    assert {lease.forecast_id for lease in leases} == {running.id}
    cancel_forecast(database, running.id, "local")
    assert not is_open(database, running.id)
    assert not renew(database, leases, LEASE)
    with pytest.raises(LeaseLostError):
        commit(database, leases[0], 1, LEASE)
    assert _claim(database, "b") == []
    assert count_needed_workers(database, ATTEMPTS) == 0


def test_a_read_does_not_wait_for_a_writer(database: Database, submit_forecast: Submit) -> None:
    forecast = submit_forecast()
    with database.write() as connection:
        connection.execute(update(work).values(worker="another"))
        assert read_forecast(database, forecast.id).status == Status.ACCEPTED
