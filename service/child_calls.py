"""What child processes of the service compute from stored forecasts: pictures, and scores against a truth.

What draws and scores is imported by the child that does it: the API, and children that read, start faster without.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from diagnostics.scores.wind import SpeedUnits
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.states import Status
from jobs.settings import StorageSettings
from jobs.stored_files import expected_files
from storage.opening import open_storage
from storage.paths import StoragePath
from weather.errors import DamagedError
from weather.ingest.exchange import INITIAL_STATE
from weather.ingest.parent import ingest_truth
from weather.region import Region
from weather.stores.checked_path import CheckedPath
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import ENSEMBLE

_FIGURES, _SCORING = "diagnostics.figures.plot", "diagnostics.evaluation.verification"
_POOLING = "diagnostics.evaluation.starts"


@dataclass(frozen=True)
class ForecastAddress:
    """A forecast and where it is stored, in a form that can be sent to another process."""

    data: Path
    store: str | None
    forecast_id: str
    record: ForecastRecord = field(compare=False)

    @classmethod
    def of(cls, record: ForecastRecord, storage: StorageSettings) -> Self:
        """Return the address of a forecast in the storage of the settings."""
        return cls(storage.data, storage.store, record.id, record)

    def open_folder(self) -> StoragePath:
        """Return the folder of the forecast, to be read only; raise `DamagedError` if the list of its files is damaged.

        Each file that is read is checked; of a successful forecast, also that it is the one that was complete.
        """
        folder = ForecastFolder(open_storage(self.data, self.store), self.forecast_id)
        is_complete = self.record.status == Status.SUCCESSFUL
        files = expected_files(folder, self.record) if is_complete else {}
        return cast(StoragePath, CheckedPath(folder.path, "", files))

    def open(self) -> tuple[StoragePath, EnsembleStore]:
        """Return the folder of the forecast and its ensemble; raise `DamagedError` if it is damaged."""
        folder = self.open_folder()
        return folder, EnsembleStore.open(folder / ENSEMBLE)


def draw_maps(address: ForecastAddress, lead_times: tuple[str, ...], units: SpeedUnits, region: Region | None) -> bytes:
    """Return maps of a stored forecast as PNG; raise the errors of `plot_maps`."""
    picture: bytes = importlib.import_module(_FIGURES).plot_maps(address.open()[1], lead_times, units, region)
    return picture


def draw_plume(address: ForecastAddress, latitude: float, longitude: float, units: SpeedUnits) -> bytes:
    """Return the plume of a stored forecast as PNG; raise the errors of `plot_plume`."""
    folder, store = address.open()
    plot_plume = importlib.import_module(_FIGURES).plot_plume
    picture: bytes = plot_plume(store, folder / INITIAL_STATE, latitude, longitude, units)
    return picture


def verify(address: ForecastAddress, paths: Sequence[Path], names: Sequence[str], seed: int) -> dict[str, Any]:
    """Return the scores of a stored forecast against untrusted files; raise the errors of parsing and scoring."""
    _, store = address.open()
    layout, scoring = store.layout, importlib.import_module(_SCORING)
    truth = ingest_truth(paths, names, layout.variables, layout.grid, scoring.verification_times(store))
    scores: dict[str, Any] = scoring.score_forecast(store, truth, None, seed)
    return scores


@dataclass(frozen=True)
class BatchScores:
    """The scores of several forecasts, in the form of `StartScores`; or a damaged file of one: index, file, reason."""

    starts: dict[int, dict[str, Any]] = field(default_factory=dict)
    pooled: dict[str, Any] = field(default_factory=dict)
    damage: tuple[int, str, str] | None = None


def verify_batch(
    addresses: Sequence[ForecastAddress], paths: Sequence[Path], names: Sequence[str], seed: int
) -> BatchScores:
    """Return the scores of stored forecasts against untrusted files, which are read once, each and all together.

    Raises the errors of parsing and scoring, but of damaged forecasts.
    """
    scoring = importlib.import_module(_SCORING)
    stores: list[EnsembleStore] = []
    records: dict[int, Any] = {}
    index, times = 0, set[np.datetime64]()
    try:
        for index in range(len(addresses)):
            stores.append(addresses[index].open()[1])
            times.update(scoring.verification_times(stores[-1]))
        layout = stores[0].layout
        truth = ingest_truth(paths, names, layout.variables, layout.grid, sorted(times))
        for index, store in enumerate(stores):
            records[index] = scoring.score_records(store, truth, None, seed)
    except DamagedError as error:
        return BatchScores(damage=(index, error.file, error.reason))
    scores = importlib.import_module(_POOLING).combine_scores(records, len(layout.members), seed)
    return BatchScores(scores.starts, scores.pooled)
