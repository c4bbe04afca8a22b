"""Measured wall times and memory, and results of benchmarks printed as a table and written as JSON."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jobs.periodic import Periodic
from storage.atomic import write_text

_MEMORY_SECONDS = 0.002
"""Interval of measurements of memory."""


def shortest_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest wall time of `work` in seconds, over `repeats` runs after one that is not counted."""
    work()
    return min(_seconds(work) for _ in range(repeats))


def shortest_seconds_of_each(works: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Return the shortest wall time of each of `works` in seconds.

    They run alternately, so that other load on the machine affects all of them equally. Each run follows an unmeasured
    one, which allocates the memory.
    """
    turns = [{name: shortest_seconds(work, 1) for name, work in works.items()} for _ in range(repeats)]
    return {name: min(turn[name] for turn in turns) for name in works}


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_resident_bytes(work: Callable[[], object]) -> int:
    """Return the peak of resident bytes of this process while `work` runs, measured every 2 ms."""
    peak = resident_bytes()

    def update() -> None:
        nonlocal peak
        peak = max(peak, resident_bytes())

    with Periodic(update, _MEMORY_SECONDS, "memory"):
        work()
    return max(peak, resident_bytes())


def resident_bytes(process_id: int | None = None) -> int:
    """Return the resident bytes of a process, by default of this one."""
    return int(Path(f"/proc/{process_id or 'self'}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


class GrowingResults:
    """Results of a benchmark that takes minutes: printed one by one on standard error, and written to `path` if given.

    Whoever ends the benchmark has what was measured until then.
    """

    def __init__(self, path: Path | None) -> None:
        self._path, self._console = path, Console(stderr=True)
        self.rows: list[Mapping[str, Any]] = []
        self.ratios: dict[str, float] = {}

    def add_row(self, row: Mapping[str, Any]) -> None:
        """Add a row of the table."""
        self.rows.append(row)
        self._show(", ".join(f"{name} {_short(value)}" for name, value in row.items()))

    def add_ratios(self, ratios: Mapping[str, float]) -> None:
        """Add ratios, or other figures that are no part of the table."""
        self.ratios |= ratios
        self._show(", ".join(f"{name}: {_short(value)}" for name, value in ratios.items()))

    def publish(self, title: str) -> dict[str, Any]:
        """Print all as a table with ratios below, and return them."""
        return publish_results(title, self.rows, self.ratios, self._path)

    def _show(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._path is not None:
            _write(self._path, self.rows, self.ratios)


def publish_results(
    title: str, rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float], path: Path | None
) -> dict[str, Any]:
    """Print rows and ratios, write them as JSON to `path` if given, and return them."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*map(_short, row.values()))
    console = Console()
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name}: {_short(value)}")
    if path is not None:
        _write(path, rows, ratios)
    return _as_document(rows, ratios)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _as_document(rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float]) -> dict[str, Any]:
    return {"rows": [dict(row) for row in rows], **ratios}


def _write(path: Path, rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float]) -> None:
    write_text(path, json.dumps(_as_document(rows, ratios), indent=1) + "\n")
