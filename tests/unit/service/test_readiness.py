import asyncio
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from jobs.rows.database import Database
from service import readiness
from service.readiness import Readiness, check_data_folder, check_database, check_workers
from storage.errors import DataDirectoryError
from tests.helpers import wait_until
from tests.rows import record_heartbeat
from tests.servers import free_port


def _results(checks: Readiness) -> dict[str, str | None]:
    async def read() -> dict[str, str | None]:
        return dict(await checks.results())

    return asyncio.run(read())


def _of(**checks: Callable[[], str | None]) -> Readiness:
    result = Readiness()
    for name, check in checks.items():
        result.add(name, check)
    return result


def _raise(error: Exception) -> Callable[[], str | None]:
    def check() -> str | None:
        raise error

    return check


def test_each_check_has_its_result_for_both_kinds_of_callers() -> None:
    checks = _of(good=lambda: None, bad=lambda: "It fails. Mend it.")
    expected = {"good": None, "bad": "It fails. Mend it."}
    assert _results(checks) == expected == checks.wait_for_results()
    assert _results(Readiness()) == {}


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OperationalError("SELECT secret", {}, OSError("password")), "The database cannot be used."),
        (DataDirectoryError("The folder is away. Mount it."), "The folder is away. Mount it."),
        (OSError(5, "secret"), "The check failed. The log of the service has the error."),
        (KeyError("secret"), "The check failed. The log of the service has the error."),
    ],
)
def test_a_check_that_raises_has_failed_and_only_the_log_has_the_cause(
    error: Exception, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = _results(_of(one=_raise(error)))["one"]
    assert result is not None
    assert result.startswith(failure)
    assert "secret" not in result
    assert "Readiness check one" in caplog.text


def test_a_result_is_used_again_for_a_second() -> None:
    calls: list[float] = []
    checks = _of(one=lambda: calls.append(time.monotonic()))
    wait_until(lambda: checks.wait_for_results() and len(calls) == 2, 10, every=0.01)
    assert calls[1] - calls[0] >= 1.0


def test_a_check_that_hangs_is_not_started_again_and_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "LIMIT_SECONDS", 0.02)
    released, starts = threading.Event(), []

    def hang() -> None:
        starts.append(1)
        released.wait(30)

    checks = _of(hangs=hang, good=lambda: None)
    for _ in range(3):
        results = _results(checks)
        assert results["good"] is None
        assert results["hangs"] is not None
        assert "did not end within 0.02 s" in results["hangs"]
        assert checks.wait_for_results() == results
    assert len(starts) == 1
    released.set()
    wait_until(lambda: checks.wait_for_results()["hangs"] is None, 10)


def test_a_repeated_failure_is_logged_once_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(readiness, "KEEP_SECONDS", 0.0)
    expected: list[str | None] = [None, "No.", "No.", "No.", None, None]
    outcomes = iter(expected)
    checks = _of(one=lambda: next(outcomes))
    with caplog.at_level(logging.WARNING, "service.readiness"):
        assert [checks.wait_for_results()["one"] for _ in expected] == expected
    assert [entry.message for entry in caplog.records] == [
        "Readiness check one: No.",
        "Readiness check one: passes again",
    ]


def test_the_checks_of_every_service(database: Database, tmp_path: Path) -> None:
    check_database(database)
    assert check_data_folder(tmp_path) is None
    absent = check_data_folder(tmp_path / "absent")
    assert absent is not None
    assert str(tmp_path) not in absent
    assert check_workers(database) is not None
    record_heartbeat(database, "worker", "cpu", {})
    assert check_workers(database) is None
    away = Database(f"postgresql+pg8000://warmcast@127.0.0.1:{free_port()}/warmcast")
    failure = _results(_of(database=lambda: check_database(away)))["database"]
    assert failure is not None
    assert "server runs" in failure
