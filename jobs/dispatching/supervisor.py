"""Supervise a process of a worker, by default the one that computes: start it again whenever it ends."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from jobs.settings import Settings

_SHORT_SECONDS = 5.0
_LONGEST_WAIT_SECONDS = 30.0

_log = logging.getLogger(__name__)


class Supervisor:
    """A context manager that keeps one process running; the process ends with its parent.

    It runs `module` with the process id of the parent and `arguments`, and inherits the file `descriptors`. It is a
    session of its own, so that Ctrl-C reaches its parent alone, which stops it with `stop_signal`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        module: str = "workers.polling",
        name: str = "The worker",
        arguments: Sequence[str] = (),
        descriptors: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._settings, self._name, self._stop_signal = settings, name, stop_signal
        self._arguments, self._descriptors = (module, str(os.getpid()), *arguments), tuple(descriptors)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    @property
    def pid(self) -> int | None:
        """Process id of the newest process, or None before its first start."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        """Start the process."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process with the signal, so that it releases its work, and kill it after `stop_seconds`."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.wait(wait):
            started = time.monotonic()
            outcome = self._run_process()
            if self._stopping.is_set():
                return
            quickly = time.monotonic() - started < _SHORT_SECONDS
            wait = min(max(2 * wait, 0.25), _LONGEST_WAIT_SECONDS) if quickly else 0.0
            _log.error("%s %s; it starts again in %g s.", self._name, outcome, wait)

    def _run_process(self) -> str:
        """Start the process, wait until it ends or the supervisor is stopped, and return how it ended."""
        try:
            self._process = self._start()
        except OSError as error:  # such as too many processes or too little memory, which may pass
            return f"cannot be started: {error}"
        while self._process.poll() is None and not self._stopping.wait(0.1):
            pass
        if self._stopping.is_set():
            self._stop(self._process)
        return f"ended with code {self._process.returncode}"

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: modules of the user's in the current folder, such as a `jobs.py`, must not be imported instead
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *self._arguments],
            env=os.environ | self._settings.environment(),
            stdin=subprocess.DEVNULL,
            pass_fds=self._descriptors,
            start_new_session=True,
        )

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(self._stop_signal)
        try:
            process.wait(self._settings.worker.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
