"""The program that alone parses what strangers send: `python -m weather.ingest.child`, a request on standard input."""

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from weather.errors import InitialStateError, VerificationError
from weather.frames import read_truth
from weather.grids import Grid
from weather.ingest.artefact import write_canonical, write_frames
from weather.ingest.gate_hdf5 import hdf5_problem
from weather.ingest.sandbox import limit_resources, restrict_files
from weather.initial_state import read_initial_state
from weather.manifest import ModelSpec

_LIBRARIES = ("/usr", "/lib", "/lib64", "/etc", "/opt", "/dev/null", "/dev/urandom", "/proc/self", "/proc/cpuinfo")


def main() -> None:
    """Parse as the request says: write what is wanted, or the problems to standard output."""
    request = json.load(sys.stdin)
    files, output = [Path(path) for path in request["files"]], Path(request["output"])
    limit_resources(request["memory_bytes"], request["cpu_seconds"], request["output_bytes"])
    libraries = [Path(place) for place in (*_LIBRARIES, sys.prefix, sys.base_prefix, *sys.path) if place]
    restrict_files([*libraries, *files], [output])
    warnings.simplefilter("ignore")
    json.dump(_parsed(files, request["names"], request["wanted"], output), sys.stdout)


def _parsed(files: list[Path], names: list[str], wanted: dict[str, Any], output: Path) -> dict[str, Any]:
    for file, name in zip(files, names, strict=True):
        if file.suffix == ".h5":
            wrong = hdf5_problem(file)
            if wrong:
                return {"unsupported": f"`{name}`: {wrong}."}
    try:
        _WRITERS[wanted["kind"]](files, names, wanted, output)
    except InitialStateError as error:
        return {"problems": [_named(problem, files, names) for problem in error.problems]}
    except VerificationError as error:
        return {"problems": [_named(str(error), files, names)]}
    return {}


def _write_initial_state(files: list[Path], names: list[str], wanted: dict[str, Any], output: Path) -> None:
    init_time = None if wanted["init_time"] is None else np.datetime64(wanted["init_time"], "s")
    state = read_initial_state([str(file) for file in files], ModelSpec.model_validate(wanted["spec"]), init_time)
    write_canonical(replace(state, sources=tuple(names)), output)


def _write_truth(files: list[Path], _names: list[str], wanted: dict[str, Any], output: Path) -> None:
    grid = Grid(tuple(wanted["latitude"]), tuple(wanted["longitude"]))
    times = [np.datetime64(time, "s") for time in wanted["times"]]
    write_frames(read_truth([str(file) for file in files], wanted["variables"], grid, times), output)


_WRITERS: dict[str, Callable[[list[Path], list[str], dict[str, Any], Path], None]] = {
    "initial_state": _write_initial_state,
    "truth": _write_truth,
}


def _named(problem: str, files: list[Path], names: list[str]) -> str:
    """Return a problem with the names that users gave their files."""
    for file, name in zip(files, names, strict=True):
        problem = problem.replace(str(file), name)
    return problem


if __name__ == "__main__":
    main()
