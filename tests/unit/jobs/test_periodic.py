import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from jobs.periodic import Periodic
from tests.helpers import wait_until


def test_the_function_is_called_again_and_again_by_a_thread_of_the_given_name() -> None:
    calls: list[str] = []
    with Periodic(lambda: calls.append(threading.current_thread().name), 0.01, "counter"):
        wait_until(lambda: len(calls) >= 3)
    assert set(calls) == {"counter"}
    assert "counter" not in {thread.name for thread in threading.enumerate()}


def test_stop_waits_for_the_call_that_is_being_made_and_no_other_follows() -> None:
    begun, may_end, calls = threading.Event(), threading.Event(), list[str]()

    def call() -> None:
        begun.set()
        assert may_end.wait(60)
        calls.append("ended")

    periodic = Periodic(call, 0.0, "slow")
    periodic.start()
    assert begun.wait(60)
    stopping = threading.Thread(target=periodic.stop)
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive(), "stop has not waited"
    may_end.set()
    stopping.join(60)
    assert calls == ["ended"]


def test_the_first_call_is_delayed_and_stop_does_not_wait_for_it() -> None:
    calls: list[int] = []
    started = time.monotonic()
    with Periodic(lambda: calls.append(0), 0.01, "late", delay_seconds=600):
        pass
    assert calls == []
    assert time.monotonic() - started < 300


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT 1", {}, OSError("connection refused")), OSError("connection refused")]
)
def test_an_error_of_the_database_or_of_a_file_is_logged_and_the_next_call_is_made(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def fail_once() -> None:
        calls.append(0)
        if len(calls) == 1:
            raise error

    with Periodic(fail_once, 0.01, "upkeep"):
        wait_until(lambda: len(calls) >= 2)
    assert "upkeep: failed, next try in 0.01 s" in caplog.text
    assert "connection refused" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_any_other_error_ends_the_thread() -> None:
    """An error of the program would only repeat; the process that depends on the thread must notice."""
    calls: list[int] = []

    def fail() -> None:
        calls.append(0)
        raise ZeroDivisionError

    periodic = Periodic(fail, 0.0, "broken")
    periodic.start()
    wait_until(lambda: "broken" not in {thread.name for thread in threading.enumerate()})
    periodic.stop()
    assert calls == [0]
