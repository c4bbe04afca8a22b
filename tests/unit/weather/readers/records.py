"""Records made by tests, with values in memory."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from weather.grids import Grid
from weather.readers.points import Points
from weather.readers.records import Level, Record, Statistic

GRID = Grid((67.5, 22.5, -22.5, -67.5), (0.0, 90.0, 180.0, 270.0))
NEWEST = np.datetime64("2018-09-15T00", "s")
TEN_METRES = Level("height", 10.0)
PREVIOUS = NEWEST - np.timedelta64(6, "h")


def field(value: float) -> NDArray[np.float32]:
    """Return a field that varies around `value`; NaN everywhere for NaN."""
    return (value + np.arange(16).reshape(4, 4) / 10).astype(np.float32)


def make_record(
    variable: str = "u10",
    valid_time: np.datetime64 = NEWEST,
    value: float = 1.0,
    *,
    source: str = "a.grib2",
    step_hours: float | None = 0,
    member: int | None = None,
    data_type: str = "",
    version: str = "",
    level: Level = TEN_METRES,
    statistic: Statistic = Statistic.INSTANT,
    grid: Grid = GRID,
    notes: tuple[str, ...] = (),
    read: Callable[[], NDArray[np.float32]] | None = None,
) -> Record:
    """Return a record of 10 m wind by default, of an analysis, whose values are `field(value)`."""
    step = None if step_hours is None else np.timedelta64(round(step_hours * 3600), "s")
    return Record(
        source=source,
        variable=variable,
        level=level,
        valid_time=valid_time,
        run=None if step is None else valid_time - step,
        step=step,
        member=member,
        data_type=data_type,
        statistic=statistic,
        version=version,
        points=Points.of(grid.latitude, grid.longitude),
        read=read or (lambda: field(value)),
        notes=notes,
        unit="m s**-1",
    )


def make_wind(valid_time: np.datetime64 = NEWEST, value: float = 1.0, **options: object) -> list[Record]:
    """Return a record of each component of the wind."""
    return [
        make_record("u10", valid_time, value, **options),
        make_record("v10", valid_time, -value, **options),
    ]
