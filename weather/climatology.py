"""Climatology as an ensemble: states of other years near the same date."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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


def climatology_indices(
    valid_times: NDArray[Any], valid_time: np.datetime64, years: Sequence[Period], count: int = NUM_STATES
) -> NDArray[np.int64]:
    """Return `count` indices of `valid_times` in `years`, within 35 days of the date of `valid_time` in any year.

    They are evenly spread over all indices that qualify, so they depend on the arguments alone. Raises
    `TrainingDataError` if fewer than `count` qualify.
    """
    in_years = select_times(valid_times, years)
    angles = year_angles(valid_times) - year_angle(valid_time)
    days = np.abs((angles + np.pi) % (2 * np.pi) - np.pi) * _DAYS_PER_RADIAN
    near = np.nonzero(in_years & (days <= WINDOW_DAYS))[0]
    if len(near) < count:
        raise TrainingDataError(
            f"Climatology needs {count} states of {format_periods(years)} within {WINDOW_DAYS} days of the date of "
            f"{valid_time}. Got: {len(near)}. Give the data of those years too."
        )
    return near[np.linspace(0, len(near) - 1, count).round().astype(np.int64)]
