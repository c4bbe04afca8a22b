from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jobs.database import Database
from jobs.forecasts import ForecastRecord
from jobs.settings import Settings
from workers.runtime import Runtime


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, device="cpu", lease_seconds=30, max_attempts=2)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """The database of `settings`, in a data folder that is there."""
    settings.data.mkdir(exist_ok=True)
    result = Database(settings.url)
    result.migrate()
    yield result
    result.close()


@pytest.fixture
def submitted(
    submit_small: Callable[..., ForecastRecord], database: Database, settings: Settings
) -> Callable[..., ForecastRecord]:
    """Submit a small forecast; fields of the request may be given."""
    return partial(submit_small, database, settings.data)


@pytest.fixture
def runtime(settings: Settings, database: Database) -> Runtime:
    return Runtime(settings, database)
