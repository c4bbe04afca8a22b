"""Routes that draw a forecast: maps and the plume, as PNG."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from diagnostics.scores.wind import SpeedUnits
from jobs.forecasts import ForecastRecord
from service.caching import conditional, is_unchanged, state_tag
from service.child_calls import ForecastAddress, draw_maps, draw_plume
from service.child_processes import while_connected
from service.damage import answering_damage
from service.dependencies import OwnForecast, Service, ServiceDep, check_ensemble
from service.faults import located_at
from service.problems import PROBLEM_RESPONSES
from weather.region import Region

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_MAPS, _PLUME = (f"/forecast/{{forecast_id}}/plots/{name}.png" for name in ("maps", "plume"))
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
_MAX_MAPS = 4
_MAX_SECONDS = 120.0
"""Seconds that a picture may take."""

Units = Annotated[SpeedUnits, Query(description="Units of wind: m s⁻¹, knots or km/h.")]


@router.get(_MAPS, response_class=Response, responses=_PNG)
@router.head(_MAPS, include_in_schema=False)
async def render_maps(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    lead_time: Annotated[
        list[str] | None,
        Query(max_length=_MAX_MAPS, description="Lead time to draw, such as 24h; 1, 5 and 10 days by default."),
    ] = None,
    units: Units = "ms",
    bbox: Annotated[
        str | None,
        Query(max_length=100, description="Region as west,south,east,north in degrees; the globe by default."),
    ] = None,
) -> Response:
    """Return maps of one member, the ensemble mean and the spread at each lead time, as one PNG.

    They show 10 m wind speed, or the first variable of a forecast without wind.
    """
    with located_at("query"):
        region = None if bbox is None else Region.parse(bbox)
    address = ForecastAddress.of(record, service.settings.storage)
    draw = partial(draw_maps, address, tuple(lead_time or ()), units, region)
    return await _respond_with_plot(record, service, request, draw)


@router.get(_PLUME, response_class=Response, responses=_PNG)
@router.head(_PLUME, include_in_schema=False)
async def render_plume(
    record: OwnForecast,
    service: ServiceDep,
    request: Request,
    latitude: Annotated[float, Query(ge=-90, le=90)] = 51.5,
    longitude: Annotated[float, Query(ge=-180, le=360)] = 0.0,
    units: Units = "ms",
) -> Response:
    """Return the time series of every member at the grid point nearest to a location, as PNG.

    It shows 10 m wind speed, or the first variable of a forecast without wind.
    """
    address = ForecastAddress.of(record, service.settings.storage)
    draw = partial(draw_plume, address, latitude, longitude, units)
    return await _respond_with_plot(record, service, request, draw)


async def _respond_with_plot(
    record: ForecastRecord, service: Service, request: Request, draw: "partial[bytes]"
) -> Response:
    """Return the response with a plot, which is drawn only if neither the client nor the service has it already."""
    headers = {"ETag": state_tag(record)}
    if is_unchanged(request, headers["ETag"]):
        return conditional(request, Response(headers=headers))
    check_ensemble(record, service)
    key = (draw.func.__name__, draw.args, headers["ETag"])
    picture = await while_connected(request, service.queues.pictures.get(key, partial(_draw, record, service, draw)))
    return Response(picture, headers=headers, media_type="image/png")


async def _draw(record: ForecastRecord, service: Service, draw: Callable[[], bytes]) -> bytes:
    async with service.queues.drawing.place(record.owner) as place:
        with answering_damage(record, service), located_at("query"):
            return await place.run(draw, _MAX_SECONDS)
