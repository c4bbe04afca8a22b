"""Run the parser: a process with a folder of its own, an empty environment and limits, watched by its parent."""

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from storage.scratch import remove_folder
from weather.errors import InputTooLargeError, ParserCrashedError, ParserTimeoutError

DISK_FULL = 28
"""Exit code of a parser whose disk is full."""
_PACKAGES = ("weather", "eccodes", "h5py", "netCDF4", "numpy", "pydantic", "xarray", "zarr")
_START = (
    "import sys; sys.path += [path for path in sys.argv[1:] if path not in sys.path]; "
    "from weather.ingest.child import main; main()"
)
_OUT_OF_MEMORY = (b"MemoryError", b"Cannot allocate", b"Unable to allocate")
_MAX_THREADS, _MAX_REPLY_BYTES = 64, 1_000_000
_PAUSE_SECONDS, _MAX_PROBLEMS = 0.2, 100


@dataclass(frozen=True)
class Limits:
    """What the parser may use: memory, CPU and wall time, bytes that it unpacks, bytes of its result, and files."""

    memory_bytes: int = 4 * 1024**3
    cpu_seconds: int = 60
    wall_seconds: float = 600.0
    output_bytes: int = 4_000_000_000
    result_bytes: int = 4_000_000_000
    max_files: int = 50_000

    @classmethod
    def of(cls, files: Sequence[Path], result_bytes: int) -> "Limits":
        """Return the limits for files: 8 s of CPU time and 1 s more for each megabyte, and ten times that in all."""
        seconds = min(8 + sum(file.stat().st_size for file in files) // 1_000_000, cls.cpu_seconds)
        return cls(cpu_seconds=seconds, wall_seconds=10.0 * seconds, result_bytes=result_bytes)


class _Exceeded(Exception):  # noqa: N818  # internal
    """The parser uses more than it may; the message says of what."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new temporary folder, by its absolute path, which is removed at the end however deep it has become."""
    folder = Path(tempfile.mkdtemp(prefix="warmcast-ingest-")).absolute()  # relative below a relative folder
    try:
        yield folder
    finally:
        remove_folder(folder)


def run_parser(request: Mapping[str, Any], folder: Path, limits: Limits, label: str) -> dict[str, Any]:
    """Return the reply of a parser to a request, carried out in `folder`; what it writes is in its folder `work`.

    Raises `ParserTimeoutError`, `InputTooLargeError` or `ParserCrashedError`, which refer to the files by `label`, and
    `OSError` if the disk is full. What a crashed parser printed is a note of the error, for logs alone.
    """
    work = folder / "work"
    work.mkdir()
    full_request = {
        **request,
        "parent": os.getpid(),
        "folder": str(work),
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": limits.cpu_seconds,
        "output_bytes": limits.output_bytes,
    }
    (folder / "request").write_text(json.dumps(full_request))
    with (folder / "request").open("rb") as given, _new(folder / "reply") as reply, _new(folder / "errors") as errors:
        process = subprocess.Popen(
            _command(),
            stdin=given,
            stdout=reply,
            stderr=errors,
            env=_environment(work),
            cwd=work,
            process_group=0,  # a session would get as much of the CPU as that of its parent
        )
        try:
            _wait(process, work, limits)
            replied, logged = _read_start(reply), _read_start(errors)
        except subprocess.TimeoutExpired as error:
            raise _timeout(label, f"{limits.wall_seconds:g} s") from error
        except _Exceeded as error:
            raise InputTooLargeError(label, [f"{error} Send less, or in another form."]) from error
        finally:
            process.kill()
            process.wait()
    return _parse_reply(process.returncode, replied, logged, label, limits)


def _command() -> list[str]:
    """Return the command of the parser: an interpreter that knows the standard library and `_search_path` only."""
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START, *_search_path()]


