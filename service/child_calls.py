"""What child processes of the service compute from stored forecasts: pictures, and scores against a truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from diagnostics.evaluation.verification import score_forecast, verification_times
from diagnostics.figures.plot import plot_maps, plot_plume
from diagnostics.figures.quantity import SpeedUnits
from diagnostics.figures.region import Region
from jobs.folders import ForecastFolder
from jobs.settings import StorageSettings
from storage.opening import open_storage
from weather.ingest.parent import ingest_truth
from weather.stores.ensemble import EnsembleStore


@dataclass(frozen=True)
class ForecastAddress:
    """Where a forecast is stored, in a form that can be sent to another process: data folder, object storage, id."""

    data: Path
    store: str | None
    forecast_id: str

    @classmethod
    def of(cls, forecast_id: str, storage: StorageSettings) -> Self:
        """Return the address of a forecast in the storage of the settings."""
        return cls(storage.data, storage.store, forecast_id)

    def open(self) -> tuple[ForecastFolder, EnsembleStore]:
        """Return the folder of the forecast and its ensemble; raise `StoreError` if there is none."""
        folder = ForecastFolder(open_storage(self.data, self.store), self.forecast_id)
        return folder, EnsembleStore.open(folder.store)


def draw_maps(address: ForecastAddress, lead_times: tuple[str, ...], units: SpeedUnits, region: Region | None) -> bytes:
    """Return maps of a stored forecast as PNG; raise the errors of `plot_maps`."""
    return plot_maps(address.open()[1], lead_times, units, region)


def draw_plume(address: ForecastAddress, latitude: float, longitude: float, units: SpeedUnits) -> bytes:
    """Return the plume of a stored forecast as PNG; raise the errors of `plot_plume`."""
    folder, store = address.open()
    return plot_plume(store, folder.initial_state, latitude, longitude, units)


def verify(address: ForecastAddress, paths: Sequence[Path], names: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the scores of a stored forecast against untrusted files; raise the errors of parsing and scoring."""
    _, store = address.open()
    layout = store.layout
    truth = ingest_truth(paths, names, layout.variables, layout.grid, verification_times(store))
    return score_forecast(store, truth, None, seed)
