"""The continuous ranked probability score of an ensemble, exact and in O(M log M).

CRPS = mean_i |x_i − y| − Σ_{i<j} |x_i − x_j| / D. D = M(M−1) gives the fair estimator, whose expectation is the CRPS of
an infinite ensemble; D = M² gives the biased one, the CRPS of the empirical distribution of the M members.
The double sum is Σ_i (2i − M − 1) x_(i) over the sorted members. Source: Ferro (2014).
"""

import array_api_compat
import numpy as np

from diagnostics.scores.arrays import Array, namespace

_BLOCK_ELEMENTS = 250_000


def crps_fair(ensemble: Array, truth: Array) -> Array:
    """Return the fair CRPS, in the unit of `truth` and of its shape.

    `ensemble` is (member, *shape of truth). NaN in any member or in the truth gives NaN there. Raises `ValueError` for
    fewer than two members, where it is undefined, and for shapes that differ.
    """
    members = _num_members(ensemble, truth)
    if members < 2:
        raise ValueError(f"The fair CRPS needs at least 2 members. Got: {members}.")
    return _crps(ensemble, truth, members * (members - 1))


def crps_biased(ensemble: Array, truth: Array) -> Array:
    """Return the biased CRPS (scoringrules' `qd`, xskillscore's), in the unit of `truth` and of its shape.

    `ensemble` is (member, *shape of truth). NaN propagates. For one member it is the absolute error.
    """
    members = _num_members(ensemble, truth)
    return _crps(ensemble, truth, members**2)


def crps_almost_fair(ensemble: Array, truth: Array, alpha: float) -> Array:
    """Return α · fair + (1 − α) · biased CRPS, in the unit of `truth` and of its shape; a loss of training.

    The fair CRPS of two members is 0 where they are at equal distances on both sides of the truth, however large; the
    biased part prevents it. Arguments and errors are those of `crps_fair`. Source: Lang et al. (2024), Eq. 4.
    """
    members = _num_members(ensemble, truth)
    if members < 2:
        raise ValueError(f"The almost fair CRPS needs at least 2 members. Got: {members}.")
    return _crps(ensemble, truth, members * (members - 1) / (1 - (1 - alpha) / members))


def _num_members(ensemble: Array, truth: Array) -> int:
    """Return the number of members; raises `ValueError` for shapes that do not fit and for no member."""
    if tuple(ensemble.shape[1:]) != tuple(truth.shape) or not ensemble.shape[0]:
        raise ValueError(
            f"`ensemble` must be (member, *shape of `truth`). Got: {tuple(ensemble.shape)} and {tuple(truth.shape)}."
        )
    return int(ensemble.shape[0])


def _crps(ensemble: Array, truth: Array, pairs: float) -> Array:
    """Compute the CRPS with `pairs` as D, in blocks of points with members last, so that sorting stays in cache."""
    xp = namespace(ensemble, truth)
    members, points = ensemble.shape[0], int(np.prod(truth.shape))
    flat, flat_truth = xp.reshape(ensemble, (members, points)), xp.reshape(truth, (points,))
    ranks = xp.arange(1, members + 1, dtype=ensemble.dtype, device=array_api_compat.device(ensemble))
    pair_weights = (2 * ranks - members - 1) / pairs
    block = max(_BLOCK_ELEMENTS // members, 1)
    parts = []
    for start in range(0, points, block):
        differences = flat[:, start : start + block] - flat_truth[start : start + block]
        by_point = xp.reshape(xp.reshape(differences.T, (-1,)), (-1, members))
        by_rank = xp.sort(by_point, axis=-1, stable=False)
        parts.append(xp.mean(xp.abs(differences), axis=0) - by_rank @ pair_weights)
    return xp.reshape(xp.concat(parts) if parts else flat_truth, tuple(truth.shape))
