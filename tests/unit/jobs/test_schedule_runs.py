"""Two schedulers at once, on each supported database: each cycle is inserted once, and claimed by one of them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from sqlalchemy import Connection, select

from jobs.rows.database import Database
from jobs.rows.schedule_tables import schedule_runs
from jobs.schedule_polls import claim_poll
from jobs.schedule_runs import CLAIM_SECONDS, advance_schedules, claim_runs, read_clock, save_submission
from jobs.schedules import Plan, insert_schedule
from tests.clock import MovableClock

T = TypeVar("T")

_NUM_CYCLES, _HOUR = 9, 3600


def _at_once(database: Database, function: Callable[[Connection], T]) -> list[T]:
    """Return what two transactions that begin at the same time get from a function."""
    barrier = Barrier(2)

    def call(_index: int) -> T:
        barrier.wait(10)
        with database.write() as connection:
            return function(connection)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, range(2)))


def _insert(database: Database) -> None:
    """Insert a schedule whose last cycle is the present one."""
    with database.write() as connection:
        last = int(read_clock(connection) // (6 * _HOUR)) * 6 * _HOUR
        start = last - 6 * _HOUR * (_NUM_CYCLES - 1)
        plan = Plan("a", "gfs", 6, 0, start, last, 400, 12.0, 8.0, True, {"labels": {}})
        insert_schedule(connection, "local", plan, "digest")


def test_two_schedulers_insert_each_cycle_once_and_claim_it_once(database: Database, clock: MovableClock) -> None:
    _insert(database)
    _at_once(database, advance_schedules)
    claims = _at_once(database, lambda connection: claim_runs(connection, _NUM_CYCLES, _NUM_CYCLES, {}))
    claimed = [run for some in claims for run in some]
    assert len({run.init_time for run in claimed}) == len(claimed) == _NUM_CYCLES
    clock.advance(CLAIM_SECONDS + 1)
    later = _at_once(database, lambda connection: claim_runs(connection, 1, 1, {}))
    taken = next(run for some in later for run in some)
    lost = next(run for run in claimed if run.id == taken.id)
    with database.write() as connection:
        assert not save_submission(connection, lost, "fc_1", 0.0)
        assert save_submission(connection, taken, "fc_2", 0.0)
        query = select(schedule_runs.c.forecast_id).where(schedule_runs.c.id == taken.id)
        assert connection.scalar(query) == "fc_2"


def test_one_of_two_schedulers_looks_for_the_newest_analysis(database: Database, clock: MovableClock) -> None:
    _insert(database)
    for _ in range(2):
        assert sorted(_at_once(database, lambda connection: claim_poll(connection, "gfs"))) == [False, True]
        clock.advance(61)
