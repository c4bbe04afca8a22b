"""Recognise which dimension of a dataset is latitude, longitude, member or valid time."""

import numpy as np
import xarray as xr

DIMENSION_NAMES = {
    "latitude": ("latitude", "lat", "y", "g0_lat_0", "lat_0"),
    "longitude": ("longitude", "lon", "long", "x", "lon_0"),
    "time": ("time", "valid_time", "time1", "initial_time0_hours"),
    "member": ("number", "member", "realization", "ensemble", "ensemble_member", "sample"),
}
_STANDARD_NAMES = {"latitude": "latitude", "longitude": "longitude", "time": "time", "member": "realization"}
_UNITS = {"latitude": "degrees_north", "longitude": "degrees_east"}
_STEPS = ("step", "prediction_timedelta", "lead_time")


def standardise_dimensions(array: xr.DataArray) -> xr.DataArray:
    """Return the array with dimensions renamed by CF attributes or usual names, indexed by valid time.

    A scalar time becomes a dimension; other dimensions of size 1 are dropped.
    """
    array = _index_by_valid_time(array)
    renames = {}
    for standard, names in DIMENSION_NAMES.items():
        for dim in array.dims:
            attrs = array[dim].attrs if dim in array.coords else {}
            by_units = _UNITS.get(standard) == str(attrs.get("units", ""))
            if str(dim).casefold() in names or attrs.get("standard_name") == _STANDARD_NAMES[standard] or by_units:
                renames[dim] = standard
                break
    renames = {dim: standard for dim, standard in renames.items() if dim != standard}
    clashes = [standard for standard in renames.values() if standard in array.coords]
    array = array.drop_vars(clashes).rename(renames)
    if "time" not in array.dims and "time" in array.coords:
        array = array.expand_dims("time")
    singletons = [dim for dim in array.dims if dim not in DIMENSION_NAMES and array.sizes[dim] == 1]
    return array.squeeze(singletons)


def find_forecast_step(array: xr.DataArray) -> str | None:
    """Return the name of the coordinate of forecast steps, or None if `array` is an analysis."""
    for name in _STEPS:
        if name in array.coords and np.any(array[name].values.astype("timedelta64[ns]") != np.timedelta64(0)):
            return name
    return None


def _index_by_valid_time(array: xr.DataArray) -> xr.DataArray:
    """Return `array` with the coordinate `valid_time`, if it is scalar or one-dimensional, as its `time`."""
    if "valid_time" in array.coords and array.valid_time.ndim > 1:
        array = array.squeeze([dim for dim in array.valid_time.dims if array.sizes[dim] == 1])
    valid = array.coords.get("valid_time")
    if valid is None or valid.ndim > 1 or "valid_time" in array.dims:
        return array
    if valid.ndim == 1:
        array = array.swap_dims({valid.dims[0]: "valid_time"})
    replaced = [name for name in ("time", "step") if name in array.coords and name not in array.dims]
    array = array.drop_vars(replaced)
    return array.rename(valid_time="time") if valid.ndim == 0 else array
