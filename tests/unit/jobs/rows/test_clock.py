import threading
import time
from collections.abc import Callable

from sqlalchemy import select

from jobs.forecasts import ForecastRecord
from jobs.rows.clock import now
from jobs.rows.database import Database
from tests.clock import MovableClock
from tests.rows import is_open


def _read_clock(database: Database) -> float:
    with database.read() as connection:
        seconds = connection.scalar(select(now()))
    assert seconds is not None
    return seconds


def test_the_clock_counts_seconds_since_1970(database_url: str) -> None:
    database = Database(database_url)  # with its real clock
    before = time.time()
    seconds = _read_clock(database)
    assert before - 0.002 <= seconds <= time.time() + 0.002  # SQLite rounds to milliseconds
    database.close()


def test_the_clock_is_that_of_the_statement_not_of_the_transaction(database: Database) -> None:
    with database.write() as connection:
        first = connection.scalar(select(now()))
        threading.Event().wait(0.02)
        second = connection.scalar(select(now()))
    assert first is not None
    assert second is not None
    assert 0.01 < second - first < 5


def test_a_test_sets_the_clock_forward_for_every_connection(
    database: Database, database_url: str, clock: MovableClock
) -> None:
    begin = _read_clock(database)
    with database.read() as opened_before:
        opened_before.scalar(select(1))
        clock.advance(1000)
        clock.advance(0.5)
        assert 1000.5 <= (opened_before.scalar(select(now())) or 0.0) - begin < 1020
    other = Database(database_url)
    assert 1000.5 <= _read_clock(other) - begin < 1020
    other.close()


def test_a_deadline_passes_by_the_clock(
    database: Database, submit_forecast: Callable[..., ForecastRecord], clock: MovableClock
) -> None:
    forecast = submit_forecast(deadline_seconds=900.0)
    clock.advance(880)
    assert is_open(database, forecast.id)
    clock.advance(21)
    assert not is_open(database, forecast.id)
