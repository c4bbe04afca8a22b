"""The initial state: the newest frames of the weather, one time step apart, on a checkpoint's grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.admission import check_state
from weather.errors import InitialStateError
from weather.manifest import ModelSpec
from weather.plausibility import describe_range_problem
from weather.readers.provenance import ChosenSource
from weather.readers.series import Series, open_series
from weather.regrid import regrid
from weather.times import format_time
from weather.variables import KNOWN


@dataclass(frozen=True)
class InitialState:
    """Frames in physical units, newest first: at `init_time`, one time step before, and so on; at least two.

    Each is float32 (analysis, variable, latitude, longitude). The dimension `analysis` has size 1, or the number of
    members of an ensemble of analyses. `choice` says which records of the sources the frames are, and `warnings` what
    is unusual about the frames, as sentences.
    """

    init_time: np.datetime64
    frames: tuple[NDArray[np.float32], ...]
    sources: tuple[str, ...]
    choice: tuple[ChosenSource, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.frames) >= 2
        assert {frame.shape for frame in self.frames} == {self.newest.shape}
        assert self.newest.ndim == 4
        assert all(frame.dtype == np.float32 for frame in self.frames)

    @property
    def newest(self) -> NDArray[np.float32]:
        """The frame at `init_time`."""
        return self.frames[0]

    @property
    def previous(self) -> NDArray[np.float32]:
        """The frame one time step before `init_time`."""
        return self.frames[1]

    @property
    def digest(self) -> str:
        """SHA-256 of the frames and their time."""
        content = hashlib.sha256(np.datetime_as_string(self.init_time, "s").encode())
        for frame in reversed(self.frames):
            content.update(np.ascontiguousarray(frame).tobytes())
        return content.hexdigest()


def read_initial_state(sources: Sequence[str], spec: ModelSpec, init_time: np.datetime64 | None = None) -> InitialState:
    """Read the frames that a checkpoint needs, the newest at `init_time` (by default the newest time), and regrid them.

    They are as many as its `context_frames`, one time step apart. Raises `InitialStateError` that lists everything
    that is missing or wrong: variables, units, grid, times, values.
    """
    fail = partial(InitialStateError, quote_sources(sources))
    with open_series(sources, spec.variable_names, fail) as series:
        return load_state(series, spec, init_time, sources)


def quote_sources(sources: Sequence[str]) -> str:
    """Return the sources for a message: `a` and `b`, in backticks."""
    return " and ".join(f"`{source}`" for source in sources)


def load_state(
    series: Series, spec: ModelSpec, init_time: np.datetime64 | None, sources: Sequence[str]
) -> InitialState:
    """Return the initial state that a series offers; raises `InitialStateError` as `read_initial_state` does."""
    fail = partial(InitialStateError, quote_sources(sources))
    selected = init_time if init_time is not None else series.newest_time()
    wanted = [selected - index * spec.time_step for index in reversed(range(spec.context_frames))]
    missing = [time for time in wanted if time not in series.times]
    if missing:
        raise fail([_describe_missing_frames(wanted, spec.time_step, missing, series.times)])
    frames = series.load(wanted)
    problems = list[str]()
    _check_values(frames.fields, problems)
    if problems:
        raise fail(problems)
    stacked = _stack(regrid(frames.fields, spec.grid.grid), spec.variable_names)
    findings = check_state(stacked, selected, spec, now=np.datetime64("now", "s"))
    if findings.problems:
        raise fail(findings.problems)
    chosen, cautions = frames.list_sources(), tuple(findings.warnings)
    return InitialState(selected, stacked, tuple(sources), chosen, cautions)


def _describe_missing_frames(
    wanted: Sequence[np.datetime64],
    time_step: np.timedelta64,
    missing: Sequence[np.datetime64],
    times: Sequence[np.datetime64],
) -> str:
    available = ", ".join(map(format_time, times[:3]))
    if len(times) > 3:
        available += f" … {format_time(times[-1])}"
    hours, (*earlier, init_time) = time_step / np.timedelta64(1, "h"), map(format_time, wanted)
    return (
        f"A forecast from {init_time} needs {'two' if len(wanted) == 2 else len(wanted)} frames {hours:g} h apart, "
        f"{', '.join(earlier)} and {init_time} (UTC). "
        f"Missing: {', '.join(map(format_time, missing))}. The data has "
        f"{len(times)} {'time' if len(times) == 1 else 'times'}: {available}."
    )


def _check_values(frames: xr.Dataset, problems: list[str]) -> None:
    for name, array in frames.data_vars.items():
        for time, values in zip(frames.time.values, array.values, strict=True):
            bad, label = int((~np.isfinite(values)).sum()), f"at {format_time(time)}"
            if bad:
                problems.append(f"`{name}` has {bad} missing or infinite values {label}; all must be finite.")
                continue
            problem = describe_range_problem(KNOWN[str(name)], float(values.min()), float(values.max()), label)
            problems.extend([problem] if problem else [])


def _stack(frames: xr.Dataset, variables: Sequence[str]) -> tuple[NDArray[np.float32], ...]:
    """Return the frames, which are in order of time, newest first: (analysis, variable, latitude, longitude) each."""
    if "member" not in frames.dims:
        frames = frames.expand_dims("member", axis=1)
    arrays = [frames[name].transpose("time", "member", "latitude", "longitude").values for name in variables]
    stacked = np.stack(arrays, axis=2).astype(np.float32)
    return tuple(stacked[::-1])
