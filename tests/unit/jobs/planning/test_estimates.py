from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.dispatching.live_workers import Machine
from jobs.errors import DeadlineError
from jobs.planning.estimates import (
    Compression,
    Demand,
    Estimator,
    RunningForecast,
    Speed,
    WaitingForecasts,
    WaitingWork,
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
    machines: Sequence[Machine],
    *,
    running: Sequence[RunningForecast] = (),
    waiting: Mapping[str, WaitingForecasts] | None = None,
    measured: Sequence[tuple[Machine, Speed]] = (),
) -> Estimator:
    speeds = {"c": measured or [(CPU, SLOW), (GPU, FAST)]}
    return Estimator(speeds, {"c": [Compression(8, 0.8, 100.0)]}, machines, running, waiting or {})


def _waiting(*demands: Demand, first_number: int = 1) -> WaitingForecasts:
    """The waiting forecasts of an owner, of 1000 bytes each."""
    work = []
    for demand in demands:
        steps = demand.num_groups * demand.num_lead_times
        work.append(WaitingWork(demand.checkpoint_digest, demand.group_size, steps, steps * demand.nfe, 1000))
    return WaitingForecasts(len(demands), first_number, work)


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
    assert _estimator([CPU], running=[RunningForecast(other, 1.0, 10)]).wait_seconds("a") is None
    assert _estimator([CPU], waiting={"a": _waiting(other)}).wait_seconds("a") is None
    assert _estimator([]).wait_seconds("a") is None
    assert memory_bytes(replace(SLOW, memory_bytes=None), 4, 10, 3) is None


def test_the_wait_is_the_remaining_work_of_forecasts_accepted_before() -> None:
    running, waiting = [RunningForecast(DEMAND, 0.5, 1000)], {"a": _waiting(DEMAND, DEMAND, first_number=7)}
    estimator = _estimator([CPU], running=running, waiting=waiting)
    assert estimator.wait_seconds("a") == pytest.approx(2.5 * 285)
    assert [estimator.wait_seconds("a", number) for number in (7, 8)] == pytest.approx([0.5 * 285, 1.5 * 285])
    shared = replace(estimator, machines=[CPU, CPU])
    assert (shared.seconds(DEMAND), shared.wait_seconds("a", 7)) == pytest.approx((190, 95))
    assert shared.wait_seconds("a", 8) == pytest.approx(95 + 285 / 2), "two workers share the waiting work equally"
    assert estimator.remaining_bytes == 2500


def test_an_owner_waits_for_one_forecast_of_each_other_owner_at_each_of_its_own() -> None:
    large = replace(DEMAND, num_lead_times=1000)
    waiting = {"many": _waiting(*[DEMAND] * 100), "few": _waiting(DEMAND, DEMAND), "large": _waiting(large)}
    estimator = _estimator([CPU], waiting=waiting)
    assert estimator.wait_seconds("new") == pytest.approx((1 + 1 + 100) * 285), "not for the 99 others of many"
    assert estimator.wait_seconds("few", 1) == pytest.approx((1 + 100) * 285)
    assert estimator.wait_seconds("few", 2) == pytest.approx((1 + 2 + 100) * 285)
    assert estimator.wait_seconds("many") == pytest.approx((100 + 2 + 100) * 285)
    assert estimator.wait_seconds("large", 1) == pytest.approx((1 + 1) * 285)


def test_numbers_of_cancelled_forecasts_do_not_make_the_wait_longer_than_the_queue() -> None:
    estimator = _estimator([CPU], waiting={"a": _waiting(DEMAND, DEMAND, first_number=10)})
    assert estimator.wait_seconds("a", 5000) == pytest.approx(285)
    assert estimator.wait_seconds("a", 3) == 0, "it has started in the meantime"


def test_bytes_on_disk_are_chunks_metadata_and_index() -> None:
    assert _estimator([CPU]).store_bytes("c", 4, 1000, 10) == 910


def test_memory_grows_with_the_members_that_a_worker_holds() -> None:
    assert memory_bytes(SLOW, members=10, member_bytes=7, num_fields=3) == 1210
    assert memory_bytes(SLOW, members=10, member_bytes=7, num_fields=5) == 1350


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


def _seconds(estimator: Estimator, demand: Demand) -> float:
    seconds = estimator.seconds(demand)
    assert seconds is not None
    return seconds


