import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatching.leases import Lease, claim
from jobs.dispatching.sharing import fair_share
from jobs.errors import LeaseLostError
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Kind
from tests.clock import MovableClock
from tests.rows import (
    cancel_forecast,
    commit,
    count_needed_workers,
    fail,
    mark_idle,
    may_receive_groups,
    rebalance,
    record_heartbeat,
    release,
    renew,
    should_rebalance,
)

Submit = Callable[..., ForecastRecord]
LEASE, ATTEMPTS, IDLE = 30.0, 3, 30.0


@pytest.mark.parametrize(
    ("held", "free", "others", "idle", "expected"),
    [
        (0, 8, [], 0, 8),  # the only worker
        (0, 8, [], 1, 4),
        (0, 3, [], 1, 2),
        (0, 1, [], 5, 1),
        (0, 4, [4], 0, 4),
        (0, 1, [7], 0, 1),  # no more than is free
        (8, 0, [], 1, 4),
        (8, 0, [], 3, 2),
        (4, 0, [4], 1, 3),
        (2, 0, [2], 1, 2),  # a third worker would not end the forecast earlier
        (1, 0, [], 9, 1),
        (3, 0, [], 0, 3),
        (4, 4, [], 1, 4),  # released, and not claimed yet
        (4, 4, [], 0, 8),  # released, and claimed by no worker
        (1, 3, [4], 0, 4),  # of a dead worker
        (3, 0, [1], 0, 2),
    ],
)
def test_fair_share(held: int, free: int, others: list[int], idle: int, expected: int) -> None:
    assert fair_share(held, free, others, idle) == expected


def test_shares_converge_and_differ_by_at_most_one_group() -> None:
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


def _rebalance(database: Database, worker: str, leases: list[Lease]) -> list[Lease]:
    return rebalance(database, worker, leases, LEASE, ATTEMPTS)


def _should_rebalance(database: Database, leases: list[Lease], worker: str) -> bool:
    return should_rebalance(database, leases[0].forecast_id, worker, ATTEMPTS)


@pytest.fixture
def database(database: Database) -> Database:
    """A database with two live workers."""
    for worker in "ab":
        record_heartbeat(database, worker, "cpu", {})
    return database


def test_a_claim_leaves_idle_workers_their_share(database: Database, insert_rows: Submit) -> None:
    assert _claim(database, "a") == _claim(database, "b") == []
    insert_rows()
    assert [lease.group for lease in _claim(database, "a")] == [0, 1]
    assert [lease.group for lease in _claim(database, "b")] == [2]
    assert _claim(database, "a") == []


def test_a_late_worker_receives_its_share_at_the_next_lead_time(database: Database, insert_rows: Submit) -> None:
    insert_rows(members=8)
    leases_a = _claim(database, "a")
    assert [lease.group for lease in leases_a] == [0, 1, 2, 3]
    assert not _should_rebalance(database, leases_a, "a")
    assert may_receive_groups(database, "b")
    assert _claim(database, "b") == []
    for lease in leases_a:
        commit(database, lease, 1, LEASE)
    assert _should_rebalance(database, leases_a, "a")
    rebalanced = _rebalance(database, "a", leases_a)
    assert [(lease.group, lease.epoch, lease.committed) for lease in rebalanced] == [(0, 1, 1), (1, 1, 1)]
    assert not _should_rebalance(database, rebalanced, "a")
    leases_b = _claim(database, "b")
    assert [(lease.group, lease.epoch, lease.committed) for lease in leases_b] == [(2, 2, 1), (3, 2, 1)]
    assert not _should_rebalance(database, rebalanced, "a")
    assert not _should_rebalance(database, leases_b, "b")
    assert not may_receive_groups(database, "c")
    assert count_needed_workers(database, ATTEMPTS) == 2


def test_released_groups_can_no_longer_be_changed(database: Database, insert_rows: Submit) -> None:
    insert_rows()
    leases_a = _claim(database, "a")
    assert _claim(database, "b") == []
    assert len(_rebalance(database, "a", leases_a)) == 2
    for _ in range(2):
        with pytest.raises(LeaseLostError):
            commit(database, leases_a[2], 1, LEASE)
        with pytest.raises(LeaseLostError):
            fail(database, leases_a[2], {"type": "broken"})
        assert not renew(database, leases_a[2:], LEASE)
        release(database, leases_a[2:], counts=True, wait_seconds=60)
        leases_b = _claim(database, "b")
    commit(database, leases_a[0], 1, LEASE)
    assert leases_b == []


