import numpy as np
import pytest

from diagnostics.scores.ranks import coverage, pit_gaussian, rank_histogram, ranks


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
