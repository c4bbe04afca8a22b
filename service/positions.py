"""Time series at places of a stored forecast: requests, and their answers, which a child process computes."""

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.parameters import Parameter, find_parameters, parse_thresholds
from diagnostics.scores.wind import SpeedUnits
from diagnostics.series import ANALYSIS, Series, read_series
from jobs.forecasts import ForecastRecord
from jobs.rows.states import Status
from service.child_calls import ForecastAddress
from service.series_formats import SeriesAnswer, SeriesFormat
from storage.errors import ConfigurationError, WarmcastError
from weather.errors import DamagedError
from weather.ingest.exchange import INITIAL_STATE, load_initial_state
from weather.places import Interpolation, Place, PlaceSampler
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from weather.stores.summary_request import Threshold
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


@dataclass(frozen=True)
class _Task:
    """A query, and what follows from it and the forecast."""

    query: PositionQuery
    parameters: Sequence[Parameter]
    thresholds: Sequence[Threshold]
    indices: Sequence[int]


def answer_positions(address: ForecastAddress, queries: Sequence[PositionQuery]) -> list[bytes | WarmcastError]:
    """Return the answers to requests, each with the analysis and all complete lead times, in its format.

    The fields are read once for all of them. In place of an answer is a `ConfigurationError` for parameters, units,
    events or times that the forecast does not have, or the `DamagedError` of a file that the request needs.
    """
    try:
        return _answer_together(address, queries)
    except DamagedError as error:
        if len(queries) == 1:
            return [error]
        return [answer for query in queries for answer in answer_positions(address, [query])]


def _answer_together(address: ForecastAddress, queries: Sequence[PositionQuery]) -> list[bytes | WarmcastError]:
    folder, store = address.open()
    layout = store.layout
    complete = _count_complete(store, address.record)
    tasks = [_prepare(query, layout, complete) for query in queries]
    possible = [task for task in tasks if isinstance(task, _Task)]
    if not possible:
        return [task for task in tasks if not isinstance(task, _Task)]
    indices = sorted({index for task in possible for index in task.indices})
    samplers = [PlaceSampler.of(layout.grid, task.query.places, task.query.interpolation) for task in possible]
    series = read_series(store, load_initial_state(folder / INITIAL_STATE), PlaceSampler.join(samplers), indices)
    answers: list[bytes | WarmcastError] = []
    first = 0
    for task in tasks:
        if not isinstance(task, _Task):
            answers.append(task)
            continue
        end = first + len(task.query.places)
        part = series.part([indices.index(index) for index in task.indices], slice(first, end))
        answers.append(_render(address, task, part, layout.num_lead_times, complete))
        first = end
    return answers


def _prepare(query: PositionQuery, layout: Layout, complete: int) -> "_Task | ConfigurationError":
    """Return what a query needs of a forecast, or the error of one that does not fit it."""
    try:
        parameters = find_parameters(query.names, layout.variables, query.units)
        thresholds = parse_thresholds(query.exceedance, parameters)
        return _Task(query, parameters, thresholds, _select(layout, complete, query))
    except ConfigurationError as error:
        return error


def _render(address: ForecastAddress, task: _Task, series: Series, num_lead_times: int, complete: int) -> bytes:
    query = task.query
    return SeriesAnswer(
        forecast_id=address.forecast_id,
        series=series,
        places=query.places,
        interpolation=query.interpolation,
        parameters=task.parameters,
        statistics=query.statistics,
        probabilities=query.probabilities,
        thresholds=task.thresholds,
        num_lead_times=num_lead_times,
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


def _select(layout: Layout, complete: int, query: PositionQuery) -> Sequence[int]:
    """Return the indices of the analysis and of complete lead times within the times of a request."""
    times = {ANALYSIS: layout.init_time} | {index: layout.valid_time(index) for index in range(complete)}
    indices = [index for index, time in times.items() if query.times.contains(time)]
    if not indices:
        raise ConfigurationError(
            f"`datetime` must include a valid time between {times[ANALYSIS]}Z and {max(times.values())}Z, those of "
            "the analysis and of the last complete lead time.",
            ("datetime",),
        )
    return indices
