import numpy as np
import pytest
import scoringrules
import torch

from diagnostics.scores.energy import energy_score_fair

ROWS = np.array([0.2, 1.0, 1.8])


def test_the_score_equals_that_of_another_implementation() -> None:
    rng = np.random.default_rng(0)
    ensemble, truth = rng.normal(size=(8, 2, 3, 4)), rng.normal(size=(2, 3, 4))
    scale = np.sqrt(ROWS / ROWS.sum() / 4)[:, None]
    flat = (ensemble * scale).reshape(8, -1), (truth * scale).reshape(-1)
    expected = scoringrules.es_ensemble(flat[1], flat[0], m_axis=0, v_axis=1, estimator="fair", backend="numpy")
    assert energy_score_fair(ensemble, truth, ROWS) == pytest.approx(float(expected))
    tensors = torch.from_numpy(ensemble), torch.from_numpy(truth)
    assert energy_score_fair(*tensors, ROWS) == pytest.approx(float(expected))


def test_the_score_of_a_single_point_is_the_crps() -> None:
    rng = np.random.default_rng(1)
    ensemble, truth = rng.normal(size=(8, 1, 1, 1)), rng.normal(size=(1, 1, 1))
    expected = scoringrules.crps_ensemble(truth.ravel()[0], ensemble.ravel(), estimator="fair", backend="numpy")
    assert energy_score_fair(ensemble, truth, np.ones(1)) == pytest.approx(float(expected))


def test_the_score_is_sensitive_to_dependence_between_points() -> None:
    """Members whose values are shuffled between members at each point score worse."""
    rng = np.random.default_rng(2)
    waves = rng.normal(size=(20, 1, 1)) * np.ones((1, 3, 40))
    truths = rng.normal(size=200)
    shuffled = rng.permuted(waves, axis=0)
    scores = [
        [energy_score_fair(x, truth * np.ones((3, 40)), np.ones(3)) for truth in truths] for x in (waves, shuffled)
    ]
    assert np.mean(scores[0]) < 0.95 * np.mean(scores[1])


@pytest.mark.parametrize("missing", ["member", "truth"])
def test_nan_propagates(missing: str) -> None:
    ensemble, truth = np.ones((4, 2, 3, 4)), np.ones((2, 3, 4))
    (ensemble[2] if missing == "member" else truth)[1, 0, 3] = np.nan
    assert np.isnan(energy_score_fair(ensemble, truth, ROWS))


def test_a_single_member_has_no_fair_score() -> None:
    with pytest.raises(ValueError, match="at least 2 members"):
        energy_score_fair(np.ones((1, 3, 4)), np.ones((3, 4)), np.ones(3))
