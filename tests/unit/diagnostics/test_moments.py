import numpy as np
import pytest

from diagnostics.moments import ensemble_mean, ensemble_std, spread
from weather.grids import Grid

GRID = Grid.from_coordinates(np.linspace(-90, 90, 121), np.arange(240) * 1.5)


def test_moments_equal_their_definitions() -> None:
    ensemble = np.random.default_rng(0).normal(3, 2, (7, 5, 6)).astype(np.float32)
    mean = sum(ensemble.astype(np.float64)) / 7
    np.testing.assert_allclose(ensemble_mean(ensemble), mean, rtol=1e-12)
    variance = sum((member.astype(np.float64) - mean) ** 2 for member in ensemble) / 6
    np.testing.assert_allclose(ensemble_std(ensemble), np.sqrt(variance), rtol=1e-6)


def test_spread_is_weighted_by_area() -> None:
    """Members ±sin(latitude): the variance is 2·sin²φ, whose mean over the sphere is 2/3."""
    rows = np.sin(np.radians(GRID.latitude))[:, None].repeat(240, axis=1).astype(np.float32)
    assert spread(np.stack([rows, -rows]), GRID.area_weights) == pytest.approx(np.sqrt(2 / 3), rel=1e-3)


def test_spread_is_unbiased() -> None:
    draw = np.random.default_rng(1)
    variances = [
        spread(draw.normal(0, 1.5, (3, 121, 240)).astype(np.float32), GRID.area_weights) ** 2 for _ in range(5)
    ]
    assert np.mean(variances) == pytest.approx(1.5**2, rel=0.01)


def test_a_missing_value_is_not_skipped() -> None:
    ensemble = np.ones((3, 121, 240), np.float32)
    ensemble[1, 60, 7] = np.nan
    assert np.isnan(spread(ensemble, GRID.area_weights))


def test_one_member_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2 members"):
        spread(np.ones((1, 121, 240), np.float32), GRID.area_weights)
