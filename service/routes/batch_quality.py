"""Routes to score the parts of a batch against analyses, each and all together."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from jobs.audit import Action, append_audit
from jobs.batches import BatchRecord, read_parts
from jobs.forecasts import ForecastRecord
from jobs.quality import BatchVerification, list_batch_verifications, save_batch_verification
from jobs.rows.states import OPEN, Data
from service.batch_views import data_of
from service.child_calls import BatchScores, ForecastAddress, verify_batch
from service.child_processes import while_connected
from service.damage import answering_damage
from service.dependencies import DISK_SPACE, OwnBatch, Service, ServiceDep, find_data_folder, find_members_folder
from service.faults import located_at
from service.limits import hold_upload_place
from service.problems import NOT_FINISHED, PROBLEM_RESPONSES, UNSUCCESSFUL, ServiceError
from service.routes.quality import BODY, MAX_FILES, MAX_SECONDS, check_reference
from service.threads import READERS, in_threads
from service.uploads import read_form, save_uploads, split_form
from service.views import format_time
from service.work_queues import Place
from weather.errors import DamagedError

router = APIRouter(tags=["batches"], responses=PROBLEM_RESPONSES)


class BatchVerificationView(BaseModel):
    """The scores of the parts of a batch together against a truth, in the form that `warmcast verify` writes."""

    reference: str = Field(description="Name of the truth.")
    created: str
    starts: list[str] = Field(description="Ids of the forecasts that have valid times in the truth.")
    scores: dict[str, Any] = Field(
        description="Means over the forecasts, at each lead time of those that have it in the truth: `starts` is their "
        "number. The scores of each forecast are in its own diagnostics."
    )


@router.get("/batch/{batch_id}/verifications")
@router.head("/batch/{batch_id}/verifications", include_in_schema=False)
@in_threads(READERS)
def list_verifications(batch: OwnBatch, service: ServiceDep) -> list[BatchVerificationView]:
    """Return the scores of all verifications of a batch, oldest first."""
    with service.database.read() as connection:
        return [_view(verification) for verification in list_batch_verifications(connection, batch.id)]


@router.post(
    "/batch/{batch_id}/verify",
    dependencies=[DISK_SPACE],
    openapi_extra={"requestBody": BODY},
)
async def verify_parts(batch: OwnBatch, service: ServiceDep, request: Request) -> BatchVerificationView:
    """Score the complete lead times of all parts against analyses of their valid times, each and all together.

    The files are read once. Persistence is scored where the files have the initial time, for all parts together only
    if they have that of each. The scores are kept.
    """
    parts = await to_thread.run_sync(_find_scorable, service, batch)
    async with hold_upload_place(service, batch.owner) as place, read_form(request, MAX_FILES) as form:
        text, files = split_form(form, "reference", "truth", MAX_FILES)
        async with save_uploads(files) as (paths, names):
            reference = check_reference(text)
            scores = await while_connected(request, _score(parts, service, place, paths, names))
    return await to_thread.run_sync(_save, batch, parts, service, reference, scores)


def _find_scorable(service: Service, batch: BatchRecord) -> list[ForecastRecord]:
    """Return the parts whose data is available and has a complete lead time; raise `ServiceError` if none is."""
    with service.database.read() as connection:
        parts = read_parts(connection, [batch.id])[batch.id]
    if data_of(parts) != Data.AVAILABLE:
        find_data_folder(parts[0], service)
    available = [part for part in parts if part.data == Data.AVAILABLE]
    find_members_folder(available[0], service)
    scorable = [part for part in available if part.lead_times]
    if not scorable:
        is_open = any(part.status in OPEN for part in available)
        raise ServiceError(
            NOT_FINISHED if is_open else UNSUCCESSFUL, f"No forecast of batch {batch.id} has a complete lead time."
        )
    return scorable


async def _score(
    parts: Sequence[ForecastRecord], service: Service, place: Place, paths: Sequence[Path], names: Sequence[str]
) -> BatchScores:
    addresses = [ForecastAddress.of(part, service.settings.storage) for part in parts]
    score = partial(verify_batch, addresses, paths, names, parts[0].request.seed)
    with located_at("body", "truth"):
        scores = await place.run(score, MAX_SECONDS, paths[0].parent)
    if scores.damage is not None:
        index, file, reason = scores.damage
        with answering_damage(parts[index], service):
            raise DamagedError(file, reason)
    return scores


def _save(
    batch: BatchRecord, parts: Sequence[ForecastRecord], service: Service, reference: str, scores: BatchScores
) -> BatchVerificationView:
    starts: Mapping[str, Any] = {parts[index].id: own for index, own in scores.starts.items()}
    model = parts[0].request.checkpoint
    with service.database.write() as connection:
        append_audit(connection, Action.VERIFY, batch.id)
        return _view(save_batch_verification(connection, batch.id, model, reference, starts, scores.pooled))


def _view(verification: BatchVerification) -> BatchVerificationView:
    return BatchVerificationView(
        reference=verification.reference,
        created=format_time(verification.created),
        starts=list(verification.starts),
        scores=dict(verification.scores),
    )
