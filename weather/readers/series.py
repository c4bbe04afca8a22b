"""Frames of weather from several files and stores, as one series."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.errors import VerificationError
from weather.grids import Grid
from weather.readers.canonical import Problems
from weather.readers.files import UNREADABLE, read_fields
from weather.regrid import regrid


def read_frames(sources: Sequence[str], variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return the canonical frames of all sources in order of time, each time once, or None where there are none.

    What is missing or wrong is added to `problems`.
    """
    parts = [read_fields(source, variables, problems) for source in sources]
    return _joined([part for part in parts if part is not None], problems)


def read_truth(
    sources: Sequence[str], variables: Sequence[str], grid: Grid, times: Sequence[np.datetime64]
) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames of `sources` at those of `times` that they have, (variable, latitude, longitude) on `grid`.

    Raises `VerificationError` that lists what is wrong, or where they have none of the times or a value is missing.
    """
    problems = Problems()
    frames = read_frames(sources, variables, problems)
    if frames is None or problems:
        raise VerificationError(f"Cannot verify against {' and '.join(sources)}: {' '.join(problems)}")
    if "member" in frames.dims:
        raise VerificationError(f"The truth must have no members. Got: {frames.sizes['member']} of them.")
    has = frames.time.values.astype("datetime64[s]")
    wanted = [time for time in times if time in has]
    if not wanted:
        raise VerificationError(
            f"The truth must have a time of the forecast, {times[0]} to {times[-1]}. Got: {has[0]} to {has[-1]}."
        )
    try:
        chosen = frames.isel(time=np.nonzero(np.isin(has, wanted))[0]).load()
    except UNREADABLE as error:
        raise VerificationError(f"The truth is damaged: {error}") from error
    _require_finite(chosen, variables)
    regridded = regrid(chosen, grid)
    stacked = np.stack([regridded[name].transpose("time", ...).values for name in variables], axis=1)
    return dict(zip(wanted, stacked, strict=True))


def _require_finite(frames: xr.Dataset, variables: Sequence[str]) -> None:
    for name in variables:
        for time, values in zip(frames.time.values.astype("datetime64[s]"), frames[name].values, strict=True):
            bad = int((~np.isfinite(values)).sum())
            if bad:
                raise VerificationError(f"The truth must be finite. Got: {bad} values of `{name}` are not, at {time}.")


def _joined(parts: Sequence[xr.Dataset], problems: Problems) -> xr.Dataset | None:
    """Return all frames of all sources in order of time, each time once."""
    if not parts:
        return None
    grids = [Grid.from_coordinates(part.latitude.values, part.longitude.values) for part in parts]
    if not all(grid.matches(grids[0]) for grid in grids):
        problems.append(f"All frames must be on one grid. Got: {' and '.join(map(str, grids))}.")
        return None
    members = {part.sizes.get("member", 0) for part in parts}
    if len(members) > 1:
        problems.append(f"All frames must have the same members. Got: {sorted(members)} members.")
        return None
    aligned = [part.assign_coords(latitude=parts[0].latitude, longitude=parts[0].longitude) for part in parts]
    return (
        xr.concat(aligned, "time", join="override", coords="minimal", compat="override", data_vars="all")
        .sortby("time")
        .drop_duplicates("time")
    )
