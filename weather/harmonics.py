"""Spherical harmonics on a grid, to the grid's limit: their values, and the analysis of fields."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_legendre, sph_legendre_p_all

from weather.grids import Grid


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
    highest = grid.highest_wavenumber
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
