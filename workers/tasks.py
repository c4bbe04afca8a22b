"""The Celery task `warmcast.forecast`, and the thread that records the heartbeat of its process."""

import threading
import time
from dataclasses import dataclass
from functools import cache

from celery import shared_task
from celery.signals import worker_process_init

from jobs.dispatching.dispatch import TASK, CeleryDispatcher
from jobs.dispatching.sharing import count_needed_workers, may_receive_groups
from jobs.periodic import Periodic
from jobs.rows.database import Database
from jobs.settings import Settings
from workers.loop import Worker

_HEARTBEAT_SECONDS = 5.0

_lock = threading.Lock()


@shared_task(name=TASK)  # type: ignore[untyped-decorator] # Celery has no types
def forecast() -> None:
    """Compute free work, or wait while another worker may share its groups; then notify workers of remaining work."""
    process = _process()
    while not process.worker.run():
        with process.database.read() as connection:
            may_receive = may_receive_groups(connection, process.worker.name)
        if not may_receive:
            return
        time.sleep(process.settings.worker.poll_seconds)
    with process.database.read() as connection:
        needed = count_needed_workers(connection, process.settings.worker.max_attempts)
    process.dispatcher.notify(needed)


@worker_process_init.connect  # type: ignore[untyped-decorator] # Celery has no types
def _start_heartbeat(**_: object) -> None:
    """Start to record heartbeats, also while no task runs."""
    Periodic(lambda: _process().worker.record_heartbeat(), _HEARTBEAT_SECONDS, "heartbeat").start()


@dataclass(frozen=True)
class _Process:
    """Settings, connections and worker of this process."""

    settings: Settings
    database: Database
    dispatcher: CeleryDispatcher
    worker: Worker


def _process() -> _Process:
    """Return settings, connections and worker of this process; the first call creates them, other threads wait."""
    with _lock:
        return _make_process()


@cache
def _make_process() -> _Process:
    settings = Settings.read()
    database = Database(settings.storage.sql_url)
    return _Process(settings, database, CeleryDispatcher(settings), Worker(settings, database))
