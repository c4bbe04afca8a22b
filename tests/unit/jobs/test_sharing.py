import random
from collections.abc import Callable

import pytest
from sqlalchemy import update

from jobs.database import Database
from jobs.errors import LeaseLostError
from jobs.forecasts import ForecastRecord, cancel_forecast
from jobs.leases import Lease, claim, commit, fail, rebalance, release, renew
from jobs.sharing import count_needed_workers, fair_share, may_receive_groups, should_rebalance
from jobs.states import Kind
from jobs.tables import work
from jobs.workers import mark_idle, record_heartbeat

Submit = Callable[..., ForecastRecord]
LEASE, ATTEMPTS, IDLE = 30.0, 3, 30.0


@pytest.mark.parametrize(
    ("mine", "free", "others", "idle", "expected"),
    [
        (0, 8, [], 0, 8),  # alone: everything
        (0, 8, [], 1, 4),
        (0, 3, [], 1, 2),
        (0, 1, [], 5, 1),
        (0, 4, [4], 0, 4),
        (0, 1, [7], 0, 1),  # no more than is free
        (8, 0, [], 1, 4),
        (8, 0, [], 3, 2),
        (4, 0, [4], 1, 3),
        (2, 0, [2], 1, 2),  # a third worker ends nothing earlier
        (1, 0, [], 9, 1),
        (3, 0, [], 0, 3),
        (4, 4, [], 1, 4),  # handed over, and not yet taken
        (4, 4, [], 0, 8),  # nobody came for it
        (1, 3, [4], 0, 4),  # of one that died
        (3, 0, [1], 0, 2),
    ],
)
def test_a_share(mine: int, free: int, others: list[int], idle: int, expected: int) -> None:
    assert fair_share(mine, free, others, idle) == expected


