import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from anyio import CapacityLimiter, to_thread

from jobs.rows.database import Database
from jobs.settings import Settings
from service import work_queues
from service.app import create_app
from tests.in_process import InProcess, run_in_process
from tests.parsing import parse_in_process
from weather.ingest import parent

T = TypeVar("T")


@pytest.fixture
def settings(tmp_path: Path, untrained_checkpoint: Path) -> Settings:
    """Settings of a service with the checkpoint `untrained`, whose periodic tasks run only once."""
    return Settings.of(data=tmp_path, checkpoints=str(untrained_checkpoint.parent), reconcile_seconds=3600)


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[InProcess]:
    """The service on the data of the fixture `database`, reachable from this machine only, without a worker."""
    with run_in_process(create_app(settings, with_worker=False)) as api:
        yield api


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the work of queues, and the parser, in threads of this process instead of in processes, which start slowly.

    The processes are tested in `test_child_processes.py`, `test_work_queues.py` and `tests/integration/test_busy.py`,
    and the parser in `tests/unit/weather/ingest` and `tests/integration/test_requests.py`.
    """
    limiter = CapacityLimiter(math.inf)

    async def run(call: Callable[[], T], _seconds: float, _folder: Path | None = None) -> T:
        return await to_thread.run_sync(call, limiter=limiter)

    monkeypatch.setattr(work_queues, "run_in_child", run)
    monkeypatch.setattr(parent, "run_parser", parse_in_process)
