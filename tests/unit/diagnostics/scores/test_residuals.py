import numpy as np
import pyshtools
import pytest
import torch

from diagnostics.scores.residuals import lag_pairs, time_correlation
from diagnostics.scores.spectra import power_ratio, spherical_spectrum, total_deviation
from weather.grids import Grid

GRID = Grid.from_coordinates(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(24)[0])), np.arange(48) * 7.5)


def _noise(phi: float, steps: int, *shape: int) -> np.ndarray:
    """Return noise that is white in space, and z_k = φ·z_{k−1} + √(1−φ²)·ξ_k in time."""
    draws = np.random.default_rng(0).normal(size=(steps, *shape, *GRID.shape))
    for step in range(1, steps):
        draws[step] = phi * draws[step - 1] + np.sqrt(1 - phi**2) * draws[step]
    return draws


@pytest.mark.parametrize("phi", [0.0, 0.23, 0.8, -0.5])
@pytest.mark.parametrize("lag", [1, 2, 5])
def test_autoregressive_noise_correlates_by_its_coefficient_to_the_power_of_the_lag(phi: float, lag: int) -> None:
    residuals = _noise(phi, 60, 2)
    correlation = time_correlation(residuals[:-lag], residuals[lag:], GRID.area_weights)
    np.testing.assert_allclose(correlation, [phi**lag] * 2, atol=0.02)


def test_the_scale_of_residuals_changes_nothing_and_a_lasting_bias_counts() -> None:
    residuals = _noise(0.4, 40)
    scaled = time_correlation(3 * residuals[:-1], 0.1 * residuals[1:], GRID.area_weights)
    assert scaled == pytest.approx(time_correlation(residuals[:-1], residuals[1:], GRID.area_weights))
    biased = time_correlation(residuals[:-9] + 2, residuals[9:] + 2, GRID.area_weights)
    assert biased == pytest.approx(4 / 5, abs=0.02)


def test_correlation_is_weighted_by_area() -> None:
    """The southern half stays, the northern half changes sign, in rows of known amplitudes."""
    amplitude = np.abs(np.sin(np.radians(GRID.latitude)))[:, None] * np.ones(GRID.shape)
    weights = np.asarray(GRID.area_weights)[:, None] * amplitude**2
    sign = np.where(np.arange(24) < 8, -1.0, 1.0)[:, None]
    expected = (weights * sign).sum() / weights.sum()
    correlation = time_correlation(amplitude[None], (sign * amplitude)[None], GRID.area_weights)
    assert correlation == pytest.approx(expected)
    assert abs(expected - sign.mean()) > 0.1


def test_pairs_are_one_lag_apart_whatever_is_missing() -> None:
    hours = np.array([0, 6, 12, 24, 30, 42, 48])
    times = np.datetime64("2000-01-01T00", "s") + hours * np.timedelta64(1, "h")
    for lag in (6, 12, 18, 96):
        earlier, later = lag_pairs(times, np.timedelta64(lag, "h"))
        assert (hours[later] - hours[earlier] == lag).all()
        assert len(earlier) == sum(b - a == lag for a in hours for b in hours)


def test_both_kinds_of_arrays_give_the_same_and_keep_their_kind() -> None:
    residuals = _noise(0.3, 10, 3, 2)
    expected = time_correlation(residuals[:-1], residuals[1:], GRID.area_weights)
    tensor = torch.from_numpy(residuals)
    correlation = time_correlation(tensor[:-1], tensor[1:], GRID.area_weights)
    assert isinstance(correlation, torch.Tensor)
    assert expected.shape == (3, 2)
    np.testing.assert_allclose(correlation.numpy(), expected)


def test_residuals_without_a_pair_or_of_other_shapes_are_refused_and_nan_propagates() -> None:
    residuals = _noise(0.3, 5, 2)
    with pytest.raises(ValueError, match="at least one pair"):
        time_correlation(residuals[:0], residuals[:0], GRID.area_weights)
    with pytest.raises(ValueError, match=r"Got: \(5, 2, 24, 48\) and \(4, 2, 24, 48\)"):
        time_correlation(residuals, residuals[1:], GRID.area_weights)
    residuals[2, 1, 3, 4] = np.nan
    assert np.isnan(time_correlation(residuals[:-1], residuals[1:], GRID.area_weights)).tolist() == [False, True]


def test_the_ratio_of_mean_spectra_of_white_members_and_coloured_truth_is_that_of_their_powers() -> None:
    """Powers 2ℓ+1 (white, alike in each mode) and (2ℓ+1)/(1+ℓ/4)², exact in each of three random fields."""
    degrees = np.arange(24)
    white, coloured = 2 * degrees + 1.0, (2 * degrees + 1) / (1 + degrees / 4) ** 2
    spectra = []
    for power in (white, coloured):
        random = [pyshtools.SHCoeffs.from_random(power, seed=seed, exact_power=True) for seed in range(3)]
        fields = [coefficients.expand(grid="GLQ", extend=False) for coefficients in random]
        grid = Grid.from_coordinates(fields[0].lats(), fields[0].lons())
        states = np.stack([field.data for field in fields])
        spectra.append(spherical_spectrum(states, grid).mean(axis=0))
    eta = power_ratio(spectra[0], spectra[1])
    np.testing.assert_allclose(eta, (1 + degrees[: len(eta)] / 4) ** 2, rtol=1e-6)
    assert total_deviation(eta) == pytest.approx((eta - 1).sum())
