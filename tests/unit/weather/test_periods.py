import numpy as np
import pytest
from pydantic import TypeAdapter

from storage.errors import ConfigurationError
from weather.periods import Period, Periods, check_apart, format_periods, parse_periods, read_periods, select_times

TIMES = np.arange("2017-12-30", "2026-06-01", np.timedelta64(6, "h"), dtype="datetime64[s]")


@pytest.mark.parametrize(
    ("written", "periods"),
    [
        (2018, (2018,)),
        ("2018", (2018,)),
        ("1979-1981", (1979, 1980, 1981)),
        (["1979 - 1980", 1985, "2026-04-18T00/2026-05-06"], (1979, 1980, 1985, "2026-04-18T00/2026-05-06")),
        ("2026-04-18 / 2026-05-06T12:30", ("2026-04-18/2026-05-06T12:30",)),
        ("2026-04-18T06", ("2026-04-18T06",)),
        ([], ()),
    ],
)
def test_periods_are_read_from_years_ranges_and_dates(written: object, periods: tuple[Period, ...]) -> None:
    assert parse_periods(written) == periods
    assert parse_periods(list(periods)) == periods, "they are read again as they are written"


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("soon", "a period must be years such as 2018 .* Got: 'soon'"),
        ("1979-", "Got: '1979-'"),
        (True, "Got: 'True'"),
        (19.5, r"Got: '19\.5'"),
        ("1982-1979", "range must ascend"),
        ("2026-05-06/2026-04-18", "dates of a period must ascend. Got: 2026-05-06/2026-04-18"),
        ("2026-02-30/2026-03-01", "dates that exist. Got: 2026-02-30/2026-03-01"),
        ("2026-04-18/2026-04-19/2026-04-20", "a period must be"),
        ("2026-04/2026-05", "a period must be"),
    ],
)
def test_other_texts_are_refused_with_what_is_expected(written: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_periods(written)
    with pytest.raises(ConfigurationError, match="`years` is wrong: .*" + named) as refused:
        read_periods([written], "years")
    assert refused.value.location == ("years",)


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        (2018, "2018-01-01T00", "2018-12-31T18"),
        ("2018-09-14/2018-09-19", "2018-09-14T00", "2018-09-19T18"),
        ("2018-09-14T18/2018-09-19T12", "2018-09-14T18", "2018-09-19T12"),
        ("2018-09-14T01/2018-09-19T11:59", "2018-09-14T06", "2018-09-19T06"),
        ("2018-09-14", "2018-09-14T00", "2018-09-14T18"),
        ("2018-09-14T06", "2018-09-14T06", "2018-09-14T06"),
    ],
)
def test_a_period_holds_the_times_from_its_first_to_the_end_of_its_last(period: Period, first: str, last: str) -> None:
    selected = TIMES[select_times(TIMES, (period,))]
    assert (selected[0], selected[-1]) == (np.datetime64(first, "s"), np.datetime64(last, "s"))
    assert len(selected) == (selected[-1] - selected[0]) / np.timedelta64(6, "h") + 1


def test_several_periods_hold_the_times_of_each_and_missing_times_are_in_none() -> None:
    periods = parse_periods(["2019-2021", "2018-03-01/2018-03-09", "2018-03-05/2018-04-01T06"])
    each = [select_times(TIMES, (period,)) for period in periods]
    assert np.array_equal(select_times(TIMES, periods), np.any(each, axis=0))
    assert not select_times(TIMES, ()).any()
    assert not select_times(np.array(["NaT"], "datetime64[s]"), (2018,)).any()


@pytest.mark.parametrize(
    ("train", "test", "shared"),
    [
        ((2017, 2018), (2018, 2019), r"a year may not both train and test: \[2018\]"),
        ((2018,), ("2018-12-31T18/2019-01-05",), "2018 and 2018-12-31T18/2019-01-05"),
        ((2018,), ("2019-01-01/2019-01-05",), "a day or more between them"),
        (("2026-03-01/2026-04-17T18",), ("2026-04-18T00/2026-05-06",), "a day or more between them"),
        (("2026-04-18T00/2026-05-06",), ("2026-03-01/2026-04-18T00",), "Got: 2026-04-18T00/2026-05-06 and"),
        (("2014-01-01/2026-05-06",), ("2018-09-01/2018-09-30",), "a day or more between them"),
    ],
)
def test_periods_of_two_uses_that_overlap_or_touch_are_refused(
    train: tuple[Period, ...], test: tuple[Period, ...], shared: str
) -> None:
    with pytest.raises(ValueError, match=shared):
        check_apart({"train": train, "test": test})


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ((2017,), (2018,)),
        ((2017,), ("2018-01-02/2018-02-01",)),
        (("2014-01-01/2018-08-31", "2018-10-10/2026-04-07"), ("2018-09-10/2018-09-25", "2026-04-18T00/2026-05-31")),
        ((2017,), ()),
    ],
)
def test_years_may_follow_each_other_and_dates_may_with_a_gap(
    train: tuple[Period, ...], test: tuple[Period, ...]
) -> None:
    check_apart({"train": train, "test": test})


@pytest.mark.parametrize(
    ("periods", "text"),
    [
        ((1979, 1980, 1981, 2019), "1979–1981, 2019"),
        ((2000,), "2000"),
        ((2, 1), "1–2"),
        (("2026-04-18/2026-05-06", 2018, "2014-01-01T06"), "2014-01-01T06, 2018, 2026-04-18/2026-05-06"),
    ],
)
def test_periods_are_written_in_order_with_years_as_ranges(periods: tuple[Period, ...], text: str) -> None:
    assert format_periods(periods) == text


def test_years_stay_numbers_in_json_and_dates_texts() -> None:
    adapter = TypeAdapter[tuple[Period, ...]](Periods)
    assert adapter.dump_json(adapter.validate_python(["2017-2018", "2026-04-18"])) == b'[2017,2018,"2026-04-18"]'
