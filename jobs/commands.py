"""Carry out `warmcast scrub`, and `warmcast storage show`, `adopt` and `delete-lost`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jobs.installation import adopt, open_installation, survey
from jobs.retention import find_lost_folders
from jobs.scrub import Check, Pace, scrub
from jobs.settings import Settings
from storage.errors import ConfigurationError
from storage.opening import open_storage
from storage.paths import StoragePath


def show_storage(*, data: Path | None) -> dict[str, Any]:
    """Return the identities of database and data place, what they have in common, and the folders in `lost/`.

    Nothing is created or changed.
    """
    settings = Settings.read(data).storage
    lost = find_lost_folders(open_storage(settings.data, settings.store))
    return survey(settings) | {"lost": [_describe(name, folder) for name, folder in lost.items()]}


def adopt_storage(*, data: Path | None) -> dict[str, Any]:
    """Make the database and the data place those of one new installation, and return what `show_storage` does."""
    adopt(Settings.read(data).storage)
    return show_storage(data=data)


def delete_lost(*, names: Sequence[str], data: Path | None) -> dict[str, Any]:
    """Delete folders in `lost/` by name; all of them without `names`. Returns what was deleted.

    Raises `ConfigurationError`, and deletes nothing, if there is no folder of one of the names.
    """
    settings = Settings.read(data).storage
    lost = find_lost_folders(open_storage(settings.data, settings.store))
    unknown = [name for name in names if name not in lost]
    if unknown:
        known = ", ".join(lost) or "none"
        raise ConfigurationError(f"`names` must be names of folders in lost: {known}. Got: {unknown[0]!r}.")
    deleted = []
    for name in names or lost:
        deleted.append(_describe(name, lost[name]))
        lost[name].remove()
    return {"deleted": deleted}


def scrub_forecasts(
    *,
    forecast_ids: Sequence[str],
    unchecked_days: float,
    bytes_per_second: float | None,
    data: Path | None,
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Check the files of the forecasts with these ids, or of all that were not checked for so many days.

    Returns what was checked and found, which `report` gets for each forecast. At most `bytes_per_second` are read, by
    default those of the settings.
    """
    settings = Settings.read(data).storage
    installation, found = open_installation(settings), list[dict[str, Any]]()

    def add(check: Check) -> None:
        found.append(_describe_check(check))
        report(found[-1])

    try:
        scrub(
            installation.database,
            installation.data,
            Pace(bytes_per_second or settings.scrub_bytes_per_second),
            unchecked_seconds=86_400 * unchecked_days,
            forecast_ids=forecast_ids,
            report=add,
        )
    finally:
        installation.database.close()
    return {"checked": found, "damaged": [entry["id"] for entry in found if entry["damage"]]}


def _describe_check(check: Check) -> dict[str, Any]:
    return {
        "id": check.record.id,
        "files": check.num_files,
        "size_bytes": check.size_bytes,
        "damage": [{"file": error.file, "reason": error.reason} for error in check.damage],
        "renewed": check.renewed,
    }


def _describe(name: str, folder: StoragePath) -> dict[str, Any]:
    return {"name": name, "size_bytes": sum(size for _, size in folder.files()), "changed": folder.modified_time()}
