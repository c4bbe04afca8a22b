from collections.abc import Callable

import cftime
import numpy as np
import pytest
import xarray as xr

from weather.readers.array_blocks import read_array_blocks
from weather.readers.arrays import read_arrays
from weather.readers.choice import choose
from weather.readers.containers import SourceError
from weather.readers.files import describe_missing
from weather.readers.long_series import LongSeries
from weather.readers.series import Series

WIND = ("u10", "v10")
KNOT = 1852 / 3600


def _read(dataset: xr.Dataset, variables: tuple[str, ...] = WIND) -> xr.Dataset:
    contents = read_arrays(dataset, "a.nc", variables)
    assert contents.problems == []
    series = Series(choose(contents.records, variables))
    fields = series.load(series.times).fields
    if not series.is_ensemble:
        long = LongSeries(read_array_blocks(dataset, "a.nc", variables).blocks, variables)
        np.testing.assert_array_equal(long.times, fields.time.values)
        frames = long.read(np.arange(len(long.times)))
        np.testing.assert_array_equal(frames, np.stack([fields[name].values for name in variables], axis=1))
    return fields


def _gfs(winds: xr.Dataset) -> xr.Dataset:
    """Use the names of NOMADS."""
    named = winds.rename(u10="ugrd10m", v10="vgrd10m", latitude="lat", longitude="lon")
    return _with_units(named, "m/s")


def _era5(winds: xr.Dataset) -> xr.Dataset:
    """Write as the new CDS: `valid_time` as dimension, a scalar `number`, a text `expver` for each time."""
    named = winds.rename(time="valid_time").assign_coords(
        number=0, expver=("valid_time", ["0001"] * winds.sizes["time"])
    )
    return _with_units(named, "m s**-1")


def _ifs(winds: xr.Dataset) -> xr.Dataset:
    """Write an analysis as cfgrib reads it: reference time as dimension, a scalar step, west-to-east from -180."""
    named = winds.rename(u10="10u", v10="10v").assign_coords(
        step=np.timedelta64(0, "ns"),
        valid_time=("time", winds.time.values),
        heightAboveGround=10.0,
        longitude=(winds.longitude.values + 180.0) % 360.0 - 180.0,
    )
    return _with_units(named.sortby("longitude"), "m s**-1")


def _weatherbench(winds: xr.Dataset) -> xr.Dataset:
    named = winds.rename(u10="10m_u_component_of_wind", v10="10m_v_component_of_wind")
    return named.sortby("latitude").transpose("time", "longitude", "latitude")


def _cmip(winds: xr.Dataset) -> xr.Dataset:
    """Write CMIP's names, recognised by CF name and height only."""
    named = winds.rename(u10="uas", v10="vas", latitude="lat", longitude="lon").assign_coords(height=10.0)
    named.uas.attrs["standard_name"], named.vas.attrs["standard_name"] = "eastward_wind", "northward_wind"
    return named


def _one_height(winds: xr.Dataset) -> xr.Dataset:
    return _cmip(winds).expand_dims("height", axis=1)


def _by_attributes(winds: xr.Dataset) -> xr.Dataset:
    """Write meaningless names: variables have GRIB numbers, dimensions CF attributes."""
    named = winds.rename(u10="a", v10="b", time="d", latitude="e", longitude="f")
    named.a.attrs["GRIB_paramId"], named.b.attrs["GRIB_paramId"] = 165, 166
    named.d.attrs["standard_name"] = "time"
    named.e.attrs["units"], named.f.attrs["units"] = "degrees_north", "degrees_east"
    return named


def _with_units(dataset: xr.Dataset, units: str) -> xr.Dataset:
    return dataset.assign({name: array.assign_attrs(units=units) for name, array in dataset.data_vars.items()})


def _problems(dataset: xr.Dataset, variables: tuple[str, ...] = WIND) -> list[str]:
    contents = read_arrays(dataset, "a.nc", variables)
    assert contents.problems
    assert {record.variable for record in contents.records} < set(variables)
    return list(contents.problems)


