"""A Celery worker: `python -m workers.celery_worker`, one a device."""

import os
import sys
from collections.abc import Sequence

from jobs.database import Database
from jobs.dispatch import celery_app
from jobs.settings import Settings

_COMMAND = (sys.executable, "-m", "workers.celery_worker")
_SOFT_STOP = "REMAP_SIGTERM"
"""Read by Celery when it is imported: hence this process begins once more with it."""


def work_for_celery(settings: Settings, arguments: Sequence[str] = ()) -> None:
    """Work until stopped, with more `arguments` of Celery's; SIGTERM is a soft stop that hands the work back."""
    if os.environ.get(_SOFT_STOP) != "SIGQUIT":
        os.execve(
            sys.executable, [*_COMMAND, *arguments], os.environ | settings.environment() | {_SOFT_STOP: "SIGQUIT"}
        )
    Database(settings.url).migrate()
    app = celery_app(settings)
    app.conf.include = ["workers.tasks"]
    app.worker_main(["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle", *arguments])


if __name__ == "__main__":
    work_for_celery(Settings.read(), sys.argv[1:])
