"""What commands share of talking to a person: progress on standard error, receipts on standard output, exit codes."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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
