import itertools

import numpy as np
import pytest
import torch

from models.forecaster import Forecaster
from models.networks import Networks
from models.noise import white_noise
from models.testing import tiny_networks, tiny_spec
from weather.features import feature_fields
from weather.manifest import Sampling

CPU = torch.device("cpu")
VALID_TIME = np.datetime64("2018-09-15T06", "s")


@pytest.fixture
def networks() -> Networks:
    return tiny_networks(tiny_spec())


def _frames(members: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    previous, newest = (6 * torch.randn(members, 2, 16, 32, generator=draw) for _ in range(2))
    return newest, previous


def _noise(members: int = 3) -> torch.Tensor:
    return white_noise(1, VALID_TIME, range(members), 0, (2, 16, 32))


@torch.inference_mode()
def _algorithm_2(networks: Networks, sampling: Sampling) -> torch.Tensor:
    """Return one step of Algorithm 2 without the layers, caches and solvers of the forecaster."""
    newest, previous = _frames()
    std = torch.tensor([6.0, 5.0])[:, None, None]
    features = torch.from_numpy(feature_fields(networks.spec.features, networks.spec.grid.grid, VALID_TIME))
    constant = torch.cat([networks.context.static, features]).expand(3, -1, -1, -1)
    context = torch.cat([newest / std, previous / std, constant], dim=1)
    mean, sigma = networks.warm_start(context)
    w = sampling.warmth
    scale = w * torch.maximum(sigma, torch.tensor(1 - w)) + (1 - w)

    def velocity(x_t: torch.Tensor, t: float) -> torch.Tensor:
        times, warmth = torch.full((3,), t), torch.full((3,), w)
        output: torch.Tensor = networks.flow(x_t, times, warmth, context, mean, scale)
        return output

    grid = [1 - (1 - i / sampling.num_steps) ** sampling.power for i in range(sampling.num_steps + 1)]
    x = _noise()
    for t, t_next in itertools.pairwise(grid):
        v = velocity(x, t)
        if sampling.solver == "midpoint":
            v = velocity(x + (t_next - t) / 2 * v, (t + t_next) / 2)
        x = x + (t_next - t) * v
    return (x * scale + mean) * std


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(solver="midpoint", nfe=4),
        Sampling(solver="midpoint", nfe=6, power=2.0),
        Sampling(solver="euler", nfe=5, power=1.5),
        Sampling(solver="euler", nfe=1),
        Sampling(solver="midpoint", nfe=2, warmth=0.6),
        Sampling(solver="midpoint", nfe=2, warmth=0.0),
    ],
)
def test_a_step_is_algorithm_2(networks: Networks, sampling: Sampling) -> None:
    got = Forecaster(networks, sampling, CPU).step(_frames(), VALID_TIME, _noise())
    torch.testing.assert_close(got, _algorithm_2(networks, sampling), rtol=0, atol=1e-4)


def test_the_warm_start_is_given_in_physical_units(networks: Networks) -> None:
    newest, previous = _frames()
    mean, std = Forecaster(networks, Sampling(nfe=2), CPU).warm_start((newest, previous), VALID_TIME)
    features = torch.from_numpy(feature_fields(networks.spec.features, networks.spec.grid.grid, VALID_TIME)[None])
    with torch.inference_mode():
        normalised = networks.warm_start(networks.context((newest, previous), features))
    units = torch.tensor([6.0, 5.0])[:, None, None]
    torch.testing.assert_close(mean, normalised[0] * units)
    torch.testing.assert_close(std, normalised[1] * units)


def test_a_step_changes_none_of_its_arguments(networks: Networks) -> None:
    arguments = [*_frames(), _noise()]
    before = [argument.clone() for argument in arguments]
    newest, previous, noise = arguments
    states = Forecaster(networks, Sampling(nfe=4), CPU).step((newest, previous), VALID_TIME, noise)
    for argument, copy in zip(arguments, before, strict=True):
        assert torch.equal(argument, copy)
        assert states.data_ptr() != argument.data_ptr()


def test_a_step_does_not_depend_on_earlier_steps_of_the_forecaster(networks: Networks) -> None:
    """Embeddings of flow time are kept from the first step on; fields must not be."""
    forecaster, (newest, previous) = Forecaster(networks, Sampling(nfe=4), CPU), _frames()
    first = forecaster.step((newest, previous), VALID_TIME, _noise())
    forecaster.step((previous[:1], newest[:1]), VALID_TIME + np.timedelta64(90, "D"), _noise(1))
    assert torch.equal(forecaster.step((newest, previous), VALID_TIME, _noise()), first)


class Observer:
    """An observer that records the evaluations, and raises at the one numbered `stop_at`, from 1."""

    def __init__(self, stop_at: int = 0) -> None:
        self.evaluations: list[tuple[str, int]] = []
        self._stop_at = stop_at

    def before_evaluation(self, network: str, members: int) -> None:
        self.evaluations.append((network, members))
        if len(self.evaluations) == self._stop_at:
            raise KeyboardInterrupt

    def before_step(self, warm_start: int, flow: int) -> None:
        self.evaluations += [("warm_start", warm_start), ("flow", flow)]


@pytest.mark.parametrize(("solver", "nfe"), [("euler", 3), ("midpoint", 6)])
def test_the_observer_is_called_for_one_warm_start_and_every_evaluation_of_the_flow(
    networks: Networks, solver: str, nfe: int
) -> None:
    observer, sampling = Observer(), Sampling().replace(solver=solver, nfe=nfe)
    Forecaster(networks, sampling, CPU, observer=observer).step(_frames(), VALID_TIME, _noise())
    assert observer.evaluations == [("warm_start", 3), *[("flow", 3)] * nfe]


def test_an_observer_that_raises_ends_the_step_before_the_evaluation(networks: Networks) -> None:
    observer = Observer(stop_at=3)
    forecaster = Forecaster(networks, Sampling(nfe=6), CPU, observer=observer)
    with pytest.raises(KeyboardInterrupt):
        forecaster.step(_frames(), VALID_TIME, _noise())
    assert [network for network, _ in observer.evaluations] == ["warm_start", "flow", "flow"]


def test_members_that_share_one_frame_differ_by_their_noise_alone(networks: Networks) -> None:
    newest, previous = (frame[:1].expand(3, -1, -1, -1) for frame in _frames())
    noise = _noise()
    noise[2] = noise[0]
    states = Forecaster(networks, Sampling(nfe=2), CPU).step((newest, previous), VALID_TIME, noise)
    torch.testing.assert_close(states[2], states[0])
    assert (states[1] - states[0]).abs().max() > 0.1


def test_one_shared_frame_alone_is_not_enough_to_share_the_warm_start(networks: Networks) -> None:
    """The older frames are one, the newest differ by member."""
    newest, previous = _frames()
    shared = previous[:1].expand(3, -1, -1, -1)
    forecaster = Forecaster(networks, Sampling(nfe=2), CPU)
    got = forecaster.step((newest, shared), VALID_TIME, _noise())
    torch.testing.assert_close(got, forecaster.step((newest, shared.clone()), VALID_TIME, _noise()))
    assert (got[1] - got[0]).abs().max() > 1
