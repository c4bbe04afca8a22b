import base64
import json
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from jobs.dispatching.dispatch import QUEUE, TASK, CeleryDispatcher, LocalDispatcher, celery_app
from jobs.dispatching.reconcile import reconcile
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from tests.rows import record_heartbeat
from tests.servers import RedisServer, free_port


@pytest.fixture
def dispatcher(redis_server: RedisServer) -> CeleryDispatcher:
    return CeleryDispatcher(Settings.of(redis_url=SecretStr(redis_server.url)))


def _waiting(redis_server: RedisServer) -> int:
    return int(redis_server.client().llen(QUEUE))


def test_embedded_workers_need_no_notice() -> None:
    LocalDispatcher().notify(5)


def test_a_notice_is_a_task_by_name_without_arguments(dispatcher: CeleryDispatcher, redis_server: RedisServer) -> None:
    dispatcher.notify(1)
    (message,) = redis_server.client().lrange(QUEUE, 0, -1)
    envelope = json.loads(message)
    assert (envelope["headers"]["task"], envelope["headers"]["ignore_result"]) == (TASK, True)
    assert envelope["content-type"] == "application/json"
    arguments, keywords, _ = json.loads(base64.b64decode(envelope["body"]))
    assert (arguments, keywords) == ([], {})


def test_no_more_notices_are_sent_than_workers_are_needed(
    dispatcher: CeleryDispatcher, redis_server: RedisServer
) -> None:
    waiting = []
    for number in (0, 3, 3, 2, 5, 1, 0):
        dispatcher.notify(number)
        waiting.append(_waiting(redis_server))
    assert waiting == [0, 3, 3, 3, 5, 5, 5]
    redis_server.client().lpop(QUEUE)
    dispatcher.notify(5)
    assert _waiting(redis_server) == 5


def test_redis_contains_only_the_queue(dispatcher: CeleryDispatcher, redis_server: RedisServer) -> None:
    """Results that nobody reads would fill Redis."""
    for _ in range(3):
        dispatcher.notify(2)
    keys = redis_server.client().keys()
    others = {key for key in keys if not key.startswith(b"_kombu.binding")}
    assert others == {QUEUE.encode()}


def test_a_redis_that_is_down_is_logged_and_notified_again_once_it_is_back(
    dispatcher: CeleryDispatcher, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher.notify(1)
    redis_server.kill()
    dispatcher.notify(2)
    assert caplog.text.count("Redis cannot be reached; the reconciler will notify workers again") == 1
    dispatcher.notify(0)
    assert caplog.text.count("Redis cannot be reached") == 1, "no notice, no connection"
    redis_server.start()
    dispatcher.notify(2)
    assert _waiting(redis_server) == 2
    assert caplog.text.count("Redis cannot be reached") == 1


def test_the_caller_does_not_wait_for_a_redis_that_is_down(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast is submitted in the caller's request; a retry would only delay the answer."""
    slept: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
    CeleryDispatcher(Settings.of(redis_url=SecretStr(f"redis://127.0.0.1:{free_port()}/0"))).notify(1)
    assert "Redis cannot be reached" in caplog.text
    assert slept == []


def test_a_redis_that_has_lost_its_queue_gets_the_notices_again(
    dispatcher: CeleryDispatcher, redis_server: RedisServer
) -> None:
    dispatcher.notify(3)
    redis_server.client().flushall()
    dispatcher.notify(3)
    assert _waiting(redis_server) == 3


def test_a_redis_that_answers_an_error_is_logged(
    dispatcher: CeleryDispatcher, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client().set(QUEUE, "no list")
    dispatcher.notify(1)
    assert "Redis cannot be reached" in caplog.text
    assert "WRONGTYPE" in caplog.text


def test_a_redis_that_was_never_there_is_logged_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    url = SecretStr(f"redis://:hunter2@127.0.0.1:{free_port()}/0")
    CeleryDispatcher(Settings.of(redis_url=url)).notify(1)
    assert "Redis cannot be reached" in caplog.text
    assert "hunter2" not in caplog.text


def test_work_that_was_submitted_while_redis_was_down_is_notified_later(
    dispatcher: CeleryDispatcher,
    redis_server: RedisServer,
    database: Database,
    insert_rows: Callable[..., ForecastRecord],
) -> None:
    for worker in "abc":
        record_heartbeat(database, worker, "cpu", {})
    redis_server.kill()
    insert_rows()
    assert reconcile(database, dispatcher, 3) == 3
    redis_server.start()
    assert _waiting(redis_server) == 0
    assert reconcile(database, dispatcher, 3) == 3
    assert _waiting(redis_server) == 3


def test_a_task_is_acknowledged_before_it_runs_and_never_repeated_by_celery() -> None:
    """The rows decide which work is repeated; a second delivery by Redis would notify a worker without work."""
    app = celery_app(Settings.of(stop_seconds=7))
    assert (app.conf.task_acks_late, app.conf.task_publish_retry, app.conf.result_backend) == (False, False, None)
    assert (app.conf.worker_concurrency, app.conf.worker_prefetch_multiplier) == (1, 1)
    assert app.conf.worker_soft_shutdown_timeout == 7
    assert app.conf.accept_content == ["json"], "pickled tasks would run any code"
