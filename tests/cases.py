"""Inputs as people have them, with what each must do: be read as the clean state, or be refused with a sentence."""

import bz2
import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import xarray as xr

from tests.inputs import (
    grib_message,
    grib_messages,
    map_fields,
    state,
    without_units,
    write_grib,
    write_netcdf,
    write_zipped_zarr,
)

HOUR = np.timedelta64(1, "h")
MEMBER = {"productDefinitionTemplateNumber": 1, "numberOfForecastsInEnsemble": 3}
SPREAD = {"productDefinitionTemplateNumber": 2, "derivedForecast": 4}


@dataclass(frozen=True)
class Case:
    """An input and what it must do.

    `make` writes files into a folder and returns their paths. `refusal` is a pattern of the sentence with which it must
    be refused. If it is None, each of `members` must be read as the clean state plus its number, at `later_hours` after
    the clean one's time, to `tolerance` in m/s.
    """

    make: Callable[[Path], list[Path]]
    refusal: str | None = None
    members: tuple[int, ...] = (0,)
    later_hours: int = 0
    tolerance: float = 0.02


def _plus(dataset: xr.Dataset, value: float) -> xr.Dataset:
    return map_fields(dataset, lambda field: field + np.float32(value))


def _netcdf(change: Callable[[xr.Dataset], xr.Dataset], **options: Any) -> Callable[[Path], list[Path]]:
    return lambda folder: [write_netcdf(change(state()), folder / "input.nc", **options)]


def _grib(**options: Any) -> Callable[[Path], list[Path]]:
    return lambda folder: [write_grib(folder / "input.grib2", grib_messages(state(), **options))]


def _runs_older_last(folder: Path) -> list[Path]:
    old = grib_messages(_plus(state(), 5), step_hours=12)
    return [write_grib(folder / "runs.grib2", [*grib_messages(state()), *old])]


def _run_of_each_frame(folder: Path) -> list[Path]:
    """Return run 12 with 18Z as step 6 and 00Z as step 12, and the analysis of 00Z."""
    clean = state()
    newest = clean.isel(time=[1])
    run_12 = [*grib_messages(clean.isel(time=[0]), step_hours=6), *grib_messages(_plus(newest, 5), step_hours=12)]
    return [
        write_grib(folder / "run12.grib2", run_12),
        write_grib(folder / "run00.grib2", grib_messages(newest)),
    ]


def _two_values(dataset: xr.Dataset) -> xr.Dataset:
    return xr.concat([dataset, _plus(dataset.isel(time=[1]), 3)], "time")


def _missing_duplicate(dataset: xr.Dataset) -> xr.Dataset:
    empty = map_fields(dataset.isel(time=[1]), lambda field: field * np.nan)
    return xr.concat([empty, dataset], "time")


def _ensemble(numbers: list[int], frame: int) -> xr.Dataset:
    members = [_plus(state().isel(time=[frame]), number) for number in numbers]
    return xr.concat(members, xr.Variable("number", numbers))


def _members_netcdf(folder: Path) -> list[Path]:
    return [
        write_netcdf(_ensemble([0, 1, 2], 0), folder / "members_012.nc"),
        write_netcdf(_ensemble([1, 2, 3], 1), folder / "members_123.nc"),
    ]


def _member_messages(numbers: list[int], frame: int) -> list[bytes]:
    return [
        message
        for number in numbers
        for message in grib_messages(
            _plus(state().isel(time=[frame]), number), keys=MEMBER | {"perturbationNumber": number}
        )
    ]


def _members_without_a_common_one(folder: Path) -> list[Path]:
    return [
        write_grib(folder / "members_12_18z.grib2", _member_messages([1, 2], 0)),
        write_grib(folder / "members_34_00z.grib2", _member_messages([3, 4], 1)),
    ]


def _control_and_perturbed(folder: Path) -> list[Path]:
    messages = [*_member_messages([0], 0), *_member_messages([0], 1)]
    for frame in (0, 1):
        messages += _member_messages([2, 1], frame)
    return [write_grib(folder / "cf_pf.grib2", messages)]


def _spread_of_ecmwf(folder: Path) -> list[Path]:
    mars = {"setLocalDefinition": 1, "localDefinitionNumber": 1, "type": "es", "stream": "enda"}
    return [write_grib(folder / "spread.grib", grib_messages(state(), edition=1, keys=mars))]


