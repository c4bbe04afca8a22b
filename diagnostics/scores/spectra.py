"""Power spectra by wavenumber, along latitude circles and on the sphere.

Power is mean-square amplitude: its sum over wavenumbers is the mean of the squared field.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre, sph_legendre_p_all

from diagnostics.scores.arrays import Array, like, namespace
from weather.grids import Grid


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
    largest wavenumber that the grid's latitudes integrate exactly: (latitudes − 1) // 2 on regular latitudes,
    latitudes − 1 on Gaussian ones, and at most longitudes / 2 − 1. If the field has no power beyond L, the sum over ℓ
    is its mean square over the sphere (Parseval).
    """
    xp = namespace(field)
    projection = like(_projection(grid), field)
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


def latitude_quadrature(grid: Grid) -> tuple[NDArray[np.float64], int]:
    """Return quadrature weights of the latitudes, with sum 2, and the degree in sin φ up to which they are exact.

    The weights solve the moment equations of the Legendre polynomials. They equal those of Clenshaw and Curtis on
    regular latitudes with poles, and those of Gauss on Gaussian latitudes, where they are exact to twice the degree.
    """
    nodes = np.sin(np.radians(grid.latitude))
    degrees = np.arange(len(nodes))
    moments = np.where(degrees == 0, 2.0, 0.0)
    weights = np.linalg.lstsq(eval_legendre(degrees[:, None], nodes[None]), moments, rcond=None)[0]
    higher = np.arange(len(nodes), 2 * len(nodes))
    defect = np.abs(eval_legendre(higher[:, None], nodes[None]) @ weights)
    inexact = np.nonzero(defect > 1e-7)[0]
    return weights, len(nodes) - 1 + (int(inexact[0]) if len(inexact) else len(higher))


@lru_cache(maxsize=4)
def _projection(grid: Grid) -> NDArray[np.float64]:
    """Return the matrices (m, latitude, ℓ) that project zonal waves on spherical harmonics of unit mean square."""
    weights, exact = latitude_quadrature(grid)
    highest = min(exact // 2, grid.shape[1] // 2 - 1)
    colatitude = np.radians(90.0 - np.asarray(grid.latitude))
    harmonics = sph_legendre_p_all(highest, highest, colatitude)[0][:, : highest + 1]
    return np.ascontiguousarray(np.moveaxis(harmonics * np.sqrt(4 * np.pi) * weights / 2, 0, -1))


def _sign_counts(num_lon: int) -> NDArray[np.float64]:
    """Return the number of signed wavenumbers ±k for each k: 2, but 1 for k = 0 and for the highest k of an even N."""
    factors = np.full(num_lon // 2 + 1, 2.0)
    factors[0] = 1.0
    if num_lon % 2 == 0:
        factors[-1] = 1.0
    return factors
