from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from weather.grids import Grid
from weather.readers.containers import SourceError
from weather.readers.static import read_static_fields

FINE = Grid.from_coordinates(np.linspace(90, -90, 37), np.arange(72) * 5.0)
COARSE = Grid.from_coordinates(np.linspace(75, -75, 6), np.arange(12) * 30.0)
Write = Callable[..., str]


def _hill(grid: Grid) -> NDArray[np.float64]:
    lat, lon = np.radians(grid.latitude)[:, None], np.radians(grid.longitude)[None]
    return np.asarray(np.sin(lat) + np.cos(lat) * np.cos(lon - 1))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(fields: dict[str, NDArray[Any]], grid: Grid = FINE, **coordinates: Any) -> str:
        dims = (*coordinates, "latitude", "longitude")
        shaped = {
            name: (dims, values.reshape([1] * len(coordinates) + [*grid.shape])) for name, values in fields.items()
        }
        axes = {"latitude": list(grid.latitude), "longitude": list(grid.longitude)}
        xr.Dataset(shaped, axes | {name: [value] for name, value in coordinates.items()}).to_netcdf(tmp_path / "f.nc")
        return str(tmp_path / "f.nc")

    return write


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("orog", "orog"),
        ("orog", "geopotential_at_surface"),
        ("geopotential_at_surface", "z"),
        ("lsm", "land_sea_mask"),
        ("slope_of_sub_gridscale_orography", "slor"),
        ("anisotropy_of_sub_gridscale_orography", "isor"),
        ("my_own_field", "my_own_field"),
    ],
)
def test_a_field_is_found_by_any_of_its_names(write: Write, name: str, there: str) -> None:
    source = write({"other": -_hill(FINE), there: _hill(FINE)})
    assert np.array_equal(read_static_fields(source, [name], FINE)[0], _hill(FINE))


def test_its_own_name_comes_before_others(write: Write) -> None:
    source = write({"z": 9 * _hill(FINE), "orog": _hill(FINE), "lsm": -_hill(FINE)})
    fields = read_static_fields(source, ["lsm", "orog"], FINE)
    assert np.array_equal(fields, [-_hill(FINE), _hill(FINE)])


def test_a_time_is_dropped_and_the_geopotential_of_a_pressure_level_is_no_orography(write: Write) -> None:
    time = np.datetime64("2000-01-01", "ns")
    assert len(read_static_fields(write({"z": _hill(FINE)}, valid_time=time), ["orog"], FINE)) == 1
    with pytest.raises(SourceError, match=r"has no static field `orog`, nor orography, .*It has: z"):
        read_static_fields(write({"z": _hill(FINE)}, pressure_level=500.0), ["orog"], FINE)


def test_a_field_on_another_grid_is_averaged_over_the_cells(write: Write) -> None:
    (field,) = read_static_fields(write({"orog": _hill(FINE)}), ["orog"], COARSE)
    assert field.shape == COARSE.shape
    fine, coarse = (
        (grid.area_weights[:, None] * values).mean() for grid, values in ((FINE, _hill(FINE)), (COARSE, field))
    )
    assert coarse == pytest.approx(fine, abs=1e-12)
    assert np.corrcoef(field.ravel(), _hill(COARSE).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("wrong", [np.zeros(FINE.shape), np.where(_hill(FINE) > 1, np.nan, _hill(FINE))])
def test_a_field_that_is_constant_or_not_finite_is_refused(write: Write, wrong: NDArray[Any]) -> None:
    with pytest.raises(SourceError, match=r"`lsm` of `.*` must be finite, and not the same everywhere"):
        read_static_fields(write({"land_sea_mask": wrong}), ["lsm"], FINE)


def test_a_field_with_another_dimension_is_refused(tmp_path: Path) -> None:
    xr.Dataset({"orog": ("x", np.arange(9.0))}).to_netcdf(tmp_path / "f.nc")
    with pytest.raises(SourceError, match="must have the dimensions latitude and longitude"):
        read_static_fields(str(tmp_path / "f.nc"), ["orog"], FINE)
