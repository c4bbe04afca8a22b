import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from models.testing import tiny_spec
from weather.grids import Grid, gaussian_grid
from weather.manifest import ModelSpec
from weather.regrid import overlap_weights, regrid


def _fields(grid: Grid, values: NDArray[np.float64]) -> xr.Dataset:
    return xr.Dataset(
        {"u10": (("time", "latitude", "longitude"), values[None].astype(np.float32))},
        coords={
            "time": [np.datetime64("2018-09-15", "ns")],
            "latitude": list(grid.latitude),
            "longitude": list(grid.longitude),
        },
    )


def _area_mean(grid: Grid, values: NDArray[np.float64]) -> float:
    return float(np.mean(values.mean(axis=-1, dtype=np.float64) * grid.area_weights))


def _overlaps(targets: NDArray[np.float64], sources: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the fraction of each target interval in each source interval; both (interval, lower and upper edge)."""
    lower = np.maximum(targets[:, None, 0], sources[None, :, 0])
    upper = np.minimum(targets[:, None, 1], sources[None, :, 1])
    return np.maximum(upper - lower, 0) / np.diff(targets)


def _rows(grid: Grid) -> NDArray[np.float64]:
    middles = (np.array(grid.latitude)[1:] + np.array(grid.latitude)[:-1]) / 2
    edges = np.sin(np.radians([90, *middles, -90]))
    return np.stack([edges[1:], edges[:-1]], axis=1)


def _columns(grid: Grid) -> NDArray[np.float64]:
    half = 180 / grid.shape[1]
    return np.array(grid.longitude)[:, None] + [-half, half]


def _brute_force(values: NDArray[np.float64], source: Grid, target: Grid) -> NDArray[np.float64]:
    rows = _overlaps(_rows(target), _rows(source))
    columns = sum(_overlaps(_columns(target), _columns(source) + turn) for turn in (-360, 0, 360))
    return np.asarray(rows @ values @ np.transpose(columns))


GRIDS = {
    "16 without poles": tiny_spec(16, 32).grid.grid,
    "7 with poles": tiny_spec(7, 12, has_poles=True).grid.grid,
    "61 with poles": tiny_spec(61, 120, has_poles=True).grid.grid,
    "cells from Greenwich": Grid(tuple(range(85, -90, -10)), tuple(5.0 + 10 * column for column in range(36))),
    "gaussian": Grid.from_coordinates(
        np.degrees(np.arcsin(np.polynomial.legendre.leggauss(24)[0])), np.arange(48) * 7.5
    ),
}
PAIRS = [
    ("61 with poles", "16 without poles"),
    ("61 with poles", "7 with poles"),
    ("16 without poles", "7 with poles"),
    ("16 without poles", "61 with poles"),
    ("7 with poles", "cells from Greenwich"),
    ("cells from Greenwich", "16 without poles"),
    ("gaussian", "16 without poles"),
    ("gaussian", "61 with poles"),
]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_regridding_gives_the_area_mean_over_each_cell(source: str, target: str) -> None:
    values = np.random.default_rng(0).standard_normal(GRIDS[source].shape)
    regridded = regrid(_fields(GRIDS[source], values), GRIDS[target]).u10.values[0]
    expected = _brute_force(values.astype(np.float32), GRIDS[source], GRIDS[target])
    np.testing.assert_allclose(regridded, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_regridding_does_not_change_a_constant(source: str, target: str) -> None:
    regridded = regrid(_fields(GRIDS[source], np.full(GRIDS[source].shape, 7.3)), GRIDS[target])
    np.testing.assert_allclose(regridded.u10, 7.3, rtol=1e-6)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_regridding_conserves_the_area_mean_of_a_smooth_field(source: str, target: str) -> None:
    grid = GRIDS[source]
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    values = 3 + 9 * np.sin(lat) ** 2 + 5 * np.cos(lat) * np.cos(lon - 1)
    regridded = regrid(_fields(grid, values), GRIDS[target]).u10.values[0]
    assert _area_mean(GRIDS[target], regridded) == pytest.approx(_area_mean(grid, values), abs=1e-5)


def test_regridding_to_the_same_grid_changes_no_value(winds: xr.Dataset, spec: ModelSpec) -> None:
    jittered = winds.assign_coords(longitude=winds.longitude.values + 1e-6)
    same = regrid(jittered, spec.grid.grid)
    np.testing.assert_array_equal(same.u10, winds.u10)
    assert tuple(same.longitude.values) == spec.grid.longitude


@pytest.mark.parametrize("dims", [("time",), ("time", "member")])
def test_frames_and_members_are_regridded_one_by_one(dims: tuple[str, ...]) -> None:
    source, target = GRIDS["61 with poles"], GRIDS["16 without poles"]
    values = np.random.default_rng(0).standard_normal((2, 3)[: len(dims)] + source.shape)
    fields = xr.Dataset(
        {name: ((*dims, "latitude", "longitude"), sign * values) for name, sign in (("u10", 1), ("v10", -1))},
        coords={"latitude": list(source.latitude), "longitude": list(source.longitude)},
    ).astype(np.float32)
    regridded = regrid(fields, target)
    assert regridded.u10.dims == (*dims, "latitude", "longitude")
    assert regridded.u10.dtype == np.float32
    for index in np.ndindex(values.shape[:-2]):
        alone = regrid(_fields(source, values[index]), target).u10.values[0]
        np.testing.assert_allclose(regridded.u10.values[index], alone, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(regridded.v10, -regridded.u10)


def _flow_across_the_poles(grid: Grid, x: float, y: float) -> NDArray[np.float64]:
    """Return u and v of the part of a constant vector in the plane of the equator that is parallel to the ground."""
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)
    u = y * np.cos(lon) - x * np.sin(lon) + 0 * lat
    v = -(x * np.cos(lon) + y * np.sin(lon)) * np.sin(lat)
    return np.stack([u, v])


@pytest.mark.parametrize("flow", [(10.0, 0.0), (0.0, 10.0), (-6.0, 8.0)])
def test_winds_on_one_degree_come_to_t31_with_their_direction_at_the_poles(flow: tuple[float, float]) -> None:
    source = Grid.from_coordinates(np.linspace(-90, 90, 181), np.arange(360.0))
    target = gaussian_grid("t31")
    given, expected = (_flow_across_the_poles(grid, *flow) for grid in (source, target))
    rows, columns = overlap_weights(source, target)
    got = rows @ given @ columns.T
    assert np.hypot(*(got - expected)).max() < 1e-3 * np.hypot(*flow)
    np.testing.assert_allclose(np.hypot(*got)[[0, -1]], np.hypot(*flow), rtol=2e-3)
    for component, regridded in zip(given, got, strict=True):
        assert _area_mean(target, regridded) == pytest.approx(_area_mean(source, component), abs=1e-12)
