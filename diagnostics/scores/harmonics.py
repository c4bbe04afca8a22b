"""Spherical harmonics on a grid: analysis of fields to the grid's limit, and synthesis of isotropic random fields."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre, sph_legendre_p_all

from diagnostics.scores.arrays import Array, like, namespace
from weather.grids import Grid

_POLE = 1e-6


def highest_wavenumber(grid: Grid) -> int:
    """Return L, the largest total wavenumber whose harmonics a grid distinguishes.

    A row at a pole sees the zonal mean alone, so that L is rows − 1 without such rows, rows − 2 with them, and at most
    longitudes / 2 − 1.
    """
    at_pole = any(90 - abs(latitude) < _POLE for latitude in (grid.latitude[0], grid.latitude[-1]))
    return min(grid.shape[0] - 1 - int(at_pole), grid.shape[1] // 2 - 1)


def latitude_weights(grid: Grid) -> NDArray[np.float64]:
    """Return quadrature weights of the latitudes, with sum 2, that integrate polynomials of sin φ.

    The weights solve the moment equations of the Legendre polynomials, to a degree of the number of rows − 1. They are
    those of Clenshaw and Curtis on regular latitudes with poles, and of Gauss on Gaussian ones.
    """
    nodes = np.sin(np.radians(grid.latitude))
    degrees = np.arange(len(nodes))
    moments = np.where(degrees == 0, 2.0, 0.0)
    weights: NDArray[np.float64] = np.linalg.lstsq(eval_legendre(degrees[:, None], nodes[None]), moments, rcond=None)[0]
    return weights


@lru_cache(maxsize=4)
def harmonic_values(grid: Grid) -> NDArray[np.float64]:
    """Return the latitude factors of the harmonics of unit mean square, (m, ℓ, latitude), zero where ℓ < m."""
    highest = highest_wavenumber(grid)
    colatitude = np.radians(90.0 - np.asarray(grid.latitude))
    values = sph_legendre_p_all(highest, highest, colatitude)[0][:, : highest + 1]
    return np.ascontiguousarray(np.moveaxis(values, 1, 0) * np.sqrt(4 * np.pi))


@lru_cache(maxsize=4)
def analysis_matrices(grid: Grid) -> NDArray[np.float64]:
    """Return the matrices (m, latitude, ℓ) from zonal waves to coefficients of harmonics, ℓ = 0 … L.

    They fit all harmonics of a zonal wavenumber at once, by least squares with the weights of a quadrature. A field
    without power beyond L has its exact coefficients. On Gaussian latitudes the fit is the quadrature itself.
    """
    root = np.sqrt(np.maximum(latitude_weights(grid), 0) / 2)
    values = harmonic_values(grid)
    matrices = np.zeros((values.shape[0], values.shape[2], values.shape[1]))
    for m, rows in enumerate(values):
        matrices[m, :, m:] = (np.linalg.pinv(rows[m:].T * root[:, None]) * root).T
    return matrices


def isotropic_fields(white: Array, power: Array, grid: Grid) -> Array:
    """Return random fields with a given power spectrum, linear in white noise, of the shape of `white`.

    `white` (…, latitude, longitude) is standard normal; its first (L + 1)² values, row by row, become the coefficients
    of the real harmonics. `power` (…, ℓ), of both or one kind of leading axes, is the expected power of each total
    wavenumber 0 … L, as `spherical_spectrum` measures it. The expected square is Σ power at every point of the sphere,
    and the covariance of two points depends on their distance alone.
    """
    xp = namespace(white)
    values = like(harmonic_values(grid), white)
    size, num_lon = values.shape[0], white.shape[-1]
    drawn = xp.reshape(xp.reshape(white, (*white.shape[:-2], -1))[..., : size**2], (*white.shape[:-2], size, size))
    scale = xp.sqrt(power / like(2.0 * np.arange(size) + 1, white))[..., :, None]
    cosines = xp.tril(drawn) * scale
    above = xp.matrix_transpose(xp.triu(drawn, k=1)) * scale  # the coefficients of sin mλ, in column m − 1
    sines = xp.concat([xp.zeros_like(above[..., :1]), above[..., :-1]], axis=-1)
    real, imaginary = (_sum_harmonics(part, values) for part in (cosines, sines))
    factors = like(np.where(np.arange(size) == 0, 1.0, np.sqrt(0.5)) * num_lon, white)
    waves = (real - 1j * imaginary) * factors
    return xp.astype(xp.fft.irfft(waves, n=num_lon), white.dtype, copy=False)


def _sum_harmonics(coefficients: Array, values: Array) -> Array:
    """Return zonal waves (…, latitude, m) from coefficients (…, ℓ, m) of harmonics with `values` (m, ℓ, latitude)."""
    xp = namespace(coefficients)
    size = coefficients.shape[-1]
    by_wave = xp.permute_dims(xp.reshape(coefficients, (-1, size, size)), (2, 0, 1))
    waves = xp.permute_dims(by_wave @ values, (1, 2, 0))
    return xp.reshape(waves, (*coefficients.shape[:-2], values.shape[-1], size))
