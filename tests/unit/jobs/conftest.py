from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.rows.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, of each supported kind."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/warmcast.db"
    else:
        url = request.getfixturevalue("postgres").new_database()
    result = Database(url)
    result.migrate()
    yield result
    result.close()
