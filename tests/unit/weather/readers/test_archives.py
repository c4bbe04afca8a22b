"""Data sets with the names and attributes of archives and tools, written to NetCDF and read back."""

from collections.abc import Callable
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from tests.inputs import INIT_TIME, map_fields, state, state_spec, with_attributes, without_units, write_netcdf
from weather.errors import InitialStateError
from weather.initial_state import InitialState, read_initial_state

SPEC = state_spec()
PACKED = {"dtype": "i2", "scale_factor": 0.001, "add_offset": 2.0, "_FillValue": -32767, "missing_value": -32767}
WB2 = {"u10": "10m_u_component_of_wind", "v10": "10m_v_component_of_wind"}
SHORT = {"latitude": "lat", "longitude": "lon"}

Change = Callable[[xr.Dataset], xr.Dataset]


def _cds(clean: xr.Dataset) -> xr.Dataset:
    """Write as the Climate Data Store since 2024: GRIB keys, `valid_time`, a text `expver` for each time."""
    named = clean.rename(time="valid_time").assign_coords(number=0, expver=("valid_time", ["0001", "0005"]))
    return with_attributes(named, GRIB_stepType="instant", GRIB_dataType="an", GRIB_gridType="regular_ll")


def _cds_before_2024(clean: xr.Dataset) -> xr.Dataset:
    hours = xr.Variable("time", np.array([1040538, 1040544], "i4"), {"units": "hours since 1900-01-01 00:00:00.0"})
    old = with_attributes(clean.assign_coords(time=hours), units="m s**-1")
    for name in old.data_vars:
        old[name].encoding = PACKED
    return old


def _weatherbench_forecast(clean: xr.Dataset) -> xr.Dataset:
    """Write a forecast of WeatherBench 2: `time` is that of the run, longitude goes before latitude."""
    start = clean.time.values[0]
    steps = xr.Variable("prediction_timedelta", np.array([0, 6]), {"units": "hours"})
    forecast = clean.rename(WB2 | {"time": "prediction_timedelta"}).assign_coords(prediction_timedelta=steps)
    return forecast.expand_dims(time=[start]).transpose("time", "prediction_timedelta", "longitude", "latitude")


def _arco(clean: xr.Dataset) -> xr.Dataset:
    """Write as ARCO-ERA5: many variables, some of them on levels."""
    others = {"temperature": (("time", "level"), np.zeros((2, 3))), "total_precipitation": ((), 1.0)}
    return clean.rename(WB2).assign(others).assign_coords(level=[500, 850, 1000])


def _earth2studio(clean: xr.Dataset) -> xr.Dataset:
    """Write one array with the variables along a dimension, without units."""
    fields = clean.rename({"u10": "u10m", "v10": "v10m"} | SHORT).to_dataarray("variable", name="fields")
    other = (fields.isel(variable=[0]) * 50).assign_coords(variable=["t850"])
    both = xr.concat([other, fields], "variable").expand_dims(lead_time=[np.timedelta64(0, "ns")], axis=1)
    return both.transpose("time", "lead_time", "variable", "lat", "lon").drop_attrs().to_dataset(name="fields")


def _dynamical(clean: xr.Dataset) -> xr.Dataset:
    start = clean.time.values[0]
    named = clean.rename(u10="wind_u_10m", v10="wind_v_10m", time="lead_time")
    return named.assign_coords(lead_time=clean.time.values - start).expand_dims(init_time=[start])


def _cmip(clean: xr.Dataset) -> xr.Dataset:
    named = clean.rename({"u10": "uas", "v10": "vas"} | SHORT).assign_coords(
        height=xr.Variable((), 10.0, {"units": "m"})
    )
    named = with_attributes(named, cell_methods="area: mean time: point")
    named.time.encoding = {"units": "days since 1850-01-01", "dtype": "f8"}
    return named.assign_attrs(mip_era="CMIP6", frequency="6hrPt")


def _merra(clean: xr.Dataset) -> xr.Dataset:
    named = clean.rename({"u10": "U10M", "v10": "V10M"} | SHORT).assign_attrs(
        Title="MERRA2 inst1_2d_asm_Nx: 2d,1-Hourly"
    )
    named.time.encoding = {"units": "minutes since 2018-09-14 00:00:00", "dtype": "i4"}
    return named


