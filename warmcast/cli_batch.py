"""The commands of batches: `warmcast batch submit`, `status`, `watch`, `list`, `cancel`, `restart`, `delete`."""

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.cli_remote import Key
from warmcast.commands import run
from warmcast.console import exit_codes, print_json, progress_bar
from warmcast.options import Json, Timeout, Url

app = typer.Typer(help="Batches of forecasts of a service, such as hindcasts.", no_args_is_help=True)

BatchId = Annotated[str, typer.Argument(help="Id of a batch.")]


@app.command()
def submit(
    request: Annotated[Path, typer.Argument(help="File with the body of `POST /batch`, as JSON.", exists=True)],
    key: Key = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Submit one forecast from each of many initial states, all or none, as the file REQUEST describes."""
    try:
        body = json_module.loads(request.read_text())
    except ValueError as error:
        raise typer.BadParameter(f"`{request}` must be JSON. {error}") from error
    if not isinstance(body, dict) or "initial_states" not in body:
        raise typer.BadParameter(f"`{request}` must be a JSON object with `initial_states`.")
    with exit_codes():
        info = run("batch submit", url=url, body=body, key=key)
    _print_batch(info, json=json)


@app.command()
def status(batch_id: BatchId, url: Url = None, json: Json = False) -> None:
    """Print the status of a batch."""
    with exit_codes():
        info = run("batch status", url=url, batch_id=batch_id)
    _print_batch(info, json=json)


@app.command()
def watch(batch_id: BatchId, timeout: Timeout = 60.0, url: Url = None, json: Json = False) -> None:
    """Follow a batch until all its forecasts have ended; the exit code is 5 if any has not succeeded."""
    advice = f"The batch continues. To follow it again: warmcast batch watch {batch_id}."
    with exit_codes(advice), progress_bar("Lead times") as report:
        info = run("batch watch", url=url, batch_id=batch_id, timeout_seconds=timeout, report=report)
    _print_batch(info, json=json)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100, help="Largest number of batches.")] = 20,
    url: Url = None,
    json: Json = False,
) -> None:
    """List the newest batches."""
    with exit_codes():
        receipt = run("batch list", url=url, limit=limit)
    if json:
        print_json(receipt)
        return
    for info in receipt["batches"]:
        typer.echo(_line(info))


@app.command()
def cancel(batch_id: BatchId, url: Url = None, json: Json = False) -> None:
    """Cancel the forecasts of a batch that have not ended; complete lead times are kept."""
    with exit_codes():
        info = run("batch cancel", url=url, batch_id=batch_id)
    _print_batch(info, json=json)


@app.command()
def restart(batch_id: BatchId, url: Url = None, json: Json = False) -> None:
    """Submit the forecasts of a batch again that failed or were cancelled."""
    with exit_codes():
        info = run("batch restart", url=url, batch_id=batch_id)
    _print_batch(info, json=json)


@app.command()
def delete(batch_id: BatchId, url: Url = None, json: Json = False) -> None:
    """Delete the data of a batch whose forecasts have all ended; else cancel it."""
    with exit_codes():
        info = run("batch delete", url=url, batch_id=batch_id)
    _print_batch(info, json=json)


def _print_batch(info: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(info)
        return
    typer.echo(_line(info))
    for part in info["parts"]:
        typer.echo(
            f"  {part['index']:>3}  {part['id']}  {part['status']:<10}  {part['progress']:>3}%  {part['init_time']}"
        )
    for link in info["links"]:
        if link["rel"] == "data":
            typer.echo(f'Open it:  xarray.open_zarr("{link["href"]}")')


def _line(info: dict[str, Any]) -> str:
    detail = info["progress_detail"]
    counts = ", ".join(f"{number} {status}" for status, number in sorted(info["counts"].items()))
    done = f"{detail['lead_times']}/{detail['num_lead_times']} lead times"
    return f"{info['id']}  {info['status']:<10}  {done}  {info['num_parts']} forecasts: {counts}"
