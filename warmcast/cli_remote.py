"""The commands that speak to a service: `warmcast submit`, `replay`, `status`, `watch`, `list`, `cancel` and so on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json, progress_bar

Url = Annotated[
    str | None, typer.Option(envvar="WARMCAST_URL", help="The service; this machine's port 8000 by default.")
]
Id = Annotated[str, typer.Argument(help="Id of a forecast.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (
        ("replay", replay),
        ("status", status),
        ("watch", watch),
        ("list", list_),
        ("cancel", cancel),
        ("download", download),
    ):
        app.command(name)(command)
    app.command("submit", context_settings={"allow_extra_args": True})(submit)


def submit(
    context: typer.Context,
    initial_state: Annotated[
        list[str], typer.Option(help="Data set of the service's catalogue, or one or two files after one another.")
    ],
    init_time: Annotated[str | None, typer.Option(help="Time to start from, UTC; the newest by default.")] = None,
    members: Annotated[int, typer.Option(min=1, help="Number of members.")] = 8,
    lead_time: Annotated[str, typer.Option(help="How far ahead, such as 120h or 5d.")] = "120h",
    model: Annotated[str, typer.Option(help="Checkpoint of the service.")] = "demo",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the members' noise; drawn by default.")] = None,
    nfe: Annotated[int | None, typer.Option(min=1, help="Network evaluations a step.")] = None,
    deadline: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds in which it must end; without --nfe, evaluations are chosen to meet it."),
    ] = None,
    priority: Annotated[str, typer.Option(help="Among forecasts that wait: low, normal or high.")] = "normal",
    summary_only: Annotated[bool, typer.Option("--summary-only", help="Keep statistics, no members.")] = False,
    keep_bits: Annotated[
        int | None, typer.Option(min=1, max=23, help="Round members to so many mantissa bits; exact by default.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same one never makes two forecasts.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Ask a service for a forecast."""
    sampler = {"nfe": "auto" if nfe is None and deadline is not None else nfe}
    fields: dict[str, Any] = {"members": members, "lead_time": lead_time, "model": model, "sampler": sampler}
    if deadline is not None:
        fields["deadline_seconds"] = deadline
    fields["priority"] = priority
    fields["output"] = {"members": not summary_only, "keep_bits": keep_bits}
    if seed is not None:
        fields["seed"] = seed
    sources = [*initial_state, *context.args]
    with exit_codes():
        shown = run("submit", url=url, initial_state=sources, init_time=init_time, key=key, fields=fields)
    _tell(shown, json=json)


def replay(
    forecast_id: Id,
    member: Annotated[list[int], typer.Option(min=0, help="Number of a member; may be repeated.")],
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same one never makes two forecasts.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Make members of a forecast again, exactly as they were, also where they were not kept."""
    with exit_codes():
        shown = run("replay", url=url, forecast_id=forecast_id, members=member, key=key)
    _tell(shown, json=json)


def status(forecast_id: Id, url: Url = None, json: Json = False) -> None:
    """Tell how far a forecast is."""
    with exit_codes():
        shown = run("status", url=url, forecast_id=forecast_id)
    _tell(shown, json=json)


def watch(forecast_id: Id, url: Url = None, json: Json = False) -> None:
    """Follow a forecast to its end."""
    with exit_codes(), progress_bar("Lead times") as tell:
        shown = run("watch", url=url, forecast_id=forecast_id, tell=tell)
    _tell(shown, json=json)


def list_(
    status: Annotated[str | None, typer.Option(help="Only forecasts of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 20,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the newest forecasts."""
    with exit_codes():
        shown = run("list", url=url, status=status, limit=limit)
    if json:
        print_json(shown)
        return
    for forecast in shown["forecasts"]:
        _tell_line(forecast)


def cancel(forecast_id: Id, url: Url = None, json: Json = False) -> None:
    """Call a forecast off."""
    with exit_codes():
        shown = run("cancel", url=url, forecast_id=forecast_id)
    _tell(shown, json=json)


def download(
    forecast_id: Id,
    output: Annotated[Path, typer.Option("--output", "-o", help="Zip file to write.")],
    url: Url = None,
) -> None:
    """Save the ensemble of a forecast as one file."""
    with exit_codes():
        receipt = run("download", url=url, forecast_id=forecast_id, output=output)
    typer.echo(receipt["path"])


def _tell(shown: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(shown)
        return
    _tell_line(shown)
    data = next(link["href"] for link in shown["links"] if link["rel"] == "data")
    typer.echo(f'Open it:  xarray.open_zarr("{data}")')


def _tell_line(shown: dict[str, Any]) -> None:
    detail = shown["progress_detail"]
    typer.echo(
        f"{shown['id']}  {shown['status']:<10}  {detail['lead_times']}/{detail['num_lead_times']} lead times  "
        f"{shown['request']['members']} members from {shown['request']['init_time']}"
    )
