import logging
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from jobs.dispatching import supervisor as module
from jobs.dispatching.supervisor import Supervisor
from jobs.settings import Settings
from tests.helpers import wait_until

RECORD_START = """
import json, os, signal, sys, time
with open("starts", "a") as file:
    print(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ)]), file=file, flush=True)
"""
STAY = "time.sleep(600)\n"
OBEY = (
    "signal.signal(signal.SIGTERM, lambda *_: (open('stopped', 'w').close(), sys.exit(0)))\nopen('ready', 'w')\n" + STAY
)
IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen('ready', 'w').close()\n" + STAY
DIE = "sys.exit(3)\n"


class ScriptedWorker:
    """A module `workers.polling` in a folder of `PYTHONPATH`, which Python finds before the real one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "workers").mkdir()
        (folder / "workers" / "__init__.py").touch()

    def write(self, script: str) -> None:
        (self._folder / "workers" / "polling.py").write_text(RECORD_START + script)

    def pids(self) -> list[int]:
        return [int(line[1:].split(",")[0]) for line in self._lines()]

    def last_start(self) -> str:
        return self._lines()[-1]

    def has(self, name: str) -> bool:
        return (self._folder / name).exists()

    def _lines(self) -> list[str]:
        starts = self._folder / "starts"
        return [line for line in starts.read_text().splitlines() if line.endswith("]")] if starts.exists() else []


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedWorker:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return ScriptedWorker(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(data=tmp_path / "data", threads=3, stop_seconds=20)


def _waits(caplog: pytest.LogCaptureFixture) -> list[float]:
    """Return the seconds that the supervisor has announced to wait, in order."""
    return [float(record.getMessage().split(" in ")[1].split(" ")[0]) for record in caplog.records]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_worker_has_the_settings_and_the_process_that_it_ends_with(
    worker: ScriptedWorker, settings: Settings
) -> None:
    worker.write(STAY)
    supervisor = Supervisor(settings)
    assert supervisor.pid is None
    with supervisor:
        wait_until(worker.pids)
        assert supervisor.pid == worker.pids()[0]
    start = worker.last_start()
    assert f'["{os.getpid()}"]' in start
    assert '"WARMCAST_THREADS": "3"' in start
    assert f'"WARMCAST_DATA": "{settings.storage.data}"' in start


def test_a_module_of_the_users_own_in_the_current_folder_does_not_replace_the_worker(
    worker: ScriptedWorker, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.write(STAY)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "workers.py").write_text("raise AssertionError('the module of the user was imported')\n")
    monkeypatch.chdir(folder)
    with Supervisor(settings):
        wait_until((folder / "starts").exists)


def test_a_worker_that_is_killed_is_started_again(
    worker: ScriptedWorker, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    worker.write(STAY)
    with Supervisor(settings) as supervisor:
        wait_until(worker.pids)
        os.kill(worker.pids()[0], signal.SIGKILL)
        wait_until(lambda: len(worker.pids()) == 2)
        assert supervisor.pid == worker.pids()[1] != worker.pids()[0]
    assert "The worker ended with code -9; it starts again in 0.25 s." in caplog.text


def test_a_worker_that_ends_at_once_is_restarted_less_and_less_often(
    worker: ScriptedWorker,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 0.6)
    worker.write(DIE)
    with Supervisor(settings):
        wait_until(lambda: len(_waits(caplog)) >= 4)
    assert _waits(caplog)[:4] == [0.25, 0.5, 0.6, 0.6]
    assert "The worker ended with code 3" in caplog.text


def test_a_worker_that_ran_for_long_is_started_again_at_once(
    worker: ScriptedWorker,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SHORT_SECONDS", 0.0)
    worker.write(DIE)
    with Supervisor(settings):
        wait_until(lambda: len(_waits(caplog)) >= 2)
    assert set(_waits(caplog)) == {0.0}


def test_the_waits_are_reset_after_a_worker_that_ran_for_long(
    worker: ScriptedWorker,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker.write(DIE)
    with Supervisor(settings):
        wait_until(lambda: len(_waits(caplog)) == 2)
        worker.write(STAY)
        wait_until(lambda: len(worker.pids()) == 3)
        monkeypatch.setattr(module, "_SHORT_SECONDS", 0.0)
        os.kill(worker.pids()[2], signal.SIGKILL)
        wait_until(lambda: len(worker.pids()) == 4)
        monkeypatch.setattr(module, "_SHORT_SECONDS", 600.0)
        os.kill(worker.pids()[3], signal.SIGKILL)
        wait_until(lambda: len(worker.pids()) == 5)
    assert _waits(caplog) == [0.25, 0.5, 0.0, 0.25]


def test_a_stopped_worker_releases_its_work_before_the_supervisor_returns(
    worker: ScriptedWorker, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    worker.write(OBEY)
    with Supervisor(settings):
        wait_until(lambda: worker.has("ready"))
    assert worker.has("stopped")
    assert not _is_running(worker.pids()[0])
    assert caplog.records == [], "a stop on request is no error"
    assert "supervisor" not in {thread.name for thread in threading.enumerate()}


def test_a_worker_that_ignores_the_signal_is_killed_after_the_seconds_to_stop(
    worker: ScriptedWorker, settings: Settings
) -> None:
    worker.write(IGNORE)
    with Supervisor(settings.replace(stop_seconds=0.2)):
        wait_until(lambda: worker.has("ready"))
    assert not _is_running(worker.pids()[0])


def test_a_supervisor_that_is_stopped_while_it_waits_starts_no_worker(
    worker: ScriptedWorker,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker.write(DIE)
    monkeypatch.setattr(module, "max", lambda *_: 600.0, raising=False)  # of twice the wait and the first one
    monkeypatch.setattr(module, "_LONGEST_WAIT_SECONDS", 600.0)
    with Supervisor(settings):
        wait_until(lambda: _waits(caplog))
    assert _waits(caplog) == [600.0]
    assert len(worker.pids()) == 1


def test_a_worker_that_cannot_be_started_is_tried_again(
    worker: ScriptedWorker,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The machine may temporarily have too many processes or too little memory."""
    worker.write(STAY)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/missing/python")
        supervisor = Supervisor(settings)
        supervisor.__enter__()
        wait_until(lambda: caplog.records)
        assert supervisor.pid is None
    wait_until(worker.pids)
    supervisor.__exit__(None, None, None)
    assert "The worker cannot be started: " in caplog.text
    assert "/missing/python" in caplog.text
    assert not _is_running(worker.pids()[0])
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
