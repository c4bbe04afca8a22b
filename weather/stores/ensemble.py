"""The ensemble store: a preallocated Zarr v3 that grows by whole lead times of whole member groups.

Readers may open it as soon as it exists. A lead time of a group is complete once it is marked in `complete`; before
that, and for lost members, values are NaN. Metadata is consolidated at creation and never changes.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.errors import DamagedError, StoreError
from weather.grids import Grid
from weather.stores.checks import read_chunk
from weather.stores.chunks import METADATA_KEY, ChunkFormat, open_store
from weather.stores.create import create_store
from weather.stores.layout import COMPLETE, ENSEMBLE, LOST, Layout, create_ensemble_arrays, ensemble_attributes

_PARALLEL_READS = 8


class EnsembleStore:
    """An ensemble store at a path; several processes may write it, but each group only one of them."""

    def __init__(self, path: StoragePath, layout: Layout, attributes: Mapping[str, Any]) -> None:
        self.path, self.layout, self.attributes = path, layout, attributes

    @classmethod
    def create(
        cls, path: Path | StoragePath, layout: Layout, attributes: Mapping[str, Any], needs_bytes: int | None = None
    ) -> Self:
        """Create the whole store, filled with NaN, and open it.

        Raises `StoreError` if `path` exists, or if the disk has less room than `needs_bytes` (by default room for all
        fields).
        """
        folder = create_store(
            path,
            ensemble_attributes(attributes, layout),
            lambda root: create_ensemble_arrays(root, layout),
            layout.size_bytes if needs_bytes is None else needs_bytes,
        )
        return cls.open(folder)

    @classmethod
    def open(cls, path: Path | StoragePath) -> Self:
        """Open an existing store for reading and writing; raises `DamagedError` if `path` holds no ensemble store."""
        folder = storage_path(path)
        try:
            attributes, formats = open_store(folder)
            layout = _read_layout(folder, attributes, formats)
            different = [name for name, expected in layout.formats.items() if formats[name] != expected]
        except (ConnectionError, StoreError):
            raise
        except Exception as error:  # damaged metadata makes the libraries raise errors of any kind
            raise _not_a_store(folder, str(error)) from error
        if different:
            raise _not_a_store(folder, f"chunks of {', '.join(different)} differ")
        return cls(folder, layout, attributes)

    def commit(self, group: int, lead_index: int, fields: NDArray[np.float32]) -> None:
        """Write one lead time of a group, float32 (member, variable, latitude, longitude), then mark it complete.

        Members that are not finite everywhere are marked as lost. The mark reaches the disk after the fields do. A lead
        time that is complete must not be committed again.
        """
        finite = [
            self.write_variable(group, lead_index, channel, fields) for channel in range(len(self.layout.variables))
        ]
        self.mark_complete(group, lead_index, np.logical_and.reduce(finite))
        self.sync_mark(group, lead_index)

    def write_variable(
        self, group: int, lead_index: int, channel: int, fields: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Write one variable of `fields`, and return a mask of the members in which it is finite everywhere.

        Variables may be written by several threads; encoding and writing let other threads run.
        """
        values, variable = fields[:, channel], self.layout.formats[self.layout.variables[channel]]
        (self.path / variable.key(0, lead_index, group, 0, 0)).write(variable.encode(values))
        return np.asarray(np.isfinite(values).all(axis=(1, 2)))

    def mark_complete(self, group: int, lead_index: int, is_finite: NDArray[np.bool_]) -> None:
        """Mark a lead time of a group complete, whose variables are written, and its members that are lost.

        After `sync_mark`, of this or a later mark, the mark and all before it survive a crash of the machine.
        """
        key, content = encode_mark(self.layout, group, lead_index, is_finite)
        (self.path / key).write(content)

    def sync_mark(self, group: int, lead_index: int) -> None:
        """Flush a mark, and every chunk that was written to the store before it, to storage that survives a crash."""
        (self.path / self._keys(group, lead_index)[-1]).sync()

    def open_staging(self, folder: Path | StoragePath) -> "EnsembleStore":
        """Open the store of the same layout in `folder`, creating it if needed: for lead times not yet published.

        It holds chunks and a copy of the metadata, without coordinates; `publish` moves its lead times here.
        """
        path = storage_path(folder)
        (path / METADATA_KEY).link_or_copy(self.path / METADATA_KEY)
        return EnsembleStore(path, self.layout, self.attributes)

    def publish(self, staging: Path | StoragePath, group: int, lead_index: int) -> None:
        """Link, or in a bucket copy, a committed lead time of a staging store into this one, its mark last.

        A chunk that this store has already is never replaced.
        """
        source = storage_path(staging)
        for key in self._keys(group, lead_index):
            (self.path / key).link_or_copy(source / key)

    def is_complete(self, folder: StoragePath, group: int, lead_index: int) -> bool:
        """Return whether a lead time of a group is complete in `folder`: this store, or a staging one."""
        return (folder / self._keys(group, lead_index)[-1]).file_stat() is not None

    def num_complete_of_group(self, group: int) -> int:
        """Return how many lead times of a group are complete, counted from the first without a gap."""
        complete = self._read_complete(group).all(axis=1)
        return int(np.argmin(complete)) if not complete.all() else self.layout.num_lead_times

    def num_complete(self) -> int:
        """Return how many lead times are complete in all groups; raises `StoreError` if none is."""
        complete = min(self.num_complete_of_group(group) for group in range(self.layout.num_groups))
        if not complete:
            raise StoreError(
                f"`{self.path.name}` has no complete lead time yet. Wait for the first, or resume the forecast."
            )
        return complete

    def lost_members(self) -> dict[int, int]:
        """Return the lost members, each with the index of the first lead time at which it is lost."""
        groups = [self._read_complete(group) for group in range(self.layout.num_groups)]
        is_lost = np.concatenate(groups, axis=1) == LOST
        columns = np.flatnonzero(is_lost.any(axis=0)).tolist()
        return {self.layout.members[column]: int(np.argmax(is_lost[:, column])) for column in columns}

    def group_fields(self, group: int, lead_index: int) -> NDArray[np.float32]:
        """Return a committed lead time of a group, float32 (member, variable, latitude, longitude).

        Raises `DamagedError` if a chunk is missing or damaged.
        """
        members = len(self.layout.group_members(group))
        *variables, _ = self.layout.formats.values()
        chunks = [read_chunk(self.path, variable, 0, lead_index, group, 0, 0) for variable in variables]
        return np.stack([chunk[0, 0, :members] for chunk in chunks], axis=1)

    def fields(self, lead_index: int) -> NDArray[np.float32]:
        """Return all members of a committed lead time, float32 (member, variable, latitude, longitude)."""
        return np.concatenate([self.group_fields(group, lead_index) for group in range(self.layout.num_groups)])

    def _keys(self, group: int, lead_index: int) -> tuple[str, ...]:
        """Return the keys of the chunks of a lead time of a group, its mark last."""
        *variables, complete = self.layout.formats.values()
        return (*(variable.key(0, lead_index, group, 0, 0) for variable in variables), complete.key(lead_index, group))

    def _read_complete(self, group: int) -> NDArray[np.uint8]:
        """Return `complete` of a group, uint8 (lead time, member); 0 for chunks that are not written."""
        members, complete = len(self.layout.group_members(group)), self.layout.formats["complete"]

        def read(lead_index: int) -> NDArray[np.uint8]:
            with suppress(FileNotFoundError):
                return read_chunk(self.path, complete, lead_index, group, is_optional=True)[0, :members]
            return np.zeros(members, np.uint8)

        with ThreadPoolExecutor(_PARALLEL_READS) as pool:
            return np.stack(list(pool.map(read, range(self.layout.num_lead_times))))


