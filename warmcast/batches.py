"""Batches of a service: the verbs of `Client.batch`, and how to wait for the end of all forecasts of a batch."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from warmcast.errors import ForecastFailedError, ServiceProblemError, WaitTimeoutError
from warmcast.events import Event, EventStream
from warmcast.exchange import Emit, Outage, Pause, Request, Service, Steps
from warmcast.forecasts import FINAL, StatusInfo
from warmcast.verbs import Files, verification_request

_ANSWER_SECONDS = 600.0
_SHORTEST_INTERVAL_SECONDS, _LONGEST_INTERVAL_SECONDS = 0.2, 5.0
_TURNS = FINAL | {"running"}
"""Kinds of events after which a batch is read at once."""
_NO_STREAM = {404, 405, 406}
"""Statuses of a service, or of a proxy, that has no events of batches."""

InitialStates = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""The `initial_states` of a batch: a list of sources, or a data set of the catalogue with its initial times."""


def batch_path(batch_id: str, tail: str = "") -> str:
    """Return the path of a batch, or of one of its resources, such as `restart`."""
    return "/".join(["/batch", quote(batch_id, safe=""), *([tail] if tail else [])])


def submit_batch(
    service: Service, initial_states: InitialStates, *, idempotency_key: str | None = None, **fields: Any
) -> Steps[dict[str, Any]]:
    """Submit one forecast from each of several initial states, all or none, and return the batch.

    `fields` are those of `POST /forecast` but `initial_state`. Two calls with one `idempotency_key` submit one batch;
    without a key each call gets one, so that it is repeated safely while the service is unreachable.
    """
    states = dict(initial_states) if isinstance(initial_states, Mapping) else [dict(state) for state in initial_states]
    body = {"initial_states": states} | {name: value for name, value in fields.items() if value is not None}
    headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
    request = Request("POST", "/batch", headers=headers, json=body, answer_seconds=_ANSWER_SECONDS)
    info: dict[str, Any] = (yield from service.call(request)).document()
    return info


def list_batches(service: Service, *, limit: int = 20, before: str | None = None) -> Steps[list[dict[str, Any]]]:
    """Return at most `limit`, up to 100, batches, newest first and without their parts.

    `before` is the id of a batch, and selects those older than it.
    """
    parameters: dict[str, Any] = {"limit": limit} | ({} if before is None else {"before": before})
    found: list[dict[str, Any]] = (yield from service.call(Request("GET", "/batch", parameters))).document()["batches"]
    return found


def read_batch(service: Service, batch_id: str) -> Steps[dict[str, Any]]:
    """Return the batch of an id."""
    return (yield from _read(Outage(service), batch_id))


def _read(outage: Outage, batch_id: str) -> Steps[dict[str, Any]]:
    info: dict[str, Any] = (yield from outage.call(Request("GET", batch_path(batch_id)))).document()
    return info


def follow_batch(service: Service, batch_id: str, timeout_seconds: float | None = None) -> Steps[None]:
    """Emit the batch as it is now, and again whenever its events tell of a change, until all forecasts have ended.

    A stream of events that breaks is opened again, after the last event. Where none arrives, such as through a proxy
    that holds them back, the batch is read from time to time. Raises `WaitTimeoutError` after the timeout.
    """
    outage, stream, has_stream = Outage(service, timeout_seconds), EventStream(batch_path(batch_id, "events")), True
    while True:
        info, read_at = (yield from _read(outage, batch_id)), time.monotonic()
        yield Emit(info)
        if info["status"] in FINAL:
            return
        while has_stream:
            _check_time(outage, info, timeout_seconds)
            found = yield from _read_events(stream, outage)
            if not isinstance(found, list):
                has_stream = stream.has_received
                break
            kinds, seconds = {event.kind for event in found}, time.monotonic() - read_at
            if kinds & _TURNS or (kinds and seconds >= _SHORTEST_INTERVAL_SECONDS):
                break
        else:
            yield from _pause(outage, info, timeout_seconds)


def _read_events(stream: EventStream, outage: Outage) -> Steps[list[Event] | None]:
    """Return the next events, or None if there is no stream, or it has ended or broken."""
    try:
        found = yield from stream.read(outage)
    except ServiceProblemError as error:
        if error.status in _NO_STREAM:
            return None
        raise
    if isinstance(found, list):
        return found
    yield Pause(outage.limit_seconds(_SHORTEST_INTERVAL_SECONDS))
    return None


