import threading

import pytest
from sqlalchemy import func, select

from jobs.counters import EVALUATIONS, GPU_MEMORY, STEP_SECONDS, Sample, Tally, cumulative_histogram
from jobs.dispatching.live_workers import LIVE_SECONDS, Machine
from jobs.rows.database import Database
from jobs.rows.tables import samples, workers
from tests.clock import MovableClock
from tests.rows import (
    count_idle_workers,
    count_live_workers,
    list_live_workers,
    mark_busy,
    mark_idle,
    read_gauges,
    record_heartbeat,
    sum_counters,
)

EVALUATED = Sample(EVALUATIONS.name, ("planet",))
MEMORY = Sample(GPU_MEMORY.name, ())
A_DAY = 86400.0


def _tally(evaluations: float, memory: float) -> dict[Sample, float]:
    tally = Tally()
    tally.count(EVALUATIONS, "planet", by=evaluations)
    tally.set(GPU_MEMORY, value=memory)
    return tally.samples()


def _count_rows(database: Database) -> tuple[int, int]:
    with database.read() as connection:
        counts = [connection.scalar(select(func.count()).select_from(table)) or 0 for table in (workers, samples)]
    return counts[0], counts[1]


def test_a_worker_is_live_for_30_s_after_its_last_heartbeat(database: Database, clock: MovableClock) -> None:
    assert (count_live_workers(database), list_live_workers(database)) == (0, [])
    record_heartbeat(database, "a", "cpu", {})
    clock.advance(LIVE_SECONDS - 5)
    assert count_live_workers(database) == 1
    record_heartbeat(database, "a", "cpu", {})
    clock.advance(LIVE_SECONDS - 5)
    assert count_live_workers(database) == 1
    clock.advance(6)
    assert (count_live_workers(database), list_live_workers(database)) == (0, [])
    record_heartbeat(database, "a", "cpu", {})
    assert count_live_workers(database) == 1


def test_live_workers_are_listed_by_name_with_their_machines(database: Database) -> None:
    machine = Machine("cuda: NVIDIA H100", 16)
    record_heartbeat(database, "b", "cuda:1", {}, machine)
    record_heartbeat(database, "a", "cpu", {})
    assert [(worker.id, worker.device, worker.machine) for worker in list_live_workers(database)] == [
        ("a", "cpu", None),
        ("b", "cuda:1", machine),
    ]


def test_counters_are_summed_over_workers_and_gauges_are_not(database: Database) -> None:
    record_heartbeat(database, "a", "cpu", _tally(3, 30))
    record_heartbeat(database, "b", "cpu", _tally(4, 40))
    assert sum_counters(database) == {EVALUATED: 7}
    assert read_gauges(database, "b") == {MEMORY: 40}
    assert read_gauges(database, "unknown") == {}


def test_a_heartbeat_replaces_the_samples_of_the_last_one(database: Database) -> None:
    for number in (3, 5, 9):
        record_heartbeat(database, "a", "cpu", _tally(number, number))
    assert sum_counters(database) == {EVALUATED: 9}
    assert read_gauges(database, "a") == {MEMORY: 9}
    record_heartbeat(database, "a", "cpu", {})
    assert (sum_counters(database), read_gauges(database, "a")) == ({}, {})


def test_counters_never_decrease_when_workers_are_forgotten(database: Database, clock: MovableClock) -> None:
    """Prometheus takes a decrease for a restart, and would count everything again."""
    for number, name in enumerate(("a", "b", "c"), 1):
        record_heartbeat(database, name, "cpu", _tally(number, number))
        clock.advance(A_DAY + 1)
    assert sum_counters(database) == {EVALUATED: 6}
    record_heartbeat(database, "d", "cpu", _tally(10, 10))
    assert sum_counters(database) == {EVALUATED: 16}
    assert _count_rows(database) == (1, 3), "one worker with two samples, and the sum of the forgotten ones"
    assert read_gauges(database, "c") == {}


