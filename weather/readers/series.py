"""Read frames of weather from several files and stores as one series in time."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.errors import VerificationError
from weather.grids import Grid
from weather.readers.canonical import Problems
from weather.readers.files import UNREADABLE, read_fields
from weather.regrid import regrid


def read_series(sources: Sequence[str], variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return the canonical frames of all sources, sorted by time without duplicates, or None if there are none.

    Problems are added to `problems`.
    """
    parts = [read_fields(source, variables, problems) for source in sources]
    return _join([part for part in parts if part is not None], problems)


def read_truth(
    sources: Sequence[str], variables: Sequence[str], grid: Grid, times: Sequence[np.datetime64]
) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames of `sources` by time: those of `times` that exist, (variable, latitude, longitude) on `grid`.

    Raises `VerificationError` that lists the problems: unreadable sources, none of the times, values that are not
    finite.
    """
    problems = Problems()
    frames = read_series(sources, variables, problems)
    if frames is None or problems:
        raise VerificationError(f"Cannot verify against {' and '.join(sources)}: {' '.join(problems)}")
    if "member" in frames.dims:
        raise VerificationError(f"The truth must have no members. Got: {frames.sizes['member']} of them.")
    available = frames.time.values.astype("datetime64[s]")
    wanted = [time for time in times if time in available]
    if not wanted:
        raise VerificationError(
            f"The truth must have a time of the forecast, {times[0]} to {times[-1]}. "
            f"Got: {available[0]} to {available[-1]}."
        )
    try:
        selected = frames.isel(time=np.nonzero(np.isin(available, wanted))[0]).load()
    except UNREADABLE as error:
        raise VerificationError(f"The truth is damaged: {error}") from error
    _require_finite(selected, variables)
    regridded = regrid(selected, grid)
    stacked = np.stack([regridded[name].transpose("time", ...).values for name in variables], axis=1)
    return dict(zip(wanted, stacked, strict=True))


def _require_finite(frames: xr.Dataset, variables: Sequence[str]) -> None:
    for name in variables:
        for time, values in zip(frames.time.values.astype("datetime64[s]"), frames[name].values, strict=True):
            bad = int((~np.isfinite(values)).sum())
            if bad:
                raise VerificationError(
                    f"The truth must be finite. Not finite at {time}: {bad} of {values.size} values of `{name}`."
                )


def _join(parts: Sequence[xr.Dataset], problems: Problems) -> xr.Dataset | None:
    """Concatenate frames of one grid and one set of members in time; the first of several at one time is kept."""
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
