"""`warmcast worker`: one worker, of the dispatcher that the settings name."""

from pathlib import Path
from typing import Any

from jobs.settings import Settings
from workers.celery_worker import work_for_celery
from workers.polling import poll


def work(*, data: Path | None) -> dict[str, Any]:
    """Work until stopped."""
    settings = Settings.read()
    if data is not None:
        settings = settings.model_copy(update={"data": data})
    if settings.dispatcher == "celery":
        work_for_celery(settings)
    else:
        poll(settings)
    return {}