@pytest.mark.parametrize("style", [_gfs, _era5, _ifs, _weatherbench, _cmip, _one_height, _by_attributes])
def test_every_style_gives_the_same_canonical_fields(
    winds: xr.Dataset, style: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    got = _read(style(winds.copy(deep=True)))
    assert set(got.coords) == {"time", "latitude", "longitude"}
    xr.testing.assert_equal(got, winds)
    assert [(array.dims, array.dtype) for array in got.values()] == [(winds.u10.dims, np.float32)] * 2


def test_knots_become_metres_a_second(winds: xr.Dataset) -> None:
    knots = _with_units(winds / KNOT, "knots")
    got = _read(knots, WIND)
    xr.testing.assert_allclose(got, winds, rtol=1e-6)
    assert got.u10.dtype == np.float32


def test_celsius_and_hectopascals_become_kelvin_and_pascals(winds: xr.Dataset) -> None:
    dataset = xr.Dataset({"2t": winds.u10.assign_attrs(units="degC"), "msl": winds.v10.assign_attrs(units="hPa")})
    got = _read(dataset, ("t2m", "msl"))
    np.testing.assert_allclose(got.t2m, winds.u10 + 273.15, rtol=1e-6)
    np.testing.assert_allclose(got.msl, winds.v10 * 100, rtol=1e-6)


@pytest.mark.parametrize("name", ["number", "member", "realization", "ensemble", "sample"])
def test_members_of_every_usual_name_follow_time(winds: xr.Dataset, name: str) -> None:
    ensemble = xr.concat([winds, -winds, 2 * winds], xr.Variable(name, [0, 1, 2])).transpose(..., name)
    got = _read(_with_units(ensemble, "m s-1"), WIND)
    assert got.u10.dims == ("time", "member", "latitude", "longitude")
    for member, factor in enumerate((1, -1, 2)):
        np.testing.assert_array_equal(got.u10[:, member], factor * winds.u10)


def test_a_single_frame_of_scalar_time_has_a_time_dimension(winds: xr.Dataset) -> None:
    got = _read(winds.isel(time=1), WIND)
    xr.testing.assert_equal(got, winds.isel(time=[1]))


@pytest.mark.parametrize("step_is_a_dimension", [False, True])
def test_frames_of_a_forecast_are_placed_at_their_valid_times(winds: xr.Dataset, step_is_a_dimension: bool) -> None:
    step = np.timedelta64(6, "h").astype("timedelta64[ns]")
    forecast = winds.assign_coords(time=winds.time - step, step=step, valid_time=("time", winds.time.values))
    if step_is_a_dimension:
        valid_time = (("time", "step"), winds.time.values[:, None])
        forecast = forecast.drop_vars("valid_time").expand_dims("step", axis=1).assign_coords(valid_time=valid_time)
    got = _read(forecast, WIND)
    xr.testing.assert_equal(got, winds)


def test_steps_of_one_forecast_are_placed_at_their_valid_times(winds: xr.Dataset) -> None:
    forecast = winds.rename(time="step").assign_coords(
        step=winds.time.values - winds.time.values[0], time=winds.time.values[0], valid_time=("step", winds.time.values)
    )
    got = _read(forecast, WIND)
    xr.testing.assert_equal(got, winds)


def test_variables_that_are_not_requested_are_ignored(winds: xr.Dataset) -> None:
    cluttered = winds.assign(
        t=xr.Variable(("level", "time"), np.zeros((5, winds.sizes["time"]))), mask=xr.Variable((), 1)
    )
    got = _read(cluttered, WIND)
    xr.testing.assert_equal(got, winds)


@pytest.mark.parametrize(("units", "got"), [("", "''"), ("K", "'K'"), ("furlongs/fortnight", "'furlongs/fortnight'")])
def test_a_wrong_unit_is_named_with_the_accepted_ones(winds: xr.Dataset, units: str, got: str) -> None:
    winds.v10.attrs["units"] = units
    (problem,) = _problems(winds)
    assert problem.startswith("`v10` must have `units` such as m s-1, m/s")
    assert "knots" in problem
    assert problem.endswith(f"Got: {got}.")


def test_a_missing_unit_is_named(winds: xr.Dataset) -> None:
    del winds.u10.attrs["units"]
    (problem,) = _problems(winds)
    assert problem.startswith("`u10` must have `units`")
    assert problem.endswith("Got: 'no units'.")


def test_a_missing_variable_is_named_with_the_available_ones(winds: xr.Dataset) -> None:
    contents = read_arrays(winds.rename(v10="gust"), "a.nc", WIND)
    assert {record.variable for record in contents.records} == {"u10"}
    assert contents.others == ["gust"]
    problem = describe_missing(["v10"], ["u10", *contents.others])
    assert "Missing: 10 metre v wind component (v10 or 10v" in problem
    assert problem.endswith("The data has: u10, gust.")


def test_data_without_any_variable_is_reported(winds: xr.Dataset) -> None:
    contents = read_arrays(winds[["time"]], "a.nc", WIND)
    assert not contents.records
    assert not contents.problems
    assert describe_missing(WIND, contents.others).endswith("The data has: no variable at all.")


def test_wind_at_another_height_is_not_used_as_that_at_10_metres(winds: xr.Dataset) -> None:
    contents = read_arrays(_cmip(winds).assign_coords(height=100.0), "a.nc", WIND)
    assert {record.unusable for record in contents.records} == {"at another level (height 100 m), not at 10 m"}


def test_another_calendar_is_named_once(winds: xr.Dataset) -> None:
    times = [cftime.DatetimeNoLeap(2018, 9, 14, 6 * frame) for frame in range(winds.sizes["time"])]
    (problem,) = _problems(winds.assign_coords(time=times))
    assert "standard (Gregorian) calendar" in problem
    assert "Got: calendar noleap." in problem


def test_times_that_are_plain_numbers_are_named(winds: xr.Dataset) -> None:
    (problem,) = _problems(winds.assign_coords(time=[0.0, 6.0, 12.0, 18.0]))
    assert problem.endswith("Got: values of type float64.")


def test_a_missing_time_is_named_for_each_variable(winds: xr.Dataset) -> None:
    assert _problems(winds.drop_vars("time")) == [
        f"`{name}` must have a `time` coordinate that gives the valid time of each frame." for name in WIND
    ]


def test_fields_on_several_levels_are_at_another_level(winds: xr.Dataset) -> None:
    with pytest.raises(SourceError, match=r"`u10` cannot be used: in `a.nc`, it is at another level .* not at 10 m"):
        _read(winds.expand_dims(level=[1000.0, 850.0]))


def test_an_unknown_dimension_is_named(winds: xr.Dataset) -> None:
    assert _problems(winds.expand_dims(scenario=2)) == [
        f"`{name}` must have dimensions time, latitude, longitude. Got also: scenario." for name in WIND
    ]


def _with_points(winds: xr.Dataset, tilt: float) -> xr.Dataset:
    """Write the coordinates of each point; `tilt` is how much latitudes rise along a row."""
    lat, lon = np.meshgrid(winds.latitude, winds.longitude, indexing="ij")
    lat = lat + tilt * np.arange(lon.shape[1])
    plain = winds.drop_vars(["latitude", "longitude"]).rename(latitude="j", longitude="i")
    return plain.assign_coords(lat=(("j", "i"), lat), lon=(("j", "i"), lon))


def test_a_curvilinear_grid_is_named(winds: xr.Dataset) -> None:
    problems = _problems(_with_points(winds, tilt=0.1))
    assert problems[0].startswith("`u10` must have a one-dimensional `latitude` coordinate")
    assert "Got: a curvilinear grid of shape (16, 32); its dimensions are ('time', 'j', 'i')." in problems[0]


def test_coordinates_of_each_point_of_a_regular_grid_are_read(winds: xr.Dataset) -> None:
    xr.testing.assert_equal(_read(_with_points(winds, tilt=0.0)), winds)


def test_a_region_is_named_once(winds: xr.Dataset) -> None:
    (problem,) = _problems(winds.sel(latitude=slice(70, 10), longitude=slice(100, 200)))
    assert problem.startswith("The grid must be global.")
    assert problem.endswith("a region.")


def test_variables_of_different_times_are_refused(winds: xr.Dataset) -> None:
    shifted = winds.v10.rename(time="time1").assign_coords(time1=winds.time.values + np.timedelta64(1, "h"))
    with pytest.raises(
        SourceError, match=r"No time has all of u10, v10\. Got: `u10`: 2018-09-14T12:00 to 2018-09-15T06"
    ):
        _read(winds[["u10"]].assign(v10=shifted))


def test_several_problems_are_reported_together(winds: xr.Dataset) -> None:
    winds.u10.attrs["units"] = "K"
    broken = winds.drop_vars("v10").isel(latitude=slice(0, 8)).assign_coords(time=[0.0, 1.0, 2.0, 3.0])
    problems = " ".join(_problems(broken))
    for part in ("`u10` must have `units`", "must be global", "type float64"):
        assert problems.count(part) == 1


@pytest.mark.parametrize("name", ["step", "prediction_timedelta", "lead_time", "leadtime", "fhour"])
@pytest.mark.parametrize("as_dimension", [False, True])
@pytest.mark.parametrize("hours", [0, 72])
def test_a_step_is_added_to_the_time_of_the_run(winds: xr.Dataset, name: str, as_dimension: bool, hours: int) -> None:
    step = np.timedelta64(hours, "h").astype("timedelta64[ns]")
    forecast = winds.assign_coords({name: step})
    got = _read(forecast.expand_dims(name) if as_dimension else forecast)
    xr.testing.assert_equal(got, winds.assign_coords(time=winds.time + step))
