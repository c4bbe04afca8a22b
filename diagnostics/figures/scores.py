"""Pictures of an evaluation: scores by lead time beside references, spread and skill, ranks, spectra."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from diagnostics.figures.ensemble import STYLE
from diagnostics.wind import WIND_SPEED

_BLUE, _PURPLE, _GREY, _OCHRE = "#31688e", "#440154", "#888888", "#c08a1e"

Rows = Sequence[Mapping[str, Any]]
"""Summaries of one variable, one a lead time, as `diagnostics.records.summarise` makes them."""


def draw_score_panels(target: Path | BinaryIO, units: str, rows: Rows) -> None:
    """Draw six panels of one variable's scores into a PNG.

    By lead time CRPS, spread and RMSE, and their ratio; of three lead times rank histogram, spectrum and η by
    wavenumber. Shades are 95 % intervals where the rows have them.
    """
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 6.2), layout=ConstrainedLayoutEngine(hspace=0.06), dpi=120)
        (crps, skill, ratio), (ranks, spectrum, eta) = figure.subplots(2, 3)
        days = np.array([row["lead_hours"] for row in rows]) / 24
        _crps(crps, days, rows, units)
        _skill(skill, days, rows, units)
        _with_interval(ratio, days, rows, "spread_skill", _PURPLE, "forecast")
        ratio.set(title="spread ÷ skill", xlabel="lead time (days)", xlim=(0, days[-1]))
        ratio.set_ylim(0, max(1.2, ratio.get_ylim()[1]))
        for row, colour in _chosen(rows):
            label = f"+{row['lead_hours']} h"
            counts = np.asarray(row["ranks"]) * len(row["ranks"])
            ranks.step(np.arange(len(counts)), counts, where="mid", color=colour, label=label)
            wavenumbers = np.arange(1, len(row["eta"]))
            spectrum.plot(wavenumbers, row["spectrum"][1:], color=colour, label=label)
            eta.plot(wavenumbers, row["eta"][1:], color=colour, label=label)
        spectrum.plot(wavenumbers, row["spectrum_truth"][1:], "k--", linewidth=1, label=f"truth, {label}")
        ranks.set(title="rank histogram", xlabel="rank of the truth", ylabel="relative to flat", ylim=(0, None))
        spectrum.set(title="spectrum of a member", ylabel=f"power (({units})²)")
        eta.set(title="η of a member", ylabel="power ÷ that of the truth")
        for axes in (ratio, ranks, eta):
            axes.axhline(1, color=_GREY, linewidth=0.8, zorder=0)
        for axes in (ranks, spectrum, eta):
            axes.legend(frameon=False, fontsize=8)
        for axes in (spectrum, eta):
            axes.set(xscale="log", yscale="log", xlabel="total wavenumber")
            _plain_ticks(axes.xaxis)
        _plain_ticks(eta.yaxis)
        figure.savefig(target, format="png")


def draw_probability_panels(target: Path | BinaryIO, result: Mapping[str, Any]) -> None:
    """Draw what is scored of probabilities into a PNG: Brier scores, reliability, the warm start's PIT if it is known.

    `result` holds `events` as `diagnostics.comparison.combine` returns them, and may hold `warm_start`.
    """
    fits = result.get("warm_start", {})
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 3.5), layout="constrained", dpi=120)
        panels = figure.subplots(1, 3 if fits else 2)
        for (event, rows), colour in zip(result["events"].items(), (_BLUE, _PURPLE), strict=True):
            days = np.array([row["lead_hours"] for row in rows]) / 24
            _with_interval(panels[0], days, rows, "brier_fair", colour, _told(event))
            panels[0].set(title="fair Brier score", xlabel="lead time (days)", ylim=(0, None), xlim=(0, days[-1]))
        _reliability(panels[1], next(iter(result["events"].items())))
        for (name, fit), colour in zip(fits.items(), (_OCHRE, _BLUE, _PURPLE) * len(fits), strict=False):
            bins = len(fit["pit"])
            covered = f"{100 * fit['coverage_50']:.0f} % in 50 %, {100 * fit['coverage_90']:.0f} % in 90 %"
            heights = np.asarray(fit["pit"]) * bins
            edges = np.linspace(0, 1, bins + 1)
            panels[2].stairs(heights, edges, baseline=None, color=colour, label=f"{name}: {covered}")
            panels[2].axhline(1, color=_GREY, linewidth=0.8, zorder=0)
            panels[2].set(title="PIT of the warm start", xlabel="Φ((truth − mean) / std)", ylabel="relative to flat")
            panels[2].set(xlim=(0, 1), ylim=(0, None))
        for axes in panels:
            axes.legend(frameon=False, fontsize=8)
        figure.savefig(target, format="png")


def _reliability(axes: Axes, event: tuple[str, Rows]) -> None:
    """Draw how often an event came true by its forecast probability, where at least 0.1 % of the area had it."""
    name, rows = event
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8)
    for row, colour in _chosen(rows):
        forecast, occurred = np.asarray(row["forecast"]), np.asarray(row["occurred"])
        enough = forecast > 1e-3
        probabilities = np.linspace(0, 1, len(forecast))[enough]
        axes.plot(
            probabilities, occurred[enough] / forecast[enough], ".-", color=colour, label=f"+{row['lead_hours']} h"
        )
    axes.set(title=f"reliability, {_told(name)}", xlabel="share of members", ylabel="came true")
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _crps(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, units: str) -> None:
    _with_interval(axes, days, rows, "crps_fair", _PURPLE, "forecast")
    for key, colour, label in (("persistence_mae", _OCHRE, "persistence"), ("climatology_crps", _GREY, "climatology")):
        if key in rows[0]:
            axes.plot(days, [row[key] for row in rows], color=colour, label=label)
    axes.set(title="fair CRPS", xlabel="lead time (days)", ylabel=units, ylim=(0, None), xlim=(0, days[-1]))
    axes.legend(frameon=False)


def _skill(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, units: str) -> None:
    _with_interval(axes, days, rows, "rmse", _PURPLE, "RMSE of the mean")
    _with_interval(axes, days, rows, "spread", _BLUE, "spread")
    axes.set(title="spread and skill", xlabel="lead time (days)", ylabel=units, ylim=(0, None), xlim=(0, days[-1]))
    axes.legend(frameon=False)


def _told(event: str) -> str:
    """Return an event such as `wind_speed_10m > 10` in words."""
    return f"{event.replace(WIND_SPEED, '10 m wind speed')} m s-1"


def _plain_ticks(axis: Axis) -> None:
    """Number a logarithmic axis 1, 2, 5, 10 instead of in powers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _with_interval(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, key: str, colour: str, label: str) -> None:
    axes.plot(days, [row[key] for row in rows], color=colour, linewidth=1.8, label=label)
    if "intervals" in rows[0]:
        low, high = np.transpose([row["intervals"][key] for row in rows])
        axes.fill_between(days, low, high, color=colour, alpha=0.2, linewidth=0)


def _chosen(rows: Rows) -> list[tuple[Mapping[str, Any], str]]:
    """Return the first lead time, one in the middle and the last, each with its colour."""
    indices = sorted({0, len(rows) // 2, len(rows) - 1})
    return [(rows[index], colour) for index, colour in zip(indices, (_OCHRE, _BLUE, _PURPLE), strict=False)]
