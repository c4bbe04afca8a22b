"""The commands that use a service: `warmcast submit`, `replay`, `status`, `watch`, `list`, `cancel` and others."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json, print_warning, progress_bar
from warmcast.forecast_lines import describe_forecast, parse_labels
from warmcast.options import (
    DEFAULT_CHECKPOINT,
    Box,
    InitTime,
    Json,
    LeadTime,
    MemberList,
    Nfe,
    ParameterNames,
    Solver,
    SummaryFile,
    ValidTimes,
    Warmth,
)

Url = Annotated[
    str | None,
    typer.Option(envvar="WARMCAST_URL", help="URL of the service; by default http://127.0.0.1:8000, this machine."),
]
Id = Annotated[str, typer.Argument(help="Id of a forecast.")]
Key = Annotated[
    str | None, typer.Option(help="Idempotency key: all requests with the same key submit only one forecast.")
]
Timeout = Annotated[
    float,
    typer.Option(min=0, help="Longest time in seconds for which the service may be unreachable, such as a restart."),
]
States = Annotated[
    list[str], typer.Option(help="Data set of the service's catalogue, or one or two files, one after another.")
]
OptionalSeed = Annotated[
    int | None, typer.Option(min=0, help="Seed of the members' noise; by default the service draws one.")
]
Deadline = Annotated[
    float | None,
    typer.Option(
        min=1, help="Seconds after which the forecast must have ended; without --nfe the service chooses it to fit."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Label of your own, such as project=harbour; may be repeated."),
]
RetentionHours = Annotated[
    float | None,
    typer.Option(min=0, help="Hours after its end for which the data is kept; by default as the service does."),
]
KeepBits = Annotated[
    int | None, typer.Option(min=1, max=23, help="Round values to this number of mantissa bits; by default exact.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("submit", context_settings={"allow_extra_args": True})(submit)
    for command in (replay, status, watch, cancel, download, limits):
        app.command()(command)
    app.command("list")(list_)


def submit(
    context: typer.Context,
    initial_state: States,
    init_time: InitTime = None,
    members: Annotated[int, typer.Option(min=1, help="Number of members.")] = 8,
    lead_time: LeadTime = "120h",
    model: Annotated[str, typer.Option(help="Name of a checkpoint of the service.")] = DEFAULT_CHECKPOINT,
    seed: OptionalSeed = None,
    nfe: Nfe = None,
    solver: Solver = None,
    warmth: Warmth = None,
    deadline: Deadline = None,
    priority: Annotated[str, typer.Option(help="Priority in the queue: low, normal or high.")] = "normal",
    summary_only: Annotated[
        bool, typer.Option("--summary-only", help="Store statistics over the members, but no members.")
    ] = False,
    keep_bits: KeepBits = None,
    label: Labels = None,
    retention_hours: RetentionHours = None,
    key: Key = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Submit a forecast to a service."""
    fields: dict[str, Any] = {"members": members, "lead_time": lead_time, "model": model, "seed": seed}
    fields |= {"nfe": "auto" if nfe is None and deadline is not None else nfe, "solver": solver, "warmth": warmth}
    fields |= {"deadline_seconds": deadline, "priority": priority, "retention_hours": retention_hours}
    fields["labels"] = parse_labels(label)
    fields["output"] = {"members": not summary_only, "keep_bits": keep_bits}
    states = [*initial_state, *context.args]
    with exit_codes():
        info = run("submit", url=url, initial_state=states, init_time=init_time, key=key, fields=fields)
    _print_forecast(info, json=json)


def replay(
    forecast_id: Id,
    member: Annotated[list[int], typer.Option(min=0, help="Number of a member; may be repeated.")],
    key: Key = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Recompute members of a forecast exactly, as a new forecast, which stores them even if the first one did not."""
    with exit_codes():
        info = run("replay", url=url, forecast_id=forecast_id, members=member, key=key)
    _print_forecast(info, json=json)


def status(forecast_id: Id, url: Url = None, json: Json = False) -> None:
    """Print the status of a forecast."""
    with exit_codes():
        info = run("status", url=url, forecast_id=forecast_id)
    _print_forecast(info, json=json)


def watch(forecast_id: Id, timeout: Timeout = 60.0, url: Url = None, json: Json = False) -> None:
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
    for info in receipt["forecasts"]:
        typer.echo(describe_forecast(info, now=time.time()))


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


def cancel(forecast_id: Id, url: Url = None, json: Json = False) -> None:
    """Cancel a forecast; its complete lead times are kept."""
    with exit_codes():
        info = run("cancel", url=url, forecast_id=forecast_id)
    _print_forecast(info, json=json)


def download(
    forecast_id: Id,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .zip (Zarr), .nc (NetCDF) or .grib2 (GRIB 2).")
    ],
    summary: SummaryFile = False,
    parameters: ParameterNames = "",
    members: MemberList = "",
    times: ValidTimes = "../..",
    bbox: Box = None,
    timeout: Timeout = 60.0,
    url: Url = None,
) -> None:
    """Save a forecast, or a part of it, as a file, also across restarts of the service."""
    advice = "No file was written. To start again, repeat the command."
    part = {"summary": summary, "parameters": parameters, "members": members, "times": times, "bbox": bbox or ""}
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