def _icon(clean: xr.Dataset) -> xr.Dataset:
    height = xr.Variable("height_2", [10.0], {"units": "m", "axis": "Z", "positive": "up", "standard_name": "height"})
    return clean.rename({"u10": "u_10m", "v10": "v_10m"} | SHORT).expand_dims(height_2=height, axis=1)


def _wgrib2(clean: xr.Dataset) -> xr.Dataset:
    named = clean.rename(u10="UGRD_10maboveground", v10="VGRD_10maboveground")
    named.time.encoding = {"units": "seconds since 1970-01-01 00:00:00.0 0:00", "dtype": "f8"}
    return named


def _iris(clean: xr.Dataset) -> xr.Dataset:
    """Write the lead time of each valid time, without the time of the run, as CF allows."""
    period = xr.Variable("time", [0, 6], {"standard_name": "forecast_period", "units": "hours"})
    named = clean.assign_coords(forecast_period=period)
    named.time.attrs["standard_name"] = "time"
    return named


def _standard_name_and_height_in_words(clean: xr.Dataset) -> xr.Dataset:
    named = clean.rename(u10="a", v10="b")
    named.a.attrs |= {"standard_name": "eastward_wind", "long_name": "Eastward wind at 10 m"}
    named.b.attrs |= {"standard_name": "northward_wind", "long_name": "10-metre northward wind"}
    return named


def _levels_in_words(clean: xr.Dataset) -> xr.Dataset:
    other = map_fields(clean, lambda field: field * 2)
    return xr.concat([other, clean], xr.Variable("level", ["850 mb", "10 m above ground"])).transpose("time", ...)


def _projection_next_to_latitude(clean: xr.Dataset) -> xr.Dataset:
    """Write names of dimensions that are axes of a map, next to the true coordinates."""
    axes = {"y": ("y", np.arange(19.0), {"units": "m"}), "x": ("x", np.arange(36.0), {"units": "m"})}
    named = clean.rename(latitude="y", longitude="x").assign_coords(
        latitude=("y", clean.latitude.values), longitude=("x", clean.longitude.values)
    )
    return named.drop_vars(["y", "x"]).assign_coords(axes)


def _texts_of_experiment_versions(clean: xr.Dataset) -> xr.Dataset:
    other = map_fields(clean, lambda field: field + 1)
    return xr.concat([other, clean], xr.Variable("expver", [b"0005", b"0001"])).transpose("time", ...)


def _numbers_with_fill_values(clean: xr.Dataset) -> xr.Dataset:
    versions = xr.Variable("expver", [5.0, 1.0])
    return xr.concat([map_fields(clean, lambda field: field + 1), clean], versions).transpose("time", ...)


def _times(units: str, values: list[float], dtype: str = "f8") -> Change:
    variable = xr.Variable("time", np.array(values, dtype), {"units": units})
    return lambda clean: clean.assign_coords(time=variable)


def _texts(*texts: str) -> Change:
    return lambda clean: clean.assign_coords(time=("time", list(texts)))


def _coordinates(change: Callable[[NDArray[np.float64]], NDArray[np.floating]], *names: str) -> Change:
    return lambda clean: clean.assign_coords({name: (name, change(clean[name].values)) for name in names})


