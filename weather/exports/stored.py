"""The fields of a stored ensemble or summary, read one lead time at a time, whatever their statistics are."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath
from weather.errors import DamagedError, StoreError
from weather.stores.checks import damage_of, read_chunk
from weather.stores.chunks import METADATA_KEY, ChunkFormat
from weather.stores.layout import COMPLETE, ENSEMBLE

_OUTER, _POINTS = ("init_time", "lead_time"), ("latitude", "longitude")
_PARALLEL_READS = 8


@dataclass(frozen=True)
class StoredArray:
    """An array of a store: its dimensions, shape, chunks and attributes."""

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    chunks: ChunkFormat
    attributes: Mapping[str, Any]

    @property
    def dimension(self) -> str | None:
        """The dimension of a field besides time and place, such as `number` or `quantile`; None if it has none."""
        between = self.dimensions[len(_OUTER) : -len(_POINTS)]
        return between[0] if between else None


class StoredFields:
    """The fields of an ensemble or summary store by name, its coordinates, and which lead times are complete."""

    def __init__(self, path: StoragePath, attributes: Mapping[str, Any], arrays: Mapping[str, StoredArray]) -> None:
        self.path, self.attributes = path, attributes
        self.fields = {
            name: array
            for name, array in arrays.items()
            if array.dimensions[: len(_OUTER)] == _OUTER and array.dimensions[-len(_POINTS) :] == _POINTS
        }
        self.coordinates = {
            name: array.chunks.read_all(path)
            for name, array in arrays.items()
            if name in array.dimensions or name == "valid_time"
        }
        self._arrays = arrays
        self.is_ensemble = self.path.name == ENSEMBLE

    @classmethod
    def open(cls, path: StoragePath) -> Self:
        """Open a store; raises `DamagedError` if there is none, or its metadata or a coordinate cannot be read."""
        with damage_of(f"{path.name}/{METADATA_KEY}"):
            content = (path / METADATA_KEY).read_bytes()
        try:
            metadata = json.loads(content)
            arrays = {
                name: StoredArray(
                    tuple(array["dimension_names"]),
                    tuple(array["shape"]),
                    ChunkFormat.from_metadata(name, array),
                    array["attributes"],
                )
                for name, array in metadata["consolidated_metadata"]["metadata"].items()
            }
            return cls(path, metadata["attributes"], arrays)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DamagedError(path.name, f"is damaged: {error}") from error

    @property
    def init_time(self) -> np.datetime64:
        """The initial time, in seconds."""
        return np.datetime64(int(self.coordinates["init_time"][0]), "s")

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the forecast, in their order; raises `StoreError` if an earlier version made the store."""
        if "variables" not in self.attributes:
            raise StoreError(f"`{self.path.name}` was made by an earlier version, and does not name its variables.")
        return tuple(self.attributes["variables"].split())

    @property
    def lead_hours(self) -> NDArray[np.int64]:
        """All lead times, complete or not, in hours."""
        return self.coordinates["lead_time"]

    def attributes_of(self, name: str) -> Mapping[str, Any]:
        """Return the attributes of a field or a coordinate."""
        return self._arrays[name].attributes

    def read_numbers(self, at_most: int) -> NDArray[np.int64]:
        """Return how many values each member has at the complete lead times, of the first `at_most`.

        Of an ensemble it is (lead time, member), 0 for a lost member and else 1. Of a summary it is (lead time, 1), the
        number of members that its statistics are of. A lead time is complete if it and all before it are.
        """
        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            marks = pool.map(self._read_mark, range(min(at_most, len(self.lead_hours))))
            found = []
            for mark in marks:
                if mark is None:
                    break
                found.append(mark)
        return np.stack(found) if found else np.zeros((0, 1), np.int64)

    def read(self, name: str, lead_index: int, positions: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return a field at a lead time, float32 (position of its dimension, latitude, longitude).

        All `positions` are read by default; a field without a dimension has one. Raises `DamagedError` if a chunk is
        missing or damaged.
        """
        array = self.fields[name]
        if array.dimension is None:
            return np.asarray(read_chunk(self.path, array.chunks, 0, lead_index, 0, 0)[0])
        wanted = np.arange(array.shape[2]) if positions is None else np.array(positions)
        size = array.chunks.shape[2]
        groups = np.unique(wanted // size)
        chunks = [read_chunk(self.path, array.chunks, 0, lead_index, group, 0, 0)[0, 0] for group in groups.tolist()]
        places = np.searchsorted(groups, wanted // size) * size + wanted % size
        return np.asarray(np.concatenate(chunks)[places])

    def _read_mark(self, lead_index: int) -> NDArray[np.int64] | None:
        """Return the row of `read_numbers` of a lead time; None if it is not complete."""
        complete = self._arrays["complete"]
        with suppress(FileNotFoundError):
            if not self.is_ensemble:
                read_chunk(self.path, complete.chunks, lead_index, is_optional=True)
                return np.asarray(read_chunk(self.path, self._arrays["members"].chunks, lead_index), np.int64)
            members, size = complete.shape[1], complete.chunks.shape[1]
            groups = [
                read_chunk(self.path, complete.chunks, lead_index, group, is_optional=True)[0]
                for group in range(-(-members // size))
            ]
            return np.asarray(np.concatenate(groups)[:members] == COMPLETE, np.int64)
        return None
