import numpy as np
import pytest

from training.evaluation.season import Season

TIMES = np.arange("1999-01-01", "2003-01-01", np.timedelta64(30, "h"), dtype="datetime64[s]")
YEAR = 365.24219


def _fields(times: np.ndarray, number: int) -> np.ndarray:
    """Return fields (time, 1, 2, 3) with a wave of which there are `number` in a year."""
    days = (times - np.datetime64("2000-01-01T00", "s")) / np.timedelta64(1, "D")
    amplitude = np.arange(1.0, 7.0).reshape(1, 2, 3)
    return (3 + amplitude * np.cos(2 * np.pi * number * days / YEAR - 0.7)[:, None, None, None]).astype(np.float32)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_wave_of_a_year_and_its_first_fractions_are_found_in_noise(number: int) -> None:
    season, fields = Season(1, 2, 3), _fields(TIMES, number)
    noise = np.random.default_rng(1).normal(size=fields.shape).astype(np.float32)
    for part in np.array_split(np.arange(len(TIMES)), 5):
        season.add(TIMES[part], (fields + noise)[part])
    later = np.array(["2026-02-03T06", "2026-09-10T18"], "datetime64[s]")
    np.testing.assert_allclose(season.at(later), _fields(later, number), atol=0.3)


def test_what_is_faster_than_a_season_is_left_out() -> None:
    season = Season(1, 2, 3)
    season.add(TIMES, _fields(TIMES, 9))
    np.testing.assert_allclose(season.at(TIMES), 3, atol=0.1)


def test_a_few_dates_have_a_finite_season() -> None:
    season, times = Season(1, 2, 3), TIMES[:2]
    season.add(times, _fields(times, 1))
    assert np.isfinite(season.at(TIMES)).all()
    np.testing.assert_allclose(season.at(times), _fields(times, 1), rtol=1e-3)
