import contextvars
import json
import logging
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from jobs.logs import (
    FIELDS,
    JsonFormatter,
    TextFormatter,
    add_log_subjects,
    configure_logging,
    current_request_id,
    log_subjects,
)
from jobs.repeated_faults import RepeatFilter

_log = logging.getLogger("tests.logs")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def _record(message: str, *arguments: object, error: Exception | None = None) -> logging.LogRecord:
    trace = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("jobs.part", logging.WARNING, __file__, 1, message, arguments, trace)
    record.created = 1537000000.25
    return record


def test_each_line_has_time_level_and_subjects() -> None:
    formatter = TextFormatter()
    assert formatter.format(_record("disk of %s", "A")) == (
        "2018-09-15T08:26:40.250Z WARNING  request=- key=- forecast=- jobs.part: disk of A"
    )
    with log_subjects(request_id="r1", key_id="key_1"), log_subjects(forecast_id="f1"):
        line = formatter.format(_record("lost"))
    assert line == "2018-09-15T08:26:40.250Z WARNING  request=r1 key=key_1 forecast=f1 jobs.part: lost"


def test_a_line_of_json_has_every_field_also_without_a_value() -> None:
    record = _record("a\nb")
    setattr(record, FIELDS, {"status": 200})
    with log_subjects(forecast_id="f1"):
        line = JsonFormatter().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("process") == record.process
    assert fields == {
        "time": "2018-09-15T08:26:40.250Z",
        "level": "warning",
        "logger": "jobs.part",
        "message": "a\nb",
        "request_id": None,
        "key_id": None,
        "forecast_id": "f1",
        "status": 200,
    }


def _raise(message: str) -> Exception:
    with pytest.raises(ArithmeticError) as raised:
        raise ArithmeticError(message)
    return raised.value


SECRETS = [
    "redis://:hunter2@host:6379/0",
    "postgresql+pg8000://warmcast:hunter2@db/warmcast",
    "https://user:hunter2@example.org/a?b=c",
    "s3://hunter2:hunter2@bucket",
    "Bearer wc_hunter2_hunter2_hunter2_hunter2_hunter2x",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_passwords_and_keys_are_left_out_of_messages_and_errors(formatter: logging.Formatter, secret: str) -> None:
    for record in (_record("cannot reach %s", secret), _record(secret), _record("failed", error=_raise(secret))):
        line = formatter.format(record)
        assert "hunter2" not in line
        assert "***" in line


def test_json_remains_whole_where_secrets_are_left_out() -> None:
    message = 'got {"url": "http://a", "mail": "b@c"} of redis://:x@y'
    assert json.loads(JsonFormatter().format(_record(message)))["message"].endswith("redis://***@y")


@pytest.mark.parametrize("text", ["a\n2018-09-15T08:26:40.250Z ERROR forged", "a\r\x1b[2Jb", "a\u2028b\x85c\x00d"])
def test_no_text_forges_a_line(text: str) -> None:
    assert len(TextFormatter().format(_record("got %s", text)).splitlines()) == 1
    line = TextFormatter().format(_record("failed", error=_raise(text)))
    assert line.isprintable() is False
    first, *others = line.splitlines()
    assert first.endswith("jobs.part: failed")
    assert others
    assert all(other.startswith("    ") for other in others)
    assert len(JsonFormatter().format(_record("got %s", text)).splitlines()) == 1


def test_subjects_are_added_to_the_enclosing_block_and_end_with_it() -> None:
    add_log_subjects(key_id="outside")
    with log_subjects(request_id="r1"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(_add_key,))
        thread.start()
        thread.join()
        assert current_request_id() == "r1"
        assert " request=r1 key=key_1 " in TextFormatter().format(_record("x"))
    assert current_request_id() is None
    assert " request=- key=- " in TextFormatter().format(_record("x"))


def _add_key() -> None:
    add_log_subjects(key_id="key_1")


def test_the_log_is_written_once_from_its_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text", "debug")
    configure_logging("json", "info")
    _log.debug("no")
    _log.info("yes")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["yes"]


def test_a_fault_that_repeats_is_one_line_a_minute_with_their_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("jobs.logs.RepeatFilter", partial(RepeatFilter, clock=lambda: now[0]))
    configure_logging("text", "info")
    for second in range(0, 125, 5):
        now[0] = second
        _log.warning("Redis cannot be reached: %s", second)
        _log.error("The disk is full")
        _log.info("a request")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("tests.logs: ")[1] for line in lines if "Redis" in line] == [
        "Redis cannot be reached: 0",
        "Redis cannot be reached: 60 (11 more of these since the last line)",
        "Redis cannot be reached: 120 (11 more of these since the last line)",
    ]
    assert sum("disk" in line for line in lines) == 3
    assert sum("a request" in line for line in lines) == 25


def test_faults_of_different_kinds_or_places_are_not_one_fault(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text", "info")
    for error in (_raise("a"), _raise("b"), KeyError("c")):
        _log.error("Unexpected error", exc_info=error)
    _log.error("Another error")
    errors = [line.split(": ", 1)[1] for line in capsys.readouterr().err.splitlines() if not line.startswith(" ")]
    assert errors == ["Unexpected error", "Unexpected error", "Another error"]
