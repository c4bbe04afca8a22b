"""Named checks of whether the service can do its work, each run in a thread of its own and within a time limit."""

import asyncio
import concurrent.futures
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from jobs.dispatching.live_workers import count_live_workers
from jobs.rows.database import Database
from storage.errors import WarmcastError
from storage.reserve import DiskReserve

KEEP_SECONDS = 1.0
"""Seconds for which the result of a check is used again."""
LIMIT_SECONDS = 1.5
"""Seconds after which a check that has not ended counts as failed."""

Check = Callable[[], str | None]
"""Returns None, or one sentence that says what fails and one that says what to do; both may be read by anyone."""

_log = logging.getLogger(__name__)


class Readiness:
    """The readiness checks of a process, by name.

    A check that does not end blocks nothing: it keeps its thread, is not started again before it ends, and counts as
    failed until then. A check that raises an error counts as failed, and the log has the error.
    """

    def __init__(self) -> None:
        self._checks: dict[str, _RepeatedCheck] = {}

    def add(self, name: str, check: Check) -> None:
        """Add a check; the metric `warmcast_ready` and `/readyz` contain it under this name."""
        self._checks[name] = _RepeatedCheck(name, check)

    async def results(self) -> Mapping[str, str | None]:
        """Return what fails, or None, by name of the check; results may be a second old."""
        runs = self._start()
        unfinished = [asyncio.wrap_future(run) for run in runs.values() if not run.done()]
        if unfinished:
            await asyncio.wait(unfinished, timeout=LIMIT_SECONDS)
        return _outcomes(runs)

    def wait_for_results(self) -> Mapping[str, str | None]:
        """Return the same as `results`; the calling thread waits for it."""
        runs = self._start()
        concurrent.futures.wait(runs.values(), timeout=LIMIT_SECONDS)
        return _outcomes(runs)

    def _start(self) -> "dict[str, Future[str | None]]":
        return {name: check.start() for name, check in self._checks.items()}


class _RepeatedCheck:
    """A check and its newest run."""

    def __init__(self, name: str, check: Check) -> None:
        self._name, self._check = name, check
        self._lock = threading.Lock()
        self._run: Future[str | None] | None = None
        self._ended = 0.0
        self._failure: str | None = None

    def start(self) -> "Future[str | None]":
        """Return the newest run if it has not ended or is at most a second old, else a new one."""
        with self._lock:
            if self._run is None or (self._run.done() and time.monotonic() - self._ended >= KEEP_SECONDS):
                self._run = Future()
                self._run.set_running_or_notify_cancel()
                threading.Thread(
                    target=self._execute, args=(self._run,), name=f"check {self._name}", daemon=True
                ).start()
            return self._run

    def _execute(self, run: "Future[str | None]") -> None:
        failure, cause = _call(self._check)
        if failure != self._failure:
            _log.warning("Readiness check %s: %s", self._name, failure or "passes again", exc_info=cause)
            self._failure = failure
        self._ended = time.monotonic()
        run.set_result(failure)


def _call(check: Check) -> tuple[str | None, Exception | None]:
    """Return what fails, or None, and the error that the check has raised, if any."""
    try:
        return check(), None
    except SQLAlchemyError as error:
        return "The database cannot be used. Check that its server runs and can be reached.", error
    except WarmcastError as error:
        return str(error), None
    except Exception as error:
        return "The check failed. The log of the service has the error.", error


def _outcomes(runs: "Mapping[str, Future[str | None]]") -> dict[str, str | None]:
    late = f"The check did not end within {LIMIT_SECONDS:g} s. Check that what it reads can be reached."
    return {name: run.result() if run.done() else late for name, run in runs.items()}


def check_database(database: Database) -> None:
    """Raise `SQLAlchemyError` if the database does not answer."""
    with database.read() as connection:
        connection.execute(text("SELECT 1"))


def check_installation(database: Database) -> None:
    """Raise `InstallationError` if the database and the data place are not those of one installation any more."""
    with suppress(SQLAlchemyError):
        check_database(database)


def check_data_folder(folder: Path) -> str | None:
    """Check whether the data folder can be written; return None if so, else a sentence on what to do."""
    if os.access(folder, os.W_OK):
        return None
    return "The data folder cannot be written. Check that its disk is mounted, and the owner of the folder."


def check_disk(reserve: DiskReserve) -> str | None:
    """Return what to do if the disk of the data folder has no space for new work; allocate the reserve if it can be."""
    if reserve.hold() and reserve.has_space():
        return None
    return "The disk of the data folder is full: new work is refused. Delete forecasts, or make the disk larger."


def check_workers(database: Database) -> str | None:
    """Return what to do if no worker is alive."""
    with database.read() as connection:
        if count_live_workers(connection):
            return None
    return "No worker is alive. Start one with `warmcast worker`, or read the log of `warmcast serve`."
