"""Submit the forecast of one cycle of a schedule, through the same checks as a request of its owner."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from anyio import to_thread
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from jobs.audit import Action, Actor, acting_as
from jobs.errors import LimitExceededError
from jobs.handling import MAX_LABELS
from jobs.schedule_cycles import HOUR
from jobs.schedule_runs import ClaimedRun, fail_run, find_accepted, postpone_run, save_submission
from jobs.schedules import Plan
from service.checkpoints import read_named_manifest
from service.dependencies import Service
from service.initial_states import read_stored_state
from service.problems import INTERNAL, UNAVAILABLE, ProblemKind, kind_of_error
from service.requests import ForecastBody
from service.submission import accept, check_body
from service.threads import FETCHERS, WRITERS
from storage.errors import ConfigurationError, WarmcastError
from weather.errors import StorageFullError, UpstreamError
from weather.manifest import Manifest
from weather.schema import first_error_sentence

LABEL = "schedule"
"""Name of the label that the forecasts of schedules get: the id of the schedule."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """Why something was refused, as a problem document, and whether it can succeed later."""

    problem: dict[str, Any]
    is_retryable: bool

    @classmethod
    def of(cls, error: Exception) -> "Refusal":
        """Return the refusal that an error is; limits of keys are retryable, as what is used of them ends or expires.

        So is whatever a data set sends, which its server or its operator may correct. An error that is not one of
        Warmcast is retryable, and its message is not part of the problem.
        """
        if isinstance(error, WarmcastError):
            kind = kind_of_error(error)
            may_pass = kind.retry_after is not None or isinstance(error, LimitExceededError | UpstreamError)
            return cls(_problem(kind, str(error)), may_pass)
        if isinstance(error, SQLAlchemyError | OSError):
            return cls(_problem(UNAVAILABLE, "The database or the storage could not be reached."), is_retryable=True)
        return cls(_problem(INTERNAL, "The service failed; its log says why."), is_retryable=True)


def _problem(kind: ProblemKind, detail: str) -> dict[str, Any]:
    return {"type": f"/problems/{kind.slug}", "title": kind.title, "status": kind.status, "detail": detail[:2000]}


def forecast_body(plan: Plan, schedule_id: str, init_time: int) -> ForecastBody:
    """Return the body that submits the forecast of a cycle; raise `ConfigurationError` if it is not possible any more.

    It has the label of the schedule, unless the caller uses that name or as many labels as there may be.
    """
    source = {"source": "catalogue", "dataset": plan.dataset, "init_time": str(np.datetime64(init_time, "s"))}
    labels = plan.forecast["labels"]
    if len(labels) < MAX_LABELS:
        labels = {LABEL: schedule_id} | labels
    try:
        return ForecastBody.model_validate({**plan.forecast, "labels": labels, "initial_state": source})
    except ValidationError as error:
        raise ConfigurationError(first_error_sentence(error)) from error


async def submit_run(service: Service, run: ClaimedRun) -> str:
    """Submit the forecast of a claimed run and store what came of it; return that in a word, for the metrics."""
    actor = Actor(run.schedule.owner, submission=Action.SCHEDULE)
    try:
        with acting_as(actor):
            return await _submit(service, run)
    except Exception as error:
        refusal = Refusal.of(error)
        level = logging.WARNING if isinstance(error, WarmcastError | SQLAlchemyError | OSError) else logging.ERROR
        _log.log(
            level,
            "schedule %s: the cycle %s was refused: %s",
            run.schedule.id,
            np.datetime64(run.init_time, "s"),
            error,
            exc_info=error if level == logging.ERROR else None,
        )
        return await to_thread.run_sync(_save_refusal, service, run, refusal)


def _save_refusal(service: Service, run: ClaimedRun, refusal: Refusal) -> str:
    if refusal.is_retryable:
        service.database.write_at_any_cost(lambda connection: postpone_run(connection, run, refusal.problem))
        return "refused"
    service.database.write_at_any_cost(lambda connection: fail_run(connection, run, refusal.problem))
    return "failed"


async def _submit(service: Service, run: ClaimedRun) -> str:
    plan, init_time = run.schedule.plan, np.datetime64(run.init_time, "s")
    accepted = await to_thread.run_sync(_find_accepted, service, run)
    if accepted is not None:
        return await to_thread.run_sync(_save, service, run, accepted.id, accepted.last_valid)
    body = forecast_body(plan, run.schedule.id, run.init_time)
    manifest = await to_thread.run_sync(read_named_manifest, body.model, service.settings.storage.checkpoint_folders)
    if not await to_thread.run_sync(_has_frames, service, plan.dataset, init_time, manifest, limiter=FETCHERS):
        await to_thread.run_sync(_postpone, service, run)
        return "waiting"
    if not service.database.reserve.has_space():
        raise StorageFullError("The disk of the service is full: only as much is free as deletions need.")
    checked = await to_thread.run_sync(check_body, service, run.schedule.owner, body)
    state = await read_stored_state(body.initial_state, checked.manifest, service, run.schedule.owner)  # type: ignore[arg-type] # it is of the catalogue
    arguments = service, run.schedule.owner, checked, state, run.idempotency_key
    record, _ = await to_thread.run_sync(partial(accept, *arguments), limiter=WRITERS)
    return await to_thread.run_sync(_save, service, run, record.id, run.init_time + checked.lead_hours * HOUR)


def _find_accepted(service: Service, run: ClaimedRun) -> Any:
    with service.database.read() as connection:
        return find_accepted(connection, run.schedule, run.init_time)


def _has_frames(service: Service, dataset: str, init_time: np.datetime64, manifest: Manifest) -> bool:
    """Return whether a data set has all frames that a checkpoint needs for an initial time."""
    step = np.timedelta64(manifest.model.time_step_hours, "h")
    frames = {init_time - index * step for index in range(manifest.model.context_frames)}
    return frames <= set(service.datasets.find(dataset).list_times(min(frames), init_time))


def _postpone(service: Service, run: ClaimedRun) -> None:
    with service.database.write() as connection:
        postpone_run(connection, run)


def _save(service: Service, run: ClaimedRun, forecast_id: str, last_valid: float) -> str:
    service.database.write_at_any_cost(lambda connection: save_submission(connection, run, forecast_id, last_valid))
    return "submitted"
