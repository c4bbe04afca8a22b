"""The program that alone parses what strangers send: `python -m weather.ingest.child`, a request on standard input."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from weather.errors import InitialStateError
from weather.ingest.artefact import write_canonical
from weather.ingest.gate_hdf5 import hdf5_problem
from weather.ingest.sandbox import limit_resources, restrict_files
from weather.initial_state import read_initial_state
from weather.manifest import ModelSpec

_LIBRARIES = ("/usr", "/lib", "/lib64", "/etc", "/opt", "/dev/null", "/dev/urandom", "/proc/self", "/proc/cpuinfo")


def main() -> None:
    """Parse as the request says: write the initial state, or the problems to standard output."""
    request = json.load(sys.stdin)
    files, output = [Path(path) for path in request["files"]], Path(request["output"])
    spec = ModelSpec.model_validate(request["spec"])
    init_time = None if request["init_time"] is None else np.datetime64(request["init_time"], "s")
    limit_resources(request["memory_bytes"], request["cpu_seconds"], request["output_bytes"])
    libraries = [Path(place) for place in (*_LIBRARIES, sys.prefix, sys.base_prefix, *sys.path) if place]
    restrict_files([*libraries, *files], [output])
    warnings.simplefilter("ignore")
    json.dump(_parsed(files, request["names"], spec, init_time, output), sys.stdout)


def _parsed(
    files: list[Path], names: list[str], spec: ModelSpec, init_time: np.datetime64 | None, output: Path
) -> dict[str, Any]:
    for file, name in zip(files, names, strict=True):
        if file.suffix == ".h5":
            wrong = hdf5_problem(file)
            if wrong:
                return {"unsupported": f"`{name}`: {wrong}."}
    try:
        state = read_initial_state([str(file) for file in files], spec, init_time)
    except InitialStateError as error:
        problems = list(error.problems)
        for file, name in zip(files, names, strict=True):
            problems = [problem.replace(str(file), name) for problem in problems]
        return {"problems": problems}
    write_canonical(replace(state, sources=tuple(names)), output)
    return {}


if __name__ == "__main__":
    main()