def wait_for_batch(service: Service, batch_id: str, timeout_seconds: float | None = None) -> Steps[dict[str, Any]]:
    """Wait until all forecasts of a batch have ended, and return it; raises `WaitTimeoutError` after the timeout."""
    outage = Outage(service, timeout_seconds)
    while (info := (yield from _read(outage, batch_id)))["status"] not in FINAL:
        yield from _pause(outage, info, timeout_seconds)
    return info


def _pause(outage: Outage, info: Mapping[str, Any], timeout_seconds: float | None) -> Steps[None]:
    """Pause for a quarter of the remaining time of a batch; raises `WaitTimeoutError` after the timeout."""
    _check_time(outage, info, timeout_seconds)
    eta = info["progress_detail"]["eta_seconds"]
    seconds = min(max((2.0 if eta is None else eta) / 4, _SHORTEST_INTERVAL_SECONDS), _LONGEST_INTERVAL_SECONDS)
    yield Pause(outage.limit_seconds(seconds))


def _check_time(outage: Outage, info: Mapping[str, Any], timeout_seconds: float | None) -> None:
    if outage.deadline is not None and time.monotonic() >= outage.deadline:
        raise WaitTimeoutError(f"Batch {info['id']} is {info['status']} after {timeout_seconds:g} s.")


def require_batch_success(info: Mapping[str, Any]) -> None:
    """Raise `ForecastFailedError` if any forecast of the batch has failed or was cancelled; all must have ended."""
    if info["status"] != "successful":
        counts = ", ".join(f"{number} {status}" for status, number in sorted(info["counts"].items()))
        problem = next((part["error"] for part in info["parts"] if part["error"]), None)
        detail = "" if problem is None else f" The first error: {problem.get('detail', 'unknown')}"
        raise ForecastFailedError(
            f"Batch {info['id']} has not succeeded: {counts}. Restart those forecasts with `warmcast batch restart "
            f"{info['id']}`.{detail}",
            str(info["status"]),
            problem,
        )


def cancel_batch(service: Service, batch_id: str) -> Steps[dict[str, Any]]:
    """Cancel the forecasts of this batch that have not ended; complete lead times are kept.

    Raises `ServiceProblemError` of kind `/problems/batch-over` if all have ended.
    """
    info: dict[str, Any] = (
        yield from service.call(Request("DELETE", batch_path(batch_id), {"keep_data": True}))
    ).document()
    return info


def delete_batch(service: Service, batch_id: str) -> Steps[None]:
    """Delete the data of this batch if all its forecasts have ended, else cancel it; the records are kept."""
    yield from service.call(Request("DELETE", batch_path(batch_id)))


def restart_batch(service: Service, batch_id: str) -> Steps[dict[str, Any]]:
    """Submit the forecasts of this batch again that failed or were cancelled, and return the batch."""
    request = Request("POST", batch_path(batch_id, "restart"), answer_seconds=_ANSWER_SECONDS)
    info: dict[str, Any] = (yield from service.call(request)).document()
    return info


def verify_batch(service: Service, batch_id: str, truth: Files, *, reference: str) -> Steps[dict[str, Any]]:
    """Score the complete lead times of all forecasts against analyses in files; return the means of the scores."""
    request = replace(verification_request(truth, reference), path=batch_path(batch_id, "verify"))
    verification: dict[str, Any] = (yield from service.call(request)).document()
    return verification


def check_batch_store(service: Service, batch_id: str, name: str) -> Steps[None]:
    """Raise `ServiceProblemError` if a store of a batch, such as `ensemble.zarr`, is not available."""
    yield from service.call(Request("GET", batch_path(batch_id, f"{name}/zarr.json")))


class BatchInfo(StatusInfo):
    """A batch by its id; `info` is the newest status document that the service has sent (`GET /batch/ID`)."""

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The forecasts in `info` in short, in the order of the initial states."""
        return list(self.info.get("parts", ()))

    @property
    def ensemble_url(self) -> str:
        """URL of the ensembles of all forecasts as one store, which `xarray.open_zarr` opens."""
        return f"{self._service.url}/v1/batch/{self.id}/ensemble.zarr"

    @property
    def summary_url(self) -> str:
        """URL of the statistics of all forecasts as one store, which `xarray.open_zarr` opens."""
        return f"{self._service.url}/v1/batch/{self.id}/summary.zarr"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.status}, {self.info['num_parts']} forecasts>"
