"""Notify workers that work is available; which work a worker claims is decided by the rows.

A lost notice loses no work: the reconciler sends another.
"""

import logging
from typing import Protocol

from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError

from jobs.settings import Settings

TASK = "warmcast.forecast"
QUEUE = "warmcast"

_log = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """A channel that notifies workers of work."""

    def notify(self, number: int) -> None:
        """Notify up to `number` workers, not necessarily at once, that work is available; never raises."""


class LocalDispatcher:
    """The channel of embedded workers, which poll the database and need no notices."""

    def notify(self, number: int) -> None:
        """Do nothing."""


class CeleryDispatcher:
    """The channel of Celery workers: tasks, sent by name through Redis."""

    def __init__(self, settings: Settings) -> None:
        self._celery = celery_app(settings)

    def notify(self, number: int) -> None:
        """Send `number` tasks less those that wait in Redis.

        If Redis cannot be reached at the first attempt, only a warning is logged.
        """
        if not number:
            return
        try:
            with self._celery.connection_for_write() as connection:
                connection.ensure_connection(max_retries=0)  # the caller of the service waits
                waiting = connection.default_channel.client.llen(QUEUE)
            for _ in range(number - waiting):
                self._celery.send_task(TASK, retry=False, ignore_result=True)
        except (OperationalError, RedisError) as error:
            _log.warning("Redis cannot be reached; the reconciler will notify workers again: %s", error)


def celery_app(settings: Settings) -> Celery:
    """Return the Celery application of service and workers: no results, early acknowledgement, one task at a time."""
    app = Celery("warmcast", broker=settings.service.redis_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": 86400,
            "socket_timeout": 10,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        result_backend=None,
        task_acks_late=False,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_publish_retry=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_concurrency=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_max_tasks_per_child=50,
        worker_pool="prefork",
        worker_pool_start_method="spawn",
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_soft_shutdown_timeout=settings.worker.stop_seconds,
    )
    return app
