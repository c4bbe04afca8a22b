"""Names and paths of a forecast's files in the data folder, on a disk or in object storage."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.paths import StoragePath, storage_path
from weather.ingest.exchange import INITIAL_STATE
from weather.stores.checks import FILE_LIST
from weather.stores.layout import ENSEMBLE, SUMMARY

STATES = "states"
"""Name of the folder of the initial states that their owners keep."""


def state_folder(data: Path | StoragePath, state_id: str) -> StoragePath:
    """Return the folder of an initial state that its owner keeps."""
    return storage_path(data) / STATES / state_id


@dataclass(frozen=True)
class ForecastFolder:
    """Paths in the folder of one forecast: initial state, stores, receipt, folders of attempts."""

    data: Path | StoragePath
    forecast_id: str

    @property
    def path(self) -> StoragePath:
        """The folder of the forecast."""
        return storage_path(self.data) / "forecasts" / self.forecast_id

    @property
    def initial_state(self) -> StoragePath:
        """Path of the folder of the initial state, on the checkpoint's grid."""
        return self.path / INITIAL_STATE

    @property
    def store(self) -> StoragePath:
        """Path of the ensemble store, which clients read."""
        return self.path / ENSEMBLE

    @property
    def summary(self) -> StoragePath:
        """Path of the summary store, which clients read."""
        return self.path / SUMMARY

    @property
    def frames(self) -> StoragePath:
        """Path of the restart store, which workers read if the members are stored rounded, or not at all."""
        return self.path / "frames.zarr"

    @property
    def receipt(self) -> StoragePath:
        """Path of the receipt (JSON), which exists once the forecast is successful."""
        return self.path / "receipt.json"

    @property
    def files(self) -> StoragePath:
        """Path of the list of all files that are kept (JSON), which exists once the forecast is successful."""
        return self.path / FILE_LIST

    @property
    def _computations(self) -> StoragePath:
        return self.path / "computations"

    def attempt(self, group: int, epoch: int) -> StoragePath:
        """Return the folder of one claim of a group, identified by its epoch; no other claim writes to it."""
        return self.path / "staging" / f"{group}.{epoch}"

    def attempts(self, group: int) -> Iterator[StoragePath]:
        """Yield the folders of all claims of a group, latest first."""
        found = {folder.name: folder for folder in (self.path / "staging").folders()}
        epochs = (int(name.split(".")[1]) for name in found if name.startswith(f"{group}."))
        for epoch in sorted(epochs, reverse=True):
            yield found[f"{group}.{epoch}"]

    def record_computation(self, computation: Mapping[str, Any], first: Mapping[str, Any]) -> None:
        """Add a way in which values are computed, with facts about its first use, unless it is recorded already."""
        name = hashlib.sha256(json.dumps(computation, sort_keys=True).encode()).hexdigest()[:16]
        (self._computations / f"{name}.json").write_if_absent(json.dumps({**computation, **first}).encode())

    def read_computations(self) -> list[dict[str, Any]]:
        """Return the recorded ways in which values were computed, in the order of their first lead times."""
        found = [
            json.loads((self._computations / name).read_bytes())
            for name, _ in self._computations.files()
            if name.endswith(".json")
        ]
        return sorted(found, key=lambda entry: (entry["first_lead_hours"], json.dumps(entry, sort_keys=True)))

    def clear_attempts(self) -> None:
        """Remove the folders that only workers read, once the forecast has ended."""
        for folder in (self.path / "staging", self._computations, self.frames):
            folder.remove()
