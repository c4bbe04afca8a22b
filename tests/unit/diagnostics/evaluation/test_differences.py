from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from diagnostics.evaluation.comparison import References, combine_starts, score_lead_time
from diagnostics.evaluation.differences import compare_starts
from diagnostics.evaluation.resampling import resample_weights
from weather.grids import Grid

GRID = Grid.from_coordinates(np.linspace(-78.75, 78.75, 8), np.arange(16) * 22.5)
TIME = np.datetime64("2001-01-01T06")


def _starts(count: int, members: int, noise: float, seed: int = 0) -> list[Mapping[int, Mapping[str, Any]]]:
    """Forecasts of errors of two sizes, which depend on the start much more than on the forecast."""
    starts = []
    for start in range(count):
        rng = np.random.default_rng([seed, start])
        truth, size = rng.normal(size=(2, *GRID.shape)), np.exp(rng.normal())
        ensemble = truth + size * noise * rng.normal(size=(members, 2, *GRID.shape))
        record = score_lead_time(
            ensemble.astype(np.float32), truth.astype(np.float32), References(), ("u10", "v10"), (1.0, 1.0), GRID, TIME,
            (0, start),
        )  # fmt: skip  # the arguments fit on two lines
        starts.append({6: record})
    return starts


def test_the_same_forecast_has_no_difference() -> None:
    starts = _starts(6, 4, 1.0)
    result = compare_starts(starts, starts, (4, 4), resample_weights(6, 1, 0))
    for rows in (*result["scores"].values(), *result["energy"].values()):
        assert rows[0].pop("lead_hours") == 6
        for difference in rows[0].values():
            assert difference["difference"] == difference["relative"] == 0
            assert difference["interval"] == difference["relative_interval"] == [0, 0]


def test_pairs_show_a_difference_that_the_intervals_of_each_forecast_hide() -> None:
    better, worse = _starts(20, 5, 1.0), _starts(20, 5, 1.1)
    result = compare_starts(better, worse, (5, 5), resample_weights(20, 1, 0))
    crps = result["scores"]["u10"][0]["crps_fair"]
    assert crps["relative"] == pytest.approx(1 / 1.1 - 1, abs=1e-3)
    low, high = crps["relative_interval"]
    assert low <= crps["relative"] <= high < -0.08
    means = [np.mean([start[6]["scores"]["u10"]["crps_fair"] for start in starts]) for starts in (better, worse)]
    assert crps["difference"] == pytest.approx(means[0] - means[1])
    assert result["energy"]["all variables"][0]["energy_score"]["relative"] == pytest.approx(1 / 1.1 - 1, abs=1e-3)
    back = compare_starts(worse, better, (5, 5), resample_weights(20, 1, 0))["scores"]["u10"][0]["crps_fair"]
    assert back["interval"] == pytest.approx([-limit for limit in crps["interval"][::-1]])


def test_the_spread_skill_ratio_allows_for_the_number_of_members_of_each() -> None:
    few, many = _starts(4, 3, 1.0), _starts(4, 30, 1.0)
    weights = resample_weights(4, 1, 0)
    result = compare_starts(few, many, (3, 30), weights)["scores"]["u10"][0]["spread_skill"]
    ratios = [
        combine_starts(starts, count, weights)["scores"]["u10"][0]["spread_skill"]
        for starts, count in ((few, 3), (many, 30))
    ]
    assert result["difference"] == pytest.approx(ratios[0] - ratios[1])
    assert result["relative"] == pytest.approx(ratios[0] / ratios[1] - 1)


def test_one_start_has_no_intervals() -> None:
    starts = _starts(1, 3, 1.0)
    rows = compare_starts(starts, starts, (3, 3), resample_weights(1, 1, 0))["scores"]["u10"]
    assert set(rows[0]["rmse"]) == {"difference", "relative"}
