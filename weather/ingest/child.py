"""The process that parses untrusted files: `python -m weather.ingest.child`, with a request on standard input.

The request is JSON: `files` to parse, the `names` that messages call them by, the `task`, the `output` folder and the
resource limits. The reply on standard output is `{}`, `{"problems": […]}` or `{"unsupported": "…"}`.
"""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from weather.errors import InitialStateError, VerificationError
from weather.grids import Grid
from weather.ingest.exchange import save_frames, save_initial_state
from weather.ingest.sandbox import limit_resources, restrict_files
from weather.initial_state import read_initial_state
from weather.manifest import ModelSpec
from weather.readers.series import read_truth

_MAX_DEPTH = 4
_SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/etc", "/opt", "/dev/null", "/dev/urandom", "/proc/self", "/proc/cpuinfo")


def main() -> None:
    """Carry out the request on standard input within its limits, and write the reply to standard output."""
    request = json.load(sys.stdin)
    files, output = [Path(path) for path in request["files"]], Path(request["output"])
    limit_resources(request["memory_bytes"], request["cpu_seconds"], request["output_bytes"])
    libraries = [Path(path) for path in (*_SYSTEM_PATHS, sys.prefix, sys.base_prefix, *sys.path) if path]
    restrict_files([*libraries, *files], [output])
    warnings.simplefilter("ignore")
    json.dump(_parse(files, request["names"], request["task"], output), sys.stdout)


def _parse(files: list[Path], names: list[str], task: dict[str, Any], output: Path) -> dict[str, Any]:
    """Write the result of the task into `output` and return the reply."""
    for file, name in zip(files, names, strict=True):
        if file.suffix == ".h5":
            problem = _find_hdf5_problem(file)
            if problem:
                return {"unsupported": f"`{name}`: {problem}."}
    try:
        _TASKS[task["kind"]](files, names, task, output)
    except InitialStateError as error:
        return {"problems": [_use_names(problem, files, names) for problem in error.problems]}
    except VerificationError as error:
        return {"problems": [_use_names(str(error), files, names)]}
    return {}


def _write_initial_state(files: list[Path], names: list[str], task: dict[str, Any], output: Path) -> None:
    init_time = None if task["init_time"] is None else np.datetime64(task["init_time"], "s")
    state = read_initial_state([str(file) for file in files], ModelSpec.model_validate(task["spec"]), init_time)
    save_initial_state(replace(state, sources=tuple(names)), output)


def _write_truth(files: list[Path], _names: list[str], task: dict[str, Any], output: Path) -> None:
    grid = Grid(tuple(task["latitude"]), tuple(task["longitude"]))
    times = [np.datetime64(time, "s") for time in task["times"]]
    save_frames(read_truth([str(file) for file in files], task["variables"], grid, times), output)


_TASKS: dict[str, Callable[[list[Path], list[str], dict[str, Any], Path], None]] = {
    "initial_state": _write_initial_state,
    "truth": _write_truth,
}


def _use_names(problem: str, files: list[Path], names: list[str]) -> str:
    """Return a problem with the users' names of the files in place of their paths."""
    for file, name in zip(files, names, strict=True):
        problem = problem.replace(str(file), name)
    return problem


def _find_hdf5_problem(path: Path) -> str | None:
    """Return why an HDF5 file is refused, such as for references to other files, or None; it is opened with HDF5."""
    with h5py.File(path, "r") as file:
        return _group_problem(file, depth=0)


def _group_problem(group: h5py.Group, depth: int) -> str | None:
    if depth > _MAX_DEPTH:
        return f"its groups are nested more than {_MAX_DEPTH} deep"
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            return f"`{name}` is a soft or external link"
        item = group[name]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            return f"`{name}` keeps its values in another file"
        problem = _group_problem(item, depth + 1) if isinstance(item, h5py.Group) else None
        if problem:
            return problem
    return None


if __name__ == "__main__":
    main()
