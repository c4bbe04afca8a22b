"""The exact lead times that a forecast goes on from, where its users read rounded ones or none."""

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from storage.paths import StoragePath, storage_path
from weather.stores.ensemble import EnsembleStore
from weather.stores.rounding import round_bits


class RestartStore(EnsembleStore):
    """An ensemble store that nobody but workers reads, and that forgets: completeness stays, fields go.

    What is published here has been published in `members` before, with fewer bits.
    """

    members: EnsembleStore | None = None
    keep_bits: int | None = None

    @classmethod
    def open_beside(cls, path: StoragePath, members: StoragePath | None, keep_bits: int | None) -> Self:
        """Open the store, and `members`, which users read, where there are any; raises `StoreError`."""
        store = cls.open(path)
        store.members, store.keep_bits = None if members is None else EnsembleStore.open(members), keep_bits
        return store

    def publish(self, staged: Path | StoragePath, group: int, lead_index: int) -> None:
        """Make a lead time that was committed in a staging store part of this one, and of `members` before.

        What is there already stays: it is never written over.
        """
        if self.members is not None and not self.members.is_marked(self.members.path, group, lead_index):
            fields = self._shown(self.staging(staged).fields(group, lead_index))
            rounded = self.members.staging(storage_path(staged) / "rounded")
            rounded.commit(group, lead_index, fields)
            self.members.publish(rounded.path, group, lead_index)
        super().publish(staged, group, lead_index)

    def forget(self, lead_index: int, attempts: Iterable[StoragePath]) -> None:
        """Remove a lead time's fields in all groups, here and in the staging stores `attempts`."""
        for folder in (self.path, *attempts):
            for group in range(self.layout.num_groups):
                *fields, _mark = self._names(group, lead_index)
                for name in fields:
                    (folder / name).remove()
                    (folder / "rounded" / name).remove()

    def _shown(self, fields: NDArray[np.float32]) -> NDArray[np.float32]:
        return fields if self.keep_bits is None else round_bits(fields, self.keep_bits)
