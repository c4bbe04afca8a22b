"""GRIB 2 files of exports, read back by ecCodes and by cfgrib."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr

from storage.errors import ConfigurationError
from storage.paths import storage_path
from tests.exported import LOST
from weather.exports.command import export_forecast
from weather.exports.export import ExportPlan
from weather.exports.part import Part
from weather.exports.stored import StoredFields
from weather.grids import Grid
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout

SHORT_NAMES = {"u10": "10u", "v10": "10v", "t2m": "2t", "msl": "prmsl", "wind_speed_10m": "10si"}
MEMBERS = (0, 1, 2, 3, 7)


def _export(folder: Path, **options: Any) -> Path:
    output = folder / "export.grib2"
    given = {"summary": False, "parameters": "", "members": "", "times": "../..", "bbox": None, **options}
    receipt = export_forecast(folder=folder, output=output, **given)
    assert output.stat().st_size == receipt["size_bytes"]
    return output


def _messages(path: Path) -> Iterator[int]:
    with path.open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            yield handle
            eccodes.codes_release(handle)


def _get(handle: int, *keys: str) -> tuple[Any, ...]:
    return tuple(eccodes.codes_get(handle, key) for key in keys)


@pytest.mark.parametrize("bbox", [None, "-20,-45,50,45"])
def test_members_are_those_of_the_store_at_their_places(folder: Path, bbox: str | None) -> None:
    stored = xr.open_zarr(folder / "ensemble.zarr").isel(init_time=0).load()
    names = {short: name for name, short in SHORT_NAMES.items()}
    found = []
    for handle in _messages(_export(folder, bbox=bbox)):
        short, number, hours, rows, columns = _get(handle, "shortName", "number", "forecastTime", "Nj", "Ni")
        latitude, longitude = (eccodes.codes_get_array(handle, f"{name}s") for name in ("latitude", "longitude"))
        place = {
            "latitude": latitude.reshape(rows, columns)[:, 0],
            "longitude": longitude.reshape(rows, columns)[0] % 360,
        }
        field = stored[names[short]].sel(number=number, lead_time=np.timedelta64(hours, "h"))
        expected = field.sel(place, method="nearest", tolerance=1e-5)
        values = eccodes.codes_get_values(handle).astype(np.float32).reshape(rows, columns)
        np.testing.assert_array_equal(values, expected.values)
        assert _get(handle, "dataDate", "dataTime", "dataType") == (20180915, 1230, "pf")
        assert _get(handle, "numberOfForecastsInEnsemble", "edition") == (len(MEMBERS), 2)
        found.append((short, number, hours))
    expected_messages = [
        (SHORT_NAMES[name], member, 6 * (lead_index + 1))
        for lead_index, lost in enumerate(LOST)
        for name in sorted(("u10", "v10", "t2m", "msl"))
        for member in MEMBERS
        if member not in lost
    ]
    assert found == expected_messages, "all members of a lead time that are not lost, one after another"


def test_statistics_are_those_of_the_summary(folder: Path) -> None:
    stored = xr.open_zarr(folder / "summary.zarr").isel(init_time=0).load()
    counted: dict[int, int] = {}
    for handle in _messages(_export(folder, summary=True)):
        short, template, hours = _get(handle, "shortName", "productDefinitionTemplateNumber", "forecastTime")
        at = stored.sel(lead_time=np.timedelta64(hours, "h"))
        name = next((name for name, other in SHORT_NAMES.items() if other == short), "wind_direction_10m")
        if name == "wind_direction_10m":
            expected = at[name]
        elif template == 2:
            expected = at[f"{name}_{'spread' if eccodes.codes_get(handle, 'derivedForecast') else 'mean'}"]
            left = len(MEMBERS) - len(LOST[hours // 6 - 1])
            assert eccodes.codes_get(handle, "numberOfForecastsInEnsemble") == left
        elif template == 6:
            expected = at[f"{name}_quantiles"].sel(quantile=eccodes.codes_get(handle, "percentileValue") / 100)
        else:
            side, limit = {3: ("above", "Lower"), 4: ("below", "Upper")}[eccodes.codes_get(handle, "probabilityType")]
            scale, value = _get(handle, f"scaleFactorOf{limit}Limit", f"scaledValueOf{limit}Limit")
            expected = 100 * at[f"{name}_{side}"].sel({f"{name}_{side}_threshold": value / 10**scale})
        values = eccodes.codes_get_values(handle).astype(np.float32).reshape(expected.shape)
        np.testing.assert_allclose(values, expected.values, rtol=1e-6, err_msg=f"{name} {template}")
        counted[hours] = counted.get(hours, 0) + 1
    variables, probabilities = 5, 2
    whole = variables * (1 + 1 + 2) + probabilities + 1
    assert counted == {6: whole, 12: whole, 18: whole - variables}, "one member has no spread"


def test_cfgrib_opens_an_export_as_a_data_set(folder: Path) -> None:
    path = _export(folder, parameters="u10,v10", times="../2018-09-15T18:30Z")
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as dataset:
        stored = xr.open_zarr(folder / "ensemble.zarr").isel(init_time=0, lead_time=0).load()
        assert dataset.number.values.tolist() == list(MEMBERS)
        np.testing.assert_array_equal(dataset.u10.values, stored.u10.values)
        assert dataset.valid_time.values == stored.valid_time.values


def _plan(folder: Path, grid: Grid, members: tuple[int, ...]) -> ExportPlan:
    layout = Layout(np.datetime64("2018-09-15T00", "s"), 1, np.timedelta64(6, "h"), members, 1, ("u10",), grid)
    store = EnsembleStore.create(folder / "ensemble.zarr", layout, {})
    for group in range(len(members)):
        store.commit(group, 0, np.ones((1, 1, *grid.shape), np.float32))
    return ExportPlan.of(StoredFields.open(storage_path(store.path)), Part(), "grib2", 1)


def test_what_grib_cannot_hold_is_refused_with_the_way_out(tmp_path: Path) -> None:
    regular = Grid.from_coordinates(np.linspace(90, -90, 13), np.arange(0, 360, 15.0))
    uneven = Grid.from_coordinates([80, 50, 10, -10, -50, -80], np.arange(0, 360, 15.0))
    with pytest.raises(ConfigurationError, match=r"neither evenly spaced nor Gaussian. Export NetCDF."):
        _plan(tmp_path / "uneven", uneven, (0,))
    with pytest.raises(ConfigurationError, match=r"members from 0 to 254. Choose others, or export NetCDF. Got: 255"):
        _plan(tmp_path / "many", regular, (254, 255))
    assert _plan(tmp_path / "last", regular, (254,)).size_bytes > 0
