"""The summary of a lead time: mean, spread, quantiles and exceedance of each variable and of the wind's speed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diagnostics.wind import wind_direction, wind_speed
from weather.summary_template import WIND_DIRECTION, SummaryLayout

Field = NDArray[np.float32]


def lead_time_products(ensemble: Field, layout: SummaryLayout) -> tuple[int, dict[str, Field]]:
    """Return how many members the summary is of, and its fields by name, on the ensemble's grid.

    `ensemble` is (member, variable, latitude, longitude). Members that are not finite everywhere are left out; without
    any the fields are NaN, and the spread is NaN for fewer than two. Moments are accumulated in float64. Speeds are the
    members' own; the direction is that of the mean wind.
    """
    variables = layout.ensemble.variables
    finite: NDArray[np.bool_] = np.all(np.isfinite(ensemble), axis=(1, 2, 3))
    sound = ensemble if finite.all() else ensemble[finite]
    fields = {name: sound[:, channel] for channel, name in enumerate(variables)}
    products: dict[str, Field] = {}
    for variable in layout.variables:
        name = variable.name
        members = fields[name] if name in fields else np.asarray(wind_speed(fields["u10"], fields["v10"]))
        mean, spread = _moments(members)
        products[f"{name}_mean"], products[f"{name}_spread"] = mean, spread
        if layout.asked.quantiles:
            products[f"{name}_quantiles"] = quantiles(members, layout.asked.quantiles)
        for side, passes in (("above", np.greater), ("below", np.less)):
            if thresholds := layout.thresholds(name, side):
                shares = [_share(passes(members, np.float32(value))) for value in thresholds]
                products[f"{name}_{side}"] = np.stack(shares)
    if layout.has_wind:
        direction = wind_direction(products["u10_mean"], products["v10_mean"])
        products[WIND_DIRECTION] = np.where(direction == 360, np.float32(0), direction)
    return len(sound), products


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
