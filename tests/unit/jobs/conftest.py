from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jobs.database import Database
from jobs.forecasts import ForecastRecord


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Both databases that are supported, real and empty."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/warmcast.db"
    else:
        url = request.getfixturevalue("postgres").new_database()
    result = Database(url)
    result.migrate()
    yield result
    result.close()


@pytest.fixture
def submitted(
    submit_small: Callable[..., ForecastRecord], database: Database, tmp_path: Path
) -> Callable[..., ForecastRecord]:
    """Submit a small forecast; `key`, `owner` and fields of the request may be given."""
    return partial(submit_small, database, tmp_path)
