"""Climatology as an ensemble: states of other years around the same date."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather.errors import TrainingDataError
from weather.features import year_angle

WINDOW_DAYS = 35
_DAYS_OF_A_TURN = 365.2422 / (2 * np.pi)


def climatology_indices(
    valid_times: NDArray[Any], valid_time: np.datetime64, years: Sequence[int], count: int
) -> NDArray[np.int64]:
    """Return `count` indices of `valid_times` in `years`, within 35 days of the date of `valid_time` in any year.

    They are evenly spread over all that qualify, so that they depend on nothing else. Raises `TrainingDataError` where
    fewer than `count` qualify.
    """
    in_years = np.isin(valid_times.astype("datetime64[Y]").astype(int) + 1970, years)
    turns = np.array([year_angle(time) for time in valid_times]) - year_angle(valid_time)
    days = np.abs((turns + np.pi) % (2 * np.pi) - np.pi) * _DAYS_OF_A_TURN
    near = np.nonzero(in_years & (days <= WINDOW_DAYS))[0]
    if len(near) < count:
        raise TrainingDataError(
            f"Climatology needs {count} states of {list(years)} within {WINDOW_DAYS} days of the date of {valid_time}. "
            f"Got: {len(near)}. Give the data of those years too."
        )
    return near[np.linspace(0, len(near) - 1, count).round().astype(np.int64)]
