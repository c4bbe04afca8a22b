import itertools

import numpy as np
import pytest
import torch

from models.forecaster import Forecaster
from models.guards import RangeGuard
from models.rollout import rollout
from models.testing import tiny_networks, tiny_spec
from weather.manifest import Sampling
from weather.variables import KNOWN

CPU = torch.device("cpu")
INIT_TIME = np.datetime64("2018-09-15T00", "s")
GUARD = RangeGuard((KNOWN["u10"], KNOWN["t2m"]), CPU)


def _states() -> torch.Tensor:
    states = torch.zeros(4, 2, 3, 5)
    states[:, 1] = 280.0
    return states


def test_sound_members_pass_as_they_are() -> None:
    assert torch.equal(GUARD(_states()), _states())


@pytest.mark.parametrize(
    ("channel", "value"),
    [(0, torch.nan), (0, torch.inf), (1, -torch.inf), (0, 150.1), (0, -150.1), (1, 149.0), (1, 351.0)],
)
def test_a_member_that_is_wrong_anywhere_is_lost_whole_and_alone(channel: int, value: float) -> None:
    states = _states()
    states[2, channel, 1, 3] = value
    guarded = GUARD(states)
    assert guarded[2].isnan().all()
    assert torch.equal(guarded[[0, 1, 3]], _states()[[0, 1, 3]])


class Failing(Forecaster):
    """Loses one member of a batch at one valid time."""

    def step(
        self, previous: torch.Tensor, newest: torch.Tensor, valid_time: np.datetime64, noise: torch.Tensor
    ) -> torch.Tensor:
        states = super().step(previous, newest, valid_time, noise)
        if valid_time == INIT_TIME + 2 * self.spec.time_step:
            states = states.clone()
            states[1, 0, 4, 4] = torch.nan
        return states


def _run(kind: type[Forecaster]) -> torch.Tensor:
    forecaster = kind(tiny_networks(tiny_spec()), Sampling(nfe=2), CPU)
    frame = torch.zeros(1, 2, 16, 32).expand(3, -1, -1, -1)
    states = rollout(forecaster, frame, frame, members=range(3), seed=4, init_time=INIT_TIME)
    return torch.stack(list(itertools.islice(states, 5)))


def test_a_member_that_fails_is_nan_from_there_on_and_the_others_are_bit_equal() -> None:
    sound, failed = _run(Forecaster), _run(Failing)
    assert torch.equal(failed[:2], sound[:2])
    assert failed[2:, 1].isnan().all()
    assert torch.equal(failed[:, [0, 2]], sound[:, [0, 2]])
