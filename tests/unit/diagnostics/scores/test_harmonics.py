import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from diagnostics.scores.harmonics import (
    analysis_matrices,
    harmonic_values,
    highest_wavenumber,
    isotropic_fields,
    latitude_weights,
)
from diagnostics.scores.spectra import spherical_spectrum
from weather.grids import Grid, gaussian_grid


def _regular(rows: int, columns: int, first: float, last: float) -> Grid:
    return Grid.from_coordinates(np.linspace(first, last, rows), np.arange(columns) * 360 / columns)


GRIDS = {
    "1.5 degrees with poles": (_regular(121, 240, -90, 90), 119),
    "without poles": (_regular(32, 64, -87.1875, 87.1875), 31),
    "one pole": (_regular(60, 120, 90, -87), 58),
    "T31": (gaussian_grid("t31"), 47),
    "few longitudes": (_regular(33, 40, -90, 90), 19),
}
T31 = gaussian_grid("t31")
SMALL = Grid.from_coordinates(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(16)[0])), np.arange(32) * 11.25)


@pytest.mark.parametrize(("grid", "highest"), GRIDS.values(), ids=GRIDS)
def test_power_is_exact_to_the_limit_of_the_grid(grid: Grid, highest: int) -> None:
    """The power of each wavenumber is that of the coefficients that were drawn, up to the last one."""
    power = 1 / np.arange(1, highest + 2) ** 1.5
    white = np.random.default_rng(0).normal(size=(2, *grid.shape))
    drawn = white.reshape(2, -1)[:, : (highest + 1) ** 2].reshape(2, highest + 1, highest + 1) ** 2
    squares = np.tril(drawn).sum(axis=2) + np.triu(drawn, 1).sum(axis=1)
    got = spherical_spectrum(isotropic_fields(white, power, grid), grid)
    assert highest_wavenumber(grid) == highest
    np.testing.assert_allclose(got, squares * power / (2 * np.arange(highest + 1) + 1), rtol=1e-9)


@pytest.mark.parametrize("grid", [grid for grid, _ in GRIDS.values()], ids=GRIDS)
def test_what_the_grid_does_not_resolve_is_amplified_by_at_most_three(grid: Grid) -> None:
    """The gain of the analysis for any field: the largest coefficients that a field of unit mean square can have."""
    weights = np.maximum(latitude_weights(grid), 1e-12) / 2
    gains = [np.linalg.norm(matrix.T / np.sqrt(weights), 2) for matrix in analysis_matrices(grid)]
    assert max(gains) < 3


@pytest.mark.parametrize("grid", [grid for grid, _ in GRIDS.values()], ids=GRIDS)
def test_harmonics_are_recovered_each_by_itself(grid: Grid) -> None:
    for matrix, rows in zip(analysis_matrices(grid)[::9], harmonic_values(grid)[::9], strict=True):
        expected = np.diag((np.abs(rows).max(axis=1) > 0).astype(float))
        np.testing.assert_allclose(rows @ matrix, expected, atol=1e-9)


@pytest.mark.parametrize("grid", [grid for grid, _ in GRIDS.values()], ids=GRIDS)
def test_latitudes_integrate_polynomials_up_to_their_number(grid: Grid) -> None:
    nodes, weights = np.sin(np.radians(grid.latitude)), latitude_weights(grid)
    for degree in range(len(nodes)):
        assert weights @ eval_legendre(degree, nodes) == pytest.approx(2.0 * (degree == 0), abs=1e-9)


def test_gaussian_latitudes_get_gaussian_weights() -> None:
    np.testing.assert_allclose(latitude_weights(T31), np.polynomial.legendre.leggauss(48)[1][::-1], atol=1e-12)


def test_random_fields_have_one_variance_everywhere_and_a_covariance_of_the_distance_alone() -> None:
    power = np.zeros(16)
    power[[2, 5, 11]] = 1.0, 2.0, 0.5
    fields = isotropic_fields(np.random.default_rng(1).normal(size=(4000, *SMALL.shape)), power, SMALL)
    variance = (fields**2).mean(axis=(0, 2))
    np.testing.assert_allclose(variance, 3.5, rtol=0.05)
    place, sine, cosine = (6, 10), np.sin(np.radians(SMALL.latitude)), np.cos(np.radians(SMALL.latitude))
    east = np.radians(np.asarray(SMALL.longitude) - SMALL.longitude[place[1]])
    dot = sine[place[0]] * sine[:, None] + cosine[place[0]] * cosine[:, None] * np.cos(east)
    expected = sum(power[degree] * eval_legendre(degree, dot) for degree in (2, 5, 11))
    got = (fields * fields[:, *place][:, None, None]).mean(axis=0)
    assert np.abs(got - expected).max() < 0.3
    assert np.sqrt(np.mean((got - expected) ** 2)) < 0.08


def test_random_fields_are_linear_in_the_noise_and_keep_its_kind_and_leading_axes() -> None:
    draw = np.random.default_rng(2).normal(size=(2, 3, 2, *T31.shape))
    power = np.random.default_rng(3).uniform(0.1, 1, (2, 48))
    first, second = isotropic_fields(draw, power, T31)
    np.testing.assert_allclose(isotropic_fields(draw[0] + 2 * draw[1], power, T31), first + 2 * second, atol=1e-12)
    np.testing.assert_allclose(isotropic_fields(draw[0, 1, 1], power[1], T31), first[1, 1], atol=1e-12)
    tensor = torch.from_numpy(draw[0]).float()
    fields = isotropic_fields(tensor, torch.from_numpy(power).float(), T31)
    assert fields.dtype == torch.float32
    np.testing.assert_allclose(fields.numpy(), first, atol=1e-4)
