import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diagnostics.scores.crps import crps_biased, crps_fair
from tests.helpers import lazy_module

scoringrules, xskillscore = lazy_module("scoringrules"), lazy_module("xskillscore")


def _case(members: int, shape: tuple[int, ...] = (3, 40), *, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    ensemble, truth = rng.normal(size=(members, *shape)), rng.normal(size=shape)
    return (ensemble.round(1), truth.round(1)) if ties else (ensemble, truth)


def _brute_force(ensemble: np.ndarray, truth: np.ndarray, pairs: int) -> np.ndarray:
    distances = sum(abs(a - b) for i, a in enumerate(ensemble) for b in ensemble[:i])
    return np.abs(ensemble - truth).mean(axis=0) - distances / pairs


@pytest.mark.parametrize("members", [2, 3, 16, 50])
@pytest.mark.parametrize("ties", [False, True])
def test_both_estimators_equal_their_double_sums(members: int, ties: bool) -> None:
    ensemble, truth = _case(members, ties=ties)
    np.testing.assert_allclose(
        crps_fair(ensemble, truth), _brute_force(ensemble, truth, members * (members - 1)), atol=1e-12
    )
    np.testing.assert_allclose(crps_biased(ensemble, truth), _brute_force(ensemble, truth, members**2), atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("members", [2, 20, 51])
def test_scores_equal_those_of_other_libraries(members: int, ties: bool) -> None:
    ensemble, truth = _case(members, (3, 400), ties=ties)
    assert ties == bool((np.diff(np.sort(ensemble, axis=0), axis=0) == 0).any())
    assert ties == bool((ensemble == truth).any())
    fair = scoringrules.crps_ensemble(truth, ensemble, m_axis=0, estimator="fair", backend="numpy")
    np.testing.assert_allclose(crps_fair(ensemble, truth), fair, atol=1e-6)
    biased = xskillscore.crps_ensemble(
        xr.DataArray(truth, dims=("a", "b")), xr.DataArray(ensemble, dims=("member", "a", "b")), dim=[]
    )
    np.testing.assert_allclose(crps_biased(ensemble, truth), biased, atol=1e-6)


def test_a_gaussian_ensemble_scores_its_closed_form() -> None:
    """σ[z(2Φ(z)−1) + 2φ(z) − 1/√π] for any truth; σ/√π in the mean for a reliable one, (1 + 1/M) that if biased."""
    rng, std, points, members = np.random.default_rng(0), 2.0, 200_000, 10
    ensemble = std * rng.normal(size=(members, points))
    for z in (0.0, 0.7, -2.0):
        cdf, pdf = 0.5 * (1 + math.erf(z / math.sqrt(2))), math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        exact = std * (z * (2 * cdf - 1) + 2 * pdf - 1 / math.sqrt(math.pi))
        assert crps_fair(ensemble, np.full(points, std * z)).mean() == pytest.approx(exact, rel=5e-3)
    truth = std * rng.normal(size=points)
    perfect = std / math.sqrt(math.pi)
    assert crps_fair(ensemble, truth).mean() == pytest.approx(perfect, rel=1e-2)
    assert crps_biased(ensemble, truth).mean() == pytest.approx((1 + 1 / members) * perfect, rel=1e-2)


def test_a_single_member_scores_its_absolute_error_and_has_no_fair_score() -> None:
    ensemble, truth = _case(1)
    np.testing.assert_allclose(crps_biased(ensemble, truth), np.abs(ensemble[0] - truth))
    with pytest.raises(ValueError, match=r"at least 2 members\. Got: 1"):
        crps_fair(ensemble, truth)


@settings(max_examples=30, deadline=None)
@given(
    arrays(np.float64, (5, 4), elements=st.floats(-100, 100)),
    st.floats(-10, 10).filter(lambda factor: abs(factor) > 1e-3),
    st.floats(-50, 50),
)
def test_scores_scale_with_the_unit_for_any_origin(values: np.ndarray, factor: float, shift: float) -> None:
    ensemble, truth = values[:4], values[4]
    moved = crps_fair(factor * ensemble + shift, factor * truth + shift)
    np.testing.assert_allclose(moved, abs(factor) * crps_fair(ensemble, truth), atol=1e-9)


def test_the_order_of_members_does_not_matter() -> None:
    ensemble, truth = _case(9)
    np.testing.assert_allclose(crps_fair(ensemble[::-1], truth), crps_fair(ensemble, truth), atol=1e-14)


def test_nan_propagates_to_its_own_point_only() -> None:
    ensemble, truth = _case(6)
    expected = crps_fair(ensemble, truth)
    ensemble[3, 0, 5] = truth[1, 7] = np.nan
    got = crps_fair(ensemble, truth)
    assert np.isnan(got[0, 5])
    assert np.isnan(got[1, 7])
    rest = ~np.isnan(got)
    assert rest.sum() == got.size - 2
    np.testing.assert_array_equal(got[rest], expected[rest])


def test_a_large_offset_does_not_reduce_precision() -> None:
    ensemble, truth = (array.astype(np.float32) for array in _case(20))
    shifted = crps_fair(ensemble + np.float32(1024), truth + np.float32(1024))
    np.testing.assert_allclose(shifted, crps_fair(ensemble, truth), atol=2e-4)


def test_torch_and_numpy_give_equal_scores_of_their_own_kind_and_precision() -> None:
    ensemble, truth = _case(12)
    got = crps_fair(torch.from_numpy(ensemble).float(), torch.from_numpy(truth).float())
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), crps_fair(ensemble, truth), atol=1e-6)


def test_more_points_than_a_block_give_the_same_scores() -> None:
    ensemble, truth = _case(50, (3, 7000))
    parts = [crps_fair(ensemble[:, row], truth[row]) for row in range(3)]
    np.testing.assert_allclose(crps_fair(ensemble, truth), np.stack(parts), atol=1e-13)


def test_the_error_for_mismatched_shapes_names_them() -> None:
    ensemble, truth = _case(4)
    with pytest.raises(ValueError, match=r"Got: \(4, 3, 40\) and \(40, 3\)"):
        crps_fair(ensemble, truth.T)
