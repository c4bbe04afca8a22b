"""Time series of an ensemble at places: members, and statistics over them."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import event_share, moments, quantiles
from diagnostics.parameters import Parameter
from diagnostics.scores.wind import WIND_SPEED, wind_direction, wind_speed
from weather.initial_state import InitialState
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary_layout import WIND_DIRECTION
from weather.stores.summary_request import Threshold

ANALYSIS = -1
"""The index of lead time 0, whose values are those of the analysis from which each member started."""

_READERS = 4
_WIND = ("u10", "v10")

Values = NDArray[np.float32]
"""Values of members, (lead time, member, place), or of a statistic over them, (lead time, place)."""


class Sampler(Protocol):
    """Takes the values of fields at places."""

    def sample(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values (member, variable, place) of `fields` (member, variable, latitude, longitude)."""


@dataclass(frozen=True)
class Series:
    """Values of members (lead time, member, variable, place) at `lead_hours`; NaN for lost members.

    The wind speed may be one of the `variables`; else it is computed from the components.
    """

    init_time: np.datetime64
    lead_hours: tuple[int, ...]
    members: tuple[int, ...]
    variables: tuple[str, ...]
    values: NDArray[np.float32]

    @property
    def valid_times(self) -> NDArray[np.datetime64]:
        """The time of each lead time."""
        return np.asarray(self.init_time + np.array(self.lead_hours, "timedelta64[h]"))

    def members_of(self, parameter: Parameter) -> Values:
        """Return the values of the members of a parameter in its unit; speed and direction are of a member's wind."""
        if parameter.name == WIND_DIRECTION:
            return np.asarray(wind_direction(self._variable("u10"), self._variable("v10")))
        is_computed = parameter.name == WIND_SPEED and WIND_SPEED not in self.variables
        values = (
            wind_speed(self._variable("u10"), self._variable("v10")) if is_computed else self._variable(parameter.name)
        )
        return np.asarray(values * np.float32(parameter.factor))

    def statistics_of(
        self, parameter: Parameter, probabilities: Sequence[float], thresholds: Sequence[Threshold]
    ) -> Iterator[tuple[str, str, Values]]:
        """Yield name, unit and values of each statistic of a parameter over its members.

        Mean, spread (unbiased variance), quantiles, and the shares of members beyond the thresholds of this parameter,
        which are in its unit. The direction of the mean wind is the only statistic of directions. Members that are not
        finite are left out; without any, a statistic is NaN, and the spread without two.
        """
        if parameter.name == WIND_DIRECTION:
            means = (self._over_members(self._variable(name), lambda members: moments(members)[0]) for name in _WIND)
            yield "mean", parameter.units, wind_direction(*means)
            return
        values = self.members_of(parameter)
        for name, field in zip(("mean", "spread"), self._over_members(values, _moments), strict=True):
            yield name, parameter.units, field
        if probabilities:
            fields = self._over_members(values, partial(quantiles, probabilities=probabilities))
            for probability, field in zip(probabilities, fields, strict=True):
                yield f"q{probability:g}", parameter.units, field
        for threshold in thresholds:
            if threshold.variable == parameter.name:
                shares = self._over_members(values, partial(_share_beyond, threshold))
                yield f"p{threshold.op}{threshold.value:g}", "1", shares

    def part(self, leads: Sequence[int], places: slice) -> "Series":
        """Return the series of some of the lead times, by position, and places."""
        hours = tuple(self.lead_hours[lead] for lead in leads)
        return replace(self, lead_hours=hours, values=self.values[list(leads)][..., places])

    def num_finite(self) -> NDArray[np.int64]:
        """Return the number of members that are finite, at each lead time."""
        return np.asarray(np.isfinite(self.values).all(axis=(2, 3)).sum(axis=1))

    def _variable(self, name: str) -> Values:
        return self.values[:, :, self.variables.index(name)]

    def _over_members(self, values: Values, statistic: Callable[[Values], Values]) -> Values:
        """Return a statistic (…, lead time, place) over the finite members of `values`.

        `statistic` takes (member, lead time, place) of lead times at which the same members are finite: those that are
        finite at all places.
        """
        masks, numbers = np.unique(np.isfinite(values).all(axis=2), axis=0, return_inverse=True)
        leads = [np.flatnonzero(numbers.reshape(-1) == number) for number in range(len(masks))]
        parts = [statistic(values[lead][:, mask].swapaxes(0, 1)) for lead, mask in zip(leads, masks, strict=True)]
        order = np.argsort(np.concatenate(leads))
        return np.asarray(np.concatenate(parts, axis=-2)[..., order, :], np.float32)


def _moments(members: Values) -> Values:
    return np.stack(moments(members))


def _share_beyond(threshold: Threshold, members: Values) -> Values:
    is_event = np.greater if threshold.op == ">" else np.less
    return np.asarray(event_share(is_event(members, np.float32(threshold.value))))


def read_series(store: EnsembleStore, state: InitialState, sampler: Sampler, lead_indices: Sequence[int]) -> Series:
    """Return the series of a forecast at some lead times, which must be complete; `ANALYSIS` is that of its `state`.

    Raises `DamagedError` if a chunk is missing or damaged.
    """
    layout = store.layout

    def read(position: tuple[int, int]) -> NDArray[np.float32]:
        index, group = position
        if index == ANALYSIS:
            analyses = state.newest[:]
            return sampler.sample(analyses[np.array(layout.group_members(group)) % len(analyses)])
        return sampler.sample(store.group_fields(group, index))

    positions = [(index, group) for index in lead_indices for group in range(layout.num_groups)]
    with ThreadPoolExecutor(_READERS) as pool:
        groups = list(pool.map(read, positions))
    parts = [groups[first : first + layout.num_groups] for first in range(0, len(groups), layout.num_groups)]
    hours = tuple(0 if index == ANALYSIS else layout.lead_hours(index) for index in lead_indices)
    values = np.stack([np.concatenate(part) for part in parts])
    return Series(layout.init_time, hours, layout.members, layout.variables, values)
