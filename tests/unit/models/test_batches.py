import itertools

import numpy as np
import pytest
import torch

from models.batches import Batches
from models.errors import OutOfMemoryError
from models.forecaster import Forecaster
from models.rollout import rollout
from models.testing import tiny_networks, tiny_spec
from weather.manifest import Sampling

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")


class Scarce(Forecaster):
    """A forecaster on a device that takes `most` members at once; `error` is what it says of more."""

    most = 8
    error: Exception = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    def step(
        self, previous: torch.Tensor, newest: torch.Tensor, valid_time: np.datetime64, noise: torch.Tensor
    ) -> torch.Tensor:
        if len(newest) > self.most:
            raise self.error
        return super().step(previous, newest, valid_time, noise)


def _batches(most: int, error: Exception = Scarce.error) -> Batches:
    scarce = Scarce(tiny_networks(tiny_spec()), Sampling(nfe=2), CPU)
    scarce.most, scarce.error = most, error
    return Batches(scarce, 8)


def _run(batches: Batches) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    previous, newest = (6 * torch.randn(8, 2, 16, 32, generator=draw) for _ in range(2))
    states = rollout(batches, previous, newest, members=range(8), seed=1, init_time=INIT_TIME)
    return torch.stack(list(itertools.islice(states, 3)))


@pytest.mark.parametrize(("most", "left"), [(8, 8), (7, 4), (3, 2), (1, 1)])
@pytest.mark.parametrize("error", [Scarce.error, RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_a_batch_that_does_not_fit_is_halved_to_the_same_forecast(most: int, left: int, error: Exception) -> None:
    batches = _batches(most, error)
    torch.testing.assert_close(_run(batches), _run(_batches(8)), rtol=0, atol=1e-4)
    assert batches.size == left


def test_a_device_too_small_for_one_member_is_told() -> None:
    with pytest.raises(OutOfMemoryError, match="A single member does not fit into the memory of cpu: CUDA out of mem"):
        _run(_batches(0))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="illegal instruction"):
        _run(_batches(4, RuntimeError("illegal instruction")))
