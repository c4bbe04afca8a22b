"""Create an empty store with consolidated metadata, whole."""

import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.core.buffer import Buffer

from storage.paths import StoragePath, storage_path
from weather.errors import StorageFullError, StoreError
from weather.stores.chunks import METADATA_KEY

_warnings_lock = threading.Lock()
"""Held while warnings are silenced: Python does that for all threads of the process."""


def create_store(
    path: Path | StoragePath,
    attributes: Mapping[str, Any],
    create_arrays: Callable[[zarr.Group], None],
    needs_bytes: int,
) -> StoragePath:
    """Create a store with the arrays that `create_arrays` adds to an empty group; return its path.

    Raises `StoreError` if `path` exists, and `StorageFullError` if less than `needs_bytes` are free.
    """
    folder = storage_path(path)
    if folder.exists():
        raise StoreError(f"`{folder}` already exists. Choose another folder, or pass --resume to continue it.")
    free = folder.free_bytes()
    if free < needs_bytes:
        raise StorageFullError(
            f"`{folder}` may need {needs_bytes / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free. Choose "
            "another disk, or fewer members or lead times."
        )
    folder.create_folder(_empty_store(attributes, create_arrays))
    return folder


def _empty_store(attributes: Mapping[str, Any], create_arrays: Callable[[zarr.Group], None]) -> dict[str, bytes]:
    """Return the files of an empty store by name, the root's metadata last."""
    files: dict[str, Buffer] = {}
    memory = zarr.storage.MemoryStore(files)
    create_arrays(zarr.create_group(memory, zarr_format=3, attributes=dict(attributes)))
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(memory, zarr_format=3)
    return {name: files[name].to_bytes() for name in sorted(files, key=METADATA_KEY.__eq__)}