def test_shares_settle_soon_and_are_as_equal_as_can_be() -> None:
    draw = random.Random(7)
    for _ in range(500):
        groups, workers = draw.randint(1, 40), draw.randint(1, 7)
        held = [0] * workers
        for _ in range(draw.randint(0, groups)):
            held[draw.randrange(workers)] += 1
        held = [0 if draw.random() < 0.3 else number for number in held]

        def turn(held: list[int], groups: int, worker: int) -> bool:
            others = [number for index, number in enumerate(held) if number and index != worker]
            idle = sum(number == 0 for index, number in enumerate(held) if index != worker)
            before = held[worker]
            held[worker] = fair_share(before, groups - sum(held), others, idle)
            return held[worker] != before

        for _ in range(3):
            for worker in draw.sample(range(workers), workers):
                turn(held, groups, worker)
        assert not any(turn(held, groups, worker) for worker in range(workers)), held
        assert sum(held) == groups
        assert max(held) == -(-groups // workers)


def _claim(database: Database, worker: str) -> list[Lease]:
    return claim(database, worker, LEASE, ATTEMPTS, IDLE)


def _even_out(database: Database, worker: str, leases: list[Lease]) -> list[Lease]:
    return rebalance(database, worker, leases, LEASE, ATTEMPTS)


def _uneven(database: Database, leases: list[Lease], worker: str) -> bool:
    return should_rebalance(database, leases[0].forecast_id, worker, ATTEMPTS)


@pytest.fixture
def database(database: Database) -> Database:
    """With two workers that are known."""
    for worker in "ab":
        record_heartbeat(database, worker, "cpu", {})
    return database


def test_who_claims_leaves_their_share_to_the_idle(database: Database, submit_forecast: Submit) -> None:
    assert _claim(database, "a") == _claim(database, "b") == []
    submit_forecast()
    assert [lease.group for lease in _claim(database, "a")] == [0, 1]
    assert [lease.group for lease in _claim(database, "b")] == [2]
    assert _claim(database, "a") == []


def test_who_comes_late_gets_a_share_at_the_next_lead_time(database: Database, submit_forecast: Submit) -> None:
    submit_forecast(members=8)
    mine = _claim(database, "a")
    assert [lease.group for lease in mine] == [0, 1, 2, 3]
    assert not _uneven(database, mine, "a")
    assert may_receive_groups(database, "b")
    assert _claim(database, "b") == []
    for lease in mine:
        commit(database, lease, 1, LEASE)
    assert _uneven(database, mine, "a")
    kept = _even_out(database, "a", mine)
    assert [(lease.group, lease.epoch, lease.committed) for lease in kept] == [(0, 1, 1), (1, 1, 1)]
    assert not _uneven(database, kept, "a")
    theirs = _claim(database, "b")
    assert [(lease.group, lease.epoch, lease.committed) for lease in theirs] == [(2, 2, 1), (3, 2, 1)]
    assert not _uneven(database, kept, "a")
    assert not _uneven(database, theirs, "b")
    assert not may_receive_groups(database, "c")
    assert count_needed_workers(database, ATTEMPTS) == 2


def test_what_was_handed_over_can_no_longer_be_changed(database: Database, submit_forecast: Submit) -> None:
    submit_forecast()
    mine = _claim(database, "a")
    assert _claim(database, "b") == []
    assert len(_even_out(database, "a", mine)) == 2
    for _ in range(2):
        with pytest.raises(LeaseLostError):
            commit(database, mine[2], 1, LEASE)
        with pytest.raises(LeaseLostError):
            fail(database, mine[2], {"type": "broken"})
        assert not renew(database, mine[2:], LEASE)
        release(database, mine[2:], counts=True, wait_seconds=60)
        theirs = _claim(database, "b")
    commit(database, mine[0], 1, LEASE)
    assert theirs == []


def test_handing_over_is_no_attempt(database: Database, submit_forecast: Submit) -> None:
    submit_forecast()
    leases = _claim(database, "a")
    for _ in range(2 * ATTEMPTS):
        claim(database, "b", LEASE, ATTEMPTS, IDLE)
        kept = _even_out(database, "a", leases)
        assert len(kept) == 2
        theirs = _claim(database, "b")
        assert [lease.group for lease in theirs] == [2]
        release(database, theirs, counts=False)
        leases = _even_out(database, "a", kept)
        assert len(leases) == 3


def test_what_nobody_comes_for_is_taken_back_and_is_behind(database: Database, submit_forecast: Submit) -> None:
    submit_forecast()
    mine = _claim(database, "a")
    assert _claim(database, "b") == []
    kept = _even_out(database, "a", mine)
    assert not _uneven(database, kept, "a")
    for lease in kept:
        commit(database, lease, 1, LEASE)
    with database.write() as connection:
        mark_idle(connection, "b", 0.0)
    assert _uneven(database, kept, "a")
    again = _even_out(database, "a", kept)
    assert [(lease.group, lease.epoch, lease.committed) for lease in again] == [(0, 1, 1), (1, 1, 1), (2, 2, 0)]


def test_the_groups_of_a_worker_that_died_are_taken_between_two_lead_times(
    database: Database, submit_forecast: Submit
) -> None:
    assert _claim(database, "a") == []
    submit_forecast()
    assert len(_claim(database, "b")) == 2
    mine = _claim(database, "a")
    assert not _uneven(database, mine, "a")
    with database.write() as connection:
        connection.execute(update(work).where(work.c.worker == "b").values(lease_until=0.0))
    assert _uneven(database, mine, "a")
    assert [lease.group for lease in _even_out(database, "a", mine)] == [0, 1, 2]


def test_the_finishing_work_is_one_workers(database: Database, submit_forecast: Submit) -> None:
    submit_forecast()
    mine = _claim(database, "a")
    assert _claim(database, "b") == []
    for lead in range(1, 5):
        for lease in mine:
            commit(database, lease, lead, LEASE)
    assert _even_out(database, "a", mine) == []
    (last,) = _claim(database, "b")
    assert last.kind == Kind.FINISH
    assert _claim(database, "a") == []
    assert not may_receive_groups(database, "a")
    assert count_needed_workers(database, ATTEMPTS) == 0
    assert _even_out(database, "b", [last]) == [last]


def test_a_forecast_that_was_called_off_is_shared_no_more(database: Database, submit_forecast: Submit) -> None:
    forecast = submit_forecast()
    mine = _claim(database, "a")
    assert _claim(database, "b") == []
    cancel_forecast(database, forecast.id, "local")
    assert _even_out(database, "a", mine) == []
    assert not may_receive_groups(database, "b")
