"""The commands on what forecasts can start from: `warmcast catalogue`, and `catalogue try`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json
from warmcast.options import Json, Url
from warmcast.tables import Column, format_document, format_table, output_width

catalogue = typer.Typer(invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    catalogue.callback()(list_catalogue)
    catalogue.command("try")(try_dataset)
    app.add_typer(catalogue, name="catalogue")


def list_catalogue(context: typer.Context, url: Url = None, json: Json = False) -> None:
    """List the initial states of a service, and its data sets: newest initial time, licence, and which is not reached.

    `warmcast catalogue try NAME` tries a data set from this machine.
    """
    if context.invoked_subcommand is not None:
        return
    with exit_codes():
        receipt = run("catalogue", url=url)
    if json:
        print_json(receipt)
        return
    states = receipt["states"]
    columns = [Column(title, [state[title] for state in states]) for title in ("dataset", "init_time")]
    for line in format_table(columns) if states else ["No initial states."]:
        typer.echo(line)
    for line in _describe_datasets([each for each in receipt.get("datasets", []) if each["title"]]):
        typer.echo(line)


def try_dataset(
    name: Annotated[str, typer.Argument(help="Name of a built-in data set, or of one in --file.")],
    init_time: Annotated[
        str | None, typer.Option(help="Initial time in UTC, such as 2026-03-01T12; the newest by default.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="TOML file with definitions; by default the setting WARMCAST_DATASETS_FILE.")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch the analyses of an initial state from the origin of a data set, read them, and say what came of it.

    It need not be enabled, and no service is needed. Nothing is kept.
    """
    with exit_codes():
        receipt = run("catalogue try", name=name, init_time=init_time, file=file)
    if json:
        print_json(receipt)
        return
    for line in format_document(receipt):
        typer.echo(line)


def _describe_datasets(datasets: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of data sets, and a line for each that is not reached."""
    if not datasets:
        return
    yield ""
    columns = [
        Column("dataset", [each["dataset"] for each in datasets]),
        Column("status", [each["status"] for each in datasets]),
        Column("newest", [each["init_time"] or "none" for each in datasets]),
        Column("licence", [each["licence"] for each in datasets], rank=1),
        Column("attribution", [each["attribution"] for each in datasets], rank=2),
        Column("title", [each["title"] for each in datasets], rank=3),
    ]
    yield from format_table(columns, output_width())
    for each in datasets:
        if each["failure"] is not None:
            yield f"{each['dataset']} is not reached since {each['failing_since']}: {each['failure']}"
