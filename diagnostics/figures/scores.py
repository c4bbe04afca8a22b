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
    """Draw four panels of one variable's scores into a PNG: CRPS, spread and RMSE, rank histogram, η by wavenumber."""
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
        spectrum.set_xscale("log")
        figure.suptitle(name, fontsize=11)
        figure.savefig(target, format="png")


def _crps(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, units: str) -> None:
    axes.plot(days, [row["crps_fair"] for row in rows], color=_PURPLE, linewidth=1.8, label="forecast (95 %)")
    low, high = np.transpose([row["crps_fair_interval"] for row in rows])
    axes.fill_between(days, low, high, color=_PURPLE, alpha=0.2, linewidth=0)
    axes.plot(days, [row["persistence_mae"] for row in rows], color=_OCHRE, label="persistence")
    axes.plot(days, [row["climatology_crps"] for row in rows], color=_GREY, label="climatology")
    axes.set(title="fair CRPS", xlabel="lead time (days)", ylabel=units, ylim=(0, None), xlim=(0, days[-1]))
    axes.legend(frameon=False)


def _skill(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, units: str) -> None:
    axes.plot(days, [row["rmse"] for row in rows], color=_PURPLE, linewidth=1.8, label="RMSE of the mean")
    axes.plot(days, [row["spread"] for row in rows], color=_BLUE, linewidth=1.8, label="spread")
    axes.set(title="spread and skill", xlabel="lead time (days)", ylabel=units, ylim=(0, None), xlim=(0, days[-1]))
    axes.legend(frameon=False)


def _chosen(rows: Rows) -> list[tuple[Mapping[str, Any], str]]:
    """Return the first lead time, one in the middle and the last, each with its colour."""
    indices = sorted({0, len(rows) // 2, len(rows) - 1})
    return [(rows[index], colour) for index, colour in zip(indices, (_OCHRE, _BLUE, _PURPLE), strict=False)]
