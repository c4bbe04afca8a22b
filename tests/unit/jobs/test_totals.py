from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from jobs.dispatching.leases import claim
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Data, Status
from jobs.rows.tables import forecasts
from jobs.totals import DURATIONS
from tests.clock import MovableClock
from tests.rows import cancel_forecast, count_by_status, count_queue, duration_histograms, store_bytes

Insert = Callable[..., ForecastRecord]
WAIT, RUN, FIRST = DURATIONS


def _set(database: Database, forecast: ForecastRecord, **values: Any) -> None:
    with database.write() as connection:
        connection.execute(update(forecasts).where(forecasts.c.id == forecast.id).values(**values))


def test_totals_without_forecasts_are_zero(database: Database) -> None:
    assert count_by_status(database) == []
    assert count_queue(database) == (0, 0, 0.0)
    assert store_bytes(database) == 0
    assert [duration_histograms(database, kind) for kind in DURATIONS] == [{}, {}, {}]


def test_ended_forecasts_are_counted_by_model_and_status(database: Database, insert_rows: Insert) -> None:
    insert_rows()  # waits: not counted
    for model, status in (*2 * [("planet", "successful")], ("planet", "failed"), ("large", "successful")):
        _set(database, insert_rows(checkpoint=model), status=status)
    cancel_forecast(database, insert_rows().id, "local")
    _set(database, insert_rows(), status=Status.RUNNING)
    assert sorted(count_by_status(database)) == [
        ("large", "successful", 1),
        ("planet", "dismissed", 1),
        ("planet", "failed", 1),
        ("planet", "successful", 2),
    ]


def test_the_queue_has_the_age_of_the_oldest_waiting_forecast(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    insert_rows()
    clock.advance(100)
    insert_rows()
    clock.advance(50)
    waiting, running, age = count_queue(database)
    assert (waiting, running) == (2, 0)
    assert 150 <= age < 170
    claim(database, "a", 30.0, 3)
    waiting, running, age = count_queue(database)
    assert (waiting, running) == (1, 1)
    assert 50 <= age < 70
    claim(database, "b", 30.0, 3)
    assert count_queue(database) == (0, 2, 0.0)


def test_the_age_is_never_negative(database: Database, insert_rows: Insert) -> None:
    """The clock of a database server may be set back."""
    _set(database, insert_rows(), created=1e11)
    assert count_queue(database) == (1, 0, 0.0)


def test_bytes_count_only_data_that_is_available(database: Database, insert_rows: Insert) -> None:
    large = 3_000_000_000_000
    for data, number in ((Data.AVAILABLE, large), (Data.AVAILABLE, 5), (Data.DELETED, 7), (Data.EXPIRED, 11)):
        _set(database, insert_rows(), data=data, store_bytes=number)
    insert_rows()  # has no store yet
    assert store_bytes(database) == large + 5


@pytest.mark.parametrize(
    ("kind", "begin", "end"),
    [(WAIT, "created", "started"), (RUN, "started", "finished"), (FIRST, "created", "first_lead_time")],
)
def test_durations_are_counted_cumulatively_by_model(
    kind: Any, begin: str, end: str, database: Database, insert_rows: Insert
) -> None:
    seconds = {"planet": [0.5, 1.0, 9.0, 100_000.0], "large": [30.0]}
    for model, values in seconds.items():
        for value in values:
            _set(database, insert_rows(checkpoint=model), **{begin: 1000.0, end: 1000.0 + value})
    found = duration_histograms(database, kind)
    assert set(found) == {"planet", "large"}
    for model, (buckets, summed) in found.items():
        expected = [float(sum(value <= bound for value in seconds[model])) for bound in kind.buckets]
        assert buckets == list(zip(kind.bounds, [*expected, float(len(seconds[model]))], strict=True))
        assert summed == pytest.approx(sum(seconds[model]))


def test_a_duration_that_has_not_ended_is_not_counted(database: Database, insert_rows: Insert) -> None:
    insert_rows()
    _set(database, insert_rows(), started=1000.0)
    assert duration_histograms(database, RUN) == {}
    (model,) = duration_histograms(database, WAIT)
    assert model == "planet"
    assert duration_histograms(database, FIRST) == {}


def test_a_forecast_that_was_cancelled_while_it_waited_has_no_duration(database: Database, insert_rows: Insert) -> None:
    cancel_forecast(database, insert_rows().id, "local")
    assert [duration_histograms(database, kind) for kind in DURATIONS] == [{}, {}, {}]


def test_the_bounds_of_durations_are_those_of_their_buckets_and_infinity() -> None:
    assert WAIT.bounds[0] == "1.0"
    assert WAIT.bounds[-1] == "+Inf"
    assert [float(bound) for bound in WAIT.bounds[:-1]] == sorted(WAIT.buckets)
