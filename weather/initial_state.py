"""The initial state: two frames of the weather, one time step apart, on a checkpoint's grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.errors import InitialStateError
from weather.manifest import ModelSpec
from weather.readers.canonical import Problems
from weather.readers.files import UNREADABLE
from weather.readers.series import read_series
from weather.regrid import regrid
from weather.variables import KNOWN


@dataclass(frozen=True)
class InitialState:
    """Two frames in physical units: `newest` at `init_time`, `previous` one time step before.

    Both are float32 (analysis, variable, latitude, longitude). The dimension `analysis` has size 1, or the number of
    members of an ensemble of analyses.
    """

    init_time: np.datetime64
    previous: NDArray[np.float32]
    newest: NDArray[np.float32]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.previous.shape == self.newest.shape
        assert self.newest.ndim == 4
        assert self.newest.dtype == self.previous.dtype == np.float32

    @property
    def digest(self) -> str:
        """SHA-256 of the frames and their time."""
        content = hashlib.sha256(np.datetime_as_string(self.init_time, "s").encode())
        for frames in (self.previous, self.newest):
            content.update(np.ascontiguousarray(frames).tobytes())
        return content.hexdigest()


def read_initial_state(sources: Sequence[str], spec: ModelSpec, init_time: np.datetime64 | None = None) -> InitialState:
    """Read the frames at `init_time` (by default the newest time) and one time step before, and regrid them.

    Raises `InitialStateError` that lists everything that is missing or wrong: variables, units, grid, times, values.
    """
    label = " and ".join(f"`{source}`" for source in sources)
    problems = Problems()
    fields = read_series(sources, spec.variable_names, problems)
    if problems or fields is None:
        raise InitialStateError(label, list(dict.fromkeys(problems)))
    selected = init_time if init_time is not None else fields.time.values.max().astype("datetime64[s]")
    frames = _select_frames(fields, selected, spec.time_step, problems)
    if frames is None:
        raise InitialStateError(label, problems)
    _check_values(frames, problems)
    if problems:
        raise InitialStateError(label, problems)
    previous, newest = _stack(regrid(frames, spec.grid.grid), spec.variable_names)
    return InitialState(selected, previous, newest, tuple(sources))


def _select_frames(
    fields: xr.Dataset, init_time: np.datetime64, time_step: np.timedelta64, problems: Problems
) -> xr.Dataset | None:
    """Return the two frames in order of time, or None if one is missing or unreadable."""
    times = fields.time.values.astype("datetime64[s]")
    wanted = [init_time - time_step, init_time]
    missing = [_format_time(time) for time in wanted if time not in times]
    if missing:
        available = ", ".join(map(_format_time, times[:3]))
        if len(times) > 3:
            available += f" … {_format_time(times[-1])}"
        hours = time_step / np.timedelta64(1, "h")
        problems.append(
            f"A forecast from {_format_time(init_time)} needs two frames {hours:g} h apart, "
            f"{' and '.join(map(_format_time, wanted))} (UTC). Missing: {', '.join(missing)}. The data has "
            f"{len(times)} {'time' if len(times) == 1 else 'times'}: {available}."
        )
        return None
    try:
        return fields.isel(time=[int(np.nonzero(times == time)[0][0]) for time in wanted]).load()
    except UNREADABLE as error:
        problems.append(f"The values cannot be read: {error}. The file may be damaged or cut short.")
        return None


def _check_values(frames: xr.Dataset, problems: Problems) -> None:
    for name, array in frames.data_vars.items():
        values, variable = array.values, KNOWN[str(name)]
        low, high = variable.valid_range
        for index, time in enumerate(frames.time.values):
            bad = int((~np.isfinite(values[index])).sum())
            if bad:
                problems.append(
                    f"`{name}` has {bad} missing or infinite values at {_format_time(time)}; all must be finite."
                )
            elif values[index].min() < low or values[index].max() > high:
                problems.append(
                    f"`{name}` must be within {low:g} and {high:g} {variable.units} at {_format_time(time)}. "
                    f"Got: {values[index].min():g} to {values[index].max():g}."
                )


def _stack(frames: xr.Dataset, variables: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if "member" not in frames.dims:
        frames = frames.expand_dims("member", axis=1)
    arrays = [frames[name].transpose("time", "member", "latitude", "longitude").values for name in variables]
    stacked = np.stack(arrays, axis=2).astype(np.float32)
    return stacked[0], stacked[1]


def _format_time(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m"))
