"""The commands for the simulated planet: `warmcast nature-run` and `nature-compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from warmcast.commands import run
from warmcast.console import exit_codes, plural, print_json, print_line
from warmcast.options import Json, OutputFolder


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("nature-run")(nature_run)
    app.command("nature-compare")(nature_compare)


def nature_run(
    output: OutputFolder,
    years: Annotated[int, typer.Option(min=1, help="Number of years of each start state.")] = 6,
    start_states: Annotated[
        int,
        typer.Option(
            min=1, help="Number of start states, each with a spin-up of its own; they can be made in parallel."
        ),
    ] = 1,
    first_year: Annotated[int, typer.Option(help="First year; the one before it is the spin-up.")] = 1982,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the start states.")] = 0,
    processes: Annotated[
        int, typer.Option(min=1, help="Number of processes, each on one CPU core and with 1.5 GB of memory.")
    ] = 1,
    tiny: Annotated[bool, typer.Option("--tiny", help="Simulate two days of each year, as a test.")] = False,
    json: Json = False,
) -> None:
    """Simulate years of a planet with continents and seasons: 6-hourly winds for training, a NetCDF file a year.

    The same options give the same years, in any number of processes. A killed run continues when the command is
    repeated.
    """
    options: dict[str, Any] = {"output": output, "years": years, "start_states": start_states, "seed": seed}
    options |= {"first_year": first_year, "processes": processes, "tiny": tiny, "report": print_line}
    with exit_codes("Simulated days are kept. To continue, repeat the command."):
        receipt = run("nature-run", **options)
    if json:
        print_json(receipt)
        return
    typer.echo(f"{receipt['output']}: {plural(len(receipt['files']), 'year')}")


def nature_compare(
    compared: Annotated[list[Path], typer.Argument(help="NetCDF file of a year, or a folder of them.")],
    reference: Annotated[
        list[Path],
        typer.Option(help="NetCDF file of a reference year, or a folder of them; may be repeated; at least 3 years."),
    ],
    json: Json = False,
) -> None:
    """Compare the climate of years with that of reference years.

    The exit code is 1 if a statistic is more than 3 standard deviations between the reference years from their mean.
    """
    with exit_codes():
        result = run("nature-compare", compared=compared, reference=reference)
    if json:
        print_json(result)
    else:
        _print_comparison(result)
    if not result["is_alike"]:
        raise typer.Exit(1)


def _print_comparison(result: dict[str, Any]) -> None:
    table = Table()
    for title in (
        "statistic",
        "variable",
        "where",
        "reference",
        "SD",
        "compared",
        "distance in SD",
        "years beyond 3 SD",
    ):
        table.add_column(title, justify="left" if title in {"statistic", "variable", "where"} else "right")
    for row in result["statistics"]:
        numbers = (f"{row[name]:.3f}" for name in ("reference", "spread", "compared"))
        distance = f"{row['deviation']:+.2f}{'' if row['is_alike'] else ' !'}"
        outside = str(row["years_outside"])
        table.add_row(row["statistic"], row["variable"], row["where"], *numbers, distance, outside)
    Console(width=120).print(table)
    beyond = sum(not row["is_alike"] for row in result["statistics"])
    years = f"{plural(len(result['compared']), 'year')}, against {plural(len(result['reference']), 'reference year')}"
    typer.echo(f"{years}: {beyond} of {len(result['statistics'])} statistics beyond 3 standard deviations")
