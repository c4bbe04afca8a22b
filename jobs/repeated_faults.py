"""A filter of log records that lets a repeated fault through once a minute."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

REPEATS = "repeats"
"""Attribute of a record: the number of equal faults that were left out since the last one in the log."""

_MAX_FAULTS = 1000


class RepeatFilter(logging.Filter):
    """Let a warning or error through if the last equal one is at least `seconds` old.

    Two faults are equal if their logger, level and message before the insertion of its arguments are, and the type and
    the place of their exceptions. Lines below the level of warnings are not counted.
    """

    def __init__(self, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock
        self._faults: dict[Any, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record; the number of equal ones left out since the last is set as its `REPEATS`."""
        if record.levelno < logging.WARNING:
            return True
        fault, now = _identity(record), self._clock()
        with self._lock:
            logged, repeats = self._faults.pop(fault, (None, 0))
            is_logged = logged is None or now - logged >= self._seconds
            self._faults[fault] = (now, 0) if is_logged else (logged or 0.0, repeats + 1)
            while len(self._faults) > _MAX_FAULTS:
                del self._faults[next(iter(self._faults))]
        if is_logged:
            setattr(record, REPEATS, repeats)
        return is_logged


def _identity(record: logging.LogRecord) -> tuple[Any, ...]:
    error, trace = record.exc_info[1:] if record.exc_info else (None, None)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = None if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return record.name, record.levelno, str(record.msg), type(error), place
