"""Rows of the runs of schedules: one for each cycle, claimed by one process at a time, and ended once.

A process claims a run by increasing its epoch, and stores what came of it only while the epoch is still its own. The
submission has an idempotency key of the cycle, so that a run which is claimed again, because the process was lost,
finds the forecast that was accepted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, or_, select, update

from jobs.rows.clock import now
from jobs.rows.schedule_tables import schedule_runs, schedules
from jobs.rows.states import RunState, ScheduleState, VerificationState
from jobs.rows.tables import api_keys, forecasts
from jobs.schedule_cycles import HOUR, WaitingRun, is_over, judge, pause_seconds
from jobs.schedules import ScheduleRecord, record_of, set_state

CLAIM_SECONDS = 120.0
"""Seconds after which a claimed run whose process was lost can be claimed again; `renew_claims` extends them."""
_CYCLES_AT_ONCE = 400

_COLUMNS = schedule_runs.c


@dataclass(frozen=True)
class ClaimedRun:
    """A run that this process alone submits, as long as its claim is not older than `CLAIM_SECONDS`."""

    id: int
    epoch: int
    init_time: int
    begins: float
    attempts: int
    schedule: ScheduleRecord

    @property
    def idempotency_key(self) -> str:
        """The key of the submission; the space keeps it apart from all keys that requests can have."""
        return _idempotency_key(self.schedule.id, self.init_time)


def _idempotency_key(schedule_id: str, init_time: int) -> str:
    return f"schedule {schedule_id} {init_time}"


def read_clock(connection: Connection) -> float:
    """Return the time of the database, in seconds since 1970."""
    return float(connection.scalar(select(now())) or 0.0)


def has_due_work(connection: Connection) -> bool:
    """Return whether `advance_schedules` may change anything."""
    time = read_clock(connection)
    due = select(schedules.c.id).where(
        schedules.c.state == ScheduleState.ACTIVE, schedules.c.next_cycle.is_not(None), schedules.c.next_cycle <= time
    )
    over = select(_COLUMNS.id).join(schedules, schedules.c.id == _COLUMNS.schedule_id)
    over = over.where(schedules.c.state == ScheduleState.ACTIVE, _COLUMNS.state == RunState.WAITING)
    over = over.where(_COLUMNS.begins + HOUR * schedules.c.wait_hours <= time)
    return any(connection.scalar(query.limit(1)) is not None for query in (due, _select_void(time), over))


def advance_schedules(connection: Connection) -> Counter[str]:
    """Stop schedules whose keys are void, insert the runs of the cycles that have begun, and end those that are over.

    Returns how many runs have ended by state.
    """
    time = read_clock(connection)
    for row in connection.execute(_select_void(time)).all():
        set_state(connection, record_of(row), ScheduleState.STOPPED, "The API key was revoked or has expired.")
    active = schedules.c.state == ScheduleState.ACTIVE
    due = select(schedules).where(active, schedules.c.next_cycle.is_not(None), schedules.c.next_cycle <= time)
    for row in connection.execute(due.order_by(schedules.c.id)).all():
        _insert_runs(connection, record_of(row), time)
    ended = Counter[str]()
    waiting = select(_COLUMNS.schedule_id).where(_COLUMNS.state == RunState.WAITING).distinct()
    for row in connection.execute(select(schedules).where(active, schedules.c.id.in_(waiting))).all():
        ended += _end_runs(connection, record_of(row), time)
    return ended


def _select_void(time: float) -> Select[Any]:
    """Return the query of schedules that are not stopped and whose key is revoked or has expired."""
    is_void = or_(api_keys.c.revoked.is_not(None), api_keys.c.expires <= time)
    query = select(schedules).join(api_keys, api_keys.c.id == schedules.c.owner)
    return query.where(schedules.c.state != ScheduleState.STOPPED, is_void)


def _insert_runs(connection: Connection, schedule: ScheduleRecord, time: float) -> None:
    """Insert the runs of all cycles until `time`, unless another process does so."""
    plan, next_cycle = schedule.plan, schedule.next_cycle
    cycles: list[int] = []
    while next_cycle is not None and next_cycle <= time:
        some, next_cycle = plan.rhythm.due(next_cycle, plan.stop, time, _CYCLES_AT_ONCE)
        cycles += some
    unchanged = schedules.c.id == schedule.id, schedules.c.next_cycle == schedule.next_cycle
    if not connection.execute(update(schedules).where(*unchanged).values(next_cycle=next_cycle)).rowcount:
        return
    row = {"schedule_id": schedule.id, "dataset": plan.dataset, "state": RunState.WAITING, "caught_up": False}
    row |= {"epoch": 0, "attempts": 0, "next_attempt": time, "created": time, "verification": VerificationState.OFF}
    row |= {"verification_epoch": 0, "verification_attempts": 0}
    if cycles:
        rows = [row | {"init_time": cycle, "begins": max(cycle, schedule.created)} for cycle in cycles]
        connection.execute(insert(schedule_runs), rows)


def _end_runs(connection: Connection, schedule: ScheduleRecord, time: float) -> Counter[str]:
    """End the waiting runs that are over; a run whose forecast was accepted by a lost process is submitted."""
    own = _COLUMNS.schedule_id == schedule.id, _COLUMNS.state == RunState.WAITING
    is_free = or_(_COLUMNS.claimed_until.is_(None), _COLUMNS.claimed_until <= time)
    rows = connection.execute(select(schedule_runs).where(*own)).all()
    waiting = [
        WaitingRun(
            row.init_time,
            row.begins,
            is_ready=row.ready is not None,
            was_refused=row.problem is not None,
            was_tried=row.epoch > 0,
        )
        for row in rows
    ]
    verdicts = judge(waiting, time, schedule.plan.wait_hours, schedule.plan.catch_up)
    ended = Counter[str]()
    for row in rows:
        state = verdicts.get(row.init_time)
        if state is None:
            continue
        same = _COLUMNS.id == row.id, _COLUMNS.epoch == row.epoch, _COLUMNS.state == RunState.WAITING, is_free
        if (forecast := find_accepted(connection, schedule, row.init_time)) is not None:
            values = _submission_values(schedule, row.init_time, forecast.id, forecast.last_valid, time)
            state = RunState.SUBMITTED
        else:
            values = {"state": state, "finished": time, "next_attempt": None, "claimed_until": None}
        if connection.execute(update(schedule_runs).where(*same).values(**values)).rowcount:
            ended[state] += 1
    return ended


@dataclass(frozen=True)
class AcceptedForecast:
    """A forecast that was accepted for a cycle, and its last valid time."""

    id: str
    last_valid: float


def find_accepted(connection: Connection, schedule: ScheduleRecord, init_time: int) -> AcceptedForecast | None:
    """Return the forecast that was accepted for a cycle, whatever the schedule submitted then; or None."""
    key = _idempotency_key(schedule.id, init_time)
    query = select(forecasts.c.id, forecasts.c.request).where(
        forecasts.c.owner == schedule.owner, forecasts.c.idempotency_key == key
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else AcceptedForecast(row.id, init_time + row.request["lead_hours"] * HOUR)


def _due(time: float) -> tuple[Any, ...]:
    is_free = or_(_COLUMNS.claimed_until.is_(None), _COLUMNS.claimed_until <= time)
    return _COLUMNS.state == RunState.WAITING, _COLUMNS.next_attempt <= time, is_free


def has_claimable_run(connection: Connection) -> bool:
    """Return whether `claim_runs` may claim anything."""
    query = select(_COLUMNS.id).join(schedules, schedules.c.id == _COLUMNS.schedule_id)
    query = query.where(*_due(read_clock(connection)), schedules.c.state == ScheduleState.ACTIVE)
    return connection.scalar(query.limit(1)) is not None


def claim_runs(connection: Connection, at_most: int, per_owner: int, in_flight: Mapping[str, int]) -> list[ClaimedRun]:
    """Claim runs of active schedules that are due, the newest cycles first.

    At most `at_most` are claimed, of each owner no more than `per_owner` less those `in_flight`.
    """
    time = read_clock(connection)
    busy = [owner for owner, number in in_flight.items() if number >= per_owner]
    columns: list[Any] = [
        _COLUMNS[name].label(f"run_{name}") for name in ("id", "epoch", "init_time", "begins", "attempts")
    ]
    query = select(*columns, schedules).join(schedules, schedules.c.id == _COLUMNS.schedule_id)
    query = query.where(*_due(time), schedules.c.state == ScheduleState.ACTIVE, schedules.c.owner.not_in(busy))
    taken, claimed = Counter(in_flight), list[ClaimedRun]()
    for row in connection.execute(query.order_by(_COLUMNS.init_time.desc(), _COLUMNS.id).limit(16 * at_most)).all():
        if len(claimed) == at_most or taken[row.owner] >= per_owner:
            continue
        same = _COLUMNS.id == row.run_id, _COLUMNS.epoch == row.run_epoch
        values = {"epoch": row.run_epoch + 1, "claimed_until": time + CLAIM_SECONDS}
        if connection.execute(update(schedule_runs).where(*same, *_due(time)).values(**values)).rowcount:
            taken[row.owner] += 1
            claimed.append(
                ClaimedRun(
                    row.run_id, row.run_epoch + 1, row.run_init_time, row.run_begins, row.run_attempts, record_of(row)
                )
            )
    return claimed


def renew_claims(connection: Connection, runs: Sequence[ClaimedRun]) -> None:
    """Extend the claims of runs that this process still submits."""
    for run in runs:
        connection.execute(update(schedule_runs).where(*_own(run)).values(claimed_until=now() + CLAIM_SECONDS))


def postpone_run(connection: Connection, run: ClaimedRun, problem: Mapping[str, Any] | None = None) -> bool:
    """Give up the claim of a run until its next attempt, and return whether it was still claimed.

    A run whose analyses were there, or could not be looked for, was refused, with a problem; the problem of an earlier
    attempt is over if they are not there.
    """
    time = read_clock(connection)
    attempts = run.attempts + (problem is not None)
    values: dict[str, Any] = {"claimed_until": None, "attempts": attempts, "problem": problem}
    values["next_attempt"] = time + pause_seconds(run.begins, time, attempts)
    values["ready"] = None if problem is None else func.coalesce(_COLUMNS.ready, time)
    return bool(connection.execute(update(schedule_runs).where(*_own(run)).values(**values)).rowcount)


def fail_run(connection: Connection, run: ClaimedRun, problem: Mapping[str, Any]) -> bool:
    """End a run whose submission was refused for good, and return whether it was still claimed."""
    values = {"state": RunState.FAILED, "problem": problem, "attempts": run.attempts + 1, "finished": now()}
    values |= {"next_attempt": None, "claimed_until": None, "ready": func.coalesce(_COLUMNS.ready, now())}
    return bool(connection.execute(update(schedule_runs).where(*_own(run)).values(**values)).rowcount)


def save_submission(connection: Connection, run: ClaimedRun, forecast_id: str, last_valid: float) -> bool:
    """End a run whose forecast was accepted, and return whether it was still claimed."""
    time = read_clock(connection)
    values = _submission_values(run.schedule, run.init_time, forecast_id, last_valid, time)
    return bool(connection.execute(update(schedule_runs).where(*_own(run)).values(**values)).rowcount)


def _submission_values(
    schedule: ScheduleRecord, init_time: int, forecast_id: str, last_valid: float, time: float
) -> dict[str, Any]:
    plan = schedule.plan
    return {
        "state": RunState.SUBMITTED,
        "forecast_id": forecast_id,
        "caught_up": is_over(max(init_time, schedule.created), time, plan.wait_hours),
        "ready": func.coalesce(_COLUMNS.ready, time),
        "problem": None,
        "finished": time,
        "next_attempt": None,
        "claimed_until": None,
        "verification": VerificationState.WAITING if plan.verify else VerificationState.OFF,
        "verify_from": last_valid,
        "verify_until": max(last_valid, time) + plan.wait_hours * HOUR,
        "next_verification": last_valid,
    }


def _own(run: ClaimedRun) -> tuple[Any, ...]:
    return _COLUMNS.id == run.id, _COLUMNS.epoch == run.epoch, _COLUMNS.state == RunState.WAITING


@dataclass(frozen=True)
class RunRecord:
    """The row of a run with the status and data of its forecast."""

    init_time: int
    begins: float
    state: RunState
    caught_up: bool
    attempts: int
    ready: float | None
    next_attempt: float | None
    problem: Mapping[str, Any] | None
    forecast_id: str | None
    forecast_status: str | None
    finished: float | None
    verification: VerificationState
    verify_until: float | None
    verified_times: int | None
    verification_problem: Mapping[str, Any] | None


def list_runs(
    connection: Connection, schedule_id: str, limit: int, before: int | None = None, state: RunState | None = None
) -> list[RunRecord]:
    """Return at most `limit` runs of a schedule, newest cycle first, before a cycle and of a state if given."""
    query = select(schedule_runs, forecasts.c.status).join(
        forecasts, forecasts.c.id == _COLUMNS.forecast_id, isouter=True
    )
    query = query.where(_COLUMNS.schedule_id == schedule_id)
    if before is not None:
        query = query.where(_COLUMNS.init_time < before)
    if state is not None:
        query = query.where(_COLUMNS.state == state)
    return [_record(row) for row in connection.execute(query.order_by(_COLUMNS.init_time.desc()).limit(limit))]


def _record(row: Row[Any]) -> RunRecord:
    return RunRecord(
        row.init_time,
        row.begins,
        RunState(row.state),
        row.caught_up,
        row.attempts,
        row.ready,
        row.next_attempt,
        row.problem,
        row.forecast_id,
        row.status,
        row.finished,
        VerificationState(row.verification),
        row.verify_until,
        row.verified_times,
        row.verification_problem,
    )
