"""Pictures of a forecast's complete lead times."""

import io
import threading
from typing import Annotated

from fastapi import APIRouter, Query, Response

from diagnostics.plot import plot_maps, plot_plume
from service.callers import OwnForecast
from service.context import ServiceHere
from service.folders import begun_store
from service.problems import DOCUMENTED

router = APIRouter(tags=["data"], responses=DOCUMENTED | {200: {"content": {"image/png": {}}}})

_MOST_MAPS = 4
_drawing = threading.Lock()
"""Matplotlib's styles are the whole process'."""


@router.get("/forecast/{forecast_id}/plots/maps.png", response_class=Response)
def maps(
    record: OwnForecast,
    service: ServiceHere,
    lead_time: Annotated[
        list[str] | None, Query(max_length=_MOST_MAPS, description="Such as 24h; 1, 5 and 10 days by default.")
    ] = None,
) -> Response:
    """Return maps of a member, the ensemble mean and the spread."""
    store, picture = begun_store(record, service), io.BytesIO()
    with _drawing:
        plot_maps(store, picture, tuple(lead_time or ()))
    return _png(picture)


@router.get("/forecast/{forecast_id}/plots/plume.png", response_class=Response)
def plume(
    record: OwnForecast,
    service: ServiceHere,
    latitude: Annotated[float, Query(ge=-90, le=90)] = 51.5,
    longitude: Annotated[float, Query(ge=-180, le=360)] = 0.0,
) -> Response:
    """Return every member's series at the grid point nearest to a place."""
    store, picture = begun_store(record, service), io.BytesIO()
    with _drawing:
        plot_plume(store, picture, latitude, longitude)
    return _png(picture)


def _png(picture: io.BytesIO) -> Response:
    return Response(picture.getvalue(), media_type="image/png", headers={"Cache-Control": "no-cache"})
