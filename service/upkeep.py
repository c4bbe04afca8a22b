"""Periodic upkeep while the service runs: reconcile work, expire data, remove abandoned folders."""

from jobs.database import Database
from jobs.dispatch import Dispatcher
from jobs.periodic import Periodic
from jobs.reconcile import reconcile
from jobs.retention import expire_data, sweep_folders
from jobs.settings import Settings
from storage.paths import StoragePath

_RETENTION_SECONDS = 60.0


def upkeep_tasks(settings: Settings, database: Database, dispatcher: Dispatcher, data: StoragePath) -> list[Periodic]:
    """Return the periodic tasks of the service: reconcile the work; expire data and remove abandoned folders."""

    def reconcile_work() -> None:
        reconcile(database, dispatcher, settings.max_attempts)

    def apply_retention() -> None:
        expire_data(database, settings.keep_hours)
        sweep_folders(database, data)

    return [
        Periodic(reconcile_work, settings.reconcile_seconds, "reconcile"),
        Periodic(apply_retention, min(_RETENTION_SECONDS, 60 * settings.reconcile_seconds), "retention"),
    ]
