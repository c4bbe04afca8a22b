"""One writer a forecast: a lock that the operating system drops with its process, however that ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weather.errors import StoreError


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a forecast's folder, which is made where it is missing.

    Raises `StoreError` where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"`{folder}` is being written by another process. Wait for it, or stop it.") from error
        yield
