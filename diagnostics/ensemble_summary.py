"""Summary of an ensemble at a lead time: mean, spread, quantiles and exceedance of its variables and wind speed.

All functions take numpy arrays or torch tensors, on which they compute where these are.
"""

from collections.abc import Iterator, Sequence

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from diagnostics.finite_members import Apply, apply_to_finite
from diagnostics.scores.arrays import Array, like, namespace
from diagnostics.scores.wind import append_wind_speed, wind_direction
from weather.stores.summary_layout import WIND_DIRECTION, SummaryLayout

_BLOCK_BYTES = 2**20
"""Bytes of the ensemble that one block of latitudes holds on a CPU, which bounds the memory of the computation."""
_DEVICE_BLOCK_BYTES = 2**28
"""The same on other devices, which need large blocks to be fast."""


def compute_summary(
    groups: Sequence[Array], layout: SummaryLayout, apply: Apply = apply_to_finite
) -> tuple[int, dict[str, NDArray[np.float32]]]:
    """Return the number of members summarised and the fields of the summary by name, on the ensemble's grid.

    Each of `groups` is (member, variable, latitude, longitude). Members that are not finite everywhere are left out.
    All fields are NaN if no member remains, and the spread is NaN for fewer than two. Moments are accumulated in
    float64. Statistics of wind speed are over the members' speeds; the wind direction is that of the mean wind.
    `apply` computes them.
    """
    ensemble = layout.ensemble
    key = ("summary", ensemble.grid, ensemble.variables, layout.request.model_dump_json())
    mask, planes = apply(key, lambda members: _planes(members, layout), groups)
    return int(mask.sum()), _by_name(planes, layout)


def _planes(groups: Sequence[Array], layout: SummaryLayout) -> Array:
    """Return all fields of the summary (field, latitude, longitude), computed in blocks of latitudes."""
    grid, xp, device = layout.ensemble.grid.shape, namespace(groups[0]), array_api_compat.device(groups[0])
    sizes = [int(np.prod([size for _, size in dims])) for _, dims, _ in layout.statistics()]
    planes = xp.empty((sum(sizes), *grid), dtype=xp.float32, device=device)
    latitude_bytes = max(4 * sum(array_api_compat.size(group[:, :, 0]) or 0 for group in groups), 1)
    block_bytes = _BLOCK_BYTES if str(device) == "cpu" else _DEVICE_BLOCK_BYTES
    num_rows = max(block_bytes // latitude_bytes, 1)
    for first in range(0, grid[0], num_rows):
        rows = slice(first, first + num_rows)
        planes[:, rows] = _statistics(xp.concat([group[:, :, rows] for group in groups]), layout)
    return planes


def _statistics(ensemble: Array, layout: SummaryLayout) -> Array:
    """Return all fields of the summary for members (member, variable, latitude, longitude), as `_by_name` takes them.

    Each operation is made for all variables at once, because on a GPU the number of operations counts.
    """
    xp, names = namespace(ensemble), [variable.name for variable in layout.variables]
    members, _ = append_wind_speed(ensemble, layout.ensemble.variables)
    means, spreads = moments(members)
    parts = [means, spreads]
    if layout.request.quantiles:
        fields = quantiles(members, layout.request.quantiles)
        parts.append(xp.reshape(fields, (-1, *fields.shape[2:])))
    for channel, _, side, value in _events(layout):
        is_event = xp.greater if side == "above" else xp.less
        limit = like(np.asarray(value, np.float32), members)
        parts.append(event_share(is_event(members[:, channel], limit))[None])
    if layout.has_wind:
        direction = wind_direction(means[names.index("u10")], means[names.index("v10")])
        parts.append(xp.where(direction == 360, xp.zeros_like(direction), direction)[None])
    return xp.concat(parts)


def _events(layout: SummaryLayout) -> Iterator[tuple[int, str, str, float]]:
    """Yield index and name of the variable, side and threshold of each event."""
    for channel, variable in enumerate(layout.variables):
        for side in ("above", "below"):
            for value in layout.thresholds(variable.name, side):
                yield channel, variable.name, side, value


def _by_name(planes: NDArray[np.float32], layout: SummaryLayout) -> dict[str, NDArray[np.float32]]:
    """Return the fields of the summary by name, of those of all variables.

    `planes` (field, latitude, longitude) holds the means, then the spreads, the quantiles, the shares of the events and
    the direction of the wind.
    """
    names, probabilities = [variable.name for variable in layout.variables], len(layout.request.quantiles)
    means, spreads, ordered, rest = np.split(planes, np.cumsum([len(names), len(names), len(names) * probabilities]))
    ordered = ordered.reshape(probabilities, len(names), *planes.shape[1:])
    result = {f"{name}_mean": field for name, field in zip(names, means, strict=True)}
    result |= {f"{name}_spread": field for name, field in zip(names, spreads, strict=True)}
    if probabilities:
        result |= {f"{name}_quantiles": ordered[:, channel] for channel, name in enumerate(names)}
    events: dict[str, list[NDArray[np.float32]]] = {}
    for (_, name, side, _), share in zip(_events(layout), rest, strict=False):
        events.setdefault(f"{name}_{side}", []).append(share)
    result |= {name: np.stack(shares) for name, shares in events.items()}
    return result | ({WIND_DIRECTION: rest[-1]} if layout.has_wind else {})


def quantiles(members: Array, probabilities: Sequence[float]) -> Array:
    """Return the quantiles over members, (quantile, …), as numpy's default; NaN if there is no member.

    The quantile q of M sorted members x_0 … x_{M−1} is at index q·(M − 1), interpolated linearly between neighbours.
    """
    xp = namespace(members)
    if not len(members):
        return _nan(members, (len(probabilities), *members.shape[1:]))
    ordered = xp.sort(members, axis=0, stable=False)
    indices = np.asarray(probabilities) * (len(members) - 1)
    below = indices.astype(np.int64)
    above = np.minimum(below + 1, len(members) - 1)
    low, high = (xp.take(ordered, like(index, members, xp.int64), axis=0) for index in (below, above))
    weights = (indices - below).astype(np.float32).reshape(-1, *[1] * (members.ndim - 1))
    return low + (high - low) * like(weights, members)


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
