"""Damaged files of forecasts: how requests that need them are answered, and how they are recorded."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.checks import record_damage
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.rows.states import Status
from jobs.stored_files import files_digest
from service.dependencies import Service, check_data
from service.problems import DAMAGED, ServiceError
from weather.errors import DamagedError
from weather.ingest.exchange import INITIAL_STATE, load_initial_state
from weather.initial_state import InitialState
from weather.stores.checks import Files, read_file_list

_KEPT_FILES = 200_000
"""Number of files in all lists that are kept: some 40 MB."""

_log = logging.getLogger(__name__)


class FileLists:
    """The lists of files that were used last; safe for use by several threads."""

    def __init__(self, max_files: int) -> None:
        self._max_files, self._lock = max_files, threading.Lock()
        self._lists: OrderedDict[tuple[str, str], Files] = OrderedDict()

    def read(self, folder: ForecastFolder, record: ForecastRecord) -> Files | None:
        """Return a forecast's list; None if it has none. Raises `DamagedError` if it is missing or damaged."""
        digest = files_digest(record)
        if digest is None:
            return None
        key = record.id, digest
        with self._lock:
            if key in self._lists:
                self._lists.move_to_end(key)
                return self._lists[key]
        files = read_file_list(folder.path, digest)
        with self._lock:
            self._lists[key] = files
            while len(self._lists) > 1 and sum(map(len, self._lists.values())) > self._max_files:
                self._lists.popitem(last=False)
        return files


FILE_LISTS = FileLists(_KEPT_FILES)


@contextmanager
def answering_damage(record: ForecastRecord, service: Service) -> Iterator[None]:
    """Turn `DamagedError` into a problem without paths, and record the damage in the row of the forecast.

    If the data was deleted meanwhile, that is the problem (410).
    """
    try:
        yield
    except DamagedError as error:
        check_data(record.id, service)
        _log.error("A file of forecast %s is damaged: %s", record.id, error)
        if not record.damaged_files:
            with service.database.write() as connection:
                record_damage(connection, record.id, error)
        raise ServiceError(
            DAMAGED, f"Data of forecast {record.id} is damaged: `{error.file}` {error.reason}. {_advice(record)}"
        ) from error


def load_state_of(record: ForecastRecord, service: Service) -> InitialState:
    """Return the initial state of a forecast; raises `DamagedError` if it is missing, damaged or another one."""
    state = load_initial_state(ForecastFolder(service.data, record.id).initial_state)
    if state.digest != record.request.initial_state_digest:
        raise DamagedError(INITIAL_STATE, "is damaged: it is not the one that the forecast has started from")
    return state


def _advice(record: ForecastRecord) -> str:
    again = "submit the forecast again, with the seed of its request"
    if record.status == Status.SUCCESSFUL:
        return f"The operator can restore it with `warmcast repair`; or {again}."
    return f"{again[0].upper()}{again[1:]}."
