"""How good a forecast is: diagnostics of each lead time, and scores against what came."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from diagnostics.verification import score_forecast, verification_times
from jobs.figures import Verification, diagnosed, verifications_of, verified
from jobs.forecasts import ForecastRecord
from service.callers import OwnForecast
from service.context import Service, ServiceHere
from service.folders import begun_store
from service.problems import DOCUMENTED, VALIDATION, ServiceError
from service.states import PARSERS
from service.uploads import kept
from service.views import shown_time
from weather.ingest.ingest import ingest_truth

router = APIRouter(tags=["quality"], responses=DOCUMENTED)

_MAX_FILES = 100
_REFERENCE = r"^[a-z0-9][a-z0-9-]{0,39}$"

_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["truth", "reference"],
                "properties": {
                    "reference": {"type": "string", "pattern": _REFERENCE, "description": "What the truth is."},
                    "truth": {
                        "type": "array", "minItems": 1, "maxItems": _MAX_FILES,
                        "items": {"type": "string", "format": "binary"},
                        "description": "Analyses as GRIB, NetCDF or zipped Zarr stores.",
                    },
                },
            }
        }
    },
}  # fmt: skip


class VerificationView(BaseModel):
    """Scores of a forecast against a truth, as `warmcast verify` writes them."""

    reference: str = Field(description="What the truth is.")
    created: str
    scores: dict[str, Any]


class Quality(BaseModel):
    """What is known of a forecast's quality."""

    lead_times: dict[int, dict[str, Any]] = Field(description="Diagnostics by hours of lead time.")
    verifications: list[VerificationView]


@router.get("/forecast/{forecast_id}/diagnostics")
def diagnostics(record: OwnForecast, service: ServiceHere) -> Quality:
    """Return spread, spectra and lost members of each complete lead time, and all verifications."""
    there = verifications_of(service.database, record.id)
    return Quality(
        lead_times=diagnosed(service.database, record.id),
        verifications=[_shown(verification) for verification in there],
    )


@router.post("/forecast/{forecast_id}/verify", openapi_extra={"requestBody": _BODY}, response_model=VerificationView)
async def verify(record: OwnForecast, service: ServiceHere, request: Request) -> VerificationView:
    """Score the complete lead times against analyses of their valid times, and keep the scores.

    Persistence is scored too where the time is there that the forecast began at.
    """
    async with request.form(max_files=_MAX_FILES, max_fields=1) as form:
        parts, reference = form.getlist("truth"), form.get("reference")
        files = [part for part in parts if isinstance(part, UploadFile)]
        if not files or len(files) != len(parts) or not isinstance(reference, str):
            raise ServiceError(
                VALIDATION,
                f"The request must be multipart, with a field `reference` and 1 to {_MAX_FILES} files `truth`. "
                f"Got: {', '.join(sorted(form)) or 'nothing'}.",
            )
        async with kept(files) as (paths, names):
            return await run_in_threadpool(_verified, record, service, _checked(reference), paths, names)


def _verified(
    record: ForecastRecord, service: Service, reference: str, paths: Sequence[Path], names: Sequence[str]
) -> VerificationView:
    store = begun_store(record, service)
    layout = store.layout
    with PARSERS:
        truth = ingest_truth(paths, names, layout.variables, layout.grid, verification_times(store))
        scores = score_forecast(store, truth, None, record.request.seed)
    return _shown(verified(service.database, record.id, record.request.checkpoint, reference, scores))


def _checked(reference: str) -> str:
    if not re.fullmatch(_REFERENCE, reference):
        raise ServiceError(
            VALIDATION, f"`reference` must be 1 to 40 small letters, digits and hyphens. Got: {reference[:100]!r}."
        )
    return reference


def _shown(verification: Verification) -> VerificationView:
    created = shown_time(verification.created)
    return VerificationView(reference=verification.reference, created=created, scores=dict(verification.scores))
