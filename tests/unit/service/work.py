"""Work that tests let child processes do; it imports little, so that they start fast."""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path


def describe() -> tuple[int, int, str]:
    """Return id, priority and temporary folder of the process."""
    return os.getpid(), os.getpriority(os.PRIO_PROCESS, 0), tempfile.gettempdir()


def fail(error: Exception) -> None:
    """Raise an error."""
    raise error


def print_errors(count: int) -> None:
    """Write `count` bytes to standard error."""
    sys.stderr.write("e" * count)
    sys.stderr.flush()


def die() -> None:
    """End the process as the kernel does when memory is exhausted."""
    os.kill(os.getpid(), signal.SIGKILL)


def record_and_sleep(path: Path) -> None:
    """Write the id of the process to a file and sleep for a minute."""
    path.with_suffix(".partial").write_text(str(os.getpid()))
    path.with_suffix(".partial").rename(path)
    time.sleep(60)


def measure(seconds: float) -> tuple[int, float, float]:
    """Sleep; return the id of the process, and the times of begin and end."""
    began = time.time()
    time.sleep(seconds)
    return os.getpid(), began, time.time()
