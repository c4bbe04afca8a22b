import numpy as np
import pytest
from numpy.typing import NDArray

from weather.bundled import bundled_folder
from weather.grids import (
    GAUSSIAN_LATITUDES,
    Grid,
    find_grid_problems,
    gaussian_grid,
    spatial_attributes,
    wrap_longitude,
)
from weather.manifest import read_manifest

LONGITUDES = np.arange(36) * 10.0


def _latitudes(rows: int, *, has_poles: bool = True) -> NDArray[np.float64]:
    edge = 90.0 if has_poles else 90.0 - 90.0 / rows
    return np.linspace(edge, -edge, rows)


def _grid(rows: int, *, has_poles: bool = True) -> Grid:
    return Grid.from_coordinates(_latitudes(rows, has_poles=has_poles), LONGITUDES)


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("origin", [0.0, -180.0, -90.0, 20.0, 360.0])
def test_any_order_and_origin_become_the_same_canonical_grid(ascending: bool, origin: float) -> None:
    latitudes = _latitudes(19)[:: -1 if ascending else 1]
    longitudes = origin + np.mod(LONGITUDES - origin, 360.0)
    grid = Grid.from_coordinates(latitudes, longitudes)
    assert grid.latitude == tuple(90.0 - 10.0 * row for row in range(19))
    assert grid.longitude == tuple(10.0 * column for column in range(36))
    assert grid.shape == (19, 36)


def test_shuffled_coordinates_become_the_canonical_grid() -> None:
    draw = np.random.default_rng(0)
    assert Grid.from_coordinates(draw.permutation(_latitudes(19)), draw.permutation(LONGITUDES)) == _grid(19)


@pytest.mark.parametrize("longitudes", [np.arange(-180, 180, 0.1), np.where(LONGITUDES == 0, -1e-14, LONGITUDES)])
def test_longitudes_below_zero_by_rounding_start_at_zero(longitudes: NDArray[np.float64]) -> None:
    grid = Grid.from_coordinates(_latitudes(19), longitudes)
    regular = np.arange(longitudes.size) * 360.0 / longitudes.size
    assert grid.longitude[0] == 0.0
    np.testing.assert_allclose(grid.longitude, regular, rtol=0, atol=1e-9)


def test_longitudes_are_wrapped_into_the_half_open_circle() -> None:
    np.testing.assert_array_equal(wrap_longitude([-180, -90, 0, 90, 359.5, 360, 540]), [180, 270, 0, 90, 359.5, 0, 180])


def test_a_grid_that_is_not_in_canonical_order_is_refused() -> None:
    south_first = tuple(_latitudes(19)[::-1].tolist())
    with pytest.raises(ValueError, match="descend from north to south"):
        Grid(south_first, tuple(LONGITUDES.tolist()))
    with pytest.raises(ValueError, match=r"ascend within \[0, 360\)"):
        Grid(tuple(_latitudes(19).tolist()), tuple((LONGITUDES - 180).tolist()))


def test_area_weights_of_121_rows_with_poles_follow_the_closed_form() -> None:
    grid = _grid(121)
    half = np.radians(0.75)
    areas = 2 * np.cos(np.radians(_latitudes(121))) * np.sin(half)
    areas[[0, -1]] = 1 - np.cos(half)
    np.testing.assert_allclose(grid.area_weights, areas * 121 / 2, rtol=1e-12)
    assert grid.area_weights[60] == pytest.approx(1.5838, abs=5e-5)
    assert grid.area_weights[[0, -1]] == pytest.approx(0.00518, abs=5e-6)


@pytest.mark.parametrize("has_poles", [True, False])
@pytest.mark.parametrize("rows", [8, 19, 121])
def test_area_weights_have_mean_one_and_mirror_at_the_equator(rows: int, has_poles: bool) -> None:
    weights = _grid(rows, has_poles=has_poles).area_weights
    assert weights.mean() == pytest.approx(1.0, abs=1e-14)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights, weights[::-1], rtol=1e-12)


@pytest.mark.parametrize("has_poles", [True, False])
def test_sine_of_latitude_squared_has_area_mean_one_third(has_poles: bool) -> None:
    grid = _grid(121, has_poles=has_poles)
    assert np.mean(grid.area_weights * np.sin(np.radians(grid.latitude)) ** 2) == pytest.approx(1 / 3, abs=1e-4)


def test_weights_of_gaussian_latitudes_are_close_to_the_quadrature_weights() -> None:
    nodes, quadrature = np.polynomial.legendre.leggauss(64)
    grid = Grid.from_coordinates(np.degrees(np.arcsin(nodes)), LONGITUDES)
    np.testing.assert_allclose(grid.area_weights, quadrature / quadrature.mean(), rtol=0, atol=4e-3)


