import numpy as np
import pytest
from scipy.special import eval_legendre

from weather.grids import Grid, gaussian_grid
from weather.harmonics import analysis_matrices, harmonic_values, latitude_weights


def _regular(rows: int, columns: int, first: float, last: float) -> Grid:
    return Grid.from_coordinates(np.linspace(first, last, rows), np.arange(columns) * 360 / columns)


GRIDS = {
    "1.5 degrees with poles": (_regular(121, 240, -90, 90), 119),
    "without poles": (_regular(32, 64, -87.1875, 87.1875), 31),
    "one pole": (_regular(60, 120, 90, -87), 58),
    "T31": (gaussian_grid("t31"), 47),
    "few longitudes": (_regular(33, 40, -90, 90), 19),
}
T31 = gaussian_grid("t31")


@pytest.mark.parametrize(("grid", "highest"), GRIDS.values(), ids=GRIDS)
def test_the_limit_of_a_grid_is_that_of_its_rows_and_columns(grid: Grid, highest: int) -> None:
    assert grid.highest_wavenumber == highest
    assert analysis_matrices(grid).shape == (highest + 1, grid.shape[0], highest + 1)


@pytest.mark.parametrize("grid", [grid for grid, _ in GRIDS.values()], ids=GRIDS)
def test_what_the_grid_does_not_resolve_is_amplified_by_at_most_three(grid: Grid) -> None:
    """The gain of the analysis for any field: the largest coefficients that a field of unit mean square can have."""
    weights = np.maximum(latitude_weights(grid), 1e-12) / 2
    gains = [np.linalg.norm(matrix.T / np.sqrt(weights), 2) for matrix in analysis_matrices(grid)]
    assert max(gains) < 3


@pytest.mark.parametrize("grid", [grid for grid, _ in GRIDS.values()], ids=GRIDS)
def test_harmonics_are_recovered_each_by_itself(grid: Grid) -> None:
    for matrix, rows in zip(analysis_matrices(grid)[::9], harmonic_values(grid)[::9], strict=True):
        expected = np.diag((np.abs(rows).max(axis=1) > 0).astype(float))
        np.testing.assert_allclose(rows @ matrix, expected, atol=1e-9)


@pytest.mark.parametrize("grid", [grid for grid, _ in GRIDS.values()], ids=GRIDS)
def test_latitudes_integrate_polynomials_up_to_their_number(grid: Grid) -> None:
    nodes, weights = np.sin(np.radians(grid.latitude)), latitude_weights(grid)
    for degree in range(len(nodes)):
        assert weights @ eval_legendre(degree, nodes) == pytest.approx(2.0 * (degree == 0), abs=1e-9)


def test_gaussian_latitudes_get_gaussian_weights() -> None:
    np.testing.assert_allclose(latitude_weights(T31), np.polynomial.legendre.leggauss(48)[1][::-1], atol=1e-12)
