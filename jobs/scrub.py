"""Check the stored files of forecasts, slowly, and renew those that can be made again without computing."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.checks import current_time, find_due, record_check
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.rows.database import Database
from jobs.rows.states import Data, Status
from jobs.stored_files import encode_receipt, expected_files, files_digest, make_file_list, stores_of
from storage.paths import StoragePath
from storage.sums import matches_sum, sum_path
from weather.errors import DamagedError
from weather.ingest.exchange import load_initial_state
from weather.stores.checks import FILE_LIST, FileRecord, Files, check_file, digest_of_list
from weather.stores.layout import ENSEMBLE
from weather.stores.promises import promised_files

_log = logging.getLogger(__name__)


class Pace:
    """Limits how many bytes a second are read; `stop` makes the next `spend` raise `InterruptedError`."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._stopped = threading.Event()
        self._free = time.monotonic()

    def spend(self, size_bytes: int) -> None:
        """Wait until so many bytes more may be read."""
        present = time.monotonic()
        self._free = max(self._free, present) + size_bytes / self._rate
        if self._stopped.wait(self._free - present):
            raise InterruptedError("The check was stopped.")

    def stop(self) -> None:
        """End the check that waits, and every later one; safe to call from another thread."""
        self._stopped.set()


@dataclass
class Check:
    """What the check of a forecast has found; `renewed` names files that were damaged and are made anew or removed."""

    record: ForecastRecord
    num_files: int = 0
    size_bytes: int = 0
    damage: list[DamagedError] = field(default_factory=list)
    renewed: list[str] = field(default_factory=list)


def check_forecast(data: StoragePath, record: ForecastRecord, pace: Pace) -> Check:
    """Read all files of a forecast that has ended, and return which are missing, damaged or unreadable.

    Damage to the receipt and to the list of files is mended; a damaged zip is removed, and built by the next download.
    Raises `ConnectionError` if the storage is not reached.
    """
    folder, check = ForecastFolder(data, record.id), Check(record)
    files = _find_expected(folder, check)
    for name in sorted(files):
        try:
            size = check_file(folder.path, name, files[name])
        except DamagedError as error:
            check.damage.append(error)
        else:
            check.size_bytes += size
            pace.spend(size)
    check.num_files = len(files)
    if files_digest(record) is None:
        _check_initial_state(folder, check)
    _renew_receipt(folder, check)
    _remove_damaged_zip(folder, check, pace)
    return check


def scrub(
    database: Database,
    data: StoragePath,
    pace: Pace,
    *,
    unchecked_seconds: float,
    forecast_ids: Sequence[str] = (),
    report: Callable[[Check], None] = lambda _: None,
) -> None:
    """Check every forecast that has ended and was not checked for so long, and record each result at once.

    A repeated call therefore continues one that was interrupted. `forecast_ids` selects forecasts, of any age.
    """
    with database.read() as connection:
        before = current_time(connection) - unchecked_seconds
        selected = [read_forecast(connection, forecast_id) for forecast_id in forecast_ids]
    while record := _next(database, selected, before, is_selection=bool(forecast_ids)):
        check = check_forecast(data, record, pace)
        with database.write() as connection:
            is_kept = read_forecast(connection, record.id).data == Data.AVAILABLE
            record_check(connection, record.id, check.damage if is_kept else [])
        if is_kept:
            for error in check.damage:
                _log.error("forecast %s: %s", record.id, error)
            report(check)


def _next(
    database: Database, selected: list[ForecastRecord], before: float, *, is_selection: bool
) -> ForecastRecord | None:
    if is_selection:
        return selected.pop(0) if selected else None
    with database.read() as connection:
        return find_due(connection, before)


def _find_expected(folder: ForecastFolder, check: Check) -> Files:
    """Return the files that the forecast has to have, as far as they are known; note damage to what says so."""
    record = check.record
    try:
        return expected_files(folder, record)
    except DamagedError as error:
        damage = error
    if damage.file == FILE_LIST and _renew_list(folder, record):
        check.renewed.append(FILE_LIST)
        return expected_files(folder, record)
    check.damage.append(damage)
    found: dict[str, FileRecord | None] = {}
    for store in stores_of(record.request):
        try:
            found.update(promised_files(folder.path, [store], is_complete=record.status == Status.SUCCESSFUL))
        except DamagedError as error:
            if error.file != damage.file:
                check.damage.append(error)
    return found


def _renew_list(folder: ForecastFolder, record: ForecastRecord) -> bool:
    """Write the list of files anew if it can be made as it was, and return whether it was made."""
    try:
        content = make_file_list(folder, record.request)
    except DamagedError:
        return False
    if digest_of_list(content) != files_digest(record):
        return False
    folder.files.remove()
    folder.files.write(content)
    return True


def _check_initial_state(folder: ForecastFolder, check: Check) -> None:
    try:
        load_initial_state(folder.initial_state)
    except DamagedError as error:
        if not any(known.file.startswith(error.file) for known in check.damage):
            check.damage.append(error)


def _renew_receipt(folder: ForecastFolder, check: Check) -> None:
    """Write the receipt anew from the row, if it is not equal to that."""
    if check.record.status != Status.SUCCESSFUL:
        return
    content = encode_receipt(check.record.receipt or {})
    try:
        is_equal = folder.receipt.read_bytes() == content
    except ConnectionError:
        raise
    except OSError:
        is_equal = False
    if not is_equal:
        folder.receipt.remove()
        folder.receipt.write(content)
        check.renewed.append(folder.receipt.name)


def _remove_damaged_zip(folder: ForecastFolder, check: Check, pace: Pace) -> None:
    if not isinstance(folder.path, Path):
        return
    path = folder.path / f"{ENSEMBLE}.zip"
    if path.exists():
        pace.spend(path.stat().st_size)
        if not matches_sum(path):
            path.unlink(missing_ok=True)
            sum_path(path).unlink(missing_ok=True)
            check.renewed.append(path.name)
