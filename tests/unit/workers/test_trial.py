import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.errors import OutOfMemoryError
from models.testing import tiny_spec
from workers.trial import best_batch_size


class Device:
    """A stepper that takes `seconds(members)` for a step, and runs out of memory beyond `most` members."""

    def __init__(self, seconds: Callable[[int], float], most: int = 10**9) -> None:
        self.spec, self.device = tiny_spec(), torch.device("cpu")
        self._seconds, self._most = seconds, most

    def step(
        self, previous: torch.Tensor, newest: torch.Tensor, valid_time: np.datetime64, noise: torch.Tensor
    ) -> torch.Tensor:
        if len(newest) > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        time.sleep(self._seconds(len(newest)))
        return newest


def test_groups_grow_while_that_makes_members_faster() -> None:
    assert best_batch_size(Device(lambda members: 0.05 * max(members, 20) / 20), (8, 16, 32, 64)) == 32


def test_groups_stay_small_where_time_is_proportional_to_members() -> None:
    assert best_batch_size(Device(lambda members: 0.005 * members), (8, 16, 32)) == 8


@pytest.mark.parametrize(("most", "found"), [(20, 16), (5, 4)])
def test_groups_fit_into_memory(most: int, found: int) -> None:
    assert best_batch_size(Device(lambda _: 0.02, most), (8, 16, 32)) == found


def test_a_device_too_small_for_one_member_is_refused() -> None:
    with pytest.raises(OutOfMemoryError):
        best_batch_size(Device(lambda _: 0.0, 0))
