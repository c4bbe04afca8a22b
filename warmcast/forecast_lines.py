"""A forecast as one line of text, and labels as options of the command line."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import typer

from warmcast.console import plural
from warmcast.forecasts import count_members

_UNITS = (("day", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def describe_forecast(info: dict[str, Any], now: float | None = None) -> str:
    """Return the line of a forecast, from its status document; with `now`, in seconds since 1970, also its age."""
    detail, request = info["progress_detail"], info["request"]
    parts = [
        f"{info['id']}  {info['status']:<10}  {detail['lead_times']}/{detail['num_lead_times']} lead times",
        f"{plural(count_members(info), 'member')} from {info['init_time']}",
    ]
    if now is not None:
        parts += [f"{request['lead_time']:>5}", f"seed {request['seed']}", describe_age(info["created"], now)]
    parts += [f"{name}={value}" for name, value in info.get("labels", {}).items()]
    return "  ".join(parts)


def describe_age(time: str, now: float) -> str:
    """Return how long ago a time was, in its largest whole unit, such as `3 h ago`."""
    seconds = max(now - datetime.fromisoformat(time).timestamp(), 0.0)
    name, size = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    number = int(seconds // size)
    return f"{plural(number, name) if name == 'day' else f'{number} {name}'} ago"


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
