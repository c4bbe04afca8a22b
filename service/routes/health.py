"""Whether the service lives, and whether it can take forecasts."""

import os

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from jobs.workers import count_alive
from service.context import ServiceHere

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """What was looked at, and whether it is well."""

    ready: bool
    checks: dict[str, bool]


@router.get("/healthz")
def alive() -> dict[str, str]:
    """Answer, if the process does."""
    return {"status": "alive"}


@router.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not ready"}})
def ready(service: ServiceHere) -> JSONResponse:
    """Tell whether the database answers, the data folder can be written, and a worker lives."""
    try:
        workers, database = count_alive(service.database), True
    except SQLAlchemyError:
        workers, database = 0, False
    checks = {"database": database, "data": os.access(service.settings.data, os.W_OK), "worker": workers > 0}
    health = Health(ready=all(checks.values()), checks=checks)
    return JSONResponse(health.model_dump(), 200 if health.ready else 503)
