from collections.abc import Sequence
from dataclasses import replace

import pytest

from jobs.errors import DeadlineError
from jobs.machine import Machine
from jobs.planning.estimates import (
    Compression,
    Demand,
    Estimator,
    QueuedForecast,
    Speed,
    choose_nfe,
    compute_seconds,
    memory_bytes,
    speed_for_group_size,
)

CPU, GPU = Machine("cpu", 2), Machine("cuda: NVIDIA H100", 16)
SLOW = Speed(8, 1.0, 2.0, 0.5, 1000.0)
FAST = Speed(8, 0.1, 0.2, 0.05, 5000.0)
DEMAND = Demand("c", group_size=8, num_groups=3, num_lead_times=10, nfe=4)


def _estimator(
    machines: Sequence[Machine], *, queue: Sequence[QueuedForecast] = (), measured: Sequence[tuple[Machine, Speed]] = ()
) -> Estimator:
    return Estimator(
        {"c": measured or [(CPU, SLOW), (GPU, FAST)]}, {"c": [Compression(8, 0.8, 100.0)]}, machines, queue
    )


@pytest.mark.parametrize(
    ("groups", "lead_times", "nfe", "workers", "seconds"),
    [(1, 1, 1, 1, 3.5), (3, 10, 4, 1, 285.0), (3, 10, 4, 2, 190.0), (3, 10, 4, 3, 95.0), (3, 10, 4, 9, 95.0)],
)
def test_seconds_are_those_of_the_worker_with_the_most_groups(
    groups: int, lead_times: int, nfe: int, workers: int, seconds: float
) -> None:
    assert compute_seconds(SLOW, groups, lead_times, nfe, workers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("sizes", "group_size", "flow", "memory"),
    [([], 4, None, None), ([8], 8, 2.0, 1000.0), ([8], 4, 1.0, None), ([8], 12, 3.0, None), ([4, 8], 6, 1.5, 900.0)],
)
def test_the_speed_of_an_unmeasured_group_size_is_scaled(
    sizes: list[int], group_size: int, flow: float | None, memory: float | None
) -> None:
    measured = [Speed(size, 0.1 * size, 0.25 * size, 0.0, 600.0 + 50.0 * size) for size in sizes]
    speed = speed_for_group_size(measured, group_size)
    assert (speed and speed.flow_seconds) == flow
    if speed is not None:
        assert speed.is_scaled == (group_size not in sizes)
        assert speed.memory_bytes == (memory if memory == 900.0 or memory is None else measured[0].memory_bytes)


@pytest.mark.parametrize(
    ("machines", "speed"),
    [([CPU], SLOW), ([GPU], FAST), ([GPU, CPU], SLOW), ([], SLOW), ([Machine("cpu", 7), GPU], FAST)],
)
def test_the_speed_is_that_of_the_slowest_live_measured_worker(machines: list[Machine], speed: Speed) -> None:
    assert _estimator(machines).speed(DEMAND) == speed


def test_estimates_without_measurements_are_none() -> None:
    other = replace(DEMAND, checkpoint_digest="d")
    assert _estimator([CPU]).seconds(other) is None
    assert _estimator([Machine("cpu", 7)]).seconds(DEMAND) is None
    assert _estimator([CPU]).store_bytes("d", 8, 1000, 10) is None
    assert _estimator([CPU], queue=[QueuedForecast(other, 1.0, 1.0, 10)]).wait_seconds() is None
    assert _estimator([]).wait_seconds() is None
    assert memory_bytes(replace(SLOW, memory_bytes=None), 4, 10) is None


def test_the_wait_is_the_remaining_work_of_forecasts_accepted_before() -> None:
    queue = [QueuedForecast(DEMAND, 1.0, 0.5, 1000), QueuedForecast(DEMAND, 2.0, 1.0, 2000)]
    estimator = _estimator([CPU], queue=queue)
    assert estimator.wait_seconds() == pytest.approx(1.5 * 285)
    assert estimator.wait_seconds(before=2.0) == pytest.approx(0.5 * 285)
    assert estimator.wait_seconds(before=1.0) == 0
    shared = replace(estimator, machines=[CPU, CPU])
    assert (shared.seconds(DEMAND), shared.wait_seconds(before=2.0)) == pytest.approx((190, 95))
    assert estimator.remaining_bytes == 2500


def test_bytes_on_disk_are_chunks_metadata_and_index() -> None:
    assert _estimator([CPU]).store_bytes("c", 4, 1000, 10) == 910


def test_memory_grows_with_the_members_that_a_worker_holds() -> None:
    assert memory_bytes(SLOW, members=10, member_bytes=7) == 1210


@pytest.mark.parametrize(
    ("deadline", "wait", "nfe"),
    [(1000, 0, 6), (75, 0, 6), (74, 0, 4), (74, 20, 2), (26, 0, 2), (21, 0, 2), (30, 10, 2)],
)
def test_the_largest_nfe_that_leaves_a_margin_is_chosen(deadline: float, wait: float, nfe: int) -> None:
    assert choose_nfe(deadline, 7, 2, lambda nfe: 10.0 * nfe, wait) == nfe


def test_a_deadline_that_no_nfe_meets_is_refused_with_the_shortest_possible_one() -> None:
    with pytest.raises(
        DeadlineError, match=r"must be at least 30 s: about 10 s of waiting and 20 s with 2 evaluations"
    ):
        choose_nfe(29.0, 6, 2, lambda nfe: 10.0 * nfe, 10.0)


def test_without_measurements_the_checkpoints_own_nfe_is_chosen() -> None:
    assert choose_nfe(1.0, 6, 2, lambda _: None, 0.0) == 6
    assert choose_nfe(1.0, 6, 2, lambda _: 100.0, None) == 6
    assert choose_nfe(1.0, 1, 2, lambda _: None, None) == 2
