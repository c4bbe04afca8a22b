"""Routes for liveness, readiness and Prometheus metrics."""

import os

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from jobs.dispatching.live_workers import count_live_workers
from service.dependencies import ServiceDep
from service.metrics import Metrics

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])
"""The route `/metrics`, which the application includes only if it is served on loopback."""


class Health(BaseModel):
    """The result of each readiness check; `ready` is true if all of them passed."""

    ready: bool
    checks: dict[str, bool]


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
def check_liveness() -> dict[str, str]:
    """Return 200 while the process responds to requests."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not ready"}})
@router.head("/readyz", include_in_schema=False)
def check_readiness(service: ServiceDep) -> JSONResponse:
    """Check that the database answers, the data folder is writable and a worker is alive; 503 if a check fails."""
    try:
        with service.database.read() as connection:
            workers, database = count_live_workers(connection), True
    except SQLAlchemyError:
        workers, database = 0, False
    checks = {"database": database, "data": os.access(service.settings.storage.data, os.W_OK), "worker": workers > 0}
    health = Health(ready=all(checks.values()), checks=checks)
    return JSONResponse(health.model_dump(), 200 if health.ready else 503)


@metrics_router.get("/metrics", response_class=Response)
@metrics_router.head("/metrics", include_in_schema=False)
def export_metrics(request: Request) -> Response:
    """Return, in Prometheus' text format, the metrics of this process and those read from the database."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
