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


@dataclass(frozen=True)
class ClimatologyChoice:
    """Which frames of a record are the states of climatology: those near a date, or of the whole record.

    `kind` says which. A climatology `by date` has the season of the date; a `pooled` one, for records of few years, is
    the same for all dates. `candidates` are the indices of all frames that may be states.
    """

    kind: Literal["by date", "pooled"]
    valid_times: NDArray[Any]
    periods: tuple[Period, ...]
    candidates: NDArray[np.int64]
    count: int = NUM_STATES

    def indices(self, valid_time: np.datetime64) -> NDArray[np.int64]:
        """Return the indices of the states for a valid time, evenly spread over all that qualify."""
        if self.kind == "pooled":
            return _spread(self.candidates, self.count)
        return climatology_indices(self.valid_times, valid_time, self.periods, self.count)

    def __str__(self) -> str:
        """Return what the climatology is in a few words."""
        of = f"{self.count} of the {len(self.candidates)} frames of {format_periods(self.periods)}"
        return f"pooled: {of}, for all dates" if self.kind == "pooled" else f"by date: {of}, near each date"


def choose_climatology(
    valid_times: NDArray[Any], wanted: Iterable[np.datetime64], periods: Sequence[Period], count: int = NUM_STATES
) -> ClimatologyChoice:
    """Return a climatology by date if each of the `wanted` times has `count` states, else a pooled one.

    The states are of the frames in `periods`. Raises `TrainingDataError` if they have fewer than `count` frames.
    """
    candidates = np.flatnonzero(select_times(valid_times, periods))
    if len(candidates) < count:
        raise TrainingDataError(
            f"Climatology needs {count} states of {format_periods(periods)}. Got: {len(candidates)}. Give the data of "
            "those years too."
        )
    angles = year_angles(valid_times[candidates])
    dates = {year_angle(time) for time in wanted}
    is_dated = all(int(_is_near(angles, date).sum()) >= count for date in dates)
    kind: Literal["by date", "pooled"] = "by date" if is_dated else "pooled"
    return ClimatologyChoice(kind, valid_times, tuple(periods), candidates, count)


def climatology_indices(
    valid_times: NDArray[Any], valid_time: np.datetime64, years: Sequence[Period], count: int = NUM_STATES
) -> NDArray[np.int64]:
    """Return `count` indices of `valid_times` in `years`, within 35 days of the date of `valid_time` in any year.

    They are evenly spread over all indices that qualify, so they depend on the arguments alone. Raises
    `TrainingDataError` if fewer than `count` qualify.
    """
    is_near = _is_near(year_angles(valid_times), year_angle(valid_time))
    near = np.flatnonzero(select_times(valid_times, years) & is_near)
    if len(near) < count:
        raise TrainingDataError(
            f"Climatology needs {count} states of {format_periods(years)} within {WINDOW_DAYS} days of the date of "
            f"{valid_time}. Got: {len(near)}. Give the data of those years too."
        )
    return _spread(near, count)


def _is_near(angles: NDArray[np.float64], angle: float) -> NDArray[np.bool_]:
    """Return whether angles of the season are within the window of days around another one."""
    return np.abs((angles - angle + np.pi) % (2 * np.pi) - np.pi) * _DAYS_PER_RADIAN <= WINDOW_DAYS


def _spread(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return `count` of some indices, evenly spread."""
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(np.int64)]
