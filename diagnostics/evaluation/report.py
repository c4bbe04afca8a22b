"""Report of an evaluation as one self-contained HTML page, with pictures embedded."""

import base64
import html
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from diagnostics.figures.example import Example, draw_example_maps, draw_spaghetti
from diagnostics.figures.scores import draw_probability_panels, draw_score_panels
from diagnostics.figures.style import format_units, to_png
from diagnostics.scores.wind import WIND_SPEED
from weather.variables import KNOWN

_COLUMNS = {
    "lead": "lead_hours",
    "CRPS": "crps_fair",
    "persistence": "persistence_mae",
    "climatology": "climatology_crps",
    "RMSE": "rmse",
    "spread": "spread",
    "spread ÷ skill": "spread_skill",
    "Σ|1−η|": "spectrum_deviation",
    "of climatology": "climatology_deviation",
}

_ENERGY = {
    "lead": "lead_hours",
    "fair energy score, all variables, each divided by its standard deviation": "energy_score",
}

_LABELS = {WIND_SPEED: ("10 metre wind speed", "m s-1")}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } img { max-width: 100%; }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
dt { font-weight: 600; float: left; clear: left; width: 9rem; } dd { margin-left: 9.5rem; overflow-wrap: anywhere; }
"""


def render_score_page(title: str, result: Mapping[str, Any], example: Example | None) -> str:
    """Return the HTML page of an evaluation: tables and figures of its scores, pictures of an example, its settings.

    `result` is that of `combine_starts` with `settings` added, and optionally `warm_start`, the calibration of the warm
    start.
    """
    name = html.escape(title)
    settings = [
        f"<dt>{html.escape(key)}</dt><dd>{_format_setting(value)}</dd>" for key, value in result["settings"].items()
    ]
    parts = [_section(variable, rows) for variable, rows in result["scores"].items()]
    if example is not None:
        parts.append("<h2>Example of a forecast</h2>")
        parts.append(_picture(draw_spaghetti(example), "Members and truth at six grid points"))
        parts.append(_picture(draw_example_maps(example), "Maps of truth, one member, mean and spread"))
    if result["events"]:
        panels = _picture(draw_probability_panels(result), "Brier scores, reliability, PIT of the warm start")
        parts.append(f"<h2>Probabilities</h2>{panels}")
    parts.append(f"<h2>Energy score</h2>{_table(_ENERGY, result['energy'])}" if result["energy"] else "")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style><h1>{name}</h1>{''.join(parts)}"
        f"<h2>Settings</h2><dl>{''.join(settings)}</dl></html>\n"
    )


def _section(variable: str, rows: list[dict[str, Any]]) -> str:
    """Return the heading, figure, table and caption of one variable's scores."""
    label, units = _LABELS.get(variable) or (KNOWN[variable].long_name, KNOWN[variable].units)
    picture = _picture(draw_score_panels(units, rows), f"Scores of {label} by lead time, ranks and spectra")
    intervals = " Hover over a number to see its 95 % interval, from resampling the starts."
    caption = f"Area means; CRPS (fair), persistence, climatology, RMSE and spread in {format_units(units)}."
    caption = f"<p>{caption}{intervals if 'intervals' in rows[0] else ''}</p>"
    return f"<h2>{html.escape(label)}</h2>{picture}{_table(_COLUMNS, rows)}{caption}"


def _picture(figure: Figure, description: str) -> str:
    """Return an `img` element that embeds a figure as PNG, with `description` as its alternative text."""
    encoded = base64.b64encode(to_png(figure)).decode()
    return f'<img src="data:image/png;base64,{encoded}" alt="{html.escape(description)}">'


def _table(columns: Mapping[str, str], rows: list[dict[str, Any]]) -> str:
    """Return an HTML table of the first lead time and of whole days.

    `columns` maps titles to keys of `rows`; a column whose key the first row lacks is left out.
    """
    present = {title: key for title, key in columns.items() if key in rows[0]}
    head = "".join(f"<th>{html.escape(title)}</th>" for title in present)
    selected = [row for index, row in enumerate(rows) if index == 0 or row["lead_hours"] % 24 == 0]
    body = "".join(f"<tr>{''.join(_cell(row, key) for key in present.values())}</tr>" for row in selected)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(row: Mapping[str, Any], key: str) -> str:
    """Return a table cell, with the interval of its number as a tooltip if the row has intervals."""
    if key == "lead_hours":
        return f"<td>{row[key]} h</td>"
    if "intervals" not in row:
        return f"<td>{row[key]:.3f}</td>"
    low, high = row["intervals"][key]
    return f'<td title="95 %: {low:.3f} to {high:.3f}">{row[key]:.3f}</td>'


def _format_setting(value: Any) -> str:
    return html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
