import numpy as np
import pytest
import torch

from diagnostics.scores.arrays import area_mean
from diagnostics.scores.moments import (
    ensemble_mean,
    ensemble_mean_squared_error,
    ensemble_std,
    ensemble_variance,
    spread,
    spread_skill_ratio,
)
from weather.grids import Grid

GRID = Grid.from_coordinates(np.linspace(-90, 90, 121), np.arange(240) * 1.5)


def test_moments_equal_their_definitions() -> None:
    ensemble = np.random.default_rng(0).normal(3, 2, (7, 5, 6))
    mean = sum(ensemble) / 7
    np.testing.assert_allclose(ensemble_mean(ensemble), mean)
    variance = sum((member - mean) ** 2 for member in ensemble) / 6
    np.testing.assert_allclose(ensemble_variance(ensemble), variance)
    np.testing.assert_allclose(ensemble_std(torch.from_numpy(ensemble)).numpy(), np.sqrt(variance))


def test_area_means_are_weighted_by_area() -> None:
    rows = np.sin(np.radians(GRID.latitude))[:, None].repeat(240, axis=1)
    assert area_mean(np.ones_like(rows), GRID.area_weights) == pytest.approx(1)
    assert area_mean(rows**2, GRID.area_weights) == pytest.approx(1 / 3, rel=1e-3)
    assert float(area_mean(torch.from_numpy(rows**2), GRID.area_weights)) == pytest.approx(1 / 3, rel=1e-3)


def test_spread_is_weighted_by_area() -> None:
    """Members ±sin(latitude): the variance is 2·sin²φ, whose mean over the sphere is 2/3."""
    rows = np.sin(np.radians(GRID.latitude))[:, None].repeat(240, axis=1).astype(np.float32)
    assert spread(np.stack([rows, -rows]), GRID.area_weights) == pytest.approx(np.sqrt(2 / 3), rel=1e-3)


@pytest.mark.parametrize("members", [2, 5, 50])
def test_a_reliable_ensemble_of_any_size_has_a_ratio_of_one(members: int) -> None:
    rng = np.random.default_rng(members)
    ensemble, truth = rng.normal(0, 1.5, (members, 100_000)), rng.normal(0, 1.5, 100_000)
    variance = float(ensemble_variance(ensemble).mean())
    error = float(ensemble_mean_squared_error(ensemble, truth).mean())
    assert variance == pytest.approx(1.5**2, rel=0.02)
    assert spread_skill_ratio(variance, error, members) == pytest.approx(1, abs=0.01)


def test_too_little_spread_has_a_ratio_below_one() -> None:
    rng = np.random.default_rng(0)
    ensemble, truth = 0.5 * rng.normal(size=(20, 50_000)), rng.normal(size=50_000)
    error = float(ensemble_mean_squared_error(ensemble, truth).mean())
    assert spread_skill_ratio(float(ensemble_variance(ensemble).mean()), error, 20) == pytest.approx(0.5, abs=0.02)


def test_nan_propagates_to_the_spread() -> None:
    ensemble = np.ones((3, 121, 240), np.float32)
    ensemble[1, 60, 7] = np.nan
    assert np.isnan(spread(ensemble, GRID.area_weights))


def test_a_single_member_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2 members"):
        spread(np.ones((1, 121, 240), np.float32), GRID.area_weights)
