"""Sources of Zarr stores (format 2) at an address: the chunks of a time are fetched as they are, into a small store.

Nothing is decompressed here. Metadata are JSON; times are decoded by the process with limits that reads files too.
"""

import json
import threading
import time as clock
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather.errors import InitialStateError
from weather.ingest.parent import ingest_times
from weather.upstream.transfers import PassingError, Transfer
from weather.upstream.zarr_layout import TIME, ZarrArray, describe_arrays, list_keys, pack_zip

_KEEP_SECONDS = 6 * 3600.0
"""Seconds for which metadata and times of a store are used again; archives grow by days."""
_MAX_METADATA_BYTES = 5_000_000
_GROUP = b'{"zarr_format": 2}'
_OWN_TIMES = {
    "zarr_format": 2,
    "dtype": "<i8",
    "compressor": None,
    "fill_value": None,
    "filters": None,
    "order": "C",
}


@dataclass(frozen=True)
class _Store:
    """Metadata of a store by key, such as `time/.zarray`, its arrays of variables and dimensions, and its times."""

    metadata: Mapping[str, Any]
    arrays: Mapping[str, ZarrArray]
    read: float
    times: NDArray[np.datetime64]


class ZarrSource:
    """The arrays of variables in a store, with the dimensions time, latitude and longitude in any order."""

    def __init__(self, dataset: str, url: str, arrays: Mapping[str, str]) -> None:
        self._dataset, self._url, self._names = dataset, url, tuple(arrays.values())
        self._store: _Store | None = None
        self._lock = threading.Lock()

    def find_last(self, now: np.datetime64, transfer: Transfer) -> np.datetime64:
        """Return `now`, or the last time of the store, or the end of its valid times that ARCO-ERA5 states."""
        store = self._open(transfer)
        ends = [now.astype("datetime64[s]"), store.times.max()]
        stop = store.metadata.get(".zattrs", {}).get("valid_time_stop")
        try:
            ends += [] if stop is None else [np.datetime64(str(stop)[:10], "s") + np.timedelta64(23, "h")]
        except ValueError as error:
            raise transfer.refuse("its attribute valid_time_stop is no date") from error
        return min(ends)

    def name_file(self, time: np.datetime64, transfer: Transfer) -> str | None:
        """Return the name of the file of all times in the chunk of a time; None if the store has no such time."""
        store = self._open(transfer)
        index = _find_index(store, time)
        if index is None:
            return None
        first = store.times[index - index % self._time_chunk(store)]
        hour = str(np.datetime_as_string(first, "h")).replace("-", "").replace("T", "")
        return f"{self._dataset}.from-{hour}.zarr.zip"

    def is_whole(self, time: np.datetime64, transfer: Transfer) -> bool:
        """Return whether the store has all chunks of a time."""
        store = self._open(transfer)
        index = _find_index(store, time)
        if index is None:
            return False
        keys = [key for name in self._names for key in list_keys(name, store.arrays[name], index)]
        return all(transfer.find_size(f"{self._url}/{key}") is not None for key in keys)

    def download(self, time: np.datetime64, transfer: Transfer) -> bytes | None:
        """Return a zip of a store with the chunks of a time; None if one is missing."""
        store = self._open(transfer)
        index = _find_index(store, time)
        if index is None:
            return None
        files = {".zgroup": _GROUP}
        dims = {dim for name in self._names for dim in store.arrays[name].dims} - {TIME}
        parts: list[tuple[str, int | None]] = [(name, index) for name in self._names]
        for name, own_index in [*parts, *((dim, None) for dim in sorted(dims))]:
            if not self._copy_array(store, name, own_index, files, transfer):
                return None
        self._add_times(store, index, files)
        return pack_zip(files)

    def _open(self, transfer: Transfer) -> _Store:
        """Return the metadata and times of the store, which are read again after some hours."""
        with self._lock:
            store = self._store
        if store is not None and clock.monotonic() - store.read < _KEEP_SECONDS:
            return store
        content = transfer.get(f"{self._url}/.zmetadata", max_bytes=_MAX_METADATA_BYTES)
        if content is None:
            raise transfer.refuse("its address has no Zarr store with consolidated metadata (.zmetadata)")
        try:
            metadata = json.loads(content)["metadata"]
            arrays = describe_arrays(metadata, self._names)
            times = self._read_times(metadata, arrays[TIME], transfer)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"the metadata of its store cannot be used ({type(error).__name__}: {error!s:.200})"
            raise transfer.refuse(reason) from error
        store = _Store(metadata, arrays, clock.monotonic(), times)
        with self._lock:
            self._store = store
        return store

    def _read_times(self, metadata: Mapping[str, Any], array: ZarrArray, transfer: Transfer) -> NDArray[np.datetime64]:
        files = {".zgroup": _GROUP}
        for key in (f"{TIME}/.zarray", f"{TIME}/.zattrs"):
            files[key] = json.dumps(metadata[key]).encode()
        for key in list_keys(TIME, array, None):
            chunk = transfer.get(f"{self._url}/{key}")
            if chunk is None:
                raise PassingError("the times of its store are incomplete")
            files[key] = chunk
        try:
            times = ingest_times(pack_zip(files), f"{self._dataset}.times.zip")
        except InitialStateError as error:
            raise transfer.refuse(f"the times of its store cannot be read: {' '.join(error.problems)}") from error
        if not times.size or [times.size] != array.shape:
            raise transfer.refuse("its store has other times than its metadata say")
        return times

    def _time_chunk(self, store: _Store) -> int:
        """Return the number of times in a chunk, which is the same for all arrays of variables."""
        array = store.arrays[self._names[0]]
        return array.chunks[array.dims.index(TIME)]

    def _copy_array(
        self, store: _Store, name: str, index: int | None, files: dict[str, bytes], transfer: Transfer
    ) -> bool:
        """Add metadata and chunks of an array to `files`, those of a time or all; return whether all are there."""
        array, metadata = store.arrays[name], dict(store.metadata[f"{name}/.zarray"])
        if index is not None:
            metadata["shape"] = array.shape_of_chunk(index)
        files[f"{name}/.zarray"] = json.dumps(metadata).encode()
        files[f"{name}/.zattrs"] = json.dumps(store.metadata[f"{name}/.zattrs"]).encode()
        small_keys = list_keys(name, array, index, is_small=True)
        for key, small_key in zip(list_keys(name, array, index), small_keys, strict=True):
            chunk = transfer.get(f"{self._url}/{key}")
            if chunk is None:
                return False
            files[small_key] = chunk
        return True

    def _add_times(self, store: _Store, index: int, files: dict[str, bytes]) -> None:
        """Add the times of a chunk of the variables to `files`."""
        size = self._time_chunk(store)
        first = index // size * size
        times = store.times[first : first + size].astype("datetime64[s]").astype("<i8")
        array = _OWN_TIMES | {"shape": [times.size], "chunks": [times.size]}
        attributes = {"units": "seconds since 1970-01-01", "calendar": "standard", "_ARRAY_DIMENSIONS": [TIME]}
        files[f"{TIME}/.zarray"] = json.dumps(array).encode()
        files[f"{TIME}/.zattrs"] = json.dumps(attributes).encode()
        files[f"{TIME}/0"] = times.tobytes()


def _find_index(store: _Store, time: np.datetime64) -> int | None:
    (found,) = np.nonzero(store.times == time)
    return int(found[0]) if found.size == 1 else None
