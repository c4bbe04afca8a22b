import gc
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import settings as hypothesis_settings

from jobs.forecasts import ForecastRecord
from jobs.handling import PLAIN, Handling
from jobs.limits import Admission, Limits
from jobs.planning.plans import Plan
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.states import Priority
from jobs.settings import Settings
from jobs.submit import submit
from models.testing import tiny_spec, write_tiny_checkpoint
from tests.clock import MovableClock, movable_clock
from tests.helpers import random_state
from tests.limits import LARGE_LIMITS
from tests.served import Served
from tests.servers import PostgresServer, RedisServer
from weather.bundled import bundled_folder
from weather.manifest import ModelSpec, Sampling, read_manifest
from weather.testing import travelling_waves

torch.set_num_threads(1)
hypothesis_settings.register_profile("without a limit of time", deadline=None)
hypothesis_settings.load_profile("without a limit of time")
os.environ.pop("WARMCAST_CHECKPOINTS", None)
os.fsync = os.fstat  # no test outlives a crash of the machine; like `fsync`, it refuses what is no open file
os.environ["WARMCAST_RESERVE_BYTES"] = "0"  # tests leave their folders: the reserve of each would fill the disk


@pytest.fixture(scope="session")
def gfs_files() -> list[Path]:
    """The bundled GRIB2 analyses of 2018-09-14 18 UTC and 2018-09-15 00 UTC, in this order."""
    return sorted((bundled_folder("samples") / "gfs_2018-09-15T00").glob("*.grib2"))


@pytest.fixture
def spec() -> ModelSpec:
    return tiny_spec()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def untrained_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose forecasts are random walks, which remain finite at any lead time."""
    folder = tmp_path_factory.mktemp("checkpoints") / "untrained"
    write_tiny_checkpoint(folder, name="untrained", trained=False)
    return folder


@pytest.fixture
def winds(spec: ModelSpec) -> xr.Dataset:
    """Four frames from 2018-09-14 12 UTC, 6 h apart, on the tiny checkpoint's own grid."""
    times = [np.datetime64("2018-09-14T12", "s") + np.timedelta64(6 * i, "h") for i in range(4)]
    return travelling_waves(spec.grid.grid, times)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, in a folder that its user can read."""
    with tempfile.TemporaryDirectory(prefix="warmcast-postgres-") as folder:
        server = PostgresServer(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def forgotten_sockets() -> Iterator[None]:
    """Collect in the test itself, without a warning, the sockets that pg8000 forgets when a connection fails."""
    warnings.simplefilter("ignore", pytest.PytestUnraisableExceptionWarning)  # until the end of the test
    yield
    gc.collect()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.kill()


@pytest.fixture
def clock(settings: Settings) -> Iterator[MovableClock]:
    """The clock of the fixture `database`, which the test can set forward."""
    with movable_clock(settings.storage.sql_url) as clock:
        yield clock


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows; a copy is made faster than a migration."""
    path = tmp_path_factory.mktemp("template") / "warmcast.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture
def database(settings: Settings, clock: MovableClock, sqlite_template: Path) -> Iterator[Database]:
    """The migrated database of the fixture `settings`."""
    settings.storage.data.mkdir(exist_ok=True)
    if settings.storage.database_url is None:
        shutil.copy(sqlite_template, settings.storage.data / "warmcast.db")
    result = Database(settings.storage.sql_url)
    result.migrate()
    yield result
    result.close()


@pytest.fixture(scope="session")
def submit_small(untrained_checkpoint: Path) -> Callable[..., ForecastRecord]:
    """Submit a small forecast to a database and data folder: 5 members in groups of 2, 4 lead times."""

    def submit_small(
        database: Database,
        data: Path,
        *,
        key: str | None = None,
        owner: str = "local",
        priority: Priority = Priority.NORMAL,
        max_open: int | None = None,
        limits: Limits | None = None,
        init_time: str = "2018-09-15T00:00:00",
        handling: Handling = PLAIN,
        **fields: object,
    ) -> ForecastRecord:
        manifest = read_manifest(untrained_checkpoint)
        state = replace(random_state(), init_time=np.datetime64(init_time, "s"))
        request = {
            "checkpoint": str(untrained_checkpoint),
            "checkpoint_digest": manifest.digest,
            "initial_state_digest": state.digest,
            "sources": state.sources,
            "init_time": init_time,
            "lead_hours": 24,
            "members": 5,
            "group_size": 2,
            "seed": 3,
            "sampling": Sampling(nfe=2),
        }
        parsed = ForecastRequest.model_validate(request | fields)
        admission = None if max_open is None else Admission(limits or LARGE_LIMITS, max_open)
        plan = replace(Plan.of(parsed, manifest), handling=handling)
        return submit(database, data, owner, plan, state, manifest, key, priority, admission)[0]

    return submit_small


@pytest.fixture
def serve(untrained_checkpoint: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start services that end with the test."""
    started: list[Served] = []

    def serve(*arguments: str, **settings: str) -> Served:
        data = tmp_path / f"data-{len(started)}"
        started.append(Served(data, untrained_checkpoint.parent, *arguments, **settings))
        return started[-1]

    yield serve
    for served in started:
        served.client.close()
        served.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Search for no garbage while tests are collected, nor later among what has been collected."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=1, help="number of kills of each kill campaign")
    parser.addoption("--examples", type=int, default=15, help="number of random requests for each route of the service")
    parser.addoption("--mutants", type=int, default=1, help="number of damaged files per format that the service gets")
