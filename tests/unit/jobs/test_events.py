import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import DatabaseError

from jobs.events import append_event as append_in
from jobs.events import list_events as list_in
from jobs.events import list_new_events as list_new_in
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import EventKind
from jobs.rows.tables import forecasts
from tests.clock import MovableClock
from tests.rows import append_event, commit_lead_times, delete_old_events, list_events, succeed

Insert = Callable[..., ForecastRecord]


def test_events_are_listed_in_the_order_in_which_they_were_appended(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    forecast = insert_rows()
    clock.advance(10)
    append_event(database, forecast.id, EventKind.RUNNING)
    clock.advance(10)
    append_event(database, forecast.id, EventKind.LEAD_TIME, lead_times=1, num_lead_times=4)
    events = list_events(database, forecast.id)
    assert [event.kind for event in events] == [EventKind.ACCEPTED, EventKind.RUNNING, EventKind.LEAD_TIME]
    assert [dict(event.detail) for event in events] == [{}, {}, {"lead_times": 1, "num_lead_times": 4}]
    assert events[0].id < events[1].id < events[2].id
    assert all(9 < later.created - earlier.created < 15 for earlier, later in pairwise(events))


def test_a_client_that_connects_again_reads_each_event_once(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()
    read = list_events(database, forecast.id)
    for lead_times in range(1, 5):
        append_event(database, forecast.id, EventKind.LEAD_TIME, lead_times=lead_times)
        read += list_events(database, forecast.id, read[-1].id)
    assert read == list_events(database, forecast.id)
    assert len(read) == 5
    assert list_events(database, forecast.id, read[-1].id) == []


def test_events_of_other_forecasts_are_not_listed(database: Database, insert_rows: Insert) -> None:
    first, second = insert_rows(), insert_rows()
    append_event(database, second.id, EventKind.RUNNING)
    assert [event.kind for event in list_events(database, first.id)] == [EventKind.ACCEPTED]
    assert list_events(database, "fc_unknown") == []


def test_new_events_of_many_forecasts_are_listed_together_for_each_position(
    database: Database, insert_rows: Insert
) -> None:
    records = [insert_rows() for _ in range(3)]
    for record in records[:2]:
        append_event(database, record.id, EventKind.RUNNING)
    ids = {record.id: [event.id for event in list_events(database, record.id)] for record in records}
    first, second, third = (record.id for record in records)
    unknown = [(f"fc_{index}", 0) for index in range(1000)]
    positions = [(first, 0), (first, ids[first][0]), (second, ids[second][1]), (third, 0), *unknown]
    with database.read() as connection:
        found = list_new_in(connection, positions)
    assert {position: [event.id for event in events] for position, events in found.items()} == {
        (first, 0): ids[first],
        (first, ids[first][0]): ids[first][1:],
        (third, 0): ids[third],
    }


def test_an_event_is_seen_only_with_the_change_that_it_reports(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()

    def append_and_roll_back() -> None:
        with database.write() as connection:
            append_in(connection, forecast.id, EventKind.RUNNING)
            assert len(list_in(connection, forecast.id)) == 2
            assert len(list_events(database, forecast.id)) == 1, "seen before the commit"
            raise InterruptedError

    with pytest.raises(InterruptedError):
        append_and_roll_back()
    assert [event.kind for event in list_events(database, forecast.id)] == [EventKind.ACCEPTED]


def test_an_event_of_an_unknown_forecast_is_refused(database: Database) -> None:
    with pytest.raises(DatabaseError, match=r"(?i)foreign key"):
        append_event(database, "fc_unknown", EventKind.RUNNING)


def test_events_are_removed_with_their_forecast(database: Database, insert_rows: Insert) -> None:
    removed, kept = insert_rows(), insert_rows()
    with database.write() as connection:
        connection.execute(delete(forecasts).where(forecasts.c.id == removed.id))
    assert list_events(database, removed.id) == []
    assert len(list_events(database, kept.id)) == 1


def test_concurrent_events_have_different_ids_and_none_is_lost(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()
    threads = [
        threading.Thread(
            target=append_event, args=(database, forecast.id, EventKind.LEAD_TIME), kwargs={"lead_times": lead_times}
        )
        for lead_times in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = list_events(database, forecast.id)[1:]
    assert sorted(event.detail["lead_times"] for event in events) == list(range(12))
    assert len({event.id for event in events}) == 12


def test_the_detail_of_an_event_keeps_text_numbers_and_nothing(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()
    detail = {"text": "Böen über 17 m/s „♁“", "number": -0.1, "missing": None, "list": [1, [True]]}
    append_event(database, forecast.id, EventKind.FAILED, **detail)
    assert list_events(database, forecast.id)[-1].detail == detail


def test_events_of_lead_times_are_deleted_a_week_later_once_the_forecast_has_ended(
    database: Database, insert_rows: Callable[..., ForecastRecord], clock: MovableClock
) -> None:
    ended, running = insert_rows(members=1), insert_rows(members=1)
    succeed(database, ended)
    commit_lead_times(database, 2)
    before = {record.id: list_events(database, record.id) for record in (ended, running)}
    assert delete_old_events(database) == 0
    clock.advance(7 * 86400 + 1)
    assert [delete_old_events(database, at_most=3), delete_old_events(database), delete_old_events(database)] == [
        3,
        1,
        0,
    ]
    assert list_events(database, running.id) == before[running.id], "it has not ended"
    kept = [event for event in before[ended.id] if event.kind != EventKind.LEAD_TIME]
    assert list_events(database, ended.id) == kept
    assert [event.kind for event in kept] == ["accepted", "running", "successful"]
