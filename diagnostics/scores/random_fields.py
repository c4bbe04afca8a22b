"""Isotropic random fields from spherical harmonics."""

import numpy as np

from diagnostics.scores.arrays import Array, like, namespace
from weather.grids import Grid
from weather.harmonics import harmonic_values


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
