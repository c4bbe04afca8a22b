"""What data sets call their coordinates, levels, grids and units: CF attributes first, then names of archives."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import xarray as xr

from weather.readers.records import Level

Role = str
"""What an axis is: latitude, longitude, time, valid_time, run, step, member, version, statistic, height, pressure,
level, projected (an axis of a map projection or rotated grid) or extra."""

_STANDARD_NAMES: Mapping[str, Role] = MappingProxyType(
    {
        "latitude": "latitude",
        "longitude": "longitude",
        "time": "time",
        "forecast_reference_time": "run",
        "forecast_period": "step",
        "realization": "member",
        "height": "height",
        "air_pressure": "pressure",
        "projection_x_coordinate": "projected",
        "projection_y_coordinate": "projected",
        "grid_latitude": "projected",
        "grid_longitude": "projected",
    }
)
_NAMES: Mapping[str, Role] = MappingProxyType(
    {
        name: role
        for role, names in {
            "latitude": ("latitude", "lat", "g0_lat_0", "lat_0", "nav_lat"),
            "longitude": ("longitude", "lon", "long", "lon_0", "g0_lon_0", "nav_lon"),
            "valid_time": ("valid_time", "validtime", "datetime"),
            "time": ("time", "time1", "initial_time0_hours", "date"),
            "run": (
                *("init_time", "reftime", "reference_time", "forecast_reference_time", "initial_time", "run"),
                *("analysis_time", "init", "inittime", "start_time", "forecast_start_time", "issue_time"),
            ),
            "step": (
                *("step", "steps", "prediction_timedelta", "lead_time", "leadtime", "lead", "forecast_hour", "fhour"),
                *("forecast_period", "timedelta", "forecast_time", "fcst_hour", "fxx", "ftime", "lead_hours"),
            ),
            "member": (
                *("number", "member", "realization", "realisation", "ensemble", "ensemble_member", "ens", "sample"),
                *("member_id", "mem", "ens_member", "perturbation_number", "realization_index"),
            ),
            "version": ("expver",),
            "statistic": ("quantile", "quantiles", "percentile", "statistic", "statistics", "stat", "probability"),
            "height": ("height", "heightaboveground", "altitude", "height_above_ground", "lv_htgl", "hgt"),
            "pressure": ("isobaricinhpa", "plev", "pressure", "pressure_level", "isobaric", "lev_p", "lv_isbl"),
            "level": ("level", "lev", "levels", "hybrid", "model_level"),
            "projected": ("rlat", "rlon", "south_north", "west_east"),
        }.items()
        for name in names
    }
)
_WEAK_NAMES: Mapping[str, Role] = MappingProxyType({"y": "latitude", "x": "longitude"})
_AXES: Mapping[str, Role] = MappingProxyType({"X": "longitude", "Y": "latitude", "T": "time", "Z": "vertical"})
_NUMBERED = re.compile(r"_?\d+$")
_UNITS: Mapping[str, Role] = MappingProxyType(
    dict.fromkeys(("degrees_north", "degree_north", "degreesn", "degrees_n", "degree_n"), "latitude")
    | dict.fromkeys(("degrees_east", "degree_east", "degreese", "degrees_e", "degree_e"), "longitude")
)
_PRESSURE_UNITS = {"hpa": 1.0, "mb": 1.0, "mbar": 1.0, "millibar": 1.0, "millibars": 1.0, "pa": 0.01}
_HEIGHT_UNITS = {"m", "meter", "metre", "meters", "metres"}
_PROJECTED_UNITS = {*_HEIGHT_UNITS, "km", "kilometer", "kilometers", "rad", "radian", "radians", "degrees"}
_GRIDS: Mapping[str, str] = MappingProxyType(
    {
        "rotated_latitude_longitude": "a rotated latitude–longitude grid",
        "rotated_ll": "a rotated latitude–longitude grid",
        "rotated_gg": "a rotated Gaussian grid",
        "lambert_conformal_conic": "a Lambert projection",
        "lambert": "a Lambert projection",
        "polar_stereographic": "a polar stereographic projection",
        "mercator": "a Mercator projection",
        "geostationary": "a satellite projection",
        "space_view": "a satellite projection",
        "unstructured_grid": "an unstructured grid, such as ICON's",
        "reduced_gg": "a reduced Gaussian grid as a list of points",
        "reduced_ll": "a reduced latitude–longitude grid",
        "healpix": "a HEALPix grid",
        "sh": "spherical harmonics",
    }
)
_WARMCAST = {"init_time": "forecast_reference_time", "lead_time": "forecast_period", "valid_time": "time"}
_SLICE_OF = "slice_of"
"""Attribute with which `mark_slice` names the array of several variables that an array was taken from."""


def role_of(name: str, attributes: Mapping[str, Any]) -> Role:
    """Return the role of a coordinate or dimension by its CF attributes, else by its name; `extra` if unknown."""
    standard = _STANDARD_NAMES.get(str(attributes.get("standard_name", "")))
    units = str(attributes.get("units", "")).casefold()
    by_name = _by_name(name)
    if standard == "time" and by_name in ("valid_time", "run"):
        return by_name
    role = standard or _UNITS.get(units) or by_name
    if role is None:
        role = _WEAK_NAMES.get(name.casefold()) or _AXES.get(str(attributes.get("axis", "")))
        if role in ("latitude", "longitude") and units in _PROJECTED_UNITS:
            return "projected"
    if role in (None, "level", "vertical"):
        if units in _PRESSURE_UNITS:
            return "pressure"
        if units in _HEIGHT_UNITS and (role or attributes.get("positive")):
            return "height"
        role = "level" if role else None
    return role or "extra"


def is_weak(name: str, attributes: Mapping[str, Any]) -> bool:
    """Return whether only an axis or a name such as `x` gives a coordinate its role: a clearer one is preferred."""
    return not (
        str(attributes.get("standard_name", "")) in _STANDARD_NAMES
        or str(attributes.get("units", "")).casefold() in _UNITS
        or _by_name(name)
    )


def _by_name(name: str) -> Role | None:
    return _NAMES.get(name.casefold()) or _NAMES.get(_NUMBERED.sub("", name.casefold()))


def pressure_factor(units: str) -> float:
    """Return the factor from a pressure unit to hPa; 1 for an unknown one."""
    return _PRESSURE_UNITS.get(units.casefold(), 1.0)


def level_called(label: str | bytes) -> Level:
    """Return the level that a text such as `10 m above ground` or `850 mb` means; another text is its kind."""
    text = label.decode("utf-8", "replace") if isinstance(label, bytes) else label
    match = re.match(r"\s*([0-9.]+)\s*(m|hpa|mb|mbar)\b", text.casefold())
    if match is None:
        return Level(text)
    return Level("height" if match[2] == "m" else "pressure", float(match[1]))


def describe_grid(dataset: xr.Dataset, array: xr.DataArray) -> str | None:
    """Return what is written about a grid that is no latitude–longitude grid, or None if nothing is."""
    mapping = array.attrs.get("grid_mapping", array.encoding.get("grid_mapping", ""))
    attributes = dataset[mapping].attrs if mapping in dataset.variables else {}
    stated = (attributes.get("grid_mapping_name"), array.attrs.get("GRIB_gridType"))
    return next((_GRIDS[str(name)] for name in stated if str(name) in _GRIDS), None)


def assumed_units(array: xr.DataArray, canonical: str) -> tuple[str, str] | None:
    """Return the unit of an array without `units` that its archive's convention states, and where; else None.

    NOMADS' OPeNDAP servers write it into `long_name`, in square brackets. Arrays of several variables, as earth2studio
    writes them, the names of WeatherBench 2, GraphCast and ECMWF, and forecasts of Warmcast are of the canonical unit.
    """
    match = re.search(r"\[([^\]]+)\]", str(array.attrs.get("long_name", "")))
    if match:
        return match[1], f"its long name says {match[1]}"
    if _SLICE_OF in array.attrs:
        return canonical, f"arrays of several variables, such as `{array.attrs[_SLICE_OF]}`, are in {canonical}"
    if re.match(r"10m_[uv]_|2m_t|10[uv]$|2t$|[uv]10m$", str(array.name)):
        return canonical, f"data with this name are in {canonical}"
    if all(_has_standard_name(array, name, standard) for name, standard in _WARMCAST.items()):
        return canonical, f"forecasts of Warmcast are in {canonical}"
    return None


def _has_standard_name(array: xr.DataArray, name: str, standard: str) -> bool:
    return name in array.coords and array.coords[name].attrs.get("standard_name") == standard


def mark_slice(array: xr.DataArray, name: str) -> xr.DataArray:
    """Return the array of one variable, taken from an array of several that is called `name`."""
    return array.assign_attrs({_SLICE_OF: name})
