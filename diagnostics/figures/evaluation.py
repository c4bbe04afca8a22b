"""Pictures of an evaluation: differences from another forecast, residuals, and the stability of long rollouts."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnostics.figures.scores import use_plain_ticks
from diagnostics.figures.style import BLUE, GREY, OCHRE, PURPLE, STYLE

_COLOURS = (PURPLE, BLUE, OCHRE, "#21918c", "#b5367a", "#5d5d5d")


def draw_differences(parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw relative differences by lead time, in percent: of CRPS, of the scores of whole fields, and of the spread.

    `parts` maps variables, and `all variables`, to rows as `compare_starts` returns them.
    """
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 3.3), layout="constrained", dpi=120)
        panels = figure.subplots(1, 3)
        fields = {name: rows for name, rows in parts.items() if "crps_fair" in rows[0]}
        for axes, key, title in ((panels[0], "crps_fair", "fair CRPS"), (panels[2], "spread", "spread")):
            for (name, rows), colour in zip(fields.items(), _COLOURS, strict=False):
                _draw_difference(axes, rows, key, colour, name)
            axes.set(title=title)
        for name, rows in parts.items():
            whole = [key for key in rows[0] if key != "lead_hours" and name not in fields]
            for key, colour in zip(whole, _COLOURS, strict=False):
                _draw_difference(panels[1], rows, key, colour, key.replace("_", " "))
        panels[1].set(title="scores of whole fields")
        panels[0].set(ylabel="difference (%)")
        for axes in panels:
            axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
            axes.set(xlabel="lead time (days)", xlim=(0, None))
            axes.legend(frameon=False, fontsize=8)
    return figure


def draw_residuals(residuals: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw η of normalised residuals by wavenumber, with 0.9 to 1.1 as a shade, and their correlations in time."""
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 3.5), layout="constrained", dpi=120)
        eta, correlation = figure.subplots(1, 2)
        eta.axhspan(0.9, 1.1, color=GREY, alpha=0.2, linewidth=0)
        for (name, rows), colour in zip(residuals.items(), _COLOURS, strict=False):
            eta.plot(np.arange(1, len(rows["eta"])), rows["eta"][1:], color=colour, label=name)
            for kind, line in (("truth", "--"), ("members", "-")):
                values = rows[f"correlation_{kind}"]
                correlation.plot(rows["lag_hours"], values, line, marker=".", color=colour, label=f"{name}, {kind}")
        eta.set(title="η of members' residuals", xlabel="total wavenumber", ylabel="power ÷ that of the truth's")
        eta.set(xscale="log", ylim=(0, None))
        use_plain_ticks(eta.xaxis)
        correlation.set(title="correlation of residuals in time", xlabel="hours apart", xlim=(0, None))
        for axes, level in ((eta, 1), (correlation, 0)):
            axes.axhline(level, color=GREY, linewidth=0.8, zorder=0)
            axes.legend(frameon=False, fontsize=8)
    return figure


def draw_stability(stability: Mapping[str, Any]) -> Figure:
    """Draw the distance of mean rollouts from climatology by time step, and of latitude bands from training years."""
    with matplotlib.style.context(STYLE):
        bands = stability.get("bands", {})
        figure = Figure(figsize=(10.5 if bands else 4.5, 3.5), layout="constrained", dpi=120)
        panels = figure.subplots(1, 3 if bands else 1, squeeze=False)[0]
        growth = stability["growth"]
        for name, colour, label in (
            ("amplitudes", PURPLE, "rollout"),
            ("season_amplitudes", GREY, "climatology of the dates"),
        ):
            values = np.array(growth[name], np.float64)
            panels[0].plot(growth["first_step"] + np.arange(len(values)), values, color=colour, label=label)
        panels[0].legend(frameon=False, fontsize=8)
        panels[0].set(
            title="mean rollout, median over starts", xlabel="time step", ylabel="distance from the mean of all dates"
        )
        panels[0].set(yscale="log")
        use_plain_ticks(panels[0].yaxis)
        for axes, part in zip(panels[1:], ("mean", "variance"), strict=False):
            axes.axvspan(-3, 3, color=GREY, alpha=0.2, linewidth=0)
            for (name, rows), colour in zip(bands.items(), _COLOURS, strict=False):
                latitudes = [(row["south"] + row["north"]) / 2 for row in rows]
                axes.plot([row[f"{part}_distance"] for row in rows], latitudes, "o", color=colour, label=name)
            axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
            axes.set(title=f"{part} of latitude bands", ylabel="latitude", ylim=(-90, 90), yticks=range(-90, 91, 30))
            axes.set(xlabel="distance (standard deviations between years)")
            axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_difference(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, colour: str, label: str) -> None:
    """Draw the relative difference of one score by lead time, with its interval as a shade if the rows have it."""
    days = np.array([row["lead_hours"] for row in rows]) / 24
    relative = np.array([row[key]["relative"] for row in rows], np.float64)
    axes.plot(days, 100 * relative, ".-", color=colour, label=label)
    if all("relative_interval" in row[key] for row in rows):
        low, high = np.transpose([row[key]["relative_interval"] for row in rows]) * 100
        axes.fill_between(days, low, high, color=colour, alpha=0.15, linewidth=0)
