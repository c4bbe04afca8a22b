"""The folder of a forecast whose data is there."""

from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.states import Data
from service.context import Service
from service.problems import DATA_GONE, NOT_FINISHED, NOT_FOUND, ServiceError
from weather.store import EnsembleStore


def available_folder(record: ForecastRecord, service: Service) -> ForecastFolder:
    """Return the folder of a forecast; raises `ServiceError` where its data is gone."""
    if record.data != Data.AVAILABLE:
        raise ServiceError(DATA_GONE, f"The data of forecast {record.id} is {record.data}; its record is kept.")
    return ForecastFolder(service.data, record.id)


def members_folder(record: ForecastRecord, service: Service) -> ForecastFolder:
    """Return the folder of a forecast that keeps its members; raises `ServiceError` where it does not, or has none."""
    folder = available_folder(record, service)
    if not record.request.output.members:
        raise ServiceError(
            NOT_FOUND, f"Forecast {record.id} keeps its summary only. Make members again: POST /forecast/ID/replay."
        )
    return folder


def begun_store(record: ForecastRecord, service: Service) -> EnsembleStore:
    """Return the ensemble of a forecast; raises `ServiceError` as above, or where no lead time is complete."""
    folder = members_folder(record, service)
    if not record.lead_times:
        raise ServiceError(NOT_FINISHED, f"Forecast {record.id} is {record.status} and has no complete lead time yet.")
    return EnsembleStore.open(folder.store)
