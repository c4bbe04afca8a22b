import numpy as np
import pytest

from diagnostics.evaluation.resampling import aggregate_numbers, count_block_starts, derive_scores, resample_weights


@pytest.mark.parametrize(("starts", "block"), [(1, 1), (7, 1), (12, 3), (13, 5), (4, 9)])
def test_a_resample_has_as_many_starts_in_blocks_of_neighbours(starts: int, block: int) -> None:
    weights = resample_weights(starts, block, seed=0)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    counts = weights * starts
    np.testing.assert_allclose(counts, counts.round())
    np.testing.assert_allclose(weights.mean(axis=0), 1 / starts, rtol=0.2)
    if block > 1 and starts > 2 * block:
        isolated = (counts > 0) & (np.roll(counts, 1, axis=1) == 0) & (np.roll(counts, -1, axis=1) == 0)
        assert isolated.sum(axis=1).max() <= 1  # only the last block of a resample may be cut short


def test_blocks_widen_the_intervals_of_correlated_starts_to_what_they_are() -> None:
    """The mean of an AR(1) series of correlation 0.9 has a variance of about 19 times that of independent values."""
    rng, hits, narrow = np.random.default_rng(0), 0, 0
    for _ in range(30):
        series = np.zeros(200)
        for step in range(1, 200):
            series[step] = 0.9 * series[step - 1] + rng.normal()
        for block in (1, 30):
            limits = aggregate_numbers(
                [{"score": float(value)} for value in series], ["score"], resample_weights(200, block, seed=1)
            )["intervals"]["score"]
            covered = limits[0] <= 0 <= limits[1]
            hits, narrow = (hits + covered, narrow) if block == 30 else (hits, narrow + covered)
    assert narrow < 20
    assert hits > 22


def test_a_block_has_the_starts_of_some_days() -> None:
    daily = np.datetime64("2001-01-01", "s") + np.arange(30) * np.timedelta64(1, "D")
    assert count_block_starts(daily, 5.0) == 5
    assert count_block_starts(daily[::12], 5.0) == 1
    assert count_block_starts(daily[:1], 5.0) == 1
    runs = np.concatenate([daily, daily + np.timedelta64(900, "D")])
    assert count_block_starts(runs, 2.5) == 3


def test_ratios_and_end_bins_follow_from_the_means() -> None:
    means = {
        "crps_fair": 0.3, "crps_biased": 0.4, "squared_error": 1.0, "variance": 0.64, "persistence_mae": 1.5,
        "climatology_crps": 0.6, "ranks": [0.3, 0.2, 0.1, 0.4], "spectrum": [1.0, 3.0], "spectrum_truth": [2.0, 2.0],
    }  # fmt: skip  # one value a line would hide the table
    scores = derive_scores({name: np.array(value) for name, value in means.items()}, members=3)
    assert scores["crps_of_persistence"] == pytest.approx(0.2)
    assert scores["crps_of_climatology"] == pytest.approx(0.5)
    assert (scores["rank_lowest"], scores["rank_highest"]) == pytest.approx((1.2, 1.6))
    assert scores["spectrum_deviation"] == pytest.approx(1.0)
