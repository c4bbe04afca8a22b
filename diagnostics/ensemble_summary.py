"""Summary of an ensemble at a lead time: mean, spread, quantiles and exceedance of its variables and wind speed.

All functions take numpy arrays or torch tensors, on which they compute where these are.
"""

from collections.abc import Iterator, Sequence

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.scores.arrays import Array, like, namespace, to_numpy
from diagnostics.scores.wind import wind_direction, wind_speed
from weather.stores.summary_layout import WIND_DIRECTION, SummaryLayout

_BLOCK_BYTES = 2**20
"""Bytes of the ensemble that one block of latitudes holds on a CPU, which bounds the memory of the computation."""
_DEVICE_BLOCK_BYTES = 2**28
"""The same on other devices, which need large blocks to be fast."""


def compute_summary(groups: Sequence[Array], layout: SummaryLayout) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """Return the number of members summarised and the fields of the summary by name, on the ensemble's grid.

    Each of `groups` is (member, variable, latitude, longitude). Members that are not finite everywhere are left out.
    All fields are NaN if no member remains, and the spread is NaN for fewer than two. Moments are accumulated in
    float64. Statistics of wind speed are over the members' speeds; the wind direction is that of the mean wind.
    """
    grid, xp, device = layout.ensemble.grid.shape, namespace(groups[0]), array_api_compat.device(groups[0])
    finite = [finite_members(group) for group in groups]
    result = {
        name: xp.empty((*(size for _, size in dims), *grid), dtype=xp.float32, device=device)
        for name, dims, _ in layout.statistics()
    }
    latitude_bytes = max(4 * sum(array_api_compat.size(group[:, :, 0]) or 0 for group in finite), 1)
    block_bytes = _BLOCK_BYTES if str(device) == "cpu" else _DEVICE_BLOCK_BYTES
    num_rows = max(block_bytes // latitude_bytes, 1)
    for first in range(0, grid[0], num_rows):
        rows = slice(first, first + num_rows)
        for name, values in _statistics(xp.concat([group[:, :, rows] for group in finite]), layout):
            result[name][..., rows, :] = values
    return sum(len(group) for group in finite), {name: to_numpy(values) for name, values in result.items()}


def _statistics(ensemble: Array, layout: SummaryLayout) -> Iterator[tuple[str, Array]]:
    """Yield the name and values of each field of the summary, for members (member, variable, latitude, longitude)."""
    xp = namespace(ensemble)
    fields = {name: ensemble[:, channel] for channel, name in enumerate(layout.ensemble.variables)}
    means = {}
    for variable in layout.variables:
        name = variable.name
        members = fields[name] if name in fields else wind_speed(fields["u10"], fields["v10"])
        means[name], spread = moments(members)
        yield f"{name}_mean", means[name]
        yield f"{name}_spread", spread
        if layout.request.quantiles:
            yield f"{name}_quantiles", quantiles(members, layout.request.quantiles)
        for side, is_event in (("above", xp.greater), ("below", xp.less)):
            if thresholds := layout.thresholds(name, side):
                limits = [like(np.asarray(value, np.float32), members) for value in thresholds]
                yield f"{name}_{side}", xp.stack([event_share(is_event(members, limit)) for limit in limits])
    if layout.has_wind:
        direction = wind_direction(means["u10"], means["v10"])
        yield WIND_DIRECTION, xp.where(direction == 360, xp.zeros_like(direction), direction)


def quantiles(members: Array, probabilities: Sequence[float]) -> Array:
    """Return the quantiles over members, (quantile, …), as numpy's default; NaN if there is no member.

    The quantile q of M sorted members x_0 … x_{M−1} is at index q·(M − 1), interpolated linearly between neighbours.
    """
    xp = namespace(members)
    if not len(members):
        return _nan(members, (len(probabilities), *members.shape[1:]))
    ordered = xp.sort(members, axis=0, stable=False)
    fields = []
    for probability in probabilities:
        index = probability * (len(members) - 1)
        below = int(index)
        low, high = ordered[below], ordered[min(below + 1, len(members) - 1)]
        fields.append(low + (high - low) * float(np.float32(index - below)))
    return xp.stack(fields)


def moments(members: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation (unbiased variance) over members; NaN for no member and for fewer than two."""
    xp, count = namespace(members), len(members)
    if not count:
        return _nan(members, members.shape[1:]), _nan(members, members.shape[1:])
    exact = xp.astype(members, xp.float64)
    mean = xp.mean(exact, axis=0)
    spread = _nan(members, members.shape[1:])
    if count > 1:
        exact -= mean
        exact *= exact
        spread = xp.astype(xp.sqrt(xp.sum(exact, axis=0) / (count - 1)), xp.float32)
    return xp.astype(mean, xp.float32), spread


def event_share(mask: Array) -> Array:
    """Return the fraction of members, the first axis, where `mask` is true; NaN if there is no member."""
    xp = namespace(mask)
    if not len(mask):
        return _nan(mask, mask.shape[1:])
    return xp.astype(xp.sum(mask, axis=0), xp.float32) / len(mask)


def _nan(array: Array, shape: tuple[int, ...]) -> Array:
    """Return NaN in float32, of the kind and on the device of `array`."""
    xp = namespace(array)
    return xp.full(tuple(shape), float("nan"), dtype=xp.float32, device=array_api_compat.device(array))


def finite_mask(group: Array) -> Array:
    """Return a mask (member) of the members of (member, variable, latitude, longitude) that are finite everywhere."""
    xp = namespace(group)
    return xp.all(xp.isfinite(group), axis=(1, 2, 3))


def finite_members(group: Array) -> Array:
    """Return the members that are finite everywhere; `group` itself, without a copy, if all are."""
    finite = finite_mask(group)
    return group if finite.all() else group[finite]
