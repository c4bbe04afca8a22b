"""The commands about the stored forecasts of a service: `warmcast storage show`, `adopt` and `delete-lost`."""

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

storage = typer.Typer(
    help="Stored forecasts: whether they belong to the database, and folders that have no row there.",
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    storage.command()(show)
    storage.command()(adopt)
    storage.command("delete-lost")(delete_lost)
    app.add_typer(storage, name="storage")


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
