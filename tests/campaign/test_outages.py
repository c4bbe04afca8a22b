"""Take servers and networks away while forecasts are computed: each ends once, with the result of an undisturbed one.

They take minutes, so they run in `make campaign` only; tests of single outages are in `tests/integration`.
"""

import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from jobs.rows.database import Database
from jobs.settings import Settings
from tests.campaign.disturbed import (
    CeleryWorkers,
    LocalWorkers,
    Submit,
    check_results,
    send,
    submit_several,
    wait_while_disturbing,
)
from tests.proxy import TcpProxy
from tests.rows import read_forecast
from tests.servers import PostgresServer, RedisServer

_LEAST = 10


@pytest.fixture
def outages(request: pytest.FixtureRequest) -> int:
    kills = int(request.config.getoption("--kills"))
    if kills < _LEAST:
        pytest.skip(f"needs --kills {_LEAST} or more, as in make campaign")
    return kills // 2


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    """A server that no other test uses."""
    with tempfile.TemporaryDirectory(prefix="warmcast-postgres-") as folder:
        server = PostgresServer(Path(folder))
        yield server
        server.stop()


def _settings(folder: Path, url: str | None = None, **values: object) -> Settings:
    return Settings.of(
        data=folder / "data",
        database_url=SecretStr(url) if url else None,
        device="cpu",
        threads=1,
        lease_seconds=3,
        heartbeat_seconds=0.5,
        poll_seconds=0.1,
        reconcile_seconds=1,
        max_attempts=10,
        stop_seconds=5,
        **values,
    )


def _open(settings: Settings) -> Database:
    settings.storage.data.mkdir()
    database = Database(settings.storage.sql_url)
    database.migrate()
    return database


def _every(seconds: tuple[float, float], number: int, disturb: Callable[[random.Random], None]) -> Callable[[], None]:
    """Return a function that calls `disturb` at random intervals within `seconds`, at most `number` times."""
    draw, due, done = random.Random(20180915), time.monotonic() + 5, 0

    def call() -> None:
        nonlocal due, done
        if done < number and time.monotonic() > due:
            disturb(draw)
            done += 1
            due = time.monotonic() + draw.uniform(*seconds)

    return call


def test_forecasts_end_without_redis_and_without_the_service(
    outages: int, redis_server: RedisServer, submit_small: Submit, tmp_path: Path
) -> None:
    """Redis is gone from the first lead time to the end, nobody reconciles, and workers are killed."""
    settings = _settings(tmp_path, dispatcher="celery", redis_url=SecretStr(redis_server.url))
    database, workers = _open(settings), CeleryWorkers(settings, tmp_path)
    forecasts = submit_several(submit_small, database, settings, outages)

    def disturb(draw: random.Random) -> None:
        if any(read_forecast(database, forecast.id).lead_times for forecast in forecasts):
            redis_server.kill()
        if pids := workers.pids():
            send(draw.choice(pids), signal.SIGKILL)

    wait_while_disturbing(database, None, settings, forecasts, _every((2, 10), outages, disturb), 120 + 15 * outages)
    workers.stop()
    check_results(submit_small, database, settings, forecasts, tmp_path / "reference")
    database.close()


@pytest.mark.usefixtures("forgotten_sockets")
def test_forecasts_end_although_postgresql_restarts(
    outages: int, postgres_of_its_own: PostgresServer, submit_small: Submit, tmp_path: Path
) -> None:
    settings = _settings(tmp_path, postgres_of_its_own.new_database())
    database, workers = _open(settings), LocalWorkers(settings, settings)
    forecasts = submit_several(submit_small, database, settings, outages)

    def disturb(draw: random.Random) -> None:
        postgres_of_its_own.restart(
            draw.choice([signal.SIGINT, signal.SIGQUIT, signal.SIGKILL]), draw.choice([0.0, 1.0, 5.0])
        )

    wait_while_disturbing(database, None, settings, forecasts, _every((1, 8), outages, disturb), 120 + 20 * outages)
    workers.stop()
    check_results(submit_small, database, settings, forecasts, tmp_path / "reference")
    database.close()


@pytest.mark.usefixtures("forgotten_sockets")
def test_forecasts_end_although_the_network_of_a_worker_is_a_black_hole_at_times(
    outages: int, postgres_of_its_own: PostgresServer, submit_small: Submit, tmp_path: Path
) -> None:
    """What the worker had sent arrives when the network is back, after another worker has taken over its groups."""
    url = make_url(postgres_of_its_own.new_database())
    settings = _settings(tmp_path, url.render_as_string(hide_password=False))
    database = _open(settings)
    forecasts = submit_several(submit_small, database, settings, outages)
    with TcpProxy(url.port or 0) as proxy:
        through = url.set(port=proxy.port).render_as_string(hide_password=False)
        workers = LocalWorkers(settings, settings.replace(database_url=SecretStr(through)))
        cut_until = 0.0

        def cut(draw: random.Random) -> None:
            nonlocal cut_until
            proxy.cut()
            cut_until = time.monotonic() + draw.choice([0.5, 5.0, 10.0, 45.0])

        cut_at_times = _every((1, 8), outages, cut)

        def disturb() -> None:
            if time.monotonic() > cut_until:
                proxy.restore()
                cut_at_times()

        wait_while_disturbing(database, None, settings, forecasts, disturb, 120 + 30 * outages)
        workers.stop()
    check_results(submit_small, database, settings, forecasts, tmp_path / "reference")
    database.close()
