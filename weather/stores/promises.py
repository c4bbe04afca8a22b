"""Which files a forecast's stores have to hold, according to the stores themselves.

A mark in `complete` is written after the chunks that it promises: those of a lead time, in an ensemble of a group.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from storage.paths import StoragePath
from weather.errors import DamagedError
from weather.ingest.exchange import INITIAL_STATE_FILES
from weather.stores.checks import Files, damage_of
from weather.stores.chunks import METADATA_KEY, ChunkFormat
from weather.stores.layout import ENSEMBLE

_MARKS = "complete/c."
_FIELD_DIMENSIONS = 4
"""Least number of dimensions of a field; coordinates have fewer."""


def mark_of(store: str, key: str) -> str | None:
    """Return the key of the mark that promises a chunk of a store, `store` being its name; None if no mark does."""
    array, _, index = key.partition("/c.")
    numbers = index.split(".")
    if len(numbers) >= _FIELD_DIMENSIONS:
        return _MARKS + ".".join(numbers[1:3] if store == ENSEMBLE else numbers[1:2])
    return _MARKS + index if array == "members" else None


def promised_files(folder: StoragePath, stores: Sequence[str], *, is_complete: bool) -> Files:
    """Return the files of the initial state and of some stores in a forecast's folder that have to exist, or do.

    A store promises its metadata and the chunks of each mark; with `is_complete` it has all marks. Raises
    `DamagedError` if the metadata of a store is missing or is not that of a store.
    """
    names = set(INITIAL_STATE_FILES)
    for store in stores:
        existing = {name for name, _ in (folder / store).files()}
        arrays = _read_arrays(folder, f"{store}/{METADATA_KEY}")
        names.update(
            f"{store}/{name}" for name in (*existing, *_promised_keys(arrays, existing, is_complete=is_complete))
        )
    return dict.fromkeys(names)


def _read_arrays(folder: StoragePath, name: str) -> Mapping[str, Any]:
    """Return the metadata of each array of the store whose metadata is the file `name`."""
    with damage_of(name):
        content = (folder / name).read_bytes()
    try:
        arrays: Mapping[str, Any] = json.loads(content)["consolidated_metadata"]["metadata"]
        for array, metadata in arrays.items():
            ChunkFormat.from_metadata(array, metadata)
        _ = arrays["complete"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(name, "is damaged: it is not the metadata of a store") from error
    return arrays


def _promised_keys(arrays: Mapping[str, Any], existing: set[str], *, is_complete: bool) -> Iterator[str]:
    yield METADATA_KEY
    yield from (f"{array}/{METADATA_KEY}" for array in arrays)
    marks = set(_all_marks(arrays["complete"])) if is_complete else {key for key in existing if key.startswith(_MARKS)}
    yield from marks
    promising = [
        (array, len(metadata["shape"]))
        for array, metadata in arrays.items()
        if len(metadata["shape"]) >= _FIELD_DIMENSIONS or array == "members"
    ]
    for mark, (array, rank) in product(marks, promising):
        index = mark.removeprefix(_MARKS).split(".")
        yield f"{array}/c.{'.'.join(index if rank == 1 else ['0', *index, *['0'] * (rank - 1 - len(index))])}"


def _all_marks(complete: Mapping[str, Any]) -> Iterator[str]:
    chunk = complete["chunk_grid"]["configuration"]["chunk_shape"]
    counts = (range(-(-size // step)) for size, step in zip(complete["shape"], chunk, strict=True))
    yield from (_MARKS + ".".join(map(str, index)) for index in product(*counts))
