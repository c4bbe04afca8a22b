import itertools

import numpy as np
import pytest
import torch

from models.forecaster import Forecaster
from models.guards import ValidRange
from models.rollout import rollout
from models.testing import tiny_networks, tiny_spec
from weather.manifest import Sampling
from weather.variables import KNOWN

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")
VALID_RANGE = ValidRange((KNOWN["u10"], KNOWN["t2m"]), CPU)


def _states() -> torch.Tensor:
    states = torch.zeros(4, 2, 3, 5)
    states[:, 1] = 280.0
    return states


def test_members_within_the_valid_range_are_unchanged() -> None:
    assert torch.equal(VALID_RANGE.mask_lost_members(_states()), _states())


@pytest.mark.parametrize(
    ("channel", "value"),
    [(0, torch.nan), (0, torch.inf), (1, -torch.inf), (0, 150.1), (0, -150.1), (1, 149.0), (1, 351.0)],
)
def test_a_member_with_one_invalid_value_is_masked_whole_and_the_others_are_not(channel: int, value: float) -> None:
    states = _states()
    states[2, channel, 1, 3] = value
    masked = VALID_RANGE.mask_lost_members(states)
    assert masked[2].isnan().all()
    assert torch.equal(masked[[0, 1, 3]], _states()[[0, 1, 3]])


class FailingForecaster(Forecaster):
    """A forecaster that returns a NaN in one member at one valid time."""

    def step(
        self, previous: torch.Tensor, newest: torch.Tensor, valid_time: np.datetime64, noise: torch.Tensor
    ) -> torch.Tensor:
        states = super().step(previous, newest, valid_time, noise)
        if valid_time == INIT_TIME + 2 * self.spec.time_step:
            states = states.clone()
            states[1, 0, 4, 4] = torch.nan
        return states


def _run(forecaster_type: type[Forecaster]) -> torch.Tensor:
    forecaster = forecaster_type(tiny_networks(tiny_spec()), Sampling(nfe=2), CPU)
    frame = torch.zeros(1, 2, 16, 32).expand(3, -1, -1, -1)
    states = rollout(forecaster, frame, frame, members=range(3), seed=4, init_time=INIT_TIME)
    return torch.stack(list(itertools.islice(states, 5)))


def test_a_lost_member_is_nan_from_then_on_and_the_others_are_bit_equal() -> None:
    expected, with_lost = _run(Forecaster), _run(FailingForecaster)
    assert torch.equal(with_lost[:2], expected[:2])
    assert with_lost[2:, 1].isnan().all()
    assert torch.equal(with_lost[:, [0, 2]], expected[:, [0, 2]])
