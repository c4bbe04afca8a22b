"""What the commands that speak to a service do: a client of it, and receipts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from warmcast.client import Client
from weather.errors import ServiceProblemError


def submit(
    *, url: str | None, initial_state: Sequence[str], init_time: str | None, key: str | None, fields: dict[str, Any]
) -> dict[str, Any]:
    """Ask for a forecast and return what the service shows of it."""
    with _client(url) as client:
        return client.submit(initial_state, init_time=init_time, idempotency_key=key, **fields).shown


def status(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Return what the service shows of a forecast."""
    with _client(url) as client:
        return client.forecast(forecast_id).shown


def watch(*, url: str | None, forecast_id: str, tell: Callable[[int, int], None]) -> dict[str, Any]:
    """Follow a forecast to its end; raises `ForecastFailedError` where that is not a good one."""
    with _client(url) as client:
        forecast = client.forecast(forecast_id)
        for kind, detail in forecast.events():
            if kind == "lead_time":
                tell(detail["lead_times"], detail["num_lead_times"])
        return forecast.wait().shown


def replay(*, url: str | None, forecast_id: str, members: Sequence[int], key: str | None) -> dict[str, Any]:
    """Ask for members of a forecast again and return what the service shows of the forecast of these."""
    with _client(url) as client:
        return client.replay(forecast_id, members, key).shown


def list_forecasts(*, url: str | None, status: str | None, limit: int) -> dict[str, Any]:
    """Return what the service shows of the newest forecasts."""
    with _client(url) as client:
        return {"forecasts": [forecast.shown for forecast in client.list(status, limit)]}


def cancel(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Call a forecast off and return what the service shows of it."""
    with _client(url) as client:
        return client.forecast(forecast_id).cancel().shown


def download(*, url: str | None, forecast_id: str, output: Path) -> dict[str, Any]:
    """Save the ensemble of a forecast."""
    with _client(url) as client:
        return {"id": forecast_id, "path": str(client.forecast(forecast_id).download(output))}


@contextmanager
def _client(url: str | None) -> Iterator[Client]:
    with Client(url) as client:
        try:
            yield client
        except httpx.TransportError as error:
            raise ServiceProblemError(
                "/problems/unreachable", 0, f"No service answers at {client.url}: {error}. Start one: warmcast serve."
            ) from error
