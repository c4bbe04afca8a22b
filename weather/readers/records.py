"""Records: what a file says about each of its fields, before any of them is decoded."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from weather.readers.points import Points
from weather.variables import KNOWN

_USABLE_LEVELS = {"unstated", "surface", "height", "level", "mean sea level"}


class Statistic(StrEnum):
    """How the values of a record were made from the state of the atmosphere; only `INSTANT` can start a forecast."""

    INSTANT = "instantaneous state"
    MEAN = "time mean"
    EXTREME = "extreme over a period"
    ACCUMULATION = "accumulation"
    SPREAD = "ensemble spread"
    ENSEMBLE_MEAN = "ensemble mean"
    QUANTILE = "quantile or probability of an ensemble"


@dataclass(frozen=True)
class Level:
    """Kind and value of a vertical level: height above ground in m, pressure in hPa; `unstated` if not given."""

    kind: str = "unstated"
    value: float | None = None

    def __str__(self) -> str:
        unit = {"height": " m", "pressure": " hPa"}.get(self.kind, "")
        has_value = self.value is not None and self.kind not in ("surface", "mean sea level")
        return self.kind if not has_value else f"{self.kind} {self.value:g}{unit}"


@dataclass(frozen=True)
class Record:
    """One field of a file: what it is, where its points are, and how to get its values.

    `valid_time` is NaT if the file gives none. `run` and `step` are None for data without them, and `member` is the
    label of an ensemble member. `data_type` is `analysis`, `forecast` or empty, `version` the experiment version.
    `unit` is the one that the file states. `read` returns float32 (latitude, longitude), in the canonical unit and on
    the canonical grid of `points`.
    """

    source: str
    variable: str
    level: Level
    valid_time: np.datetime64
    run: np.datetime64 | None
    step: np.timedelta64 | None
    member: int | None
    data_type: str
    statistic: Statistic
    version: str
    points: Points
    read: Callable[[], NDArray[np.float32]]
    notes: tuple[str, ...] = ()
    unit: str = ""

    @property
    def unusable(self) -> str:
        """Why the record cannot be a frame of the weather, or an empty text if it can."""
        variable = KNOWN[self.variable]
        if self.statistic != Statistic.INSTANT:
            return f"of the kind {self.statistic}, not {Statistic.INSTANT}"
        height = variable.height_m
        other_height = self.level.kind == "height" and height is not None and self.level.value != height
        if self.level.kind not in _USABLE_LEVELS or other_height:
            wanted = f"{height:g} m" if height is not None else "mean sea level"
            return f"at another level ({self.level}), not at {wanted}"
        return "without a valid time" if np.isnat(self.valid_time) else ""

    @property
    def rank(self) -> tuple[np.timedelta64, bool, bool]:
        """Preference among records of one valid time: shortest step in minutes, analysis, final experiment version."""
        step = np.timedelta64(0, "m") if self.step is None else np.timedelta64(_round_minutes(self.step), "m")
        return (step, self.data_type == "forecast", self.is_preliminary)

    @property
    def is_preliminary(self) -> bool:
        """Whether the experiment version is that of ERA5's preliminary data, 5."""
        return self.version.lstrip("0") == "5"

    @property
    def step_hours(self) -> float | None:
        """Hours from the run to the valid time."""
        return None if self.step is None else _round_minutes(self.step) / 60

    def describe(self) -> str:
        """Return the file's name, with run and step (unless the step is 0), type and experiment version in brackets.

        What the file does not give is left out.
        """
        details = []
        if self.run is not None and self.step is not None and self.step > np.timedelta64(0, "s"):
            details.append(f"run {np.datetime_as_string(self.run, 'm')}")
        if self.step is not None and self.step > np.timedelta64(0, "s"):
            details.append(f"step {self.step / np.timedelta64(1, 'h'):g} h")
        if self.data_type:
            details.append(self.data_type)
        if self.version:
            details.append(f"experiment version {self.version}")
        return f"{self.source} ({', '.join(details)})" if details else self.source


def _round_minutes(step: np.timedelta64) -> int:
    """Return a step in minutes: times as floating-point days are off by seconds."""
    return round(step / np.timedelta64(1, "m"))


@dataclass(frozen=True, eq=False)
class RecordBlock:
    """Records of one variable that differ in their valid time alone, by their offset in the block.

    `valid_times` are those of all records, in any order and NaT where unknown. `example` is one of the records, and
    `record` makes the one at an offset. `read` returns the values of records (record, latitude, longitude), as
    `Record.read` does, from ascending offsets. `chunk_size` is how many records the file stores together. `packing` has
    factor and offset with which the file's integers of at most 16 bits are multiplied and shifted to the values, None
    for other types.
    """

    valid_times: NDArray[np.datetime64]
    example: Record
    record: Callable[[int], Record]
    read: Callable[[NDArray[np.int64]], NDArray[np.float32]]
    chunk_size: int
    packing: tuple[float, float] | None = None


def group_records(records: Sequence[Record]) -> list[RecordBlock]:
    """Return records in blocks."""
    groups = defaultdict[object, list[Record]](list)
    for record in records:
        key = (record.source, record.variable, record.level, record.member, record.statistic, record.rank)
        groups[key, id(record.points)].append(record)
    return [_to_block(group) for group in groups.values()]


def _to_block(records: Sequence[Record]) -> RecordBlock:
    def read(offsets: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.stack([records[offset].read() for offset in offsets])

    valid_times = np.array([record.valid_time for record in records], "datetime64[s]")
    return RecordBlock(valid_times, records[0], records.__getitem__, read, chunk_size=1)


@dataclass(frozen=True)
class Contents:
    """What one source has: records of the requested variables, problems of those that cannot be read, other names.

    The records are in `records` or in `blocks`, whichever is wanted.
    """

    records: Sequence[Record]
    problems: Sequence[str]
    others: Sequence[str]
    blocks: Sequence[RecordBlock] = ()
