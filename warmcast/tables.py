"""Tables and documents as plain text on standard output."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_GAP = "  "


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its cells, and whether they end at the right, as numbers do.

    A column of a `rank` above 0 is left out of a table that is too wide with it and those of lower ranks.
    """

    title: str
    cells: Sequence[str]
    is_number: bool = False
    rank: int = 0

    @property
    def width(self) -> int:
        """The number of characters of the longest cell or the title."""
        return max(map(len, (self.title, *self.cells)))

    def lines(self) -> list[str]:
        """Return the title and the cells, all of the same width."""
        return [cell.rjust(self.width) if self.is_number else cell.ljust(self.width) for cell in self._all()]

    def _all(self) -> Sequence[str]:
        return (self.title, *self.cells)


def output_width() -> int | None:
    """Return the number of characters of a line: the terminal's, or that of the variable `COLUMNS`; else None."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else None


def format_table(columns: Sequence[Column], width: int | None = None) -> list[str]:
    """Return the lines of a table: the titles, then the rows; at most `width` wide if enough columns have a rank.

    Columns without any content are left out.
    """
    kept: list[Column] = []
    for column in sorted(columns, key=lambda column: column.rank):
        is_needed = not column.rank or width is None or _total([*kept, column]) <= width
        if is_needed and any(column.cells):
            kept.append(column)
    kept.sort(key=columns.index)
    return [_GAP.join(cells).rstrip() for cells in zip(*(column.lines() for column in kept), strict=True)]


def format_document(document: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a JSON document as lines for reading: names and values, nested by their indentation."""
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from format_document(value, f"{indent}  ")
        elif isinstance(value, Sequence) and any(isinstance(item, Mapping) for item in value):
            for number, item in enumerate(value):
                yield f"{indent}{name} {number}:"
                yield from format_document(item, f"{indent}  ")
        else:
            yield f"{indent}{name}: {_format_value(value)}"


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _format_value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_format_value, value)) or "none"
    return str(value)
