"""The ensemble store: a preallocated Zarr v3 that grows by whole lead times of whole member groups.

Readers may open it from the moment it exists. A lead time of a group counts once `complete` says so; before that,
or where a member has failed, values are NaN. Metadata is consolidated at creation and never changes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.errors import StoreError
from weather.grids import Grid
from weather.stores.chunks import field_chunk, fields_of, filled, small_chunk
from weather.stores.create import build_store
from weather.stores.layout import COMPLETE, FAILED, Layout, create_arrays


class EnsembleStore:
    """An ensemble in a place. Several processes may write it, as long as no two write the same group."""

    def __init__(self, path: StoragePath, root: zarr.Group, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self.attributes: Mapping[str, Any] = dict(root.attrs)
        self._arrays = {name: _array(root, name) for name in (*layout.variables, "complete")}

    @classmethod
    def create(
        cls, path: Path | StoragePath, layout: Layout, attributes: Mapping[str, Any], needs_bytes: int | None = None
    ) -> Self:
        """Create the whole store, filled with NaN, and open it; it appears at `path` at once or not at all.

        Raises `StoreError` where something is there already, or the disk has less room than `needs_bytes`, which is
        room for all of it by default.
        """
        place = build_store(
            path,
            {**attributes, "variables": " ".join(layout.variables)},
            lambda root: create_arrays(root, layout),
            layout.size_bytes if needs_bytes is None else needs_bytes,
        )
        return cls.open(place)

    @classmethod
    def open(cls, path: Path | StoragePath) -> Self:
        """Open an existing store for writing; raises `StoreError` where `path` holds none of ours."""
        place = storage_path(path)
        try:
            root = zarr.open_group(place.zarr_store(), mode="r+", zarr_format=3)
            return cls(place, root, _read_layout(root))
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise StoreError(f"`{place}` is no ensemble store of Warmcast: {error}.") from error

    def committed(self, group: int) -> int:
        """Return how many lead times of a group are complete, counted from the first without a gap."""
        columns = self._columns(group)
        complete = np.asarray(self._arrays["complete"][:, columns]).all(axis=1)
        return int(np.argmin(complete)) if not complete.all() else self.layout.num_lead_times

    def commit(self, group: int, lead_index: int, fields: NDArray[np.float32]) -> None:
        """Write one lead time of a group, float32 (member, variable, latitude, longitude), then mark it complete.

        Members that are not finite everywhere are marked as lost. The mark reaches the disk after the fields do. A lead
        time that is complete must not be committed again.
        """
        size = self.layout.group_size
        *chunks, mark = self._names(group, lead_index)
        for channel, chunk in enumerate(chunks):
            (self.path / chunk).write(field_chunk(filled(fields[:, channel], size, np.nan)))
        sound = np.isfinite(fields).all(axis=(1, 2, 3))
        marks = np.where(sound, COMPLETE, FAILED).astype(np.uint8)
        (self.path / mark).write(small_chunk(filled(marks, size, 0).tobytes()))
        (self.path / mark).sync()

    def staging(self, folder: Path | StoragePath) -> "EnsembleStore":
        """Return an empty store of the same shape in `folder`, made where it is missing: for lead times not yet ours.

        It holds metadata and chunks only, and is read by nothing but `publish`.
        """
        place = storage_path(folder)
        (place / "zarr.json").link_or_copy(self.path / "zarr.json")
        return EnsembleStore(place, zarr.open_group(place.zarr_store(), mode="r+", zarr_format=3), self.layout)

    def publish(self, staged: Path | StoragePath, group: int, lead_index: int) -> None:
        """Make a lead time that was committed in a staging store part of this one, its mark last.

        The chunks become the same files here. What is here already stays: it is never written over.
        """
        source = storage_path(staged)
        for name in self._names(group, lead_index):
            (self.path / name).link_or_copy(source / name)

    def is_marked(self, folder: StoragePath, group: int, lead_index: int) -> bool:
        """Return whether a lead time of a group is complete in `folder`: this store's place, or a staging one's."""
        return (folder / self._names(group, lead_index)[-1]).file_stat() is not None

    def failed(self) -> dict[int, int]:
        """Return the members that have failed, with the index of the lead time that each is lost from."""
        failed = np.asarray(self._arrays["complete"][:]) == FAILED
        columns = np.flatnonzero(failed.any(axis=0)).tolist()
        return {self.layout.members[column]: int(np.argmax(failed[:, column])) for column in columns}

    def fields(self, group: int, lead_index: int) -> NDArray[np.float32]:
        """Return a committed lead time of a group, float32 (member, variable, latitude, longitude).

        Raises `StoreError` where a chunk is missing or damaged.
        """
        members, shape = len(self.layout.group_members(group)), (self.layout.group_size, *self.layout.grid.shape)
        *chunks, _ = self._names(group, lead_index)
        try:
            parts = [fields_of((self.path / chunk).read_bytes(), shape)[:members] for chunk in chunks]
        except (FileNotFoundError, ValueError, RuntimeError) as error:
            raise StoreError(f"`{self.path}` lacks lead time {lead_index} of group {group}: {error}.") from error
        return np.stack(parts, axis=1)

    def sweep(self) -> None:
        """Remove what an interrupted write left behind. Only for the store's one writer."""
        for name, _ in self.path.files():
            if name.endswith(".partial"):
                (self.path / name).remove()

    def _names(self, group: int, lead_index: int) -> tuple[str, ...]:
        """Return the names of the chunks of a lead time of a group, its mark last."""
        places = dict.fromkeys(self.layout.variables, (0, lead_index, group, 0, 0)) | {"complete": (lead_index, group)}
        return tuple(f"{name}/{self._arrays[name].metadata.encode_chunk_key(place)}" for name, place in places.items())

    def _columns(self, group: int) -> slice:
        first = group * self.layout.group_size
        return slice(first, min(first + self.layout.group_size, len(self.layout.members)))


def _read_layout(root: zarr.Group) -> Layout:
    names = root.attrs["variables"]
    if not isinstance(names, str):
        raise TypeError("its attribute `variables` is no text")
    hours = _values(root, "lead_time")
    return Layout(
        init_time=_values(root, "init_time").astype("datetime64[s]")[0],
        num_lead_times=len(hours),
        time_step=hours.astype("timedelta64[h]")[0],
        members=tuple(_values(root, "number").tolist()),
        group_size=_array(root, "complete").chunks[1],
        variables=tuple(names.split()),
        grid=Grid(tuple(_values(root, "latitude").tolist()), tuple(_values(root, "longitude").tolist())),
    )


def _array(root: zarr.Group, name: str) -> zarr.Array[Any]:
    array = root[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"its `{name}` is no array")
    return array


def _values(root: zarr.Group, name: str) -> NDArray[Any]:
    return np.asarray(_array(root, name)[:])


def open_forecast(folder: Path) -> EnsembleStore:
    """Return the store in a forecast's folder, or the store itself."""
    return EnsembleStore.open(folder if (folder / "zarr.json").exists() else folder / "ensemble.zarr")


def complete_lead_times(store: EnsembleStore) -> int:
    """Return how many lead times all groups have; raises `StoreError` where there is none yet."""
    ready = min(store.committed(group) for group in range(store.layout.num_groups))
    if not ready:
        raise StoreError(f"`{store.path}` has no complete lead time yet. Wait for the first, or resume the forecast.")
    return ready


def lead_time_fields(store: EnsembleStore, lead_index: int) -> NDArray[np.float32]:
    """Return all members of a lead time, (member, variable, latitude, longitude)."""
    return np.concatenate([store.fields(group, lead_index) for group in range(store.layout.num_groups)])
