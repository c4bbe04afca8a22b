"""What data sets call their coordinates: CF attributes first, then the names of known archives and tools."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import xarray as xr

Role = str
"""What an axis is: latitude, longitude, valid_time, run, step, member, version, height, pressure, level or extra."""

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
    }
)
_NAMES: Mapping[str, Role] = MappingProxyType(
    {
        name: role
        for role, names in {
            "latitude": ("latitude", "lat", "g0_lat_0", "lat_0", "y"),
            "longitude": ("longitude", "lon", "long", "lon_0", "x"),
            "valid_time": ("valid_time", "datetime"),
            "time": ("time", "time1", "initial_time0_hours", "validtime"),
            "run": (
                "init_time",
                "reftime",
                "reference_time",
                "forecast_reference_time",
                "initial_time",
                "run",
                "analysis_time",
            ),
            "step": (
                "step",
                "prediction_timedelta",
                "lead_time",
                "leadtime",
                "lead",
                "forecast_hour",
                "fhour",
                "forecast_period",
                "timedelta",
            ),
            "member": (
                "number",
                "member",
                "realization",
                "realisation",
                "ensemble",
                "ensemble_member",
                "ens",
                "sample",
            ),
            "version": ("expver",),
            "height": ("height", "heightaboveground", "altitude", "height_above_ground"),
            "pressure": ("isobaricinhpa", "plev", "pressure", "pressure_level", "isobaric", "lev_p"),
            "level": ("level", "lev", "levels", "hybrid", "model_level"),
        }.items()
        for name in names
    }
)
_NUMBERED = re.compile(r"_?\d+$")
_UNITS = {
    "degrees_north": "latitude",
    "degree_north": "latitude",
    "degrees_east": "longitude",
    "degree_east": "longitude",
}
_PRESSURE_UNITS = {"hpa": 1.0, "mb": 1.0, "mbar": 1.0, "millibar": 1.0, "millibars": 1.0, "pa": 0.01}
_HEIGHT_UNITS = {"m", "meter", "metre", "meters", "metres"}


def role_of(name: str, attributes: Mapping[str, Any]) -> Role:
    """Return the role of a coordinate or dimension by its CF attributes, else by its name; `extra` if unknown."""
    standard = _STANDARD_NAMES.get(str(attributes.get("standard_name", "")))
    units = str(attributes.get("units", "")).casefold()
    plain = _NUMBERED.sub("", name.casefold()) or name.casefold()
    by_name = _NAMES.get(name.casefold()) or _NAMES.get(plain)
    if standard == "time" and by_name in ("valid_time", "run"):
        return by_name
    role = standard or _UNITS.get(units) or by_name or _AXES.get(str(attributes.get("axis", "")))
    if role in (None, "level", "vertical"):
        if units in _PRESSURE_UNITS:
            return "pressure"
        if units in _HEIGHT_UNITS and (role or attributes.get("positive")):
            return "height"
        role = "level" if role else None
    return role or "extra"


_AXES = {"X": "longitude", "Y": "latitude", "T": "time", "Z": "vertical"}


def pressure_factor(units: str) -> float:
    """Return the factor from a pressure unit to hPa; 1 for an unknown one."""
    return _PRESSURE_UNITS.get(units.casefold(), 1.0)


def assumed_units(array: xr.DataArray) -> str | None:
    """Return the unit of an array without `units` if its archive's convention states it, else None.

    NOMADS' OPeNDAP servers write it into `long_name`, in square brackets.
    """
    match = re.search(r"\[([^\]]+)\]", str(array.attrs.get("long_name", "")))
    return match[1] if match else None


def statistic_text(array: xr.DataArray, global_attributes: Mapping[str, Any]) -> str:
    """Return what is written about how the values were made: cell methods, GRIB keys, names, MERRA-2's collection."""
    attributes = array.attrs
    collection = " ".join(str(global_attributes.get(key, "")) for key in ("Title", "ShortName", "LongName"))
    parts = [
        str(attributes.get("cell_methods", "")),
        f"step:{attributes.get('GRIB_stepType', '')}",
        f"type:{attributes.get('GRIB_dataType', '')}",
        f"name:{array.name} {attributes.get('long_name', '')}",
        f"collection:{collection}" if "tavg" in collection.casefold() else "",
    ]
    return "; ".join(part for part in parts if part).casefold()
