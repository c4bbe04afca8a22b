import numpy as np
import pytest
import torch

from diagnostics.scores.probability import brier_biased, brier_fair, exceedance_probability, reliability


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
