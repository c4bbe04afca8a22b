"""Notify workers that work is available; which work a worker claims is decided by the rows.

A lost notice loses no work: workers also poll the rows.
"""

import logging
import threading
from typing import Protocol

from celery import Celery

from jobs.settings import Settings

TASK = "warmcast.forecast"
QUEUE = "warmcast"

_CONNECT_SECONDS, _ANSWER_SECONDS = 2.0, 5.0

_log = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """A channel that notifies workers of work."""

    def notify(self, number: int) -> None:
        """Notify up to `number` workers, soon, that work is available; returns at once and never raises."""

    def failure(self) -> str | None:
        """Return what is wrong with the channel and what to do, or None if notices arrive."""

    def close(self) -> None:
        """Release what the channel holds; notices that are not sent yet may be dropped."""


class LocalDispatcher:
    """The channel of embedded workers, which poll the database and need no notices."""

    def notify(self, number: int) -> None:
        """Do nothing."""

    def failure(self) -> str | None:
        """Return None."""
        return None

    def close(self) -> None:
        """Do nothing."""


class CeleryDispatcher:
    """The channel of Celery workers: tasks, sent by name through Redis.

    A thread of its own sends them, so that no caller waits for a Redis that does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._celery = celery_app(settings)
        self._changed = threading.Condition()
        self._number: int | None = None
        self._failure: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def notify(self, number: int) -> None:
        """Have `number` tasks sent less those that wait in Redis; of several numbers, the largest counts.

        With 0, only the connection is checked.
        """
        with self._changed:
            self._number = max(number, self._number or 0)
            self._changed.notify()

    def failure(self) -> str | None:
        """Return what is wrong with Redis, as of the last notice or check, and what to do; None if it answers."""
        return self._failure

    def close(self) -> None:
        """End the thread, unless it waits for Redis; then it ends with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._number is not None)
                if self._closed:
                    return
                number, self._number = self._number or 0, None
            self._send(number)

    def _send(self, number: int) -> None:
        """Send `number` tasks less those that wait in Redis; if it does not answer at once, log a warning."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=0)
                waiting = connection.default_channel.client.llen(QUEUE)
                for _ in range(number - waiting):
                    self._celery.send_task(TASK, retry=False, ignore_result=True, connection=connection)
        except Exception as error:  # the thread must go on, whatever Redis, or what answers in its place, has sent
            self._failure = (
                "Redis does not answer: workers are not notified and find work by polling, some seconds later. "
                "Check that Redis runs, and WARMCAST_REDIS_URL."
            )
            _log.warning("Redis cannot be used; workers find the work by polling: %s", error)
        else:
            if self._failure is not None:
                _log.info("Redis answers again")
            self._failure = None


def celery_app(settings: Settings) -> Celery:
    """Return the Celery application of service and workers: no results, early acknowledgement, one task at a time."""
    app = Celery("warmcast", broker=settings.service.broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": 86400,
            "socket_timeout": _ANSWER_SECONDS,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        result_backend=None,
        task_acks_late=False,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_publish_retry=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app
