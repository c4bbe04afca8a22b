from collections.abc import Callable

import pytest
from sqlalchemy import select

from jobs.dispatching.clock_jumps import ClockWatch
from jobs.dispatching.leases import claim
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.rows.tables import forecasts
from jobs.totals import DURATIONS
from tests.clock import MovableClock
from tests.rows import (
    cancel_forecast,
    claim_all,
    commit_lead_times,
    count_live_workers,
    count_queue,
    duration_histograms,
    fail,
    finish,
    record_heartbeat,
)

Insert = Callable[..., ForecastRecord]
HOUR = 3600.0


def _times(database: Database, forecast_id: str) -> list[float]:
    """Return the times of a forecast in their order."""
    columns = (forecasts.c.created, forecasts.c.started, forecasts.c.first_lead_time, forecasts.c.finished)
    with database.read() as connection:
        row = connection.execute(select(*columns).where(forecasts.c.id == forecast_id)).one()
    return [time for time in row if time is not None]


@pytest.mark.parametrize("end", ["successful", "failed", "cancelled"])
def test_the_times_of_a_forecast_are_in_order_however_often_the_clock_is_set_back(
    end: str, database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    forecast = insert_rows()
    clock.advance(-HOUR)
    assert count_queue(database)[2] == 0
    claimed = claim_all(database)
    clock.advance(-HOUR)
    if end == "successful":
        commit_lead_times(database, 4, claimed)
        (finishing,) = claim_all(database)
        clock.advance(-HOUR)
        finish(database, finishing, {}, 0)
    elif end == "failed":
        fail(database, claimed[0], {"type": "t"})
    else:
        cancel_forecast(database, forecast.id, "local")
    times = _times(database, forecast.id)
    assert len(times) == (4 if end == "successful" else 3)
    assert times == sorted(times)
    for kind in DURATIONS:
        for _, seconds in duration_histograms(database, kind).values():
            assert seconds >= 0


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_lease_of_a_dead_worker_ends_although_the_clock_was_set_back(
    is_restarted: bool, database: Database, insert_rows: Insert, clock: MovableClock, caplog: pytest.LogCaptureFixture
) -> None:
    insert_rows()
    watch = ClockWatch(database, 30.0)
    if not is_restarted:
        watch.check()
    record_heartbeat(database, "dead", "cpu", {})
    assert claim(database, "dead", 30.0, 3)
    clock.advance(-100 * HOUR)
    assert not claim(database, "live", 30.0, 3)
    watch.check()
    assert ("The clock of the database was set back by 360000 s." in caplog.text) != is_restarted
    clock.advance(31)
    assert count_live_workers(database) == 0
    assert claim(database, "live", 30.0, 3)


def test_a_clock_that_goes_on_or_is_set_forward_shortens_no_lease(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    insert_rows()
    watch = ClockWatch(database, 1.0)
    watch.check()
    assert claim(database, "a", 2 * HOUR, 3)
    for seconds in (0.5, -1.0, HOUR):
        clock.advance(seconds)
        watch.check()
    clock.advance(10)
    assert not claim(database, "b", 30.0, 3)
    with database.read() as connection:
        assert connection.scalar(select(forecasts.c.status)) == Status.RUNNING
