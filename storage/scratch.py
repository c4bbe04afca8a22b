"""Folders for the temporary files of processes; those of processes that were killed are removed by others.

A process holds the lock of its folder, which the operating system releases when it ends: neither process ids, which
are used again and differ between containers, nor ages say whether a folder is still used.
"""

import fcntl
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def own_temporary_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder in `parent` for the temporary files of this process, and remove it at the end.

    Within the block, `tempfile` uses it. Folders of processes that have ended are removed at the start.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned_folders(parent)
    folder, previous = parent / uuid.uuid4().hex, tempfile.tempdir
    with _locked_parent(parent):  # no other process takes the new folder for an abandoned one
        folder.mkdir(mode=0o700)
        lock = (folder / _LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        if tempfile.tempdir == str(folder):  # blocks may end in another order than they began
            tempfile.tempdir = previous if previous is not None and Path(previous).is_dir() else None
        with suppress(OSError):
            remove_folder(folder)
        lock.close()


def remove_abandoned_folders(parent: Path) -> int:
    """Remove the folders in `parent` whose processes have ended, and return their number."""
    if not parent.is_dir():
        return 0
    with _locked_parent(parent):
        abandoned = [folder for folder in parent.iterdir() if folder.is_dir() and not _is_in_use(folder)]
        for folder in abandoned:
            with suppress(OSError):  # such as one of another user
                remove_folder(folder)
    return len(abandoned)


def remove_folder(folder: Path) -> None:
    """Remove a folder; deep ones are taken apart from the top, since paths and calls of any depth are not possible."""
    with suppress(RecursionError, OSError):
        shutil.rmtree(folder)
        return
    moved = 0
    while subfolders := _subfolders(folder):
        for subfolder in subfolders:
            for path in _subfolders(subfolder):
                moved += 1
                path.rename(folder / f"moved-{moved}")
            shutil.rmtree(subfolder)
    shutil.rmtree(folder)


def _subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, without links; first give the owner all permissions on it and on them."""
    folder.chmod(stat.S_IRWXU)
    found = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    for path in found:
        path.chmod(stat.S_IRWXU)
    return found


def _is_in_use(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


@contextmanager
def _locked_parent(parent: Path) -> Iterator[None]:
    with (parent / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
