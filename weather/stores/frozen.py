"""A view of an ensemble store that does not grow: its first lead times, with the chunks of the store."""

import re
from dataclasses import dataclass, replace
from functools import partial

from weather.stores.create import empty_store
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import create_ensemble_arrays

_CHUNK = re.compile(r"([a-z0-9_]+)/c\.(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class FrozenView:
    """The metadata and coordinates of the first `num_lead_times` lead times of a store, as `files` by their keys."""

    num_lead_times: int
    variables: tuple[str, ...]
    files: dict[str, bytes]

    @classmethod
    def of(cls, store: EnsembleStore, num_lead_times: int) -> "FrozenView":
        """Return the view of a store, whose values it shares; as many lead times should be complete."""
        layout = replace(store.layout, num_lead_times=num_lead_times)
        files = empty_store(store.attributes, partial(create_ensemble_arrays, layout=layout))
        return cls(num_lead_times, layout.variables, files)

    def has_chunk(self, key: str) -> bool:
        """Return whether a key is that of a chunk of the store which belongs to the view."""
        match = _CHUNK.fullmatch(key)
        if match is None:
            return False
        array, numbers = match[1], [int(number) for number in match[2].split(".")]
        if array in self.variables:
            return len(numbers) > 1 and numbers[1] < self.num_lead_times
        return array == "complete" and numbers[0] < self.num_lead_times
