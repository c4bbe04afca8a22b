"""The JSON view of a forecast: status, progress, links, remaining time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.forecasts import ForecastRecord
from jobs.planning.estimates import Estimator, demand_of
from jobs.planning.measured import load_estimator
from jobs.request import CatalogueSource, ForecastRequest, ForecastSource
from jobs.retention import expiry_time
from jobs.rows.database import Database
from jobs.rows.states import OPEN, Data, Priority, Status
from service.batches import BatchReader
from service.requests import ForecastBody
from weather.readers.provenance import ChosenSource
from weather.stores.layout import ENSEMBLE, SUMMARY

_MAX_RETRY_SECONDS, _FIRST_RETRY_SECONDS = 30, 2


class Link(BaseModel):
    """A link to a related resource."""

    rel: str
    href: str
    type: str | None = None


class Progress(BaseModel):
    """The progress of a forecast in lead times."""

    lead_times: int = Field(description="Lead times that are complete for all members.")
    num_lead_times: int
    eta_seconds: float | None = Field(
        None, description="Seconds until the end: from the plan, then from the pace so far; null without measurements."
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
    priority: Priority
    progress: int = Field(ge=0, le=100, description="Percentage of the lead times that are complete.")
    progress_detail: Progress
    created: str
    started: str | None
    finished: str | None
    expires: str | None = Field(description="When the data expires; null before the end, and without a limit.")
    init_time: str = Field(description="Initial time of the forecast, UTC.")
    request: ForecastBody = Field(
        description="The body that submits this forecast again, with all defaults and the seed filled in."
    )
    labels: dict[str, str]
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
    record: ForecastRecord, base: str, now: float, planned: float | None, keep_hours: float | None
) -> ForecastView:
    """Return the JSON view of a forecast.

    `base` is the base URL of the service, `now` is in seconds since 1970, `planned` from `planned_seconds`,
    and `keep_hours` is the setting.
    """
    expires = expiry_time(record, keep_hours) if record.data == Data.AVAILABLE else None
    return ForecastView(
        id=record.id,
        owner=record.owner,
        status=record.status,
        priority=record.priority,
        progress=100 * record.lead_times // record.num_lead_times,
        progress_detail=Progress(
            lead_times=record.lead_times,
            num_lead_times=record.num_lead_times,
            eta_seconds=eta_seconds(record, now, planned),
        ),
        created=format_time(record.created),
        started=None if record.started is None else format_time(record.started),
        finished=None if record.finished is None else format_time(record.finished),
        expires=None if expires is None else format_time(expires),
        init_time=record.request.init_time,
        request=_view_request(record),
        labels=dict(record.labels),
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


class Plans:
    """Plans of open forecasts, for which all requests that wait share one reading of the measurements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._estimators = BatchReader(self._load, "plans")

    async def seconds(self, record: ForecastRecord, now: float) -> float | None:
        """Return the same as `planned_seconds` for one forecast."""
        if not _is_pending(record):
            return None
        estimator = await self._estimators.read(None)
        assert estimator is not None
        return _planned_seconds(estimator, record, now)

    def close(self) -> None:
        """End the thread that reads the measurements."""
        self._estimators.close()

    def _load(self, keys: Sequence[None]) -> dict[None, Estimator]:
        with self._database.read() as connection:
            return dict.fromkeys(keys, load_estimator(connection))


def planned_seconds(database: Database, records: Sequence[ForecastRecord], now: float) -> dict[str, float]:
    """Return, by id, the planned seconds until the end of open forecasts that have no complete lead time yet.

    Forecasts without a measured speed are left out.
    """
    pending = [record for record in records if _is_pending(record)]
    if not pending:
        return {}
    with database.read() as connection:
        estimator = load_estimator(connection)
    planned = {record.id: _planned_seconds(estimator, record, now) for record in pending}
    return {forecast_id: seconds for forecast_id, seconds in planned.items() if seconds is not None}


def _is_pending(record: ForecastRecord) -> bool:
    return record.status in OPEN and not record.lead_times


def _planned_seconds(estimator: Estimator, record: ForecastRecord, now: float) -> float | None:
    seconds = estimator.seconds(demand_of(record.request, record.num_lead_times))
    wait = (
        estimator.wait_seconds(record.owner, record.number)
        if record.started is None
        else min(record.started - now, 0.0)
    )
    return None if seconds is None or wait is None else max(wait + seconds, 0.0)


def retry_seconds(record: ForecastRecord, now: float, planned: float | None) -> int | None:
    """Return the seconds after which to request an open forecast again, a quarter of the remaining time; else None."""
    if record.status not in OPEN:
        return None
    eta = eta_seconds(record, now, planned)
    return _FIRST_RETRY_SECONDS if eta is None else min(max(round(eta / 4), 1), _MAX_RETRY_SECONDS)


def eta_seconds(record: ForecastRecord, now: float, planned: float | None) -> float | None:
    """Return the seconds until the end: at the pace so far, or `planned` before the first lead time; 0 at the end."""
    if record.status not in OPEN:
        return 0.0
    if record.started is None or not record.lead_times:
        return None if planned is None else round(planned, 1)
    pace = (now - record.started) / record.lead_times
    return round(max(pace * (record.num_lead_times - record.lead_times), 0.0), 1)


def format_time(seconds: float) -> str:
    """Return seconds since 1970 as an ISO 8601 time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
