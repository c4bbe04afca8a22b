"""Time series at places of a stored forecast: the request, and its answer, which a child process computes."""

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.parameters import find_parameters, parse_thresholds
from diagnostics.scores.wind import SpeedUnits
from diagnostics.series import ANALYSIS, read_series
from jobs.forecasts import ForecastRecord
from jobs.rows.states import Status
from service.child_calls import ForecastAddress
from service.series_formats import SeriesAnswer, SeriesFormat
from storage.errors import ConfigurationError
from weather.ingest.exchange import INITIAL_STATE, load_initial_state
from weather.places import Interpolation, Place, PlaceSampler
from weather.stores.ensemble import EnsembleStore
from weather.times import Interval


@dataclass(frozen=True)
class PositionQuery:
    """A request for time series: where, of what, when, and in which form.

    `names` are those of parameters, none for all. With `statistics`, the answer has mean, spread, quantiles of some
    `probabilities` and the events in `exceedance`, else the members. `times` are the valid times.
    """

    places: tuple[Place, ...]
    names: tuple[str, ...]
    interpolation: Interpolation
    units: SpeedUnits
    statistics: bool
    probabilities: tuple[float, ...]
    exceedance: str
    times: Interval
    form: SeriesFormat


def answer_position(address: ForecastAddress, query: PositionQuery) -> bytes:
    """Return the answer to a request, with the analysis and all complete lead times, in its format.

    Raises `ConfigurationError` for parameters, units, events or times that the forecast does not have, and
    `DamagedError`.
    """
    folder, store = address.open()
    layout = store.layout
    parameters = find_parameters(query.names, layout.variables, query.units)
    thresholds = parse_thresholds(query.exceedance, parameters)
    complete = _count_complete(store, address.record)
    indices = _select(store, complete, query)
    sampler = PlaceSampler.of(layout.grid, query.places, query.interpolation)
    series = read_series(store, load_initial_state(folder / INITIAL_STATE), sampler, indices)
    return SeriesAnswer(
        forecast_id=address.forecast_id,
        series=series,
        places=query.places,
        interpolation=query.interpolation,
        parameters=parameters,
        statistics=query.statistics,
        probabilities=query.probabilities,
        thresholds=thresholds,
        num_lead_times=layout.num_lead_times,
        complete_lead_times=complete,
    ).render(query.form)


def _count_complete(store: EnsembleStore, record: ForecastRecord) -> int:
    """Return how many lead times clients can read: those that were committed, of which the last may be unpublished."""
    committed, groups = record.lead_times, range(store.layout.num_groups)
    if record.status == Status.SUCCESSFUL:
        return committed
    while committed and not all(store.is_complete(store.path, group, committed - 1) for group in groups):
        committed -= 1
    return committed


def _select(store: EnsembleStore, complete: int, query: PositionQuery) -> Sequence[int]:
    """Return the indices of the analysis and of complete lead times within the times of a request."""
    layout = store.layout
    times = {ANALYSIS: layout.init_time} | {index: layout.valid_time(index) for index in range(complete)}
    indices = [index for index, time in times.items() if query.times.contains(time)]
    if not indices:
        raise ConfigurationError(
            f"`datetime` must include a valid time between {times[ANALYSIS]}Z and {max(times.values())}Z, those of "
            "the analysis and of the last complete lead time.",
            ("datetime",),
        )
    return indices
