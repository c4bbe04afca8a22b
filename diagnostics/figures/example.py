"""Pictures of one forecast with its truth: time series at six grid points, and maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diagnostics.figures.maps import draw_maps
from diagnostics.figures.plume import set_date_axis
from diagnostics.figures.quantity import Quantity, select_quantity
from diagnostics.figures.style import BLUE, PURPLE, STYLE, format_place, format_time
from weather.grids import Grid

_PLACES = ((55.0, 10.0), (40.0, -60.0), (5.0, 100.0), (-5.0, -30.0), (-35.0, 140.0), (-55.0, -80.0))


@dataclass(frozen=True)
class Example:
    """One forecast of a quantity and its truth.

    `members` is (lead time, member, latitude, longitude), `truth` the same without the member axis, NaN at lead times
    whose truth is not known.
    """

    quantity: Quantity
    grid: Grid
    init_time: np.datetime64
    time_step: np.timedelta64
    members: NDArray[np.float32]
    truth: NDArray[np.float32]

    @classmethod
    def from_fields(
        cls,
        members: NDArray[np.float32],
        truth: NDArray[np.float32],
        variables: Sequence[str],
        grid: Grid,
        init_time: np.datetime64,
        time_step: np.timedelta64,
    ) -> Self:
        """Select the quantity to draw from `members` (lead time, member, variable, …) and `truth`, without members."""
        quantity, fields = select_quantity(members, variables)
        return cls(quantity, grid, init_time, time_step, fields, select_quantity(truth, variables)[1])

    def lead_time(self, index: int) -> np.timedelta64:
        """Return the lead time of an index; index 0 is one time step ahead."""
        return (index + 1) * self.time_step


def draw_spaghetti(example: Example) -> Figure:
    """Draw time series of all members and of the truth, at six places in both hemispheres and the tropics."""
    times = example.init_time + np.array([example.lead_time(index) for index in range(len(example.members))])
    latitude, longitude = np.asarray(example.grid.latitude), np.asarray(example.grid.longitude)
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(10.5, 5.2), layout="constrained", dpi=120)
        panels = figure.subplots(2, 3, sharex=True, sharey=True)
        for axes, (north, east) in zip(panels.T.flat, _PLACES, strict=True):
            row = int(np.abs(latitude - north).argmin())
            column = int(np.abs((longitude - east + 180) % 360 - 180).argmin())
            lines = example.members[:, :, row, column]
            labels = ["members"] + [None] * (lines.shape[1] - 1)
            axes.plot(times, lines, color=BLUE, linewidth=0.5, alpha=0.6, label=labels)
            axes.plot(times, lines.mean(axis=1), color=PURPLE, linewidth=1.6, label="mean of the members")
            axes.plot(times, example.truth[:, row, column], "k.-", linewidth=1.2, markersize=4, label="truth")
            axes.set_title(format_place(latitude[row], longitude[column]), loc="left")
        set_date_axis(panels[0, 0], example.init_time, times[-1])
        panels[0, 0].legend(frameon=False, fontsize=8)
        panels[0, 0].set_ylim(bottom=min(0.0, float(np.nanmin(example.members))))
        figure.supxlabel(f"valid time (UTC), forecast from {format_time(example.init_time)}", fontsize=9)
        figure.supylabel(example.quantity.axis_label(), fontsize=9)
    return figure


def draw_example_maps(example: Example) -> Figure:
    """Return a figure with maps of truth, one member, mean and spread at up to three lead times whose truth is known.

    The truth of at least one lead time must be known.
    """
    known = np.nonzero(np.isfinite(example.truth).all(axis=(1, 2)))[0]
    indices = sorted({int(known[place]) for place in (len(known) // 8, len(known) // 2, -1)})
    fields = [(example.lead_time(index), example.members[index]) for index in indices]
    truth = [example.truth[index] for index in indices]
    return draw_maps(example.quantity, example.grid, example.init_time, fields, truth)
