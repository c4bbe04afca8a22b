"""One process a folder: a lock that the operating system drops with its process, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import WarmcastError


@contextmanager
def only_holder(folder: Path, error: WarmcastError) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is missing; raises `error` where another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as held:
            raise error from held
        yield
