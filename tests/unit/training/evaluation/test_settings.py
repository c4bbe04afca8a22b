from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.testing import tiny_spec
from storage.errors import ConfigurationError
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from training.evaluation.command import select_lead_steps
from training.evaluation.records_file import RecordsFile
from training.evaluation.settings import (
    Evaluation,
    find_natural_years,
    same_date_indices,
    spread_inside,
    start_indices,
)
from weather.errors import TrainingDataError

SETTINGS = Evaluation(years=(2003,), num_starts=4, num_members=2, lead_steps=(1, 3), group_size=2, seed=0)
SIX_HOURS = np.timedelta64(6, "h")


def _daily(first: str, last: str, *missing: str) -> TrainingData:
    """Return frames of zeros at a time step of a day."""
    day, grid = np.timedelta64(1, "D"), tiny_spec().grid.grid
    times = np.arange(np.datetime64(first), np.datetime64(last), day).astype("datetime64[s]")
    times = times[~np.isin(times, np.array(missing, "datetime64[s]"))]
    frames = np.zeros((len(times), 2, *grid.shape), np.float32)
    return TrainingData(MemoryFrames(grid, ("u10", "v10"), times, frames), day)


def test_the_frames_of_a_date_are_as_long_after_new_year() -> None:
    data = _daily("2000-01-01", "2004-01-01")

    def dates(time: str) -> list[str]:
        found = same_date_indices(data, np.datetime64(time, "s"), (2000, 2001, 2010))
        return [str(data.valid_times[index])[:10] if index >= 0 else "none" for index in found]

    assert dates("2003-01-01") == ["2000-01-01", "2001-01-01", "none"]
    assert dates("2003-03-01") == ["2000-02-29", "2001-03-01", "none"]
    assert dates("2000-12-31") == ["2000-12-31", "2002-01-01", "none"]
    late = _daily("2000-01-02", "2002-01-01", "2001-05-05")
    days = [
        same_date_indices(late, np.datetime64(time), (2000, 2001))
        for time in ("2003-01-01", "2000-12-31", "2001-05-05")
    ]
    assert [[str(time)[:10] for time in late.valid_times[found]] for found in days] == [
        ["2000-01-02", "2001-01-01"],
        ["2000-12-31", "2001-12-31"],
        ["2000-05-04", "2001-05-06"],
    ]


def test_the_truth_of_a_start_is_in_the_years_of_the_evaluation() -> None:
    """The data goes on after them, perhaps with years that were trained on."""
    data = _daily("2002-06-01", "2005-01-01")
    starts = start_indices(data, SETTINGS)
    assert str(data.valid_times[starts[-1]])[:10] == "2003-12-28"
    short = replace(SETTINGS, years=("2003-01-01/2003-01-06",), num_starts=5)
    with pytest.raises(TrainingDataError, match="`starts` must be at most 2"):
        start_indices(data, short)


def test_natural_years_are_the_training_years_with_frames_at_all_dates() -> None:
    data = _daily("2000-01-01", "2004-01-01", "2001-01-04", "2001-01-05", "2001-01-06")
    starts = start_indices(data, SETTINGS)
    assert find_natural_years(data, SETTINGS, starts, (2000, 2001, 2002, 2010)) == (2000, 2002)
    assert find_natural_years(data, SETTINGS, starts, (2000, "2002-01-01/2002-05-01")) == ()
    chosen = replace(SETTINGS, natural_years=(2000, 2002, 2003))
    assert find_natural_years(data, chosen, starts, ()) == (2000, 2002, 2003)
    for years in ((2000, 2001), (2002,), (2000, "2002-01-01")):
        with pytest.raises(TrainingDataError, match=r"`natural_years` must be two or more .* holds (2000|2002)"):
            find_natural_years(data, replace(SETTINGS, natural_years=years), starts, ())


def test_starts_of_a_stability_test_are_in_the_middle_of_equal_parts() -> None:
    days = spread_inside(np.arange(365), 12)
    assert days[0] == 15
    assert days[-1] == 349
    assert set(np.diff(days)) == {30, 31}


def test_lead_times_to_score_are_multiples_of_the_time_step_up_to_the_last() -> None:
    assert select_lead_steps("24h", (), SIX_HOURS) == (1, 2, 3, 4)
    assert select_lead_steps("10d", ("10d", "6h", "24h", "1d"), SIX_HOURS) == (1, 4, 40)
    with pytest.raises(ConfigurationError, match=r"`score_at` must be at most `lead_time`, 24h\. Got: 6h, 30h"):
        select_lead_steps("24h", ("6h", "30h"), SIX_HOURS)
    with pytest.raises(ConfigurationError, match="multiple of 6h"):
        select_lead_steps("24h", ("7h",), SIX_HOURS)


def test_a_record_is_in_the_file_at_once_and_read_back(tmp_path: Path) -> None:
    path, settings = tmp_path / "records.jsonl", {"members": 4}
    file = RecordsFile(path, settings)
    assert not path.exists()
    file.append({"start": 1, "lead_times": {6: [1.5]}})
    assert RecordsFile(path, settings).records == file.records == [{"start": 1, "lead_times": {"6": [1.5]}}]
    path.write_text(path.read_text() + '{"start": 2')
    assert RecordsFile(path, settings).records == file.records
    with pytest.raises(ConfigurationError, match="other settings"):
        RecordsFile(path, {"members": 5})
