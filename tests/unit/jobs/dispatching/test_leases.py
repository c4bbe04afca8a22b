import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from jobs.dispatching.leases import Lease, claim
from jobs.errors import LeaseLostError
from jobs.events import list_events
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import EventKind, Kind, Status
from jobs.rows.tables import forecasts, work
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
    retry_or_fail,
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


def test_a_claim_leases_every_free_group_of_the_oldest_forecast(database: Database, insert_rows: Submit) -> None:
    first, second = insert_rows(), insert_rows()
    leases = _claim(database)
    assert [(lease.forecast_id, lease.group, lease.epoch, lease.committed) for lease in leases] == [
        (first.id, group, 1, 0) for group in range(3)
    ]
    assert read_forecast(database, first.id).status == Status.RUNNING
    assert {lease.forecast_id for lease in _claim(database, "b")} == {second.id}
    assert _claim(database, "c") == []


def test_concurrent_workers_claim_each_group_once(database: Database, insert_rows: Submit) -> None:
    submitted = [insert_rows() for _ in range(10)]
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
        (forecast.id, group) for forecast in submitted for group in range(3)
    )
    assert {lease.epoch for lease in taken} == {1}


def test_the_last_group_inserts_the_finishing_work_once_and_finishing_ends_the_forecast(
    database: Database, insert_rows: Submit
) -> None:
    forecast = insert_rows()
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
    database: Database, insert_rows: Submit
) -> None:
    insert_rows()
    leases = _claim(database)
    for lease in leases:
        commit(database, lease, 3, LEASE)
    threads = [threading.Thread(target=commit, args=(database, lease, 4, LEASE)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.kind for lease in _claim(database)] == [Kind.FINISH]


def test_a_complete_lead_time_is_assigned_to_its_last_group(database: Database, insert_rows: Submit) -> None:
    insert_rows()
    leases = _claim(database)
    assigned = [list(commit(database, lease, lead, LEASE)) for lead in range(1, 5) for lease in leases]
    assert assigned == [[], [], [0], [], [], [1], [], [], [2], [], [], [3]]


def test_a_complete_lead_time_of_a_shared_forecast_is_assigned_to_the_worker_that_is_ahead(
    database: Database, insert_rows: Submit
) -> None:
    forecast = insert_rows()
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
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    forecast = insert_rows()
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
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    insert_rows()
    leases = _claim(database)
    for _ in range(3):
        clock.advance(LEASE - 5)
        assert renew(database, leases, LEASE)
        assert _claim(database, "b") == []
    clock.advance(LEASE + 1)
    assert [lease.epoch for lease in _claim(database, "b")] == [2, 2, 2]


def test_released_work_continues_at_its_last_committed_lead_time(database: Database, insert_rows: Submit) -> None:
    insert_rows()
    leases = _claim(database)
    for lease in leases:
        commit(database, lease, 2, LEASE)
    release(database, leases, counts=False)
    assert [(lease.epoch, lease.committed) for lease in _claim(database, "b")] == [(2, 2)] * 3


def test_a_cancelled_forecast_is_never_claimed_and_refuses_commits(database: Database, insert_rows: Submit) -> None:
    waiting, running = insert_rows(), insert_rows()
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


def test_a_read_does_not_wait_for_a_writer(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows()
    with database.write() as connection:
        connection.execute(update(work).values(worker="another"))
        assert read_forecast(database, forecast.id).status == Status.ACCEPTED


def test_a_lease_that_has_ended_can_still_be_renewed_until_another_worker_claims_it(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    """A worker that was paused for longer than its lease continues, unless another worker has claimed its work."""
    insert_rows()
    leases = _claim(database)
    clock.advance(LEASE + 1)
    assert renew(database, leases, LEASE)
    assert _claim(database, "b") == []
    clock.advance(LEASE + 1)
    assert len(_claim(database, "b")) == 3
    assert not renew(database, leases, LEASE)


def test_a_commit_renews_the_lease_of_its_group_only(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    insert_rows()
    first, _, _ = _claim(database)
    clock.advance(LEASE - 5)
    commit(database, first, 1, LEASE)
    clock.advance(10)
    assert [lease.group for lease in _claim(database, "b")] == [1, 2]


def test_only_a_claim_increases_the_epoch(database: Database, insert_rows: Submit, clock: MovableClock) -> None:
    insert_rows(members=2)
    epochs = []
    for worker in "abcd":
        (lease,) = claim(database, worker, LEASE, 10)
        renew(database, [lease], LEASE)
        commit(database, lease, len(epochs) // 2 + 1, LEASE)
        epochs.append(lease.epoch)
        clock.advance(LEASE + 1)
    assert epochs == [1, 2, 3, 4]


def test_released_work_can_be_claimed_after_the_wait(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    insert_rows()
    leases = _claim(database)
    release(database, leases, counts=False, wait_seconds=60.0)
    clock.advance(55)
    assert _claim(database, "b") == []
    clock.advance(6)
    assert len(_claim(database, "b")) == 3


@pytest.mark.parametrize(("counts", "claims"), [(True, ATTEMPTS), (False, 3 * ATTEMPTS)])
def test_a_release_gives_the_attempt_back_unless_it_counts(
    counts: bool, claims: int, database: Database, insert_rows: Submit
) -> None:
    insert_rows(members=2)
    number = 0
    while number < 3 * ATTEMPTS and (leases := _claim(database)):
        release(database, leases, counts=counts)
        number += 1
    assert number == claims


def test_a_commit_gives_all_attempts_back(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows(members=2, lead_hours=6 * 10)
    for lead in range(1, 10):
        for _ in range(ATTEMPTS - 2):
            release(database, _claim(database), counts=True)
        (lease,) = _claim(database)
        commit(database, lease, lead, LEASE)
        release(database, [lease], counts=False)
    assert read_forecast(database, forecast.id).lead_times == 9


def test_work_is_tried_again_later_and_fails_the_forecast_after_its_last_attempt(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    forecast = insert_rows(members=2)
    problem = {"type": "store-not-writable", "detail": "Read-only file system."}
    for attempt in range(1, ATTEMPTS + 1):
        leases = _claim(database)
        assert len(leases) == 1
        retry_or_fail(database, leases, problem, ATTEMPTS, 5.0)
        record = read_forecast(database, forecast.id)
        assert record.status == (Status.FAILED if attempt == ATTEMPTS else Status.RUNNING)
        assert _claim(database, "b") == []
        clock.advance(6)
    assert record.error == problem
    assert _events(database, forecast.id)[-1] == EventKind.FAILED
    assert _claim(database, "b") == []


def test_an_error_of_a_worker_whose_lease_was_taken_over_does_not_fail_the_forecast(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    forecast = insert_rows(members=2)
    latest: list[Lease] = []
    for _ in range(ATTEMPTS):
        clock.advance(LEASE + 1)
        latest, overtaken = _claim(database), latest
    retry_or_fail(database, overtaken, {"type": "internal"}, ATTEMPTS, 5.0)
    assert read_forecast(database, forecast.id).status == Status.RUNNING
    assert renew(database, latest, LEASE)


def test_a_failed_forecast_keeps_its_first_error(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows()
    leases = _claim(database)
    fail(database, leases[0], {"type": "first"})
    with pytest.raises(LeaseLostError):
        fail(database, leases[1], {"type": "second"})
    assert read_forecast(database, forecast.id).error == {"type": "first"}
    assert _events(database, forecast.id).count(EventKind.FAILED) == 1


def test_a_failed_forecast_keeps_its_lead_times_and_has_ended(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows(members=2)
    (lease,) = _claim(database)
    commit(database, lease, 2, LEASE)
    fail(database, lease, {"type": "non-finite"})
    record = read_forecast(database, forecast.id)
    assert (record.status, record.lead_times) == (Status.FAILED, 2)
    assert record.finished is not None
    assert not is_open(database, forecast.id)
    assert not renew(database, [lease], LEASE)


def test_progress_is_that_of_the_slowest_group(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows()
    leases = _claim(database)
    progress = []
    for committed in ((3, 0), (2, 1), (1, 2), (4, 0), (4, 1), (2, 2)):
        commit(database, leases[committed[1]], committed[0], LEASE)
        progress.append(read_forecast(database, forecast.id).lead_times)
    assert progress == [0, 0, 1, 1, 1, 2]


def test_a_lease_names_its_worker_by_number_and_epoch(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows()
    lease = _claim(database)[0]
    with pytest.raises(LeaseLostError, match=f"Work {lease.work_id} of forecast {forecast.id} is no longer"):
        commit(database, replace(lease, epoch=7), 1, LEASE)
    assert read_forecast(database, forecast.id).lead_times == 0


def test_the_first_lead_time_has_its_time_once(database: Database, insert_rows: Submit, clock: MovableClock) -> None:
    insert_rows(members=2)
    (lease,) = _claim(database)
    times = []
    for lead in (1, 2, 3):
        clock.advance(10)
        commit(database, lease, lead, LEASE)
        with database.read() as connection:
            times.append(connection.scalar(select(forecasts.c.first_lead_time)))
    assert times[0] is not None
    assert times == [times[0]] * 3


def test_an_unknown_forecast_is_not_open(database: Database) -> None:
    assert not is_open(database, "fc_unknown")
