"""NetCDF files of exports, read by the libraries that users have."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr

from storage.paths import storage_path
from tests.cf import find_cf_errors
from weather.exports.command import export_forecast
from weather.exports.export import ExportPlan
from weather.exports.part import Part
from weather.exports.stored import StoredFields

Engine = Literal["netcdf4", "scipy"]


def _export(folder: Path, *, summary: bool = False, bbox: str | None = None, members: str = "") -> Path:
    output = folder / f"{'summary' if summary else 'ensemble'}.nc"
    options = {"summary": summary, "parameters": "", "members": members, "times": "../..", "bbox": bbox}
    receipt = export_forecast(folder=folder, output=output, **options)
    assert output.stat().st_size == receipt["size_bytes"]
    return output


@pytest.mark.parametrize("engine", ["netcdf4", "scipy"])
@pytest.mark.parametrize("summary", [False, True])
def test_values_and_coordinates_equal_those_of_the_store(folder: Path, summary: bool, engine: Engine) -> None:
    name = "summary.zarr" if summary else "ensemble.zarr"
    stored = xr.open_zarr(folder / name).isel(init_time=0, lead_time=slice(3)).load()
    with xr.open_dataset(_export(folder, summary=summary), engine=engine, decode_timedelta=True) as exported:
        fields = [field for field in stored if "latitude" in stored[field].dims]
        assert sorted(exported) == sorted(fields)
        for field in fields:
            np.testing.assert_array_equal(exported[field].values, stored[field].values, field)
            assert exported[field].dims == ("valid_time", *stored[field].dims[1:])
            assert exported[field].attrs == stored[field].attrs
        for coordinate in {*stored.coords} - {"init_time"}:
            np.testing.assert_array_equal(exported[coordinate].values, stored[coordinate].values, coordinate)
        assert set(exported.init_time.values) == {stored.init_time.values}
        assert exported.attrs["warmcast_seed"] == str(2**40)
        assert exported.attrs["warmcast_nfe"] == 6


@pytest.mark.parametrize("folder", ["gaussian"], indirect=True)
@pytest.mark.parametrize("summary", [False, True])
def test_files_have_no_cf_error(folder: Path, summary: bool) -> None:
    assert find_cf_errors(_export(folder, summary=summary)) == []


@pytest.mark.parametrize("bbox", ["-20,-45,50,45", "170,-90,-170,90", "0,-90,360,90"])
def test_a_part_is_that_of_the_store_with_longitudes_that_ascend(folder: Path, bbox: str) -> None:
    west, south, _, north = map(float, bbox.split(","))
    stored = xr.open_zarr(folder / "ensemble.zarr").isel(init_time=0, lead_time=slice(3)).load()
    with xr.open_dataset(_export(folder, bbox=bbox, members="1-2,7")) as exported:
        longitude = exported.longitude.values
        assert (np.diff(longitude) > 0).all()
        assert west <= longitude[0]
        assert south <= exported.latitude.values.min() <= exported.latitude.values.max() <= north
        assert exported.number.values.tolist() == [1, 2, 7]
        place = {"latitude": exported.latitude.values, "longitude": longitude % 360, "number": [1, 2, 7]}
        np.testing.assert_array_equal(exported.v10.values, stored.v10.sel(place).values)
        assert exported.sizes["longitude"] == ((stored.longitude - west) % 360 <= _width(bbox)).sum()


def _width(bbox: str) -> float:
    west, _, east, _ = map(float, bbox.split(","))
    return east - west if east > west else east - west + 360


def test_the_file_of_fewer_lead_times_is_the_beginning_of_that_of_more(folder: Path) -> None:
    stored = StoredFields.open(storage_path(folder / "ensemble.zarr"))
    short, full = (ExportPlan.of(stored, Part(), "nc", number) for number in (2, 4))
    first, second = (b"".join(plan.encode(stored, block) for block in plan.blocks()) for plan in (short, full))
    assert (first[:8], second[:8]) == (b"CDF\2\0\0\0\2", b"CDF\2\0\0\0\3")
    assert second[8 : len(first)] == first[8:]
