from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from diagnostics.scores.crps import crps_biased, crps_fair
from tests.helpers import lazy_module
from tests.unit.benchmarks.conftest import Benchmark

scoringrules, xskillscore, scores = (lazy_module(name) for name in ("scoringrules", "xskillscore", "benchmarks.scores"))


@pytest.fixture
def ensemble_and_truth() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(6, 3, 4)).astype(np.float32), draw.normal(size=(3, 4)).astype(np.float32)


def test_ratios_compare_the_slower_estimator_of_warmcast_with_the_fastest_of_each_library(
    bench: Callable[[str], Benchmark],
) -> None:
    result = bench("scores").result
    seconds = {row["CRPS by"]: row["seconds"] for row in result["rows"]}
    ours = max(seconds["warmcast fair"], seconds["warmcast biased"])
    rules = [value for name, value in seconds.items() if name.startswith("scoringrules")]
    assert len(rules) == 4
    assert result["xskillscore_ratio"] == pytest.approx(seconds["xskillscore"] / ours)
    assert result["scoringrules_ratio"] == pytest.approx(min(rules) / ours)


def test_the_biased_estimator_is_that_of_xskillscore(
    ensemble_and_truth: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    ensemble, truth = ensemble_and_truth
    theirs = xskillscore.crps_ensemble(
        xr.DataArray(truth, dims=("y", "x")), xr.DataArray(ensemble, dims=("member", "y", "x")), dim=[]
    )
    np.testing.assert_allclose(crps_biased(ensemble, truth), theirs.values, rtol=1e-5, atol=1e-6)


def test_the_fair_estimator_is_that_of_scoringrules(
    ensemble_and_truth: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    ensemble, truth = ensemble_and_truth
    theirs = scoringrules.crps_ensemble(truth, ensemble, m_axis=0, estimator="fair", backend="numpy")
    np.testing.assert_allclose(crps_fair(ensemble, truth), theirs, rtol=1e-5, atol=1e-6)


def test_extra_memory_includes_the_result_and_grows_with_the_input() -> None:
    draw = np.random.default_rng(0)
    peaks = []
    for width in (1000, 4000):
        ensemble, truth = draw.normal(size=(8, 100, width)), draw.normal(size=(100, width))
        peaks.append(scores.extra_bytes(ensemble, truth))
        assert peaks[-1] >= truth.nbytes
    assert peaks[0] < peaks[1]
