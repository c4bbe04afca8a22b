"""Lock a folder for one process; the operating system releases the lock when the process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import WarmcastError


@contextmanager
def lock_folder(folder: Path, error: WarmcastError) -> Iterator[None]:
    """Hold the lock of a folder, which is created if it is missing; raise `error` if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise error from held
        yield
