"""Forecasts, their lists and their plans as lines of text, and labels as options of the command line."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import typer

from warmcast.console import plural
from warmcast.forecasts import count_members
from warmcast.tables import Column, format_table

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def describe_forecast(info: dict[str, Any]) -> str:
    """Return the line of a forecast, from its status document."""
    detail = info["progress_detail"]
    parts = [
        f"{info['id']}  {info['status']:<10}  {detail['lead_times']}/{detail['num_lead_times']} lead times",
        f"{plural(count_members(info), 'member')} from {info['init_time']}",
        *(f"{name}={value}" for name, value in info.get("labels", {}).items()),
    ]
    return "  ".join(parts)


def list_lines(forecasts: Sequence[dict[str, Any]], now: float, width: int | None) -> list[str]:
    """Return a table of forecasts, from their status documents; `now` is in seconds since 1970.

    A table that would be wider than `width` lacks labels, initial time or seed.
    """
    if not forecasts:
        return ["No forecasts."]
    return format_table([*_columns(forecasts, now)], width)


def _columns(forecasts: Sequence[dict[str, Any]], now: float) -> Iterator[Column]:
    requests, details = [info["request"] for info in forecasts], [info["progress_detail"] for info in forecasts]
    yield Column("id", [info["id"] for info in forecasts])
    yield Column("status", [info["status"] for info in forecasts])
    done = [f"{detail['lead_times']}/{detail['num_lead_times']}" for detail in details]
    yield Column("done", done, is_number=True)
    yield Column("lead", [request["lead_time"] for request in requests], is_number=True)
    yield Column("from (UTC)", [info["init_time"][:13] for info in forecasts], rank=2)
    yield Column("mem", [str(count_members(info)) for info in forecasts], is_number=True)
    yield Column("age", [describe_age(info["created"], now) for info in forecasts], is_number=True)
    yield Column("seed", [str(request["seed"]) for request in requests], is_number=True, rank=1)
    labels = [info.get("labels", {}).items() for info in forecasts]
    yield Column("labels", [" ".join(f"{name}={value}" for name, value in of_one) for of_one in labels], rank=3)


def describe_plan(plan: dict[str, Any]) -> list[str]:
    """Return what a forecast would compute, and its duration, memory and files, from the document of its plan."""
    request, sampler = plan["request"], plan["request"]["sampler"]
    members = plural(count_members(plan), "member")
    seconds, memory = plan["seconds"], plan["memory_bytes"]
    duration = "unknown: no forecast was measured yet" if seconds is None else format_duration(seconds)
    start = request["initial_state"].get("init_time") or "the initial state"
    lines = [f"{members}, {request['lead_time']} from {start}, model {request['model']}, seed {request['seed']}"]
    lines[0] += f", solver {sampler['solver']}, NFE {sampler['nfe']}"
    lines.append(f"Network evaluations: {plan['network_evaluations']:,}")
    lines.append(f"Duration: {duration}; wait in the queue: {format_duration(plan['wait_seconds'] or 0)}")
    lines.append(f"Memory of the device: {format_bytes(memory)}")
    stored, full = format_bytes(plan["store_bytes"]), format_bytes(plan["uncompressed_bytes"])
    lines.append(
        f"Ensemble: {stored} stored, {full} without compression; other files: {format_bytes(plan['other_bytes'])}"
    )
    return [*lines, "Nothing was submitted."]


def describe_age(time: str, now: float) -> str:
    """Return how long ago a time was, in its largest whole unit, such as `3h`."""
    return format_duration(now - datetime.fromisoformat(time).timestamp())


def format_duration(seconds: float) -> str:
    """Return a duration in its largest whole unit, such as `3h`; a negative one is 0s."""
    seconds = max(seconds, 0.0)
    name, size = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    return f"{int(seconds // size)}{name}"


def format_bytes(size: float | None) -> str:
    """Return a size with three digits and its unit, such as `1.25 GB`; None is unknown."""
    if size is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def parse_labels(texts: Iterable[str] | None) -> dict[str, str]:
    """Return the labels in texts `NAME=VALUE`; raises `typer.BadParameter` for other text."""
    labels: dict[str, str] = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if not (name and value):
            raise typer.BadParameter(f"`--label` must be NAME=VALUE, such as project=harbour. Got: {text!r}.")
        if name in labels:
            raise typer.BadParameter(f"`--label` must name each label once. Got {name!r} twice.")
        labels[name] = value
    return labels
