import numpy as np
import pytest

from weather.errors import ConfigurationError
from weather.lead_times import parse_lead_time, short_lead_time


@pytest.mark.parametrize(
    ("text", "hours"), [("120h", 120), ("5d", 120), ("120", 120), (" 6h ", 6), ("1d", 24), ("10d", 240), ("0h", 0)]
)
def test_hours_and_days_become_a_lead_time(text: str, hours: int) -> None:
    assert parse_lead_time(text) == np.timedelta64(hours, "h")


@pytest.mark.parametrize("text", ["", "h", "5 d", "-6h", "1.5d", "6m", "5w", "120hh", "six hours", "1e2", "999999h"])
def test_anything_else_is_refused_with_what_was_got(text: str) -> None:
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
def test_a_lead_time_is_shown_in_hours_whatever_its_resolution(lead_time: np.timedelta64, text: str) -> None:
    assert short_lead_time(lead_time) == text


@pytest.mark.parametrize("hours", [6, 24, 120, 99_999])
def test_what_is_shown_is_read_back(hours: int) -> None:
    assert parse_lead_time(short_lead_time(np.timedelta64(hours, "h"))) == np.timedelta64(hours, "h")
