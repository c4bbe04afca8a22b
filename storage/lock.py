"""Lock a folder for one process; the operating system releases the lock when the process ends, also by a crash."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import WarmcastError


@contextmanager
def lock_folder(folder: Path, error: WarmcastError) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing; raise `error` if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with _hold(folder / ".lock", error):
        yield


@contextmanager
def claim_output(path: Path, error: WarmcastError) -> Iterator[None]:
    """Hold the lock of a file to be written; raise `error` if another process holds it.

    The lock is a hidden file next to `path`, which stays afterwards; its folder is created if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _hold(path.with_name(f".{path.name}.lock"), error):
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold the lock of a file, waiting while another thread or process holds it.

    The file is created if it is missing and stays afterwards. Raises `FileNotFoundError` if its folder does not exist.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _hold(lock: Path, error: WarmcastError) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise error from held
        yield
