from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.database import Database


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
