"""Output of commands: progress on standard error, results on standard output, exit codes."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[int, int], None]
"""Called with the number of finished parts and the number of all parts."""

_console = Console(stderr=True)
_TRANSIENT = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


@contextmanager
def exit_codes(advice: str = "") -> Iterator[None]:
    """Turn an error into one paragraph on standard error and an exit code.

    An error with an attribute `exit_code` ends the command with that code; so do the errors of the client and of
    Warmcast's packages, with 2 if an input is wrong. Any other `OSError` ends it with 3 and an interrupt with 130;
    `advice` says how to continue after an interrupt, a full disk or a fault of a device.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(f"Interrupted. {advice}".strip(), err=True)
        raise typer.Exit(130) from error
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if isinstance(code, int) and not isinstance(error, typer.Exit):
            typer.echo(f"Error: {error} {getattr(error, 'advice', '')}".strip(), err=True)
            raise typer.Exit(code) from error
        if isinstance(error, OSError):
            typer.echo(f"Error: {_describe(error)} {advice if error.errno in _TRANSIENT else ''}".strip(), err=True)
            raise typer.Exit(3) from error
        raise


def _describe(error: OSError) -> str:
    """Return an error of the operating system as a sentence; a missing folder of a file to write is named."""
    if error.filename is None:
        return f"{error.strerror or error}."
    folder = Path(str(error.filename)).parent
    if isinstance(error, FileNotFoundError) and not folder.is_dir():
        return f"The folder `{folder}` does not exist. Create it, or choose another."
    return f"{error.strerror}: `{error.filename}`."


def run_whole(command: Callable[[], None]) -> None:
    """Run a command line, and end the process with its exit code: 3, without a traceback, if its output is not written.

    That is the case where standard output is a file of a full disk; the end of a pipe's reader is no error.
    """
    code: object = 0
    try:
        command()
    except SystemExit as end:
        code = end.code
    except OSError as error:
        _discard_output(error)
        code = 3
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard_output(error)
        code = code or 3
    sys.exit(code)  # type: ignore[arg-type]  # the code of `SystemExit`, which has any type


def _discard_output(error: OSError) -> None:
    """Say that standard output cannot be written, and discard what is left of it, which would fail at the end again."""
    if error.errno != errno.EPIPE:
        typer.echo(f"Error: The output cannot be written: {_describe(error)}", err=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress_bar(label: str) -> Iterator[Report]:
    """Show a progress bar with the remaining time on standard error, or nothing if that is not a terminal."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    remaining = [TextColumn("left"), TimeRemainingColumn()]
    with Progress(*columns, *remaining, console=_console, disable=not _console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def print_line(text: str) -> None:
    """Print one line of progress to standard error."""
    typer.echo(text, err=True)


def print_cost(seconds: float, evaluations: int) -> None:
    """Print on standard error what a command is going to take, if it takes anything."""
    if evaluations:
        print_line(
            f"This takes about {max(seconds / 60, 0.1):.1f} minutes: {evaluations:,} evaluations of networks, those of "
            "h counted."
        )


def print_warning(text: str) -> None:
    """Print a warning to standard error."""
    typer.echo(f"Warning: {text}", err=True)


def print_json(receipt: dict[str, Any]) -> None:
    """Print a receipt as JSON to standard output."""
    json.dump(receipt, sys.stdout, indent=1)
    sys.stdout.write("\n")


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: `1 member`, `8 members`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers with consecutive ones as ranges: `0-3, 7`."""
    parts = list[list[int]]()
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def format_years(periods: Iterable[int | str]) -> str:
    """Return years with consecutive ones as ranges, then periods by date: `1979-2017, 2026-04-18/2026-05-06`."""
    items = list(periods)
    years = format_ranges(item for item in items if isinstance(item, int))
    return ", ".join([*([years] if years else []), *(item for item in items if isinstance(item, str))])


def folders(text: str) -> list[Path]:
    """Return the folders of a list that is separated by colons."""
    return [Path(folder) for folder in text.split(":") if folder]
