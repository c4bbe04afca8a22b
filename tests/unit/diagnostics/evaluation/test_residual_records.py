import json

import numpy as np
import pytest

from diagnostics.evaluation.resampling import resample_weights
from diagnostics.evaluation.residual_records import combine_residuals, record_residuals
from diagnostics.scores.random_fields import isotropic_fields
from weather.grids import Grid

GRID = Grid.from_coordinates(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(16)[0])), np.arange(32) * 11.25)
POWER = np.full((1, 16), 1 / 16)


def _series(rng: np.random.Generator, steps: int, members: int, correlation: float, power: np.ndarray) -> np.ndarray:
    """Return fields (step, member, variable, latitude, longitude) that are correlated in time as an AR(1) process."""
    fields = [isotropic_fields(rng.normal(size=(members, 1, *GRID.shape)), power, GRID)]
    for _ in range(1, steps):
        white = isotropic_fields(rng.normal(size=(members, 1, *GRID.shape)), power, GRID)
        fields.append(correlation * fields[-1] + np.sqrt(1 - correlation**2) * white)
    return np.stack(fields)


def test_power_and_correlations_are_those_of_the_processes_that_were_drawn() -> None:
    rng, more = np.random.default_rng(0), POWER.copy()
    more[0, 6:] *= 1.2
    records = [
        record_residuals(
            _series(rng, 12, 1, 0.5, POWER)[:, 0], _series(rng, 12, 3, 0.2, more).astype(np.float32), ("u10",), GRID
        )
        for _ in range(20)
    ]
    records = json.loads(json.dumps(records))
    result = combine_residuals(records, 6, resample_weights(20, 1, 0))["u10"]
    assert result["power"]["1-5"] == pytest.approx(1, abs=0.1)
    assert result["power"]["6-15"] == pytest.approx(1.2, abs=0.06)
    assert result["power"]["all"] == pytest.approx(
        result["power"]["1-5"] / 3 + result["power"]["6-15"] * 2 / 3, abs=0.05
    )
    assert result["lag_hours"] == [6, 12, 18, 24, 48]
    np.testing.assert_allclose(result["correlation_truth"], [0.5, 0.25, 0.125, 0.0625, 0.5**8], atol=0.06)
    np.testing.assert_allclose(result["correlation_members"], [0.2, 0.04, 0.008, 0, 0], atol=0.03)
    low, high = result["intervals"]["power"]["6-15"]
    assert low < result["power"]["6-15"] < high < low + 0.15
    assert all(low <= value <= high for value, (low, high) in zip(
        result["correlation_truth"], result["intervals"]["correlation_truth"], strict=True
    ))  # fmt: skip  # the condition reads on one line
    assert len(result["eta"]) == 16
    assert result["deviation"] == pytest.approx(np.abs(1 - np.array(result["eta"][1:])).sum())


def test_starts_with_less_truth_count_by_its_length_and_lags_without_pairs_are_left_out() -> None:
    rng = np.random.default_rng(1)
    truth, members = _series(rng, 4, 1, 0.0, POWER)[:, 0], _series(rng, 4, 2, 0.0, POWER)
    parts = [record_residuals(truth[:length], members, ("u10",), GRID) for length in (1, 3)]
    result = combine_residuals(parts, 12, resample_weights(2, 1, 0))["u10"]
    assert result["lag_hours"] == [12, 24]
    np.testing.assert_allclose(
        np.array(result["spectrum_truth"]) * 4,
        [first + second for first, second in zip(*(part["u10"]["spectrum_truth"] for part in parts), strict=True)],
    )
    assert "intervals" not in combine_residuals(parts[:1], 12, resample_weights(1, 1, 0))["u10"]
