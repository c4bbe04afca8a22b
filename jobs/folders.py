"""Where things lie in the data folder, be it on a disk or in object storage."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.paths import StoragePath, storage_path


@dataclass(frozen=True)
class ForecastFolder:
    """The folder of one forecast: its initial state, its store, and the attempts at it."""

    data: Path | StoragePath
    forecast_id: str

    @property
    def path(self) -> StoragePath:
        """The folder itself."""
        return storage_path(self.data) / "forecasts" / self.forecast_id

    @property
    def initial_state(self) -> StoragePath:
        """The normalised initial state."""
        return self.path / "initial_state"

    @property
    def store(self) -> StoragePath:
        """The ensemble that users read."""
        return self.path / "ensemble.zarr"

    @property
    def summary(self) -> StoragePath:
        """The statistics over members that users read."""
        return self.path / "summary.zarr"

    @property
    def frames(self) -> StoragePath:
        """The exact lead times that workers go on from, where users read rounded ones or none."""
        return self.path / "frames.zarr"

    @property
    def receipt(self) -> StoragePath:
        """What was done, as JSON; there once the forecast is successful."""
        return self.path / "receipt.json"

    def attempt(self, group: int, epoch: int) -> StoragePath:
        """Return the folder that one claim of a group writes to, and nobody else."""
        return self.path / "staging" / f"{group}.{epoch}"

    def attempts(self, group: int) -> Iterator[StoragePath]:
        """Yield the folders of all claims of a group, the latest first."""
        found = {folder.name: folder for folder in (self.path / "staging").folders()}
        epochs = (int(name.split(".")[1]) for name in found if name.startswith(f"{group}."))
        for epoch in sorted(epochs, reverse=True):
            yield found[f"{group}.{epoch}"]

    def clear_attempts(self) -> None:
        """Remove what only workers read of a forecast that has ended."""
        for place in (self.path / "staging", self.frames):
            place.remove()
