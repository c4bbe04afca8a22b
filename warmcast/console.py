"""What commands share of talking to a person: progress on standard error, receipts on standard output, exit codes."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from weather.errors import WarmcastError

Tell = Callable[[int, int], None]
"""Told how many of how many parts are done."""

_console = Console(stderr=True)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn errors into one paragraph and exit code 2, and an interrupt into 130."""
    try:
        yield
    except WarmcastError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("Interrupted. What is complete is kept; --resume goes on from there.", err=True)
        raise typer.Exit(130) from error


@contextmanager
def progress_bar(label: str) -> Iterator[Tell]:
    """Show a bar with the time left; where standard error is no terminal, show nothing."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=_console, disable=not _console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def line(text: str) -> None:
    """Print one line of progress to standard error."""
    typer.echo(text, err=True)


def print_json(receipt: dict[str, Any]) -> None:
    """Print a receipt as JSON to standard output."""
    json.dump(receipt, sys.stdout, indent=1)
    sys.stdout.write("\n")


def folders(text: str) -> list[Path]:
    """Return the folders of a list that is separated by colons."""
    return [Path(folder) for folder in text.split(":") if folder]


def score_tables(scores: dict[str, Any]) -> None:
    """Print a table of scores by lead time for each variable, whole days and the first step only."""
    for name, rows in scores.items():
        table = Table(title=name)
        for column in ("lead", "CRPS", "95 %", "persistence", "climatology", "RMSE", "spread", "ratio", "Σ|1−η|"):
            table.add_column(column, justify="right")
        for index, row in enumerate(rows):
            if index == 0 or row["lead_hours"] % 24 == 0:
                low, high = row["crps_fair_interval"]
                numbers = (
                    "persistence_mae",
                    "climatology_crps",
                    "rmse",
                    "spread",
                    "spread_skill",
                    "spectrum_deviation",
                )
                table.add_row(
                    f"{row['lead_hours']} h", f"{row['crps_fair']:.3f}", f"{low:.3f}-{high:.3f}",
                    *(f"{row[number]:.3f}" for number in numbers),
                )  # fmt: skip
        Console().print(table)
