"""The Celery task, found by its name."""

from functools import cache

from celery import shared_task

from jobs.database import Database
from jobs.dispatch import TASK
from jobs.settings import Settings
from workers.runtime import Runtime


@shared_task(name=TASK)  # type: ignore[untyped-decorator] # Celery has no types
def forecast(work_id: int) -> None:
    """Do the work of a row with all that is free of its forecast, or what else is free; nothing where nothing is."""
    _runtime().run(work_id)


@cache
def _runtime() -> Runtime:
    """Return the runtime of this process, made when it is needed first."""
    settings = Settings.read()
    return Runtime(settings, Database(settings.url))
