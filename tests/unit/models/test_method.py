import math

import numpy as np
import pytest
import torch

from models.flow import flow_matching_loss
from models.paths import clean_from_velocity, gaussian_velocity, interpolate, noise_from_velocity, skewed_times
from models.testing import tiny_networks, tiny_spec
from models.warm_start import blend_scale, gaussian_nll, normalised_residual, restore


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _fields(draw: torch.Generator) -> torch.Tensor:
    return torch.randn(5, 2, 4, 8, dtype=torch.float64, generator=draw)


def _std(value: float) -> torch.Tensor:
    return torch.full((1, 1, 2, 2), value, dtype=torch.float64)


def _scale(std: float, warmth: float) -> float:
    return float(blend_scale(_std(std), torch.tensor([warmth], dtype=torch.float64))[0, 0, 0, 0])


@pytest.mark.parametrize("std", [0.01, 0.2, 0.7, 1.0, 1.6])
def test_full_warmth_scales_by_the_standard_deviation_and_none_by_one(std: float) -> None:
    assert _scale(std, 1.0) == pytest.approx(std)
    assert _scale(std, 0.0) == 1.0


@pytest.mark.parametrize("std", [0.01, 0.2, 0.5])
def test_at_low_warmth_the_scale_is_independent_of_the_standard_deviation(std: float) -> None:
    for warmth in np.linspace(0, 1 - std, 7):
        assert _scale(std, float(warmth)) == pytest.approx(1 - float(warmth) ** 2)
    for warmth in np.linspace(1 - std, 1, 7):
        assert _scale(std, float(warmth)) == pytest.approx(float(warmth) * std + 1 - float(warmth))


def test_the_scale_falls_with_warmth_where_the_standard_deviation_is_small() -> None:
    scales = [_scale(0.3, float(warmth)) for warmth in np.linspace(0, 1, 41)]
    assert np.all(np.diff(scales) < 1e-12)
    assert _scale(1.5, 0.5) > 1


def test_normalising_and_restoring_are_inverse(draw: torch.Generator) -> None:
    x, mean = _fields(draw), _fields(draw)
    scale = torch.rand(x.shape, dtype=torch.float64, generator=draw) + 0.01
    torch.testing.assert_close(restore(normalised_residual(x, mean, scale), mean, scale), x)


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_source_and_target_follow_from_the_velocity(draw: torch.Generator, t: float) -> None:
    x_0, x_1 = _fields(draw), _fields(draw)
    times = torch.full((5,), t, dtype=torch.float64)
    x_t = interpolate(x_0, x_1, times)
    torch.testing.assert_close(clean_from_velocity(x_1 - x_0, x_t, times), x_1)
    torch.testing.assert_close(noise_from_velocity(x_1 - x_0, x_t, times), x_0)


def test_training_times_follow_the_skewed_distribution(draw: torch.Generator) -> None:
    times = skewed_times(torch.randn(400_000, generator=draw))
    assert float(times.median()) == pytest.approx(0.769, abs=0.003)
    assert float((times < 0.1).float().mean()) == pytest.approx(0.0023, abs=0.0004)
    assert float((times > 0.9).float().mean()) == pytest.approx(0.203, abs=0.003)
    assert 1e-4 <= float(times.min()) < float(times.max()) <= 1


def test_the_loss_of_the_exact_velocity_is_its_known_floor(draw: torch.Generator) -> None:
    """1.5391 for white residuals of unit variance at skewed times, π/2 at uniform ones (docs/method.md §4)."""
    size = 200_000
    x_0, x_1 = (torch.randn(size, 1, 1, 1, dtype=torch.float64, generator=draw) for _ in range(2))
    for times, floor in (
        (skewed_times(torch.randn(size, dtype=torch.float64, generator=draw)), 1.5391),
        (torch.rand(size, dtype=torch.float64, generator=draw), math.pi / 2),
    ):
        velocity = gaussian_velocity(interpolate(x_0, x_1, times), times)
        assert float(((velocity - (x_1 - x_0)) ** 2).mean()) == pytest.approx(floor, abs=0.02)


def test_the_training_loss_of_an_untrained_flow_is_that_floor() -> None:
    networks = tiny_networks(tiny_spec(), trained=False)
    draw = torch.Generator().manual_seed(2)
    size, shape = 64, (64, 2, 16, 32)
    x_0, x_1 = (torch.randn(shape, generator=draw) for _ in range(2))
    rest = (torch.zeros(64, 8, 16, 32), torch.zeros(shape), torch.ones(shape))
    times = skewed_times(torch.randn(size, generator=draw))
    with torch.no_grad():
        loss = flow_matching_loss(networks.flow, x_0, x_1, times, torch.ones(size), *rest)
    assert float(loss) == pytest.approx(1.539, abs=0.06)


def test_the_likelihood_equals_that_of_torch(draw: torch.Generator) -> None:
    target, mean = _fields(draw), _fields(draw)
    std = torch.rand(target.shape, dtype=torch.float64, generator=draw) + 0.05
    expected = -torch.distributions.Normal(mean, std).log_prob(target).mean()
    torch.testing.assert_close(gaussian_nll(target, mean, std), expected)


def test_the_likelihood_is_best_at_the_true_mean_and_standard_deviation(draw: torch.Generator) -> None:
    target = 0.3 + 0.4 * torch.randn(1, 1, 100, 1000, dtype=torch.float64, generator=draw)
    mean = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    log_std = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([mean, log_std], max_iter=60)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = gaussian_nll(target, mean.expand(target.shape), log_std.exp().expand(target.shape))
        loss.backward()
        return loss

    optimiser.step(closure)
    assert mean.item() == pytest.approx(0.3, abs=0.005)
    assert log_std.exp().item() == pytest.approx(0.4, abs=0.005)
    assert closure().item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.16), abs=0.01)
