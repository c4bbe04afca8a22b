"""A Celery worker of one machine, as its processes are started by `warmcast worker`."""

import json
import os
import pickle
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from jobs.dispatching.dispatch import QUEUE, TASK, CeleryDispatcher, celery_app
from jobs.dispatching.reconcile import reconcile
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Status
from jobs.rows.tables import work
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import cancel_forecast, count_live_workers, list_live_workers, read_forecast
from tests.served import WARMCAST
from tests.servers import RedisServer
from workers.loop import Worker

Submit = Callable[..., ForecastRecord]


class CeleryWorker:
    """`warmcast worker` in a process of its own, its Redis and its database."""

    def __init__(self, folder: Path) -> None:
        (folder / "redis").mkdir()
        self.redis = RedisServer(folder / "redis")
        self.settings = Settings.of(
            data=folder / "data",
            dispatcher="celery",
            redis_url=SecretStr(self.redis.url),
            device="cpu",
            threads=1,
            reconcile_seconds=0.5,
        )
        self.settings.storage.data.mkdir()
        self.database = Database(self.settings.storage.sql_url)
        self.database.migrate()
        self._log = folder / "worker.log"
        self.start()

    def start(self) -> None:
        with self._log.open("a") as output:
            self.process = subprocess.Popen(
                [*WARMCAST, "worker"], env=os.environ | self.settings.environment(), stdout=output, stderr=output
            )

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds, or raise with the log if the worker has ended."""

        def holds() -> object:
            if self.process.poll() is not None:
                raise RuntimeError(self.log())
            return condition()

        wait_until(holds, describe=self.log)

    def log(self) -> str:
        return self._log.read_text()

    def run_forecast(self, submit: Submit) -> None:
        forecast = submit(self.database, self.settings.storage.data)
        self.wait_for(lambda: read_forecast(self.database, forecast.id).status == Status.SUCCESSFUL)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.database.close()
        self.redis.kill()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CeleryWorker]:
    worker = CeleryWorker(tmp_path_factory.mktemp("celery"))
    worker.wait_for(lambda: count_live_workers(worker.database))
    yield worker
    worker.stop()


def _count_held_groups(database: Database) -> list[int]:
    """Return the number of groups that each worker holds."""
    held = select(func.count()).where(work.c.worker.is_not(None)).group_by(work.c.worker)
    with database.read() as connection:
        return list(connection.scalars(held))


def test_an_idle_celery_worker_is_alive_and_takes_groups_of_a_busy_one(
    running: CeleryWorker, submit_small: Submit
) -> None:
    settings, database = running.settings, running.database
    dispatcher, busy = CeleryDispatcher(settings), Worker(settings, database)
    forecast = submit_small(database, settings.storage.data, members=8, lead_hours=6 * 500)
    busy_thread = threading.Thread(target=busy.run)
    busy_thread.start()
    running.wait_for(lambda: read_forecast(database, forecast.id).lead_times)
    reconcile(database, dispatcher, settings.worker.max_attempts)
    running.wait_for(lambda: _count_held_groups(database) == [2, 2])
    cancel_forecast(database, forecast.id, "local")
    busy_thread.join()
    dispatcher.close()


def _envelope(**changes: object) -> bytes:
    """Return a notice as Celery sends it, with some of its fields replaced."""
    headers = {"lang": "py", "task": TASK, "id": "1", "argsrepr": "()", "kwargsrepr": "{}", "origin": "x"}
    properties = {"correlation_id": "1", "delivery_mode": 2, "delivery_info": {}, "priority": 0, "delivery_tag": "1"}
    notice = {
        "body": "W1tdLCB7fSwge31d",
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {**properties, "body_encoding": "base64"},
    }
    return json.dumps(notice | changes).encode()


BAD_MESSAGES = {
    "nothing": b"",
    "binary": bytes(range(256)),
    "huge": b"[" * 20_000_000,
    "null": b"null",
    "number": b"17",
    "string": b'"warmcast.forecast"',
    "list": b"[1, 2, 3]",
    "object": b"{}",
    "pickle": pickle.dumps({"task": TASK}),
    "pickled body": _envelope(**{"content-type": "application/x-python-serialize"}),
    "unknown task": _envelope(headers={"task": "os.system", "id": "2"}),
    "wrong arguments": _envelope(body="W1sxLCAyXSwge30sIHt9XQ=="),
    "body of another type": _envelope(body=17),
    "headers of another type": _envelope(headers=["task"]),
    "properties of another type": _envelope(properties="none"),
}


def test_no_message_disturbs_the_computation(running: CeleryWorker, submit_small: Submit) -> None:
    before = {each.id for each in list_live_workers(running.database)}
    client = running.redis.client()
    client.rpush(QUEUE, *BAD_MESSAGES.values())
    celery_app(running.settings).control.broadcast("shutdown")
    running.run_forecast(submit_small)
    client.delete(QUEUE)
    client.set(QUEUE, "a key of another type")
    running.run_forecast(submit_small)
    client.delete(QUEUE)
    running.run_forecast(submit_small)
    after = {each.id for each in list_live_workers(running.database)}
    assert after, "the computing process is alive"
    assert after <= before, "it was not replaced"


def test_the_receiver_of_notices_is_started_again_after_a_message_that_ends_it(
    running: CeleryWorker, submit_small: Submit
) -> None:
    client = running.redis.client()
    client.rpush(QUEUE, BAD_MESSAGES["binary"])
    running.wait_for(lambda: "The receiver of notices ended" in running.log())
    celery_app(running.settings).send_task(TASK)
    running.wait_for(lambda: client.llen(QUEUE) == 0)


def test_forecasts_end_while_redis_is_away(running: CeleryWorker, submit_small: Submit) -> None:
    long = submit_small(running.database, running.settings.storage.data, lead_hours=6 * 60)
    running.wait_for(lambda: read_forecast(running.database, long.id).lead_times)
    running.redis.kill()
    running.wait_for(lambda: read_forecast(running.database, long.id).status == Status.SUCCESSFUL)
    running.run_forecast(submit_small)
    running.redis.start()


def test_a_busy_worker_that_is_stopped_hands_back_its_work_after_a_lead_time(
    running: CeleryWorker, submit_small: Submit
) -> None:
    database = running.database
    forecast = submit_small(database, running.settings.storage.data, lead_hours=6 * 2000)
    running.wait_for(lambda: read_forecast(database, forecast.id).lead_times)
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    assert time.monotonic() - began < 0.5 * running.settings.worker.stop_seconds
    committed = read_forecast(database, forecast.id).lead_times
    with database.read() as connection:
        rows = connection.execute(select(work).where(work.c.forecast_id == forecast.id)).all()
    assert all((row.worker, row.lease_until) == (None, None) for row in rows), "every lease is released"
    assert all(row.committed - committed in (0, 1) for row in rows)
    cancel_forecast(database, forecast.id, "local")