def _zero_newest(folder: Path) -> list[Path]:
    clean = state()
    zero = map_fields(clean.isel(time=[1]), lambda field: field * np.float32(0))
    return [write_grib(folder / "zero.grib2", [*grib_messages(clean.isel(time=[0])), *grib_messages(zero)])]


def _with_lead_time(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.expand_dims(leadtime=xr.Variable("leadtime", [72.0], {"units": "hours"}), axis=1)


def _days_since_year_one(dataset: xr.Dataset) -> xr.Dataset:
    days = [736953.083333, 736953.333333]  # 2018-09-15T02 and 08 as NOMADS rounds them
    nomads = dataset.rename(latitude="lat", longitude="lon", u10="ugrd10m", v10="vgrd10m").sortby("lat")
    return nomads.assign_coords(time=("time", days, {"units": "days since 1-1-1 00:00:0.0"}))


def _nomads_without_units(dataset: xr.Dataset) -> xr.Dataset:
    nomads = without_units(_days_since_year_one(dataset).assign_coords(time=dataset.time.values))
    nomads.ugrd10m.attrs["long_name"] = "** 10 m above ground u-component of wind [m/s] "
    nomads.vgrd10m.attrs["long_name"] = "** 10 m above ground v-component of wind [m/s] "
    return nomads


def _thredds(dataset: xr.Dataset) -> xr.Dataset:
    heights = xr.Variable("height_above_ground2", np.array([10, 80, 100], np.float32), {"units": "m", "positive": "up"})
    levels = xr.concat([dataset, _plus(dataset, 3), _plus(dataset, 4)], heights).transpose("time", ...)
    named = levels.rename(
        {
            "u10": "u-component_of_wind_height_above_ground",
            "v10": "v-component_of_wind_height_above_ground",
            "latitude": "lat",
            "longitude": "lon",
            "time": "time2",
        }
    )
    for name, standard in zip(list(named.data_vars), ("eastward_wind", "northward_wind"), strict=True):
        named[name].attrs = {"units": "m/s", "standard_name": standard}
    return named


def _init_lead_valid(dataset: xr.Dataset) -> xr.Dataset:
    init = dataset.time.values[0]
    forecast = dataset.rename(time="lead_time").assign_coords(lead_time=dataset.time.values - init)
    forecast = forecast.expand_dims(init_time=[init])
    valid_time = (("init_time", "lead_time"), dataset.time.values[None])
    return forecast.assign_coords(valid_time=valid_time)


def _hycom(dataset: xr.Dataset) -> xr.Dataset:
    tau = xr.Variable("time", np.zeros(2), {"units": "hours since analysis", "long_name": "Tau"})
    return dataset.assign(tau=tau)


def _zip_of_netcdf(folder: Path) -> list[Path]:
    path = write_netcdf(state(), folder / "data_stream-oper.nc")
    with zipfile.ZipFile(folder / "download.nc", "w") as archive:
        archive.write(path, path.name)
    return [folder / "download.nc"]


def _zip_with_outer_folder(folder: Path) -> list[Path]:
    state().to_zarr(folder / "state.zarr", zarr_format=3, consolidated=False)
    with zipfile.ZipFile(folder / "state.zip", "w") as archive:
        for path in sorted((folder / "state.zarr").rglob("*")):
            archive.write(path, path.relative_to(folder))
    return [folder / "state.zip"]


def _y_x(dataset: xr.Dataset) -> xr.Dataset:
    latitude, longitude = dataset.latitude.values, dataset.longitude.values
    named = dataset.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
    return named.assign_coords(
        latitude=("y", latitude, {"standard_name": "latitude"}), longitude=("x", longitude, {"units": "degrees_east"})
    )


def _missing_time(dataset: xr.Dataset) -> xr.Dataset:
    times = [*dataset.time.values, np.datetime64("NaT")]
    return xr.concat([dataset, dataset.isel(time=[0])], "time").assign_coords(time=times)


def _each_variable_alone(folder: Path) -> list[Path]:
    clean = state()
    return [
        write_netcdf(clean[[name]].rename({name: f"VAR_10{str(name)[0].upper()}"}), folder / f"{name}.nc")
        for name in clean
    ]


def _each_variable_alone_in_grib(folder: Path) -> list[Path]:
    return [write_grib(folder / f"{name}.grib2", grib_messages(state()[[name]])) for name in ("u10", "v10")]


def _wmo_headers(folder: Path) -> list[Path]:
    header = b"\x01\r\r\n001\r\r\nYEIA88 KWBC 150000\r\r\n"
    return [write_grib(folder / "wmo.grib2", [header + message + b"\r\r\n\x03" for message in grib_messages(state())])]


def _compressed(compress: Callable[[bytes], bytes], suffix: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        path = folder / f"wind.grib2{suffix}"
        path.write_bytes(compress(b"".join(grib_messages(state()))))
        return [path]

    return make


def _old_expver(dataset: xr.Dataset) -> xr.Dataset:
    """Return version 1 of the first time and version 5 of the second, and a preliminary field of the first."""
    final = map_fields(dataset, lambda field: field.where(field.time == field.time[0]))
    return xr.concat([final, _plus(dataset, 0)], xr.Variable("expver", [1, 5])).transpose("time", ...)


def _cyclic(dataset: xr.Dataset) -> xr.Dataset:
    centred = dataset.assign_coords(longitude=(dataset.longitude + 180) % 360 - 180).sortby("longitude")
    last = centred.isel(longitude=[0]).assign_coords(longitude=[180.0])
    return xr.concat([centred, last], "longitude")


def _graphcast(dataset: xr.Dataset) -> xr.Dataset:
    named = dataset.rename(
        u10="10m_u_component_of_wind", v10="10m_v_component_of_wind", latitude="lat", longitude="lon"
    ).sortby("lat")
    times = dataset.time.values
    named = named.assign_coords(time=times - times[-1]).expand_dims("batch")
    return named.assign_coords(datetime=(("batch", "time"), times[None]))


def _zarr_with_texts(folder: Path) -> list[Path]:
    return [write_zipped_zarr(state().assign_coords(expver=("time", ["0001", "0005"])), folder / "cds.zarr.zip")]


def _zarr_with_mask(folder: Path) -> list[Path]:
    mask = (("latitude", "longitude"), np.ones((19, 36), np.int8))
    return [write_zipped_zarr(state().assign(mask=mask), folder / "mask.zarr.zip")]


def _of_another_grid(sample: str, **keys: Any) -> Callable[[Path], list[Path]]:
    """Return a writer of 10 m wind on the grid of one of ecCodes' samples."""

    def make(folder: Path) -> list[Path]:
        handle = eccodes.codes_grib_new_from_samples(sample)
        messages = []
        for param_id, time in ((165, 1800), (166, 1800), (165, 2400), (166, 2400)):
            date = 20180914 + time // 2400
            settings = {"dataDate": date, "dataTime": time % 2400, "paramId": param_id, **keys}
            for key, value in settings.items():
                eccodes.codes_set(handle, key, value)
            messages.append(eccodes.codes_get_message(handle))
        eccodes.codes_release(handle)
        return [write_grib(folder / "grid.grib", messages)]

    return make


def _duplicates(folder: Path) -> list[Path]:
    path = write_grib(folder / "one.grib2", grib_messages(state()))
    return [path, write_netcdf(state(), folder / "two.nc"), path]


def _one_message_lacks(folder: Path) -> list[Path]:
    clean = state()
    return [write_grib(folder / "half.grib2", [grib_message(clean.u10.isel(time=index)) for index in (0, 1)])]


ACCEPTED: dict[str, Case] = {
    "clean NetCDF": Case(_netcdf(lambda clean: clean)),
    "clean GRIB": Case(_grib()),
    "rows from east to west": Case(_grib(i_negative=True)),
    "columns one after another": Case(_grib(by_columns=True)),
    "complex packing": Case(_grib(last_keys={"packingType": "grid_complex_spatial_differencing"})),
    "CCSDS packing": Case(_grib(last_keys={"packingType": "grid_ccsds"})),
    "GRIB 1 of second order": Case(_grib(edition=1, last_keys={"packingType": "grid_second_order"})),
    "an older run last in the file": Case(_runs_older_last),
    "two runs": Case(_run_of_each_frame),
    "two runs, the other one first": Case(lambda folder: _run_of_each_frame(folder)[::-1]),
    "a duplicate time without values": Case(_netcdf(_missing_duplicate)),
    "the same state in several files": Case(_duplicates),
    "members by label": Case(_members_netcdf, members=(1, 2)),
    "control and perturbed members": Case(_control_and_perturbed, members=(0, 1, 2)),
    "a dimension of lead time": Case(_netcdf(_with_lead_time), later_hours=72),
    "NOMADS' days": Case(_netcdf(_days_since_year_one), later_hours=8),
    "NOMADS without units": Case(_netcdf(_nomads_without_units)),
    "THREDDS": Case(_netcdf(_thredds)),
    "init, lead and valid time": Case(_netcdf(_init_lead_valid)),
    "an odd unit of a variable that nobody needs": Case(_netcdf(_hycom)),
    "a zip as the Climate Data Store sends it": Case(_zip_of_netcdf),
    "a zipped Zarr in a folder": Case(_zip_with_outer_folder),
    "one-dimensional latitudes on y": Case(_netcdf(_y_x)),
    "a missing time": Case(_netcdf(_missing_time)),
    "one file a variable": Case(_each_variable_alone),
    "one GRIB file a variable": Case(_each_variable_alone_in_grib),
    "WMO headers": Case(_wmo_headers),
    "bzip2": Case(_compressed(bz2.compress, ".bz2")),
    "gzip": Case(_compressed(gzip.compress, ".gz")),
    "old experiment versions": Case(_netcdf(_old_expver)),
    "a repeated meridian": Case(_netcdf(_cyclic)),
    "a Zarr with texts": Case(_zarr_with_texts),
    "a Zarr with a mask of bytes": Case(_zarr_with_mask),
    "GraphCast": Case(_netcdf(_graphcast)),
}
REFUSED: dict[str, Case] = {
    "two values for one time": Case(_netcdf(_two_values), r"`u10` has two different values for one time, 2018-09-15"),
    "no common member": Case(_members_without_a_common_one, r"a member in common.*members 1, 2.*members 3, 4"),
    "spread of ECMWF": Case(_spread_of_ecmwf, "ensemble spread"),
    "spread of GEFS": Case(_grib(keys=SPREAD), "ensemble spread"),
    "a percentile": Case(_grib(keys={"productDefinitionTemplateNumber": 6}), "quantile or probability"),
    "a probability": Case(_grib(keys={"productDefinitionTemplateNumber": 5}), "quantile or probability"),
    "the mean of GEFS": Case(_grib(keys=SPREAD | {"derivedForecast": 0}), "ensemble mean"),
    "an accumulation": Case(_grib(step_hours=6, keys={"stepType": "accum"}), "accumulation"),
    "100 m in GRIB": Case(_grib(last_keys={"level": 100}), "Missing: 10 metre u wind component"),
    "a hole in the tropics": Case(
        _netcdf(lambda clean: clean.where(abs(clean.latitude) >= 30, drop=True)),
        "latitudes between -30 and 30 are missing",
    ),
    "a newest frame of zeros": Case(_zero_newest, "(?i)constant|same value|everywhere"),
    "a spread without a name": Case(_netcdf(lambda clean: map_fields(clean, abs)), "`u10` .* is nowhere negative"),
    "850 hPa": Case(_netcdf(lambda clean: clean.expand_dims(level=[850.0], axis=1)), "another level"),
    "100 m": Case(
        _netcdf(lambda clean: clean.assign_coords(height=xr.Variable((), 100.0, {"units": "m"}))),
        r"another level \(height 100 m\), not at 10 m",
    ),
    "no time": Case(_netcdf(lambda clean: clean.isel(time=[])), "no frame|no time"),
    "one variable only": Case(_one_message_lacks, "Missing: 10 metre v wind component"),
    "a rotated grid": Case(_of_another_grid("rotated_ll_sfc_grib2"), "a rotated latitude–longitude grid"),
    "a rotated Gaussian grid": Case(_of_another_grid("rotated_gg_sfc_grib2"), "a rotated Gaussian grid"),
    "HEALPix": Case(_of_another_grid("GRIB2", gridType="healpix"), "a HEALPix grid"),
    "ICON": Case(_of_another_grid("GRIB2", gridType="unstructured_grid"), "an unstructured grid"),
    "a reduced grid of latitudes": Case(_of_another_grid("reduced_ll_sfc_grib2"), "a reduced latitude–longitude grid"),
    "spherical harmonics": Case(_of_another_grid("sh_sfc_grib2"), "spherical harmonics"),
    "polar stereographic": Case(_of_another_grid("polar_stereographic_sfc_grib2"), "a polar stereographic projection"),
}
