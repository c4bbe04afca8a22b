"""The progress of a training on standard error: a live line for each stage on a terminal, plain lines elsewhere."""

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from warmcast.console import print_line

Report = Callable[[Mapping[str, Any]], None]
"""Called with the fields of a line of `progress.jsonl`."""

_SUMMARY = re.compile(r"nll|flow_loss|growth_rate|(crps|spread_skill)_\d+h")
"""The scores of a validation that a line shows: those of all variables together."""

_BAR_WIDTH = 12
_OTHER_WIDTH = _BAR_WIDTH + len("warm_start") + len("/") + len("000:00:00 left") + 4
"""Columns of a live line without its detail and the digits of its steps."""


@contextmanager
def training_progress(console: Console | None = None) -> Iterator[Report]:
    """Yield the function that shows the progress of a training."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda fields: print_line(format_progress(fields))
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=_BAR_WIDTH),
        MofNCompleteColumn(),
        _TimeLeftColumn(),
    ]
    with Progress(*columns, TextColumn("{task.fields[detail]}"), console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(fields: Mapping[str, Any]) -> None:
            stage = fields["stage"]
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=fields["steps"], detail="", ends_at=None)
            ends_at = time.monotonic() + fields["seconds_left"]
            room = max(console.width - _OTHER_WIDTH - 2 * len(str(fields["steps"])), 0)
            detail = _format_detail(fields)[:room]
            progress.update(tasks[stage], completed=fields["step"], detail=detail, ends_at=ends_at)
            if fields["validation"]:
                progress.console.print(f"{stage}  {fields['step']}/{fields['steps']}{_format_scores(fields)}")

        yield report


class _TimeLeftColumn(ProgressColumn):
    """The time left by the last report, less the time since then."""

    def render(self, task: Task) -> Text:
        """Return the time left of a task."""
        ends_at = task.fields["ends_at"]
        return Text("" if ends_at is None else f"{format_duration(ends_at - time.monotonic())} left")


def format_progress(fields: Mapping[str, Any]) -> str:
    """Return one line: stage, step, time left, throughput, losses, gradient norm, learning rate, validation."""
    left = format_duration(fields["seconds_left"])
    steps = f"{fields['stage']}  {fields['step']}/{fields['steps']}"
    return f"{steps}  {left} left  {_format_detail(fields)}{_format_scores(fields)}"


def format_duration(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds, rounded up; negative ones as 0, infinite ones as `?`."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(math.ceil(seconds), 0)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _format_detail(fields: Mapping[str, Any]) -> str:
    losses = "  ".join(f"{name} {value:.4f}" for name, value in fields["losses"].items())
    rate = f"{fields['samples_per_second']:.1f} samples/s"
    return f"{rate}  {losses}  |g| {fields['grad_norm']:.2f}  lr {fields['learning_rate']:.1e}"


def _format_scores(fields: Mapping[str, Any]) -> str:
    scores = (fields["validation"] or {}).items()
    scored = "".join(f"  {name} {value:.4f}" for name, value in scores if _SUMMARY.fullmatch(name))
    return f"  validation{scored}" if scored else ""
