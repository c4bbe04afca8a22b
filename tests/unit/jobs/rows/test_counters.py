import random
from collections.abc import Callable

import pytest
from sqlalchemy import delete, select, update

from jobs.dispatching.leases import claim
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Kind
from jobs.rows.tables import forecasts, usage, waiting_work
from tests.clock import MovableClock
from tests.counters import assert_counters_fit
from tests.rows import cancel_forecast, commit, expire_data, fail, finish, list_forecasts, release

Insert = Callable[..., ForecastRecord]


def _work(database: Database, draw: random.Random) -> None:
    """Claim the next work and end it in one of the ways that a worker can."""
    leases = claim(database, f"worker-{draw.randrange(3)}", 1e6, 3)
    if not leases:
        return
    if leases[0].kind == Kind.FINISH:
        finish(database, leases[0], {}, draw.randrange(1000))
    elif draw.random() < 0.2:
        fail(database, leases[0], {"type": "worker-lost"})
    elif draw.random() < 0.2:
        release(database, leases, counts=False)
    else:
        for lead_times in range(1, draw.choice((2, 4)) + 1):
            for lease in leases:
                if lead_times > lease.committed:
                    commit(database, lease, lead_times, 1e6)
        if lead_times < 4:
            release(database, leases, counts=False)


@pytest.mark.parametrize("seed", range(2))
def test_counters_fit_the_rows_after_any_changes(
    seed: int, database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    draw = random.Random(seed)
    for _ in range(60):
        owner = draw.choice(("a", "b"))
        ended = [record for record in list_forecasts(database, owner, None, 100) if record.status not in OPEN]
        waiting = list_forecasts(database, owner, [draw.choice(OPEN)], 100)
        match draw.randrange(8):
            case 0 | 1:
                insert_rows(owner=owner, members=draw.randrange(1, 6), checkpoint=draw.choice(("planet", "large")),
                            expected_bytes=draw.choice((None, 100, 5_000_000_000)))  # fmt: skip
            case 2 | 3 | 4:
                _work(database, draw)
            case 5 if waiting:
                cancel_forecast(database, draw.choice(waiting).id, owner)
            case 6 if ended:
                chosen, data = draw.choice(ended), draw.choice((Data.DELETED, Data.EXPIRED, Data.AVAILABLE))
                with database.write() as connection:
                    connection.execute(update(forecasts).where(forecasts.c.id == chosen.id).values(data=data))
            case _:
                clock.advance(draw.choice((0.5, 3.0, 5000.0)))
                expire_data(database, draw.choice((None, 1.0)))
        with database.read() as connection:
            assert_counters_fit(connection)


def test_rows_that_are_deleted_no_longer_count_as_waiting_or_kept(database: Database, insert_rows: Insert) -> None:
    for _ in range(3):
        insert_rows(expected_bytes=10)
    claim(database, "a", 30.0, 3)
    with database.write() as connection:
        connection.execute(delete(forecasts))
        row = connection.execute(select(usage)).one()
        assert (row.accepted, row.waiting, row.running, row.kept_bytes, row.store_bytes) == (3, 0, 0, 0, 0)
        assert connection.scalar(select(waiting_work.c.steps)) == 0


def test_a_change_that_is_rolled_back_is_not_counted(database: Database, insert_rows: Insert) -> None:
    insert_rows(owner="a", key="once")
    with database.write() as connection:
        connection.execute(update(forecasts).values(status="failed"))
        connection.rollback()
    again = insert_rows(owner="a", key="once")
    assert again.number == 1
    assert insert_rows(owner="a").number == 2
    with database.read() as connection:
        assert_counters_fit(connection)
