"""The summary of a lead time: mean, spread, quantiles and exceedance of each variable and of the wind's speed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from diagnostics.sound import finite_members
from diagnostics.wind import wind_direction, wind_speed
from weather.summary_template import WIND_DIRECTION, SummaryLayout

Field = NDArray[np.float32]

_BLOCK_BYTES = 2**20
"""So much of the ensemble is looked at at once, by latitudes: statistics need not hold it another time."""


def compute_summary(groups: Sequence[Field], layout: SummaryLayout) -> tuple[int, dict[str, Field]]:
    """Return how many members the summary is of, and its fields by name, on the ensemble's grid.

    Each of `groups` is (member, variable, latitude, longitude). Members that are not finite everywhere are left out;
    without any the fields are NaN, and the spread is NaN for fewer than two. Moments are accumulated in float64. Speeds
    are the members' own; the direction is that of the mean wind.
    """
    grid = layout.ensemble.grid.shape
    sound = [finite_members(group) for group in groups]
    products = {name: np.empty((*(size for _, size in dims), *grid), np.float32) for name, dims, _ in layout.fields()}
    latitude_bytes = max(sum(group[:, :, 0].nbytes for group in sound), 1)
    num_rows = max(_BLOCK_BYTES // latitude_bytes, 1)
    for first in range(0, grid[0], num_rows):
        rows = slice(first, first + num_rows)
        for name, values in _products(np.concatenate([group[:, :, rows] for group in sound]), layout):
            products[name][..., rows, :] = values
    return sum(len(group) for group in sound), products


def _products(ensemble: Field, layout: SummaryLayout) -> Iterator[tuple[str, Field]]:
    """Yield the fields of some latitudes."""
    fields = {name: ensemble[:, channel] for channel, name in enumerate(layout.ensemble.variables)}
    means = {}
    for variable in layout.variables:
        name = variable.name
        members = fields[name] if name in fields else np.asarray(wind_speed(fields["u10"], fields["v10"]))
        means[name], spread = _moments(members)
        yield f"{name}_mean", means[name]
        yield f"{name}_spread", spread
        if layout.asked.quantiles:
            yield f"{name}_quantiles", quantiles(members, layout.asked.quantiles)
        for side, passes in (("above", np.greater), ("below", np.less)):
            if thresholds := layout.thresholds(name, side):
                yield f"{name}_{side}", np.stack([_share(passes(members, np.float32(value))) for value in thresholds])
    if layout.has_wind:
        direction = wind_direction(means["u10"], means["v10"])
        yield WIND_DIRECTION, np.where(direction == 360, np.float32(0), direction)


def quantiles(members: Field, probabilities: Sequence[float]) -> Field:
    """Return the quantiles over members, (quantile, …), between neighbouring members linearly: numpy's default.

    NaN without members. Formula: at place q·(M − 1) among the M members in order.
    """
    if not len(members):
        return np.full((len(probabilities), *members.shape[1:]), np.nan, np.float32)
    ordered = np.sort(members, axis=0)
    result = np.empty((len(probabilities), *members.shape[1:]), np.float32)
    for field, probability in zip(result, probabilities, strict=True):
        place = probability * (len(members) - 1)
        below = int(place)
        low, high = ordered[below], ordered[min(below + 1, len(members) - 1)]
        field[...] = low + (high - low) * np.float32(place - below)
    return result


def _moments(members: Field) -> tuple[Field, Field]:
    """Return the mean and the square root of the unbiased variance over members."""
    count = len(members)
    mean, squares = np.full(members.shape[1:], np.nan), np.full(members.shape[1:], np.nan)
    if count:
        np.mean(members, axis=0, dtype=np.float64, out=mean)
    if count > 1:
        squares[...] = 0
        for member in members:
            difference = member - mean
            squares += difference * difference
    return mean.astype(np.float32), np.sqrt(squares / max(count - 1, 1)).astype(np.float32)


def _share(passed: NDArray[np.bool_]) -> Field:
    """Return the share of members, the first axis, that have passed."""
    if not len(passed):
        return np.full(passed.shape[1:], np.nan, np.float32)
    return np.asarray(np.mean(passed, axis=0, dtype=np.float64), np.float32)
