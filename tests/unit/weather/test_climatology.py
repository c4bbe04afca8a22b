import numpy as np
import pytest

from weather.climatology import climatology_indices
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
