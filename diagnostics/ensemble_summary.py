"""Summary of an ensemble at a lead time: mean, spread, quantiles and exceedance of its variables and wind speed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.wind import wind_direction, wind_speed
from weather.stores.summary_layout import WIND_DIRECTION, SummaryLayout

Field = NDArray[np.float32]

_BLOCK_BYTES = 2**20
"""Bytes of the ensemble that one block of latitudes holds, which bounds the memory of the computation."""


def compute_summary(groups: Sequence[Field], layout: SummaryLayout) -> tuple[int, dict[str, Field]]:
    """Return the number of members summarised and the fields of the summary by name, on the ensemble's grid.

    Each of `groups` is (member, variable, latitude, longitude). Members that are not finite everywhere are left out.
    All fields are NaN if no member remains, and the spread is NaN for fewer than two. Moments are accumulated in
    float64. Statistics of wind speed are over the members' speeds; the wind direction is that of the mean wind.
    """
    grid = layout.ensemble.grid.shape
    finite = [finite_members(group) for group in groups]
    result = {name: np.empty((*(size for _, size in dims), *grid), np.float32) for name, dims, _ in layout.statistics()}
    latitude_bytes = max(sum(group[:, :, 0].nbytes for group in finite), 1)
    num_rows = max(_BLOCK_BYTES // latitude_bytes, 1)
    for first in range(0, grid[0], num_rows):
        rows = slice(first, first + num_rows)
        for name, values in _statistics(np.concatenate([group[:, :, rows] for group in finite]), layout):
            result[name][..., rows, :] = values
    return sum(len(group) for group in finite), result


def _statistics(ensemble: Field, layout: SummaryLayout) -> Iterator[tuple[str, Field]]:
    """Yield the name and values of each field of the summary, for members (member, variable, latitude, longitude)."""
    fields = {name: ensemble[:, channel] for channel, name in enumerate(layout.ensemble.variables)}
    means = {}
    for variable in layout.variables:
        name = variable.name
        members = fields[name] if name in fields else np.asarray(wind_speed(fields["u10"], fields["v10"]))
        means[name], spread = _moments(members)
        yield f"{name}_mean", means[name]
        yield f"{name}_spread", spread
        if layout.request.quantiles:
            yield f"{name}_quantiles", quantiles(members, layout.request.quantiles)
        for side, is_event in (("above", np.greater), ("below", np.less)):
            if thresholds := layout.thresholds(name, side):
                yield (
                    f"{name}_{side}",
                    np.stack([_fraction(is_event(members, np.float32(value))) for value in thresholds]),
                )
    if layout.has_wind:
        direction = wind_direction(means["u10"], means["v10"])
        yield WIND_DIRECTION, np.where(direction == 360, np.float32(0), direction)


def quantiles(members: Field, probabilities: Sequence[float]) -> Field:
    """Return the quantiles over members, (quantile, …), as numpy's default; NaN if there is no member.

    The quantile q of M sorted members x_0 … x_{M−1} is at index q·(M − 1), interpolated linearly between neighbours.
    """
    if not len(members):
        return np.full((len(probabilities), *members.shape[1:]), np.nan, np.float32)
    ordered = np.sort(members, axis=0)
    result = np.empty((len(probabilities), *members.shape[1:]), np.float32)
    for field, probability in zip(result, probabilities, strict=True):
        index = probability * (len(members) - 1)
        below = int(index)
        low, high = ordered[below], ordered[min(below + 1, len(members) - 1)]
        field[...] = low + (high - low) * np.float32(index - below)
    return result


def _moments(members: Field) -> tuple[Field, Field]:
    """Return mean and standard deviation (unbiased variance) over members; NaN for no member and for fewer than two."""
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


def _fraction(mask: NDArray[np.bool_]) -> Field:
    """Return the fraction of members, the first axis, where `mask` is true; NaN if there is no member."""
    if not len(mask):
        return np.full(mask.shape[1:], np.nan, np.float32)
    return np.asarray(np.mean(mask, axis=0, dtype=np.float64), np.float32)


def finite_mask(group: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return a mask (member) of the members of (member, variable, latitude, longitude) that are finite everywhere."""
    return np.asarray(np.isfinite(group).all(axis=(1, 2, 3)))


def finite_members(group: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the members that are finite everywhere; `group` itself, without a copy, if all are."""
    finite = finite_mask(group)
    return group if finite.all() else group[finite]
