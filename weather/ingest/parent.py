"""Turn untrusted files into an initial state or a truth, parsed by a child process with limited resources.

The parent detects the format and checks the structure; only the child hands the bytes to parsing libraries.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather.errors import (
    InitialStateError,
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserCrashedError,
    ParserTimeoutError,
    VerificationError,
)
from weather.grids import Grid
from weather.ingest.exchange import load_frames, load_initial_state
from weather.ingest.gates import find_grib_problem, find_zip_problem
from weather.initial_state import InitialState
from weather.manifest import ModelSpec

_SUFFIXES = {
    b"GRIB": ".grib",
    b"CDF\x01": ".nc",
    b"CDF\x02": ".nc",
    b"CDF\x05": ".nc",
    b"\x89HDF\r\n\x1a\n": ".h5",
    b"PK\x03\x04": ".zip",
}
_GATES: dict[str, Callable[[Path], str | None]] = {".grib": find_grib_problem, ".zip": find_zip_problem}
_OUT_OF_MEMORY = (b"MemoryError", b"Cannot allocate", b"Unable to allocate")


@dataclass(frozen=True)
class Limits:
    """Resources that the child may use."""

    memory_bytes: int = 4 * 1024**3
    cpu_seconds: int = 60
    wall_seconds: float = 90.0
    output_bytes: int = 2_000_000_000


DEFAULT_LIMITS = Limits()
"""Enough for the largest accepted upload."""


def ingest_initial_state(
    files: Sequence[Path],
    names: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    limits: Limits = DEFAULT_LIMITS,
) -> InitialState:
    """Return the initial state in untrusted `files`, at `init_time` or at their newest time.

    Messages call the files `names`. Raises the errors of `parse_in_child`, and plain `InitialStateError` for readable
    files that cannot start a forecast.
    """
    task = {
        "kind": "initial_state",
        "spec": spec.model_dump(mode="json"),
        "init_time": None if init_time is None else np.datetime_as_string(init_time, "s"),
    }
    with parse_in_child(files, names, task, limits) as (output, problems):
        if problems:
            raise InitialStateError(quote_names(names), problems)
        return load_initial_state(output)


def ingest_truth(
    files: Sequence[Path],
    names: Sequence[str],
    variables: Sequence[str],
    grid: Grid,
    times: Sequence[np.datetime64],
    limits: Limits = DEFAULT_LIMITS,
) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames in untrusted `files` by time: those of `times` that exist, (variable, latitude, longitude).

    The frames are on `grid`. Messages call the files `names`. Raises the errors of `parse_in_child`, and
    `VerificationError` for readable files that do not fit.
    """
    task = {
        "kind": "truth",
        "variables": list(variables),
        "latitude": list(grid.latitude),
        "longitude": list(grid.longitude),
        "times": [np.datetime_as_string(time, "s") for time in times],
    }
    with parse_in_child(files, names, task, limits) as (output, problems):
        if problems:
            raise VerificationError(" ".join(problems))
        return load_frames(output)


@contextmanager
def parse_in_child(
    files: Sequence[Path], names: Sequence[str], task: Mapping[str, Any], limits: Limits
) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folder with the child's output and the list of problems; the folder is removed when the block ends.

    `task` is the child's (`weather.ingest.child`). Raises `InputUnsupportedError`, `InputCorruptError`,
    `InputTooLargeError`, `ParserCrashedError` or `ParserTimeoutError`, which call the files `names`.
    """
    label = quote_names(names)
    with tempfile.TemporaryDirectory(prefix="warmcast-ingest-") as folder:
        output = Path(folder) / "output"
        output.mkdir()
        inputs = [
            _accept(file, name, Path(folder) / str(index))
            for index, (file, name) in enumerate(zip(files, names, strict=True))
        ]
        request = {
            "files": [str(path) for path in inputs],
            "names": list(names),
            "task": dict(task),
            "output": str(output),
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "output_bytes": limits.output_bytes,
        }
        reply = _run_child(json.dumps(request), limits.wall_seconds, label)
        if "unsupported" in reply:
            raise InputUnsupportedError(label, [reply["unsupported"]])
        yield output, reply.get("problems", [])


def quote_names(names: Sequence[str]) -> str:
    """Return names of files for a message: `a` and `b`, in backticks."""
    return " and ".join(f"`{name}`" for name in names)


def _accept(file: Path, name: str, stem: Path) -> Path:
    """Check the structure of a file, link it to `stem` with the suffix of its format, and return that path."""
    suffix = _detect_suffix(file, name)
    problem = _GATES[suffix](file) if suffix in _GATES else None
    if problem:
        raise InputCorruptError(name, [f"`{name}` is damaged or not allowed: {problem}."])
    target = stem.with_suffix(suffix)
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
    return target


def _detect_suffix(file: Path, name: str) -> str:
    with file.open("rb") as opened:
        start = opened.read(8)
    for magic, suffix in _SUFFIXES.items():
        if start.startswith(magic):
            return suffix
    raise InputUnsupportedError(
        name, [f"`{name}` must be GRIB, NetCDF or a zipped Zarr store. Got: {file.stat().st_size} bytes of neither."]
    )


def _run_child(request: str, wall_seconds: float, label: str) -> dict[str, Any]:
    """Run the child and return its reply; raise a parser error if it fails."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",
    }
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "weather.ingest.child"],
            input=request.encode(),
            capture_output=True,
            timeout=wall_seconds,
            env=environment,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ParserTimeoutError(
            label, [f"Reading took more than {wall_seconds:g} s. Send less, or in another form."]
        ) from error
    if ended.returncode == 0:
        reply: dict[str, Any] = json.loads(ended.stdout)
        return reply
    if any(text in ended.stderr for text in _OUT_OF_MEMORY):
        raise InputTooLargeError(label, ["Reading needs more memory than is allowed. Send less, or in another form."])
    raise ParserCrashedError(label, [f"The parser ended with code {ended.returncode}. The file may be damaged."])
