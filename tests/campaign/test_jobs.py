"""Kill workers, their children and Redis at random: every forecast ends once, with the result of an undisturbed one.

A few kills in an ordinary run; `make campaign` sets many.
"""

import math
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from jobs.dispatching.dispatch import CeleryDispatcher, Dispatcher, LocalDispatcher
from jobs.rows.database import Database
from jobs.settings import Settings
from tests.campaign.disturbed import (
    CeleryWorkers,
    LocalWorkers,
    Submit,
    Workers,
    check_results,
    send,
    submit_several,
    wait_while_disturbing,
)
from tests.rows import read_forecast
from tests.servers import RedisServer

_MANY_KILLS = 10


@pytest.fixture(params=["local", "celery"])
def dispatcher(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, dispatcher: str, redis_server: RedisServer, tmp_path: Path) -> Settings:
    is_usual = (request.param, dispatcher) == ("postgresql", "celery")
    if not is_usual and request.config.getoption("kills") < _MANY_KILLS:
        pytest.skip("`make campaign` combines each database with each dispatcher")
    url = request.getfixturevalue("postgres").new_database() if request.param == "postgresql" else None
    return Settings.of(
        data=tmp_path / "data",
        database_url=SecretStr(url) if url else None,
        dispatcher="celery" if dispatcher == "celery" else "local",
        redis_url=SecretStr(redis_server.url),
        device="cpu",
        threads=1,
        lease_seconds=3,
        heartbeat_seconds=0.5,
        poll_seconds=0.1,
        reconcile_seconds=1,
        max_attempts=10,
        stop_seconds=5,
    )


@pytest.fixture
def workers(settings: Settings, tmp_path: Path) -> Iterator[Workers]:
    celery = settings.service.dispatcher == "celery"
    result = CeleryWorkers(settings, tmp_path) if celery else LocalWorkers(settings, settings)
    yield result
    result.stop()


def _disturb(draw: random.Random, workers: Workers, redis_server: RedisServer | None) -> str:
    """Kill or pause one process, or restart or empty Redis; return which."""
    kinds = ["kill", "kill", "kill", "pause", *(["flush", "restart"] if redis_server else [])]
    kind, pids = draw.choice(kinds), workers.pids()
    if redis_server and kind == "flush":
        redis_server.client().flushall()
    elif redis_server and kind == "restart":
        redis_server.kill()
        time.sleep(0.5)
        redis_server.start()
    elif pids:
        pid = draw.choice(pids)
        send(pid, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        if kind == "pause":
            threading.Timer(5, send, (pid, signal.SIGCONT)).start()
    return kind


def test_disturbed_forecasts_end_once_with_the_result_of_undisturbed_ones(
    request: pytest.FixtureRequest,
    settings: Settings,
    database: Database,
    submit_small: Submit,
    redis_server: RedisServer,
    workers: Workers,
    tmp_path: Path,
) -> None:
    kills = max(2, int(request.config.getoption("--kills")))
    celery = settings.service.dispatcher == "celery"
    dispatcher: Dispatcher = CeleryDispatcher(settings) if celery else LocalDispatcher()
    forecasts = submit_several(submit_small, database, settings, kills)
    draw, done = random.Random(20180915), Counter[str]()
    next_kill = math.inf  # until a forecast is computed: a kill while all workers start would disturb nothing

    def disturb() -> None:
        nonlocal next_kill
        if next_kill == math.inf and any(read_forecast(database, forecast.id).lead_times for forecast in forecasts):
            next_kill = 0.0
        if done.total() < kills and time.monotonic() > next_kill:
            done[_disturb(draw, workers, redis_server if celery else None)] += 1
            next_kill = time.monotonic() + draw.uniform(0.5, 6)

    wait_while_disturbing(database, dispatcher, settings, forecasts, disturb, 60 + 15 * kills)
    assert done, "a process was killed or paused while forecasts were computed"
    dispatcher.close()
    workers.stop()
    check_results(submit_small, database, settings, forecasts, tmp_path / "reference")
