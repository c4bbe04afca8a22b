"""Members that are lost, and those that statistics are of."""

import numpy as np
from numpy.typing import NDArray


def finite_mask(group: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which members of (member, variable, latitude, longitude) are finite everywhere."""
    return np.asarray(np.isfinite(group).all(axis=(1, 2, 3)))


def finite_members(group: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the members that are finite everywhere: the group itself, where all are."""
    sound = finite_mask(group)
    return group if sound.all() else group[sound]
