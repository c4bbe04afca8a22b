from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.rows.database import Database
from tests.clock import MovableClock, movable_clock


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each supported kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/warmcast.db"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@pytest.fixture
def clock(database_url: str) -> Iterator[MovableClock]:
    """The clock of the `database` fixture."""
    with movable_clock(database_url) as clock:
        yield clock


@pytest.fixture
def database(database_url: str, clock: MovableClock) -> Iterator[Database]:
    """A migrated database without rows, of each supported kind; the test can set its clock forward."""
    result = Database(database_url)
    result.migrate()
    yield result
    result.close()
