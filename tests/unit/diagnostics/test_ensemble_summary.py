import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from diagnostics.ensemble_summary import compute_summary
from weather.grids import Grid
from weather.stores.layout import Layout
from weather.stores.summary_layout import SummaryLayout
from weather.stores.summary_request import Summary, Threshold

GRID = Grid((67.5, 22.5, -22.5, -67.5), (0.0, 60.0, 120.0, 180.0, 240.0, 300.0))
QUANTILES = (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9, 1.0)
EVENTS = (
    Threshold(variable="wind_speed_10m", value=5.0),
    Threshold(variable="wind_speed_10m", value=10.0),
    Threshold(variable="u10", op="<", value=0.0),
)


def _layout(members: int, variables: tuple[str, ...] = ("u10", "v10"), exceedance: object = EVENTS) -> SummaryLayout:
    ensemble = Layout(
        np.datetime64("2018-09-15", "s"), 1, np.timedelta64(6, "h"), tuple(range(members)), 2, variables, GRID
    )
    return SummaryLayout(ensemble, Summary.model_validate({"quantiles": QUANTILES, "exceedance": exceedance}))


def _members(count: int, *, ties: bool = False) -> NDArray[np.float32]:
    rng = np.random.default_rng(count)
    fields = (8 * rng.standard_normal((count, 2, *GRID.shape), np.float32)).astype(np.float32)
    return np.round(fields / 5) * np.float32(5) if ties else fields


@pytest.mark.parametrize("count", [2, 3, 16, 50])
@pytest.mark.parametrize("ties", [False, True])
def test_every_statistic_equals_numpys(count: int, ties: bool) -> None:
    ensemble = _members(count, ties=ties)
    used, products = compute_summary([ensemble[:2], ensemble[2:]], _layout(count))
    speed = np.hypot(ensemble[:, 0], ensemble[:, 1])
    assert used == count
    for name, members in (("u10", ensemble[:, 0]), ("v10", ensemble[:, 1]), ("wind_speed_10m", speed)):
        exact = members.astype(np.float64)
        expected = {
            "mean": exact.mean(axis=0),
            "spread": exact.std(axis=0, ddof=1),
            "quantiles": np.quantile(exact, QUANTILES, axis=0),
        }
        for statistic, values in expected.items():
            np.testing.assert_allclose(products[f"{name}_{statistic}"], values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        products["wind_speed_10m_above"], np.stack([(speed > value).mean(axis=0) for value in (5.0, 10.0)]), rtol=1e-6
    )
    np.testing.assert_allclose(products["u10_below"][0], (ensemble[:, 0] < 0).mean(axis=0), rtol=1e-6)
    assert all(values.dtype == np.float32 for values in products.values())


def test_blocks_of_one_latitude_give_the_same_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compute_summary([_members(5)], _layout(5))[1]
    monkeypatch.setattr("diagnostics.ensemble_summary._BLOCK_BYTES", 1)
    for name, values in compute_summary([_members(5)], _layout(5))[1].items():
        np.testing.assert_array_equal(values, whole[name])


def test_statistics_of_pressure_have_the_precision_of_float32() -> None:
    rng = np.random.default_rng(0)
    ensemble = (101_325 + 500 * rng.standard_normal((50, 1, *GRID.shape))).astype(np.float32)
    _, products = compute_summary([ensemble], _layout(50, ("msl",), ()))
    exact = ensemble[:, 0].astype(np.float64)
    np.testing.assert_allclose(products["msl_mean"], exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(products["msl_spread"], exact.std(axis=0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(products["msl_quantiles"], np.quantile(exact, QUANTILES, axis=0), rtol=1e-6)
    assert set(products) == {"msl_mean", "msl_spread", "msl_quantiles"}


def test_a_member_that_is_not_finite_is_left_out_of_the_fields_and_the_count() -> None:
    ensemble = _members(5)
    ensemble[3, 1, 2, 2] = np.nan
    used, products = compute_summary([ensemble], _layout(5))
    rest, expected = compute_summary([np.delete(ensemble, 3, axis=0)], _layout(4))
    assert (used, rest) == (4, 4)
    for name, values in expected.items():
        np.testing.assert_array_equal(products[name], values)


def test_the_spread_of_one_member_and_all_fields_of_no_member_are_nan() -> None:
    used, products = compute_summary([_members(1)], _layout(1))
    assert used == 1
    np.testing.assert_array_equal(products["u10_mean"], _members(1)[0, 0])
    np.testing.assert_array_equal(products["u10_quantiles"], np.repeat(_members(1)[:, 0], len(QUANTILES), axis=0))
    assert np.isnan(products["u10_spread"]).all()
    used, products = compute_summary([np.full_like(_members(3), np.nan)], _layout(3))
    assert used == 0
    assert all(np.isnan(values).all() for values in products.values())


def test_the_direction_is_that_which_the_mean_wind_blows_from() -> None:
    ensemble = np.zeros((2, 2, *GRID.shape), np.float32)
    winds = {0: ((0, -5), (0, -1)), 1: ((-5, 0), (-1, 0)), 2: ((0, 5), (0, 1)), 3: ((5, 0), (1, 0)), 4: ((1, -1),) * 2}
    for column, vectors in winds.items():
        for member, vector in enumerate(vectors):
            ensemble[member, :, 0, column] = vector
    ensemble[:, 1, 0, 5], ensemble[:, 0, 0, 5] = -10, 1e-7
    _, products = compute_summary([ensemble], _layout(2))
    direction = products["wind_direction_10m"]
    np.testing.assert_allclose(direction[0], [0, 90, 180, 270, 315, 0], atol=1e-4)
    assert ((direction >= 0) & (direction < 360)).all()


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_tensors_have_the_summary_of_arrays(count: int) -> None:
    """A member that is not finite is left out of both; only the order of float64 sums may differ."""
    ensemble = np.concatenate([_members(count), np.full_like(_members(1), np.nan)])
    used, expected = compute_summary([ensemble[:1], ensemble[1:]], _layout(count + 1))
    found_used, found = compute_summary(
        [torch.from_numpy(ensemble[:1]), torch.from_numpy(ensemble[1:])], _layout(count + 1)
    )
    assert found_used == used == count
    for name, values in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-6, err_msg=name)
