"""Climatology as an ensemble: states of other years near the same date or, in short records, of the whole record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.errors import TrainingDataError, VerificationError
from weather.features import year_angle, year_angles
from weather.grids import Grid
from weather.periods import Period, format_periods, select_times
from weather.variables import KNOWN

WINDOW_DAYS = 35
NUM_STATES = 50

ClimatologyKind = Literal["seasonal", "pooled"]
"""States near a date in any year, or states of all dates of a record."""

_DAYS_PER_RADIAN = 365.2422 / (2 * np.pi)


@dataclass(frozen=True)
class Climatology:
    """States of other years, float32 (state, variable, latitude, longitude), and their valid times."""

    variables: tuple[str, ...]
    grid: Grid
    valid_times: NDArray[Any]
    states: NDArray[np.float32]

    def to_dataset(self) -> xr.Dataset:
        """Return the states as CF variables (state, latitude, longitude)."""
        dims = ("state", "latitude", "longitude")
        attributes = {name: {"long_name": KNOWN[name].long_name, "units": KNOWN[name].units} for name in self.variables}
        return xr.Dataset(
            {name: (dims, self.states[:, channel], attributes[name]) for channel, name in enumerate(self.variables)},
            {
                "time": ("state", self.valid_times.astype("datetime64[ns]")),
                "latitude": ("latitude", np.asarray(self.grid.latitude), {"units": "degrees_north"}),
                "longitude": ("longitude", np.asarray(self.grid.longitude), {"units": "degrees_east"}),
            },
            {"Conventions": "CF-1.11", "title": f"Climatology: {len(self.states)} states of other years"},
        )

    @classmethod
    def read(cls, path: Path, variables: Sequence[str], grid: Grid) -> Self:
        """Return the climatology of a file that `to_dataset` wrote, with `variables` on `grid`.

        Raises `VerificationError` if the file is of another kind, or lacks a variable or the grid.
        """
        try:
            with xr.open_dataset(path) as dataset:
                stored = Grid.from_coordinates(dataset["latitude"].values, dataset["longitude"].values)
                fields = [dataset[name].transpose("state", "latitude", "longitude").values for name in variables]
                times = dataset["time"].values.astype("datetime64[s]")
        except (OSError, ValueError, KeyError) as error:
            raise VerificationError(
                f"`{path}` must be a file of `warmcast climatology` with {', '.join(variables)}. Got: {error}"
            ) from error
        if not stored.matches(grid):
            raise VerificationError(f"`{path}` is on the grid {stored}, but must be on that of the forecast: {grid}.")
        return cls(tuple(variables), grid, times, np.stack(fields, axis=1))


def choose_climatology(
    valid_times: NDArray[Any], wanted: Iterable[np.datetime64], years: Sequence[Period], count: int = NUM_STATES
) -> ClimatologyKind:
    """Return `seasonal` if `years` have `count` states within 35 days of the date of each wanted time, else `pooled`.

    Records of few years have no climatology of a date, but one of all their frames.
    """
    angles = year_angles(valid_times[select_times(valid_times, years)])
    counts = [int(_is_near(angles, date, WINDOW_DAYS).sum()) for date in {year_angle(time) for time in wanted}]
    return "seasonal" if min(counts, default=0) >= count else "pooled"


def climatology_indices(
    valid_times: NDArray[Any],
    valid_time: np.datetime64,
    years: Sequence[Period],
    count: int = NUM_STATES,
    *,
    window_days: float | None = WINDOW_DAYS,
) -> NDArray[np.int64]:
    """Return `count` indices of `valid_times` in `years`, within `window_days` of the date of `valid_time` in any year.

    None is no window, so that states are of all dates. They are evenly spread over all indices that qualify, so they
    depend on the arguments alone. Raises `TrainingDataError` if fewer than `count` qualify.
    """
    qualify = select_times(valid_times, years)
    if window_days is not None:
        qualify &= _is_near(year_angles(valid_times), year_angle(valid_time), window_days)
    found = np.flatnonzero(qualify)
    if len(found) < count:
        near = "" if window_days is None else f" within {window_days:g} days of the date of {valid_time}"
        raise TrainingDataError(
            f"Climatology needs {count} states of {format_periods(years)}{near}. Got: {len(found)}. Give the data of "
            "those years too."
        )
    return found[np.linspace(0, len(found) - 1, count).round().astype(np.int64)]


def _is_near(angles: NDArray[np.float64], angle: float, window_days: float) -> NDArray[np.bool_]:
    """Return whether angles of the season are within a window of days around another one."""
    days = np.abs((angles - angle + np.pi) % (2 * np.pi) - np.pi) * _DAYS_PER_RADIAN
    return np.asarray(days <= window_days)
