"""Files that commands and the client write whole, or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from warmcast.errors import DownloadError


@contextmanager
def open_whole(target: Path) -> Iterator[BinaryIO]:
    """Yield a file to write, which gets the name `target` at the end of the block if nothing is raised in it.

    Until then it has a hidden name of its own in the same folder. Raises `DownloadError` if it cannot be written.
    """
    partial = target.with_name(f".warmcast-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise DownloadError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def check_target(target: Path) -> None:
    """Raise `DownloadError` if no file of this name can be written: it is a folder, or its folder is missing."""
    try:
        is_folder, has_parent = target.is_dir(), target.parent.is_dir()
    except OSError as error:
        raise DownloadError(f"`{target}` cannot be written: {error.strerror or error}.") from error
    if is_folder:
        raise DownloadError(f"`{target}` is a folder. Give the name of the file to write.")
    if not has_parent:
        raise DownloadError(f"The folder `{target.parent}` does not exist. Create it, or choose another.")
