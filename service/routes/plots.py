"""Routes that draw a forecast: maps and the plume, as PNG."""

from collections.abc import Callable
from typing import Annotated, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response

from diagnostics.figures.plot import plot_maps, plot_plume
from diagnostics.figures.quantity import SpeedUnits
from diagnostics.figures.region import Region
from jobs.forecasts import ForecastRecord
from service.caching import conditional, is_unchanged, state_tag
from service.dependencies import OwnForecast, Service, ServiceDep, check_data, find_data_folder, open_ensemble
from service.faults import located_at
from service.problems import PROBLEM_RESPONSES
from weather.errors import StoreError
from weather.stores.ensemble import EnsembleStore

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES)

_MAPS, _PLUME = (f"/forecast/{{forecast_id}}/plots/{name}.png" for name in ("maps", "plume"))
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}
_MAX_MAPS = 4
DRAWERS = anyio.CapacityLimiter(1)
"""Lets one thread draw at a time, since Matplotlib keeps its styles per process; further requests wait without one."""

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
    """Return maps of one member, the ensemble mean and the spread at each lead time, as PNG.

    They show 10 m wind speed, or the first variable of a forecast without wind.
    """
    with located_at("query"):
        region = None if bbox is None else Region.parse(bbox)

    def draw(store: EnsembleStore) -> bytes:
        return plot_maps(store, tuple(lead_time or ()), units, region)

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

    def draw(store: EnsembleStore) -> bytes:
        return plot_plume(store, find_data_folder(record, service).initial_state, latitude, longitude, units)

    return await _respond_with_plot(record, service, request, draw)


async def _respond_with_plot(
    record: ForecastRecord, service: Service, request: Request, draw: Callable[[EnsembleStore], bytes]
) -> Response:
    """Return the response with a plot, which is drawn only if the client does not have it already."""
    headers = {"ETag": state_tag(record)}
    if is_unchanged(request, headers["ETag"]):
        return conditional(request, Response(headers=headers))
    picture = await to_thread.run_sync(_draw, record, service, draw, limiter=DRAWERS)
    return Response(picture, headers=headers, media_type="image/png")


def _draw(record: ForecastRecord, service: Service, draw: Callable[[EnsembleStore], bytes]) -> bytes:
    store = open_ensemble(record, service)
    try:
        with located_at("query"):
            return draw(store)
    except StoreError:
        check_data(record.id, service)
        raise
