import numpy as np
import pytest
import torch

from diagnostics.scores.multivariate import energy_score_fair, energy_score_tiled, tile_weights, variogram_score
from tests.helpers import lazy_module
from weather.grids import Grid, gaussian_grid

scoringrules = lazy_module("scoringrules")

GRID = Grid.from_coordinates(np.linspace(-82.5, 82.5, 12), np.arange(24) * 15.0)
ROWS = np.array([0.2, 1.0, 1.8])


def test_the_energy_score_equals_that_of_another_implementation() -> None:
    rng = np.random.default_rng(0)
    ensemble, truth = rng.normal(size=(8, 2, 3, 4)), rng.normal(size=(2, 3, 4))
    scale = np.sqrt(ROWS / ROWS.sum() / 4)[:, None]
    flat = (ensemble * scale).reshape(8, -1), (truth * scale).reshape(-1)
    expected = scoringrules.es_ensemble(flat[1], flat[0], m_axis=0, v_axis=1, estimator="fair", backend="numpy")
    assert energy_score_fair(ensemble, truth, ROWS) == pytest.approx(float(expected))
    tensors = torch.from_numpy(ensemble), torch.from_numpy(truth)
    assert energy_score_fair(*tensors, ROWS) == pytest.approx(float(expected))


def test_the_energy_score_of_a_single_point_is_the_crps() -> None:
    rng = np.random.default_rng(1)
    ensemble, truth = rng.normal(size=(8, 1, 1, 1)), rng.normal(size=(1, 1, 1))
    expected = scoringrules.crps_ensemble(truth.ravel()[0], ensemble.ravel(), estimator="fair", backend="numpy")
    assert energy_score_fair(ensemble, truth, np.ones(1)) == pytest.approx(float(expected))


def test_the_energy_score_is_sensitive_to_dependence_between_points() -> None:
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
    assert np.isnan(variogram_score(ensemble, truth, ROWS))
    fields, true_fields = np.ones((4, *GRID.shape)), np.ones(GRID.shape)
    (fields[2] if missing == "member" else true_fields)[3, 7] = np.nan
    assert np.isnan(energy_score_tiled(fields, true_fields, GRID))


def test_a_single_member_has_no_fair_score() -> None:
    with pytest.raises(ValueError, match="at least 2 members"):
        energy_score_fair(np.ones((1, 3, 4)), np.ones((3, 4)), np.ones(3))
    with pytest.raises(ValueError, match=r"variogram score needs at least 2 members\. Got: 1"):
        variogram_score(np.ones((1, 3, 4)), np.ones((3, 4)), np.ones(3))


def test_tiles_hold_every_point_once_with_its_area() -> None:
    for grid in (GRID, gaussian_grid("t31"), Grid.from_coordinates(np.linspace(-90, 90, 121), np.arange(240) * 1.5)):
        rows, columns = tile_weights(grid)
        assert (rows.shape[1], columns.shape[1]) == (6, 12)
        np.testing.assert_allclose(rows.sum(axis=1), grid.area_weights)
        assert ((rows > 0).sum(axis=1) == 1).all()
        assert (columns.sum(axis=1) == 1).all()


def test_the_tiled_score_is_the_mean_of_the_scores_of_tiles_by_area() -> None:
    rng = np.random.default_rng(4)
    ensemble, truth = rng.normal(size=(5, 2, *GRID.shape)), rng.normal(size=(2, *GRID.shape))
    weights, total, expected = np.asarray(GRID.area_weights), 0.0, 0.0
    for row in range(0, 12, 2):
        area = weights[row : row + 2].sum()
        for column in range(0, 24, 2):
            tile = (..., slice(row, row + 2), slice(column, column + 2))
            expected += area * energy_score_fair(ensemble[tile], truth[tile], weights[row : row + 2])
            total += area
    assert energy_score_tiled(ensemble, truth, GRID) == pytest.approx(expected / total)
    tensors = torch.from_numpy(ensemble), torch.from_numpy(truth)
    assert energy_score_tiled(*tensors, GRID) == pytest.approx(expected / total)


def test_the_tiled_score_sees_wrong_structures_better_than_that_of_the_globe() -> None:
    """Members are exchanged between points that are 30° apart or more, so that tiles alone keep their structure."""
    rng = np.random.default_rng(5)

    def draw(count: int) -> np.ndarray:
        return rng.normal(size=(count, 1, 6, 1, 12, 1)) + 0.1 * rng.normal(size=(count, 1, 6, 2, 12, 2))

    truths, members = (draw(count).reshape(count, 1, *GRID.shape) for count in (40, 12))
    scattered = rng.permuted(members.reshape(12, -1), axis=0).reshape(members.shape)
    losses = []
    for score in (
        lambda ensemble, truth: energy_score_tiled(ensemble, truth, GRID),
        lambda ensemble, truth: energy_score_fair(ensemble, truth, GRID.area_weights),
    ):
        right, wrong = (np.mean([score(ensemble, truth) for truth in truths]) for ensemble in (members, scattered))
        losses.append(wrong / right - 1)
    assert losses[0] > 5 * abs(losses[1])
    assert losses[0] > 0.03


def test_the_variogram_score_equals_that_of_another_implementation() -> None:
    """Two latitudes have pairs one column and one row apart; each pair is scored by itself."""
    rng = np.random.default_rng(6)
    ensemble, truth = rng.normal(size=(7, 2, 12)), rng.normal(size=(2, 12))

    def score_pair(first: tuple[int, int], second: tuple[int, int]) -> float:
        pair = np.stack([ensemble[:, *first], ensemble[:, *second]], axis=1)
        observed = np.array([truth[first], truth[second]])
        biased = scoringrules.vs_ensemble(observed, pair, p=0.5, m_axis=0, v_axis=1, backend="numpy")
        return float(biased) / 2 - np.sqrt(np.abs(pair[:, 0] - pair[:, 1])).var(ddof=1) / 7

    along = np.mean([score_pair((row, j), (row, (j + 1) % 12)) for row in range(2) for j in range(12)])
    across = np.mean([score_pair((0, j), (1, j)) for j in range(12)])
    assert variogram_score(ensemble, truth, np.ones(2)) == pytest.approx((along + across) / 2)
    tensors = torch.from_numpy(ensemble), torch.from_numpy(truth)
    assert variogram_score(*tensors, np.ones(2)) == pytest.approx((along + across) / 2)


def test_the_expected_variogram_score_does_not_depend_on_the_number_of_members() -> None:
    rng = np.random.default_rng(7)
    means = []
    for members in (2, 5, 20):
        scores = [
            variogram_score(rng.normal(size=(members, 6, 48)), rng.normal(size=(6, 48)), np.ones(6)) for _ in range(200)
        ]
        means.append(np.mean(scores))
    np.testing.assert_allclose(means, np.var(np.abs(np.sqrt(2) * rng.normal(size=10**6)) ** 0.5), rtol=0.03)


def test_the_variogram_score_sees_structure_that_crps_does_not() -> None:
    """Smooth truth: members of the same marginal distribution but without structure score worse."""
    rng = np.random.default_rng(8)
    phases, east = rng.uniform(0, 2 * np.pi, size=(60, 1, 1)), np.radians(GRID.longitude)
    waves = np.sqrt(2) * np.cos(3 * east + phases) * np.ones((1, 12, 1))
    scattered = rng.permuted(waves, axis=0)
    weights = np.asarray(GRID.area_weights)
    right, wrong = (
        np.mean([variogram_score(ensemble[20:], truth, weights) for truth in waves[:20]])
        for ensemble in (waves, scattered)
    )
    assert wrong > 1.5 * right
