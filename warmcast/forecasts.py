"""A forecast of a service: its status document, and how to wait for its end."""

import time
from collections.abc import Mapping
from typing import Any

from warmcast.errors import ForecastFailedError, WaitTimeoutError
from warmcast.exchange import Outage, Pause, Request, Service, Steps, forecast_path

FINAL = frozenset({"successful", "failed", "dismissed"})
"""The statuses of a forecast that has ended."""

_SHORTEST_INTERVAL_SECONDS, _LONGEST_INTERVAL_SECONDS = 0.2, 5.0


def count_members(info: Mapping[str, Any]) -> int:
    """Return the number of members of a forecast, from its status document: `members` may be a list of numbers."""
    members: int | list[int] = info["request"]["members"]
    return members if isinstance(members, int) else len(members)


class StatusInfo:
    """What has an id and a status document, `info`: the newest that the service has sent."""

    def __init__(self, service: Service, info: dict[str, Any]) -> None:
        self._service = service
        self.info = info
        self.id: str = info["id"]

    @property
    def status(self) -> str:
        """The status in `info`: accepted, running, successful, failed or dismissed (cancelled)."""
        return str(self.info["status"])


class ForecastInfo(StatusInfo):
    """A forecast by its id; `info` is the newest status document that the service has sent (`GET /forecast/ID`)."""

    @property
    def ensemble_url(self) -> str:
        """URL of the ensemble, which `xarray.open_zarr` opens."""
        return self.store_url("ensemble.zarr")

    @property
    def summary_url(self) -> str:
        """URL of the statistics over the members, which `xarray.open_zarr` opens."""
        return self.store_url("summary.zarr")

    def store_url(self, name: str) -> str:
        """Return the URL of a Zarr store of the forecast, such as `initial_state.zarr`."""
        return f"{self._service.url}/v1/forecast/{self.id}/{name}"

    def __repr__(self) -> str:
        progress = self.info["progress_detail"]
        lead_times = f"{progress['lead_times']} of {progress['num_lead_times']} lead times"
        number = count_members(self.info)
        members = "1 member" if number == 1 else f"{number} members"
        start = self.info["init_time"]
        return f"<{type(self).__name__} {self.id}: {self.status}, {lead_times}, {members} from {start}>"


def wait_for_end(service: Service, forecast_id: str, timeout_seconds: float | None = None) -> Steps[dict[str, Any]]:
    """Wait until a forecast has ended and return its status document; raises `WaitTimeoutError` after the timeout."""
    outage = Outage(service, timeout_seconds)
    while True:
        info = yield from read_status(outage, forecast_id)
        if info["status"] in FINAL:
            return info
        eta = info["progress_detail"]["eta_seconds"]
        seconds = min(max((2.0 if eta is None else eta) / 4, _SHORTEST_INTERVAL_SECONDS), _LONGEST_INTERVAL_SECONDS)
        if outage.deadline is not None:
            remaining = outage.deadline - time.monotonic()
            if remaining <= 0:
                raise WaitTimeoutError(f"Forecast {forecast_id} is {info['status']} after {timeout_seconds:g} s.")
            seconds = min(seconds, remaining)
        yield Pause(seconds)


def require_success(info: dict[str, Any]) -> None:
    """Raise `ForecastFailedError` if the forecast was cancelled or has failed; it must have ended."""
    status, problem = info["status"], info["error"]
    if status == "dismissed" and not problem:
        raise ForecastFailedError(f"Forecast {info['id']} was cancelled.", status, None)
    if status != "successful":
        detail = (problem or {}).get("detail", "The service gives no reason.")
        raise ForecastFailedError(f"Forecast {info['id']} has failed: {detail}", status, problem)


def read_status(outage: Outage, forecast_id: str) -> Steps[dict[str, Any]]:
    """Return the status document of a forecast, as soon as the service is available."""
    answer = yield from outage.call(Request("GET", forecast_path(forecast_id)))
    info: dict[str, Any] = answer.document()
    return info
