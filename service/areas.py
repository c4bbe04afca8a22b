"""Values of a stored forecast in an area: requests, and their answers, which a child process computes."""

from dataclasses import dataclass, replace

from diagnostics.area_series import Reduction, read_area
from diagnostics.parameters import find_parameters
from service.area_formats import AreaAnswer
from service.child_calls import ForecastAddress
from service.series_formats import SeriesAnswer
from service.series_queries import SeriesPlan, SeriesQuery, count_complete
from storage.errors import ConfigurationError
from weather.areas import Area, GridPoints
from weather.ingest.exchange import INITIAL_STATE, load_initial_state
from weather.places import Place
from weather.region import Region
from weather.stores.layout import Layout

MAX_VALUES = 1_000_000
"""Values of an answer."""
_MAX_READ_VALUES = 25_000_000
"""Values of members that are in memory together, from which the answer is computed."""
_DIRECTIONS = ("max", "min")
"""Reductions that a direction does not have."""


@dataclass(frozen=True, kw_only=True)
class AreaQuery(SeriesQuery):
    """A request for values at the grid points of an area, or for a reduction of each member's values over them."""

    area: Area | Region
    reduction: Reduction


def answer_area(address: ForecastAddress, query: AreaQuery) -> bytes:
    """Return the answer to a request, with the analysis and all complete lead times, in its format.

    Raises `ConfigurationError` for parameters, units, events, times or an area that the forecast does not have, and
    for an answer that would be too large; and `DamagedError`.
    """
    folder, store = address.open()
    layout, complete = store.layout, count_complete(store, address.record)
    query = _with_parameters(query, layout)
    plan, points = SeriesPlan.of(query, layout, complete), GridPoints.inside(query.area, layout.grid)
    _check_size(query, plan, points, layout)
    state = load_initial_state(folder / INITIAL_STATE)
    series = read_area(store, state, points, query.reduction, plan.indices)
    answer = SeriesAnswer(
        forecast_id=address.forecast_id,
        series=series,
        places=tuple(map(Place, points.latitude.tolist(), points.longitude.tolist())),
        interpolation=None,
        parameters=plan.parameters,
        statistics=query.statistics,
        probabilities=query.probabilities,
        thresholds=plan.thresholds,
        num_lead_times=layout.num_lead_times,
        complete_lead_times=complete,
    )
    return AreaAnswer(answer, points, query.area, query.reduction).render(query.form)


def _with_parameters(query: AreaQuery, layout: Layout) -> AreaQuery:
    """Return the query with the names of all its parameters; directions have neither maximum nor minimum."""
    if query.reduction not in _DIRECTIONS:
        return query
    parameters = find_parameters(query.names, layout.variables, query.units)
    if query.names and (directions := [each.name for each in parameters if each.is_direction]):
        raise ConfigurationError(
            f"`reduce` must be none or mean for a direction. Got: {query.reduction} of {', '.join(directions)}.",
            ("reduce",),
        )
    return replace(query, names=tuple(each.name for each in parameters if not each.is_direction))


def _check_size(query: AreaQuery, plan: SeriesPlan, points: GridPoints, layout: Layout) -> None:
    """Raise `ConfigurationError` if the answer, or what it is computed from, has too many values."""
    (latitudes, _), (longitudes, _) = points.axes
    num_points = len(latitudes) * len(longitudes) if query.form == "covjson" else len(points.rows)
    num_points = num_points if query.reduction == "none" else 1
    fields, members = len(plan.indices) * num_points, len(layout.members)
    values = fields * plan.count_statistics(query) * (1 if query.statistics else members)
    read = fields * members * len(layout.variables)
    for number, limit, what in (
        (values, MAX_VALUES, "The answer"),
        (read, _MAX_READ_VALUES, "The members that the statistics are of"),
    ):
        if number > limit:
            raise ConfigurationError(
                f"{what} must have at most {limit:,} values. Got: {number:,}, of {num_points:,} grid points at "
                f"{len(plan.indices)} lead times. Choose a smaller area, fewer parameters, a `datetime`, "
                "`values=statistics` or `reduce=mean`; larger parts are in ensemble.nc and ensemble.zarr.",
                ("bbox" if isinstance(query.area, Region) else "coords",),
            )
