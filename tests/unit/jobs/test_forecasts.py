import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from jobs.dispatching.leases import claim
from jobs.errors import ForecastNotFoundError, ForecastOverError, IdempotencyError
from jobs.forecasts import ForecastRecord, new_forecast_id
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.states import Data, EventKind, Priority, Status
from jobs.rows.tables import forecasts, work
from tests.clock import MovableClock
from tests.rows import (
    cancel_forecast,
    count_open,
    find_by_idempotency_key,
    insert_forecast,
    list_events,
    list_forecasts,
    read_forecast,
)

Insert = Callable[..., ForecastRecord]


def _page(database: Database, *arguments: Any, limit: int = 100) -> list[str]:
    owner, status, before = (*arguments, None, None, None)[:3]
    return [
        record.id for record in list_forecasts(database, owner, None if status is None else [status], limit, before)
    ]


def test_ids_are_different_and_cannot_be_guessed() -> None:
    ids = {new_forecast_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(name.startswith("fc_") and len(name) == 27 for name in ids)  # 96 random bits


def test_a_new_record_waits_and_has_nothing_else(database: Database, insert_rows: Insert) -> None:
    record = insert_rows(owner="alice", priority=Priority.LOW)
    assert read_forecast(database, record.id) == record
    assert (record.status, record.priority, record.data) == (Status.ACCEPTED, Priority.LOW, Data.AVAILABLE)
    assert (record.lead_times, record.num_lead_times) == (0, 4)
    assert (record.error, record.receipt, record.started, record.finished) == (None, None, None, None)
    assert [event.kind for event in list_events(database, record.id)] == [EventKind.ACCEPTED]


@pytest.mark.parametrize(("members", "group_size", "groups"), [(1, 8, 1), (8, 8, 1), (9, 8, 2), (300, 7, 43)])
def test_a_forecast_has_a_row_of_work_for_each_group(
    members: int, group_size: int, groups: int, database: Database, insert_rows: Insert
) -> None:
    insert_rows(members=members, group_size=group_size)
    with database.read() as connection:
        indices = list(connection.scalars(select(work.c.group_index).order_by(work.c.group_index)))
    assert indices == list(range(groups))


def test_the_deadline_is_counted_from_the_insertion(database: Database, insert_rows: Insert) -> None:
    record = insert_rows(deadline_seconds=60.0)
    insert_rows()
    with database.read() as connection:
        deadlines = list(connection.scalars(select(forecasts.c.deadline).order_by(forecasts.c.id)))
    assert deadlines[0] - record.created == pytest.approx(60, abs=5)
    assert deadlines[1] is None


def test_a_forecast_of_another_owner_is_not_found(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows(owner="alice")
    assert read_forecast(database, forecast.id, "alice") == forecast
    for attempt in (read_forecast, cancel_forecast):
        with pytest.raises(ForecastNotFoundError, match="There is no forecast"):
            attempt(database, forecast.id, "bob")
    with pytest.raises(ForecastNotFoundError, match="There is no forecast 'fc_unknown'"):
        read_forecast(database, "fc_unknown")
    assert read_forecast(database, forecast.id).status == Status.ACCEPTED


def test_an_id_that_exists_is_not_inserted_again(
    database: Database, make_request: Callable[..., ForecastRequest], insert_rows: Insert
) -> None:
    forecast = insert_rows()
    with pytest.raises(IntegrityError):
        insert_forecast(database, forecast.id, "local", make_request(seed=9), 4)
    assert read_forecast(database, forecast.id) == forecast


def test_a_repeated_key_inserts_nothing(database: Database, insert_rows: Insert) -> None:
    first = insert_rows(key="k")
    assert insert_rows(key="k") == first
    assert insert_rows(key="k", group_size=5) == first
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(work)) == 3
    assert len(list_events(database, first.id)) == 1


def test_a_key_is_found_with_its_request_only(
    database: Database, insert_rows: Insert, make_request: Callable[..., ForecastRequest]
) -> None:
    request = make_request()
    assert find_by_idempotency_key(database, "local", "k", request) is None
    first = insert_rows(key="k")
    assert find_by_idempotency_key(database, "local", "k", request) == first
    assert find_by_idempotency_key(database, "bob", "k", request) is None
    assert find_by_idempotency_key(database, "local", "K", request) is None
    with pytest.raises(IdempotencyError, match=f"'k' was used for another request, forecast {first.id}"):
        find_by_idempotency_key(database, "local", "k", make_request(seed=4))


def test_a_key_still_finds_a_forecast_that_has_ended(database: Database, insert_rows: Insert) -> None:
    """A client may repeat a request after a broken connection; a second forecast would be computed for nothing."""
    forecast = insert_rows(key="k")
    cancel_forecast(database, forecast.id, "local")
    assert insert_rows(key="k").id == forecast.id


def test_forecasts_without_a_key_are_always_new(insert_rows: Insert) -> None:
    assert len({insert_rows().id for _ in range(3)}) == 3


def test_forecasts_are_listed_newest_first(database: Database, insert_rows: Insert, clock: MovableClock) -> None:
    ids = []
    for _ in range(4):
        ids.append(insert_rows(owner="alice").id)
        clock.advance(1)
    insert_rows(owner="bob")
    assert _page(database, "alice") == ids[::-1]
    assert _page(database, "nobody") == []
    assert _page(database, "alice", limit=2) == ids[:1:-1]


def test_pages_list_each_forecast_once_even_where_many_have_the_same_time(
    database: Database, insert_rows: Insert
) -> None:
    ids = {insert_rows().id for _ in range(7)}
    with database.write() as connection:
        connection.execute(update(forecasts).values(created=1000.0))
        connection.execute(update(forecasts).where(forecasts.c.id == "fc_003").values(created=2000.0))
    listed: list[str] = []
    while page := _page(database, "local", None, listed[-1] if listed else None, limit=3):
        listed += page
        assert len(listed) <= 7
    assert listed[0] == "fc_003"
    assert set(listed) == ids
    assert len(listed) == 7


def test_a_page_after_an_unknown_or_a_foreign_forecast_is_empty(database: Database, insert_rows: Insert) -> None:
    insert_rows(owner="alice")
    of_bob = insert_rows(owner="bob").id
    assert _page(database, "alice", None, "fc_unknown") == []
    assert _page(database, "alice", None, of_bob) == []


def test_a_page_that_begins_at_a_forecast_is_not_changed_by_newer_ones(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    ids = []
    for _ in range(3):
        ids.append(insert_rows().id)
        clock.advance(1)
    before = _page(database, "local", None, ids[2])
    insert_rows()
    assert _page(database, "local", None, ids[2]) == before == [ids[1], ids[0]]


def test_a_list_is_filtered_by_status(database: Database, insert_rows: Insert) -> None:
    waiting, dismissed = insert_rows(), insert_rows()
    cancel_forecast(database, dismissed.id, "local")
    assert _page(database, "local", Status.ACCEPTED) == [waiting.id]
    assert _page(database, "local", Status.DISMISSED) == [dismissed.id]
    assert _page(database, "local", Status.FAILED) == []


def test_open_forecasts_are_those_that_wait_or_run(database: Database, insert_rows: Insert) -> None:
    assert count_open(database) == 0
    ids = [insert_rows(owner=owner).id for owner in ("alice", "bob", "local")]
    claim(database, "a", 30.0, 3)
    assert count_open(database) == 3
    cancel_forecast(database, ids[2], "local")
    assert count_open(database) == 2


def test_a_cancelled_forecast_has_ended_once(database: Database, insert_rows: Insert, clock: MovableClock) -> None:
    forecast = insert_rows()
    claim(database, "a", 30.0, 3)
    clock.advance(60)
    record = cancel_forecast(database, forecast.id, "local")
    assert record.status == Status.DISMISSED
    assert record.finished is not None
    assert 60 <= record.finished - record.created < 80
    with pytest.raises(ForecastOverError, match="it is dismissed"):
        cancel_forecast(database, forecast.id, "local")
    kinds = [event.kind for event in list_events(database, forecast.id)]
    assert kinds == [EventKind.ACCEPTED, EventKind.RUNNING, EventKind.DISMISSED]
    assert read_forecast(database, forecast.id) == record


def test_one_of_several_concurrent_cancellations_succeeds(database: Database, insert_rows: Insert) -> None:
    forecast, results = insert_rows(), list[str]()

    def cancel() -> None:
        try:
            results.append(cancel_forecast(database, forecast.id, "local").status)
        except ForecastOverError as error:
            results.append(str(error))

    threads = [threading.Thread(target=cancel) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert results.count(Status.DISMISSED) == 1
    assert [event.kind for event in list_events(database, forecast.id)] == [EventKind.ACCEPTED, EventKind.DISMISSED]
