import threading
import time
from collections.abc import Callable

import pytest

from jobs.database import Database
from jobs.forecasts import ForecastRecord
from jobs.leases import claim, commit
from jobs.planning import Compression, Estimator, Machine, Speed
from jobs.speeds import demand_of, load_estimator, record_compression, record_speed
from jobs.workers import record_heartbeat

Submit = Callable[..., ForecastRecord]
CPU = Machine("cpu", 1)


def _outlook(database: Database) -> Estimator:
    with database.read() as connection:
        return load_estimator(connection)


def test_a_speed_is_taken_whole_and_then_comes_nearer_the_more_it_was_measured(database: Database) -> None:
    record_speed(database, "c", CPU, Speed(8, 1.0, 2.0, 3.0, 100.0), num_steps=1)
    assert _outlook(database).speeds == {"c": [(CPU, Speed(8, 1.0, 2.0, 3.0, 100.0))]}
    record_speed(database, "c", CPU, Speed(8, 2.0, 4.0, 6.0, 200.0), num_steps=20)
    assert _outlook(database).speeds == {"c": [(CPU, Speed(8, 1.5, 3.0, 4.5, 150.0))]}
    record_speed(database, "c", Machine("cuda: NVIDIA H100", 1), Speed(8, 0.1, 0.2, 0.3, 9.0), num_steps=20)
    time.sleep(0.01)  # the clock of SQLite counts milliseconds, and the latest comes first
    record_speed(database, "c", CPU, Speed(4, 1.0, 1.0, 1.0, 1.0), num_steps=20)
    assert [speed.group_size for _, speed in _outlook(database).speeds["c"]] == [4, 8, 8]


def test_a_storage_may_be_learnt_before_any_speed(database: Database) -> None:
    record_compression(database, "c", CPU, Compression(8, 0.8, 100.0))
    record_compression(database, "c", CPU, Compression(8, 0.9, 200.0))
    outlook = _outlook(database)
    assert outlook.speeds == {}
    (storage,) = outlook.compressions["c"]
    assert (storage.ratio, storage.metadata_bytes) == pytest.approx((0.85, 150.0))


def test_many_workers_learn_at_once(database: Database) -> None:
    speed = Speed(8, 1.0, 2.0, 3.0, 100.0)
    threads = [threading.Thread(target=record_speed, args=(database, "c", CPU, speed, 5)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _outlook(database).speeds == {"c": [(CPU, speed)]}


def test_the_queue_says_what_is_left_of_each_forecast_and_which_machines_are_there(
    database: Database, submit_forecast: Submit
) -> None:
    first, second = submit_forecast(), submit_forecast()
    leases = claim(database, "a", 30.0, 3)
    for lease, lead_times in zip(leases, (4, 2, 0), strict=True):
        for committed in range(1, lead_times + 1):
            commit(database, lease, committed, 30.0)
    record_heartbeat(database, "a", "cpu", {}, CPU)
    record_heartbeat(database, "of an earlier version", "cpu", {})
    outlook = _outlook(database)
    assert [waiting.remaining for waiting in outlook.queue] == [0.5, 1.0]
    assert [waiting.demand for waiting in outlook.queue] == [demand_of(first.request, 4), demand_of(second.request, 4)]
    assert (outlook.queue[0].demand.num_groups, outlook.queue[0].demand.nfe) == (3, 2)
    assert outlook.machines == [CPU]
