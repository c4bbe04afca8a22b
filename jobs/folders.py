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
        """The normalised initial state."""
        return self.path / INITIAL_STATE

    @property
    def store(self) -> StoragePath:
        """The ensemble that clients read, a Zarr store."""
        return self.path / ENSEMBLE

    @property
    def summary(self) -> StoragePath:
        """The statistics over members that clients read, a Zarr store."""
        return self.path / SUMMARY

    @property
    def frames(self) -> StoragePath:
        """The exact lead times from which workers restart, where the ensemble is rounded or not kept; a Zarr store."""
        return self.path / "frames.zarr"

    @property
    def receipt(self) -> StoragePath:
        """The receipt, as JSON; it exists once the forecast is successful."""
        return self.path / "receipt.json"

    def attempt(self, group: int, epoch: int) -> StoragePath:
        """Return the folder to which only one claim of a group writes, the claim with this epoch."""
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
