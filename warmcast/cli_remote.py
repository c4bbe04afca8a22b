"""The commands that use a service: `warmcast submit`, `replay`, `status`, `watch`, `list`, `cancel` and others."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json, print_warning, progress_bar
from warmcast.forecast_lines import describe_forecast, describe_plan, list_lines, parse_labels
from warmcast.options import (
    Box,
    ForecastId,
    Json,
    MemberList,
    ParameterNames,
    SummaryFile,
    Timeout,
    Url,
    ValidTimes,
)
from warmcast.request_options import Labels, add_with_request
from warmcast.tables import output_width

Key = Annotated[
    str | None, typer.Option(help="Idempotency key: all requests with the same key submit only one forecast.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    add_with_request(app, submit)
    add_with_request(app, plan)
    for command in (replay, status, log, watch, cancel, download, limits, usage):
        app.command()(command)
    app.command("list")(list_)


def submit(request: dict[str, Any], *, key: Key = None, url: Url = None, json: Json = False) -> None:
    """Submit a forecast to a service: `warmcast submit gfs`."""
    with exit_codes():
        info = run("submit", url=url, key=key, **request)
    _print_forecast(info, json=json)


def plan(request: dict[str, Any], *, url: Url = None, json: Json = False) -> None:
    """Check a forecast as `submit` would, and print what it would cost; nothing is submitted."""
    with exit_codes():
        result = run("plan", url=url, **request)
    if json:
        print_json(result)
        return
    for line in describe_plan(result):
        typer.echo(line)
    for caution in result["warnings"]:
        print_warning(caution["message"])


def replay(
    forecast_id: ForecastId,
    member: Annotated[list[int], typer.Option(min=0, help="Number of a member; may be repeated.")],
    key: Key = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Recompute members of a forecast exactly, as a new forecast, which stores them even if the first one did not."""
    with exit_codes():
        info = run("replay", url=url, forecast_id=forecast_id, members=member, key=key)
    _print_forecast(info, json=json)


def status(forecast_id: ForecastId, url: Url = None, json: Json = False) -> None:
    """Print the status of a forecast."""
    with exit_codes():
        info = run("status", url=url, forecast_id=forecast_id)
    _print_forecast(info, json=json)


def log(
    forecast_id: ForecastId,
    follow: Annotated[bool, typer.Option("--follow", help="Print new lines until the forecast has ended.")] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print what has happened to a forecast, a line for each event."""
    report = (lambda _line: None) if json else typer.echo
    with exit_codes(f"To follow it again: warmcast log {forecast_id} --follow."):
        receipt = run("log", url=url, forecast_id=forecast_id, is_followed=follow, report=report)
    if json:
        print_json(receipt)


def watch(forecast_id: ForecastId, timeout: Timeout = 60.0, url: Url = None, json: Json = False) -> None:
    """Follow a forecast to its end, also across restarts of the service."""
    advice = (
        f"The forecast continues. To follow it again: warmcast watch {forecast_id}. "
        f"To cancel it: warmcast cancel {forecast_id}."
    )
    with exit_codes(advice), progress_bar("Lead times") as report:
        info = run("watch", url=url, forecast_id=forecast_id, timeout_seconds=timeout, report=report)
    _print_forecast(info, json=json)


def list_(
    status: Annotated[
        str | None,
        typer.Option(help="Only forecasts of this status: accepted, running, successful, failed or dismissed."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Largest number of forecasts.")] = 20,
    label: Labels = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the newest forecasts: status, lead times, members, initial time, length, seed, age and labels."""
    with exit_codes():
        receipt = run("list", url=url, status=status, limit=limit, labels=parse_labels(label))
    if json:
        print_json(receipt)
        return
    for line in list_lines(receipt["forecasts"], time.time(), output_width()):
        typer.echo(line)


def limits(url: Url = None, json: Json = False) -> None:
    """Print the limits of your API key (WARMCAST_KEY) and how much of them is used."""
    with exit_codes():
        receipt = run("limits", url=url)
    if json:
        print_json(receipt)
        return
    for limit in receipt["limits"]:
        value = "no limit" if limit["value"] is None else f"{limit['value']:>15}"
        used = "" if limit["used"] is None else f"  {limit['used']} used"
        frees = "" if limit["frees"] is None else f" until {limit['frees']}"
        typer.echo(f"{limit['name']:<22} {value:>15}{used}{frees}")
    typer.echo(f"{'high_priority':<22} {'yes' if receipt['high_priority'] else 'no':>15}")


def usage(
    days: Annotated[int, typer.Option(min=1, max=3660, help="Number of days until today (UTC).")] = 30,
    owner: Annotated[str | None, typer.Option(help="For operators: another key, or all.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Print what your API key (WARMCAST_KEY) has used: forecasts, uploads and evaluations, in all and by day."""
    with exit_codes():
        receipt = run("usage", url=url, days=days, owner=owner)
    if json:
        print_json(receipt)
        return
    for each in receipt["usage"]:
        typer.echo(f"{each['owner']}  {each['open_forecasts']} open, {each['kept_bytes']} bytes kept")
        for counts in (*each["days"], {"day": "total", **each["total"]}):
            parts = ", ".join(f"{number} {name}" for name, number in counts.items() if name != "day")
            typer.echo(f"    {counts['day']:<10}  {parts}")


def cancel(forecast_id: ForecastId, url: Url = None, json: Json = False) -> None:
    """Cancel a forecast; its complete lead times are kept."""
    with exit_codes():
        info = run("cancel", url=url, forecast_id=forecast_id)
    _print_forecast(info, json=json)


def download(
    forecast_id: ForecastId,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .zip (Zarr), .nc (NetCDF) or .grib2 (GRIB 2).")
    ],
    summary: SummaryFile = False,
    parameters: ParameterNames = "",
    members: MemberList = "",
    times: ValidTimes = "../..",
    bbox: Box = None,
    first: Annotated[
        int | None, typer.Option(min=1, help="So many complete lead times as a .zip, also of a forecast that runs.")
    ] = None,
    timeout: Timeout = 60.0,
    url: Url = None,
) -> None:
    """Save a forecast, or a part of it, as a file, also across restarts of the service."""
    advice = "No file was written. To start again, repeat the command."
    part = {"summary": summary, "parameters": parameters, "members": members, "times": times, "bbox": bbox or ""}
    part["first"] = first
    options = {"forecast_id": forecast_id, "output": output, "timeout_seconds": timeout, "part": part}
    with exit_codes(advice), progress_bar("Bytes") as report:
        receipt = run("download", url=url, report=report, **options)
    typer.echo(receipt["path"])


def _print_forecast(info: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(info)
        return
    typer.echo(describe_forecast(info))
    for caution in info.get("warnings", ()):
        print_warning(caution["message"])
    for link in info["links"]:
        if link["rel"] == "data":
            typer.echo(f'Open it:  xarray.open_zarr("{link["href"]}")')
