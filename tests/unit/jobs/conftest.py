import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import make_url

from jobs.forecasts import ForecastRecord
from jobs.handling import PLAIN, Handling
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.states import Priority
from tests.clock import MovableClock, movable_clock
from tests.rows import insert_forecast
from tests.servers import PostgresServer
from weather.manifest import Sampling


def _migrated(url: str) -> str:
    database = Database(url)
    database.migrate()
    database.close()
    return url


@pytest.fixture(scope="session")
def postgresql_template(postgres: PostgresServer) -> str:
    """The name of a migrated database without rows."""
    return make_url(_migrated(postgres.new_database())).database or ""


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database without rows, of each supported kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "warmcast.db")
        return f"sqlite:///{tmp_path}/warmcast.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database(request.getfixturevalue("postgresql_template"))


@pytest.fixture
def clock(database_url: str) -> Iterator[MovableClock]:
    """The clock of the `database` fixture."""
    with movable_clock(database_url) as clock:
        yield clock


@pytest.fixture
def database(database_url: str, clock: MovableClock) -> Iterator[Database]:
    """A migrated database without rows, of each supported kind; the test can set its clock forward."""
    result = Database(database_url)
    yield result
    result.close()


@pytest.fixture
def make_request() -> Callable[..., ForecastRequest]:
    """Make a request without checkpoint or initial state: 5 members in groups of 2, 4 lead times."""

    def make_request(**fields: object) -> ForecastRequest:
        request = {
            "checkpoint": "planet",
            "checkpoint_digest": "c" * 64,
            "initial_state_digest": "0" * 64,
            "sources": ("random numbers",),
            "init_time": "2018-09-15T00:00:00",
            "lead_hours": 24,
            "members": 5,
            "group_size": 2,
            "seed": 3,
            "sampling": Sampling(nfe=2),
        }
        return ForecastRequest.model_validate(request | fields)

    return make_request


@pytest.fixture
def insert_rows(database: Database, make_request: Callable[..., ForecastRequest]) -> Callable[..., ForecastRecord]:
    """Insert the rows of a forecast without a folder; takes `key`, `owner`, `handling`… and fields of the request."""
    numbers = count(1)

    def insert_rows(
        *,
        key: str | None = None,
        owner: str = "local",
        priority: Priority = Priority.NORMAL,
        expected_bytes: int | None = None,
        handling: Handling = PLAIN,
        **fields: object,
    ) -> ForecastRecord:
        forecast_id, request = f"fc_{next(numbers):03}", make_request(**fields)
        num_lead_times = request.lead_hours // 6
        options = {"priority": priority, "handling": handling}
        return insert_forecast(database, forecast_id, owner, request, num_lead_times, key, expected_bytes, **options)

    return insert_rows
