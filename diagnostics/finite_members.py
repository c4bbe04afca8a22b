"""Functions of the members of an ensemble that are finite everywhere, computed where the members are."""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, namespace, to_numpy

OfGroups = Callable[[Sequence[Array]], Array]
"""A function of groups of members, each (member, variable, latitude, longitude), that returns an array where they are.

It does not depend on what the values are: which operations it makes follows from the shapes alone.
"""


class Apply(Protocol):
    """A way to compute a function of the finite members of some groups, such as `apply_to_finite`."""

    def __call__(
        self, key: Hashable, function: OfGroups, groups: Sequence[Array], /
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return a mask of the finite members of all groups, and `function` of these members, in host memory.

        Functions of the same `key` return the same; all are functions of at least one group, which may be empty.
        """


def apply_to_finite(
    _key: Hashable, function: OfGroups, groups: Sequence[Array]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Return a mask of the finite members of all groups, and `function` of these members; a GPU is waited for twice."""
    mask = to_numpy(finite_mask(groups))
    return mask, to_numpy(function(select_members(groups, mask)))


def finite_mask(groups: Sequence[Array]) -> Array:
    """Return a mask (member) of the members of all groups that are finite everywhere, where the groups are."""
    xp, size = namespace(groups[0]), math.prod(groups[0].shape[1:])
    return xp.concat([xp.all(xp.isfinite(xp.reshape(group, (len(group), size))), axis=1) for group in groups])


def select_members(groups: Sequence[Array], mask: NDArray[np.bool_]) -> list[Array]:
    """Return the members of each group for which `mask`, of all groups, is true; a whole group is not copied."""
    if mask.all():
        return list(groups)
    xp, device = namespace(groups[0]), array_api_compat.device(groups[0])
    parts = np.split(mask, np.cumsum([len(group) for group in groups])[:-1])
    return [group[xp.asarray(part, device=device)] for group, part in zip(groups, parts, strict=True)]
