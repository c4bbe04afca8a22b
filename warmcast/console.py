"""What commands share of talking to a person: progress on standard error, receipts on standard output, exit codes."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from storage.errors import WarmcastError

Tell = Callable[[int, int], None]
"""Told how many of how many parts are done."""

_console = Console(stderr=True)

_SCORES = {
    "CRPS": "crps_fair",
    "persistence": "persistence_mae",
    "climatology": "climatology_crps",
    "RMSE": "rmse",
    "spread": "spread",
    "ratio": "spread_skill",
    "Σ|1−η|": "spectrum_deviation",
    "of climatology": "climatology_deviation",
}


@contextmanager
def exit_codes(again: str = "--resume goes on from there") -> Iterator[None]:
    """Turn errors into one paragraph: exit code 2 for what was given, 3 for the machine, 130 for an interrupt.

    `again` says how to go on after the two last ones.
    """
    try:
        yield
    except WarmcastError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error
    except OSError as error:
        typer.echo(f"Error: {error}. What is complete is kept; {again}.", err=True)
        raise typer.Exit(3) from error
    except KeyboardInterrupt as error:
        typer.echo(f"Interrupted. What is complete is kept; {again}.", err=True)
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
        columns = {title: key for title, key in _SCORES.items() if key in rows[0]}
        for title in ("lead", *columns):
            table.add_column(title, justify="right")
            if title == "CRPS" and "intervals" in rows[0]:
                table.add_column("95 %", justify="right")
        for index, row in enumerate(rows):
            if index == 0 or row["lead_hours"] % 24 == 0:
                table.add_row(f"{row['lead_hours']} h", *_cells(row, columns.values()))
        Console(width=None if sys.stdout.isatty() else 120).print(table)


def _cells(row: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    """Yield scores to three places, that of CRPS with its interval where it has one."""
    for key in keys:
        yield f"{row[key]:.3f}"
        if key == "crps_fair" and "intervals" in row:
            yield "-".join(f"{end:.3f}" for end in row["intervals"][key])
