"""Pictures of an evaluation: scores by lead time with references, spread and skill, ranks, spectra, probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from diagnostics.figures.style import BLUE, GREY, OCHRE, PURPLE, STYLE, format_units
from diagnostics.scores.wind import WIND_SPEED

Rows = Sequence[Mapping[str, Any]]
"""Scores of one variable, one row per lead time, as `aggregate_records` returns them with `lead_hours` added."""


_CONTROL = "Gaussian noise, no flow"


def draw_score_panels(units: str, rows: Rows, control: Rows | None = None) -> Figure:
    """Draw six panels of one variable's scores.

    The upper row shows CRPS, spread and RMSE, and their ratio by lead time, with 95 % intervals as shades if the rows
    have them, and with the CRPS and the ratio of a `control`. The lower row shows rank histogram, spectrum and η of
    three lead times.
    """
    units = format_units(units)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 6.2), layout=ConstrainedLayoutEngine(hspace=0.06), dpi=120)
        (crps, skill, ratio), (ranks, spectrum, eta) = figure.subplots(2, 3)
        days = np.array([row["lead_hours"] for row in rows]) / 24
        _draw_crps(crps, days, rows, units, control)
        _draw_skill(skill, days, rows, units)
        _draw_with_interval(ratio, days, rows, "spread_skill", PURPLE, "forecast")
        if control is not None:
            _draw_control(ratio, control, "spread_skill")
            ratio.legend(frameon=False)
        ratio.set(title="spread ÷ skill", xlabel="lead time (days)", xlim=(0, days[-1]))
        ratio.set_ylim(0, max(1.2, ratio.get_ylim()[1]))
        for row, colour in _select_rows(rows):
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
            axes.axhline(1, color=GREY, linewidth=0.8, zorder=0)
        for axes in (ranks, spectrum, eta):
            axes.legend(frameon=False, fontsize=8)
        for axes in (spectrum, eta):
            axes.set(xscale="log", yscale="log", xlabel="total wavenumber")
            use_plain_ticks(axes.xaxis)
        use_plain_ticks(eta.yaxis)
    return figure


def draw_probability_panels(result: Mapping[str, Any]) -> Figure:
    """Draw panels of Brier scores, reliability and, if known, PIT of the warm start.

    `result` holds `events` as `combine_starts` returns them, and optionally `warm_start`, the Gaussian's calibration by
    variable.
    """
    fits = result.get("warm_start", {})
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 3.5), layout="constrained", dpi=120)
        panels = figure.subplots(1, 3 if fits else 2)
        for (event, rows), colour in zip(result["events"].items(), (BLUE, PURPLE), strict=True):
            days = np.array([row["lead_hours"] for row in rows]) / 24
            _draw_with_interval(panels[0], days, rows, "brier_fair", colour, _format_event(event))
            panels[0].set(title="fair Brier score", xlabel="lead time (days)", ylim=(0, None), xlim=(0, days[-1]))
        _draw_reliability(panels[1], next(iter(result["events"].items())))
        for (name, fit), colour in zip(fits.items(), (OCHRE, BLUE, PURPLE) * len(fits), strict=False):
            bins = len(fit["pit"])
            covered = f"{100 * fit['coverage_50']:.0f} % in 50 %, {100 * fit['coverage_90']:.0f} % in 90 %"
            heights = np.asarray(fit["pit"]) * bins
            edges = np.linspace(0, 1, bins + 1)
            panels[2].stairs(heights, edges, baseline=None, color=colour, label=f"{name}: {covered}")
            panels[2].axhline(1, color=GREY, linewidth=0.8, zorder=0)
            panels[2].set(title="PIT of the warm start", xlabel="Φ((truth − mean) / std)", ylabel="relative to flat")
            panels[2].set(xlim=(0, 1), ylim=(0, None))
        for axes in panels:
            axes.legend(frameon=False, fontsize=8)
    return figure


def _draw_reliability(axes: Axes, event: tuple[str, Rows]) -> None:
    """Draw on `axes` how often an event occurred, by its forecast probability, with a line for each lead time.

    Probabilities that were forecast on less than 0.1 % of the area are left out.
    """
    name, rows = event
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
    for row, colour in _select_rows(rows):
        forecast, occurred = np.asarray(row["forecast"]), np.asarray(row["occurred"])
        enough = forecast > 1e-3
        probabilities = np.linspace(0, 1, len(forecast))[enough]
        axes.plot(
            probabilities, occurred[enough] / forecast[enough], ".-", color=colour, label=f"+{row['lead_hours']} h"
        )
    axes.set(title=f"reliability, {_format_event(name)}", xlabel="fraction of members", ylabel="observed frequency")
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _draw_crps(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, units: str, control: Rows | None) -> None:
    """Draw the fair CRPS by lead time, with persistence and climatology if the rows have them, and of a control."""
    _draw_with_interval(axes, days, rows, "crps_fair", PURPLE, "forecast")
    if control is not None:
        _draw_control(axes, control, "crps_fair")
    for key, colour, label in (("persistence_mae", OCHRE, "persistence"), ("climatology_crps", GREY, "climatology")):
        if key in rows[0]:
            axes.plot(days, [row[key] for row in rows], color=colour, label=label)
    axes.set(title="fair CRPS", xlabel="lead time (days)", ylabel=units, ylim=(0, None), xlim=(0, days[-1]))
    axes.legend(frameon=False)


def _draw_control(axes: Axes, control: Rows, key: str) -> None:
    """Draw the score `key` of a control, which may lack the last lead times."""
    days = [row["lead_hours"] / 24 for row in control]
    axes.plot(days, [row[key] for row in control], color=BLUE, linestyle="--", label=_CONTROL)


def _draw_skill(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, units: str) -> None:
    """Draw the RMSE of the ensemble mean and the spread by lead time."""
    _draw_with_interval(axes, days, rows, "rmse", PURPLE, "RMSE of the mean")
    _draw_with_interval(axes, days, rows, "spread", BLUE, "spread")
    axes.set(title="spread and skill", xlabel="lead time (days)", ylabel=units, ylim=(0, None), xlim=(0, days[-1]))
    axes.legend(frameon=False)


def _format_event(event: str) -> str:
    """Return an event such as `wind_speed_10m > 10` as a label for readers."""
    return f"{event.replace(WIND_SPEED, '10 m wind speed')} {format_units('m s-1')}"


def use_plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis with 1, 2, 5, 10 instead of powers of ten."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _draw_with_interval(axes: Axes, days: np.ndarray[Any, Any], rows: Rows, key: str, colour: str, label: str) -> None:
    """Draw the score `key` of all rows against `days`, with its intervals as a shade where the rows have them."""
    axes.plot(days, [row[key] for row in rows], color=colour, linewidth=1.8, label=label)
    limits = [(day, *row["intervals"][key]) for day, row in zip(days, rows, strict=True) if "intervals" in row]
    if limits:
        axes.fill_between(*np.transpose(limits), color=colour, alpha=0.2, linewidth=0)


def _select_rows(rows: Rows) -> list[tuple[Mapping[str, Any], str]]:
    """Return the rows of the first, the middle and the last lead time, each with its colour."""
    indices = sorted({0, len(rows) // 2, len(rows) - 1})
    return [(rows[index], colour) for index, colour in zip(indices, (OCHRE, BLUE, PURPLE), strict=False)]