def _search_path() -> list[str]:
    """Return the folders from which this process imports libraries, in their order.

    The working directory, the folder of a script and those of `PYTHONPATH` are among them only if they have a package
    of the parser.
    """
    specs = [find_spec(name) for name in _PACKAGES]
    roots = [str(Path(spec.origin).absolute().parents[1]) for spec in specs if spec is not None and spec.origin]
    others = {"", *os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path(sys.argv[0]).parent)}
    foreign = {Path(path).absolute() for path in others}
    found = [
        path for path in sys.path if path in roots or (Path(path).is_dir() and Path(path).absolute() not in foreign)
    ]
    return list(dict.fromkeys([*(root for root in roots if root not in sys.path), *found]))


def _environment(folder: Path) -> dict[str, str]:
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HDF5_PLUGIN_PRELOAD": "::",
        "HDF5_USE_FILE_LOCKING": "FALSE",
    }


def _new(path: Path) -> IO[bytes]:
    return path.open("w+b")


def _wait(process: "subprocess.Popen[bytes]", work: Path, limits: Limits) -> None:
    """Wait until the parser ends; raise `TimeoutExpired` after its time, and `_Exceeded` if it uses more than it may.

    The kernel limits neither the number of files nor their bytes in all.
    """
    deadline, pause = time.monotonic() + limits.wall_seconds, _PAUSE_SECONDS
    while True:
        try:
            process.wait(min(pause, max(deadline - time.monotonic(), 0.001)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
            began = time.monotonic()
            _check_usage(process.pid, work, limits)
            pause = max(_PAUSE_SECONDS, 10 * (time.monotonic() - began))
        else:
            return


def _check_usage(pid: int, work: Path, limits: Limits) -> None:
    """Raise `_Exceeded` if the parser has too many files, bytes in files or threads."""
    files = used = 0
    folders = [work]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                files += 1
                used += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
    most = limits.output_bytes + limits.result_bytes
    if files > limits.max_files or used > most:
        raise _Exceeded(
            f"Reading writes {files} files of {used} bytes, and at most {limits.max_files} of {most} are accepted."
        )
    with contextlib.suppress(OSError):  # it has ended
        status = Path(f"/proc/{pid}/status").read_text()
        if int(status.partition("\nThreads:")[2].split()[0]) > _MAX_THREADS:
            raise _Exceeded(f"Reading starts more than {_MAX_THREADS} threads.")


def _read_start(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(_MAX_REPLY_BYTES)


def _parse_reply(code: int, reply: bytes, errors: bytes, label: str, limits: Limits) -> dict[str, Any]:
    """Return the reply of a parser that has ended with an exit code; raise the error that its end stands for."""
    if code == DISK_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if code == -signal.SIGXCPU:
        raise _timeout(label, f"{limits.cpu_seconds} s of CPU time")
    if code == 0:
        try:
            parsed = json.loads(reply)
            problems = [_clean(text) for text in parsed.get("problems", [])[:_MAX_PROBLEMS]]
            return {"kind": parsed.get("kind"), "problems": problems}
        except (ValueError, TypeError, AttributeError, RecursionError):
            errors = b"The reply is not valid."
    if any(text in errors for text in _OUT_OF_MEMORY):
        raise InputTooLargeError(label, ["Reading needs more memory than is allowed. Send less, or in another form."])
    crash = ParserCrashedError(label, [f"The parser ended with code {code}. The file may be damaged."])
    crash.add_note(f"The parser ended with code {code}: {_clean(errors[-2000:].decode(errors='replace'))}")
    raise crash


def _timeout(label: str, limit: str) -> ParserTimeoutError:
    return ParserTimeoutError(label, [f"Reading took more than {limit}. Send less, or in another form."])


def _clean(text: str) -> str:
    """Return text on one line that can be encoded, of at most 2000 characters."""
    return "".join(character if character.isprintable() else " " for character in text[:2000])


def check_result(folder: Path, max_bytes: int) -> None:
    """Raise `ValueError` unless a folder holds nothing but plain files of at most `max_bytes` together."""
    states = [path.lstat() for path in folder.iterdir()]
    if not all(stat.S_ISREG(state.st_mode) and state.st_nlink == 1 for state in states):
        raise ValueError("The result has links or special files.")
    if sum(state.st_size for state in states) > max_bytes:
        raise ValueError("The result is too large.")
