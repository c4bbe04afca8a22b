"""The dimensions of others: which of them is latitude, longitude, member or valid time."""

import numpy as np
import xarray as xr

DIMENSION_NAMES = {
    "latitude": ("latitude", "lat", "y", "g0_lat_0", "lat_0"),
    "longitude": ("longitude", "lon", "long", "x", "lon_0"),
    "time": ("time", "valid_time", "time1", "initial_time0_hours"),
    "member": ("number", "member", "realization", "ensemble", "ensemble_member", "sample"),
}
_STANDARD_NAMES = {"latitude": "latitude", "longitude": "longitude", "time": "time", "member": "realization"}
_STEPS = ("step", "prediction_timedelta", "lead_time")


def standard_dimensions(array: xr.DataArray) -> xr.DataArray:
    """Rename dimensions by CF attributes or usual names, and make one valid-time dimension."""
    array = _valid_time(array)
    renames = {}
    for ours, names in DIMENSION_NAMES.items():
        for dim in array.dims:
            attrs = array[dim].attrs if dim in array.coords else {}
            units = str(attrs.get("units", ""))
            by_units = {"latitude": "degrees_north", "longitude": "degrees_east"}.get(ours) == units
            if str(dim).casefold() in names or attrs.get("standard_name") == _STANDARD_NAMES[ours] or by_units:
                renames[dim] = ours
                break
    clashes = [ours for dim, ours in renames.items() if dim != ours and ours in array.coords]
    array = array.drop_vars(clashes).rename({dim: ours for dim, ours in renames.items() if dim != ours})
    if "time" not in array.dims and "time" in array.coords:
        array = array.expand_dims("time")
    thin = [dim for dim in array.dims if dim not in DIMENSION_NAMES and array.sizes[dim] == 1]
    return array.squeeze(thin)


def forecast_step(array: xr.DataArray) -> str | None:
    """Return the coordinate by which `array` is valid later than its `time`, or None where it is an analysis."""
    for name in _STEPS:
        if name in array.coords and np.any(array[name].values.astype("timedelta64[ns]") != np.timedelta64(0)):
            return name
    return None


def _valid_time(array: xr.DataArray) -> xr.DataArray:
    """Return `array` indexed by its valid time, where it has one beside a reference time and a forecast step."""
    if "valid_time" in array.coords and array.valid_time.ndim > 1:
        array = array.squeeze([dim for dim in array.valid_time.dims if array.sizes[dim] == 1])
    valid = array.coords.get("valid_time")
    if valid is None or valid.ndim > 1 or "valid_time" in array.dims:
        return array
    if valid.ndim == 1:
        array = array.swap_dims({valid.dims[0]: "valid_time"})
    dropped = [name for name in ("time", "step") if name in array.coords and name not in array.dims]
    return array.drop_vars(dropped).rename(valid_time="time") if valid.ndim == 0 else array.drop_vars(dropped)
