"""Stored files of forecasts for tests."""

from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.stored_files import DIGEST_FIELD, write_file_list
from storage.paths import StoragePath
from weather.stores.ensemble import EnsembleStore


def chunk_file(content: bytes) -> bytes:
    """Return the file of a chunk with this content: the content and its checksum."""
    return content + int(google_crc32c.value(content)).to_bytes(4, "little")


def list_receipt(data: Path | StoragePath, record: ForecastRecord) -> dict[str, Any]:
    """Write the list of the files that a forecast has now, as if it were complete, and return its receipt."""
    return {DIGEST_FIELD: write_file_list(ForecastFolder(data, record.id), record.request)}


def write_lead_times(store: EnsembleStore, lead_indices: range, fill: float | None = None) -> dict[int, list[Any]]:
    """Write lead times of an ensemble with random fields, or all of one value; return the fields of their groups."""
    draw, layout = np.random.default_rng(lead_indices.stop), store.layout
    written: dict[int, list[Any]] = {lead_index: [] for lead_index in lead_indices}
    for lead_index, groups in written.items():
        for group in range(layout.num_groups):
            shape = (len(layout.group_members(group)), len(layout.variables), *layout.grid.shape)
            fields = draw.normal(0, 5, shape) if fill is None else np.full(shape, fill)
            groups.append(fields.astype(np.float32))
            store.commit(group, lead_index, groups[-1])
    return written
