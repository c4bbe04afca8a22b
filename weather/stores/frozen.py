"""A view of an ensemble or summary store that does not grow: its first lead times, with the chunks of the store."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

from storage.paths import StoragePath
from weather.errors import DamagedError
from weather.stores.checks import check_content, damage_of
from weather.stores.chunks import METADATA_KEY, ChunkFormat

_CHUNK = re.compile(r"([a-z0-9_]+)/c\.(\d+(?:\.\d+)*)")
_LEAD_TIME, _VALID_TIME, _MARKS = "lead_time", "valid_time", "complete"


@dataclass(frozen=True)
class FrozenView:
    """The metadata and coordinates of the first `num_lead_times` lead times of a store, as `files` by their keys.

    `counts` are the numbers of chunks along each dimension of the other arrays.
    """

    num_lead_times: int
    counts: Mapping[str, tuple[int, ...]]
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, store: StoragePath, num_lead_times: int) -> Self:
        """Return the view of a store, whose chunks it shares; as many lead times should be complete.

        Raises `DamagedError` if the metadata or a coordinate of the store is missing or damaged.
        """
        name = f"{store.name}/{METADATA_KEY}"
        with damage_of(name):
            content = (store / METADATA_KEY).read_bytes()
        try:
            root = json.loads(content)
            arrays: dict[str, dict[str, Any]] = root["consolidated_metadata"]["metadata"]
            frozen = {array: _freeze(metadata, num_lead_times) for array, metadata in arrays.items()}
            coordinates = [array for array, metadata in arrays.items() if _is_coordinate(array, metadata)]
            files = dict(_coordinate_files(store, arrays, coordinates, num_lead_times))
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(name, "is damaged: it is not the metadata of a store") from error
        files |= {f"{array}/{METADATA_KEY}": _encode(metadata) for array, metadata in frozen.items()}
        consolidated = {**root["consolidated_metadata"], "metadata": frozen}
        files[METADATA_KEY] = _encode({**root, "consolidated_metadata": consolidated})
        counts = {array: _count_chunks(metadata) for array, metadata in frozen.items() if array not in coordinates}
        return cls(num_lead_times, counts, files)

    def has_chunk(self, key: str) -> bool:
        """Return whether a key is that of a chunk of the store which belongs to the view."""
        match = _CHUNK.fullmatch(key)
        if match is None:
            return False
        counts, numbers = self.counts.get(match[1], ()), [int(number) for number in match[2].split(".")]
        return len(numbers) == len(counts) and all(map(int.__lt__, numbers, counts))

    def chunks(self) -> Iterator[str]:
        """Yield the keys of all chunks of the store which belong to the view."""
        for array, counts in self.counts.items():
            for index in product(*map(range, counts)):
                yield f"{array}/c.{'.'.join(map(str, index))}"

    def marks(self) -> Iterator[str]:
        """Yield the keys of the chunks that exist only if the lead times are complete."""
        return (key for key in self.chunks() if key.startswith(f"{_MARKS}/"))


def _is_coordinate(name: str, metadata: Mapping[str, Any]) -> bool:
    return metadata["dimension_names"] == [name] or name == _VALID_TIME


def _freeze(metadata: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the metadata of an array with `number` lead times; those of a coordinate are one chunk."""
    grid, names = metadata["chunk_grid"], metadata["dimension_names"]
    shape = [number if name == _LEAD_TIME else size for name, size in zip(names, metadata["shape"], strict=True)]
    chunk = [
        min(size, number) if name == _LEAD_TIME else size
        for name, size in zip(names, grid["configuration"]["chunk_shape"], strict=True)
    ]
    return {
        **metadata,
        "shape": shape,
        "chunk_grid": {**grid, "configuration": {**grid["configuration"], "chunk_shape": chunk}},
    }


def _coordinate_files(
    store: StoragePath, arrays: Mapping[str, Mapping[str, Any]], coordinates: list[str], number: int
) -> Iterator[tuple[str, bytes]]:
    """Yield key and content of the chunk of each coordinate; those of lead times end with the `number`-th."""
    for name in coordinates:
        chunks = ChunkFormat.from_metadata(name, arrays[name])
        key = chunks.key(*[0] * len(chunks.shape))
        path = f"{store.name}/{key}"
        if _LEAD_TIME in arrays[name]["dimension_names"]:
            with damage_of(path):
                values = chunks.read_all(store)[..., :number]
            yield key, ChunkFormat(name, values.shape, chunks.dtype, chunks.compressed).encode(values)
        elif (store / key).file_stat() is not None:  # zarr writes no chunk whose values all equal the fill value
            with damage_of(path):
                content = (store / key).read_bytes()
            check_content(path, [content], None)
            yield key, content


def _count_chunks(metadata: Mapping[str, Any]) -> tuple[int, ...]:
    chunk = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(-(-size // step) for size, step in zip(metadata["shape"], chunk, strict=True))


def _encode(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, indent=2).encode()
