"""Damping by total wavenumber and latitude, on Gaussian and regular grids, and in the steps of a forecaster."""

from itertools import islice

import numpy as np
import pytest
import torch

from models.damping import Damping
from models.forecaster import Forecaster
from models.graphs import Graphs
from models.rollout import mean_rollout
from models.testing import tiny_networks, tiny_spec
from tests.unit.models.grids import GRIDS
from tests.unit.models.test_graphs import StandIn
from weather.damping_spec import DampingSpec
from weather.grids import Grid
from weather.manifest import ModelSpec, Sampling

CPU = torch.device("cpu")
TIME = np.datetime64("2018-09-15T06", "s")


def _spec(spec: ModelSpec, first_damped: int, gain: float) -> ModelSpec:
    """Return the specification with a damping from a wavenumber on and of all latitudes, of the second variable."""
    number = spec.grid.grid.highest_wavenumber + 1
    gains = (1.0,) * number, (1.0,) * first_damped + (gain,) * (number - first_damped)
    rows = spec.grid.grid.shape[0]
    latitudes = {"eddy_gains": ((1.0,) * rows, (gain,) * rows), "shifts": ((0.0,) * rows, (1 - gain,) * rows)}
    return spec.model_copy(update={"damping": DampingSpec(gains=gains, **latitudes)})


def _frames(spec: ModelSpec) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(3, 2, *spec.grid.grid.shape, generator=draw) for _ in range(spec.context_frames)]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_eddies_are_multiplied_and_zonal_means_shifted_by_variable_and_latitude(grid: Grid) -> None:
    draw = np.random.default_rng(0)
    ones = ((1.0,) * (grid.highest_wavenumber + 1),) * 2
    eddy_gains, shifts = draw.uniform(0.5, 1, (2, grid.shape[0])), draw.normal(size=(2, grid.shape[0]))
    spec = DampingSpec(gains=ones, eddy_gains=eddy_gains.tolist(), shifts=shifts.tolist())
    states = torch.from_numpy(draw.normal(size=(3, 2, *grid.shape))).float()
    zonal = states.numpy().mean(axis=-1, keepdims=True)
    expected = zonal + shifts[..., None] + eddy_gains[..., None] * (states.numpy() - zonal)
    np.testing.assert_allclose(Damping(spec, grid, CPU)(states).numpy(), expected, atol=2e-6)
    still = DampingSpec(gains=ones, eddy_gains=(eddy_gains * 0 + 1).tolist(), shifts=(shifts * 0).tolist())
    assert torch.equal(Damping(still, grid, CPU)(states), states), "gains of 1 and shifts of 0 leave every bit"


def test_a_step_and_the_rollout_of_the_mean_end_with_the_damping_of_the_specification() -> None:
    spec = tiny_spec()
    networks, frames = tiny_networks(spec), _frames(spec)
    noise = torch.randn(3, 2, *spec.grid.grid.shape, generator=torch.Generator().manual_seed(2))
    plain = Forecaster(networks, Sampling(nfe=2), CPU)
    damped = plain.with_damping(_spec(spec, 4, 0.6).damping)
    expected = damped.damp(plain.step(frames, TIME, noise))
    assert torch.equal(damped.step(frames, TIME, noise), expected)
    assert not torch.equal(expected[:, 1], plain.step(frames, TIME, noise)[:, 1])
    assert torch.equal(expected[:, 0], plain.step(frames, TIME, noise)[:, 0]), "gain 1"
    (first,) = islice(mean_rollout(damped, frames, init_time=TIME), 1)
    assert torch.equal(first, damped.damp(plain.warm_start(frames, TIME)[0]))
    assert damped.with_damping(None).spec == spec
    assert torch.equal(damped.with_damping(None).step(frames, TIME, noise), plain.step(frames, TIME, noise))


def test_a_lost_member_leaves_the_others_and_members_do_not_depend_on_their_batch() -> None:
    spec = tiny_spec()
    damping = Forecaster(tiny_networks(spec), Sampling(nfe=2), CPU).with_damping(_spec(spec, 2, 0.7).damping)
    states = _frames(spec)[0]
    whole = damping.damp(states)
    broken = states.clone()
    broken[1, 1, 3, 4] = torch.nan
    assert torch.equal(damping.damp(broken)[[0, 2]], whole[[0, 2]])
    assert damping.damp(broken)[1, 1].isnan().all()


def test_a_recorded_step_is_damped_too() -> None:
    spec = _spec(tiny_spec(), 3, 0.5)
    networks, frames = tiny_networks(tiny_spec()), _frames(spec)
    graphs: Graphs = StandIn()
    eager = Forecaster(networks, Sampling(nfe=2), CPU).with_damping(spec.damping)
    recorded = eager.with_sampling(Sampling(nfe=2), graphs)
    for number in range(4):
        noise = torch.randn(3, 2, *spec.grid.grid.shape, generator=torch.Generator().manual_seed(number))
        assert torch.equal(recorded.step(frames, TIME, noise), eager.step(frames, TIME, noise))
