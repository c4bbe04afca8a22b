import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from jobs.periodic import Periodic
from tests.helpers import wait_until


def test_the_function_is_called_until_the_thread_is_stopped() -> None:
    calls: list[str] = []
    with Periodic(lambda: calls.append(threading.current_thread().name), 0.01, "counter"):
        wait_until(lambda: len(calls) >= 3)
    number = len(calls)
    time.sleep(0.05)
    assert len(calls) == number
    assert set(calls) == {"counter"}


def test_the_first_call_is_delayed() -> None:
    calls: list[float] = []
    with Periodic(lambda: calls.append(time.monotonic()), 0.01, "late", delay_seconds=60):
        time.sleep(0.05)
    assert calls == []


def test_an_error_of_the_database_is_logged_and_the_next_call_is_made(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def fail_once() -> None:
        calls.append(0)
        if len(calls) == 1:
            raise OperationalError("SELECT 1", {}, OSError("connection refused"))

    with Periodic(fail_once, 0.01, "upkeep"):
        wait_until(lambda: len(calls) >= 2)
    assert "upkeep: failed, next try in 0.01 s" in caplog.text
    assert "connection refused" in caplog.text
