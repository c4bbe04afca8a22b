"""Extremes of the training years: the smallest and the largest value of each statistic of frames.

A checkpoint's manifest holds them; `weather.admission` compares initial states with them.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

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
from weather.pattern import PATTERN_GRID, Pattern, coarsen
from weather.schema import FrozenModel
from weather.times import format_lead_time

Times = NDArray[np.datetime64]

_PART_VALUES = 2_000_000
"""Values of the frames that are measured together: several arrays of float64 of this size are made."""
_PART_FRAMES = 256
"""Frames on `PATTERN_GRID` that are compared together."""


class Range(FrozenModel):
    """The smallest and the largest value of a statistic."""

    low: float
    high: float

    def union(self, other: "Range") -> "Range":
        """Return the smallest range that contains both."""
        return Range(low=min(self.low, other.low), high=max(self.high, other.high))


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

    def union(self, other: "TrainingExtremes") -> "TrainingExtremes":
        """Return the extremes over the frames of both, which are of the same variables on the same grid.

        `similarity` and `advantage` stay those with each one's own average. The new average is that of all frames.
        """
        share = other.num_frames / (self.num_frames + other.num_frames)
        pairs = zip(self.variables, other.variables, strict=True)
        speeds = [extremes.wind_speed for extremes in (self, other) if extremes.wind_speed is not None]
        return TrainingExtremes(
            num_frames=self.num_frames + other.num_frames,
            variables=tuple(_unite_variables(first, second, share) for first, second in pairs),
            wind_speed=speeds[0].union(speeds[-1]) if speeds else None,
            similarity=self.similarity.union(other.similarity),
            advantage=self.advantage.union(other.advantage),
        )


def _unite_variables(first: VariableExtremes, second: VariableExtremes, share: float) -> VariableExtremes:
    """Return the extremes of one variable over the frames of both; `share` is that of the frames of `second`."""
    average = (1 - share) * np.array(first.average) + share * np.array(second.average)
    return VariableExtremes(
        name=first.name,
        mean=tuple(one.union(other) for one, other in zip(first.mean, second.mean, strict=True)),
        spread=tuple(one.union(other) for one, other in zip(first.spread, second.spread, strict=True)),
        roughness=first.roughness.union(second.roughness),
        change=first.change.union(second.change),
        average=tuple(map(tuple, np.round(average, 3).tolist())),
    )


def compute_extremes(
    parts: Iterable[tuple[Frames, Times]],
    grid: Grid,
    scale: Sequence[tuple[str, float, float]],
    time_step: np.timedelta64,
) -> TrainingExtremes:
    """Return the extremes over frames, given in parts with their valid times, which ascend.

    `scale` has name, mean and standard deviation of each variable. Raises `TrainingDataError` unless two frames
    are one time step apart.
    """
    with ExtremesBuilder([name for name, _, _ in scale], grid, time_step) as builder:
        for frames, valid_times in parts:
            builder.add(frames, valid_times)
        return builder.build([(mean, std) for _, mean, std in scale])


class ExtremesBuilder:
    """Extremes over frames that are added in order of time; its memory does not grow with their number.

    The frames on `PATTERN_GRID` are kept in a temporary file, because their average is known only at the end.
    """

    def __init__(self, variables: Sequence[str], grid: Grid, time_step: np.timedelta64) -> None:
        self._variables, self._grid, self._time_step = tuple(variables), grid, time_step
        self._coarse = tempfile.TemporaryFile(prefix="warmcast-extremes-")  # noqa: SIM115  # `close` closes it
        self._sum = np.zeros((len(self._variables), *PATTERN_GRID.shape))
        self._ranges = dict[str, tuple[Values, Values]]()
        self._recent = np.empty((0, len(self._variables), *grid.shape), np.float32)
        self._recent_times = np.empty(0, "datetime64[s]")
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._coarse.close()

    def add(self, frames: Frames, valid_times: Times) -> None:
        """Add frames whose valid times ascend, and follow those that were added before."""
        size = max(_PART_VALUES // max(frames[:1].size, 1), 1)
        for start in range(0, len(frames), size):
            self._add_part(frames[start : start + size], valid_times[start : start + size])

    def _add_part(self, frames: Frames, valid_times: Times) -> None:
        grid = self._grid
        coarse = coarsen(frames, grid)
        self._coarse.write(coarse.tobytes())
        self._sum += coarse.sum(axis=0)
        self._count += len(frames)
        means, spreads = measure_bands(frames, grid)
        for name, values in (("mean", means), ("spread", spreads), ("roughness", measure_roughness(frames, grid))):
            self._extend(name, values)
        speeds = measure_wind_speed(frames, self._variables)
        if speeds is not None:
            self._extend("wind_speed", speeds)
        self._add_changes(frames, valid_times)

    def _add_changes(self, frames: Frames, valid_times: Times) -> None:
        times = np.concatenate([self._recent_times, valid_times])
        earlier = np.searchsorted(times, valid_times - self._time_step)
        later = np.flatnonzero(times[np.minimum(earlier, len(times) - 1)] == valid_times - self._time_step)
        if len(later):
            recent = np.concatenate([self._recent, frames])
            self._extend("change", measure_change(recent[earlier[later]], frames[later], self._grid))
        kept = np.flatnonzero(times > valid_times[-1] - self._time_step)
        old = kept[kept < len(self._recent)]
        self._recent = np.concatenate([self._recent[old], frames[kept[len(old) :] - len(self._recent)]])
        self._recent_times = times[kept]

    def _extend(self, name: str, values: Values) -> None:
        low, high = values.min(axis=0), values.max(axis=0)
        if name in self._ranges:
            low, high = np.minimum(self._ranges[name][0], low), np.maximum(self._ranges[name][1], high)
        self._ranges[name] = low, high

    def build(self, scale: Sequence[tuple[float, float]]) -> TrainingExtremes:
        """Return the extremes of the frames so far; `scale` has mean and standard deviation of each variable.

        Raises `TrainingDataError` unless two frames are one time step apart.
        """
        if "change" not in self._ranges:
            raise TrainingDataError(
                f"The data must have two frames {format_lead_time(self._time_step)} apart in the training years. "
                "Got: none."
            )
        average = np.round(self._sum / self._count, 3)
        pattern = Pattern(average, scale, self._variables)
        for coarse in self._read_coarse():
            similarity, others = pattern.compare(coarse)
            self._extend("similarity", similarity)
            self._extend("advantage", similarity - np.max(list(others.values()), axis=0))
        return TrainingExtremes(
            num_frames=self._count,
            variables=tuple(self._build_variable(channel, average) for channel in range(len(self._variables))),
            wind_speed=self._range("wind_speed") if "wind_speed" in self._ranges else None,
            similarity=self._range("similarity"),
            advantage=self._range("advantage"),
        )

    def _build_variable(self, channel: int, average: Values) -> VariableExtremes:
        bands = range(self._ranges["mean"][0].shape[1])
        return VariableExtremes(
            name=self._variables[channel],
            mean=tuple(self._range("mean", channel, band) for band in bands),
            spread=tuple(self._range("spread", channel, band) for band in bands),
            roughness=self._range("roughness", channel),
            change=self._range("change", channel),
            average=tuple(map(tuple, average[channel].tolist())),
        )

    def _range(self, name: str, *index: int) -> Range:
        low, high = (float(values[index]) for values in self._ranges[name])
        return Range(low=float(f"{low:.5g}"), high=float(f"{high:.5g}"))

    def _read_coarse(self) -> Iterator[Values]:
        """Yield the frames on `PATTERN_GRID` from the temporary file, some at a time."""
        self._coarse.seek(0)
        shape = (-1, len(self._variables), *PATTERN_GRID.shape)
        while content := self._coarse.read(_PART_FRAMES * self._sum.nbytes):
            yield np.frombuffer(content).reshape(shape)
