"""What every benchmark shares: rows that print as a table and are written as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from storage.atomic import write_text


def publish_results(
    title: str, rows: Sequence[Mapping[str, Any]], ratios: Mapping[str, float], path: Path | None
) -> dict[str, Any]:
    """Print rows and ratios, write them to `path` where one is given, and return them."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    console = Console()
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name}: {value:.3g}")
    result = {"rows": [dict(row) for row in rows], **ratios}
    if path is not None:
        write_text(path, json.dumps(result, indent=1) + "\n")
    return result
