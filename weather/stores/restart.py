"""The restart store: exact lead times to resume a forecast whose members are stored rounded, or not at all."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout
from weather.stores.rounding import round_bits


class RestartStore(EnsembleStore):
    """An ensemble store that only workers read; fields that no worker needs any more are deleted, `complete` is kept.

    If the request keeps members, every lead time is published into `members` first, with `keep_bits` mantissa bits.
    """

    def __init__(
        self,
        path: StoragePath,
        layout: Layout,
        attributes: Mapping[str, Any],
        members: EnsembleStore | None = None,
        keep_bits: int | None = None,
    ) -> None:
        super().__init__(path, layout, attributes)
        self._members, self._keep_bits = members, keep_bits

    @classmethod
    def open_with_members(cls, path: StoragePath, members: StoragePath | None, keep_bits: int | None) -> Self:
        """Open the store at `path`, and the one for readers at `members` if given, into which lead times are published.

        `keep_bits` mantissa bits are published; None publishes exact values. Raises `StoreError` if either is missing.
        """
        store = cls.open(path)
        opened = None if members is None else EnsembleStore.open(members)
        return cls(store.path, store.layout, store.attributes, opened, keep_bits)

    def publish(self, staging: Path | StoragePath, group: int, lead_index: int) -> None:
        """Link a committed lead time of a staging store into `members`, rounded, and then into this store.

        Existing chunks are not replaced.
        """
        members = self._members
        if members is not None and not members.is_complete(members.path, group, lead_index):
            fields = self._round(self.open_staging(staging).group_fields(group, lead_index))
            rounded = members.open_staging(storage_path(staging) / "rounded")
            rounded.commit(group, lead_index, fields)
            members.publish(rounded.path, group, lead_index)
        super().publish(staging, group, lead_index)

    def delete_fields(self, lead_index: int, staging: Iterable[StoragePath]) -> None:
        """Delete a lead time's fields of all groups, here and in the `staging` folders; `complete` is kept."""
        for folder in (self.path, *staging):
            for group in range(self.layout.num_groups):
                *fields, _mark = self._keys(group, lead_index)
                for key in fields:
                    (folder / key).remove()
                    (folder / "rounded" / key).remove()

    def _round(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        return fields if self._keep_bits is None else round_bits(fields, self._keep_bits)
