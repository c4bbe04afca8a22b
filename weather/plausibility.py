"""Find what no analysis of the weather has, whichever checkpoint it starts: constant parts, equal frames, odd times."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from weather.grids import Grid
from weather.measures import Frames, format_latitude
from weather.times import format_time
from weather.units import alternative_units
from weather.variables import Variable

_PATCH_DEGREES = 10.0
"""Width and height of the smallest constant part that is found: chunks of files are larger, calms are smaller."""
_PATCH_POINTS = 4
"""Smallest number of rows and columns of a constant part: fewer points can be equal by the packing of a file."""
_ROUNDING = 1e-6
"""Values are equal if they differ by at most this part of the largest one: regridding rounds that much."""
_EARLIEST = np.datetime64("1900-01-01", "s")
_LATEST_AFTER_NOW = np.timedelta64(1, "D")


def find_frame_problems(frames: Frames, labels: Sequence[str], variables: Sequence[Variable], grid: Grid) -> list[str]:
    """Return a sentence for each field that is constant, or constant over a large part of the globe.

    `labels` say of which time, and of which analysis if there are several, each frame is.
    """
    problems = []
    for channel, variable in enumerate(variables):
        for frame, label in zip(frames[:, channel], labels, strict=True):
            tolerance = _ROUNDING * float(np.abs(frame).max())
            if np.ptp(frame) <= tolerance:
                value = f"{frame.flat[0] + 0:g} {variable.units}"
                problems.append(f"`{variable.name}` {label} is {value} everywhere, so it is no analysis.")
            elif (patch := _find_constant_patch(frame, tolerance, grid)) is not None:
                value, place = f"{patch[0]:g} {variable.units}", patch[1]
                problems.append(
                    f"`{variable.name}` {label} is {value} at all points around {place}: a part of the data seems to "
                    "be missing."
                )
    return problems


def _find_constant_patch(frame: NDArray[np.float32], tolerance: float, grid: Grid) -> tuple[float, str] | None:
    """Return the value of a part of equal values, and its place and size as text; None if there is none."""
    shares = _PATCH_DEGREES / 180, _PATCH_DEGREES / 360
    rows, columns = (max(round(share * size), _PATCH_POINTS) for share, size in zip(shares, grid.shape, strict=True))
    closed = np.concatenate([frame, frame[:, :columns]], axis=1)
    equals_south = np.abs(np.diff(closed, axis=0)) <= tolerance
    equals_east = np.abs(np.diff(closed, axis=1)) <= tolerance
    equal = equals_south[:, :-1] & equals_east[:-1]
    size = (rows - 1) * (columns - 1)
    if int(equal.sum()) < size:
        return None
    counts = np.pad(equal, ((1, 0), (1, 0))).cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    height, width = rows - 1, columns - 1
    sums = counts[height:, width:] - counts[:-height, width:] - counts[height:, :-width] + counts[:-height, :-width]
    found = np.argwhere(sums == size)
    if not len(found):
        return None
    row, column = found[len(found) // 2]
    latitude = grid.latitude[min(row + rows // 2, grid.shape[0] - 1)]
    longitude = grid.longitude[(column + columns // 2) % grid.shape[1]]
    extent = f"{rows * 180 / grid.shape[0]:.0f}° × {columns * 360 / grid.shape[1]:.0f}°"
    return float(closed[row, column]) + 0.0, f"{format_latitude(round(latitude))} {longitude:.0f}°E ({extent})"


def find_one_sided_winds(frames: Frames, labels: Sequence[str], variables: Sequence[Variable]) -> list[str]:
    """Return a sentence for each component of the wind that blows one way everywhere, as a spread or a speed would."""
    problems = []
    for channel, variable in enumerate(variables):
        for frame, label in zip(frames[:, channel], labels, strict=True):
            if variable.is_vector and (frame.min() >= 0 or frame.max() <= 0):
                sign = "negative" if frame.min() >= 0 else "positive"
                problems.append(
                    f"`{variable.name}` {label} is nowhere {sign}, so it is no component of the wind: it may be a "
                    "spread or a speed."
                )
    return problems


def find_equal_frames(
    frames: Sequence[Frames], times: Sequence[np.datetime64], variables: Sequence[Variable]
) -> list[str]:
    """Return a sentence for each variable of which two frames, which follow each other, are equal at every point."""
    problems = []
    for channel, variable in enumerate(variables):
        for (newer, older), of in zip(pairwise(frames), pairwise(times), strict=True):
            if np.array_equal(newer[:, channel], older[:, channel]):
                which = "in both frames" if len(frames) == 2 else f"at {' and '.join(map(format_time, of[::-1]))}"
                problems.append(f"`{variable.name}` is the same {which}, at every point: one of them has a wrong time.")
    return problems


def find_time_warnings(init_time: np.datetime64, now: np.datetime64) -> list[str]:
    """Return a sentence if no analysis can be of `init_time`: it is more than a day after `now`, or before 1900."""
    if init_time > now + _LATEST_AFTER_NOW:
        return [f"The initial time, {format_time(init_time)}, is in the future: it is now {format_time(now)} (UTC)."]
    if init_time < _EARLIEST:
        return [f"The initial time, {format_time(init_time)}, is before 1900, when there were no such analyses."]
    return []


def describe_range_problem(variable: Variable, low: float, high: float, label: str) -> str | None:
    """Return a sentence if values from `low` to `high` are impossible; it names the units in which they are not."""
    smallest, largest = variable.valid_range
    if smallest <= low and high <= largest:
        return None
    sentence = (
        f"`{variable.name}` must be within {smallest:g} and {largest:g} {variable.units} {label}. "
        f"Got: {low:g} to {high:g}."
    )
    for (factor, offset), units in alternative_units(variable.units):
        if smallest <= low * factor + offset and high * factor + offset <= largest:
            return f"{sentence} These numbers would be possible in {units}: the units of the file may be wrong."
        if smallest <= (low - offset) / factor and (high - offset) / factor <= largest:
            return f"{sentence} The file calls its units {units}, but the numbers fit {variable.units}."
    return sentence
