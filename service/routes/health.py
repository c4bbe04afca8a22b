"""Routes for liveness, readiness and Prometheus metrics."""

import os

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from jobs.workers import count_live_workers
from service.context import ServiceDep

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The result of each readiness check; `ready` is true if all of them passed."""

    ready: bool
    checks: dict[str, bool]


@router.get("/healthz")
def check_liveness() -> dict[str, str]:
    """Return 200 while the process responds to requests."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not ready"}})
def check_readiness(service: ServiceDep) -> JSONResponse:
    """Check that the database answers, the data folder is writable and a worker is alive; 503 if a check fails."""
    try:
        workers, database = count_live_workers(service.database), True
    except SQLAlchemyError:
        workers, database = 0, False
    checks = {"database": database, "data": os.access(service.settings.data, os.W_OK), "worker": workers > 0}
    health = Health(ready=all(checks.values()), checks=checks)
    return JSONResponse(health.model_dump(), 200 if health.ready else 503)
