"""Probabilities of events at places at one lead time, as `GET /forecast/ID/position` gives them."""

from collections.abc import Sequence

import numpy as np

from diagnostics.parameters import find_parameters
from diagnostics.scores.arrays import Array, to_numpy
from diagnostics.scores.wind import SpeedUnits
from diagnostics.series import Series
from weather.places import Place, PlaceSampler
from weather.stores.layout import Layout
from weather.stores.summary_request import Threshold


def event_probabilities(
    groups: Sequence[Array], layout: Layout, event: Threshold, units: SpeedUnits, places: Sequence[Place]
) -> list[float | None]:
    """Return the share of members in which an event happens, at each place; None if no member is finite.

    `groups` are the fields (member, variable, latitude, longitude) of all groups at one lead time. The value of the
    event is in `units` if it is of a speed.
    """
    sampler = PlaceSampler.of(layout.grid, places, "bilinear")
    values = np.concatenate([sampler.sample(to_numpy(fields)) for fields in groups])[np.newaxis]
    series = Series(layout.init_time, (0,), layout.members, layout.variables, values)
    (parameter,) = find_parameters([event.variable], layout.variables, units)
    *_, (_name, _unit, shares) = series.statistics_of(parameter, (), [event])
    return [float(share) if np.isfinite(share) else None for share in shares[0]]
