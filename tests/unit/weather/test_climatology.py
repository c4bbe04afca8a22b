import numpy as np
import pytest

from weather.climatology import choose_climatology, climatology_indices
from weather.errors import TrainingDataError

TIMES = np.arange("1999-01-01", "2004-01-01", np.timedelta64(6, "h"), dtype="datetime64[s]")


@pytest.mark.parametrize("date", ["2003-07-01T00", "2003-01-03T12", "2003-12-31T18"])
def test_states_are_of_the_given_years_and_near_the_date(date: str) -> None:
    time = np.datetime64(date, "s")
    chosen = TIMES[climatology_indices(TIMES, time, (2000, 2001), 50)]
    assert len(np.unique(chosen)) == 50
    years = chosen.astype("datetime64[Y]").astype(int) + 1970
    assert set(years.tolist()) == {2000, 2001}
    days = [
        min(
            abs((state - np.datetime64(f"{year}{date[4:]}", "s")) / np.timedelta64(1, "D"))
            for year in range(1999, 2004)
        )
        for state in chosen
    ]
    assert max(days) <= 36
    assert max(days) > 30


def test_states_are_evenly_spread() -> None:
    indices = climatology_indices(TIMES, np.datetime64("2003-07-01T00", "s"), (2000,), 50)
    gaps = np.diff(indices)
    assert gaps.max() - gaps.min() <= 1


def test_too_few_states_are_refused_with_their_number() -> None:
    with pytest.raises(TrainingDataError, match=r"needs 50 states of 2010 .* Got: 0\."):
        climatology_indices(TIMES, np.datetime64("2003-07-01T00", "s"), (2010,), 50)


@pytest.mark.parametrize("wanted", [["2003-07-01T00"], ["2003-01-03T12", "2002-12-31T18", "2003-08-01T00"]])
def test_a_record_of_whole_years_has_a_climatology_of_each_date(wanted: list[str]) -> None:
    assert choose_climatology(TIMES, np.array(wanted, "datetime64[s]"), (2000, 2001)) == "seasonal"


def test_a_record_without_a_season_is_pooled() -> None:
    periods = ("2000-01-01/2000-01-20", "2001-01-05/2001-01-09")
    winter, summer = np.array(["2003-01-10T00", "2003-07-01T00"], "datetime64[s]")
    assert choose_climatology(TIMES, [winter], periods) == "seasonal"
    assert choose_climatology(TIMES, [winter, summer], periods) == "pooled"
    first, second = (climatology_indices(TIMES, time, periods, window_days=None) for time in (winter, summer))
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) == 50
    assert [str(TIMES[first[end]]) for end in (0, -1)] == ["2000-01-01T00:00:00", "2001-01-09T18:00:00"]


def test_a_pooled_climatology_of_too_few_frames_is_refused() -> None:
    with pytest.raises(TrainingDataError, match=r"needs 50 states of 2000-01-01/2000-01-12\. Got: 48\."):
        climatology_indices(TIMES, TIMES[0], ("2000-01-01/2000-01-12",), window_days=None)
