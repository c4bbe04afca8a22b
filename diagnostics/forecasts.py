"""A forecast on disk, as those who look at it need it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weather.errors import StoreError
from weather.store import EnsembleStore


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
