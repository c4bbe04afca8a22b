"""How work is handed over: a poke that says that there is some. What is taken, who comes decides by the rows.

A lost poke loses nothing.
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
    """Who hears that work may be taken."""

    def notify(self, number: int) -> None:
        """Tell so many workers, some time, that there is something to do; never raises."""


class LocalDispatcher:
    """Workers that look into the table themselves."""

    def notify(self, number: int) -> None:
        """Do nothing: the worker polls."""


class CeleryDispatcher:
    """Celery workers, told through Redis by the task's name."""

    def __init__(self, settings: Settings) -> None:
        self._celery = celery_app(settings)

    def notify(self, number: int) -> None:
        """Send so many tasks, less those that wait already; where Redis is not there, the reconciler tries again."""
        if not number:
            return
        try:
            with self._celery.connection_for_write() as connection:
                waiting = connection.default_channel.client.llen(QUEUE)
            for _ in range(number - waiting):
                self._celery.send_task(TASK, retry=False, ignore_result=True)
        except (OperationalError, RedisError) as error:
            _log.warning("Redis was not reached, work waits for the reconciler: %s", error)


def celery_app(settings: Settings) -> Celery:
    """Return the Celery application that both ends share: no results, early acknowledgement, one job at a time."""
    app = Celery("warmcast", broker=settings.redis_url.get_secret_value(), set_as_current=False)
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
        worker_soft_shutdown_timeout=settings.stop_seconds,
    )
    return app
