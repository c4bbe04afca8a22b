"""The summary store: statistics over the members of an ensemble, written by whole lead times.

It is preallocated as the ensemble store is. Existing chunks are never replaced: if several processes write a lead time,
the chunks of the first stay.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.errors import DamagedError
from weather.stores.chunks import open_store
from weather.stores.create import create_store
from weather.stores.summary_layout import SummaryLayout, create_summary_arrays, summary_attributes


class SummaryStore:
    """A summary store at a path; several processes may write it at once."""

    def __init__(self, path: Path | StoragePath, layout: SummaryLayout) -> None:
        """Open the summary of `layout` at `path`; raises `DamagedError` if `path` holds another one or none."""
        self.path, self.layout = storage_path(path), layout
        try:
            _, formats = open_store(self.path)
            different = [name for name, expected in layout.formats.items() if formats[name] != expected]
        except ConnectionError:
            raise
        except Exception as error:  # damaged metadata makes the libraries raise errors of any kind
            raise _not_a_summary(self.path, str(error)) from error
        if different:
            raise _not_a_summary(self.path, f"it differs in {', '.join(different)}")

    @classmethod
    def create(cls, path: Path | StoragePath, layout: SummaryLayout, attributes: Mapping[str, Any]) -> Self:
        """Create the whole store, filled with NaN, and open it; `attributes` are those of the ensemble.

        Raises `StoreError` if `path` exists, or if the disk has too little room for all fields.
        """
        described = summary_attributes(attributes, layout)
        folder = create_store(path, described, lambda root: create_summary_arrays(root, layout), layout.size_bytes)
        return cls(folder, layout)

    def is_complete(self, lead_index: int) -> bool:
        """Return whether a lead time is written."""
        return (self.path / self.layout.formats["complete"].key(lead_index)).file_stat() is not None

    def write(self, lead_index: int, members: int, statistics: Mapping[str, NDArray[np.float32]]) -> None:
        """Write the statistics of a lead time, computed from `members` members, then mark it complete.

        `statistics` holds every field of the layout on the ensemble's grid. The mark reaches the disk after them.
        """
        assert set(statistics) == {name for name, _, _ in self.layout.statistics()}
        for name, values in statistics.items():
            self.write_statistic(lead_index, name, values)
        self.mark_complete(lead_index, members)

    def write_statistic(self, lead_index: int, name: str, values: NDArray[np.float32]) -> None:
        """Write one field of a lead time; several threads may write the fields, which are marked complete after all."""
        key, content = _encode_statistic(self.layout, lead_index, name, values)
        (self.path / key).write_if_absent(content)

    def mark_complete(self, lead_index: int, members: int) -> None:
        """Write how many members the statistics of a lead time are of, then mark it complete."""
        for key, content in _encode_marks(self.layout, lead_index, members):
            (self.path / key).write_if_absent(content)


def encode_statistics(
    layout: SummaryLayout, lead_index: int, members: int, statistics: Mapping[str, NDArray[np.float32]]
) -> Iterator[tuple[str, bytes]]:
    """Yield key and content of each chunk of a lead time, as `SummaryStore.write` writes it; its mark last."""
    assert set(statistics) == {name for name, _, _ in layout.statistics()}
    for name, values in statistics.items():
        yield _encode_statistic(layout, lead_index, name, values)
    yield from _encode_marks(layout, lead_index, members)


def _encode_statistic(
    layout: SummaryLayout, lead_index: int, name: str, values: NDArray[np.float32]
) -> tuple[str, bytes]:
    chunk, westward_first = layout.formats[name], np.roll(values, -layout.eastward_columns, axis=-1)
    return chunk.key(0, lead_index, *[0] * values.ndim), chunk.encode(westward_first)


def _encode_marks(layout: SummaryLayout, lead_index: int, members: int) -> Iterator[tuple[str, bytes]]:
    for name, value in (("members", members), ("complete", 1)):
        yield layout.formats[name].key(lead_index), layout.formats[name].encode(value)


def _not_a_summary(path: StoragePath, cause: str) -> DamagedError:
    reason = "is not a summary of this ensemble"
    return DamagedError(path.name, reason, f"`{path}` {reason}: {cause}.")
