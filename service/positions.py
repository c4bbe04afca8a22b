"""Time series at places of a stored forecast: requests, and their answers, which a child process computes."""

from collections.abc import Sequence
from dataclasses import dataclass

from diagnostics.series import Series, read_series
from service.child_calls import ForecastAddress
from service.series_formats import SeriesAnswer
from service.series_queries import SeriesPlan, SeriesQuery, count_complete
from storage.errors import ConfigurationError, WarmcastError
from weather.errors import DamagedError
from weather.ingest.exchange import INITIAL_STATE, load_initial_state
from weather.places import Interpolation, Place, PlaceSampler
from weather.stores.layout import Layout


@dataclass(frozen=True, kw_only=True)
class PositionQuery(SeriesQuery):
    """A request for time series at places."""

    places: tuple[Place, ...]
    interpolation: Interpolation


@dataclass(frozen=True)
class _Task:
    """A query, and what follows from it and the forecast."""

    query: PositionQuery
    plan: SeriesPlan


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
    complete = count_complete(store, address.record)
    tasks = [_prepare(query, layout, complete) for query in queries]
    possible = [task for task in tasks if isinstance(task, _Task)]
    if not possible:
        return [task for task in tasks if not isinstance(task, _Task)]
    indices = sorted({index for task in possible for index in task.plan.indices})
    samplers = [PlaceSampler.of(layout.grid, task.query.places, task.query.interpolation) for task in possible]
    series = read_series(store, load_initial_state(folder / INITIAL_STATE), PlaceSampler.join(samplers), indices)
    answers: list[bytes | WarmcastError] = []
    first = 0
    for task in tasks:
        if not isinstance(task, _Task):
            answers.append(task)
            continue
        end = first + len(task.query.places)
        part = series.part([indices.index(index) for index in task.plan.indices], slice(first, end))
        answers.append(_render(address, task, part, layout.num_lead_times, complete))
        first = end
    return answers


def _prepare(query: PositionQuery, layout: Layout, complete: int) -> "_Task | ConfigurationError":
    """Return what a query needs of a forecast, or the error of one that does not fit it."""
    try:
        return _Task(query, SeriesPlan.of(query, layout, complete))
    except ConfigurationError as error:
        return error


def _render(address: ForecastAddress, task: _Task, series: Series, num_lead_times: int, complete: int) -> bytes:
    query = task.query
    return SeriesAnswer(
        forecast_id=address.forecast_id,
        series=series,
        places=query.places,
        interpolation=query.interpolation,
        parameters=task.plan.parameters,
        statistics=query.statistics,
        probabilities=query.probabilities,
        thresholds=task.plan.thresholds,
        num_lead_times=num_lead_times,
        complete_lead_times=complete,
    ).render(query.form)
