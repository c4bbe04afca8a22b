"""Time series of an ensemble at places: members, and statistics over them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diagnostics.ensemble_summary import event_share, moments, quantiles
from diagnostics.parameters import Parameter
from diagnostics.scores.wind import WIND_SPEED, wind_direction, wind_speed
from weather.initial_state import InitialState
from weather.places import PlaceSampler
from weather.stores.ensemble import EnsembleStore
from weather.stores.summary_layout import WIND_DIRECTION
from weather.stores.summary_request import Threshold

ANALYSIS = -1
"""The index of lead time 0, whose values are those of the analysis from which each member started."""

_READERS = 4

Values = NDArray[np.float32]
"""Values of members, (lead time, member, place), or of a statistic over them, (lead time, place)."""


@dataclass(frozen=True)
class Series:
    """Values of members (lead time, member, variable, place) at `lead_hours`; NaN for lost members."""

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
        is_speed = parameter.name == WIND_SPEED
        values = (
            wind_speed(self._variable("u10"), self._variable("v10")) if is_speed else self._variable(parameter.name)
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
            means = (np.stack([moments(members)[0] for members in self._finite(name)]) for name in ("u10", "v10"))
            yield "mean", parameter.units, wind_direction(*means)
            return
        finite = [_finite(members) for members in self.members_of(parameter)]
        for name, values in zip(("mean", "spread"), zip(*map(moments, finite), strict=True), strict=True):
            yield name, parameter.units, np.stack(values)
        for index, probability in enumerate(probabilities):
            yield (
                f"q{probability:g}",
                parameter.units,
                np.stack([quantiles(each, probabilities)[index] for each in finite]),
            )
        for threshold in thresholds:
            if threshold.variable == parameter.name:
                is_event, limit = np.greater if threshold.op == ">" else np.less, np.float32(threshold.value)
                shares = [event_share(is_event(each, limit)) for each in finite]
                yield f"p{threshold.op}{threshold.value:g}", "1", np.stack(shares)

    def num_finite(self) -> NDArray[np.int64]:
        """Return the number of members that are finite, at each lead time."""
        return np.asarray(np.isfinite(self.values).all(axis=(2, 3)).sum(axis=1))

    def _variable(self, name: str) -> Values:
        return self.values[:, :, self.variables.index(name)]

    def _finite(self, name: str) -> list[NDArray[np.float32]]:
        return [_finite(members) for members in self._variable(name)]


def _finite(members: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the members of (member, place) that are finite at all places: those that are not lost."""
    return members[np.isfinite(members).all(axis=1)]


def read_series(
    store: EnsembleStore, state: InitialState, sampler: PlaceSampler, lead_indices: Sequence[int]
) -> Series:
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
