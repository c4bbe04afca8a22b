"""Pictures of an evaluation: scores by lead time beside references, spread and skill, ranks, spectra."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diagnostics.figures.ensemble import STYLE

_BLUE, _PURPLE, _GREY, _OCHRE = "#31688e", "#440154", "#888888", "#c08a1e"

Rows = Sequence[Mapping[str, Any]]
"""Summaries of one variable, one a lead time, as `diagnostics.records.summarise` makes them."""


def score_panels(target: Path | BinaryIO, name: str, units: str, rows: Rows) -> None:
    """Draw four panels of one variable's scores into a PNG: CRPS, spread and RMSE, rank histogram, η by wavenumber.

    Shades are 95 % intervals where the rows have them.
    """
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 6.6), layout="constrained", dpi=120)
        (crps, skill), (ranks, spectrum) = figure.subplots(2, 2)
        days = np.array([row["lead_hours"] for row in rows]) / 24
        _crps(crps, days, rows, units)
        _skill(skill, days, rows, units)
        for row, colour in _chosen(rows):
            label = f"+{row['lead_hours']} h"
            counts = np.asarray(row["ranks"]) * len(row["ranks"])
            ranks.step(np.arange(len(counts)), counts, where="mid", color=colour, label=label)
            eta = np.asarray(row["eta"])
            spectrum.plot(np.arange(1, len(eta)), eta[1:], color=colour, label=label)
        for axes, title, x, y in (
            (ranks, "rank histogram", "rank of the truth", "relative to flat"),
            (spectrum, "spectrum of a member", "total wavenumber", "η, power ÷ that of the truth"),
        ):
            axes.axhline(1, color=_GREY, linewidth=0.8, zorder=0)
            axes.set(title=title, xlabel=x, ylabel=y)
            axes.legend(frameon=False)
        spectrum.set(xscale="log", yscale="log")
        figure.suptitle(name, fontsize=11)
        figure.savefig(target, format="png")


def probability_panels(target: Path | BinaryIO, result: Mapping[str, Any]) -> None:
    """Draw what is scored of probabilities into a PNG: Brier scores, reliability, the warm start's PIT if it is known.

    `result` holds `events` as `diagnostics.comparison.combine` returns them, and may hold `warm_start`.
    """
    fits = result.get("warm_start", {})
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 3.5), layout="constrained", dpi=120)
        panels = figure.subplots(1, 3 if fits else 2)
        for (event, rows), colour in zip(result["events"].items(), (_BLUE, _PURPLE), strict=True):
            days = np.array([row["lead_hours"] for row in rows]) / 24
            _with_interval(panels[0], days, rows, "brier_fair", colour, f"{event.replace('_', ' ')} m s-1")
            panels[0].set(title="fair Brier score", xlabel="lead time (days)", ylim=(0, None), xlim=(0, days[-1]))
        _reliability(panels[1], next(iter(result["events"].items())))
        for (name, fit), colour in zip(fits.items(), (_OCHRE, _BLUE, _PURPLE) * len(fits), strict=False):
            bins = len(fit["pit"])
            covered = f"{100 * fit['coverage_50']:.0f} % in 50 %, {100 * fit['coverage_90']:.0f} % in 90 %"
            heights = np.asarray(fit["pit"]) * bins
            panels[2].stairs(heights, np.linspace(0, 1, bins + 1), color=colour, label=f"{name}: {covered}")
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
    axes.set(title=f"reliability, {name.replace('_', ' ')} m s-1", xlabel="share of members", ylabel="came true")
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


def _with_interval(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, key: str, colour: str, label: str) -> None:
    axes.plot(days, [row[key] for row in rows], color=colour, linewidth=1.8, label=label)
    if "intervals" in rows[0]:
        low, high = np.transpose([row["intervals"][key] for row in rows])
        axes.fill_between(days, low, high, color=colour, alpha=0.2, linewidth=0)


def _chosen(rows: Rows) -> list[tuple[Mapping[str, Any], str]]:
    """Return the first lead time, one in the middle and the last, each with its colour."""
    indices = sorted({0, len(rows) // 2, len(rows) - 1})
    return [(rows[index], colour) for index, colour in zip(indices, (_OCHRE, _BLUE, _PURPLE), strict=False)]
