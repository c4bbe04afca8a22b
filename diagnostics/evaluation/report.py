"""Report of an evaluation as one self-contained HTML page, with pictures embedded."""

import html
from collections.abc import Mapping
from typing import Any

from diagnostics.evaluation.html import STYLE, cell, picture, score_table, select_rows, table
from diagnostics.evaluation.report_sections import render_comparison, render_residuals, render_stability
from diagnostics.figures.example import Example, draw_example_maps, draw_spaghetti
from diagnostics.figures.scores import Rows, draw_probability_panels, draw_score_panels
from diagnostics.figures.style import format_units
from diagnostics.scores.wind import WIND_SPEED
from weather.variables import KNOWN

_COLUMNS = {
    "lead": "lead_hours",
    "CRPS": "crps_fair",
    "persistence": "persistence_mae",
    "climatology": "climatology_crps",
    "CRPS ÷ persistence": "crps_of_persistence",
    "CRPS ÷ climatology": "crps_of_climatology",
    "RMSE": "rmse",
    "spread": "spread",
    "spread ÷ skill": "spread_skill",
    "lowest rank": "rank_lowest",
    "highest rank": "rank_highest",
    "Σ|1−η|": "spectrum_deviation",
    "of climatology": "climatology_deviation",
    "of years": "natural_deviation",
}

_ENERGY = {
    "lead": "lead_hours",
    "energy score": "energy_score",
    "energy score in tiles": "energy_score_tiled",
    "variogram score": "variogram_score",
}

_LABELS = {WIND_SPEED: ("10 metre wind speed", "m s-1")}


def render_score_page(title: str, result: Mapping[str, Any], example: Example | None) -> str:
    """Return the HTML page of an evaluation: tables and figures of its scores, pictures of an example, its settings.

    `result` is that of `combine_starts` with `settings` added, and optionally `warm_start` (calibration of the warm
    start), `control`, `comparisons`, `residuals` and `stability`.
    """
    name = html.escape(title)
    settings = [
        f"<dt>{html.escape(key)}</dt><dd>{_format_setting(value)}</dd>" for key, value in result["settings"].items()
    ]
    control = result.get("control", {"scores": {}})["scores"]
    parts = [_section(variable, rows, control.get(variable)) for variable, rows in result["scores"].items()]
    if example is not None:
        parts.append("<h2>Example of a forecast</h2>")
        parts.append(picture(draw_spaghetti(example), "Members and truth at six grid points"))
        parts.append(picture(draw_example_maps(example), "Maps of truth, one member, mean and spread"))
    if result["events"]:
        panels = picture(draw_probability_panels(result), "Brier scores, reliability, PIT of the warm start")
        parts.append(f"<h2>Probabilities</h2>{panels}")
    if result["energy"]:
        caption = "<p>Fair scores of all variables, each divided by its standard deviation.</p>"
        parts.append(f"<h2>Scores of whole fields</h2>{score_table(_ENERGY, result['energy'])}{caption}")
    parts += [render_comparison(other, content) for other, content in result.get("comparisons", {}).items()]
    parts += [render_residuals(result["residuals"])] if "residuals" in result else []
    parts += [render_stability(result["stability"])] if "stability" in result else []
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{STYLE}</style><h1>{name}</h1>{''.join(parts)}"
        f"<h2>Settings</h2><dl>{''.join(settings)}</dl></html>\n"
    )


def _section(variable: str, rows: Rows, control: Rows | None) -> str:
    """Return the heading, figure, tables and caption of one variable's scores."""
    label, units = _LABELS.get(variable) or (KNOWN[variable].long_name, KNOWN[variable].units)
    panels = picture(draw_score_panels(units, rows, control), f"Scores of {label} by lead time, ranks and spectra")
    intervals = " Hover over a number to see its 95 % interval, from resampling the starts."
    caption = (
        f"Area means; CRPS (fair), persistence, climatology, RMSE and spread in {format_units(units)}. The lowest and "
        f"the highest rank are relative to flat."
    )
    caption = f"<p>{caption}{intervals if 'intervals' in rows[0] else ''}</p>"
    return f"<h2>{html.escape(label)}</h2>{panels}{score_table(_COLUMNS, rows)}{caption}{_band_table(rows)}"


def _band_table(rows: Rows) -> str:
    """Return a table of Σ|1−η| in bands of wavenumbers: of the forecast, of climatology, and of year against year."""
    bands, kinds = rows[0]["bands"], next(iter(rows[0]["bands"].values()))
    titles = ["Σ|1−η| of", *(f"ℓ {band}" for band in bands)]
    names = {"forecast": "the forecast", "climatology": "climatology", "natural": "one year against another"}
    cells = [
        [cell(f"{names[kind]}, {row['lead_hours']} h"), *(cell(f"{row['bands'][band][kind]:.3f}") for band in bands)]
        for row in (select_rows(rows)[0], select_rows(rows)[-1])
        for kind in kinds
    ]
    return table(titles, cells)


def _format_setting(value: Any) -> str:
    """Return a setting as text: items of lists and, with their names, of mappings that are not None."""
    if isinstance(value, Mapping):
        value = [f"{name} {item}" for name, item in value.items() if item is not None]
    return html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
