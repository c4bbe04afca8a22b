"""The colour of the noise of a rollout."""

import math

import numpy as np
import pytest
import torch

from models.batches import BatchedStepper
from models.colour import Colour
from models.forecaster import Forecaster
from models.graphs import Graphs
from models.harmonic_gains import HarmonicGains
from models.rollout import rollout
from models.testing import tiny_networks, tiny_spec
from tests.unit.models.test_graphs import StandIn
from weather.manifest import Sampling
from weather.noise_colour import NoiseColour

CPU, SAMPLING = torch.device("cpu"), Sampling(nfe=2)
TIME = np.datetime64("2018-09-15T06", "s")
SPEC = tiny_spec()
SHAPE = (3, 2, *SPEC.grid.grid.shape)
GAINS = np.random.default_rng(0).uniform(0.5, 2, (2, SPEC.grid.grid.highest_wavenumber + 1)).tolist()
COLOUR = NoiseColour.model_validate({"gains": GAINS, "decay_hours": 12})


def _draw(number: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))


FRAMES = [_draw(number) for number in range(SPEC.context_frames)]


def _rollout(forecaster: Forecaster, *, first_step: int = 0, number: int = 4) -> list[torch.Tensor]:
    noise = [_draw(10 + step) for step in range(first_step, first_step + number)]
    return list(rollout(forecaster, FRAMES, noise, init_time=TIME, first_step=first_step))


def test_the_noise_of_each_step_has_as_much_of_the_colour_as_is_left() -> None:
    plain = Forecaster(tiny_networks(SPEC), SAMPLING, CPU)
    coloured = plain.with_colour(COLOUR)
    gains = HarmonicGains(COLOUR.gains, SPEC.grid.grid, CPU)
    weights = [math.exp(-step / 2) for step in range(4)]
    noise = [gains(_draw(10 + step), weight) for step, weight in enumerate(weights)]
    expected = list(rollout(plain, FRAMES, noise, init_time=TIME))
    for found, states in zip(_rollout(coloured), expected, strict=True):
        assert torch.equal(found, states)
    assert not torch.equal(expected[0], _rollout(plain)[0])
    for found, states in zip(_rollout(coloured.with_colour(None)), _rollout(plain), strict=True):
        assert torch.equal(found, states)


def test_a_rollout_that_is_resumed_goes_on_with_what_is_left_and_late_steps_have_no_colour() -> None:
    plain = Forecaster(tiny_networks(SPEC), SAMPLING, CPU)
    coloured = plain.with_colour(COLOUR)
    weighted = HarmonicGains(COLOUR.gains, SPEC.grid.grid, CPU)(_draw(12), math.exp(-1))
    (expected,) = rollout(plain, FRAMES, [weighted], init_time=TIME, first_step=2)
    assert torch.equal(_rollout(coloured, first_step=2, number=1)[0], expected)
    assert COLOUR.weight_at(9, 6) == pytest.approx(0.0111, abs=1e-4)
    assert COLOUR.weight_at(10, 6) == 0
    assert torch.equal(_rollout(coloured, first_step=10)[0], _rollout(plain, first_step=10)[0])


def test_members_are_coloured_one_by_one_where_memory_does_not_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = Colour(SPEC.model_copy(update={"colour": COLOUR}), CPU)
    whole, apply = colour(_draw(1), 1), HarmonicGains.__call__

    def need_memory(gains: HarmonicGains, fields: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
        if len(fields) > 1:
            raise torch.OutOfMemoryError
        return apply(gains, fields, weight)

    monkeypatch.setattr(HarmonicGains, "__call__", need_memory)
    torch.testing.assert_close(colour(_draw(1), 1), whole)


def test_the_colour_is_that_of_the_specification_for_recorded_steps_and_batches_too() -> None:
    spec = SPEC.model_copy(update={"colour": COLOUR})
    eager = Forecaster(tiny_networks(spec), SAMPLING, CPU)
    given = Forecaster(tiny_networks(SPEC), SAMPLING, CPU).with_colour(COLOUR)
    graphs: Graphs = StandIn()
    expected = _rollout(given)
    for stepper in (eager, eager.with_sampling(SAMPLING, graphs)):
        for found, states in zip(_rollout(stepper), expected, strict=True):
            assert torch.equal(found, states)
    batches = rollout(BatchedStepper(eager, 2), FRAMES, [_draw(10)], init_time=TIME)
    torch.testing.assert_close(next(batches), expected[0])
