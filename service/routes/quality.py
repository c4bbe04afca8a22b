"""Routes for the quality of a forecast: diagnostics of each lead time, and scores against analyses."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from jobs.audit import Action, append_audit
from jobs.forecasts import ForecastRecord
from jobs.quality import Verification, list_verifications, read_diagnostics, save_verification
from service.caching import json_response
from service.child_calls import ForecastAddress, verify
from service.child_processes import while_connected
from service.damage import answering_damage
from service.dependencies import DISK_SPACE, OwnForecast, Service, ServiceDep, check_ensemble
from service.faults import located_at
from service.limits import hold_upload_place
from service.openapi import verification_body
from service.problems import PROBLEM_RESPONSES, VALIDATION, ServiceError
from service.uploads import read_form, save_uploads, split_form
from service.views import format_time
from service.work_queues import Place

router = APIRouter(tags=["quality"], responses=PROBLEM_RESPONSES)

MAX_FILES = 100
MAX_SECONDS = 900.0
"""Seconds that parsing and scoring may take."""
_REFERENCE = r"^[a-z0-9][a-z0-9-]{0,39}$"
BODY = verification_body(MAX_FILES, _REFERENCE)


class VerificationView(BaseModel):
    """The scores of a forecast against a truth, in the form that `warmcast verify` writes."""

    reference: str = Field(description="Name of the truth.")
    created: str
    scores: dict[str, Any]


class Quality(BaseModel):
    """Diagnostics and verifications of a forecast."""

    lead_times: dict[int, dict[str, Any]] = Field(description="Diagnostics by lead time in hours.")
    verifications: list[VerificationView]


@router.get("/forecast/{forecast_id}/diagnostics", response_model=Quality)
@router.head("/forecast/{forecast_id}/diagnostics", include_in_schema=False)
def view_diagnostics(record: OwnForecast, service: ServiceDep, request: Request) -> Response:
    """Return the spread, spectra and lost members of each complete lead time, and all verifications."""
    with service.database.read() as connection:
        verifications = list_verifications(connection, record.id)
        diagnostics = read_diagnostics(connection, record.id)
    quality = Quality(
        lead_times=diagnostics,
        verifications=[_view_verification(verification) for verification in verifications],
    )
    return json_response(request, quality.model_dump_json().encode())


@router.post(
    "/forecast/{forecast_id}/verify",
    dependencies=[DISK_SPACE],
    openapi_extra={"requestBody": BODY},
    response_model=VerificationView,
)
async def verify_forecast(record: OwnForecast, service: ServiceDep, request: Request) -> VerificationView:
    """Score the complete lead times against analyses of their valid times, and store the scores.

    If the files contain an analysis of the initial time, the persistence forecast is scored too.
    """
    check_ensemble(record, service)
    async with (
        hold_upload_place(service, record.owner) as place,
        read_form(request, MAX_FILES) as form,
    ):
        text, files = split_form(form, "reference", "truth", MAX_FILES)
        async with save_uploads(files) as (paths, names):
            reference = check_reference(text)
            scores = await while_connected(request, _score(record, service, place, paths, names))
    return await to_thread.run_sync(_save, record, service, reference, scores)


async def _score(
    record: ForecastRecord, service: Service, place: Place, paths: Sequence[Path], names: Sequence[str]
) -> dict[str, Any]:
    score = partial(verify, ForecastAddress.of(record, service.settings.storage), paths, names, record.request.seed)
    with answering_damage(record, service), located_at("body", "truth"):
        return await place.run(score, MAX_SECONDS, paths[0].parent)


def _save(record: ForecastRecord, service: Service, reference: str, scores: Mapping[str, Any]) -> VerificationView:
    with service.database.write() as connection:
        append_audit(connection, Action.VERIFY, record.id)
        return _view_verification(
            save_verification(connection, record.id, record.request.checkpoint, reference, scores)
        )


def check_reference(reference: str) -> str:
    """Return the name of a truth; raise `ServiceError` if it is not possible."""
    if not re.fullmatch(_REFERENCE, reference):
        raise ServiceError(
            VALIDATION,
            f"`reference` must be 1 to 40 small letters, digits and hyphens. Got: {reference[:100]!r}.",
            ("body", "reference"),
        )
    return reference


def _view_verification(verification: Verification) -> VerificationView:
    created = format_time(verification.created)
    return VerificationView(reference=verification.reference, created=created, scores=dict(verification.scores))
