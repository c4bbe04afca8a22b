"""A reference pattern, such as the training years' average: it tells a frame from the same one mirrored or turned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weather.grids import Grid
from weather.measures import Frames, Values
from weather.regrid import overlap_weights
from weather.variables import KNOWN

PATTERN_GRID = Grid(
    tuple(82.5 - 15.0 * row for row in range(12)),
    tuple(7.5 + 15.0 * column for column in range(24)),
)
"""The coarse grid of the average of the training years."""


@dataclass(frozen=True)
class Arrangement:
    """A wrong arrangement of frames: order and signs of the variables, reversed axes, rotation in columns."""

    order: tuple[int, ...]
    signs: tuple[int, ...]
    reverse_rows: bool = False
    reverse_columns: bool = False
    rotation: int = 0

    def apply(self, frames: Values) -> Values:
        """Return frames (frame, variable, latitude, longitude) in this arrangement."""
        arranged = frames[:, self.order] * np.array(self.signs)[:, None, None]
        arranged = arranged[:, :, ::-1] if self.reverse_rows else arranged
        arranged = arranged[..., ::-1] if self.reverse_columns else arranged
        return np.asarray(np.roll(arranged, self.rotation, axis=-1))


def coarsen(frames: Frames, grid: Grid) -> Values:
    """Return the area means of frames on `PATTERN_GRID`."""
    rows, columns = overlap_weights(grid, PATTERN_GRID)
    return np.asarray(rows @ frames.astype(np.float64) @ columns.T)


def wrong_arrangements(variables: Sequence[str]) -> dict[str, Arrangement]:
    """Return the arrangements that files are wrongly read in, by a description."""
    order, plus = tuple(range(len(variables))), (1,) * len(variables)
    half = PATTERN_GRID.shape[1] // 2
    found = {
        "with north and south exchanged": Arrangement(order, plus, reverse_rows=True),
        "with east and west exchanged": Arrangement(order, plus, reverse_columns=True),
        "turned by 180° of longitude": Arrangement(order, plus, rotation=half),
        "with north and south exchanged and turned by 180° of longitude": Arrangement(
            order, plus, reverse_rows=True, rotation=half
        ),
        "with north and south, and east and west exchanged": Arrangement(
            order, plus, reverse_rows=True, reverse_columns=True
        ),
    }
    vectors = [channel for channel, name in enumerate(variables) if KNOWN[name].is_vector]
    for flipped in [*([channel] for channel in vectors), vectors]:
        if flipped:
            signs = tuple(-1 if channel in flipped else 1 for channel in order)
            names = " and ".join(f"`{variables[channel]}`" for channel in flipped)
            found[f"with the opposite sign of {names}"] = Arrangement(order, signs)
    if {"u10", "v10"} <= set(variables):
        exchange = {"u10": "v10", "v10": "u10"}
        swapped = tuple(list(variables).index(exchange.get(name, name)) for name in variables)
        found["with `u10` and `v10` exchanged"] = Arrangement(swapped, plus)
    return found


class Pattern:
    """A field of each variable on `PATTERN_GRID`, with which frames are correlated: an average, or another frame.

    `reference` and `scale` (mean and standard deviation of each variable) are in physical units.
    """

    def __init__(self, reference: Values, scale: Sequence[tuple[float, float]], variables: Sequence[str]) -> None:
        self._mean, self._std = (np.array(values)[:, None, None] for values in zip(*scale, strict=True))
        self._weights = PATTERN_GRID.area_weights[:, None]
        self._reference = (reference - self._mean) / self._std
        self._arrangements = wrong_arrangements(variables)

    def compare(self, coarse: Values) -> tuple[Values, dict[str, Values]]:
        """Return the correlation of each frame with the reference, and those of its wrong arrangements."""
        normalised = (coarse - self._mean) / self._std
        others = {
            description: self._correlate(arrangement.apply(normalised))
            for description, arrangement in self._arrangements.items()
        }
        return self._correlate(normalised), others

    def _correlate(self, normalised: Values) -> Values:
        product = (self._weights * normalised * self._reference).sum(axis=(1, 2, 3))
        squares = (self._weights * normalised**2).sum(axis=(1, 2, 3)) * (self._weights * self._reference**2).sum()
        return np.asarray(product / np.sqrt(np.maximum(squares, np.finfo(np.float64).tiny)))
