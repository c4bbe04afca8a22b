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
def test_a_record_of_whole_years_has_a_climatology_by_date(wanted: list[str]) -> None:
    times = np.array(wanted, "datetime64[s]")
    choice = choose_climatology(TIMES, times, (2000, 2001))
    assert choice.kind == "by date"
    for time in times:
        np.testing.assert_array_equal(choice.indices(time), climatology_indices(TIMES, time, (2000, 2001)))
    assert str(choice) == "by date: 50 of the 2924 frames of 2000–2001, near each date"


def test_a_record_without_the_season_has_a_pooled_climatology_that_is_the_same_for_all_dates() -> None:
    periods = ("2000-01-01/2000-01-20", "2001-01-05/2001-01-09")
    wanted = np.array(["2003-01-10T00", "2003-07-01T00"], "datetime64[s]")
    choice = choose_climatology(TIMES, wanted, periods)
    assert choice.kind == "pooled"
    first, second = (choice.indices(time) for time in wanted)
    np.testing.assert_array_equal(first, second)
    chosen = TIMES[first]
    assert len(np.unique(chosen)) == 50
    assert (chosen[0], chosen[-1]) == (np.datetime64("2000-01-01T00"), np.datetime64("2001-01-09T18"))
    assert str(choice).startswith("pooled: 50 of the 100 frames of 2000-01-01/2000-01-20, 2001-01-05/2001-01-09")
    assert choose_climatology(TIMES, wanted[:1], periods).kind == "by date"


def test_a_climatology_of_too_few_frames_is_refused() -> None:
    with pytest.raises(TrainingDataError, match=r"needs 50 states of 2000-01-01/2000-01-12\. Got: 48\."):
        choose_climatology(TIMES, TIMES[:1], ("2000-01-01/2000-01-12",))
