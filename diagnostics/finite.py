"""Selection of the members that are finite; a member with a value that is not finite is lost."""

import numpy as np
from numpy.typing import NDArray


def finite_mask(group: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask (member) of the members of (member, variable, latitude, longitude) that are finite everywhere."""
    return np.asarray(np.isfinite(group).all(axis=(1, 2, 3)))


def finite_members(group: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the members that are finite everywhere; `group` itself, without a copy, if all are."""
    finite = finite_mask(group)
    return group if finite.all() else group[finite]
