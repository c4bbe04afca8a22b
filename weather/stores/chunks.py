"""The chunk format of all stores: declaration of arrays to zarr, addresses, encoding, decoding, and opening.

Chunks are encoded and decoded here rather than by zarr, which takes ten times as long for small ones.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import ArrayLike, NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from storage.paths import StoragePath

METADATA_KEY = "zarr.json"

_KEY_ENCODING: dict[str, Any] = {"name": "default", "separator": "."}
"""All chunks of an array are files of one folder: creating a folder takes as long as writing a chunk."""

CHECKSUM_BYTES = 4
_CODECS = {True: ["bytes", "blosc", "crc32c"], False: ["bytes", "crc32c"]}
_blosc = Blosc("zstd", 3, Blosc.SHUFFLE)


@dataclass(frozen=True)
class ChunkFormat:
    """Address and encoding of the chunks of one array; `shape` is that of a chunk, `dtype` a NumPy name.

    A chunk is a file of little-endian values and their CRC-32C; a compressed one (a field) is Blosc zstd with byte
    shuffle before the checksum. The bytes equal those that zarr writes:
    `tests/unit/weather/stores/test_chunks.py::test_chunks_equal_those_that_zarr_writes`.
    """

    array: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    compressed: bool = True

    @classmethod
    def from_metadata(cls, array: str, metadata: Mapping[str, Any]) -> Self:
        """Return the format that an array's Zarr v3 metadata declares.

        Raises `ValueError`, `KeyError` or `TypeError` if the metadata declares another format.
        """
        codecs, encoding = [codec["name"] for codec in metadata["codecs"]], metadata["chunk_key_encoding"]
        if codecs not in _CODECS.values() or encoding["configuration"]["separator"] != _KEY_ENCODING["separator"]:
            raise ValueError(f"`{array}` has chunks of another format")
        shape = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        return cls(array, shape, metadata["data_type"], codecs == _CODECS[True])

    @property
    def fill_value(self) -> float:
        """Value of the elements that are not written: NaN in a field, else 0."""
        return np.nan if self.compressed else 0

    def create_array(
        self, root: zarr.Group, shape: tuple[int, ...], dimensions: Sequence[str], attributes: Mapping[str, Any]
    ) -> zarr.Array[Any]:
        """Create the array of `shape` in a zarr group, with chunks of this format."""
        blosc = [BloscCodec(cname="zstd", clevel=3, shuffle="shuffle")] if self.compressed else []
        return root.create_array(
            self.array,
            shape=shape,
            chunks=self.shape,
            dtype=self.dtype,
            fill_value=self.fill_value,
            compressors=[*blosc, Crc32cCodec()],
            chunk_key_encoding=_KEY_ENCODING,
            dimension_names=dimensions,
            attributes=dict(attributes),
        )

    def key(self, *index: int) -> str:
        """Return the name of the chunk at `index` (one number for each dimension) in its store."""
        return f"{self.array}/c.{'.'.join(map(str, index))}"

    def encode(self, values: ArrayLike) -> bytes:
        """Return the content of a chunk's file: `values`, padded to the chunk's shape, encoded, with a checksum.

        Padding is the fill value. `values` may lack leading dimensions of size 1.
        """
        array = np.asarray(values, np.dtype(self.dtype).newbyteorder("<"))
        sizes = self.shape[len(self.shape) - array.ndim :]
        if array.shape != sizes:
            missing = [(0, size - present) for size, present in zip(sizes, array.shape, strict=True)]
            array = np.pad(array, missing, constant_values=self.fill_value)
        array = np.ascontiguousarray(array)
        content: bytes = _blosc.encode(array) if self.compressed else array.tobytes()
        return content + _checksum(content)

    def decode(self, chunk: bytes) -> NDArray[Any]:
        """Return the values of a chunk in its whole shape; raises `ValueError` if the checksum does not match."""
        content = chunk[:-CHECKSUM_BYTES]
        if _checksum(content) != chunk[-CHECKSUM_BYTES:]:
            raise ValueError("its checksum does not match its content")
        values = _blosc.decode(content) if self.compressed else content
        return np.frombuffer(values, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)

    def read(self, store: StoragePath, *index: int) -> NDArray[Any]:
        """Return the chunk of a store at `index`; raises `FileNotFoundError` if it is not written."""
        return self.decode((store / self.key(*index)).read_bytes())

    def read_all(self, store: StoragePath) -> NDArray[Any]:
        """Return an array that has one chunk; zarr does not write it if all values equal the fill value."""
        try:
            return self.read(store, *[0] * len(self.shape))
        except FileNotFoundError:
            return np.full(self.shape, self.fill_value, self.dtype)


def is_chunk(name: str) -> bool:
    """Return whether the file of this name in a store is a chunk; all others are metadata."""
    return name.rpartition("/")[2].startswith("c.")


def open_store(path: StoragePath) -> tuple[dict[str, Any], dict[str, ChunkFormat]]:
    """Return the attributes of a store and the chunk format of each of its arrays.

    Raises `OSError` if it cannot be read, and `ValueError`, `KeyError` or `TypeError` if its consolidated metadata is
    not that of a store of this format.
    """
    metadata = json.loads((path / METADATA_KEY).read_bytes())
    arrays = metadata["consolidated_metadata"]["metadata"]
    return metadata["attributes"], {name: ChunkFormat.from_metadata(name, array) for name, array in arrays.items()}


def _checksum(content: bytes) -> bytes:
    checksum: bytes = google_crc32c.value(content).to_bytes(CHECKSUM_BYTES, "little")
    return checksum
