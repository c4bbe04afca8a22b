import threading
from collections.abc import Callable

import pytest

from jobs.dispatching.leases import claim
from jobs.forecasts import ForecastRecord
from jobs.planning.estimates import Compression, Estimator, Machine, Speed, demand_of
from jobs.planning.measured import load_estimator
from jobs.rows.database import Database
from tests.clock import MovableClock
from tests.rows import (
    cancel_forecast,
    choose_group_size,
    commit,
    read_batch_size,
    record_compression,
    record_heartbeat,
    record_speed,
    save_batch_size,
)

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
    first, _ = submit_forecast(), submit_forecast()
    leases = claim(database, "a", 30.0, 3)
    for lease, lead_times in zip(leases, (4, 2, 0), strict=True):
        for committed in range(1, lead_times + 1):
            commit(database, lease, committed, 30.0)
    record_heartbeat(database, "a", "cpu", {}, CPU)
    record_heartbeat(database, "an early version", "cpu", {})
    estimator = _estimator(database)
    (running,) = estimator.running
    assert (running.demand, running.remaining) == (demand_of(first.request, 4), 0.5)
    assert (running.demand.num_groups, running.demand.nfe) == (3, 2)
    (waiting,) = estimator.waiting.values()
    assert (waiting.num_forecasts, waiting.first_number) == (1, 2)
    (part,) = waiting.work
    assert (part.group_size, part.steps, part.flow_steps) == (2, 3 * 4, 3 * 4 * 2)
    assert estimator.machines == [CPU]


def test_nothing_is_estimated_before_anything_is_measured(database: Database) -> None:
    assert _estimator(database) == Estimator({}, {}, [], [], {})


@pytest.mark.parametrize(("num_steps", "expected"), [(1, 1 + 1 / 21), (5, 1.2), (20, 1.5), (980, 1.98)])
def test_a_long_measurement_weighs_more_than_a_short_one(num_steps: int, expected: float, database: Database) -> None:
    record_speed(database, "c", CPU, Speed(8, 1.0, 1.0, 1.0, 1.0), num_steps=980)
    record_speed(database, "c", CPU, Speed(8, 2.0, 2.0, 2.0, 2.0), num_steps)
    ((_, speed),) = _estimator(database).speeds["c"]
    values = (speed.warm_start_seconds, speed.flow_seconds, speed.overhead_seconds, speed.memory_bytes)
    assert values == pytest.approx((expected,) * 4)


def test_an_average_of_equal_speeds_is_that_speed(database: Database) -> None:
    for num_steps in (1, 7, 100):
        record_speed(database, "c", CPU, Speed(8, 1.0, 2.0, 3.0, 100.0), num_steps)
    assert _estimator(database).speeds == {"c": [(CPU, Speed(8, 1.0, 2.0, 3.0, 100.0))]}


def test_memory_that_was_measured_once_is_kept_where_a_later_worker_cannot_measure_it(database: Database) -> None:
    record_speed(database, "c", CPU, Speed(8, 1.0, 1.0, 1.0, None), num_steps=20)
    record_speed(database, "c", CPU, Speed(8, 1.0, 1.0, 1.0, 50.0), num_steps=20)
    ((_, speed),) = _estimator(database).speeds["c"]
    assert speed.memory_bytes == 50.0


def test_speeds_are_kept_apart_by_checkpoint_device_threads_and_group_size(database: Database) -> None:
    keys = [
        ("c", CPU, 8),
        ("d", CPU, 8),
        ("c", Machine("cpu", 2), 8),
        ("c", Machine("cuda: NVIDIA H100", 1), 8),
        ("c", CPU, 4),
    ]
    for number, (digest, machine, size) in enumerate(keys):
        record_speed(database, digest, machine, Speed(size, float(number), 1.0, 1.0, None), num_steps=20)
    found = {
        (digest, machine, speed.group_size): speed.warm_start_seconds
        for digest, speeds in _estimator(database).speeds.items()
        for machine, speed in speeds
    }
    assert found == {key: float(number) for number, key in enumerate(keys)}


def test_speed_and_compression_share_a_row_and_do_not_change_each_other(database: Database) -> None:
    record_compression(database, "c", CPU, Compression(8, 0.5, 100.0))
    record_speed(database, "c", CPU, Speed(8, 1.0, 2.0, 3.0, 4.0), num_steps=20)
    record_compression(database, "c", CPU, Compression(8, 0.7, 100.0))
    estimator = _estimator(database)
    assert estimator.speeds == {"c": [(CPU, Speed(8, 1.0, 2.0, 3.0, 4.0))]}
    assert estimator.compressions["c"] == [Compression(8, pytest.approx(0.6), 100.0)]


def test_workers_that_are_no_longer_alive_have_no_machine(database: Database, clock: MovableClock) -> None:
    record_heartbeat(database, "dead", "cpu", {}, CPU)
    clock.advance(31)
    record_heartbeat(database, "alive", "cpu", {}, Machine("cpu", 2))
    record_heartbeat(database, "also alive", "cpu", {}, Machine("cpu", 2))
    assert _estimator(database).machines == [Machine("cpu", 2)] * 2


def test_forecasts_that_have_ended_are_not_in_the_queue(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    ended, first = insert_rows(expected_bytes=10), insert_rows(expected_bytes=20)
    clock.advance(1)
    second = insert_rows()
    cancel_forecast(database, ended.id, "local")
    (waiting,) = _estimator(database).waiting.values()
    assert (waiting.num_forecasts, waiting.first_number) == (2, first.number)
    assert sum(part.expected_bytes for part in waiting.work) == 20
    for forecast in (first, second):
        cancel_forecast(database, forecast.id, "local")
    assert _estimator(database).waiting == {}


def test_a_forecast_whose_groups_are_all_done_has_nothing_left_to_compute(
    database: Database, insert_rows: Submit
) -> None:
    insert_rows(expected_bytes=1000)
    for lease in claim(database, "a", 30.0, 3):
        commit(database, lease, 4, 30.0)
    (running,) = _estimator(database).running
    assert (running.remaining, running.remaining_bytes) == (0.0, 0)


def test_the_group_size_is_the_smallest_best_batch_size_of_any_device(database: Database) -> None:
    assert choose_group_size(database, "c") == 8
    assert read_batch_size(database, "c", "cpu") is None
    save_batch_size(database, "c", "cpu", 12)
    save_batch_size(database, "c", "cuda: NVIDIA H100", 64)
    save_batch_size(database, "d", "cpu", 1)
    assert choose_group_size(database, "c") == 12
    save_batch_size(database, "c", "cpu", 100)
    assert (read_batch_size(database, "c", "cpu"), choose_group_size(database, "c")) == (100, 64)
