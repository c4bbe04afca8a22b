"""The command `warmcast inspect`: what files hold, and what a forecast would start from."""

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from warmcast.commands import run
from warmcast.console import exit_codes, folders, format_ranges, plural, print_json
from warmcast.options import DEFAULT_CHECKPOINT, Checkpoint, Checkpoints, InitTime, Json

_TIMES = ("valid times (UTC)", "runs")
_MAX_NAMES = 12
"""Most names of other fields that are printed for a file."""
_NO_BREAK = "\0"
"""Stands for a space of a path, which cannot contain it, while text is wrapped."""


def add_to(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(inspect)


def inspect(
    files: Annotated[list[str], typer.Argument(help="GRIB, NetCDF or Zarr: paths or URLs.")],
    variables: Annotated[
        str | None,
        typer.Option(help="Variables to list, such as u10,v10,msl; by default those that the checkpoint needs."),
    ] = None,
    init_time: InitTime = None,
    checkpoint: Checkpoint = DEFAULT_CHECKPOINT,
    checkpoints: Checkpoints = "",
    json: Json = False,
) -> None:
    """Show what files hold, which records a forecast would start from, and why the others are not used.

    The exit code is 0 if a forecast could start from the files, and 2 if not.
    """
    options: dict[str, Any] = {"variables": variables, "init_time": init_time, "checkpoint": checkpoint}
    with exit_codes():
        inspection = run("inspect", files=files, checkpoint_folders=folders(checkpoints), **options)
    if json:
        print_json(inspection)
    else:
        _print_inspection(inspection)
    if not inspection["can_start"]:
        raise typer.Exit(2)


def _print_inspection(inspection: Mapping[str, Any]) -> None:
    console = Console(highlight=False, markup=False)
    console = Console(width=_width(console), highlight=False, markup=False)
    found = [*inspection["files"], *(row["file"] for row in inspection["found"]), *inspection["other_fields"]]
    files = list(dict.fromkeys(found))
    for file in files:
        typer.echo(file)
        rows = [row for row in inspection["found"] if row["file"] == file]
        if rows:
            console.print(_found_table(rows))
        names = inspection["other_fields"].get(file, [])
        if names:
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            typer.echo(_wrap(f"Other fields: {', '.join(names[:_MAX_NAMES])}{more}", "  ", console.width, ()))
    start = f" from {inspection['init_time'][:16]} UTC" if inspection["can_start"] else ""
    lists = {
        f"Chosen for a forecast{start} by the checkpoint {inspection['checkpoint']}": [
            _describe_chosen(source) for source in inspection["chosen"]
        ],
        "Not used": [_describe_unused(entry) for entry in inspection["unused"]],
        "Warnings": inspection["warnings"],
        "No forecast can start from these files": inspection["problems"],
    }
    for title, lines in lists.items():
        if lines:
            typer.echo(f"\n{title}:")
        for line in lines:
            typer.echo(_wrap(line, "  - ", console.width, files))


def _width(console: Console) -> int:
    """Return the width of the terminal within 80 and 120 columns; 100 without a terminal."""
    return min(max(console.width, 80), 120) if sys.stdout.isatty() else 100


def _wrap(text: str, indent: str, width: int, files: Iterable[str]) -> str:
    """Return text in lines of at most `width`, longer only by a path of `files`: a broken one could not be copied."""
    for file in sorted(files, key=len, reverse=True):
        text = text.replace(file, file.replace(" ", _NO_BREAK))
    lines = textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_on_hyphens=False,
        break_long_words=False,
    )
    return lines.replace(_NO_BREAK, " ")


def _describe_unused(entry: Mapping[str, Any]) -> str:
    names, file = ", ".join(entry["variables"]), entry["file"]
    return f"{plural(entry['records'], 'record')} of {names} in {file}: {entry['reason']}"


def _describe_chosen(source: Mapping[str, Any]) -> str:
    origin = [source["type"]] if source["type"] else []
    if source["step_hours"]:
        origin += [f"run {source['run'][:16]}", f"step {source['step_hours']:g} h"]
    if source["version"]:
        origin.append(f"experiment version {source['version']}")
    if source["members"]:
        origin.append(f"members {format_ranges(source['members'])}")
    details = f" ({', '.join(origin)})" if origin else ""
    notes = f"; note: {'; '.join(source['notes'])}" if source["notes"] else ""
    return f"{', '.join(source['variables'])} of {source['valid_time'][:16]} in {source['file']}{details}{notes}"


def _found_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of what a file has; columns without any entry are left out."""
    cells = [_cells(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD)
    titles = [title for title in cells[0] if any(of_row[title] for of_row in cells)]
    for title in titles:
        table.add_column(title, overflow="fold", min_width=16 if title in _TIMES else None)
    for of_row in cells:
        table.add_row(*(of_row[title] for title in titles))
    return table


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    steps, runs, times = row["step_hours"], row["runs"], row["valid_times"]
    kind = [row["type"], "" if row["statistic"] == "instantaneous state" else row["statistic"]]
    version = f"version {row['version']}" if row["version"] else ""
    has_steps = bool(steps and steps["last"])
    return {
        "variables": ", ".join(row["variables"]),
        "level": row["level"],
        "valid times (UTC)": _format_range(times, _format_time) if times else "none",
        "runs": _format_range(runs, _format_time) if runs and has_steps else "",
        "steps in h": _format_range(steps, "{:g}".format) if has_steps else "",
        "members": format_ranges(row["members"]),
        "kind": ", ".join(part for part in (*kind, version) if part),
        "grid": row["grid"].partition(" (")[0],
        "unit": row["unit"],
    }


def _format_time(time: str) -> str:
    """Return an ISO 8601 time to the minute."""
    return time[:16]


def _format_range(values: Mapping[str, Any], form: Callable[[Any], str]) -> str:
    """Return first and last value, and how many there are if there are more."""
    if values["count"] == 1:
        return form(values["first"])
    count = f" ({values['count']})" if values["count"] > 2 else ""
    return f"{form(values['first'])} to {form(values['last'])}{count}"
