"""Layout of Zarr arrays (format 2) by their metadata: shapes, dimensions and the keys of chunks."""

import io
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

TIME = "time"
_MAX_CHUNKS, _MAX_DIMENSIONS = 200, 4
_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True)
class ZarrArray:
    """What the metadata say of an array: its shape, that of its chunks, its dimensions, and the separator in keys."""

    shape: list[int]
    chunks: list[int]
    dims: list[str]
    separator: str

    def shape_of_chunk(self, index: int) -> list[int]:
        """Return the shape of an array that has only the times in the chunk of a time."""
        axis = self.dims.index(TIME)
        size, length = self.chunks[axis], self.shape[axis]
        return [*self.shape[:axis], min(size, length - index // size * size), *self.shape[axis + 1 :]]


def describe_arrays(metadata: Mapping[str, Any], variables: Iterable[str]) -> dict[str, ZarrArray]:
    """Return the arrays of variables and of their dimensions by name.

    Raises `ValueError` or `KeyError` if the metadata are not valid, or are not accepted.
    """
    arrays = {name: _describe_array(metadata, name) for name in variables}
    for name, array in arrays.items():
        if TIME not in array.dims:
            raise ValueError(f"its array {name!r:.80} has no dimension {TIME}")
        list_keys(name, array, 0)
    if len({array.chunks[array.dims.index(TIME)] for array in arrays.values()}) > 1:
        raise ValueError("its arrays have chunks of different numbers of times")
    dims = sorted({dim for array in arrays.values() for dim in array.dims})
    return arrays | {dim: _describe_array(metadata, dim) for dim in dims}


def list_keys(name: str, array: ZarrArray, index: int | None, *, is_small: bool = False) -> list[str]:
    """Return the keys of chunks: all, or those of the time of an index; in the small store, its chunk is the first.

    Raises `ValueError` if they are more than are accepted.
    """
    axes = []
    for dim, size, chunk in zip(array.dims, array.shape, array.chunks, strict=True):
        if index is not None and dim == TIME:
            axes.append([0 if is_small else index // chunk])
        else:
            axes.append(list(range(min(-(-size // chunk), _MAX_CHUNKS + 1))))
    if math.prod(map(len, axes)) > _MAX_CHUNKS:
        raise ValueError(f"its array {name!r:.80} has more than {_MAX_CHUNKS} chunks for a time")
    return [f"{name}/{array.separator.join(map(str, numbers))}" for numbers in product(*axes)]


def pack_zip(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files, not compressed, and equal for equal files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(files):
            archive.writestr(zipfile.ZipInfo(key), files[key])
    return target.getvalue()


def _describe_array(metadata: Mapping[str, Any], name: str) -> ZarrArray:
    array, attributes = metadata[f"{name}/.zarray"], metadata[f"{name}/.zattrs"]
    shape, chunks, dims = array["shape"], array["chunks"], [str(dim) for dim in attributes["_ARRAY_DIMENSIONS"]]
    is_valid = len(shape) == len(chunks) == len(dims) <= _MAX_DIMENSIONS and all(map(_NAME.fullmatch, (name, *dims)))
    if not is_valid or not all(type(size) is int and size > 0 for size in (*shape, *chunks)):
        raise ValueError(f"the metadata of its array {name!r:.80} are not valid")
    return ZarrArray(shape, chunks, dims, "/" if array.get("dimension_separator") == "/" else ".")
