"""The loop of a worker: claim groups, compute them, and record its heartbeat and how each attempt ends."""

import errno
import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from jobs import forecasts
from jobs.counters import Tally
from jobs.dispatching import leases, live_workers
from jobs.dispatching.leases import Lease
from jobs.dispatching.live_workers import Machine
from jobs.dispatching.reconcile import fail_overdue
from jobs.dispatching.sharing import should_rebalance
from jobs.errors import LeaseLostError
from jobs.events import read_submission
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord
from jobs.logs import add_log_subjects, log_subjects
from jobs.phases import report_phase
from jobs.rows.clock import now
from jobs.rows.database import Database
from jobs.rows.states import Kind, Phase
from jobs.settings import Settings
from models.errors import OutOfMemoryError
from storage.errors import InstallationError, WarmcastError, is_disk_full
from storage.opening import open_storage
from weather.errors import CheckpointError, DamagedError
from workers.claimed_forecast import ClaimedForecast
from workers.engine import Engine
from workers.lease_keeper import LeaseKeeper
from workers.receipt import finish_forecast
from workers.room import Room

RETRY_SECONDS = 5.0
"""Pause before work is tried again after an error of the machine."""
HAND_BACK_SECONDS = 600.0
"""Time in which another worker may claim a forecast whose checkpoint a worker does not have."""

_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}

_log = logging.getLogger(__name__)


