"""An evaluation as one HTML page that needs nothing beside itself."""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

from diagnostics.figures.scores import score_panels
from diagnostics.wind import WIND_SPEED
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
}

_LABELS = {WIND_SPEED: ("10 metre wind speed", "m s-1")}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } img { max-width: 100%; }
th, td { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
dt { font-weight: 600; float: left; clear: left; width: 9rem; } dd { margin-left: 9.5rem; overflow-wrap: anywhere; }
"""


def evaluation_page(result: Mapping[str, Any]) -> str:
    """Return the page of what `training.evaluation.evaluate` returns: settings, tables and figures by variable."""
    name = html.escape(str(result["checkpoint"]))
    told = [f"<dt>{html.escape(key)}</dt><dd>{_shown(value)}</dd>" for key, value in result["settings"].items()]
    parts = [_section(variable, rows) for variable, rows in result["scores"].items()]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Evaluation of {name}</title>'
        f"<style>{_STYLE}</style><h1>Evaluation of {name}</h1>{''.join(parts)}"
        f"<h2>Settings</h2><dl>{''.join(told)}</dl></html>\n"
    )


def _section(variable: str, rows: list[dict[str, Any]]) -> str:
    label, units = _LABELS.get(variable) or (KNOWN[variable].long_name, KNOWN[variable].units)
    picture = io.BytesIO()
    score_panels(picture, label, units, rows)
    encoded = base64.b64encode(picture.getvalue()).decode()
    head = "".join(f"<th>{html.escape(title)}</th>" for title in _COLUMNS)
    told = [row for index, row in enumerate(rows) if index == 0 or row["lead_hours"] % 24 == 0]
    body = "".join(f"<tr>{''.join(_cell(key, row[key]) for key in _COLUMNS.values())}</tr>" for row in told)
    return (
        f'<h2>{html.escape(label)}</h2><img src="data:image/png;base64,{encoded}" '
        f'alt="Scores of {html.escape(label)} by lead time, ranks and spectra">'
        f"<table><tr>{head}</tr>{body}</table>"
    )


def _cell(key: str, value: float) -> str:
    return f"<td>{value} h</td>" if key == "lead_hours" else f"<td>{value:.3f}</td>"


def _shown(value: Any) -> str:
    return html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
