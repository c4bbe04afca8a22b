"""Requests for values of a stored forecast by valid time, and what each needs of a certain forecast."""

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.parameters import Parameter, find_parameters, parse_thresholds
from diagnostics.scores.wind import SpeedUnits
from diagnostics.series import ANALYSIS
from jobs.forecasts import ForecastRecord
from jobs.rows.states import Status
from service.series_formats import SeriesFormat
from storage.errors import ConfigurationError
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from weather.stores.summary_request import Threshold
from weather.times import Interval


@dataclass(frozen=True, kw_only=True)
class SeriesQuery:
    """A request for values by valid time: of what, when, and in which form.

    `names` are those of parameters, none for all. With `statistics`, the answer has mean, spread, quantiles of some
    `probabilities` and the events in `exceedance`, else the members. `times` are the valid times.
    """

    names: tuple[str, ...]
    units: SpeedUnits
    statistics: bool
    probabilities: tuple[float, ...]
    exceedance: str
    times: Interval
    form: SeriesFormat


@dataclass(frozen=True)
class SeriesPlan:
    """What follows from a query and a forecast: parameters, events and the indices of lead times."""

    parameters: tuple[Parameter, ...]
    thresholds: tuple[Threshold, ...]
    indices: Sequence[int]

    @classmethod
    def of(cls, query: SeriesQuery, layout: Layout, complete: int) -> "SeriesPlan":
        """Return the plan of a query for a forecast with so many complete lead times.

        Raises `ConfigurationError` for parameters, units, events or times that it does not have.
        """
        parameters = find_parameters(query.names, layout.variables, query.units)
        thresholds = parse_thresholds(query.exceedance, parameters)
        return cls(parameters, thresholds, _select(layout, complete, query.times))

    def count_statistics(self, query: SeriesQuery) -> int:
        """Return the number of values of all parameters at one place and lead time: statistics, or parameters."""
        if not query.statistics:
            return len(self.parameters)
        directions = sum(parameter.is_direction for parameter in self.parameters)
        others = len(self.parameters) - directions
        return directions + others * (2 + len(query.probabilities)) + len(self.thresholds)


def count_complete(store: EnsembleStore, record: ForecastRecord) -> int:
    """Return how many lead times clients can read: those that were committed, of which the last may be unpublished."""
    committed, groups = record.lead_times, range(store.layout.num_groups)
    if record.status == Status.SUCCESSFUL:
        return committed
    while committed and not all(store.is_complete(store.path, group, committed - 1) for group in groups):
        committed -= 1
    return committed


def _select(layout: Layout, complete: int, limits: Interval) -> Sequence[int]:
    """Return the indices of the analysis and of complete lead times within some limits."""
    times = {ANALYSIS: layout.init_time} | {index: layout.valid_time(index) for index in range(complete)}
    indices = [index for index, time in times.items() if limits.contains(time)]
    if not indices:
        raise ConfigurationError(
            f"`datetime` must include a valid time between {times[ANALYSIS]}Z and {max(times.values())}Z, those of "
            f"the analysis and of the last complete lead time. Got: {limits}.",
            ("datetime",),
        )
    return indices
