"""Write files and folders atomically: no reader, other process or crash leaves or finds a half-written one.

Content is written under a unique temporary name in the same folder, flushed to the disk, and renamed.
"""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PARTIAL_SUFFIX = ".partial"
"""Suffix of temporary files, which a killed process leaves."""

_FLUSHES = 8
"""Files of a folder that are flushed to the disk at the same time."""


def write_bytes(path: Path, content: bytes | memoryview, *, sync_folder: bool = True) -> None:
    """Write a file whole, replacing an existing one; missing parent folders are created.

    The file and its folder are flushed to the disk. Without `sync_folder`, a crash of the machine may undo the rename,
    but never leaves a damaged file: for callers that write many files and then flush once. An error leaves `path` as it
    was.
    """
    with _written_partially(path, content) as partial:
        os.replace(partial, path)
    if sync_folder:
        sync(path.parent)


def write_bytes_if_absent(path: Path, content: bytes) -> None:
    """Write a file whole and flush it to the disk, unless there is one; missing parent folders are created."""
    with _written_partially(path, content) as partial, suppress(FileExistsError):
        os.link(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 whole, replacing an existing one."""
    write_bytes(path, text.encode())


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path for the block to write to; when the block ends, rename it to `path`.

    Missing parent folders are created; the file and its folder are flushed to the disk. An error leaves `path` as it
    was.
    """
    with temporary_file(path) as partial:
        yield partial
        sync(partial)
        os.replace(partial, path)
    sync(path.parent)


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield an unused path in the folder of `path`, which is created if it is missing; remove that file at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(_partial_name(path.name))
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _written_partially(path: Path, content: bytes | memoryview) -> Iterator[str]:
    """Yield the name of a temporary file beside `path` with `content`, flushed to the disk; remove it at the end.

    Names are text here: a forecast writes dozens of small files a second, and paths would cost most of the time.
    """
    folder, name = os.path.split(path)
    partial = f"{folder or os.curdir}{os.sep}{_partial_name(name)}"
    try:
        with _create(partial, path.parent) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)  # noqa: PTH108  # a path would cost more than the call


def _create(name: str, folder: Path) -> IO[bytes]:
    """Open a new file in a folder, which is created if it is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(name, flags, 0o666), "wb")
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(name, flags, 0o666), "wb")


def _partial_name(name: str) -> str:
    return f".{name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}"


@contextmanager
def build_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder for the block to fill; when the block ends, flush it to the disk and rename it to `path`.

    Missing parents are created. Raises `OSError` if `path` is a file or a folder that is not empty; no error leaves
    any part of the folder.
    """
    building = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        building.mkdir(parents=True)
        yield building
        with ThreadPoolExecutor(_FLUSHES, "flush") as threads:  # the file system does those that wait together
            list(threads.map(sync, (*building.rglob("*"), building)))
        os.replace(building, path)
        sync(path.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def create_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Create a folder, and missing parents, with `files` (content by relative name) whole, flushed to the disk.

    Raises `OSError` if `path` is a file or a folder that is not empty.
    """
    with build_folder(path) as building:
        for name, content in files.items():
            file = building / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
