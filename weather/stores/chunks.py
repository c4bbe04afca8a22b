"""How chunks are named and coded: declared to zarr, and done here, as it takes ten times as long for small ones."""

from typing import Any

import google_crc32c
import numpy as np
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

CHUNK_KEYS: dict[str, Any] = {"name": "default", "separator": "."}
"""Chunks of an array lie in its one folder: a folder for each dimension takes as long to make as a chunk."""

_CHECKSUM_BYTES = 4
_blosc = Blosc("zstd", 3, Blosc.SHUFFLE)


def chunk_name(array: str, *place: int) -> str:
    """Return the name of a chunk in its store."""
    return f"{array}/c.{'.'.join(map(str, place))}"


def field_codecs() -> list[Any]:
    """Return what compresses a chunk of fields and tells whether it is damaged."""
    return [BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"), Crc32cCodec()]


def field_chunk(fields: NDArray[np.float32]) -> bytes:
    """Return the file of a chunk that has `field_codecs`."""
    return small_chunk(_blosc.encode(np.ascontiguousarray(fields, "<f4")))


def fields_of(chunk: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the fields of what `field_chunk` made; raises `ValueError` where it is damaged."""
    content = chunk[:-_CHECKSUM_BYTES]
    if small_chunk(content) != chunk:
        raise ValueError("its checksum is that of something else")
    return np.frombuffer(_blosc.decode(content), "<f4").reshape(shape)


def small_chunk(content: bytes) -> bytes:
    """Return the file of a chunk that is not compressed: its bytes and their checksum."""
    checksum: bytes = google_crc32c.value(content).to_bytes(_CHECKSUM_BYTES, "little")
    return content + checksum


def filled(values: NDArray[Any], length: int, fill_value: float) -> NDArray[Any]:
    """Return `values` with their first axis filled up to the `length` of a whole chunk."""
    if len(values) == length:
        return values
    missing = [(0, length - len(values)), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(values, missing, constant_values=fill_value)