@pytest.mark.parametrize(
    ("latitudes", "has_poles"),
    [
        (_latitudes(121), True),
        (_latitudes(120, has_poles=False), False),
        (90 - 0.25 * np.arange(720), False),
        (90 - 0.25 * np.arange(1, 721), False),
    ],
)
def test_a_grid_has_poles_where_both_its_outer_rows_are_poles(latitudes: NDArray[np.float64], has_poles: bool) -> None:
    grid = Grid.from_coordinates(latitudes, LONGITUDES)
    assert grid.has_poles is has_poles
    assert str(grid) == f"{latitudes.size} × 36 ({'with' if has_poles else 'without'} poles)"


@pytest.mark.parametrize(
    ("latitudes", "longitudes", "parts"),
    [
        (np.linspace(60, 20, 41), LONGITUDES, ["must be global", "latitudes 20 to 60", "longitudes 0 to 350"]),
        (_latitudes(19), np.arange(36) * 2.0, ["evenly spaced around the globe", "36 from 0 to 70"]),
        (_latitudes(19), np.append(LONGITUDES[:-1], 354.0), ["evenly spaced", "36 from 0 to 354"]),
        (_latitudes(19), np.append(LONGITUDES, 360.0), ["evenly spaced", "37 from 0 to 360"]),
        (_latitudes(19) * 1.1, LONGITUDES, ["within [-90, 90]", "-99 to 99"]),
        (np.append(_latitudes(19), 0.0), LONGITUDES, ["different", "20 finite values, 19 of them different"]),
        (np.where(_latitudes(19) == 0, np.nan, _latitudes(19)), LONGITUDES, ["finite", "18 finite values"]),
        (_latitudes(19), np.where(LONGITUDES == 0, np.inf, LONGITUDES), ["finite", "35 finite values"]),
        (_latitudes(3), LONGITUDES, ["at least 4", "shape (3,)"]),
        (45.0, LONGITUDES, ["one dimension", "shape ()"]),
        (np.ones((19, 36)), np.ones((19, 36)), ["one dimension", "shape (19, 36)"]),
        (_latitudes(19), np.ones((19, 36)), ["one dimension", "shape (19, 36)"]),
    ],
)
def test_coordinates_that_do_not_form_a_global_grid_are_refused_and_described(
    latitudes: NDArray[np.float64], longitudes: NDArray[np.float64], parts: list[str]
) -> None:
    problems = find_grid_problems(latitudes, longitudes)
    assert len(problems) == 1
    assert [part for part in parts if part not in problems[0]] == []


def test_a_regional_grid_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="latitudes 20 to 60 and longitudes 0 to 350, a region"):
        Grid.from_coordinates(np.linspace(60, 20, 41), LONGITUDES)


@pytest.mark.parametrize(("shift", "matches"), [(0.0, True), (5e-4, True), (0.01, False)])
def test_grids_match_to_a_thousandth_of_a_degree(shift: float, matches: bool) -> None:
    assert _grid(19).matches(Grid.from_coordinates(_latitudes(19), LONGITUDES + shift)) is matches
    assert not _grid(19).matches(_grid(18, has_poles=False))


@pytest.mark.parametrize("name", GAUSSIAN_LATITUDES)
def test_a_gaussian_grid_integrates_polynomials_of_its_truncation(name: str) -> None:
    """Products of two harmonics of the truncation, and one more, are exact; weights are those of the roots."""
    grid, degree = gaussian_grid(name), 3 * int(name[1:]) // 2 * 2
    roots, weights = np.polynomial.legendre.leggauss(grid.shape[0])
    assert np.allclose(np.sin(np.radians(grid.latitude)), roots[::-1], atol=1e-14)
    assert (weights * roots**degree).sum() == pytest.approx(2 / (degree + 1), rel=1e-9)
    assert grid.shape[1] == 2 * grid.shape[0] >= 3 * int(name[1:]) + 1


def test_the_t31_grid_is_that_of_planet() -> None:
    assert gaussian_grid("t31").matches(read_manifest(bundled_folder("checkpoints") / "planet").model.grid.grid)


def test_the_transform_of_a_regular_grid_gives_its_coordinates_and_a_gaussian_grid_has_none() -> None:
    """x = a·column + b·row + c and y = d·column + e·row + f, as the convention `spatial` says."""
    grid = Grid.from_coordinates(np.linspace(90, -90, 13), np.arange(0, 360, 15.0))
    attributes = spatial_attributes(grid.latitude, grid.longitude)
    a, b, c, d, e, f = attributes["spatial:transform"]
    rows, columns = attributes["spatial:shape"]
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    latitude, longitude = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    np.testing.assert_allclose(a * column + b * row + c, longitude)
    np.testing.assert_allclose(d * column + e * row + f, latitude, atol=1e-12)
    assert attributes["spatial:bbox"] == [0, -90, 345, 90]
    assert attributes["spatial:registration"] == "node"
    gaussian = gaussian_grid("t31")
    attributes = spatial_attributes(gaussian.latitude, gaussian.longitude)
    assert not {"spatial:transform", "spatial:transform_type"} & attributes.keys()
    assert attributes["proj:code"] == "EPSG:4326"
