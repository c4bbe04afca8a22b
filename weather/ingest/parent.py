"""Turn untrusted files into an initial state or a truth, parsed by a child process with limited resources.

The parent looks at the first bytes of a file; only the child unpacks it, checks its structure and hands it to parsing
libraries.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather.errors import (
    InitialStateError,
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserCrashedError,
    StoreError,
    VerificationError,
)
from weather.grids import Grid
from weather.ingest.exchange import RESULT, load_frames, load_initial_state, load_inspection, load_times
from weather.ingest.process import Limits, check_result, private_folder, run_parser
from weather.initial_state import InitialState
from weather.manifest import ModelSpec
from weather.readers.containers import describe_unsupported, detect_format, read_start
from weather.readers.inspection import Inspection

_KINDS: Mapping[str, type[InitialStateError]] = MappingProxyType(
    {"corrupt": InputCorruptError, "too large": InputTooLargeError, "unsupported": InputUnsupportedError}
)
_INVALID_RESULT = (
    *(StoreError, OSError, ValueError, TypeError, KeyError, AssertionError, MemoryError, RecursionError),
)
_MAX_ANALYSES = 200
_MAX_TIMES_BYTES = 50_000_000
_DESCRIPTION_BYTES = 50_000_000
"""Most bytes of a description in JSON: that of 20 000 fields is shorter."""


def ingest_initial_state(
    files: Sequence[Path],
    names: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    limits: Limits | None = None,
) -> InitialState:
    """Return the initial state in untrusted `files`, at `init_time` or at their newest time.

    Messages call the files `names`. Raises the errors of the parser, and plain `InitialStateError` for readable
    files that cannot start a forecast.
    """
    task = {
        "kind": "initial_state",
        "spec": spec.model_dump(mode="json"),
        "init_time": None if init_time is None else np.datetime_as_string(init_time, "s"),
    }
    shape = (len(spec.variable_names), *spec.grid.grid.shape)
    most = spec.context_frames * _MAX_ANALYSES * _bytes_of(shape)
    with _parse_in_child(files, names, task, limits, most) as (result, problems):
        if problems:
            raise InitialStateError(quote_names(names), problems)
        state = load_initial_state(result)
        if len(state.frames) != spec.context_frames:
            raise ValueError("The frames are not as many as were requested.")
        for frame in state.frames:
            _check_frames(frame, shape)
        _check_texts([source.model_dump(mode="json") for source in state.choice], state.warnings)
        return state


def ingest_truth(
    files: Sequence[Path],
    names: Sequence[str],
    variables: Sequence[str],
    grid: Grid,
    times: Sequence[np.datetime64],
    limits: Limits | None = None,
) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames in untrusted `files` by time: those of `times` that exist, (variable, latitude, longitude).

    The frames are on `grid`. Messages call the files `names`. Raises the errors of the parser, and
    `VerificationError` for readable files that do not fit.
    """
    task = {
        "kind": "truth",
        "variables": list(variables),
        "latitude": list(grid.latitude),
        "longitude": list(grid.longitude),
        "times": [np.datetime_as_string(time, "s") for time in times],
    }
    shape = (len(variables), *grid.shape)
    with _parse_in_child(files, names, task, limits, len(times) * _bytes_of(shape)) as (result, problems):
        if problems:
            raise VerificationError(" ".join(problems))
        frames = load_frames(result)
        for frame in frames.values():
            _check_frames(frame, shape)
        return frames


def ingest_inspection(
    files: Sequence[Path],
    names: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    limits: Limits | None = None,
) -> Inspection:
    """Return what untrusted `files` hold, and what a forecast would start from at `init_time` or the newest time.

    The files are called `names`. Raises the errors of the parser; what is wrong with a file that can be read is
    among the problems of the inspection.
    """
    task = {
        "kind": "inspection",
        "spec": spec.model_dump(mode="json"),
        "init_time": None if init_time is None else np.datetime_as_string(init_time, "s"),
    }
    with _parse_in_child(files, names, task, limits, 0) as (result, problems):
        if problems:
            raise InitialStateError(quote_names(names), problems)
        return load_inspection(result)


def ingest_times(content: bytes, name: str) -> NDArray[np.datetime64]:
    """Return the values of the coordinate `time` in an untrusted zip of a Zarr store; raises the parser's errors."""
    with private_folder() as folder:
        file = folder / "times.zip"
        file.write_bytes(content)
        task: dict[str, Any] = {"kind": "times", "variables": []}
        with _parse_in_child([file], [name], task, None, _MAX_TIMES_BYTES) as (result, problems):
            if problems:
                raise InitialStateError(quote_names([name]), problems)
            times = load_times(result)
            if times.ndim != 1:
                raise ValueError("The times are not a list.")
            return times


@contextmanager
def _parse_in_child(
    files: Sequence[Path], names: Sequence[str], task: Mapping[str, Any], limits: Limits | None, result_bytes: int
) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folder with the child's result and the list of problems; the folder is removed when the block ends.

    `task` is the child's (`weather.ingest.child`); arrays of its result have at most `result_bytes`. Raises
    `InputUnsupportedError`, `InputCorruptError`, `InputTooLargeError`, `ParserCrashedError` or `ParserTimeoutError`,
    which call the files `names`. An error of the block that shows that the result is not valid becomes a
    `ParserCrashedError`.
    """
    label = quote_names(names)
    with private_folder() as folder:
        inputs = [
            _accept(file, name, folder / f"{index}-input")
            for index, (file, name) in enumerate(zip(files, names, strict=True))
        ]
        request = {"files": [str(path) for path in inputs], "names": list(names), "task": dict(task)}
        limits = limits or Limits.of(inputs, result_bytes + _DESCRIPTION_BYTES)
        reply = run_parser(request, folder, limits, label)
        if reply["kind"] in _KINDS:
            raise _KINDS[reply["kind"]](label, reply["problems"])
        try:
            if not reply["problems"]:
                check_result(folder / "work" / RESULT, limits.result_bytes)
            yield folder / "work" / RESULT, reply["problems"]
        except _INVALID_RESULT as error:
            raise ParserCrashedError(label, ["The parser wrote no valid result. The file may be damaged."]) from error


def _bytes_of(shape: tuple[int, ...]) -> int:
    return np.dtype(np.float32).itemsize * math.prod(shape)


def _check_frames(frames: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Raise `ValueError` unless fields have a shape, which may follow a dimension of analyses, and are finite."""
    if frames.dtype != np.float32 or frames.shape[-3:] != shape or not np.isfinite(frames).all():
        raise ValueError("The fields are not those that were requested.")


def _check_texts(*texts: Any) -> None:
    """Raise `ValueError` if a text cannot be encoded."""
    json.dumps(texts, ensure_ascii=False).encode()


def quote_names(names: Sequence[str]) -> str:
    """Return names of files for a message: `a` and `b`, in backticks."""
    return " and ".join(f"`{name}`" for name in names)


def _accept(file: Path, name: str, target: Path) -> Path:
    """Check the first bytes of a file, and link it to `target`, which is returned."""
    start = read_start(file, name)
    if detect_format(start) is None:
        raise InputUnsupportedError(name, [describe_unsupported(name, start, file.stat().st_size)])
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
    return target
