"""A view of the stores of several forecasts as one store with all their initial times, with the chunks of the stores.

The forecasts must be equal in all but their initial states. Arrays without an initial time that depend on the forecast,
such as `complete`, get that dimension; coordinates are those of one of the forecasts.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from storage.paths import StoragePath
from weather.errors import DamagedError
from weather.stores.checks import Files, check_content, damage_of
from weather.stores.chunks import METADATA_KEY, ChunkFormat

_CHUNK = re.compile(r"([a-z0-9_]+)/c\.(\d+(?:\.\d+)*)")
_OF_ONE_FORECAST = {"history", "initial_state", "initial_state_choice", "warmcast_initial_state_digest"}
_INIT_TIME, _VALID_TIME, _LEAD_TIME = "init_time", "valid_time", "lead_time"


@dataclass(frozen=True)
class JoinedView:
    """The metadata and coordinates of several stores joined along `init_time`, as `files` by their keys.

    `counts` are the numbers of chunks along each dimension of the other arrays; `added` are those of them that have no
    initial time in the store of one forecast.
    """

    counts: Mapping[str, tuple[int, ...]]
    added: frozenset[str]
    files: Mapping[str, bytes]

    @classmethod
    def of(
        cls,
        store: StoragePath,
        init_times: Sequence[np.datetime64],
        attributes: Mapping[str, Any],
        files: Files | None = None,
    ) -> Self:
        """Return the view of forecasts from `init_times`, of which `store` is the store of any.

        `attributes` replace those of the store; `files` are those of its forecast, if it is complete. Raises
        `DamagedError` if the metadata of the store is missing or damaged.
        """
        name = f"{store.name}/{METADATA_KEY}"
        with damage_of(name):
            content = (store / METADATA_KEY).read_bytes()
        check_content(name, [content], (files or {}).get(name))
        try:
            return cls._of_metadata(store, json.loads(content), init_times, attributes)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(name, "is damaged: it is not the metadata of a store") from error

    @classmethod
    def _of_metadata(
        cls,
        store: StoragePath,
        root: dict[str, Any],
        init_times: Sequence[np.datetime64],
        attributes: Mapping[str, Any],
    ) -> Self:
        arrays: dict[str, dict[str, Any]] = root["consolidated_metadata"]["metadata"]
        own = {key: value for key, value in root["attributes"].items() if key not in _OF_ONE_FORECAST}
        shared = frozenset(name for name, array in arrays.items() if _is_coordinate(name, array))
        added = frozenset(name for name, array in arrays.items() if _lacks_init_time(array) and name not in shared)
        files = dict(_coordinate_files(store, arrays, shared, init_times))
        joined = {
            array: _join_array(metadata, len(init_times), is_whole=array in shared, is_added=array in added)
            for array, metadata in arrays.items()
        }
        consolidated = {**root["consolidated_metadata"], "metadata": joined}
        root = {**root, "attributes": own | dict(attributes), "consolidated_metadata": consolidated}
        files |= {f"{array}/{METADATA_KEY}": _encode(metadata) for array, metadata in joined.items()}
        files[METADATA_KEY] = _encode(root)
        counts = {array: _count_chunks(metadata) for array, metadata in joined.items() if array not in shared}
        return cls(counts, added, files)

    def locate(self, key: str) -> tuple[int, str] | None:
        """Return the index of the part that has the chunk of a key, and the key in its store; None for other keys."""
        match = _CHUNK.fullmatch(key)
        if match is None:
            return None
        array, numbers = match[1], [int(number) for number in match[2].split(".")]
        counts = self.counts.get(array, ())
        if len(numbers) != len(counts) or any(number >= count for number, count in zip(numbers, counts, strict=True)):
            return None
        first, *others = numbers
        index = others if array in self.added else [0, *others]
        return first, f"{array}/c.{'.'.join(map(str, index))}"


def _lacks_init_time(array: Mapping[str, Any]) -> bool:
    return _INIT_TIME not in array["dimension_names"]


def _is_coordinate(name: str, array: Mapping[str, Any]) -> bool:
    """Return whether an array is a coordinate: of its own dimension, or the valid time, which is computed from two."""
    return array["dimension_names"] == [name] or name == _VALID_TIME


def _count_chunks(array: Mapping[str, Any]) -> tuple[int, ...]:
    chunk = array["chunk_grid"]["configuration"]["chunk_shape"]
    return tuple(-(-size // step) for size, step in zip(array["shape"], chunk, strict=True))


def _join_array(metadata: Mapping[str, Any], number: int, *, is_whole: bool, is_added: bool) -> dict[str, Any]:
    """Return the metadata of an array that has `number` initial times, in one chunk if `is_whole`."""
    grid = metadata["chunk_grid"]
    chunk, shape, names = grid["configuration"]["chunk_shape"], metadata["shape"], metadata["dimension_names"]
    if is_added:
        chunk, shape, names = [1, *chunk], [number, *shape], [_INIT_TIME, *names]
    elif names[0] == _INIT_TIME:
        chunk, shape = [number if is_whole else 1, *chunk[1:]], [number, *shape[1:]]
    grid = {**grid, "configuration": {**grid["configuration"], "chunk_shape": chunk}}
    return {**metadata, "shape": shape, "chunk_grid": grid, "dimension_names": names}


def _coordinate_files(
    store: StoragePath,
    arrays: Mapping[str, Mapping[str, Any]],
    shared: frozenset[str],
    init_times: Sequence[np.datetime64],
) -> Iterator[tuple[str, bytes]]:
    """Yield key and content of each chunk of a coordinate; both times are computed, the others read."""
    formats = {name: ChunkFormat.from_metadata(name, arrays[name]) for name in shared}
    seconds = np.array(init_times, "datetime64[s]").astype(np.int64)
    with damage_of(f"{store.name}/{_LEAD_TIME}"):
        hours = formats[_LEAD_TIME].read_all(store)
    for name, values in ((_INIT_TIME, seconds), (_VALID_TIME, seconds[:, None] + 3600 * hours[None])):
        chunk = ChunkFormat(name, values.shape, formats[name].dtype, compressed=False)
        yield chunk.key(*[0] * values.ndim), chunk.encode(values)
    for name in sorted(shared - {_INIT_TIME, _VALID_TIME}):
        key = formats[name].key(*[0] * len(formats[name].shape))
        with suppress(FileNotFoundError), damage_of(f"{store.name}/{key}", is_optional=True):
            content = (store / key).read_bytes()
            check_content(f"{store.name}/{key}", [content], None)
            yield key, content


def _encode(metadata: Mapping[str, Any]) -> bytes:
    return json.dumps(metadata, indent=2).encode()