READ: dict[str, Change] = {
    "CDS": _cds,
    "CDS before 2024": _cds_before_2024,
    "WeatherBench 2": lambda clean: clean.rename(WB2).sortby("latitude").transpose("time", "longitude", "latitude"),
    "a forecast of WeatherBench 2": _weatherbench_forecast,
    "ARCO-ERA5": _arco,
    "WeatherBench 2 without units": lambda clean: without_units(clean.rename(WB2)),
    "earth2studio": _earth2studio,
    "dynamical.org": _dynamical,
    "CMIP6": _cmip,
    "MERRA-2": _merra,
    "ICON of the DWD": _icon,
    "wgrib2": _wgrib2,
    "Iris": _iris,
    "heights in words": _standard_name_and_height_in_words,
    "levels in words": _levels_in_words,
    "axes of a map next to latitudes": _projection_next_to_latitude,
    "names in capitals": lambda clean: clean.rename(u10="U10", v10="V10", latitude="LAT", longitude="LON", time="TIME"),
    "experiment versions as texts": _texts_of_experiment_versions,
    "experiment versions as numbers with a fraction": _numbers_with_fill_values,
    "days as CDO writes absolute times": _times("day as %Y%m%d.%f", [20180914.75, 20180915.0]),
    "hours in a number": _times("yyyymmddhh", [2018091418, 2018091500], "i4"),
    "days with a fraction": _times("days since 2018-09-14", [0.75, 1.0]),
    "hours since a text with a zone": _times("Hour since 2018-09-14T00:00:00Z", [18, 24]),
    "seconds since 1970": _times("seconds since 1970-01-01", [1536948000, 1536969600], "i8"),
    "times as texts": _texts("2018-09-14T18:00:00", "2018-09-15T00:00:00"),
    "times as texts in UTC": _texts("2018-09-14 18:00Z", "2018-09-15 00:00Z"),
    "times as WRF writes them": _texts("2018-09-14_18:00:00", "2018-09-15_00:00:00"),
    "times in disorder": lambda clean: clean.isel(time=[1, 0]),
    "a dimension of size 1": lambda clean: clean.expand_dims(scenario=1),
    "latitudes in single precision": _coordinates(lambda values: values.astype(np.float32), "latitude", "longitude"),
    "no attributes of coordinates": lambda clean: clean.rename(SHORT),
    "an ensemble of one member": lambda clean: clean.expand_dims(number=[7]),
    "a label of a member in words": lambda clean: clean.assign_coords(member_id="r1i1p1f1"),
    "big-endian values": lambda clean: map_fields(clean, lambda field: field.astype(">f4")),
}


def _read(folder: Path, dataset: xr.Dataset) -> InitialState:
    return read_initial_state([str(write_netcdf(dataset, folder / "a.nc"))], SPEC)


@pytest.mark.parametrize("name", READ)
def test_a_data_set_of_an_archive_is_read(tmp_path: Path, name: str) -> None:
    clean = state()
    result = _read(tmp_path, READ[name](clean.copy(deep=True)))
    assert result.init_time == INIT_TIME
    for frame, fields in enumerate((result.previous, result.newest)):
        expected = [[clean[variable].values[frame] for variable in ("u10", "v10")]]
        np.testing.assert_allclose(fields, expected, rtol=0, atol=6e-4)


def _with_grid_mapping(mapping: str) -> Change:
    def change(clean: xr.Dataset) -> xr.Dataset:
        named = with_attributes(clean, grid_mapping="crs")
        return named.assign(crs=xr.Variable((), 0, {"grid_mapping_name": mapping}))

    return change


def _rotated_axes(clean: xr.Dataset) -> xr.Dataset:
    named = clean.rename(latitude="rlat", longitude="rlon")
    named.rlat.attrs |= {"standard_name": "grid_latitude", "units": "degrees", "axis": "Y"}
    named.rlon.attrs |= {"standard_name": "grid_longitude", "units": "degrees", "axis": "X"}
    return named


def _axes_in_metres(clean: xr.Dataset) -> xr.Dataset:
    named = clean.rename(latitude="y", longitude="x")
    named.y.attrs["units"] = named.x.attrs["units"] = "m"
    return named


def _list_of_points(clean: xr.Dataset) -> xr.Dataset:
    return clean.stack(values=("latitude", "longitude")).reset_index("values")


def _no_leap(clean: xr.Dataset) -> xr.Dataset:
    return clean.assign_coords(time=[cftime.DatetimeNoLeap(2018, 9, 14, 18), cftime.DatetimeNoLeap(2018, 9, 15)])


def _with(**attributes: object) -> Change:
    return lambda clean: with_attributes(clean, **attributes)


def _ensemble(labels: list[str]) -> Change:
    return lambda clean: xr.concat([clean, clean], xr.Variable("member", labels))


