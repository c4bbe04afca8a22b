import numpy as np
import pytest
import torch

from diagnostics.scores.probability import (
    brier_biased,
    brier_fair,
    coverage,
    exceedance_probability,
    pit_gaussian,
    rank_histogram,
    ranks,
    reliability,
)


def test_the_probability_is_the_share_of_members_above() -> None:
    ensemble = np.array([[1.0, 5.0], [3.0, 5.0], [4.0, 0.0], [9.0, 0.0]])
    assert exceedance_probability(ensemble, 2.5).tolist() == [0.75, 0.5]
    assert exceedance_probability(torch.from_numpy(ensemble), 2.5).tolist() == [0.75, 0.5]


def test_the_brier_score_is_its_definition() -> None:
    ensemble = np.array([[1.0, 5.0], [3.0, 5.0], [4.0, 0.0], [9.0, 0.0]])
    assert brier_biased(ensemble, np.array([3.0, 1.0]), 2.5).tolist() == [0.0625, 0.25]
    assert brier_fair(ensemble, np.array([3.0, 1.0]), 2.5).tolist() == pytest.approx([0.0, 0.25 - 0.25 / 3])


@pytest.mark.parametrize("members", [2, 5, 40])
def test_the_fair_score_does_not_depend_on_the_number_of_members(members: int) -> None:
    """A perfect forecast of probability p scores p(1−p)."""
    rng = np.random.default_rng(0)
    ensemble, truth = rng.uniform(size=(members, 200_000)), rng.uniform(size=200_000)
    assert brier_fair(ensemble, truth, 0.7).mean() == pytest.approx(0.21, abs=0.003)
    assert brier_biased(ensemble, truth, 0.7).mean() == pytest.approx(0.21 * (1 + 1 / members), abs=0.003)


def test_nan_propagates() -> None:
    ensemble, truth = np.ones((3, 2)), np.ones(2)
    ensemble[1, 0] = truth[1] = np.nan
    assert np.isnan(brier_biased(ensemble, truth, 0.5)).all()
    assert np.isnan(brier_fair(ensemble, truth, 0.5)).all()


@pytest.mark.parametrize("missing", ["member", "truth"])
def test_reliability_refuses_nan(missing: str) -> None:
    ensemble, truth = np.ones((3, 2)), np.ones(2)
    (ensemble[1] if missing == "member" else truth)[0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        reliability(ensemble, truth, 0.5)


def test_a_perfect_forecast_has_a_diagonal_reliability_diagram() -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(size=300_000)
    ensemble, truth = rng.uniform(size=(10, 300_000)) < level, rng.uniform(size=300_000) < level
    forecast, occurred = reliability(ensemble.astype(float), truth.astype(float), 0.5)
    assert forecast.sum() == 300_000
    expected = (np.arange(11) + 1) / 12
    np.testing.assert_allclose(occurred / forecast, expected, atol=0.02)


def test_a_single_member_has_no_fair_score() -> None:
    with pytest.raises(ValueError, match="at least 2 members"):
        brier_fair(np.ones((1, 2)), np.ones(2), 0.5)


def _draw() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_rank_counts_the_members_below() -> None:
    ensemble = np.array([[3.0], [1.0], [2.0]])
    for truth, expected in ((0.5, 0), (1.5, 1), (2.5, 2), (3.5, 3)):
        assert ranks(ensemble, np.array([truth]), _draw()).tolist() == [expected]


def test_a_reliable_ensemble_has_a_flat_histogram() -> None:
    rng = _draw()
    counts = rank_histogram(rng.normal(size=(9, 200_000)), rng.normal(size=200_000), rng)
    assert counts.sum() == 200_000
    assert np.abs(counts / 20_000 - 1).max() < 0.03


def test_ties_are_broken_evenly() -> None:
    counts = rank_histogram(np.zeros((4, 100_000)), np.zeros(100_000), _draw())
    assert np.abs(counts / 20_000 - 1).max() < 0.03


def test_too_little_spread_fills_the_outer_ranks() -> None:
    rng = _draw()
    counts = rank_histogram(0.3 * rng.normal(size=(9, 20_000)), rng.normal(size=20_000), rng)
    assert min(counts[0], counts[-1]) > 3 * counts[1:-1].max()


def test_the_histogram_sums_the_weights_of_points() -> None:
    counts = rank_histogram(np.array([[1.0, 1.0]]), np.array([0.0, 2.0]), _draw(), weights=np.array([0.25, 3.0]))
    assert counts.tolist() == [0.25, 3.0]


def test_ranks_refuse_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        ranks(np.array([[np.nan], [1.0]]), np.array([0.0]), _draw())


def test_the_pit_propagates_nan_and_coverage_refuses_it() -> None:
    pit = pit_gaussian(np.zeros(3), np.ones(3), np.array([0.0, np.nan, 1.0]))
    assert np.isnan(pit).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="NaN"):
        coverage(pit, 0.5)


def test_the_pit_of_a_reliable_gaussian_is_uniform() -> None:
    rng = _draw()
    mean, std = rng.normal(size=100_000), rng.uniform(0.5, 2, 100_000)
    pit = pit_gaussian(mean, std, mean + std * rng.normal(size=100_000))
    assert np.abs(np.histogram(pit, 10, (0, 1))[0] / 10_000 - 1).max() < 0.04
    assert pit_gaussian(np.array([0.0]), np.array([1.0]), np.array([1.6448536]))[0] == pytest.approx(0.95)
    for level in (0.5, 0.9):
        assert coverage(pit, level).mean() == pytest.approx(level, abs=0.005)
