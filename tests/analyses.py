"""Analyses of a tiny grid as GRIB messages, whose frames follow each other at any time."""

from pathlib import Path

import numpy as np

from tests.inputs import grib_messages, state, write_grib

_NUM_FRAMES = 8
"""Number of different frames, which follow each other again and again."""


def hour(text: str) -> np.datetime64:
    """Return a time in seconds, such as that of `2026-03-01T06`."""
    return np.datetime64(text, "s")


def analysis_messages(time: np.datetime64, *, edition: int = 2, step_hours: int = 0) -> list[bytes]:
    """Return the messages of u10 and v10 at a valid time, on a grid of 19 by 36 points."""
    index = time.astype("datetime64[s]").astype(int) // 21_600 % _NUM_FRAMES
    fields = state(frames=_NUM_FRAMES).isel(time=[index]).assign_coords(time=[time])
    return grib_messages(fields, edition=edition, step_hours=step_hours)


def write_analysis(folder: Path, time: np.datetime64, **options: int) -> Path:
    """Write an analysis under the name `YYYYMMDDHH.grib2` and return its path."""
    date, hours = str(np.datetime_as_string(time, "h")).split("T")
    return write_grib(folder / f"{date.replace('-', '')}{hours}.grib2", analysis_messages(time, **options))
