"""Power spectra by wavenumber, along latitude circles and on the sphere.

Power is mean-square amplitude: its sum over wavenumbers is the mean of the squared field.
"""

from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, like, namespace
from weather.grids import Grid
from weather.harmonics import analysis_matrices


def zonal_spectrum(field: Array) -> Array:
    """Return the power of each zonal wavenumber 0 … N/2 on each latitude, (…, latitude, wavenumber).

    `field` is (…, latitude, longitude). S_0 = |F_0|² and S_k = 2|F_k|², with F the Fourier transform divided by N; the
    highest wavenumber of an even N is counted once, so that Parseval's sum holds. WeatherBench 2 counts it twice and
    multiplies all by the circumference of the latitude circle.
    """
    xp = namespace(field)
    num_lon = field.shape[-1]
    power = xp.abs(xp.fft.rfft(field) / num_lon) ** 2
    return power * like(_sign_counts(num_lon), field)


def zonal_mean_spectrum(field: Array, area_weights: NDArray[np.float64]) -> Array:
    """Return the area mean over latitudes of `zonal_spectrum`, (…, wavenumber)."""
    weights = like(np.asarray(area_weights) / np.mean(area_weights), field)
    return namespace(field).mean(zonal_spectrum(field) * weights[:, None], axis=-2)


def spherical_spectrum(field: Array, grid: Grid) -> Array:
    """Return the power of each total wavenumber ℓ = 0 … L of spherical harmonics, (…, ℓ).

    `field` is (…, latitude, longitude) on `grid` and is treated as a scalar, also if it is a wind component. L is the
    grid's limit (`Grid.highest_wavenumber`): 47 on 48 × 96 Gaussian points, 119 on 121 × 240 regular ones. If the field
    has no power beyond L, the power is exact and its sum over ℓ is the mean square over the sphere (Parseval). Power
    beyond L appears at smaller ℓ (aliasing), mostly at those near L.
    """
    xp = namespace(field)
    projection = _projection_like(field, grid)
    num_m = projection.shape[0]
    waves = xp.fft.rfft(field)[..., :num_m] / field.shape[-1]
    columns = xp.moveaxis(xp.reshape(waves, (-1, *waves.shape[-2:])), -1, 0)
    factors = like(_sign_counts(grid.shape[1])[:num_m, None, None], field)
    # (m, …, latitude) × (m, latitude, ℓ) → (m, …, ℓ)
    power = sum(xp.sum(factors * (part @ projection) ** 2, axis=0) for part in (xp.real(columns), xp.imag(columns)))
    return xp.reshape(power, (*field.shape[:-2], projection.shape[2]))


def power_ratio(forecast: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return η, the ratio of forecast power to truth power at each wavenumber, (…, wavenumber).

    Both arguments must be means over starts: a mean of ratios would be biased upwards where a bin has few modes.
    """
    return np.asarray(forecast / truth)


def total_deviation(eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Σ|1 − η| over the last axis, the wavenumbers: the paper's scalar score of a spectrum."""
    return np.asarray(np.abs(1 - eta).sum(axis=-1))


def wavenumber_bands(highest: int) -> dict[str, slice]:
    """Return bands of total wavenumbers up to `highest`, as slices of a spectrum by names such as `6-15`.

    Planetary waves 1–5, synoptic ones 6–15, 16–31, and from there octaves; ℓ = 0 is in none.
    """
    bands, first = {}, 1
    for last in (5, 15, 31, 63, 127, 255, 511, 1023):
        if first <= highest:
            bands[f"{first}-{min(last, highest)}"] = slice(first, min(last, highest) + 1)
        first = last + 1
    return bands


def _projection_like(field: Array, grid: Grid) -> Array:
    """Return `analysis_matrices` of the kind and precision of `field`, on its device, where it stays."""
    key = (type(field), str(array_api_compat.device(field)), field.dtype, grid)
    projection = _projections.get(key)
    if projection is None:  # several threads may come here at once, and make the same
        projection = like(analysis_matrices(grid), field)
        if len(_projections) >= _MAX_PROJECTIONS:
            _projections.clear()
        _projections[key] = projection
    return projection


_MAX_PROJECTIONS = 4
_projections: dict[Any, Array] = {}


def _sign_counts(num_lon: int) -> NDArray[np.float64]:
    """Return the number of signed wavenumbers ±k for each k: 2, but 1 for k = 0 and for the highest k of an even N."""
    factors = np.full(num_lon // 2 + 1, 2.0)
    factors[0] = 1.0
    if num_lon % 2 == 0:
        factors[-1] = 1.0
    return factors