REFUSED: dict[str, tuple[Change, str]] = {
    "daily means of CMIP6": (_with(cell_methods="area: time: mean"), "time mean"),
    "daily means by frequency": (lambda clean: clean.assign_attrs(mip_era="CMIP6", frequency="day"), "time mean"),
    "averages of MERRA-2": (lambda clean: clean.assign_attrs(Title="MERRA2 tavg1_2d_slv_Nx: 2d"), "time mean"),
    "averages by GRIB key": (_with(GRIB_stepType="avg"), "time mean"),
    "monthly means of the CDS": (_with(GRIB_stepType="avgua"), "time mean"),
    "maxima": (_with(cell_methods="time: maximum (interval: 1 hour)"), "extreme over a period"),
    "sums": (_with(GRIB_stepType="accum"), "accumulation"),
    "spread by cell method": (_with(cell_methods="realization: standard_deviation"), "ensemble spread"),
    "spread by name": (_with(long_name="10 metre U wind component ensemble spread"), "ensemble spread"),
    "spread by GRIB key": (_with(GRIB_dataType="es"), "ensemble spread"),
    "spread in a dimension": (lambda clean: clean.expand_dims(statistic=["std"]), "ensemble spread"),
    "mean by cell method": (_with(cell_methods="realization: mean"), "ensemble mean"),
    "mean by GRIB key": (_with(GRIB_dataType="em"), "ensemble mean"),
    "a quantile": (lambda clean: clean.expand_dims(quantile=[0.5]), "quantile or probability of an ensemble"),
    "a statistic without its name": (
        lambda clean: clean.rename(u10="u10_mean", v10="v10_mean"),
        "has: u10_mean, v10_mean",
    ),
    "850 hPa in pascals": (
        lambda clean: clean.assign_coords(plev=xr.Variable((), 85000.0, {"units": "Pa"})),
        r"another level \(pressure 850 hPa\), not at 10 m",
    ),
    "a model level": (lambda clean: clean.expand_dims(hybrid=[137], axis=1), "model level 137"),
    "a rotated grid by mapping": (_with_grid_mapping("rotated_latitude_longitude"), "Got: a rotated latitude"),
    "a Lambert projection by mapping": (_with_grid_mapping("lambert_conformal_conic"), "Got: a Lambert projection"),
    "an unstructured grid by GRIB key": (_with(GRIB_gridType="unstructured_grid"), "Got: an unstructured grid"),
    "axes of a rotated grid": (_rotated_axes, "latitude–longitude grid"),
    "axes of a map": (_axes_in_metres, "latitude–longitude grid"),
    "a list of points": (_list_of_points, "Got: a list of 684 points"),
    "a year of 365 days": (_no_leap, "Got: calendar noleap"),
    "times without a unit": (_times("", [0.0, 6.0]), "CF units"),
    "times with an odd unit": (_times("fortnights since 2018-01-01", [0.0, 6.0]), "`time` cannot be decoded"),
    "texts that are no times": (_texts("first", "second"), "of the form 2018-09-15T00:00. Got: 'first'"),
    "labels of members without a number": (_ensemble(["first", "second"]), "a number in their label. Got: 'first'"),
    "an unknown unit": (_with(units="rad s-1"), "`u10` must have `units` such as m s-1.*Got: 'rad s-1'"),
    "no unit": (without_units, "`u10` must have `units` such as m s-1.*Got: 'no units'"),
    "rows at a pole": (
        lambda clean: clean.where(clean.latitude < 75, drop=True),
        "towards the north pole are missing",
    ),
    "a region": (lambda clean: clean.where(abs(clean.latitude) < 45, drop=True), "a region"),
    "half the longitudes": (
        lambda clean: clean.where(clean.longitude < 180, drop=True),
        "evenly spaced around the globe",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_state_of_10_metre_wind_is_refused(tmp_path: Path, name: str) -> None:
    change, pattern = REFUSED[name]
    with pytest.raises(InitialStateError, match=pattern) as caught:
        _read(tmp_path, change(state()))
    assert "damaged" not in str(caught.value)


def test_a_missing_unit_that_is_known_by_convention_is_said(tmp_path: Path) -> None:
    result = _read(tmp_path, _earth2studio(state()))
    notes = " ".join(note for chosen in result.choice for note in chosen.notes)
    assert "`u10m` has no `units`; arrays of several variables, such as `fields`, are in m s-1" in notes