def encode_lead_time(
    layout: Layout, group: int, lead_index: int, fields: NDArray[np.float32]
) -> Iterator[tuple[str, bytes]]:
    """Yield key and content of each chunk of a lead time of a group, as `EnsembleStore.commit` does; its mark last."""
    *variables, _ = layout.formats.values()
    for channel, variable in enumerate(variables):
        yield variable.key(0, lead_index, group, 0, 0), variable.encode(fields[:, channel])
    yield encode_mark(layout, group, lead_index, np.asarray(np.isfinite(fields).all(axis=(1, 2, 3))))


def encode_mark(layout: Layout, group: int, lead_index: int, is_finite: NDArray[np.bool_]) -> tuple[str, bytes]:
    """Return key and content of the mark of a lead time of a group, whose members that are not finite are lost."""
    complete = layout.formats["complete"]
    return complete.key(lead_index, group), complete.encode(np.where(is_finite, COMPLETE, LOST))


def open_forecast(folder: Path) -> EnsembleStore:
    """Open the ensemble store in a forecast's folder, or the ensemble store that `folder` itself is.

    Raises `StoreError` if there is neither.
    """
    return EnsembleStore.open(folder if (folder / METADATA_KEY).exists() else folder / ENSEMBLE)


def _not_a_store(path: StoragePath, cause: str) -> DamagedError:
    reason = "is not an ensemble store of Warmcast"
    return DamagedError(path.name, reason, f"`{path}` {reason}: {cause}.")


def _read_layout(path: StoragePath, attributes: Mapping[str, Any], formats: Mapping[str, ChunkFormat]) -> Layout:
    variables = attributes["variables"]
    if not isinstance(variables, str):
        raise TypeError("its attribute `variables` is not text")
    names = ("init_time", "lead_time", "number", "latitude", "longitude")
    init_time, hours, members, latitude, longitude = (formats[name].read_all(path) for name in names)
    return Layout(
        init_time=init_time.astype("datetime64[s]")[0],
        num_lead_times=len(hours),
        time_step=hours.astype("timedelta64[h]")[0],
        members=tuple(members.tolist()),
        group_size=formats["complete"].shape[1],
        variables=tuple(variables.split()),
        grid=Grid(tuple(latitude.tolist()), tuple(longitude.tolist())),
    )
