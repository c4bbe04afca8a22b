import math

import numpy as np
import pyshtools
import pytest
import torch

from diagnostics.scores.spectra import (
    power_ratio,
    spherical_spectrum,
    total_deviation,
    wavenumber_bands,
    zonal_mean_spectrum,
    zonal_spectrum,
)
from weather.grids import Grid
from weather.harmonics import latitude_weights

REGULAR = Grid.from_coordinates(np.linspace(-90, 90, 121), np.arange(240) * 1.5)
GAUSSIAN = Grid.from_coordinates(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(48)[0])), np.arange(96) * 3.75)


def _lat_lon(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    return np.radians(grid.latitude)[:, None], np.radians(grid.longitude)[None]


def test_the_power_of_a_wave_is_half_its_squared_amplitude() -> None:
    longitude = np.radians(REGULAR.longitude)
    power = zonal_spectrum((2 + 3 * np.cos(5 * longitude) + 0.5 * np.sin(31 * longitude))[None])[0]
    expected = np.zeros(121)
    expected[[0, 5, 31]] = 4, 4.5, 0.125
    np.testing.assert_allclose(power, expected, atol=1e-12)


@pytest.mark.parametrize("num_lon", [32, 33])
def test_zonal_power_sums_to_the_mean_square(num_lon: int) -> None:
    field = np.random.default_rng(0).normal(size=(3, 5, num_lon))
    np.testing.assert_allclose(zonal_spectrum(field).sum(-1), (field**2).mean(-1))


def test_zonal_power_equals_weatherbenchs_except_at_the_highest_wavenumber() -> None:
    """S_0 = C|F_0|² and S_k = 2C|F_k|², C the circumference of the latitude circle and F the transform divided by N."""
    field = np.random.default_rng(0).normal(size=(7, 24))
    circumference = 2 * np.pi * 6.371e6 * np.cos(np.radians(np.linspace(60, -60, 7)))[:, None]
    theirs = circumference * np.abs(np.fft.fft(field) / 24) ** 2
    theirs = np.concatenate([theirs[:, :1], 2 * theirs[:, 1:13]], axis=1)
    ours = circumference * zonal_spectrum(field)
    np.testing.assert_allclose(ours[:, :-1], theirs[:, :-1])
    np.testing.assert_allclose(2 * ours[:, -1], theirs[:, -1])


def test_the_zonal_mean_spectrum_is_weighted_by_area() -> None:
    latitude, longitude = _lat_lon(REGULAR)
    power = zonal_mean_spectrum(np.sin(latitude) * np.cos(4 * longitude), REGULAR.area_weights)
    assert power[4] == pytest.approx(1 / 6, rel=1e-3)


@pytest.mark.parametrize("grid", [REGULAR, GAUSSIAN])
@pytest.mark.parametrize("wavenumber", [0, 1, 7, 47])
def test_a_sectoral_wave_has_all_its_power_at_its_wavenumber(grid: Grid, wavenumber: int) -> None:
    """cos^m φ cos mλ has area-mean square ½ (2m)!!/(2m+1)!! at ℓ = m."""
    latitude, longitude = _lat_lon(grid)
    power = spherical_spectrum(np.cos(latitude) ** wavenumber * np.cos(wavenumber * longitude), grid)
    ratio = math.prod(2 * k / (2 * k + 1) for k in range(1, wavenumber + 1))
    assert power[wavenumber] == pytest.approx(ratio if wavenumber == 0 else ratio / 2, rel=1e-9)
    assert power.sum() == pytest.approx(power[wavenumber], rel=1e-9)


def test_spectra_of_regular_latitudes_equal_those_of_pyshtools_beyond_half_the_rows() -> None:
    coefficients = pyshtools.SHCoeffs.from_random(1 / np.arange(1, 62) ** 2.0, seed=3)
    shtools = coefficients.expand(grid="DH2", lmax=60, extend=True)
    grid = Grid.from_coordinates(shtools.lats()[::2], shtools.lons()[:-1:2])
    power = spherical_spectrum(shtools.data[::2, :-1:2], grid)
    assert grid.shape == (62, 122)
    assert len(power) == 61
    np.testing.assert_allclose(power, coefficients.spectrum(), rtol=1e-6)


def test_parseval_holds_for_a_field_that_the_grid_resolves() -> None:
    rng = np.random.default_rng(1)
    latitude, longitude = _lat_lon(GAUSSIAN)
    field = sum(
        rng.normal() * np.sin(latitude) ** k * np.cos(latitude) ** m * np.cos(m * longitude + rng.uniform(0, 6))
        for k in range(4)
        for m in range(20)
    )
    weights = latitude_weights(GAUSSIAN)
    assert spherical_spectrum(field, GAUSSIAN).sum() == pytest.approx(weights @ (field**2).mean(-1) / 2, rel=1e-9)


def test_leading_axes_and_the_kind_of_array_are_kept() -> None:
    fields = np.random.default_rng(2).normal(size=(2, 3, *GAUSSIAN.shape))
    together = spherical_spectrum(fields, GAUSSIAN)
    assert together.shape == (2, 3, 48)
    np.testing.assert_allclose(together[1, 2], spherical_spectrum(fields[1, 2], GAUSSIAN), atol=1e-14)
    np.testing.assert_allclose(spherical_spectrum(torch.from_numpy(fields), GAUSSIAN).numpy(), together, atol=1e-12)
    zonal = zonal_mean_spectrum(torch.from_numpy(fields), GAUSSIAN.area_weights)
    np.testing.assert_allclose(zonal.numpy(), zonal_mean_spectrum(fields, GAUSSIAN.area_weights), atol=1e-12)


def test_nan_propagates_to_its_latitude_circle_and_to_all_scales_of_its_field() -> None:
    fields = np.random.default_rng(2).normal(size=(2, *GAUSSIAN.shape))
    fields[1, 5, 7] = np.nan
    zonal = zonal_spectrum(fields)
    assert np.isnan(zonal[1, 5]).all()
    assert np.isnan(zonal).sum() == zonal.shape[-1]
    for power in (zonal_mean_spectrum(fields, GAUSSIAN.area_weights), spherical_spectrum(fields, GAUSSIAN)):
        assert np.isfinite(power[0]).all()
        assert np.isnan(power[1]).all()


def test_a_rotation_about_the_axis_changes_nothing() -> None:
    field = np.random.default_rng(3).normal(size=GAUSSIAN.shape)
    np.testing.assert_allclose(
        spherical_spectrum(np.roll(field, 17, axis=1), GAUSSIAN), spherical_spectrum(field, GAUSSIAN), rtol=1e-10
    )


def test_the_deviation_is_the_sum_of_absolute_differences_of_the_ratio_from_one() -> None:
    truth = np.array([2.0, 4.0])
    assert power_ratio(0.25 * truth, truth).tolist() == [0.25, 0.25]
    assert total_deviation(power_ratio(np.array([[0.5, 6.0], [2.0, 4.0]]), truth)).tolist() == [1.25, 0.0]


def test_bands_hold_every_wavenumber_but_zero_once() -> None:
    for highest in (4, 31, 47, 119, 719):
        bands = wavenumber_bands(highest)
        numbers = np.concatenate([np.arange(highest + 1)[band] for band in bands.values()])
        assert numbers.tolist() == list(range(1, highest + 1))
        assert all(f"{np.arange(2000)[band][0]}-{np.arange(2000)[band][-1]}" == name for name, band in bands.items())
    assert list(wavenumber_bands(47)) == ["1-5", "6-15", "16-31", "32-47"]
