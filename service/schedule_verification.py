"""Verify a scheduled forecast against the analyses that have come since, by the same path as a request would."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from jobs.audit import Actor, acting_as
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.rows.states import VerificationState
from jobs.schedule_cycles import Verify, choose_verification
from jobs.schedule_runs import read_clock
from jobs.schedule_verifications import ClaimedVerification, postpone_verification, save_scores
from service.child_calls import ForecastAddress, verify
from service.damage import answering_damage
from service.dependencies import Service, check_ensemble
from service.schedule_submission import Refusal
from service.threads import FETCHERS
from storage.errors import WarmcastError

MAX_SECONDS = 900.0
"""Seconds that parsing and scoring may take."""

_log = logging.getLogger(__name__)


async def verify_run(service: Service, claim: ClaimedVerification) -> str:
    """Verify a claimed forecast and store what came of it; return that in a word, for the metrics."""
    try:
        with acting_as(Actor(claim.owner)):
            return await _verify(service, claim)
    except Exception as error:
        refusal = Refusal.of(error)
        is_own = isinstance(error, WarmcastError | SQLAlchemyError | OSError)
        _log.log(
            logging.WARNING if is_own else logging.ERROR,
            "forecast %s: its verification failed: %s",
            claim.forecast_id,
            error,
            exc_info=None if is_own else error,
        )
        return await to_thread.run_sync(_postpone, service, claim, refusal.problem, not refusal.is_retryable)


async def _verify(service: Service, claim: ClaimedVerification) -> str:
    record, now = await to_thread.run_sync(_read, service, claim)
    present = await to_thread.run_sync(_list_present, service, claim, record, now, limiter=FETCHERS)
    action = choose_verification(present, claim.last_valid, claim.until, now)
    if action != Verify.NOW:
        return await to_thread.run_sync(_postpone, service, claim, None, action == Verify.GIVE_UP)
    check_ensemble(record, service)
    paths = await to_thread.run_sync(_fetch, service, claim, present, limiter=FETCHERS)
    call = partial(
        verify,
        ForecastAddress.of(record, service.settings.storage),
        paths,
        [path.name for path in paths],
        record.request.seed,
    )
    async with service.queues.parsing.place(claim.owner) as place:
        with answering_damage(record, service):
            scores = await place.run(call, MAX_SECONDS)
    return await to_thread.run_sync(_save, service, claim, record, scores, len(present))


def _read(service: Service, claim: ClaimedVerification) -> tuple[ForecastRecord, float]:
    with service.database.read() as connection:
        return read_forecast(connection, claim.forecast_id, claim.owner), read_clock(connection)


def _list_present(service: Service, claim: ClaimedVerification, record: ForecastRecord, now: float) -> list[int]:
    """Return the valid times whose analyses are there; none if that of the last is not, and there is still time."""
    dataset, last = service.datasets.find(claim.dataset), np.datetime64(claim.last_valid, "s")
    if now < claim.until and not dataset.list_times(last, last):
        return []
    step = (claim.last_valid - claim.init_time) // record.num_lead_times
    valid = range(claim.init_time + step, claim.last_valid + 1, step)
    times = dataset.list_times(np.datetime64(valid[0], "s"), last)
    return sorted(set(valid) & {int(time.astype("datetime64[s]").astype(np.int64)) for time in times})


def _fetch(service: Service, claim: ClaimedVerification, present: list[int]) -> list[Path]:
    """Return the files of the valid times, and of the initial time if that is there, to score persistence too."""
    dataset, init_time = service.datasets.find(claim.dataset), np.datetime64(claim.init_time, "s")
    times = [*dataset.list_times(init_time, init_time), *(np.datetime64(time, "s") for time in present)]
    return list(dict.fromkeys(dataset.fetch(times)))


def _postpone(service: Service, claim: ClaimedVerification, problem: dict[str, Any] | None, ends: bool) -> str:
    state = service.database.write_at_any_cost(
        lambda connection: postpone_verification(connection, claim, problem, ends=ends)
    )
    return "waiting" if state in {None, VerificationState.WAITING} else f"verification_{state}"


def _save(
    service: Service, claim: ClaimedVerification, record: ForecastRecord, scores: dict[str, Any], number: int
) -> str:
    with service.database.write() as connection:
        is_saved = save_scores(connection, claim, record.request.checkpoint, scores, number)
    return "verified" if is_saved else "waiting"
