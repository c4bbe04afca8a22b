"""Extremes of the training years: the smallest and the largest value of each statistic of frames.

A checkpoint's manifest holds them; `weather.admission` compares initial states with them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weather.errors import TrainingDataError
from weather.grids import Grid
from weather.measures import (
    Frames,
    Values,
    measure_bands,
    measure_change,
    measure_roughness,
    measure_wind_speed,
)
from weather.pattern import Pattern, coarsen
from weather.schema import FrozenModel
from weather.times import format_lead_time

_CHUNK_SIZE = 256


class Range(FrozenModel):
    """The smallest and the largest value of a statistic."""

    low: float
    high: float


class VariableExtremes(FrozenModel):
    """Extremes of one variable's statistics, and its average on `PATTERN_GRID`, all in its physical unit.

    `mean` and `spread` are those of each band of latitudes that has rows, from north to south. `roughness` is that of
    `measure_roughness`, `change` the root mean square difference of frames one time step apart.
    """

    name: str
    mean: tuple[Range, ...]
    spread: tuple[Range, ...]
    roughness: Range
    change: Range
    average: tuple[tuple[float, ...], ...]


class TrainingExtremes(FrozenModel):
    """Extremes of all variables; `wind_speed` is None without both components of the wind.

    `similarity` is the correlation of a frame with the average of the training years, and `advantage` how much it
    exceeds the largest correlation of the same frame in a wrong arrangement (`weather.pattern`).
    """

    num_frames: int = Field(ge=2)
    variables: tuple[VariableExtremes, ...]
    wind_speed: Range | None
    similarity: Range
    advantage: Range


def compute_extremes(
    frames: Frames,
    valid_times: NDArray[np.datetime64],
    grid: Grid,
    scale: Sequence[tuple[str, float, float]],
    time_step: np.timedelta64,
) -> TrainingExtremes:
    """Return the extremes over `frames`, whose valid times ascend.

    `scale` has name, mean and standard deviation of each variable. Raises `TrainingDataError` unless two frames
    are one time step apart.
    """
    names = [name for name, _, _ in scale]
    consecutive = np.nonzero(np.diff(valid_times) == time_step)[0]
    if not len(consecutive):
        raise TrainingDataError(
            f"The data must have two frames {format_lead_time(time_step)} apart in the training years. Got: none."
        )
    coarse = np.concatenate([coarsen(part, grid) for part in _chunks(frames)])
    average = np.round(coarse.mean(axis=0), 3)
    similarity, others = Pattern(average, [(mean, std) for _, mean, std in scale], names).compare(coarse)
    bands = [measure_bands(part, grid) for part in _chunks(frames)]
    means, spreads = (np.concatenate(values) for values in zip(*bands, strict=True))
    roughness = np.concatenate([measure_roughness(part, grid) for part in _chunks(frames)])
    change = np.concatenate(
        [
            measure_change(frames[part], frames[part + 1], grid)
            for part in np.array_split(consecutive, range(_CHUNK_SIZE, len(consecutive), _CHUNK_SIZE))
        ]
    )
    speeds = [measure_wind_speed(part, names) for part in _chunks(frames)]
    largest = [speed for speed in speeds if speed is not None]
    return TrainingExtremes(
        num_frames=len(frames),
        variables=tuple(
            VariableExtremes(
                name=name,
                mean=tuple(map(_range, means[:, channel].T)),
                spread=tuple(map(_range, spreads[:, channel].T)),
                roughness=_range(roughness[:, channel]),
                change=_range(change[:, channel]),
                average=tuple(map(tuple, average[channel].tolist())),
            )
            for channel, name in enumerate(names)
        ),
        wind_speed=_range(np.concatenate(largest)) if largest else None,
        similarity=_range(similarity),
        advantage=_range(similarity - np.max(list(others.values()), axis=0)),
    )


def _chunks(frames: Frames) -> Iterable[Frames]:
    for start in range(0, len(frames), _CHUNK_SIZE):
        yield frames[start : start + _CHUNK_SIZE]


def _range(values: Values) -> Range:
    return Range(low=float(f"{values.min():.5g}"), high=float(f"{values.max():.5g}"))
