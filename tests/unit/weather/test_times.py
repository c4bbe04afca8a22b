import numpy as np
import pytest

from storage.errors import ConfigurationError
from weather.times import Interval, format_lead_time, parse_lead_time, parse_time


@pytest.mark.parametrize(
    ("text", "hours"), [("120h", 120), ("5d", 120), ("120", 120), (" 6h ", 6), ("1d", 24), ("10d", 240), ("0h", 0)]
)
def test_hours_and_days_become_a_lead_time(text: str, hours: int) -> None:
    assert parse_lead_time(text) == np.timedelta64(hours, "h")


@pytest.mark.parametrize("text", ["", "h", "5 d", "-6h", "1.5d", "6m", "5w", "120hh", "six hours", "1e2", "999999h"])
def test_other_text_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as 120h or 5d") as caught:
        parse_lead_time(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("lead_time", "text"),
    [
        (np.timedelta64(120, "h"), "120h"),
        (np.timedelta64(5, "D"), "120h"),
        (np.timedelta64(21600, "s"), "6h"),
        (np.timedelta64(90, "m"), "1.5h"),
    ],
)
def test_a_lead_time_of_any_resolution_is_formatted_in_hours(lead_time: np.timedelta64, text: str) -> None:
    assert format_lead_time(lead_time) == text


@pytest.mark.parametrize("hours", [6, 24, 120, 99_999])
def test_a_formatted_lead_time_is_parsed_back(hours: int) -> None:
    assert parse_lead_time(format_lead_time(np.timedelta64(hours, "h"))) == np.timedelta64(hours, "h")


@pytest.mark.parametrize(
    "text", ["2018-09-15T00", "2018-09-15", "2018-09-15T00:00Z", "2018-09-15T02:00+02:00", "2018-09-14T19:00:00-05:00"]
)
def test_a_time_with_a_zone_becomes_utc(text: str) -> None:
    assert parse_time(text) == np.datetime64("2018-09-15T00", "s")


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2018-13-01", "15.09.2018", "2018-09-15T25", "0001-01-01T00+05:00", "2018-09-15+02:00"],
)
def test_text_that_is_not_a_time_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as 2018-09-15T00") as caught:
        parse_time(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["2018-09-15T06:00Z", "2018-09-15T06:00:00+00:00", "2018-09-15T08:00+02:00"])
def test_an_interval_takes_times_with_a_zone_and_is_written_in_utc(text: str) -> None:
    assert str(Interval.parse(text)) == "2018-09-15T06:00:00Z"
    assert str(Interval.parse(f"{text}/..")) == "2018-09-15T06:00:00Z/.."
    assert str(Interval.parse("../..")) == "../.."


@pytest.mark.parametrize("text", ["2018-09-15+02:00", "2018-09-15T06:00 02:00", "6h", "/", "2018-09-15T06+2"])
def test_other_text_is_no_interval(text: str) -> None:
    with pytest.raises(ConfigurationError, match="such as 2026-04-20T06:00Z"):
        Interval.parse(text)
