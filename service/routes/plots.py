"""Routes for plots of a forecast's complete lead times."""

import io
import threading
from typing import Annotated

from fastapi import APIRouter, Query, Response

from diagnostics.figures.plot import plot_maps, plot_plume
from service.callers import OwnForecast
from service.context import ServiceDep
from service.folders import open_ensemble
from service.problems import PROBLEM_RESPONSES

router = APIRouter(tags=["data"], responses=PROBLEM_RESPONSES | {200: {"content": {"image/png": {}}}})

_MAX_MAPS = 4
_drawing_lock = threading.Lock()
"""Matplotlib keeps its styles per process, so only one thread draws at a time."""


@router.get("/forecast/{forecast_id}/plots/maps.png", response_class=Response)
def render_maps(
    record: OwnForecast,
    service: ServiceDep,
    lead_time: Annotated[
        list[str] | None,
        Query(max_length=_MAX_MAPS, description="Lead time to draw, such as 24h; 1, 5 and 10 days by default."),
    ] = None,
) -> Response:
    """Return maps of one member, the ensemble mean and the spread, as PNG."""
    store, picture = open_ensemble(record, service), io.BytesIO()
    with _drawing_lock:
        plot_maps(store, picture, tuple(lead_time or ()))
    return _png_response(picture)


@router.get("/forecast/{forecast_id}/plots/plume.png", response_class=Response)
def render_plume(
    record: OwnForecast,
    service: ServiceDep,
    latitude: Annotated[float, Query(ge=-90, le=90)] = 51.5,
    longitude: Annotated[float, Query(ge=-180, le=360)] = 0.0,
) -> Response:
    """Return the time series of every member at the grid point nearest to a location, as PNG."""
    store, picture = open_ensemble(record, service), io.BytesIO()
    with _drawing_lock:
        plot_plume(store, picture, latitude, longitude)
    return _png_response(picture)


def _png_response(picture: io.BytesIO) -> Response:
    return Response(picture.getvalue(), media_type="image/png", headers={"Cache-Control": "no-cache"})
