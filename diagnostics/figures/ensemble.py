"""Pictures of an ensemble: maps of a member, the mean and the spread, and the plume at a grid point."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.figures.globe import draw_globe
from diagnostics.scores.moments import ensemble_mean, ensemble_std
from diagnostics.scores.wind import WIND_SPEED, append_wind_speed
from weather.grids import Grid
from weather.times import short_lead_time
from weather.variables import KNOWN

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Quantity:
    """Name and unit of the quantity that a picture shows."""

    label: str
    units: str


def select_quantity(fields: NDArray[np.float32], variables: Sequence[str]) -> tuple[Quantity, NDArray[np.float32]]:
    """Return the quantity to draw and its fields (…, latitude, longitude): 10 m wind speed, else the first variable."""
    extended, names = append_wind_speed(fields, variables)
    if WIND_SPEED in names:
        return Quantity("10 m wind speed", "m s-1"), extended[..., -1, :, :]
    return Quantity(KNOWN[names[0]].long_name, KNOWN[names[0]].units), extended[..., 0, :, :]


def draw_maps(
    target: Path | BinaryIO,
    quantity: Quantity,
    grid: Grid,
    init_time: np.datetime64,
    fields: Sequence[tuple[np.timedelta64, NDArray[np.float32]]],
    truth: Sequence[NDArray[np.float32]] = (),
) -> None:
    """Write maps of a member, the ensemble mean and the spread (rows) at several lead times (columns) to a PNG.

    Each of `fields` is (member, latitude, longitude) at a lead time; for a single member only the member is drawn.
    `truth`, one field per lead time, is drawn in a row above if given. Members that are not finite are left out, and
    the title says how many remain. Raises `ValueError` if none is finite.
    """
    total = fields[0][1].shape[0]
    fields = [(lead_time, field[np.isfinite(field).all(axis=(1, 2))]) for lead_time, field in fields]
    drawn_members = min(field.shape[0] for _, field in fields)
    if not drawn_members:
        raise ValueError("No member is finite.")
    rows = ["truth"] if truth else []
    rows += ["member", "ensemble mean", "spread"] if drawn_members > 1 else ["member"]
    count = f"{drawn_members} of {total}" if drawn_members < total else f"{total}"
    top = float(np.percentile(np.concatenate([field[:1] for _, field in fields]), 99.5))
    spread_top = float(np.percentile(ensemble_std(fields[-1][1]), 99.5)) if drawn_members > 1 else 1.0
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(4.1 * len(fields), 2.0 * len(rows) + 0.4), layout="constrained", dpi=130)
        axes = figure.subplots(len(rows), len(fields), subplot_kw={"projection": "mollweide"}, squeeze=False)
        for column, (lead_time, field) in enumerate(fields):
            drawn = [truth[column]] if truth else []
            drawn += [field[0], ensemble_mean(field), ensemble_std(field)] if drawn_members > 1 else [field[0]]
            for row, values in enumerate(drawn):
                is_spread = rows[row] == "spread"
                limits = (0.0, spread_top) if is_spread else (0.0, top)
                mesh = draw_globe(
                    axes[row, column], grid, values.astype(np.float64), "magma" if is_spread else "viridis", limits
                )
                if column == len(fields) - 1:
                    bar = figure.colorbar(mesh, ax=axes[row, :], shrink=0.8, aspect=18, pad=0.01)
                    bar.set_label(f"{rows[row]} ({quantity.units})")
                    bar.outline.set_visible(False)
            axes[0, column].set_title(f"+{short_lead_time(lead_time)}   {format_time(init_time + lead_time)}")
        figure.suptitle(f"{quantity.label}, {count} members from {format_time(init_time)}", fontsize=11)
        figure.savefig(target, format="png")


def draw_plume(
    path: Path | BinaryIO,
    quantity: Quantity,
    init_time: np.datetime64,
    lead_times: Sequence[np.timedelta64],
    series: NDArray[np.float32],
    place: tuple[float, float],
) -> None:
    """Write a plume to a PNG: members' `series` (lead time, member) at a point (latitude, longitude), and quantiles."""
    days = np.array([lead_time / np.timedelta64(1, "D") for lead_time in lead_times])
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(8.2, 3.4), layout="constrained", dpi=130)
        axes = figure.subplots()
        for low, high, shade, label in ((10, 90, 0.18, "10-90 %"), (25, 75, 0.32, "25-75 %")):
            quantiles = np.nanpercentile(series, [low, high], axis=1)
            axes.fill_between(days, quantiles[0], quantiles[1], color="#31688e", alpha=shade, linewidth=0, label=label)
        axes.plot(days, series, color="#31688e", linewidth=0.5, alpha=0.6)
        axes.plot(days, np.nanmedian(series, axis=1), color="#440154", linewidth=1.8, label="median")
        axes.set_xlim(0, days[-1])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"days after {format_time(init_time)}")
        axes.set_ylabel(f"{quantity.label} ({quantity.units})")
        axes.set_title(f"{format_place(*place)}, {series.shape[1]} members", loc="left")
        axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
        figure.savefig(path, format="png")


def format_time(time: np.datetime64) -> str:
    """Return a time to the hour, such as `2018-09-15 00 UTC`."""
    return f"{np.datetime_as_string(time, unit='h').replace('T', ' ')} UTC"


def format_place(latitude: float, longitude: float) -> str:
    """Return a place to the hundredth of a degree, such as `33.75°N, 78.75°W`."""
    east = round((longitude + 180) % 360 - 180, 2)
    north = round(latitude, 2)
    return f"{abs(north):g}°{'N' if north >= 0 else 'S'}, {abs(east):g}°{'E' if east >= 0 else 'W'}"
