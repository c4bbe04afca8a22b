"""Scores of whole fields, which see how values at different points and of different variables hang together.

All are fair: their expectation does not depend on the number of members. Variables of different units must be divided
by a scale of each beforehand.
"""

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, area_mean, like, namespace
from weather.grids import Grid

TILE_DEGREES = 30
"""Size of a tile in latitude and in longitude."""

VARIOGRAM_ORDER = 0.5
VARIOGRAM_LAGS = (1, 2, 4, 8)
"""Distances of the pairs of points of the variogram score, in rows or columns of the grid."""


def energy_score_fair(ensemble: Array, truth: Array, area_weights: NDArray[np.float64]) -> float:
    """Return the fair energy score, mean_i ‖x_i − y‖ − Σ_{i<j} ‖x_i − x_j‖ / (M(M−1)).

    `ensemble` is (member, …, latitude, longitude) and `truth` the same without the member axis. ‖·‖² is the area mean
    of the squares, summed over the remaining axes. Raises `ValueError` for fewer than two members. NaN propagates.
    Source: Gneiting & Raftery (2007), Eq. 21.
    """
    xp = namespace(ensemble, truth)
    members, rows = _num_members(ensemble, "energy score"), np.asarray(area_weights)
    scale = like(np.sqrt(rows / (rows.sum() * truth.shape[-1])), truth)[:, None]
    deviations = xp.reshape((ensemble - truth) * scale, (members, -1))
    errors = xp.linalg.vector_norm(deviations, axis=-1)
    distances = 0.0
    for member in range(1, members):
        pair_distances = xp.linalg.vector_norm(deviations[:member] - deviations[member], axis=-1)
        distances += float(xp.sum(pair_distances))
    score: float = float(xp.mean(errors)) - distances / (members * (members - 1))
    return score


def energy_score_tiled(ensemble: Array, truth: Array, grid: Grid) -> float:
    """Return the mean over tiles of 30° × 30°, weighted by area, of the fair energy score of each tile's fields.

    The arguments are those of `energy_score_fair`. The score of the globe is dominated by what many points share, as a
    norm of thousands of values nearly is the same for all members; in a tile, wrong structures of its size count.
    """
    xp = namespace(ensemble, truth)
    members = _num_members(ensemble, "energy score")
    rows, columns = tile_weights(grid)
    area = rows.sum(axis=0)[:, None] * columns.sum(axis=0)[None]
    tiles = like(area, truth)
    from_rows, from_columns = like(rows.T, truth), like(columns, truth)

    def norms(differences: Array) -> Array:
        """Return the norm in each tile of (member, …, latitude, longitude), as (member, tile row, tile column)."""
        squares = xp.sum(xp.reshape(differences**2, (len(differences), -1, *differences.shape[-2:])), axis=1)
        return xp.sqrt(from_rows @ squares @ from_columns / tiles)

    score = xp.mean(norms(ensemble - truth), axis=0)
    for member in range(1, members):
        distances = norms(ensemble[:member] - ensemble[member])
        score = score - xp.sum(distances, axis=0) / (members * (members - 1))
    return float(xp.sum(score * tiles)) / float(area.sum())


def variogram_score(ensemble: Array, truth: Array, area_weights: NDArray[np.float64]) -> float:
    """Return the fair variogram score of order ½, the mean over pairs of points of (|Δy|^½ − mean_i |Δx_i|^½)² − s²/M.

    Δ is the difference of a field between two points that are 1, 2, 4 or 8 rows or columns of the grid apart, and s²
    the variance of |Δx_i|^½ over the M members. The score of a distance and direction is the area mean, that of a field
    the mean over those, and the result the mean over fields. The arguments are those of `energy_score_fair`.
    Source: Scheuerer & Hamill (2015), Eq. 3, with the finite ensemble's expectation subtracted.
    """
    xp = namespace(ensemble, truth)
    members, rows = _num_members(ensemble, "variogram score"), np.asarray(area_weights)
    scores = []
    for lag in (lag for lag in VARIOGRAM_LAGS if lag < min(truth.shape[-2:])):
        pair_weights = rows, np.sqrt(rows[lag:] * rows[:-lag])
        for weights, differences, true_difference in zip(
            pair_weights, _differences(ensemble, lag), _differences(truth, lag), strict=True
        ):
            variogram = xp.abs(differences) ** VARIOGRAM_ORDER
            errors = xp.abs(true_difference) ** VARIOGRAM_ORDER - xp.mean(variogram, axis=0)
            squares = errors**2 - xp.var(variogram, axis=0, correction=1) / members
            scores.append(float(xp.mean(area_mean(squares, weights))))
    return float(np.mean(scores))


def _differences(field: Array, lag: int) -> tuple[Array, Array]:
    """Return the differences of points `lag` columns apart, around the globe, and of points `lag` rows apart."""
    return namespace(field).roll(field, -lag, axis=-1) - field, field[..., lag:, :] - field[..., :-lag, :]


def tile_weights(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weight of each latitude in each row of tiles, and of each longitude in each column of tiles.

    A point belongs to one tile, with the area weight of its latitude. Rows of tiles that hold no latitude are left out.
    """
    north = np.minimum((90.0 - np.asarray(grid.latitude)) // TILE_DEGREES, 180 // TILE_DEGREES - 1)
    rows = (north[:, None] == np.unique(north)) * grid.area_weights[:, None]
    east = np.asarray(grid.longitude) // TILE_DEGREES
    return rows, (east[:, None] == np.unique(east)).astype(np.float64)


def _num_members(ensemble: Array, score: str) -> int:
    members = int(ensemble.shape[0])
    if members < 2:
        raise ValueError(f"The fair {score} needs at least 2 members. Got: {members}.")
    return members
