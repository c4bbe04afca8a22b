from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.database import Database
from jobs.settings import Settings
from workers.runtime import Runtime


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, device="cpu", lease_seconds=30, max_attempts=2)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    result = Database(settings.url)
    result.migrate()
    yield result
    result.close()


@pytest.fixture
def runtime(settings: Settings, database: Database) -> Runtime:
    return Runtime(settings, database)
