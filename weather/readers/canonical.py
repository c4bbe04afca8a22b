"""Convert a dataset with any names, units, dimensions and grid order to Warmcast's canonical form."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from weather.grids import Grid, find_grid_problems, wrap_longitude
from weather.readers.dimensions import DIMENSION_NAMES, find_forecast_step, standardise_dimensions
from weather.variables import KNOWN, Variable, accepted_units, conversion


class Problems(list[str]):
    """Sentences that say what is wrong with an input, collected to be reported together."""

    def add_once(self, sentence: str) -> None:
        """Append a sentence, unless it is in the list already."""
        if sentence not in self:
            self.append(sentence)


def to_canonical(dataset: xr.Dataset, variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return `variables` as float32 on dimensions (time, [member,] latitude, longitude), or None if there is a problem.

    Names and units are those of `KNOWN`, latitudes descend from north to south, longitudes ascend within [0, 360), and
    `time` is valid time, UTC. Everything that is missing or wrong is added to `problems`.
    """
    before = len(problems)
    sources = {name: find_variable(dataset, KNOWN[name]) for name in variables}
    missing = [name for name, array in sources.items() if array is None]
    if missing:
        problems.append(describe_missing(missing, [str(name) for name in dataset.data_vars]))
        problems.extend(_coordinate_problems(dataset))
    arrays = [
        array
        for name, source in sources.items()
        if source is not None and (array := _canonical_array(source, KNOWN[name], problems)) is not None
    ]
    if len(problems) > before:
        return None
    try:
        return xr.merge(arrays, join="exact", compat="override", combine_attrs="drop")
    except (ValueError, xr.MergeError):
        problems.append(f"The variables {', '.join(variables)} must have the same times, members and grid.")
        return None


def describe_missing(missing: Sequence[str], available: Sequence[str]) -> str:
    """Return a sentence with the variables that are missing, their accepted names, and the names that the data has."""
    wanted = "; ".join(f"{KNOWN[name].long_name} ({' or '.join(KNOWN[name].aliases)})" for name in missing)
    present = ", ".join(dict.fromkeys(available)) or "no variable at all"
    return f"Missing: {wanted}. The data has: {present}."


def find_variable(dataset: xr.Dataset, variable: Variable) -> xr.DataArray | None:
    """Return the array of `variable`: by alias or GRIB number, else by CF standard name and height; or None."""
    for name, array in dataset.data_vars.items():
        if str(name).casefold() in variable.aliases or array.attrs.get("GRIB_paramId") == variable.param_id:
            return array
    for array in dataset.data_vars.values():
        height = array.coords.get("height", array.coords.get("heightAboveGround"))
        at_height = height is not None and height.size == 1 and float(height.item()) == variable.height_m
        if at_height and array.attrs.get("standard_name") == variable.standard_name:
            return array
    return None


def _coordinate_problems(dataset: xr.Dataset) -> list[str]:
    """Return the problems of the dataset's latitudes and longitudes, if it has both."""
    axes = [
        next((array for name, array in dataset.coords.items() if str(name).casefold() in DIMENSION_NAMES[axis]), None)
        for axis in ("latitude", "longitude")
    ]
    return [] if axes[0] is None or axes[1] is None else find_grid_problems(axes[0].values, axes[1].values)


def _canonical_array(source: xr.DataArray, variable: Variable, problems: Problems) -> xr.DataArray | None:
    """Return one variable in canonical form, or None if there is a problem."""
    name = variable.name
    array = standardise_dimensions(source)
    if not _has_canonical_dimensions(array, source, name, problems):
        return None
    grid_problems = find_grid_problems(array.latitude.values, array.longitude.values)
    for problem in grid_problems:
        problems.add_once(problem)
    scaling = conversion(str(array.attrs.get("units", "")), variable.units)
    if scaling is None:
        problems.append(
            f"`{name}` must have `units` {' or '.join(accepted_units(variable.units))}. "
            f"Got: {array.attrs.get('units', 'no units')!r}."
        )
    has_times = _has_standard_times(array, name, problems)
    if grid_problems or scaling is None or not has_times:
        return None
    factor, offset = scaling
    array = reorder(array)
    values = array if (factor, offset) == (1.0, 0.0) else array * factor + offset
    coordinates = {dim: array.coords[dim] for dim in array.dims if dim in array.coords}
    return xr.DataArray(values.data, dims=array.dims, coords=coordinates, name=name).astype(np.float32)


def _has_canonical_dimensions(array: xr.DataArray, source: xr.DataArray, name: str, problems: Problems) -> bool:
    extra = [str(dim) for dim in array.dims if dim not in DIMENSION_NAMES]
    if extra:
        problems.append(f"`{name}` must have dimensions time, latitude, longitude. Got also: {', '.join(extra)}.")
    for dim in ("latitude", "longitude"):
        if dim not in array.dims or dim not in array.coords:
            problems.append(f"`{name}` must have a one-dimensional `{dim}` coordinate. Got: {tuple(source.dims)}.")
            return False
    step = find_forecast_step(array)
    if step:
        problems.append(f"`{name}` is a forecast with `{step}` and no `valid_time`; give it one, or use an analysis.")
    return not extra and not step


def _has_standard_times(array: xr.DataArray, name: str, problems: Problems) -> bool:
    if "time" not in array.coords:
        problems.append(f"`{name}` must have a `time` coordinate that gives the valid time of each frame.")
        return False
    if array.time.dtype.kind != "M":
        calendar = getattr(array.time.values.reshape(-1)[0], "calendar", None)
        got = f"calendar {calendar}" if calendar else f"values of type {array.time.dtype}"
        problems.add_once(f"Times must be of the standard (Gregorian) calendar, with CF units. Got: {got}.")
        return False
    return True


def reorder(array: xr.DataArray) -> xr.DataArray:
    """Return the array with dimensions, latitudes and longitudes in canonical order."""
    grid = Grid.from_coordinates(array.latitude.values, array.longitude.values)
    order = [dim for dim in ("time", "member", "latitude", "longitude") if dim in array.dims]
    array = array.transpose(*order)
    array = array.isel(
        latitude=np.argsort(array.latitude.values)[::-1],
        longitude=np.argsort(wrap_longitude(array.longitude.values)),
    )
    return array.assign_coords(latitude=list(grid.latitude), longitude=list(grid.longitude))
