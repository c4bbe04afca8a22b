"""Names and paths of a forecast's files in the data folder, on a disk or in object storage."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.paths import StoragePath, storage_path
from weather.ingest.exchange import INITIAL_STATE
from weather.stores.layout import ENSEMBLE, SUMMARY


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

    def attempt(self, group: int, epoch: int) -> StoragePath:
        """Return the folder of one claim of a group, identified by its epoch; no other claim writes to it."""
        return self.path / "staging" / f"{group}.{epoch}"

    def attempts(self, group: int) -> Iterator[StoragePath]:
        """Yield the folders of all claims of a group, latest first."""
        found = {folder.name: folder for folder in (self.path / "staging").folders()}
        epochs = (int(name.split(".")[1]) for name in found if name.startswith(f"{group}."))
        for epoch in sorted(epochs, reverse=True):
            yield found[f"{group}.{epoch}"]

    def clear_attempts(self) -> None:
        """Remove the folders that only workers read, once the forecast has ended."""
        for folder in (self.path / "staging", self.frames):
            folder.remove()
