"""Routes for liveness, readiness and Prometheus metrics."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from service.dependencies import ServiceDep
from service.metrics import Metrics
from weather.ingest.sandbox import find_missing_protections

METRICS_PATH = "/metrics"

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])
"""The route `/metrics`, which the application includes only if it is served on loopback."""


class Health(BaseModel):
    """The result of each readiness check; `ready` is true if all of them passed."""

    ready: bool
    checks: dict[str, bool]
    details: dict[str, str] = Field(description="What is wrong and what to do, for each check that failed.")
    warnings: list[str] = Field(
        description="Protections against uploads that the kernel lacks; the service can work without them."
    )


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
async def check_liveness() -> dict[str, str]:
    """Return 200 while the process responds to requests."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not ready"}})
@router.head("/readyz", include_in_schema=False)
async def check_readiness(service: ServiceDep) -> JSONResponse:
    """Check, among other things, that the database answers and a worker is alive; 503 if a check fails.

    A check that does not end within 1.5 s has failed; results are used again for a second.
    """
    results = await service.readiness.results()
    details = {name: failure for name, failure in results.items() if failure is not None}
    checks = {name: name not in details for name in results}
    health = Health(ready=not details, checks=checks, details=details, warnings=find_missing_protections())
    return JSONResponse(health.model_dump(), 200 if health.ready else 503)


@metrics_router.get(METRICS_PATH, response_class=Response)
@metrics_router.head(METRICS_PATH, include_in_schema=False)
def export_metrics(request: Request) -> Response:
    """Return, in Prometheus' text format, the metrics of this process and those read from the database."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
