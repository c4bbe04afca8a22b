"""Sections of the report of an evaluation: comparisons, residuals and stability."""

import html
from collections.abc import Mapping
from typing import Any

from diagnostics.evaluation.html import cell, picture, select_rows, table
from diagnostics.evaluation.stability import FAR
from diagnostics.figures.evaluation import draw_differences, draw_residuals, draw_stability

_TITLES = {
    "crps_fair": "CRPS",
    "rmse": "RMSE",
    "spread": "spread",
    "spread_skill": "spread ÷ skill",
    "spectrum_deviation": "Σ|1−η|",
    "energy_score": "energy score",
    "energy_score_tiled": "energy score in tiles",
    "variogram_score": "variogram score",
}


def render_comparison(name: str, comparison: Mapping[str, Any]) -> str:
    """Return the section of the paired differences from another forecast."""
    parts = {**comparison["scores"], **comparison["energy"]}
    panels = picture(draw_differences(parts), f"Scores relative to those of {name}, by lead time")
    tables = [_difference_table(variable, rows) for variable, rows in parts.items()]
    caption = (
        "<p>Scores of the forecast divided by those of the other one from the same starts, minus 1, in percent. Below "
        "0 is better, but for the spread. Shades, and what shows over a number, are 95 % intervals of the paired "
        "difference, from resampling the starts.</p>"
    )
    if "residuals" in comparison:
        tables.append(_residual_table(comparison["residuals"], "residuals of the other"))
    return f"<h2>Compared with {html.escape(name)}</h2>{caption}{panels}{''.join(tables)}"


def render_residuals(residuals: Mapping[str, Any]) -> str:
    """Return the section of the power and the correlation in time of normalised residuals."""
    panels = picture(draw_residuals(residuals), "Power of members' residuals by wavenumber, and correlations in time")
    caption = (
        "<p>Normalised residuals (x − μ)/σ of one time step: the power of members' relative to the truth's in bands of "
        "wavenumbers, and the correlation of residuals with those some hours later, of truth | of members.</p>"
    )
    return f"<h2>Residuals</h2>{caption}{panels}{_residual_table(residuals)}"


def _residual_table(residuals: Mapping[str, Any], title: str = "residuals of") -> str:
    """Return a table of the power of members' residuals in bands, and of correlations in time."""
    first = next(iter(residuals.values()))
    lags = [f"{hours} h" for hours in first["lag_hours"]]
    cells = []
    for name, rows in residuals.items():
        limits = rows.get("intervals", {"power": {}})["power"]
        power = [cell(f"{value:.3f}", limits.get(band)) for band, value in rows["power"].items()]
        pairs = zip(rows["correlation_truth"], rows["correlation_members"], strict=True)
        times = [cell(f"{truth:.3f} | {members:.3f}") for truth, members in pairs]
        cells.append([cell(name), *power, cell(f"{rows['deviation']:.2f}"), *times])
    return table([title, *(f"ℓ {band}" for band in first["power"]), "Σ|1−η|", *lags], cells)


def render_stability(stability: Mapping[str, Any]) -> str:
    """Return the section of a stability test."""
    starts, lost = len(stability["starts"]), stability["lost_hours"]
    rate, season, days = stability["growth"]["rate"], stability["growth"]["season_rate"], stability["days"]
    text = f"{starts - len(lost)} of {starts} forecasts of one member are finite for {days:g} days. "
    if lost:
        text += f"Lost: {', '.join(f'{hours / 24:g} days from {start}' for start, hours in lost.items())}. "
    text += (
        f"The distance of the mean rollout from the mean of all dates changes by a factor of "
        f"{'infinity' if rate is None else f'{rate:.4f}'} a time step"
    )
    text += (
        f", that of the climatology of its dates, which a perfect mean becomes, by one of {season:.4f}."
        if season
        else "."
    )
    if "largest_distance" in stability:
        text += (
            f" Means and variances of latitude bands in the second half differ from those of the training years "
            f"{', '.join(map(str, stability['years']))} by at most {stability['largest_distance']:.1f} of their "
            f"standard deviations between years{_describe_natural(stability)}. Of them, "
            f"{stability['far']} differ by more than {FAR:g}{_describe_truth(stability)}."
        )
    panels = picture(
        draw_stability(stability), "Distance of mean rollouts from the mean of all dates, and latitude bands"
    )
    return f"<h2>Stability</h2><p>{html.escape(text)}</p>{panels}{_climate_table(stability.get('bands', {}))}"


def _describe_natural(stability: Mapping[str, Any]) -> str:
    """Return what the training years themselves have as the largest distance, if that is known."""
    distances = stability.get("natural_distances")
    return (
        f"; each of these years, compared with the others, by {min(distances):.1f} to {max(distances):.1f}"
        if distances
        else ""
    )


def _describe_truth(stability: Mapping[str, Any]) -> str:
    """Return how far the truth of the second half is from the training years, if that is known of all starts."""
    truth = stability.get("truth")
    return (
        ""
        if truth is None
        else f"; of the truth of the same days, {truth['far']}, the most by {truth['largest_distance']:.1f}"
    )


def _difference_table(variable: str, rows: list[dict[str, Any]]) -> str:
    """Return a table of the relative differences of one variable's scores, in percent."""
    keys = [key for key in rows[0] if key != "lead_hours"]
    cells = [
        [
            cell(f"{row['lead_hours']} h"),
            *(cell(_percent(row[key]["relative"]), row[key].get("relative_interval"), _percent) for key in keys),
        ]
        for row in select_rows(rows)
    ]
    return table([f"{variable} (%)", *(_TITLES[key] for key in keys)], cells)


def _climate_table(bands: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return a table of means and variances of latitude bands, with those of the training years."""
    cells = [
        [
            cell(name),
            cell(f"{row['south']:g}° to {row['north']:g}°"),
            *(
                cell(text)
                for part in ("mean", "variance")
                for text in (
                    f"{row[part]:.3f}",
                    f"{row[f'{part}_years']:.3f} ± {row[f'{part}_std']:.3f}",
                    f"{row[f'{part}_distance']:+.1f}",
                )
            ),
        ]
        for name, rows in bands.items()
        for row in rows
    ]
    columns = [f"{part}{kind}" for part in ("mean", "variance") for kind in ("", " of years", ", distance")]
    return table(["variable", "latitudes", *columns], cells) if cells else ""


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.2f}"
