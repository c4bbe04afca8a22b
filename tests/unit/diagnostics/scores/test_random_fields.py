import numpy as np
import pytest
import torch
from scipy.special import eval_legendre

from diagnostics.scores.random_fields import isotropic_fields
from diagnostics.scores.spectra import spherical_spectrum
from weather.grids import Grid, gaussian_grid

POLES = Grid.from_coordinates(np.linspace(-90, 90, 61), np.arange(120) * 3)
ONE_POLE = Grid.from_coordinates(np.linspace(90, -87, 60), np.arange(120) * 3)
T31 = gaussian_grid("t31")
SMALL = Grid.from_coordinates(np.degrees(np.arcsin(np.polynomial.legendre.leggauss(16)[0])), np.arange(32) * 11.25)


@pytest.mark.parametrize("grid", [POLES, ONE_POLE, T31, SMALL])
def test_power_is_exact_to_the_limit_of_the_grid(grid: Grid) -> None:
    """The power of each wavenumber is that of the coefficients that were drawn, up to the last one."""
    highest = grid.highest_wavenumber
    power = 1 / np.arange(1, highest + 2) ** 1.5
    white = np.random.default_rng(0).normal(size=(2, *grid.shape))
    drawn = white.reshape(2, -1)[:, : (highest + 1) ** 2].reshape(2, highest + 1, highest + 1) ** 2
    squares = np.tril(drawn).sum(axis=2) + np.triu(drawn, 1).sum(axis=1)
    got = spherical_spectrum(isotropic_fields(white, power, grid), grid)
    np.testing.assert_allclose(got, squares * power / (2 * np.arange(highest + 1) + 1), rtol=1e-9)


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