def test_rebalancing_counts_as_no_attempt(database: Database, insert_rows: Submit) -> None:
    insert_rows()
    leases = _claim(database, "a")
    for _ in range(2 * ATTEMPTS):
        claim(database, "b", LEASE, ATTEMPTS, IDLE)
        rebalanced = _rebalance(database, "a", leases)
        assert len(rebalanced) == 2
        leases_b = _claim(database, "b")
        assert [lease.group for lease in leases_b] == [2]
        release(database, leases_b, counts=False)
        leases = _rebalance(database, "a", rebalanced)
        assert len(leases) == 3


def test_released_groups_that_no_worker_claims_are_claimed_back(database: Database, insert_rows: Submit) -> None:
    insert_rows()
    leases_a = _claim(database, "a")
    assert _claim(database, "b") == []
    rebalanced = _rebalance(database, "a", leases_a)
    assert not _should_rebalance(database, rebalanced, "a")
    for lease in rebalanced:
        commit(database, lease, 1, LEASE)
    mark_idle(database, "b", 0.0)
    assert _should_rebalance(database, rebalanced, "a")
    again = _rebalance(database, "a", rebalanced)
    assert [(lease.group, lease.epoch, lease.committed) for lease in again] == [(0, 1, 1), (1, 1, 1), (2, 2, 0)]


def test_groups_of_a_dead_worker_are_claimed_between_two_lead_times(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    assert _claim(database, "a") == []
    insert_rows()
    assert len(_claim(database, "b")) == 2
    leases_a = _claim(database, "a")
    assert not _should_rebalance(database, leases_a, "a")
    clock.advance(LEASE - 5)
    assert renew(database, leases_a, LEASE)
    clock.advance(10)
    assert _should_rebalance(database, leases_a, "a")
    assert [lease.group for lease in _rebalance(database, "a", leases_a)] == [0, 1, 2]


def test_the_finishing_work_is_not_shared(database: Database, insert_rows: Submit) -> None:
    insert_rows()
    leases_a = _claim(database, "a")
    assert _claim(database, "b") == []
    for lead in range(1, 5):
        for lease in leases_a:
            commit(database, lease, lead, LEASE)
    assert _rebalance(database, "a", leases_a) == []
    (last,) = _claim(database, "b")
    assert last.kind == Kind.FINISH
    assert _claim(database, "a") == []
    assert not may_receive_groups(database, "a")
    assert count_needed_workers(database, ATTEMPTS) == 0
    assert _rebalance(database, "b", [last]) == [last]


def test_a_cancelled_forecast_is_not_shared(database: Database, insert_rows: Submit) -> None:
    forecast = insert_rows()
    leases_a = _claim(database, "a")
    assert _claim(database, "b") == []
    cancel_forecast(database, forecast.id, "local")
    assert _rebalance(database, "a", leases_a) == []
    assert not may_receive_groups(database, "b")


def test_a_worker_whose_idle_time_has_ended_gets_no_groups(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    """It may have died: groups that were released for it would wait."""
    insert_rows(members=8)
    leases_a = _claim(database, "a")
    assert _claim(database, "b") == []
    assert _should_rebalance(database, leases_a, "a")
    clock.advance(IDLE - 1)
    assert renew(database, leases_a, LEASE)
    assert _should_rebalance(database, leases_a, "a")
    clock.advance(2)
    assert not _should_rebalance(database, leases_a, "a")
    assert len(_rebalance(database, "a", leases_a)) == 4


@given(
    held=st.integers(0, 50),
    free=st.integers(0, 50),
    others=st.lists(st.integers(1, 50), max_size=5),
    idle=st.integers(0, 5),
)
def test_a_fair_share_is_between_nothing_and_all_that_can_be_had(
    held: int, free: int, others: list[int], idle: int
) -> None:
    share = fair_share(held, free, others, idle)
    assert 0 <= share <= held + free
    assert (share >= 1) == (held + free >= 1), "a worker of a forecast never releases its last group"
    assert fair_share(held, free, others, idle + 1) <= share
    if not others and not idle:
        assert share == held + free
