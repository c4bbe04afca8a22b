from pathlib import Path

import numpy as np
import pytest

from tests.analyses import analysis_messages, hour
from weather.upstream.messages import MessageError, check_analysis, check_message, read_fields

TIME = hour("2026-03-01T06")


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    return analysis_messages(TIME)


def test_run_time_and_variable_of_each_field_are_read(messages: list[bytes]) -> None:
    fields = read_fields(b"\0header\0" + b"".join(messages))
    assert [(field.variable, field.run, field.valid_time) for field in fields] == [
        ("u10", TIME, TIME),
        ("v10", TIME, TIME),
    ]


def test_real_analyses_are_read(gfs_files: list[Path]) -> None:
    for path in gfs_files:
        time = hour(f"2018-09-{path.name[10:12]}T{path.name[12:14]}")
        check_analysis(path.read_bytes(), time, ("u10", "v10"))


def test_a_forecast_is_of_its_valid_time() -> None:
    fields = read_fields(analysis_messages(TIME, step_hours=12)[0])
    assert (fields[0].run, fields[0].valid_time) == (TIME - np.timedelta64(12, "h"), TIME)


def test_edition_1_has_times_but_no_variables() -> None:
    content = b"".join(analysis_messages(TIME, edition=1))
    assert {(field.valid_time, field.variable) for field in read_fields(content)} == {(TIME, None)}
    check_analysis(content, TIME, ("u10", "v10"))
    with pytest.raises(MessageError, match="it is of 2026-03-01T06:00 and not of 2026-03-01T12:00"):
        check_analysis(content, hour("2026-03-01T12"), ("u10",))


@pytest.mark.parametrize(
    ("cut", "message"),
    [(slice(-1), "cut short"), (slice(100), "cut short"), (slice(12), "cut short"), (slice(0), "no GRIB message")],
)
def test_messages_that_are_cut_short_are_refused(messages: list[bytes], cut: slice, message: str) -> None:
    with pytest.raises(MessageError, match=message):
        read_fields(messages[0][cut])


def test_no_damaged_byte_raises_another_error(messages: list[bytes]) -> None:
    for position in range(min(len(messages[0]), 200)):
        for value in (0, 0xFF):
            damaged = bytearray(messages[0])
            damaged[position] = value
            try:
                fields = read_fields(damaged)
            except MessageError:
                continue
            assert fields


@pytest.mark.parametrize(
    ("time", "variable", "message"),
    [
        ("2026-03-01T12", "u10", "is of 2026-03-01T06:00, from the run of 2026-03-01T06:00, and not the analysis"),
        ("2026-03-01T06", "v10", "not of v10"),
    ],
)
def test_a_message_of_another_time_or_variable_is_refused(
    messages: list[bytes], time: str, variable: str, message: str
) -> None:
    check_message(messages[0], TIME, "u10")
    with pytest.raises(MessageError, match=message):
        check_message(messages[0], hour(time), variable)


def test_a_forecast_is_no_analysis() -> None:
    with pytest.raises(MessageError, match="from the run of 2026-03-01T00:00"):
        check_message(analysis_messages(TIME, step_hours=6)[0], TIME, "u10")


def test_two_messages_are_not_one(messages: list[bytes]) -> None:
    with pytest.raises(MessageError, match="not one whole GRIB message"):
        check_message(b"".join(messages), TIME, "u10")
    with pytest.raises(MessageError, match="no v10"):
        check_analysis(messages[0], TIME, ("u10", "v10"))
