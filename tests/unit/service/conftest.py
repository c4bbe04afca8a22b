from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.rows.database import Database
from jobs.settings import Settings
from service.app import create_app
from tests.in_process import InProcess, run_in_process


@pytest.fixture
def settings(tmp_path: Path, untrained_checkpoint: Path) -> Settings:
    """Settings of a service with the checkpoint `untrained`, whose periodic tasks run only once."""
    return Settings.of(data=tmp_path, checkpoints=str(untrained_checkpoint.parent), reconcile_seconds=3600)


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[InProcess]:
    """The service on the data of the fixture `database`, reachable from this machine only, without a worker."""
    with run_in_process(create_app(settings, with_worker=False)) as api:
        yield api
