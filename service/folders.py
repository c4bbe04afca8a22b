"""Find the folder of a forecast, and refuse requests for data that it does not have."""

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.states import Data
from service.context import Service
from service.problems import DATA_GONE, NOT_FINISHED, NOT_FOUND, ServiceError
from weather.stores.ensemble import EnsembleStore


def find_data_folder(record: ForecastRecord, service: Service) -> ForecastFolder:
    """Return the folder of a forecast; raise `ServiceError` (410) if its data is deleted or expired."""
    if record.data != Data.AVAILABLE:
        raise ServiceError(DATA_GONE, f"The data of forecast {record.id} is {record.data}; only its record remains.")
    return ForecastFolder(service.data, record.id)


def find_members_folder(record: ForecastRecord, service: Service) -> ForecastFolder:
    """Return the folder of a forecast that stores its members; raise `ServiceError` if it has none."""
    folder = find_data_folder(record, service)
    if not record.request.output.members:
        raise ServiceError(
            NOT_FOUND, f"Forecast {record.id} stores only its summary. Recompute members with POST /forecast/ID/replay."
        )
    return folder


def open_ensemble(record: ForecastRecord, service: Service) -> EnsembleStore:
    """Open the ensemble of a forecast; raise `ServiceError` if it has no members stored or no complete lead time."""
    folder = find_members_folder(record, service)
    if not record.lead_times:
        raise ServiceError(NOT_FINISHED, f"Forecast {record.id} is {record.status} and has no complete lead time yet.")
    return EnsembleStore.open(folder.store)
