"""The route for time series of a forecast at places, as OGC API – EDR names it."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from diagnostics.scores.wind import SpeedUnits
from jobs.forecasts import ForecastRecord
from service.caching import conditional, is_unchanged, state_tag
from service.child_calls import ForecastAddress
from service.child_processes import while_connected
from service.damage import answering_damage
from service.dependencies import OwnForecast, Service, ServiceDep, check_ensemble
from service.faults import Faults, located_at
from service.positions import PositionQuery
from service.problems import PROBLEM_RESPONSES
from service.series_formats import MEDIA_TYPES, SeriesFormat
from storage.errors import ConfigurationError
from weather.places import Interpolation, parse_places
from weather.times import Interval

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_MAX_QUANTILES = 20
_QUANTILES = "0.1,0.25,0.5,0.75,0.9"


class PlaceSeries(BaseModel):
    """Time series at a place: of each parameter the values by lead time and member, or by statistic and lead time."""

    longitude: float
    latitude: float
    values: dict[str, list[list[float | None]] | dict[str, list[float | None]]]


class Positions(BaseModel):
    """Time series of a forecast at places; null is a lost member, or a statistic over too few members."""

    id: str
    init_time: str
    interpolation: Interpolation
    num_lead_times: int
    complete_lead_times: int
    lead_hours: list[int] = Field(description="0 is the analysis.")
    valid_time: list[str]
    members: list[int]
    num_finite: list[int] = Field(description="Number of members that are not lost, at each lead time.")
    units: dict[str, str] = Field(description="Unit of each parameter.")
    positions: list[PlaceSeries]


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPES["csv"].partition(";")[0]: {}, MEDIA_TYPES["covjson"]: {}}, "model": Positions}
}


@router.get("/forecast/{forecast_id}/position", response_class=Response, responses=_RESPONSES)
@router.head("/forecast/{forecast_id}/position", include_in_schema=False)
async def read_position(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    coords: Annotated[
        str,
        Query(max_length=2000, description="POINT(lon lat) or MULTIPOINT((lon lat), …), degrees; at most 20 points."),
    ],
    names: Annotated[
        str,
        Query(alias="parameter-name", max_length=500, description="List such as u10,wind_speed_10m; all by default."),
    ] = "",
    times: Annotated[
        str,
        Query(alias="datetime", max_length=100, description="Valid time, or first/last with .. for no limit."),
    ] = "../..",
    values: Annotated[
        str, Query(pattern="^(members|statistics)$", description="The members, or statistics over them.")
    ] = "members",
    quantiles: Annotated[
        str, Query(max_length=200, description="Probabilities of the quantiles among the statistics.")
    ] = _QUANTILES,
    exceedance: Annotated[
        str,
        Query(max_length=500, description="Events such as wind_speed_10m>17.2,v10<-5, in the units of the answer."),
    ] = "",
    interpolation: Annotated[
        Interpolation, Query(description="Between four grid points, or the nearest.")
    ] = "bilinear",
    units: Annotated[SpeedUnits, Query(description="Units of wind: m s⁻¹, knots or km/h.")] = "ms",
    form: Annotated[SeriesFormat, Query(alias="f", description="JSON, CSV or CoverageJSON.")] = "json",
) -> Response:
    """Return time series at places: the analysis at lead time 0, then all complete lead times; also while it runs.

    Values are those of members, or mean, spread, quantiles and probabilities of events over them. Wind speed and
    direction are those of the interpolated wind.
    """
    faults = Faults()
    places = faults.attempt(("query",), parse_places, coords)
    probabilities = faults.attempt(("query",), _parse_quantiles, quantiles)
    limits = faults.attempt(("query",), Interval.parse, times)
    faults.check()
    assert places is not None
    assert probabilities is not None
    assert limits is not None
    chosen = tuple(name.strip() for name in names.split(",") if name.strip())
    is_statistics = values == "statistics"
    query = PositionQuery(places, chosen, interpolation, units, is_statistics, probabilities, exceedance, limits, form)
    return await _respond(record, service, request, query)


async def _respond(record: ForecastRecord, service: Service, request: Request, query: PositionQuery) -> Response:
    """Return the response, which is computed only if neither the client nor the service has it already."""
    headers = {"ETag": state_tag(record)}
    if is_unchanged(request, headers["ETag"]):
        return conditional(request, Response(headers=headers))
    check_ensemble(record, service)
    address = ForecastAddress.of(record, service.settings.storage)
    read = partial(_read, record, service, address, headers["ETag"], query)
    content = await while_connected(request, service.queues.series.get((address, query, headers["ETag"]), read))
    return Response(content, headers=headers, media_type=MEDIA_TYPES[query.form])


async def _read(
    record: ForecastRecord, service: Service, address: ForecastAddress, tag: str, query: PositionQuery
) -> bytes:
    with answering_damage(record, service), located_at("query"):
        return await service.queues.series_batches.answer(record.owner, address, tag, query)


def _parse_quantiles(text: str) -> tuple[float, ...]:
    """Return the probabilities in a list such as `0.1,0.5`; raises `ConfigurationError` for other text."""
    try:
        probabilities = tuple(float(item) for item in text.split(",") if item.strip())
    except ValueError:
        probabilities = (-1.0,)
    if (
        not all(0 <= each <= 1 for each in probabilities)
        or not len(set(probabilities)) == len(probabilities) <= _MAX_QUANTILES
    ):
        raise ConfigurationError(
            f"`quantiles` must be a list of at most {_MAX_QUANTILES} different numbers from 0 to 1, such as "
            f"{_QUANTILES}. Got: {text!r}.",
            ("quantiles",),
        )
    return probabilities
