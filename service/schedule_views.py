"""The JSON views of schedules and of their runs."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.callbacks import CallbackView
from jobs.rows.states import RunState, ScheduleState, Status, VerificationState
from jobs.schedule_cycles import is_late
from jobs.schedule_latest import Progress
from jobs.schedule_runs import RunRecord
from jobs.schedules import ScheduleRecord
from service.schedule_requests import CatchUp, format_cycle, plan_fields
from service.views import Link, format_time


class RunVerification(BaseModel):
    """The verification of the forecast of a run."""

    state: VerificationState = Field(
        description="`off`, `waiting` for analyses, `done`; `missed`: no analysis has come; `skipped`: the forecast "
        "has no data; or `failed`."
    )
    until: str | None = Field(description="Time (UTC) after which it is verified with the analyses that are there.")
    lead_times: int | None = Field(description="Number of lead times that were scored.")
    problem: dict[str, Any] | None = Field(description="Why the last attempt failed.")


class RunView(BaseModel):
    """One cycle of a schedule."""

    init_time: str = Field(description="Initial time, UTC.")
    state: RunState = Field(
        description="`waiting` for analyses or for another attempt; `submitted`; `missed`: the analyses did not come "
        "in time; `skipped`: its time had passed; or `failed`: it was refused."
    )
    caught_up: bool = Field(description="Whether it was submitted after its `wait_hours`.")
    late: bool = Field(description="Whether it waits, and is older than `late_hours`.")
    attempts: int = Field(description="Number of submissions that were refused.")
    ready: str | None = Field(description="When the analyses were there first.")
    next_attempt: str | None
    problem: dict[str, Any] | None = Field(description="Why the last submission was refused.")
    finished: str | None = Field(description="When the forecast was submitted, or the run ended without one.")
    forecast: str | None = Field(description="Id of the forecast.")
    forecast_status: Status | None
    verification: RunVerification
    links: list[Link]


class RunList(BaseModel):
    """A page of runs, newest cycle first."""

    runs: list[RunView]
    links: list[Link]


class ScheduleView(BaseModel):
    """A schedule: what it submits, when, and what has come of it."""

    id: str
    type: Literal["schedule"] = "schedule"
    name: str
    source: Literal["api", "file"] = Field(description="`file` if it is set by the configuration of the service.")
    state: ScheduleState
    reason: str | None = Field(description="Why it is stopped.")
    dataset: str
    every_hours: int
    offset_hours: int
    start: str
    stop: str | None
    catch_up: CatchUp
    wait_hours: float
    late_hours: float
    verify: bool
    forecast: dict[str, Any] = Field(description="What is submitted; of a callback only its host and events.")
    next_run: str | None = Field(description="Initial time of the next cycle; null after the last, or if not active.")
    last_run: RunView | None = Field(description="The newest cycle that has begun.")
    late: int = Field(description="Number of waiting cycles that are older than `late_hours`.")
    counts: dict[RunState, int] = Field(description="Number of runs by state.")
    newest_analysis: str | None = Field(description="Newest initial time of the data set, as far as is known.")
    created: str
    changed: str
    links: list[Link]


class ScheduleList(BaseModel):
    """A page of schedules, newest first."""

    schedules: list[ScheduleView]
    links: list[Link]


def view_schedule(
    schedule: ScheduleRecord, progress: Progress, newest: int | None, base: str, now: float
) -> ScheduleView:
    """Return the JSON view of a schedule; `newest` is the newest initial time of its data set."""
    home, fields = f"{base}/v1/schedules/{schedule.id}", plan_fields(schedule.plan)
    callback = CallbackView.parse(fields["forecast"]["callback"])
    fields["forecast"]["callback"] = None if callback is None else callback.model_dump(mode="json")
    is_active = schedule.state == ScheduleState.ACTIVE and schedule.next_cycle is not None
    return ScheduleView(
        **fields,
        id=schedule.id,
        source="file" if schedule.source == "file" else "api",
        state=schedule.state,
        reason=schedule.reason,
        next_run=format_cycle(schedule.next_cycle) if is_active and schedule.next_cycle is not None else None,
        last_run=None if progress.newest is None else view_run(progress.newest, schedule, base, now),
        late=progress.num_late,
        counts=progress.counts,
        newest_analysis=None if newest is None else format_cycle(newest),
        created=format_time(schedule.created),
        changed=format_time(schedule.changed),
        links=[
            Link(rel="self", href=home, type="application/json"),
            Link(rel="runs", href=f"{home}/runs", type="application/json"),
            Link(rel="latest", href=f"{home}/latest", type="application/json"),
        ],
    )


def view_run(run: RunRecord, schedule: ScheduleRecord, base: str, now: float) -> RunView:
    """Return the JSON view of a run."""
    is_waiting = run.state == RunState.WAITING
    links = []
    if run.forecast_id is not None:
        links.append(Link(rel="forecast", href=f"{base}/v1/forecast/{run.forecast_id}", type="application/json"))
    return RunView(
        init_time=format_cycle(run.init_time),
        state=run.state,
        caught_up=run.caught_up,
        late=is_waiting and is_late(run.begins, now, schedule.plan.late_hours),
        attempts=run.attempts,
        ready=_format(run.ready),
        next_attempt=_format(run.next_attempt),
        problem=_as_dict(run.problem),
        finished=_format(run.finished),
        forecast=run.forecast_id,
        forecast_status=None if run.forecast_status is None else Status(run.forecast_status),
        verification=RunVerification(
            state=run.verification,
            until=_format(run.verify_until) if run.verification == VerificationState.WAITING else None,
            lead_times=run.verified_times,
            problem=_as_dict(run.verification_problem),
        ),
        links=links,
    )


def _format(time: float | None) -> str | None:
    return None if time is None else format_time(time)


def _as_dict(problem: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if problem is None else dict(problem)