@given(
    members=st.integers(1, 400),
    group_size=st.integers(1, 32),
    lead_times=st.integers(1, 60),
    nfe=st.integers(1, 50),
    workers=st.integers(0, 5),
)
def test_estimates_never_decrease_with_members_lead_times_or_evaluations(
    members: int, group_size: int, lead_times: int, nfe: int, workers: int
) -> None:
    estimator = _estimator([CPU] * workers)

    def seconds(members: int, lead_times: int, nfe: int) -> float:
        return _seconds(estimator, Demand("c", group_size, -(-members // group_size), lead_times, nfe))

    base = seconds(members, lead_times, nfe)
    assert base > 0
    assert seconds(members + 1, lead_times, nfe) >= base
    assert seconds(members, lead_times + 1, nfe) > base
    assert seconds(members, lead_times, nfe + 1) > base
    sizes = [memory_bytes(SLOW, number, 1000, 3) or 0 for number in (members, members + 1)]
    assert SLOW.memory_bytes is not None
    assert SLOW.memory_bytes < sizes[0] < sizes[1]


@given(groups=st.integers(1, 200), workers=st.integers(1, 40))
def test_another_worker_never_makes_a_forecast_slower_nor_the_work_less(groups: int, workers: int) -> None:
    seconds, with_another = (compute_seconds(SLOW, groups, 10, 4, number) for number in (workers, workers + 1))
    alone = compute_seconds(SLOW, groups, 10, 4)
    assert with_another <= seconds <= alone
    assert seconds * workers >= alone * (1 - 1e-12)


@given(sizes=st.sets(st.integers(1, 64), min_size=1, max_size=5), group_size=st.integers(1, 128))
def test_a_speed_that_is_proportional_to_the_group_size_is_found_at_every_size(
    sizes: set[int], group_size: int
) -> None:
    measured = [Speed(size, 0.1 * size, 0.25 * size, 0.05 * size, 600.0) for size in sizes]
    speed = speed_for_group_size(measured, group_size)
    assert speed is not None
    assert speed.group_size == group_size
    assert speed.lead_time_seconds(4) == pytest.approx((0.1 + 4 * 0.25 + 0.05) * group_size)
    assert speed.is_scaled == (group_size not in sizes)
    assert (speed.memory_bytes is None) == (not min(sizes) <= group_size <= max(sizes))


def test_an_interpolated_speed_lies_between_the_measured_ones() -> None:
    low, high = Speed(4, 1.0, 1.0, 1.0, 100.0), Speed(16, 2.0, 5.0, 3.0, None)
    seconds = []
    for size in range(4, 17):
        speed = speed_for_group_size([high, low], size)
        assert speed is not None
        seconds.append(speed.lead_time_seconds(6))
    assert seconds == sorted(seconds)
    assert (seconds[0], seconds[-1]) == (low.lead_time_seconds(6), high.lead_time_seconds(6))
    between = speed_for_group_size([high, low], 10)
    assert between is not None
    assert between.memory_bytes is None, "the memory of one of the two was never measured"


def test_speeds_of_another_machine_with_the_same_device_are_not_used() -> None:
    """Twice the threads compute faster: the speed of one machine says nothing about the other."""
    measured = [(Machine("cpu", 2), SLOW), (Machine("cpu", 16), FAST)]
    assert _estimator([Machine("cpu", 16)], measured=measured).speed(DEMAND) == FAST
    assert _estimator([Machine("cpu", 4)], measured=measured).speed(DEMAND) is None


def test_which_machine_is_the_slowest_depends_on_the_evaluations() -> None:
    starts_slowly, flows_slowly = Speed(8, 10.0, 0.1, 0.0, None), Speed(8, 0.0, 1.0, 0.0, None)
    estimator = _estimator([CPU, GPU], measured=[(CPU, starts_slowly), (GPU, flows_slowly)])
    assert estimator.speed(replace(DEMAND, nfe=2)) == starts_slowly
    assert estimator.speed(replace(DEMAND, nfe=20)) == flows_slowly


def test_without_live_workers_the_latest_measurement_is_used() -> None:
    estimator = _estimator([], measured=[(GPU, FAST), (CPU, SLOW)])
    assert estimator.speed(DEMAND) == FAST
    assert _seconds(estimator, DEMAND) == compute_seconds(FAST, 3, 10, 4, 1)


@given(remaining=st.lists(st.floats(0, 1), max_size=6), number=st.integers(0, 6))
def test_the_wait_is_the_sum_over_the_queue(remaining: list[float], number: int) -> None:
    running = [RunningForecast(DEMAND, part, 1000) for part in remaining]
    waiting = {"a": _waiting(*[DEMAND] * number)} if number else {}
    estimator = _estimator([CPU], running=running, waiting=waiting)
    before = sum(remaining) * 285.0
    waits = [estimator.wait_seconds("a", index + 1) for index in range(number)]
    assert waits == pytest.approx([before + index * 285.0 for index in range(number)])
    assert estimator.wait_seconds("a") == pytest.approx(before + number * 285.0)
    assert estimator.remaining_bytes == sum(round(1000 * part) for part in remaining) + 1000 * number


def test_waiting_forecasts_of_an_unmeasured_checkpoint_make_the_wait_of_those_behind_them_unknown() -> None:
    unmeasured = replace(DEMAND, checkpoint_digest="d")
    estimator = _estimator([CPU], running=[RunningForecast(DEMAND, 1.0, 0)], waiting={"a": _waiting(unmeasured)})
    assert estimator.wait_seconds("a", 1) == pytest.approx(285)
    assert estimator.wait_seconds("a") is None
    assert estimator.wait_seconds("b") is None


@pytest.mark.parametrize(("group_size", "ratio"), [(1, 0.9), (5, 0.9), (7, 0.5), (100, 0.5)])
def test_the_compression_is_that_of_the_nearest_group_size(group_size: int, ratio: float) -> None:
    compressions = {"c": [Compression(8, 0.5, 100.0), Compression(4, 0.9, 100.0)]}
    estimator = Estimator({}, compressions, [CPU], [])
    assert estimator.store_bytes("c", group_size, 10_000, 10) == ratio * 10_000 + 110


@given(
    deadline=st.floats(1, 500),
    maximum=st.integers(1, 40),
    per_step=st.sampled_from([1, 2]),
    wait=st.floats(0, 100),
    cost=st.floats(0.1, 20),
)
def test_the_chosen_nfe_equals_that_of_a_search_over_all(
    deadline: float, maximum: int, per_step: int, wait: float, cost: float
) -> None:
    def seconds(nfe: int) -> float:
        return cost * (1 + nfe)

    def choose() -> int:
        return choose_nfe(deadline, maximum, per_step, seconds, wait)

    allowed = [nfe for nfe in range(1, maximum + 1) if nfe % per_step == 0] or [per_step]
    within = [nfe for nfe in allowed if 1.25 * (wait + seconds(nfe)) <= deadline]
    if within:
        assert choose() == max(within)
    elif wait + seconds(allowed[0]) <= deadline:
        assert choose() == allowed[0]
    else:
        with pytest.raises(DeadlineError, match="`deadline_seconds` must be at least"):
            choose()
