"""Turn untrusted files into an initial state or a truth, parsed by a child process with limited resources.

The parent looks at the first bytes of a file; only the child unpacks it, checks its structure and hands it to parsing
libraries.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
    ParserTimeoutError,
    VerificationError,
)
from weather.grids import Grid
from weather.ingest.exchange import load_frames, load_initial_state, load_inspection
from weather.initial_state import InitialState
from weather.manifest import ModelSpec
from weather.readers.containers import describe_unsupported, detect_format, read_start
from weather.readers.inspection import Inspection

_KINDS: Mapping[str, type[InitialStateError]] = MappingProxyType(
    {"corrupt": InputCorruptError, "too large": InputTooLargeError, "unsupported": InputUnsupportedError}
)
_OUT_OF_MEMORY = (b"MemoryError", b"Cannot allocate", b"Unable to allocate")


@dataclass(frozen=True)
class Limits:
    """Resources that the child may use."""

    memory_bytes: int = 4 * 1024**3
    cpu_seconds: int = 60
    wall_seconds: float = 90.0
    output_bytes: int = 4_000_000_000


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


def ingest_inspection(
    files: Sequence[Path],
    names: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    limits: Limits = DEFAULT_LIMITS,
) -> Inspection:
    """Return what untrusted `files` hold, and what a forecast would start from at `init_time` or the newest time.

    The files are called `names`. Raises the errors of `parse_in_child`; what is wrong with a file that can be read is
    among the problems of the inspection.
    """
    task = {
        "kind": "inspection",
        "spec": spec.model_dump(mode="json"),
        "init_time": None if init_time is None else np.datetime_as_string(init_time, "s"),
    }
    with parse_in_child(files, names, task, limits) as (output, problems):
        if problems:
            raise InitialStateError(quote_names(names), problems)
        return load_inspection(output)


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
            _accept(file, name, Path(folder) / f"{index}-input")
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
        if reply.get("kind") in _KINDS:
            raise _KINDS[reply["kind"]](label, reply["problems"])
        yield output, reply.get("problems", [])


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
