"""The JSON view of a forecast: status, progress, links, remaining time."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.callbacks import CallbackView
from jobs.forecasts import ForecastRecord
from jobs.request import CatalogueSource, ForecastRequest, ForecastSource
from jobs.retention import expiry_time
from jobs.rows.states import OPEN, Data, Phase, Priority, Status
from service.alert_views import AlertView, view_alerts
from service.outlooks import UNKNOWN, Outlook
from service.requests import ForecastBody
from weather.readers.provenance import ChosenSource
from weather.stores.layout import ENSEMBLE, SUMMARY

_MAX_RETRY_SECONDS, _FIRST_RETRY_SECONDS = 30, 2


class Link(BaseModel):
    """A link to a related resource."""

    rel: str
    href: str
    type: str | None = None


class LandingPage(BaseModel):
    """A landing page, as in OGC API – Common."""

    title: str
    description: str
    links: list[Link]


class Progress(BaseModel):
    """The progress of a forecast in lead times."""

    lead_times: int = Field(description="Lead times that are complete for all members.")
    num_lead_times: int
    valid_time: str | None = Field(None, description="Valid time of the last of them, UTC; null before the first.")
    seconds_per_lead: float | None = Field(
        None, description="Seconds since the start for each complete lead time; null before the first."
    )
    eta_seconds: float | None = Field(
        None, description="Seconds until the end: from the plan, then from the pace so far; null without measurements."
    )


class QueuePlace(BaseModel):
    """The place of a waiting forecast in the queue."""

    position: int | None = Field(
        description="Waiting forecasts that start before this one, if no others are submitted; null while it changes."
    )
    estimated_wait_seconds: float | None = Field(
        description="Seconds until it starts; null without measurements and while no worker is alive."
    )


class Caution(BaseModel):
    """A warning about a forecast: lost members, an initial state that is unlike the weather, or damaged files."""

    code: Literal["members-lost", "initial-state", "damaged"]
    message: str


class ForecastView(BaseModel):
    """A forecast. `status` is one of OGC API Processes; successful, failed and dismissed are final."""

    id: str
    type: Literal["forecast"] = "forecast"
    owner: str = Field(description="Id of the API key that has submitted it; `local` if it was none.")
    status: Status
    phase: Phase | None = Field(description="What the workers of a running forecast have reported last; else null.")
    priority: Priority
    progress: int = Field(ge=0, le=100, description="Percentage of the lead times that are complete.")
    progress_detail: Progress
    queue: QueuePlace | None = Field(description="Place of a waiting forecast; null after its start.")
    created: str
    started: str | None
    finished: str | None
    expires: str | None = Field(description="When the data expires; null before the end, and without a limit.")
    init_time: str = Field(description="Initial time of the forecast, UTC.")
    request: ForecastBody = Field(
        description="The body that submits this forecast again, with all defaults and the seed filled in."
    )
    labels: dict[str, str]
    alerts: list[AlertView]
    callback: CallbackView | None
    sources: list[ChosenSource] = Field(
        description="The records of files that the initial state is; empty in records of older versions."
    )
    error: dict[str, Any] | None
    warnings: list[Caution]
    data: Data = Field(description="Whether the data is still available; the record always is.")
    batch: str | None = Field(None, description="Id of the batch whose part it is.")
    links: list[Link]


class ForecastList(BaseModel):
    """A page of forecasts, newest first."""

    forecasts: list[ForecastView]
    links: list[Link]


def view_forecast(
    record: ForecastRecord, base: str, now: float, outlook: Outlook | None, keep_hours: float | None
) -> ForecastView:
    """Return the JSON view of a forecast.

    `base` is the base URL of the service, `now` is in seconds since 1970, `outlook` from `read_outlooks`,
    and `keep_hours` is the setting.
    """
    expires = expiry_time(record, keep_hours) if record.data == Data.AVAILABLE else None
    return ForecastView(
        id=record.id,
        owner=record.owner,
        status=record.status,
        phase=record.phase if record.status == Status.RUNNING else None,
        priority=record.priority,
        progress=100 * record.lead_times // record.num_lead_times,
        progress_detail=Progress(
            lead_times=record.lead_times,
            num_lead_times=record.num_lead_times,
            valid_time=_last_valid_time(record),
            seconds_per_lead=seconds_per_lead(record, now),
            eta_seconds=eta_seconds(record, now, outlook),
        ),
        queue=view_queue(record, outlook),
        created=format_time(record.created),
        started=None if record.started is None else format_time(record.started),
        finished=None if record.finished is None else format_time(record.finished),
        expires=None if expires is None else format_time(expires),
        init_time=record.request.init_time,
        request=_view_request(record),
        labels=dict(record.labels),
        alerts=view_alerts(record),
        callback=record.callback,
        sources=list(record.request.choice),
        error=record.error,
        warnings=_warnings(record),
        data=record.data,
        batch=record.batch_id,
        links=_links(record, f"{base}/v1/forecast/{record.id}"),
    )


def _links(record: ForecastRecord, home: str) -> list[Link]:
    """Return the links of a forecast to what exists now; `home` is its own URL."""
    links = [
        Link(rel="self", href=home, type="application/json"),
        Link(rel="monitor", href=f"{home}/events", type="text/event-stream"),
    ]
    is_successful, has_members = record.status == Status.SUCCESSFUL, record.request.output.members
    if is_successful:
        links.append(Link(rel="describedby", href=f"{home}/receipt", type="application/json"))
    if record.data == Data.AVAILABLE:
        data = ENSEMBLE if has_members else SUMMARY
        links.append(Link(rel="data", href=f"{home}/{data}", type="application/vnd.zarr"))
        links.append(Link(rel="summary", href=f"{home}/{SUMMARY}", type="application/vnd.zarr"))
        if is_successful and has_members:
            links.append(Link(rel="enclosure", href=f"{home}/{ENSEMBLE}.zip", type="application/zip"))
    return links


def _view_request(record: ForecastRecord) -> ForecastBody:
    """Return the body that submits a forecast again.

    Its initial state is that of the catalogue, else the one that this forecast keeps: uploaded files are not kept.
    """
    source = record.request.initial_state
    kept = source if isinstance(source, CatalogueSource) else ForecastSource(source="forecast", id=record.id)
    return ForecastBody.of(record.request, record.priority, kept, record.handling)


def view_cautions(request: ForecastRequest) -> list[Caution]:
    """Return the warnings about the initial state of a request."""
    return [Caution(code="initial-state", message=message) for message in request.warnings]


def _warnings(record: ForecastRecord) -> list[Caution]:
    cautions, lost = view_cautions(record.request), (record.receipt or {}).get("nonfinite_members", [])
    if lost:
        numbers = ", ".join(map(str, lost))
        message = f"Members {numbers} left the valid range and are NaN from then on; the others are complete."
        cautions.append(Caution(code="members-lost", message=message))
    if record.damaged_files and record.data == Data.AVAILABLE:
        message = f"Stored files are missing or damaged ({record.damaged_files}); requests that need them are refused."
        cautions.append(Caution(code="damaged", message=message))
    return cautions


def _last_valid_time(record: ForecastRecord) -> str | None:
    """Return the valid time of the last complete lead time, UTC; None before the first."""
    if not record.lead_times:
        return None
    hours = record.request.lead_hours * record.lead_times // record.num_lead_times
    return (datetime.fromisoformat(record.request.init_time) + timedelta(hours=hours)).isoformat()


def view_queue(record: ForecastRecord, outlook: Outlook | None) -> QueuePlace | None:
    """Return the place of a waiting forecast; None after its start."""
    if record.status != Status.ACCEPTED:
        return None
    known = outlook or UNKNOWN
    wait = None if known.wait_seconds is None else round(known.wait_seconds, 1)
    return QueuePlace(position=known.position, estimated_wait_seconds=wait)


def seconds_per_lead(record: ForecastRecord, now: float) -> float | None:
    """Return the seconds between the start and the end, or now, for each complete lead time; None before the first."""
    if record.started is None or not record.lead_times:
        return None
    ended = now if record.finished is None else record.finished
    return round(max(ended - record.started, 0.0) / record.lead_times, 3)


def retry_seconds(record: ForecastRecord, now: float, outlook: Outlook | None) -> int | None:
    """Return the seconds after which to request an open forecast again, a quarter of the remaining time; else None."""
    if record.status not in OPEN:
        return None
    eta = eta_seconds(record, now, outlook)
    return _FIRST_RETRY_SECONDS if eta is None else min(max(round(eta / 4), 1), _MAX_RETRY_SECONDS)


def eta_seconds(record: ForecastRecord, now: float, outlook: Outlook | None) -> float | None:
    """Return the seconds until the end: at the pace so far, or as planned before the first lead time; 0 at the end."""
    if record.status not in OPEN:
        return 0.0
    if record.started is None or not record.lead_times:
        planned = None if outlook is None else outlook.seconds
        return None if planned is None else round(planned, 1)
    pace = (now - record.started) / record.lead_times
    return round(max(pace * (record.num_lead_times - record.lead_times), 0.0), 1)


def format_time(seconds: float) -> str:
    """Return seconds since 1970 as an ISO 8601 time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
