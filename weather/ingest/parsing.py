"""Files from strangers are recognised, looked at, and parsed in a limited child, or refused."""

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

from weather.errors import (
    InputCorruptError,
    InputTooLargeError,
    InputUnsupportedError,
    ParserCrashedError,
    ParserTimeoutError,
)  # fmt: skip
from weather.ingest.gate_grib import grib_problem
from weather.ingest.gate_zip import zip_problem

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


AMPLE = Limits()
"""For what a request may bring."""


@contextmanager
def parsed_in_child(
    files: Sequence[Path], names: Sequence[str], wanted: Mapping[str, Any], limits: Limits
) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folder that the child wrote to as `wanted` says, and the problems that it found in sound files.

    `files` are called `names` in what users read. Raises `InputUnsupportedError`, `InputCorruptError`,
    `InputTooLargeError`, `ParserCrashedError` or `ParserTimeoutError`.
    """
    label = label_of(names)
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
            "wanted": dict(wanted),
            "output": str(output),
            "memory_bytes": limits.memory_bytes,
            "cpu_seconds": limits.cpu_seconds,
            "output_bytes": limits.output_bytes,
        }
        answer = _run(json.dumps(request), limits.wall_seconds, label)
        if "unsupported" in answer:
            raise InputUnsupportedError(label, [answer["unsupported"]])
        yield output, answer.get("problems", [])


def label_of(names: Sequence[str]) -> str:
    """Return the names of files as they are told."""
    return " and ".join(f"`{name}`" for name in names)


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


def _run(request: str, wall_seconds: float, label: str) -> dict[str, Any]:
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
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer
    if _OUT_OF_MEMORY in ended.stderr or b"Cannot allocate" in ended.stderr or b"Unable to allocate" in ended.stderr:
        raise InputTooLargeError(label, ["Reading needs more memory than is allowed. Send less, or in another form."])
    raise ParserCrashedError(label, [f"The reader ended with code {ended.returncode}. The file may be damaged."])
