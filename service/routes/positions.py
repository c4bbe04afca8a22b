"""Routes for values of a forecast by valid time at places and in areas, as OGC API – EDR names them."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from diagnostics.area_series import Reduction
from jobs.forecasts import ForecastRecord
from service.areas import AreaQuery, answer_area
from service.caching import conditional, is_unchanged, state_tag
from service.child_calls import ForecastAddress
from service.child_processes import while_connected
from service.damage import answering_damage
from service.dependencies import OwnForecast, Service, ServiceDep, check_ensemble
from service.faults import Faults, located_at
from service.positions import PositionQuery
from service.problems import PROBLEM_RESPONSES
from service.series_formats import MEDIA_TYPES
from service.series_options import SeriesOptionsDep
from weather.areas import Area
from weather.places import Interpolation, parse_places
from weather.region import Region

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_MAX_SECONDS = 60.0
"""Seconds that the answer for an area may take."""

Values = dict[str, list[list[float | None]] | dict[str, list[float | None]]]
"""Of each parameter the values by lead time and member, or by statistic and lead time."""


class PlaceSeries(BaseModel):
    """Time series at a place: of each parameter the values by lead time and member, or by statistic and lead time."""

    longitude: float
    latitude: float
    values: Values


class SeriesDocument(BaseModel):
    """What all time series of a forecast have; null is a lost member, or a statistic over too few members."""

    id: str
    init_time: str
    num_lead_times: int
    complete_lead_times: int
    lead_hours: list[int] = Field(description="0 is the analysis.")
    valid_time: list[str]
    members: list[int]
    num_finite: list[int] = Field(description="Number of members that are not lost, at each lead time.")
    units: dict[str, str] = Field(description="Unit of each parameter.")


class Positions(SeriesDocument):
    """Time series of a forecast at places; null is a lost member, or a statistic over too few members."""

    interpolation: Interpolation
    positions: list[PlaceSeries]


class AreaValues(SeriesDocument):
    """Time series of a forecast in an area: at each grid point, or with `reduce` one of all of them."""

    reduce: Reduction
    num_points: int = Field(description="Number of grid points in the area.")
    positions: list[PlaceSeries] | None = Field(None, description="The grid points; without `reduce`.")
    values: Values | None = Field(None, description="The values of the area; with `reduce`.")


_CONTENT: dict[str, Any] = {MEDIA_TYPES["csv"].partition(";")[0]: {}, MEDIA_TYPES["covjson"]: {}}
OF_PLACES: dict[int | str, dict[str, Any]] = {200: {"content": _CONTENT, "model": Positions}}
OF_AREAS: dict[int | str, dict[str, Any]] = {200: {"content": _CONTENT, "model": AreaValues}}

Reduce = Annotated[
    Reduction,
    Query(description="Of each member: all grid points, or their mean by area, maximum or minimum."),
]


@router.get("/forecast/{forecast_id}/position", response_class=Response, responses=OF_PLACES)
@router.head("/forecast/{forecast_id}/position", include_in_schema=False)
async def read_position(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    options: SeriesOptionsDep,
    coords: Annotated[
        str,
        Query(max_length=2000, description="POINT(lon lat) or MULTIPOINT((lon lat), …), degrees; at most 20 points."),
    ],
    interpolation: Annotated[
        Interpolation, Query(description="Between four grid points, or the nearest.")
    ] = "bilinear",
) -> Response:
    """Return time series at places: the analysis at lead time 0, then all complete lead times; also while it runs.

    Values are those of members, or mean, spread, quantiles and probabilities of events over them. Wind speed and
    direction are those of the interpolated wind.
    """
    faults = Faults()
    places, fields = faults.attempt(("query",), parse_places, coords), options.parse(faults)
    faults.check()
    assert places is not None
    return await _respond(record, service, request, PositionQuery(places=places, interpolation=interpolation, **fields))


@router.get("/forecast/{forecast_id}/area", response_class=Response, responses=OF_AREAS)
@router.head("/forecast/{forecast_id}/area", include_in_schema=False)
async def read_area(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    options: SeriesOptionsDep,
    coords: Annotated[
        str,
        Query(
            max_length=12_000,
            description="POLYGON((lon lat, …)) or MULTIPOLYGON, with holes; degrees, above 180 across 180°.",
        ),
    ],
    reduce: Reduce = "none",
) -> Response:
    """Return time series in polygons: at each grid point in them, or of each member's mean, maximum or minimum.

    Points on a boundary are in the area. Everything else is as of `position`. A larger answer than of a million values
    is refused.
    """
    faults = Faults()
    area, fields = faults.attempt(("query",), Area.parse, coords), options.parse(faults)
    faults.check()
    assert area is not None
    return await _respond(record, service, request, AreaQuery(area=area, reduction=reduce, **fields))


@router.get("/forecast/{forecast_id}/cube", response_class=Response, responses=OF_AREAS)
@router.head("/forecast/{forecast_id}/cube", include_in_schema=False)
async def read_cube(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    options: SeriesOptionsDep,
    bbox: Annotated[
        str, Query(max_length=100, description="Box as west,south,east,north in degrees, across 180° if west > east.")
    ],
    reduce: Reduce = "none",
) -> Response:
    """Return time series in a box: at each grid point in it, or of each member's mean, maximum or minimum.

    All is as of `area`.
    """
    faults = Faults()
    region, fields = faults.attempt(("query",), Region.parse, bbox), options.parse(faults)
    faults.check()
    assert region is not None
    return await _respond(record, service, request, AreaQuery(area=region, reduction=reduce, **fields))


async def _respond(
    record: ForecastRecord, service: Service, request: Request, query: PositionQuery | AreaQuery
) -> Response:
    """Return the response, which is computed only if neither the client nor the service has it already."""
    headers = {"ETag": state_tag(record)}
    if is_unchanged(request, headers["ETag"]):
        return conditional(request, Response(headers=headers))
    check_ensemble(record, service)
    address = ForecastAddress.of(record, service.settings.storage)
    read = partial(_read, record, service, address, headers["ETag"], query)
    content = await while_connected(request, service.queues.series.get((address, query), read, headers["ETag"]))
    return Response(content, headers=headers, media_type=MEDIA_TYPES[query.form])


async def _read(
    record: ForecastRecord, service: Service, address: ForecastAddress, tag: str, query: PositionQuery | AreaQuery
) -> bytes:
    with answering_damage(record, service), located_at("query"):
        if isinstance(query, PositionQuery):
            return await service.queues.series_batches.answer(record.owner, address, tag, query)
        async with service.queues.reading.place(record.owner) as place:
            return await place.run(partial(answer_area, address, query), _MAX_SECONDS)
