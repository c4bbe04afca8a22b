"""The verification of scheduled forecasts: due when the analyses of their valid times have come, claimed like runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, or_, select, update

from jobs.audit import Action, append_audit
from jobs.quality import save_verification
from jobs.rows.clock import now, time_of_query
from jobs.rows.schedule_tables import schedule_runs, schedules
from jobs.rows.states import OPEN, Data, RunState, Status, VerificationState
from jobs.rows.tables import forecasts
from jobs.schedule_runs import CLAIM_SECONDS, read_clock

POLL_SECONDS = 600.0
"""Seconds between two looks for the analyses of a forecast's last valid time."""
MAX_ATTEMPTS = 12
"""Failed attempts after which a forecast is not verified any more, once its time is over."""
GRACE_SECONDS = 86_400.0
"""Seconds after that time for which failed attempts are repeated, and its data is kept."""
_RETRY_SECONDS, _MAX_RETRY_SECONDS = 300.0, 3600.0

_COLUMNS = schedule_runs.c


@dataclass(frozen=True)
class ClaimedVerification:
    """A forecast that this process alone verifies, as long as its claim is not older than `CLAIM_SECONDS`."""

    run_id: int
    epoch: int
    attempts: int
    owner: str
    dataset: str
    forecast_id: str
    init_time: int
    last_valid: int
    until: float


def _select_ended() -> Select[Any]:
    """Return the query of runs whose forecast can no longer be verified: it failed, was cancelled or has no data."""
    query = select(_COLUMNS.id).join(forecasts, forecasts.c.id == _COLUMNS.forecast_id)
    is_unusable = or_(forecasts.c.status.in_((Status.FAILED, Status.DISMISSED)), forecasts.c.data != Data.AVAILABLE)
    return query.where(_COLUMNS.verification == VerificationState.WAITING, is_unusable)


def skip_ended(connection: Connection) -> int:
    """End the verifications of forecasts that failed, were cancelled or have no data any more; return how many."""
    ids = list(connection.scalars(_select_ended()))
    values = {"verification": VerificationState.SKIPPED, "next_verification": None}
    waiting = _COLUMNS.id.in_(ids), _COLUMNS.verification == VerificationState.WAITING
    return connection.execute(update(schedule_runs).where(*waiting).values(**values)).rowcount if ids else 0


def has_ended(connection: Connection) -> bool:
    """Return whether `skip_ended` would change anything."""
    return connection.scalar(_select_ended().limit(1)) is not None


def _due(time: float) -> tuple[Any, ...]:
    waits = _COLUMNS.verification == VerificationState.WAITING, _COLUMNS.state == RunState.SUBMITTED
    return *waits, _COLUMNS.next_verification <= time


def has_due_verification(connection: Connection) -> bool:
    """Return whether `claim_verifications` may claim anything."""
    query = select(_COLUMNS.id).where(*_due(read_clock(connection)))
    return connection.scalar(query.limit(1)) is not None


def claim_verifications(connection: Connection, at_most: int) -> list[ClaimedVerification]:
    """Claim the verifications that are due of successful forecasts; those of open ones are postponed."""
    time, claimed = read_clock(connection), list[ClaimedVerification]()
    columns = schedule_runs, schedules.c.owner, forecasts.c.status
    query = select(*columns).join(schedules, schedules.c.id == _COLUMNS.schedule_id)
    query = query.join(forecasts, forecasts.c.id == _COLUMNS.forecast_id).where(*_due(time))
    for row in connection.execute(query.order_by(_COLUMNS.next_verification, _COLUMNS.id).limit(16 * at_most)).all():
        is_open = row.status in OPEN
        if not is_open and len(claimed) == at_most:
            continue
        same = _COLUMNS.id == row.id, _COLUMNS.verification_epoch == row.verification_epoch
        values = {"verification_epoch": row.verification_epoch + 1}
        values["next_verification"] = time + (POLL_SECONDS if is_open else CLAIM_SECONDS)
        if (
            connection.execute(update(schedule_runs).where(*same, *_due(time)).values(**values)).rowcount
            and not is_open
        ):
            claimed.append(
                ClaimedVerification(
                    row.id,
                    row.verification_epoch + 1,
                    row.verification_attempts,
                    row.owner,
                    row.dataset,
                    row.forecast_id,
                    row.init_time,
                    int(row.verify_from),
                    row.verify_until,
                )
            )
    return claimed


def renew_verification(connection: Connection, claim: ClaimedVerification) -> None:
    """Extend the claim of a verification that this process still computes."""
    connection.execute(update(schedule_runs).where(*_own(claim)).values(next_verification=now() + CLAIM_SECONDS))


def postpone_verification(
    connection: Connection, claim: ClaimedVerification, problem: Mapping[str, Any] | None = None, *, ends: bool = False
) -> VerificationState | None:
    """Store that a forecast is not verified yet, and return the state; None if the claim was lost.

    A problem counts as a failed attempt. After the last one of its time, or if it `ends`, there are no more.
    """
    attempts = claim.attempts + (problem is not None)
    values: dict[str, Any] = {"verification_attempts": attempts, "verification_problem": problem}
    pause = POLL_SECONDS if problem is None else min(_RETRY_SECONDS * attempts, _MAX_RETRY_SECONDS)
    state = VerificationState.WAITING
    if ends or (attempts >= MAX_ATTEMPTS and read_clock(connection) >= claim.until + GRACE_SECONDS):
        state = VerificationState.MISSED if problem is None else VerificationState.FAILED
    values |= {"verification": state, "next_verification": now() + pause}
    return state if connection.execute(update(schedule_runs).where(*_own(claim)).values(**values)).rowcount else None


def save_scores(
    connection: Connection, claim: ClaimedVerification, model: str, scores: Mapping[str, Any], num_times: int
) -> bool:
    """Store the scores of a forecast unless the claim was lost, and return whether they are stored.

    They are inserted in the transaction that ends the verification: once, whatever is lost in between.
    """
    values = {"verification": VerificationState.DONE, "next_verification": None, "verified_times": num_times}
    if not connection.execute(
        update(schedule_runs).where(*_own(claim)).values(**values, verification_problem=None)
    ).rowcount:
        return False
    save_verification(connection, claim.forecast_id, model, claim.dataset, scores)
    append_audit(connection, Action.VERIFY, claim.forecast_id)
    return True


def _own(claim: ClaimedVerification) -> tuple[Any, ...]:
    is_own = _COLUMNS.id == claim.run_id, _COLUMNS.verification_epoch == claim.epoch
    return *is_own, _COLUMNS.verification == VerificationState.WAITING


def select_kept() -> Select[Any]:
    """Return the query of the ids of forecasts whose data is kept for their verification, a day longer at most."""
    waits = _COLUMNS.verification == VerificationState.WAITING, _COLUMNS.forecast_id.is_not(None)
    return select(_COLUMNS.forecast_id).where(*waits, _COLUMNS.verify_until >= time_of_query() - GRACE_SECONDS)
