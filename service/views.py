"""Forecasts as callers see them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.database import Database
from jobs.forecasts import ForecastRecord
from jobs.speeds import demand_of, look_out
from jobs.states import OPEN, Data, Priority, Status


class Link(BaseModel):
    """Where something is."""

    rel: str
    href: str
    type: str | None = None


class Progress(BaseModel):
    """How far a forecast is."""

    lead_times: int = Field(description="Lead times that all members have.")
    num_lead_times: int
    eta_seconds: float | None = Field(
        None, description="Seconds to the end: as planned, then at the pace so far; null before anything was measured."
    )


class Caution(BaseModel):
    """What a caller should know of a forecast that is successful all the same."""

    code: Literal["members-lost"]
    message: str


class ForecastView(BaseModel):
    """A forecast: `status` is one of OGC API Processes; the last three are final."""

    id: str
    type: Literal["forecast"] = "forecast"
    status: Status
    priority: Priority
    progress: int = Field(ge=0, le=100, description="Per cent of the lead times.")
    progress_detail: Progress
    created: str
    started: str | None
    finished: str | None
    request: dict[str, Any] = Field(description="The request, complete, with its seed.")
    error: dict[str, Any] | None
    warnings: list[Caution]
    data: Data = Field(description="Whether the ensemble is still there; the record always is.")
    links: list[Link]


class ForecastList(BaseModel):
    """Forecasts, the newest first."""

    forecasts: list[ForecastView]
    links: list[Link]


def view(record: ForecastRecord, base: str, now: float, planned: float | None) -> ForecastView:
    """Return what callers see of a forecast; `base` is the URL that all of the service's begin with.

    `planned` is its part of `planned_seconds`.
    """
    home = f"{base}/v1/forecast/{record.id}"
    has_members = record.request.output.members
    data = "ensemble.zarr" if has_members else "summary.zarr"
    links = [
        Link(rel="self", href=home, type="application/json"),
        Link(rel="data", href=f"{home}/{data}", type="application/vnd.zarr"),
        Link(rel="summary", href=f"{home}/summary.zarr", type="application/vnd.zarr"),
        Link(rel="monitor", href=f"{home}/events", type="text/event-stream"),
    ]
    if record.status == Status.SUCCESSFUL:
        if has_members:
            links.append(Link(rel="enclosure", href=f"{home}/ensemble.zarr.zip", type="application/zip"))
        links.append(Link(rel="describedby", href=f"{home}/receipt", type="application/json"))
    return ForecastView(
        id=record.id,
        status=record.status,
        priority=record.priority,
        progress=100 * record.lead_times // record.num_lead_times,
        progress_detail=Progress(
            lead_times=record.lead_times,
            num_lead_times=record.num_lead_times,
            eta_seconds=eta_seconds(record, now, planned),
        ),
        created=shown_time(record.created),
        started=None if record.started is None else shown_time(record.started),
        finished=None if record.finished is None else shown_time(record.finished),
        request=record.request.model_dump(mode="json"),
        error=record.error,
        warnings=_warnings(record),
        data=record.data,
        links=links,
    )


def _warnings(record: ForecastRecord) -> list[Caution]:
    lost = (record.receipt or {}).get("nonfinite_members", [])
    if not lost:
        return []
    told = f"Members {', '.join(map(str, lost))} left the valid range and are NaN from there on; the others are whole."
    return [Caution(code="members-lost", message=told)]


def planned_seconds(database: Database, records: Sequence[ForecastRecord], now: float) -> dict[str, float]:
    """Return by id the seconds to the end of those without any lead time yet, where speeds were measured."""
    early = [record for record in records if record.status in OPEN and not record.lead_times]
    if not early:
        return {}
    with database.read() as connection:
        outlook = look_out(connection)
    planned = {}
    for record in early:
        seconds = outlook.seconds(demand_of(record.request, record.num_lead_times))
        wait = outlook.wait_seconds(record.created) if record.started is None else record.started - now
        if seconds is not None and wait is not None:
            planned[record.id] = max(wait + seconds, 0.0)
    return planned


def eta_seconds(record: ForecastRecord, now: float, planned: float | None) -> float | None:
    """Return the seconds to the end at the pace so far, `planned` where there is none yet, 0 where it has ended."""
    if record.status not in OPEN:
        return 0.0
    if record.started is None or not record.lead_times:
        return None if planned is None else round(planned, 1)
    pace = (now - record.started) / record.lead_times
    return round(max(pace * (record.num_lead_times - record.lead_times), 0.0), 1)


def shown_time(seconds: float) -> str:
    """Return seconds since 1970 as callers see them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
