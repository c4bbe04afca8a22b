"""Start a Celery worker, one per device: `python -m workers.celery_worker`."""

import os
import sys
from collections.abc import Sequence

from jobs.dispatching.dispatch import celery_app
from jobs.rows.database import Database
from jobs.settings import Settings

_COMMAND = (sys.executable, "-P", "-m", "workers.celery_worker")
_SOFT_STOP = "REMAP_SIGTERM"
"""Celery reads this environment variable when it is imported, so the process replaces itself to set it."""


def run_celery_worker(settings: Settings, arguments: Sequence[str] = ()) -> None:
    """Run a Celery worker until it is stopped; `arguments` go to Celery. On SIGTERM the worker releases its leases."""
    if os.environ.get(_SOFT_STOP) != "SIGQUIT":
        os.execve(
            sys.executable, [*_COMMAND, *arguments], os.environ | settings.environment() | {_SOFT_STOP: "SIGQUIT"}
        )
    Database(settings.storage.sql_url).migrate()
    app = celery_app(settings)
    app.conf.include = ["workers.tasks"]
    app.worker_main(["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle", *arguments])


if __name__ == "__main__":
    run_celery_worker(Settings.read(), sys.argv[1:])
