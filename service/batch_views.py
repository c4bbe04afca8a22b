"""The JSON view of a batch: its status, progress and remaining time from those of its parts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from jobs.batches import BatchRecord
from jobs.forecasts import ForecastRecord
from jobs.rows.states import OPEN, Data, Status
from service.caching import content_tag, state_tag
from service.outlooks import Outlook
from service.views import Link, Progress, eta_seconds, format_time
from weather.stores.layout import ENSEMBLE, SUMMARY

_MAX_RETRY_SECONDS, _FIRST_RETRY_SECONDS = 30, 2


class PartView(BaseModel):
    """A forecast of a batch in short; `GET /forecast/ID` returns all of it."""

    id: str
    index: int = Field(description="Index along `init_time` in the stores of the batch, from 0.")
    init_time: str = Field(description="Initial time, UTC.")
    status: Status
    progress: int = Field(ge=0, le=100, description="Percentage of the lead times that are complete.")
    data: Data
    damaged: bool = Field(description="Whether stored files are known to be missing or damaged.")
    error: dict[str, Any] | None
    href: str = Field(description="URL of the forecast.")


class BatchSummary(BaseModel):
    """A batch without its parts. `status` is one of OGC API Processes, of all parts together."""

    id: str
    type: Literal["batch"] = "batch"
    status: Status = Field(
        description="Running from the first start to the last end; then failed if any part has failed, else dismissed "
        "if any was, else successful."
    )
    progress: int = Field(ge=0, le=100, description="Percentage of the lead times of all parts that are complete.")
    progress_detail: Progress
    counts: dict[Status, int] = Field(description="Number of parts by status.")
    created: str
    started: str | None
    finished: str | None
    num_parts: int
    init_times: list[str] = Field(description="Initial times of the parts, UTC, in their order.")
    data: Data = Field(description="Whether the data of any part is still available; the records always are.")
    links: list[Link]


class BatchView(BatchSummary):
    """A batch of forecasts. `status` is one of OGC API Processes, of all parts together."""

    request: dict[str, Any] = Field(
        description="The body that submits this batch again, with all defaults and the seed filled in."
    )
    parts: list[PartView]


class BatchList(BaseModel):
    """A page of batches, newest first."""

    batches: list[BatchSummary]
    links: list[Link]


def status_of(parts: Sequence[ForecastRecord]) -> Status:
    """Return the status of a batch with these parts."""
    statuses = {part.status for part in parts}
    if statuses == {Status.ACCEPTED}:
        return Status.ACCEPTED
    if statuses & set(OPEN):
        return Status.RUNNING
    return next(status for status in (Status.FAILED, Status.DISMISSED, Status.SUCCESSFUL) if status in statuses)


def data_of(parts: Sequence[ForecastRecord]) -> Data:
    """Return whether any part of a batch has data, or why none has any more."""
    return next(data for data in (Data.AVAILABLE, Data.DELETED, Data.EXPIRED) if data in {part.data for part in parts})


def view_batch(
    batch: BatchRecord, parts: Sequence[ForecastRecord], base: str, now: float, outlooks: Mapping[str, Outlook]
) -> BatchView:
    """Return the JSON view of a batch; `outlooks` are from `read_outlooks`, otherwise as `view_forecast`."""
    summary = summarise_batch(batch, parts, base, now, outlooks)
    views = [_view_part(part, base) for part in parts]
    return BatchView(**dict(summary), request=dict(batch.request), parts=views)


def summarise_batch(
    batch: BatchRecord, parts: Sequence[ForecastRecord], base: str, now: float, outlooks: Mapping[str, Outlook]
) -> BatchSummary:
    """Return the JSON view of a batch without its parts."""
    status, data = status_of(parts), data_of(parts)
    done, total = sum(part.lead_times for part in parts), sum(part.num_lead_times for part in parts)
    started = [part.started for part in parts if part.started is not None]
    finished = [part.finished for part in parts if part.finished is not None]
    return BatchSummary(
        id=batch.id,
        status=status,
        progress=100 * done // total,
        progress_detail=Progress(
            lead_times=done, num_lead_times=total, eta_seconds=batch_eta_seconds(parts, now, outlooks)
        ),
        counts=dict(Counter(part.status for part in parts)),
        created=format_time(batch.created),
        started=format_time(min(started)) if started else None,
        finished=format_time(max(finished)) if finished and status not in OPEN else None,
        num_parts=len(parts),
        init_times=list(batch.init_times),
        data=data,
        links=_links(batch, data, f"{base}/v1/batch/{batch.id}"),
    )


def batch_eta_seconds(parts: Sequence[ForecastRecord], now: float, outlooks: Mapping[str, Outlook]) -> float | None:
    """Return the seconds until the last part ends; None if those of an open part are unknown, 0 at the end."""
    etas = [eta_seconds(part, now, outlooks.get(part.id)) for part in parts if part.status in OPEN]
    known = [eta for eta in etas if eta is not None]
    return max(known, default=0.0) if len(known) == len(etas) else None


def batch_retry_seconds(parts: Sequence[ForecastRecord], now: float, outlooks: Mapping[str, Outlook]) -> int | None:
    """Return the seconds after which to request an open batch again, a quarter of the remaining time; else None."""
    if status_of(parts) not in OPEN:
        return None
    eta = batch_eta_seconds(parts, now, outlooks)
    return _FIRST_RETRY_SECONDS if eta is None else min(max(round(eta / 4), 1), _MAX_RETRY_SECONDS)


def batch_tag(parts: Sequence[ForecastRecord]) -> str:
    """Return the weak entity tag of the view of a batch: it changes with the state of any part."""
    states = "|".join(f"{part.id} {state_tag(part)}" for part in parts)
    return f"W/{content_tag(states.encode())}"


def _view_part(part: ForecastRecord, base: str) -> PartView:
    assert part.batch_index is not None
    return PartView(
        id=part.id,
        index=part.batch_index,
        init_time=part.request.init_time,
        status=part.status,
        progress=100 * part.lead_times // part.num_lead_times,
        data=part.data,
        damaged=part.damaged_files > 0 and part.data == Data.AVAILABLE,
        error=part.error,
        href=f"{base}/v1/forecast/{part.id}",
    )


def _links(batch: BatchRecord, data: Data, home: str) -> list[Link]:
    links = [
        Link(rel="self", href=home, type="application/json"),
        Link(rel="monitor", href=f"{home}/events", type="text/event-stream"),
    ]
    if data == Data.AVAILABLE:
        has_members = batch.request["output"]["members"]
        links.append(
            Link(rel="data", href=f"{home}/{ENSEMBLE if has_members else SUMMARY}", type="application/vnd.zarr")
        )
        links.append(Link(rel="summary", href=f"{home}/{SUMMARY}", type="application/vnd.zarr"))
    return links
