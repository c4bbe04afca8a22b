import threading
from collections.abc import Callable

import pytest

from jobs.dispatching.leases import claim
from jobs.forecasts import ForecastRecord
from jobs.planning.estimates import Compression, Estimator, Machine, Speed
from jobs.planning.measured import demand_of, load_estimator
from jobs.rows.database import Database
from tests.clock import MovableClock
from tests.rows import commit, record_compression, record_heartbeat, record_speed

Submit = Callable[..., ForecastRecord]
CPU = Machine("cpu", 1)


def _estimator(database: Database) -> Estimator:
    with database.read() as connection:
        return load_estimator(connection)


def test_a_speed_is_a_running_average_weighted_by_the_number_of_steps(database: Database, clock: MovableClock) -> None:
    record_speed(database, "c", CPU, Speed(8, 1.0, 2.0, 3.0, 100.0), num_steps=1)
    assert _estimator(database).speeds == {"c": [(CPU, Speed(8, 1.0, 2.0, 3.0, 100.0))]}
    record_speed(database, "c", CPU, Speed(8, 2.0, 4.0, 6.0, 200.0), num_steps=20)
    assert _estimator(database).speeds == {"c": [(CPU, Speed(8, 1.5, 3.0, 4.5, 150.0))]}
    record_speed(database, "c", Machine("cuda: NVIDIA H100", 1), Speed(8, 0.1, 0.2, 0.3, 9.0), num_steps=20)
    clock.advance(1)
    record_speed(database, "c", CPU, Speed(4, 1.0, 1.0, 1.0, 1.0), num_steps=20)
    assert [speed.group_size for _, speed in _estimator(database).speeds["c"]] == [4, 8, 8]


def test_a_compression_can_be_recorded_before_any_speed(database: Database) -> None:
    record_compression(database, "c", CPU, Compression(8, 0.8, 100.0))
    record_compression(database, "c", CPU, Compression(8, 0.9, 200.0))
    estimator = _estimator(database)
    assert estimator.speeds == {}
    (storage,) = estimator.compressions["c"]
    assert (storage.ratio, storage.metadata_bytes) == pytest.approx((0.85, 150.0))


def test_concurrent_workers_record_one_speed(database: Database) -> None:
    speed = Speed(8, 1.0, 2.0, 3.0, 100.0)
    threads = [threading.Thread(target=record_speed, args=(database, "c", CPU, speed, 5)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _estimator(database).speeds == {"c": [(CPU, speed)]}


def test_an_estimator_has_the_remaining_work_of_the_queue_and_the_live_machines(
    database: Database, submit_forecast: Submit
) -> None:
    first, second = submit_forecast(), submit_forecast()
    leases = claim(database, "a", 30.0, 3)
    for lease, lead_times in zip(leases, (4, 2, 0), strict=True):
        for committed in range(1, lead_times + 1):
            commit(database, lease, committed, 30.0)
    record_heartbeat(database, "a", "cpu", {}, CPU)
    record_heartbeat(database, "an early version", "cpu", {})
    estimator = _estimator(database)
    assert [waiting.remaining for waiting in estimator.queue] == [0.5, 1.0]
    assert [waiting.demand for waiting in estimator.queue] == [
        demand_of(first.request, 4),
        demand_of(second.request, 4),
    ]
    assert (estimator.queue[0].demand.num_groups, estimator.queue[0].demand.nfe) == (3, 2)
    assert estimator.machines == [CPU]
