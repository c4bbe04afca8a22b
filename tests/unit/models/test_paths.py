import math

import numpy as np
import pytest
import torch

from models.paths import clean_from_velocity, gaussian_velocity, interpolate, noise_from_velocity, skewed_times
from models.testing import GaussianField


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _fields(draw: torch.Generator) -> torch.Tensor:
    return torch.randn(5, 2, 4, 8, dtype=torch.float64, generator=draw)


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


def test_the_path_starts_at_the_source_and_ends_at_the_target(draw: torch.Generator) -> None:
    x_0, x_1 = _fields(draw), _fields(draw)
    ends = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    x_t = interpolate(x_0, x_1, ends)
    for member, t in enumerate(ends.tolist()):
        assert torch.equal(x_t[member], (x_1 if t else x_0)[member])


def test_the_velocity_is_the_derivative_of_the_path(draw: torch.Generator) -> None:
    x_0, x_1 = _fields(draw), _fields(draw)
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    change = (interpolate(x_0, x_1, t + 1e-4) - interpolate(x_0, x_1, t - 1e-4)) / 2e-4
    torch.testing.assert_close(change, x_1 - x_0)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_exact_velocity_is_the_regression_of_the_velocity_on_the_state(t: float) -> None:
    """For jointly normal variables the conditional mean is Cov(x_1 − x_0, x_t) / Var(x_t) · x_t."""
    covariance, variance = t - (1 - t), t**2 + (1 - t) ** 2
    x_t = torch.linspace(-3, 3, 8, dtype=torch.float64).reshape(1, 1, 2, 4)
    expected = covariance / variance * x_t
    torch.testing.assert_close(gaussian_velocity(x_t, torch.tensor([t], dtype=torch.float64)), expected)
    torch.testing.assert_close(GaussianField(1.0)(x_t, t), expected)


def test_expected_source_and_target_lie_on_one_path_with_the_state(draw: torch.Generator) -> None:
    """For any velocity, right or wrong: x_t = t·x_1 + (1−t)·x_0 and v = x_1 − x_0."""
    velocity, x_t = _fields(draw), _fields(draw)
    t = torch.rand(5, dtype=torch.float64, generator=draw)
    x_0, x_1 = noise_from_velocity(velocity, x_t, t), clean_from_velocity(velocity, x_t, t)
    torch.testing.assert_close(interpolate(x_0, x_1, t), x_t)
    torch.testing.assert_close(x_1 - x_0, velocity)


def test_each_member_has_its_own_flow_time(draw: torch.Generator) -> None:
    x_0, x_1, t = _fields(draw), _fields(draw), torch.linspace(0, 1, 5, dtype=torch.float64)
    together = interpolate(x_0, x_1, t)
    for member in range(5):
        one = slice(member, member + 1)
        assert torch.equal(interpolate(x_0[one], x_1[one], t[one]), together[one])


def test_training_times_fall_with_the_draw_and_stay_within_their_limits() -> None:
    times = skewed_times(torch.tensor([-1e4, -2.0, 0.0, 1.0, 2.0, 1e4], dtype=torch.float64))
    assert np.all(np.diff(times.numpy()) < 0)
    assert times[0] == 1
    assert float(times[2]) == pytest.approx(1 / (1 + math.exp(-1.2)))
    assert float(times[3]) == pytest.approx(0.5)
    assert float(times[-1]) == pytest.approx(1e-4)
