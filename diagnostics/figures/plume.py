"""Plume of an ensemble: time series of all members at a grid point, with median and quantiles."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.dates
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.figures.quantity import Quantity
from diagnostics.figures.style import BLUE, PURPLE, STYLE, format_members, format_place, format_time

_dates: Any = matplotlib.dates
"""Typed as `Any` because matplotlib has no type hints for this module."""

_DATE_FORMATS = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M"]
_ROUND_DATE_FORMATS = ["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
_BANDS = ((10, 90, 0.18), (25, 75, 0.32))


@dataclass(frozen=True)
class Location:
    """The place that a plume is requested for and the grid point nearest to it, each (latitude, longitude)."""

    place: tuple[float, float]
    grid_point: tuple[float, float]

    def __str__(self) -> str:
        place, grid_point = format_place(*self.place), format_place(*self.grid_point)
        return place if place == grid_point else f"{place} (grid point {grid_point})"


def draw_plume(
    quantity: Quantity,
    init_time: np.datetime64,
    lead_times: Sequence[np.timedelta64],
    series: NDArray[np.float32],
    location: Location,
) -> Figure:
    """Draw the members' `series` (lead time, member) at a location, with median and quantiles over members.

    If the first lead time is 0, the values there are those of the analysis and are marked. NaN is left
    out of median and quantiles.
    """
    times = init_time + np.array(lead_times)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(8.2, 3.6), layout="constrained", dpi=130)
        axes = figure.subplots()
        for low, high, shade in _BANDS:
            quantiles = np.nanpercentile(series, [low, high], axis=1)
            axes.fill_between(times, *quantiles, color=BLUE, alpha=shade, linewidth=0, label=f"{low}–{high} %")
        points: dict[str, Any] = {"marker": ".", "clip_on": False} if len(times) == 1 else {}
        axes.plot(times, series, color=BLUE, linewidth=0.5, alpha=0.6, **points)
        axes.plot(times, np.nanmedian(series, axis=1), color=PURPLE, linewidth=1.8, label="median", **points)
        if times[0] == init_time:
            analyses = np.unique(series[0])
            axes.plot(np.full(len(analyses), init_time), analyses, "k.", clip_on=False, zorder=5, label="analysis")
        if quantity.is_magnitude:
            axes.set_ylim(bottom=0)
        set_date_axis(axes, init_time, times[-1])
        axes.set_xlabel(f"valid time (UTC), forecast from {format_time(init_time)}")
        axes.set_ylabel(quantity.axis_label())
        axes.set_title(f"{location}, {format_members(series.shape[1])}", loc="left")
        figure.legend(frameon=False, ncols=4, loc="outside lower center", fontsize=8)
    return figure


def set_date_axis(axes: Axes, first: np.datetime64, last: np.datetime64) -> None:
    """Limit the horizontal axis to an interval of time and label it with dates, or times of day if days are few."""
    axes.set_xlim(_dates.date2num(first), _dates.date2num(last))
    locator = _dates.AutoDateLocator(minticks=3, maxticks=8)
    locator.intervald[_dates.HOURLY] = [1, 2, 3, 6, 12]
    formatter = _dates.ConciseDateFormatter(
        locator, formats=_DATE_FORMATS, zero_formats=_ROUND_DATE_FORMATS, show_offset=False
    )
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
