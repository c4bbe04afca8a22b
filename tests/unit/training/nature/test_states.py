import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigurationError
from training.nature.states import NatureRun, StartState, keep_settings

VERSIONS = {"jcm": "3.0.0"}


def _settings(**changes: Any) -> NatureRun:
    return NatureRun(**{"years": 5, "start_states": 2, "first_year": 1988, "seed": 0, **changes})


@given(years=st.integers(1, 9), start_states=st.integers(2, 9))
def test_a_year_without_a_file_lies_between_start_states(years: int, start_states: int) -> None:
    starts = list(_settings(years=years, start_states=start_states).list_start_states())
    assert starts[0].first_year == 1988
    for start, following in pairwise(starts):
        assert len(start.calendar) == years + 1
        assert following.calendar[0] == start.calendar[-1] + 1


def test_start_states_have_streams_of_their_own_in_any_run() -> None:
    seeds = {
        start.random_seed
        for seed in range(20)
        for first_year in range(1980, 1990)
        for start in _settings(seed=seed, first_year=first_year).list_start_states()
    }
    assert len(seeds) == 20 * len({*range(1980, 1990), *range(1986, 1996)})
    assert StartState(3, 1988, 1, is_tiny=False).random_seed == StartState(3, 1988, 9, is_tiny=True).random_seed


def test_the_days_of_the_calendar_are_simulated() -> None:
    start = StartState(0, 1900, 101, is_tiny=False)
    assert start.num_days == (np.datetime64("2001-01-01") - np.datetime64("1899-01-01")).astype(int)


@pytest.mark.parametrize("changes", [{"first_year": 1678}, {"first_year": 2252}, {"start_states": 60}])
def test_years_outside_of_the_range_of_times_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"must give years from 1679 to 2261\. Got: \d+ to \d+"):
        _settings(**changes)


@pytest.mark.parametrize("first_year", [1679, 2250])
def test_the_first_and_the_last_year_are_possible(first_year: int) -> None:
    _settings(first_year=first_year, years=12, start_states=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {}), ({}, {"start_states": 3}), ({"start_states": 1}, {"start_states": 1, "years": 6})],
)
def test_a_folder_takes_the_same_settings_and_more_years(
    before: dict[str, Any], after: dict[str, Any], tmp_path: Path
) -> None:
    keep_settings(tmp_path, _settings(**before), VERSIONS)
    kept = [*_settings(**before).list_start_states()]
    keep_settings(tmp_path, _settings(**after), VERSIONS)
    grown = [*_settings(**after).list_start_states()]
    assert {start.first_year for start in kept} <= {start.first_year for start in grown}


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 1), ("years", 6), ("years", 4), ("start_states", 1), ("first_year", 1989), ("is_tiny", True)],
)
def test_a_folder_with_other_settings_is_refused_and_left_as_it_is(name: str, value: Any, tmp_path: Path) -> None:
    keep_settings(tmp_path, _settings(), VERSIONS)
    before = (tmp_path / "nature-run.json").read_bytes()
    with pytest.raises(ConfigurationError, match=re.escape(f"has a nature run with `{name}` ")):
        keep_settings(tmp_path, _settings(**{name: value}), VERSIONS)
    assert (tmp_path / "nature-run.json").read_bytes() == before


def test_more_years_of_one_start_state_are_not_taken_for_fewer(tmp_path: Path) -> None:
    keep_settings(tmp_path, _settings(start_states=1), VERSIONS)
    with pytest.raises(ConfigurationError, match=r"with `years` 5\. Got: 4"):
        keep_settings(tmp_path, _settings(start_states=1, years=4), VERSIONS)


def test_a_folder_of_other_versions_of_the_model_is_refused(tmp_path: Path) -> None:
    keep_settings(tmp_path, _settings(), VERSIONS)
    with pytest.raises(ConfigurationError, match=r"`versions` {'jcm': '3\.0\.0'}\. Got: {'jcm': '3\.0\.1'}"):
        keep_settings(tmp_path, _settings(), {"jcm": "3.0.1"})