def test_only_workers_without_a_heartbeat_for_a_day_are_forgotten(database: Database, clock: MovableClock) -> None:
    record_heartbeat(database, "old", "cpu", _tally(1, 1))
    clock.advance(A_DAY / 2)
    record_heartbeat(database, "young", "cpu", _tally(2, 2))
    clock.advance(A_DAY / 2 + 60)
    record_heartbeat(database, "young", "cpu", _tally(3, 3))  # a later heartbeat removes no worker
    assert _count_rows(database)[0] == 2
    record_heartbeat(database, "new", "cpu", {})
    assert [worker.id for worker in list_live_workers(database)] == ["new", "young"]
    assert _count_rows(database)[0] == 2
    assert sum_counters(database) == {EVALUATED: 4}


def test_a_forgotten_worker_that_returns_counts_from_zero(database: Database, clock: MovableClock) -> None:
    record_heartbeat(database, "a", "cpu", _tally(5, 5))
    clock.advance(A_DAY + 1)
    record_heartbeat(database, "b", "cpu", {})
    record_heartbeat(database, "a", "cpu", _tally(2, 2))
    assert sum_counters(database) == {EVALUATED: 7}


def test_workers_that_start_at_the_same_time_forget_an_old_one_once(database: Database, clock: MovableClock) -> None:
    record_heartbeat(database, "old", "cpu", _tally(5, 5))
    clock.advance(A_DAY + 1)
    errors: list[Exception] = []

    def start(name: str) -> None:
        try:
            record_heartbeat(database, name, "cpu", {})
        except Exception as error:  # of a test's thread: the main thread asserts that there is none
            errors.append(error)

    threads = [threading.Thread(target=start, args=(name,)) for name in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum_counters(database) == {EVALUATED: 5}
    assert count_live_workers(database) == 6


def test_a_histogram_counts_each_value_in_every_bucket_above_it(database: Database) -> None:
    tally = Tally()
    for value in (0.02, 0.02, 0.3, 100.0):
        tally.observe(STEP_SECONDS, "planet", "flow", value=value)
    record_heartbeat(database, "one", "cpu", tally.samples())
    buckets, summed = cumulative_histogram(STEP_SECONDS, ("planet", "flow"), sum_counters(database))
    assert [dict(buckets)[bound] for bound in ("0.01", "0.025", "0.5", "+Inf")] == [0, 2, 3, 4]
    assert summed == pytest.approx(100.34)


def test_a_worker_is_idle_until_its_time_ends_or_it_is_busy(database: Database, clock: MovableClock) -> None:
    for name in "abc":
        record_heartbeat(database, name, "cpu", {})
    assert count_idle_workers(database, "") == 0
    mark_idle(database, "a", 10.0)
    mark_idle(database, "b", 20.0)
    assert [count_idle_workers(database, name) for name in ("", "a", "b", "c")] == [2, 1, 1, 2]
    clock.advance(11)
    assert count_idle_workers(database, "") == 1
    mark_busy(database, "b")
    assert count_idle_workers(database, "") == 0
    mark_idle(database, "c", 10.0)
    mark_idle(database, "c", 0.0)
    assert count_idle_workers(database, "") == 0


def test_a_worker_that_polls_again_and_again_stays_idle(database: Database, clock: MovableClock) -> None:
    record_heartbeat(database, "a", "cpu", {})
    for _ in range(10):
        mark_idle(database, "a", 10.0)
        clock.advance(4)
        assert count_idle_workers(database, "") == 1


def test_a_poll_writes_only_once_half_of_the_time_has_passed(database: Database, clock: MovableClock) -> None:
    """Workers poll twice a second; each write would lock the database."""

    def idle_until() -> float:
        with database.read() as connection:
            return connection.scalar(select(workers.c.idle_until)) or 0.0

    record_heartbeat(database, "a", "cpu", {})
    mark_idle(database, "a", 10.0)
    first = idle_until()
    clock.advance(3)
    mark_idle(database, "a", 10.0)
    assert idle_until() == first
    clock.advance(3)
    mark_idle(database, "a", 10.0)
    assert idle_until() - first == pytest.approx(6, abs=2)


def test_a_worker_without_a_heartbeat_is_never_idle(database: Database) -> None:
    """Its row is inserted by its first heartbeat."""
    mark_idle(database, "a", 10.0)
    assert count_idle_workers(database, "") == 0
