"""How a store comes to be: whole, with consolidated metadata, and at once."""

import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.core.buffer import Buffer

from storage.paths import StoragePath, storage_path
from weather.errors import StoreError

_silencing = threading.Lock()
"""Held while warnings are silenced, which Python does for all threads at once."""


def build_store(
    where: Path | StoragePath,
    attributes: Mapping[str, Any],
    create_arrays: Callable[[zarr.Group], None],
    needs_bytes: int,
) -> StoragePath:
    """Create a store at a place, at once or not at all, and return the place.

    Raises `StoreError` where something is there already, or there is less room than `needs_bytes`.
    """
    place = storage_path(where)
    if place.exists():
        raise StoreError(f"`{place}` already exists. Choose another folder, or pass --resume to go on with it.")
    free = place.free_bytes()
    if free < needs_bytes:
        raise StoreError(
            f"`{place}` may need {needs_bytes / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free. Choose "
            "another disk, or fewer members or lead times."
        )
    place.create_folder(_template(attributes, create_arrays))
    return place


def _template(attributes: Mapping[str, Any], create_arrays: Callable[[zarr.Group], None]) -> dict[str, bytes]:
    """Return the files of an empty store by name, that of the root's metadata last."""
    files: dict[str, Buffer] = {}
    building = zarr.storage.MemoryStore(files)
    create_arrays(zarr.create_group(building, zarr_format=3, attributes=dict(attributes)))
    with _silencing, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(building, zarr_format=3)
    return {name: files[name].to_bytes() for name in sorted(files, key="zarr.json".__eq__)}
