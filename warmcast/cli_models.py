"""The command on the checkpoints of a service: `warmcast models`."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from warmcast.commands import run
from warmcast.console import exit_codes, print_json
from warmcast.options import Json, Url
from warmcast.tables import Column, format_document, format_table, output_width

ModelName = Annotated[str | None, typer.Argument(help="Name of one checkpoint, to print all that is known of it.")]


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(models)


def models(name: ModelName = None, url: Url = None, json: Json = False) -> None:
    """List the checkpoints of a service with their limits, or describe one of them."""
    with exit_codes():
        receipt = run("models", url=url, name=name)
    if json:
        print_json(receipt)
        return
    for line in format_document(receipt) if name else format_table(_model_columns(receipt["models"]), output_width()):
        typer.echo(line)


def _model_columns(models: Sequence[dict[str, Any]]) -> list[Column]:
    grids = [f"{model['grid']['latitudes']} x {model['grid']['longitudes']}" for model in models]
    return [
        Column("model", [model["id"] for model in models]),
        Column("variables", [",".join(model["variables"]) for model in models]),
        Column("grid", grids, is_number=True),
        Column("step", [f"{model['time_step_hours']}h" for model in models], is_number=True),
        Column("longest", [f"{model['max_lead_hours']}h" for model in models], is_number=True),
        Column("members", [f"{model['max_members']}" for model in models], is_number=True),
        Column("solver", [model["sampling"]["solver"] for model in models], rank=1),
        Column("nfe", [str(model["sampling"]["nfe"]) for model in models], is_number=True, rank=2),
    ]