class Worker:
    """One worker: an engine on one device, and the forecast that it claimed last.

    A process has one worker, or several lanes: workers on the same device, which share its `room`.
    """

    def __init__(self, settings: Settings, database: Database, room: Room | None = None, lane: int = 0) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._settings, self._database = settings, database
        self._data = open_storage(settings.storage.data, settings.storage.store)
        self._tally = Tally()
        self._engine = Engine(settings, database, self._tally, room, lane)
        self._forecast: ClaimedForecast | None = None
        self._unreleased: Sequence[Lease] = ()
        self._handed_back: dict[str, float] = {}
        self._pause_until = -math.inf
        self.is_stopping = self._has_given_up = False
        self._recorded, self._recording = -math.inf, threading.Lock()

    @property
    def device(self) -> torch.device:
        """The device that the worker computes on."""
        return self._engine.device

    @property
    def machine(self) -> Machine:
        """Kind of device and number of CPU threads, for which speeds are measured."""
        return self._engine.machine

    def wait_for_compilation(self) -> None:
        """Wait until no networks are being compiled: the next forecast of a checkpoint then uses compiled ones."""
        self._engine.wait_for_compilation()

    def stop(self) -> None:
        """Make `run` end after the lead time of the group that is being computed; safe to call in a signal handler."""
        self.is_stopping = True

    def give_up(self) -> None:
        """Make `run` raise `SystemExit` before the next evaluation; for workers of other threads."""
        self.stop()
        self._has_given_up = True

    def run(self) -> bool:
        """Claim this worker's share of the free work of one forecast and do it; return whether there was any.

        After `stop`, or on `SystemExit`, the leases are released. An error ends the attempt: it fails the forecast, or
        the work is tried again later. Raises errors of the database; what they left leased is released by the next run.
        """
        settings = self._settings
        self._release(self._unreleased)
        self.record_heartbeat()
        if self.is_stopping or time.monotonic() < self._pause_until or not self._engine.has_room():
            return False
        limits = (settings.worker.lease_seconds, settings.worker.max_attempts)
        claimed = leases.claim(self._database, self.name, *limits, 2 + 3 * settings.worker.poll_seconds)
        if not claimed:
            return False
        with log_subjects(forecast_id=claimed[0].forecast_id):
            self._attempt(claimed)
        self.record_heartbeat(now=True)
        return True

    def _attempt(self, claimed: Sequence[Lease]) -> None:
        """Work on claimed groups until none is left, the worker is stopped, or an error ends the attempt."""
        worker = self._settings.worker
        try:
            while claimed:
                self._unreleased = claimed
                self._work_on(claimed)
                if self.is_stopping:
                    self._release(claimed)
                    break
                with self._database.write() as connection:
                    claimed = leases.rebalance(
                        connection, self.name, claimed, worker.lease_seconds, worker.max_attempts
                    )
        except LeaseLostError:
            _log.info("Lease lost, cancelled or past its deadline")
            fail_overdue(self._database)
            self._release(claimed)
        except (SystemExit, KeyboardInterrupt):
            self._release(claimed)
            raise
        except (InstallationError, OperationalError):
            self._forecast = None  # nothing can be recorded now
            raise
        except CheckpointError as error:
            self._hand_back_or_fail(claimed, error)
        except WarmcastError as error:
            _log.warning("The forecast fails: %s", error)
            self._fail(claimed[0], error)
        except Exception as error:
            _log.exception("This attempt ends")
            retry = partial(leases.retry_or_fail, leases=claimed, problem=problem_of(error))
            self._database.write_at_any_cost(
                partial(retry, max_attempts=worker.max_attempts, wait_seconds=RETRY_SECONDS)
            )
        self._unreleased = ()

    def record_heartbeat(self, *, now: bool = False) -> None:
        """Save in the database that this worker is alive, and its counts; at intervals, or at once with `now`."""
        with self._recording:
            if now or time.monotonic() - self._recorded > live_workers.LIVE_SECONDS / 3:
                self._engine.record_memory()
                device, samples = str(self._engine.device), self._tally.samples()
                with self._database.write() as connection:
                    live_workers.record_heartbeat(connection, self.name, device, samples, self.machine)
                if self._settings.worker.heartbeat_file is not None:
                    self._settings.worker.heartbeat_file.touch()
                self._recorded = time.monotonic()

    def _work_on(self, claimed: Sequence[Lease]) -> None:
        """Compute the claimed groups, or finish the forecast, while a thread renews the leases."""
        settings, lease = self._settings, claimed[0]
        with LeaseKeeper(
            self._database,
            claimed,
            lease_seconds=settings.worker.lease_seconds,
            renew_seconds=settings.worker.heartbeat_seconds,
            stall_seconds=settings.worker.stall_seconds,
            record_heartbeat=self.record_heartbeat,
        ) as keeper:
            with self._database.read() as connection:
                record = forecasts.read_forecast(connection, lease.forecast_id)
                clock = connection.scalar(select(now())) or 0.0
                add_log_subjects(key_id=record.owner, **read_submission(connection, record.id))
            if self._forecast is None or self._forecast.folder.forecast_id != record.id:
                folder, seconds = ForecastFolder(self._data, record.id), clock - (record.started or record.created)
                self._forecast = ClaimedForecast.open(record.request, folder, seconds, record.alerts)
            if lease.kind == Kind.FINISH:
                finish_forecast(self._database, lease, self._forecast, self._engine, self._tally)
                self._forecast = None
            else:
                self._engine.compute(
                    self._forecast,
                    claimed,
                    report_phase=partial(self._report_phase, record),
                    record_progress=partial(self._record_progress, keeper),
                    should_stop=lambda: self.is_stopping,
                    should_rebalance=partial(self._should_rebalance, record.id),
                )

    def _report_phase(self, record: ForecastRecord, phase: Phase) -> None:
        if record.phase != phase:
            with self._database.write() as connection:
                report_phase(connection, record.id, self.name, phase)

    def _record_progress(self, keeper: LeaseKeeper) -> None:
        if self._has_given_up:
            raise SystemExit(0)
        keeper.record_progress()

    def _should_rebalance(self, forecast_id: str) -> bool:
        with self._database.read() as connection:
            return should_rebalance(connection, forecast_id, self.name, self._settings.worker.max_attempts)

    def _release(self, claimed: Sequence[Lease]) -> None:
        if claimed:
            self._database.write_at_any_cost(partial(leases.release, leases=claimed, counts=False))
        self._unreleased = ()

    def _hand_back_or_fail(self, claimed: Sequence[Lease], error: CheckpointError) -> None:
        """Leave a forecast whose checkpoint this worker lacks to other workers; fail it if none has claimed it in time.

        Workers with older and newer checkpoints run side by side during an update.
        """
        forecast_id, now = claimed[0].forecast_id, time.monotonic()
        first = self._handed_back.setdefault(forecast_id, now)
        with self._database.read() as connection:
            has_others = live_workers.count_live_workers(connection) > 1
        if has_others and now - first < HAND_BACK_SECONDS:
            _log.warning("The forecast is left to other workers: %s", error)
            self._release(claimed)
            self._pause_until = now + RETRY_SECONDS
        else:
            _log.warning("The forecast fails: %s", error)
            del self._handed_back[forecast_id]
            self._fail(claimed[0], error)

    def _fail(self, lease: Lease, error: WarmcastError) -> None:
        try:
            self._database.write_at_any_cost(partial(leases.fail, lease=lease, problem=problem_of(error)))
        except LeaseLostError:
            _log.info("Lease lost or cancelled before the forecast failed")


def problem_of(error: Exception) -> dict[str, Any]:
    """Map an exception of a worker to a problem document; `retryable` if a later try may succeed."""
    if isinstance(error, OutOfMemoryError):
        return _problem("out-of-memory", str(error), retryable=False)
    if isinstance(error, DamagedError):
        return _problem("damaged", f"A stored file is damaged: `{error.file}` {error.reason}.", retryable=False)
    if isinstance(error, WarmcastError):
        return _problem("forecast-failed", str(error), retryable=False)
    if isinstance(error, OSError) and is_disk_full(error):
        return _problem("insufficient-storage", f"The disk of the ensemble is full: {error.strerror}.")
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return _problem("store-not-writable", f"The ensemble cannot be written: {error.strerror}.")
    return _problem("worker-lost", f"The worker failed: {type(error).__name__}: {error}.")


def _problem(slug: str, detail: str, *, retryable: bool = True) -> dict[str, Any]:
    return {"type": slug, "detail": f"{detail} Its complete lead times are kept.", "retryable": retryable}
