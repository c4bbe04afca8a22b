"""The summary store: statistics over the members of an ensemble, a whole lead time at a time.

Preallocated as the ensemble store is. What is written is never written over: of several writers of a lead time the
first one's files stay.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.errors import StoreError
from weather.stores.chunks import CHUNK_KEYS, chunk_name, field_chunk, small_chunk
from weather.stores.create import build_store
from weather.stores.summary_layout import SummaryLayout, create_summary_arrays

_METADATA = "zarr.json"
_FIELD_CODECS = ["bytes", "blosc", "crc32c"]


class SummaryStore:
    """A summary on disk; several processes may write it at once."""

    def __init__(self, path: Path | StoragePath, layout: SummaryLayout) -> None:
        """Open the summary of `layout` at `path`; raises `StoreError` where there is another or none."""
        self.path, self.layout = storage_path(path), layout
        try:
            arrays = json.loads((self.path / _METADATA).read_bytes())["consolidated_metadata"]["metadata"]
            different = [
                name
                for name, dims, _ in layout.fields()
                if arrays[name]["shape"][2:-2] != [size for _, size in dims]
                or [codec["name"] for codec in arrays[name]["codecs"]] != _FIELD_CODECS
                or arrays[name]["chunk_key_encoding"]["configuration"]["separator"] != CHUNK_KEYS["separator"]
            ]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise StoreError(f"`{path}` is no summary of this ensemble: {error}.") from error
        if different:
            raise StoreError(f"`{path}` is no summary of this ensemble: it differs in {', '.join(different)}.")

    @classmethod
    def create(cls, path: Path | StoragePath, layout: SummaryLayout, attributes: Mapping[str, Any]) -> Self:
        """Create the whole store, filled with NaN, and open it; it appears at `path` at once or not at all.

        `attributes` are those of the ensemble. Raises `StoreError` where something is there already, or the disk has
        too little room for all of it.
        """
        told = {**attributes, "title": f"Summary of a {attributes.get('title', 'forecast')}"}
        place = build_store(path, told, lambda root: create_summary_arrays(root, layout), layout.size_bytes)
        return cls(place, layout)

    def is_complete(self, lead_index: int) -> bool:
        """Return whether a lead time is there."""
        return (self.path / chunk_name("complete", lead_index)).file_stat() is not None

    def write(self, lead_index: int, members: int, products: Mapping[str, NDArray[np.float32]]) -> None:
        """Write a lead time, its mark last: each field of the layout on the ensemble's grid, and of how many members.

        The mark reaches the disk after the fields do.
        """
        assert set(products) == {name for name, _, _ in self.layout.fields()}
        for name, values in products.items():
            rolled = np.roll(values, -self.layout.eastward_columns, axis=-1)
            place = (0, lead_index, *[0] * values.ndim)
            (self.path / chunk_name(name, *place)).write_if_absent(field_chunk(rolled))
        (self.path / chunk_name("members", lead_index)).write_if_absent(small_chunk(np.array(members, "<i4").tobytes()))
        (self.path / chunk_name("complete", lead_index)).write_if_absent(small_chunk(b"\1"))

    def sweep(self) -> None:
        """Remove what an interrupted write left behind. Only for the store's one writer."""
        for name, _ in self.path.files():
            if name.endswith(".partial"):
                (self.path / name).remove()
