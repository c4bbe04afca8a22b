"""Log lines of the service and of workers: time, level, request, API key and forecast on each, as text or as JSON."""

import json
import logging
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from jobs.repeated_faults import REPEATS, RepeatFilter

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
FIELDS = "fields"
"""Attribute of a record with further fields of the line: `extra={FIELDS: {…}}`."""

_SUBJECTS = {"request_id": "request", "key_id": "key", "forecast_id": "forecast"}
"""What every line names, and its shorter name in text."""
_NOISY = ("alembic", "httpx", "httpcore", "matplotlib", "multipart", "python_multipart")
_SECRETS = ((re.compile(r"://[^\s/@\"']*@"), "://***@"), (re.compile(r"\bwc_[\w-]{20,}"), "wc_***"))

_subjects: ContextVar[dict[str, str] | None] = ContextVar("log subjects", default=None)


@contextmanager
def log_subjects(**subjects: str) -> Iterator[None]:
    """Name a request, key or forecast in each line that the block logs, in addition to those named around it.

    Threads that the block starts inherit them only if they run in a copy of its context.
    """
    token = _subjects.set((_subjects.get() or {}) | subjects)
    try:
        yield
    finally:
        _subjects.reset(token)


def add_log_subjects(**subjects: str) -> None:
    """Name more subjects from now on, also outside the caller's function, until the enclosing `log_subjects` ends."""
    current = _subjects.get()
    if current is not None:
        current.update(subjects)


def current_request_id() -> str | None:
    """Return the id of the request that is being answered, or None."""
    return (_subjects.get() or {}).get("request_id")


def configure_logging(log_format: LogFormat, level: LogLevel) -> None:
    """Write the log of this process to standard error; a repeated fault is written once a minute."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each.formatter, _LineFormatter)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


class _LineFormatter(logging.Formatter, ABC):
    def format(self, record: logging.LogRecord) -> str:
        """Return the line, or several for an exception; passwords in URLs and secrets of API keys are replaced."""
        message = _hide_secrets(record.getMessage())
        repeats = getattr(record, REPEATS, 0)
        if repeats:
            message += f" ({repeats} more of these since the last line)"
        subjects = _subjects.get() or {}
        exception = _hide_secrets(self.formatException(record.exc_info)) if record.exc_info else None
        return self.line(record, message, {name: subjects.get(name) for name in _SUBJECTS}, exception)

    @abstractmethod
    def line(
        self, record: logging.LogRecord, message: str, subjects: dict[str, str | None], exception: str | None
    ) -> str:
        """Return the text of a record from its message, the ids of its subjects and its traceback, if any."""


class TextFormatter(_LineFormatter):
    """Lines for people. Control characters are escaped and tracebacks indented, so that no text looks like a line."""

    def line(
        self, record: logging.LogRecord, message: str, subjects: dict[str, str | None], exception: str | None
    ) -> str:
        """Return time, level, subjects (`-` for none), logger and message; a traceback follows, indented."""
        named = " ".join(f"{_SUBJECTS[name]}={value or '-'}" for name, value in subjects.items())
        line = f"{_time(record)} {record.levelname:<8} {named} {record.name}: {_escape(message)}"
        trace = "" if exception is None else "".join(f"\n    {_escape(text)}" for text in exception.splitlines())
        return line + trace


class JsonFormatter(_LineFormatter):
    """Lines for programs: one JSON object each."""

    def line(
        self, record: logging.LogRecord, message: str, subjects: dict[str, str | None], exception: str | None
    ) -> str:
        """Return the object; the subjects are always in it, null for none."""
        fields: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        fields |= {"message": message, **subjects, "process": record.process, **getattr(record, FIELDS, {})}
        return json.dumps(fields if exception is None else fields | {"exception": exception})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hide_secrets(text: str) -> str:
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
