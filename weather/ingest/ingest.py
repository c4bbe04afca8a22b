"""Files from strangers become an initial state: recognised, looked at, parsed in a limited child, or refused."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weather.errors import (
    InitialStateError,
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserCrashedError,
    ParserTimeoutError,
)  # fmt: skip
from weather.ingest.artefact import read_canonical
from weather.ingest.gate_grib import grib_problem
from weather.ingest.gate_zip import zip_problem
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
_GATES: dict[str, Callable[[Path], str | None]] = {".grib": grib_problem, ".zip": zip_problem}
_OUT_OF_MEMORY = b"MemoryError"


@dataclass(frozen=True)
class Limits:
    """What the child may use."""

    memory_bytes: int = 4 * 1024**3
    cpu_seconds: int = 60
    wall_seconds: float = 90.0
    output_bytes: int = 2_000_000_000


def ingest(
    files: Sequence[Path],
    names: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    limits: Limits = Limits(),
) -> InitialState:
    """Return the initial state in `files`, which are called `names` in what users read.

    Raises `InputUnsupportedError`, `InputCorruptError`, `InputTooLargeError`, `ParserCrashedError` or
    `ParserTimeoutError`, and plain `InitialStateError` for files that are sound but do not hold what is needed.
    """
    label = " and ".join(f"`{name}`" for name in names)
    with tempfile.TemporaryDirectory(prefix="warmcast-ingest-") as folder:
        output = Path(folder) / "output"
        output.mkdir()
        placed = []
        for index, (file, name) in enumerate(zip(files, names, strict=True)):
            suffix = _recognised(file, name)
            problem = _GATES[suffix](file) if suffix in _GATES else None
            if problem:
                raise InputCorruptError(name, [f"`{name}` is damaged or not allowed: {problem}."])
            placed.append(Path(folder) / f"{index}{suffix}")
            _place(file, placed[-1])
        request = {
            "files": [str(path) for path in placed],
            "names": list(names),
            "spec": spec.model_dump(mode="json"),
            "init_time": None if init_time is None else np.datetime_as_string(init_time, "s"),
            "output": str(output),
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "output_bytes": limits.output_bytes,
        }
        answer = _run(json.dumps(request), limits.wall_seconds, label)
        if "unsupported" in answer:
            raise InputUnsupportedError(label, [answer["unsupported"]])
        if "problems" in answer:
            raise InitialStateError(label, answer["problems"])
        return read_canonical(output)


def _recognised(file: Path, name: str) -> str:
    with file.open("rb") as opened:
        start = opened.read(8)
    for magic, suffix in _SUFFIXES.items():
        if start.startswith(magic):
            return suffix
    raise InputUnsupportedError(
        name, [f"`{name}` must be GRIB, NetCDF or a zipped Zarr store. Got: {file.stat().st_size} bytes of neither."]
    )


def _place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _run(request: str, wall_seconds: float, label: str) -> dict[str, str]:
    """Run the child and return its answer; every other end of it becomes an error."""
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
            [sys.executable, "-m", "weather.ingest.child"], input=request.encode(), capture_output=True,
            timeout=wall_seconds, env=environment, cwd="/", check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise ParserTimeoutError(
            label, [f"Reading took more than {wall_seconds:g} s. Send less, or in another form."]
        ) from error
    if ended.returncode == 0:
        answer: dict[str, str] = json.loads(ended.stdout)
        return answer
    if _OUT_OF_MEMORY in ended.stderr or b"Cannot allocate" in ended.stderr or b"Unable to allocate" in ended.stderr:
        raise InputTooLargeError(label, ["Reading needs more memory than is allowed. Send less, or in another form."])
    raise ParserCrashedError(label, [f"The reader ended with code {ended.returncode}. The file may be damaged."])
