import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.batches import BatchedStepper, measure_best_batch_size
from models.errors import OutOfMemoryError
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from models.rollout import rollout
from models.shapes import Frames
from models.testing import tiny_networks, tiny_spec
from weather.manifest import NoiseSpec, Sampling

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")


class LimitedForecaster(Forecaster):
    """A forecaster on a device with memory for `capacity` members; it raises `error` for more."""

    capacity = 8
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
        if len(frames[0]) > self.capacity:
            raise self.error
        return super().step(frames, valid_time, noise)


def _stepper(capacity: int, error: Exception = LimitedForecaster.error) -> BatchedStepper:
    forecaster = LimitedForecaster(tiny_networks(tiny_spec()), Sampling(nfe=2), CPU)
    forecaster.capacity, forecaster.error = capacity, error
    return BatchedStepper(forecaster, 8)


def _run(stepper: BatchedStepper) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    newest, previous = (6 * torch.randn(8, 2, 16, 32, generator=draw) for _ in range(2))
    noise = ForecastNoise.of(tiny_spec(), NoiseSpec(correlation=0.3), seed=1, init_time=INIT_TIME)
    states = rollout(stepper, (newest, previous), noise.draw(range(8)), init_time=INIT_TIME)
    return torch.stack(list(itertools.islice(states, 3)))


@pytest.mark.parametrize(("capacity", "size"), [(8, 8), (7, 4), (3, 2), (1, 1)])
@pytest.mark.parametrize(
    "error", [LimitedForecaster.error, RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_forecast(
    capacity: int, size: int, error: Exception
) -> None:
    stepper = _stepper(capacity, error)
    torch.testing.assert_close(_run(stepper), _run(_stepper(8)), rtol=0, atol=1e-4)
    assert stepper.size == size


def test_a_size_that_was_halved_stays_and_smaller_batches_do_not_lower_it() -> None:
    stepper = _stepper(4)
    _run(stepper)
    fields = torch.zeros(3, 2, 16, 32)
    assert stepper.step((fields, fields), INIT_TIME, fields).shape == fields.shape
    assert stepper.size == 4


def test_a_batch_smaller_than_the_size_is_halved_from_its_own_number_of_members() -> None:
    stepper, fields = _stepper(2), torch.zeros(5, 2, 16, 32)
    assert stepper.step((fields, fields), INIT_TIME, fields).shape == fields.shape
    assert stepper.size == 2


def test_a_member_that_does_not_fit_alone_raises() -> None:
    with pytest.raises(OutOfMemoryError, match="A single member does not fit into the memory of cpu: CUDA out of mem"):
        _run(_stepper(0))


def test_other_errors_are_not_caught() -> None:
    with pytest.raises(RuntimeError, match="illegal instruction"):
        _run(_stepper(4, RuntimeError("illegal instruction")))


class TimedStepper:
    """A stepper whose step takes `seconds(members)` of its own clock, and whose memory holds `capacity` members."""

    def __init__(self, seconds: Callable[[int], float], capacity: int = 10**9) -> None:
        self.spec, self.device = tiny_spec(4, 8), CPU
        self.now, self.steps = 100.0, Counter[int]()
        self._seconds, self._capacity = seconds, capacity

    def step(self, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
        members = len(noise)
        if members > self._capacity:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.steps[members] += 1
        self.now += self._seconds(members)
        return frames[0]


def _best_size(stepper: TimedStepper, sizes: tuple[int, ...] = (8, 16, 32, 64)) -> int:
    return measure_best_batch_size(stepper, sizes, lambda: stepper.now)


def test_the_batch_size_grows_while_the_time_per_member_falls() -> None:
    assert _best_size(TimedStepper(lambda members: 0.05 * max(members, 20) / 20)) == 32


def test_the_smallest_batch_size_is_best_where_time_is_proportional_to_members() -> None:
    stepper = TimedStepper(lambda members: 0.005 * members)
    assert _best_size(stepper) == 8
    assert set(stepper.steps) == {8, 16}


@pytest.mark.parametrize(("gain", "best"), [(0.06, 64), (0.04, 8)])
def test_a_larger_batch_must_save_a_twentieth_of_the_time_per_member(gain: float, best: int) -> None:
    stepper = TimedStepper(lambda members: members * (1 - gain) ** (members.bit_length() - 4))
    assert _best_size(stepper) == best


def test_the_largest_size_is_best_where_time_does_not_depend_on_the_members() -> None:
    assert _best_size(TimedStepper(lambda _: 1.0)) == 64
    assert _best_size(TimedStepper(lambda _: 1.0), (8,)) == 8


def test_a_slow_first_step_does_not_count() -> None:
    """The first step of a size may include a compilation."""
    stepper = TimedStepper(lambda members: 10.0 if stepper.steps[members] == 1 else 0.02)
    assert _best_size(stepper) == 64
    assert stepper.steps == {8: 2, 16: 2, 32: 2, 64: 2}


@pytest.mark.parametrize(("capacity", "size"), [(20, 16), (5, 4)])
def test_the_best_batch_size_fits_into_memory(capacity: int, size: int) -> None:
    assert _best_size(TimedStepper(lambda _: 0.02, capacity)) == size


def test_no_batch_size_fits_where_a_member_does_not() -> None:
    with pytest.raises(OutOfMemoryError):
        _best_size(TimedStepper(lambda _: 0.0, 0))
