"""The process that parses untrusted files, with a request on standard input; `weather.ingest.process` starts it.

The request is JSON: `files` to parse, the `names` that messages call them by, the `task`, the `folder` to write into,
the id of the `parent` process and the resource limits. The reply on standard output is `{}`, or
`{"kind": …, "problems": […]}` with the kind `corrupt`, `too large`, `unsupported` or `unusable`. The exit code is
`DISK_FULL` if the disk is full.
"""

import errno
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.plugins import list_engines

from storage.errors import is_disk_full
from weather.errors import InitialStateError, VerificationError
from weather.grids import Grid
from weather.ingest.exchange import RESULT, save_frames, save_inspection, save_times, write_initial_state
from weather.ingest.process import DISK_FULL
from weather.ingest.sandbox import confine
from weather.ingest.unpack import unpack_checked
from weather.initial_state import read_initial_state
from weather.manifest import ModelSpec
from weather.readers.containers import (
    DAMAGE,
    DamagedError,
    FullDiskError,
    Limits,
    SourceError,
    TooLargeError,
    Unpacking,
    UnsupportedError,
    join_lines,
)
from weather.readers.inspection import inspect_sources, rename_files
from weather.readers.provenance import with_file_names
from weather.readers.series import read_truth


def main() -> None:
    """Carry out the request on standard input within its limits, and write the reply to standard output."""
    request = json.load(sys.stdin)
    files = begin(request)
    try:
        reply = carry_out(files, request["names"], request["task"], Path(request["folder"]), request["output_bytes"])
        json.dump(reply, sys.stdout)
        sys.stdout.flush()
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.exit(DISK_FULL)


def begin(request: dict[str, Any]) -> list[Path]:
    """Confine this process to the files and the folder of its request, and return the files."""
    files, folder = [Path(path) for path in request["files"]], Path(request["folder"])
    list_engines()  # reads the descriptions of installed packages
    confine(files, folder, request["memory_bytes"], request["cpu_seconds"], request["output_bytes"])
    if os.getppid() != request["parent"]:
        sys.exit("The parent process has ended.")
    warnings.simplefilter("ignore")
    tempfile.tempdir = str(folder)
    return files


def carry_out(
    files: list[Path], names: list[str], task: dict[str, Any], folder: Path, output_bytes: int
) -> dict[str, Any]:
    """Carry out `task`, such as `{"kind": "initial_state", …}`, on `files`, and write its result into `folder`.

    Return `{}`, or if the files cannot be used `kind` (such as `corrupt`) and `problems`, which refer to the files by
    their `names`.
    """
    try:
        with ExitStack() as stack:
            unpacking = Unpacking(stack, Limits(max_bytes=output_bytes), folder)
            unpacked = [
                opened
                for file, name in zip(files, names, strict=True)
                for opened in unpack_checked(file, name, _variables(task), unpacking)
            ]
            inputs = {opened.location: opened.name for opened in unpacked}
            try:
                result = folder / RESULT
                result.mkdir()
                _TASKS[task["kind"]](inputs, names, task, result)
            except InitialStateError as error:
                return _refuse([_use_names(problem, inputs) for problem in error.problems])
            except VerificationError as error:
                return _refuse([_use_names(str(error), inputs)])
    except FullDiskError as error:
        raise OSError(errno.ENOSPC, str(error)) from error
    except SourceError as error:
        return {"kind": _KINDS.get(type(error), "unusable"), "problems": [str(error)]}
    return {}


def _refuse(problems: list[str]) -> dict[str, Any]:
    """Return the reply for files that cannot be used: kind `corrupt` if a problem is due to damaged bytes."""
    return {"kind": "corrupt" if any(DAMAGE in problem for problem in problems) else "unusable", "problems": problems}


def _variables(task: dict[str, Any]) -> tuple[str, ...]:
    return tuple(task["variables"]) if "variables" in task else ModelSpec.model_validate(task["spec"]).variable_names


def _write_initial_state(inputs: dict[str, str], names: list[str], task: dict[str, Any], output: Path) -> None:
    init_time = None if task["init_time"] is None else np.datetime64(task["init_time"], "s")
    state = read_initial_state([*inputs], ModelSpec.model_validate(task["spec"]), init_time)
    choice = with_file_names(state.choice, lambda text: _use_names(text, inputs))
    write_initial_state(replace(state, sources=tuple(names), choice=choice), output)


def _write_truth(inputs: dict[str, str], _names: list[str], task: dict[str, Any], output: Path) -> None:
    grid = Grid(tuple(task["latitude"]), tuple(task["longitude"]))
    times = [np.datetime64(time, "s") for time in task["times"]]
    save_frames(read_truth([*inputs], task["variables"], grid, times), output)


def _write_inspection(inputs: dict[str, str], _names: list[str], task: dict[str, Any], output: Path) -> None:
    init_time = None if task["init_time"] is None else np.datetime64(task["init_time"], "s")
    inspection = inspect_sources([*inputs], ModelSpec.model_validate(task["spec"]), init_time)
    save_inspection(rename_files(inspection, lambda text: _use_names(text, inputs)), output)


def _write_times(inputs: dict[str, str], names: list[str], _task: dict[str, Any], output: Path) -> None:
    (location,) = inputs
    try:
        with xr.open_zarr(location, consolidated=False, chunks=None) as store:
            times = store["time"].values.astype("datetime64[s]")
    except (KeyError, ValueError, TypeError) as error:
        raise InitialStateError(f"`{names[0]}`", [f"`{names[0]}` has no times: {join_lines(error)}."]) from error
    save_times(times, output)


_TASKS: dict[str, Callable[[dict[str, str], list[str], dict[str, Any], Path], None]] = {
    "initial_state": _write_initial_state,
    "truth": _write_truth,
    "inspection": _write_inspection,
    "times": _write_times,
}
_KINDS: dict[type[SourceError], str] = {
    DamagedError: "corrupt",
    TooLargeError: "too large",
    UnsupportedError: "unsupported",
}


def _use_names(text: str, inputs: dict[str, str]) -> str:
    """Return a text with the users' names of the files in place of their paths, and `?` for what cannot be encoded."""
    for path, name in inputs.items():
        text = text.replace(path, name)
    return text.encode(errors="replace").decode()
