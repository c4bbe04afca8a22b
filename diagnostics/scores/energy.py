"""The energy score: a multivariate CRPS of whole fields, sensitive to dependence between points and variables."""

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, like, namespace


def energy_score_fair(ensemble: Array, truth: Array, area_weights: NDArray[np.float64]) -> float:
    """Return the fair energy score, mean_i ‖x_i − y‖ − Σ_{i<j} ‖x_i − x_j‖ / (M(M−1)).

    `ensemble` is (member, …, latitude, longitude) and `truth` the same without the member axis. ‖·‖² is the area mean
    of the squares, summed over the remaining axes; variables of different units must be normalised beforehand.
    Raises `ValueError` for fewer than two members. NaN propagates. Source: Gneiting & Raftery (2007), Eq. 21.
    """
    xp = namespace(ensemble, truth)
    members, rows = ensemble.shape[0], np.asarray(area_weights)
    if members < 2:
        raise ValueError(f"The fair energy score needs at least 2 members. Got: {members}.")
    scale = like(np.sqrt(rows / (rows.sum() * truth.shape[-1])), truth)[:, None]
    deviations = xp.reshape((ensemble - truth) * scale, (members, -1))
    errors = xp.linalg.vector_norm(deviations, axis=-1)
    distances = 0.0
    for member in range(1, members):
        pair_distances = xp.linalg.vector_norm(deviations[:member] - deviations[member], axis=-1)
        distances += float(xp.sum(pair_distances))
    score: float = float(xp.mean(errors)) - distances / (members * (members - 1))
    return score
