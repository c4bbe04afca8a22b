"""The functions of the commands that use a service: each calls the client and returns a receipt."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from warmcast.client import Client
from warmcast.files import open_whole


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


def log(*, url: str | None, forecast_id: str, is_followed: bool, report: Callable[[str], None]) -> dict[str, Any]:
    """Report the lines of the log of a forecast, with `is_followed` also new ones until its end; return all of them."""
    lines = list[dict[str, Any]]()

    def read_on() -> None:
        for line in forecast.log(since=lines[-1]["id"] if lines else 0):
            lines.append(line)
            report(f"{line['time']}  {line['level']:<7}  {line['message']}")

    with Client(url) as client:
        forecast = client.forecast(forecast_id)
        read_on()
        for _ in forecast.events() if is_followed else ():
            read_on()
    return {"id": forecast_id, "lines": lines}


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


def list_states(*, url: str | None, limit: int) -> dict[str, Any]:
    """Return the newest initial states that the service keeps."""
    with Client(url) as client:
        return {"states": client.states(limit=limit)}


def show_state(*, url: str | None, state_id: str) -> dict[str, Any]:
    """Return an initial state that the service keeps."""
    with Client(url) as client:
        return client.state(state_id)


def upload_state(
    *,
    url: str | None,
    initial_state: Sequence[str] | Mapping[str, Any],
    init_time: str | None,
    model: str | None,
    key: str | None,
) -> dict[str, Any]:
    """Let the service keep an initial state, and return it."""
    with Client(url) as client:
        return client.upload_state(initial_state, init_time=init_time, model=model, idempotency_key=key)


def delete_state(*, url: str | None, state_id: str) -> dict[str, Any]:
    """Delete an initial state that the service keeps, and return its id."""
    with Client(url) as client:
        client.delete_state(state_id)
        return {"deleted": state_id}


def usage(*, url: str | None, days: int, owner: str | None) -> dict[str, Any]:
    """Return what the client's API key, or another one, has used."""
    with Client(url) as client:
        return {"usage": client.usage(days, owner)}


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


def plan(
    *, url: str | None, initial_state: Sequence[str], init_time: str | None, fields: dict[str, Any]
) -> dict[str, Any]:
    """Return what a forecast would cost."""
    with Client(url) as client:
        return client.plan(initial_state, init_time=init_time, **fields)


def models(*, url: str | None, name: str | None) -> dict[str, Any]:
    """Return the checkpoints of the service as `models`, or the one that is named."""
    with Client(url) as client:
        return {"models": client.models()} if name is None else client.model(name)


def catalogue(*, url: str | None) -> dict[str, Any]:
    """Return the initial states of the service's catalogue, and its data sets."""
    with Client(url) as client:
        return {"states": client.catalogue(), "datasets": client.datasets()}


def position(
    *,
    url: str | None,
    forecast_id: str,
    places: Sequence[tuple[float, float]],
    output: Path | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return time series at places, or save them as a file and return its `path`."""
    with Client(url) as client:
        forecast = client.forecast(forecast_id)
        if output is None:
            return forecast.position(*places, **options)
        return {"id": forecast_id, "path": str(forecast.save_position(output, *places, **options))}


def area(
    *,
    url: str | None,
    forecast_id: str,
    area: str | tuple[float, float, float, float],
    output: Path | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Return time series in an area, or save them as a file and return its `path`."""
    with Client(url) as client:
        forecast = client.forecast(forecast_id)
        if output is None:
            return forecast.area(area, **options)
        return {"id": forecast_id, "path": str(forecast.save_area(output, area, **options))}


def receipt(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Return the receipt of a forecast."""
    with Client(url) as client:
        return client.forecast(forecast_id).receipt()


def diagnostics(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Return the diagnostics of a forecast."""
    with Client(url) as client:
        return client.forecast(forecast_id).diagnostics()


def delete(*, url: str | None, forecast_id: str) -> dict[str, Any]:
    """Delete the data of a forecast and return its status document."""
    with Client(url) as client:
        forecast = client.forecast(forecast_id)
        forecast.delete()
        return forecast.refresh().info


def verify(
    *, url: str | None, forecast_id: str, truth: Sequence[str], reference: str, output: Path | None
) -> dict[str, Any]:
    """Score a forecast of the service against analyses in files, return the verification and write it as JSON."""
    with Client(url) as client:
        verification = client.forecast(forecast_id).verify(truth, reference=reference)
    if output is not None:
        with open_whole(output) as file:
            file.write(json.dumps(verification, indent=1).encode() + b"\n")
    return verification
