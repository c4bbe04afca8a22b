"""The commands about the stored forecasts of a service: `warmcast scrub`, `repair` and `storage …`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, plural, print_json, print_line
from warmcast.options import Json

DataFolder = Annotated[
    Path | None, typer.Option(help="Folder of the service's data; by default the setting WARMCAST_DATA.")
]

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of forecasts, such as fc_…")]

_DAMAGED, _MAX_FILES = 1, 20

storage = typer.Typer(
    help="Stored forecasts: whether they belong to the database, and folders that have no row there.",
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(scrub)
    app.command()(repair)
    storage.command()(show)
    storage.command()(adopt)
    storage.command("delete-lost")(delete_lost)
    app.add_typer(storage, name="storage")


def scrub(
    ids: Ids = None,
    unchecked: Annotated[
        float, typer.Option("--unchecked", min=0, help="Check only forecasts that were not checked for so many days.")
    ] = 0.0,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="MB to read a second; by default the setting WARMCAST_SCRUB_BYTES_PER_SECOND."),
    ] = None,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Check the stored files of all forecasts that have ended, or of some: whether they exist and are as they were.

    Each result is kept, so `--unchecked 1` continues a check that was interrupted. The exit code is 1 if files are
    missing or damaged; `warmcast repair` makes them anew.
    """
    with exit_codes("Continue with --unchecked 1."):
        receipt = run(
            "scrub",
            forecast_ids=ids or [],
            unchecked_days=unchecked,
            bytes_per_second=None if rate is None else rate * 1e6,
            data=data,
            report=_discard if json else _print_check,
        )
    if json:
        print_json(receipt)
    else:
        damaged = len(receipt["damaged"])
        print_line(f"Checked {plural(len(receipt['checked']), 'forecast')}, {damaged} damaged.")
    if receipt["damaged"]:
        raise typer.Exit(_DAMAGED)


def repair(ids: Ids = None, data: DataFolder = None, json: Json = False) -> None:
    """Compute damaged files of successful forecasts anew, on this machine; by default of all that are damaged.

    A file is replaced only by one that is equal to what was lost. The exit code is 1 if files remain damaged.
    """
    with exit_codes():
        receipt = run("repair", forecast_ids=ids or [], data=data, report=_discard if json else _print_repair)
    if json:
        print_json(receipt)
    else:
        print_line(f"{plural(len(receipt['forecasts']), 'forecast')}, {len(receipt['damaged'])} still damaged.")
    if receipt["damaged"]:
        raise typer.Exit(_DAMAGED)


def _discard(_: dict[str, Any]) -> None:
    """Ignore the result of one forecast, which the receipt has too."""


def _print_check(check: dict[str, Any]) -> None:
    result = f"{len(check['damage'])} damaged" if check["damage"] else "intact"
    typer.echo(f"{check['id']:<32}{check['files']:>8} files {check['size_bytes'] / 1e6:>10.1f} MB  {result}")
    _print_files(check["renewed"], check["damage"], "made anew, or removed to be made anew")


def _print_repair(repair: dict[str, Any]) -> None:
    typer.echo(f"{repair['id']:<32}{len(repair['repaired']):>8} repaired, {len(repair['damage'])} damaged")
    _print_files(repair["repaired"], repair["damage"], "repaired")
    if repair["reason"]:
        typer.echo(f"  {repair['reason']}")


def _print_files(renewed: list[str], damage: list[dict[str, str]], done: str) -> None:
    for name in renewed[:_MAX_FILES]:
        typer.echo(f"  {name}: {done}")
    for entry in damage[:_MAX_FILES]:
        typer.echo(f"  {entry['file']} {entry['reason']}")
    if len(damage) > _MAX_FILES:
        typer.echo(f"  … and {len(damage) - _MAX_FILES} more, which --json lists")


def show(data: DataFolder = None, json: Json = False) -> None:
    """Show whether database and data folder belong together, and the folders that have no row."""
    with exit_codes():
        receipt = run("storage show", data=data)
    _print(receipt, json)


def adopt(data: DataFolder = None, json: Json = False) -> None:
    """Make the database and the data folder of the settings belong together, whatever they belonged to before.

    For deliberate use after a loss, with all services and workers stopped: neither can be used any more with what it
    belonged to. A restored copy of a database or a folder still belongs to its installation and needs no adoption.
    """
    with exit_codes():
        receipt = run("storage adopt", data=data)
    _print(receipt, json)


def delete_lost(
    names: Annotated[list[str] | None, typer.Argument(help="Names of folders in `lost`, such as fc_….")] = None,
    every: Annotated[bool, typer.Option("--all", help="Delete all folders in `lost`.")] = False,
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """Delete folders without a row, which the service has moved to the folder `lost`; nothing else deletes them."""
    if bool(names) == every:
        raise typer.BadParameter("Name the folders to delete, or pass --all.")
    with exit_codes():
        receipt = run("storage delete-lost", names=names or [], data=data)
    if json:
        print_json(receipt)
    else:
        print_line(f"Deleted {plural(len(receipt['deleted']), 'folder')}.")


def _print(receipt: dict[str, Any], json: bool) -> None:
    if json:
        print_json(receipt)
        return
    for side, place in (("database", receipt["database"]), ("data", receipt["data"])):
        typer.echo(f"{side:<10}{receipt[side + '_identity'] or 'no identity':<34}{place}")
    if not receipt["database_identity"] and not receipt["data_identity"]:
        typer.echo("Neither has an identity yet: the first start gives them a common one.")
    else:
        typer.echo("They belong together." if receipt["is_same"] else "They do NOT belong together.")
    typer.echo(
        f"{plural(receipt['forecasts'], 'forecast')} with data, {len(receipt['without_folder'])} without a folder; "
        f"{plural(len(receipt['without_row']), 'folder')} without a row, {len(receipt['lost'])} moved to `lost`."
    )
    for name in receipt["without_folder"]:
        typer.echo(f"without a folder  {name}")
    for name in receipt["without_row"]:
        typer.echo(f"without a row     {name}")
    for folder in receipt["lost"]:
        changed = datetime.fromtimestamp(folder["changed"], UTC).isoformat(timespec="minutes")
        typer.echo(f"lost              {folder['name']}  {folder['size_bytes'] / 1e6:.1f} MB  {changed}")
