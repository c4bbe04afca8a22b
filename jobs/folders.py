"""Where things lie in the data directory."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ForecastFolder:
    """The folder of one forecast: its initial state, its store, and the attempts at it."""

    data: Path
    forecast_id: str

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.data / "forecasts" / self.forecast_id

    @property
    def initial_state(self) -> Path:
        """The normalised initial state."""
        return self.path / "initial_state"

    @property
    def store(self) -> Path:
        """The ensemble that users read."""
        return self.path / "ensemble.zarr"

    @property
    def receipt(self) -> Path:
        """What was done, as JSON; there once the forecast is successful."""
        return self.path / "receipt.json"

    def attempt(self, group: int, epoch: int) -> Path:
        """Return the folder that one claim of a group writes to, and nobody else."""
        return self.path / "staging" / f"{group}.{epoch}"

    def attempts(self, group: int) -> Iterator[Path]:
        """Yield the folders of all claims of a group, the latest first."""
        found = {int(folder.name.split(".")[1]): folder for folder in self.path.glob(f"staging/{group}.*")}
        for epoch in sorted(found, reverse=True):
            yield found[epoch]

    def clear_attempts(self) -> None:
        """Remove the attempts of a forecast that has ended."""
        shutil.rmtree(self.path / "staging", ignore_errors=True)
