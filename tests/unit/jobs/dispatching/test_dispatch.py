import base64
import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import pytest
import redis
from pydantic import SecretStr

from jobs.dispatching import dispatch as module
from jobs.dispatching.dispatch import QUEUE, TASK, CeleryDispatcher, LocalDispatcher, celery_app
from jobs.dispatching.reconcile import reconcile
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.settings import Settings
from tests.helpers import wait_until
from tests.rows import record_heartbeat
from tests.servers import RedisServer, SilentServer, free_port


class Sending:
    """A dispatcher whose notices are waited for."""

    def __init__(self, url: str) -> None:
        self.dispatcher = CeleryDispatcher(Settings.of(redis_url=SecretStr(url)))
        self._sent = 0
        send = self.dispatcher._send

        def count(number: int) -> None:
            send(number)
            self._sent += 1

        self.dispatcher._send = count  # type: ignore[method-assign]

    def notify(self, number: int) -> None:
        expected = self._sent + 1
        self.dispatcher.notify(number)
        wait_until(lambda: self._sent >= expected)

    def failure(self) -> str | None:
        return self.dispatcher.failure()

    def close(self) -> None:
        self.dispatcher.close()


@pytest.fixture
def dispatcher(redis_server: RedisServer) -> Iterator[Sending]:
    dispatcher = Sending(redis_server.url)
    yield dispatcher
    dispatcher.close()


def _waiting(redis_server: RedisServer) -> int:
    return int(redis_server.client().llen(QUEUE))


def test_embedded_workers_need_no_notice() -> None:
    dispatcher = LocalDispatcher()
    dispatcher.notify(5)
    assert dispatcher.failure() is None
    dispatcher.close()


def test_a_notice_is_a_task_by_name_without_arguments(dispatcher: Sending, redis_server: RedisServer) -> None:
    dispatcher.notify(1)
    (message,) = redis_server.client().lrange(QUEUE, 0, -1)
    envelope = json.loads(message)
    assert (envelope["headers"]["task"], envelope["headers"]["ignore_result"]) == (TASK, True)
    assert envelope["content-type"] == "application/json"
    arguments, keywords, _ = json.loads(base64.b64decode(envelope["body"]))
    assert (arguments, keywords) == ([], {})


def test_no_more_notices_are_sent_than_workers_are_needed(dispatcher: Sending, redis_server: RedisServer) -> None:
    waiting = []
    for number in (0, 3, 3, 2, 5, 1, 0):
        dispatcher.notify(number)
        waiting.append(_waiting(redis_server))
    assert waiting == [0, 3, 3, 3, 5, 5, 5]
    redis_server.client().lpop(QUEUE)
    dispatcher.notify(5)
    assert _waiting(redis_server) == 5


def test_redis_contains_only_the_queue(dispatcher: Sending, redis_server: RedisServer) -> None:
    """Results that nobody reads would fill Redis."""
    for _ in range(3):
        dispatcher.notify(2)
    keys = redis_server.client().keys()
    others = {key for key in keys if not key.startswith(b"_kombu.binding")}
    assert others == {QUEUE.encode()}


def test_a_redis_that_is_down_is_logged_and_notified_again_once_it_is_back(
    dispatcher: Sending, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher.notify(1)
    assert dispatcher.failure() is None
    redis_server.kill()
    for number in (2, 0):
        dispatcher.notify(number)
        assert dispatcher.failure() is not None
        assert "Check that Redis runs" in str(dispatcher.failure())
    assert caplog.text.count("Redis cannot be used; workers find the work by polling") == 2
    redis_server.start()
    dispatcher.notify(2)
    assert _waiting(redis_server) == 2
    assert dispatcher.failure() is None
    assert caplog.text.count("Redis cannot be used") == 2


@pytest.fixture(params=["refused", "black hole", "no Redis", "endless answer"])
def bad_redis(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a place where no Redis answers."""
    if request.param == "refused":
        yield f"redis://:hunter2@127.0.0.1:{free_port()}/0"
        return
    answers = {"black hole": b"", "no Redis": b"HTTP/1.1 400 Bad Request\r\n\r\n", "endless answer": b"$999999999\r\n"}
    with SilentServer(answers[request.param]) as server:
        yield f"redis://:hunter2@127.0.0.1:{server.port}/0"


def test_the_caller_does_not_wait_for_a_redis_that_does_not_answer(
    bad_redis: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast is submitted in the caller's request, which must be answered at once."""
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.5)
    dispatcher = CeleryDispatcher(Settings.of(redis_url=SecretStr(bad_redis)))
    began = time.monotonic()
    for _ in range(100):
        dispatcher.notify(1)
    assert time.monotonic() - began < 1
    wait_until(dispatcher.failure)
    assert "Redis cannot be used" in caplog.text
    assert "hunter2" not in caplog.text
    assert dispatcher._thread.is_alive()
    dispatcher.close()
    wait_until(lambda: not dispatcher._thread.is_alive())


@pytest.mark.parametrize("password", ["hunter2", "h%40n%2Ft:%25r"])
def test_a_redis_with_a_password_is_used_with_that_of_the_url(
    password: str, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client().config_set("requirepass", unquote(password))
    right, wrong = (Sending(f"redis://:{each}@127.0.0.1:{redis_server.port}/0") for each in (password, "other"))
    right.notify(2)
    assert right.failure() is None
    wrong.notify(3)
    assert wrong.failure() is not None
    assert redis.Redis(port=redis_server.port, password=unquote(password)).llen(QUEUE) == 2
    assert "other" not in caplog.text
    assert unquote(password) not in caplog.text
    for dispatcher in (right, wrong):
        dispatcher.close()


def test_a_redis_that_has_lost_its_queue_gets_the_notices_again(dispatcher: Sending, redis_server: RedisServer) -> None:
    dispatcher.notify(3)
    redis_server.client().flushall()
    dispatcher.notify(3)
    assert _waiting(redis_server) == 3


def test_a_redis_that_answers_an_error_is_logged(
    dispatcher: Sending, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.client().set(QUEUE, "no list")
    dispatcher.notify(1)
    assert "Redis cannot be used" in caplog.text
    assert "WRONGTYPE" in caplog.text
    assert dispatcher.failure() is not None


def test_work_that_was_submitted_while_redis_was_down_is_notified_later(
    dispatcher: Sending,
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
    app = celery_app(Settings())
    assert (app.conf.task_acks_late, app.conf.task_publish_retry, app.conf.result_backend) == (False, False, None)
    assert app.conf.accept_content == ["json"], "pickled tasks would run any code"
