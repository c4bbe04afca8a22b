"""The functions of the commands that use a service: each calls the client and returns a receipt."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmcast.client import Client


def submit(
    *, url: str | None, initial_state: Sequence[str], init_time: str | None, key: str | None, fields: dict[str, Any]
) -> dict[str, Any]:
    """Submit a forecast and return its status document."""
    with Client(url) as client:
        return client.submit(initial_state, init_time=init_time, idempotency_key=key, **fields).info


def status(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Return the status document of a forecast."""
    with Client(url) as client:
        return client.forecast(forecast_id).info


def watch(
    *, url: str | None, forecast_id: str, timeout_seconds: float, report: Callable[[int, int], None]
) -> dict[str, Any]:
    """Follow a forecast to its end and return its status document; raises `ForecastFailedError` if it has failed.

    `report` is called with the numbers of complete and of all lead times.
    """
    with Client(url, timeout_seconds=timeout_seconds) as client:
        forecast = client.forecast(forecast_id)
        for kind, detail in forecast.events():
            if kind == "lead_time":
                report(detail["lead_times"], detail["num_lead_times"])
        return forecast.wait().info


def replay(*, url: str | None, forecast_id: str, members: Sequence[int], key: str | None) -> dict[str, Any]:
    """Recompute members of a forecast, as a new forecast, and return the status document of that."""
    with Client(url) as client:
        return client.forecast(forecast_id).replay(*members, idempotency_key=key).info


def list_forecasts(
    *, url: str | None, status: str | None, limit: int, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the status documents of the newest forecasts."""
    with Client(url) as client:
        return {"forecasts": [forecast.info for forecast in client.list(status=status, limit=limit, labels=labels)]}


def limits(*, url: str | None) -> dict[str, Any]:
    """Return the limits of the client's API key."""
    with Client(url) as client:
        return client.limits()


def cancel(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Cancel a forecast and return its status document."""
    with Client(url) as client:
        return client.forecast(forecast_id).cancel().info


def download(
    *,
    url: str | None,
    forecast_id: str,
    output: Path,
    part: Mapping[str, Any],
    timeout_seconds: float,
    report: Callable[[int, int], None],
) -> dict[str, Any]:
    """Save a forecast as a file, and return `id` and `path`; `part` has the options of the client's method.

    `report` is called with the number of saved bytes and of all bytes, which is that of saved ones while it is unknown.
    """
    with Client(url, timeout_seconds=timeout_seconds) as client:
        forecast = client.forecast(forecast_id)
        path = forecast.download(output, progress=lambda done, total: report(done, total or done), **part)
        return {"id": forecast_id, "path": str(path)}
