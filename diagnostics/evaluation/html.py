"""Parts of HTML pages: tables of scores with intervals, and embedded pictures."""

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from diagnostics.figures.style import to_png

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 13px; } img { max-width: 100%; }
th, td { padding: .15rem .45rem; text-align: right; border-bottom: 1px solid #ddd; }
dt { font-weight: 600; float: left; clear: left; width: 11rem; } dd { margin-left: 11.5rem; overflow-wrap: anywhere; }
"""

Row = Mapping[str, Any]


def picture(figure: Figure, description: str) -> str:
    """Return an `img` element that embeds a figure as PNG, with `description` as its alternative text."""
    encoded = base64.b64encode(to_png(figure)).decode()
    return f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(description)}">'


def score_table(columns: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return an HTML table of the first lead time and of whole days.

    `columns` maps titles to keys of `rows`; a column whose key the first row lacks is left out. The number of starts
    follows the lead time if it is not the same for all.
    """
    numbers = {"starts": "starts"} if len({row.get("starts") for row in rows}) > 1 else {}
    lead, *others = ((title, key) for title, key in columns.items() if key in rows[0])
    present = dict([lead]) | numbers | dict(others)
    cells = [[score_cell(row, key) for key in present.values()] for row in select_rows(rows)]
    return table(list(present), cells)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table of cells, which are `td` elements."""
    head = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def cell(text: str, limits: Sequence[float] | None = None, show: Callable[[float], str] = "{:.3f}".format) -> str:
    """Return a table cell, with `limits`, the 95 % interval of its number, as a tooltip."""
    if limits is None:
        return f"<td>{html.escape(text)}</td>"
    return f'<td title="95 %: {show(limits[0])} to {show(limits[1])}">{html.escape(text)}</td>'


def score_cell(row: Row, key: str) -> str:
    """Return the cell of a score, with its interval if the row has that."""
    if key in ("lead_hours", "starts"):
        return cell(f"{row[key]} h" if key == "lead_hours" else str(row[key]))
    return cell(f"{row[key]:.3f}", row.get("intervals", {}).get(key))


def select_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the first lead time and of whole days."""
    return [row for index, row in enumerate(rows) if index == 0 or row["lead_hours"] % 24 == 0]
