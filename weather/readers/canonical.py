"""From a dataset as others name it to one with our names, units, dimensions and grid order."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from weather.grids import Grid, eastward, grid_problems
from weather.readers.dimensions import DIMENSION_NAMES, forecast_step, standard_dimensions
from weather.variables import KNOWN, Variable, accepted_units, conversion


class Problems(list[str]):
    """Sentences that say what is wrong, gathered so that they are told at once."""


def canonical(dataset: xr.Dataset, variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return `variables` as float32 on dimensions (time, [member,] latitude, longitude), or None.

    Names and units become ours, latitudes fall from north to south and longitudes rise from [0, 360); `time` is
    valid time, UTC. What is missing or wrong is added to `problems`, and then the answer is None.
    """
    before = len(problems)
    found = {name: find_variable(dataset, KNOWN[name]) for name in variables}
    missing = [name for name, array in found.items() if array is None]
    if missing:
        problems.append(missing_sentence(missing, [str(name) for name in dataset.data_vars]))
        problems.extend(_grid_of(dataset))
    arrays = [
        array
        for name, source in found.items()
        if source is not None and (array := _canonical_array(source, KNOWN[name], problems)) is not None
    ]
    if len(problems) > before:
        return None
    try:
        return xr.merge(arrays, join="exact", compat="override", combine_attrs="drop")
    except (ValueError, xr.MergeError):
        problems.append(f"The variables {', '.join(variables)} must lie on the same times, members and grid.")
        return None


def missing_sentence(missing: Sequence[str], available: Sequence[str]) -> str:
    """Return the sentence that says which variables are not there, under which names, and what is there."""
    wanted = "; ".join(f"{KNOWN[name].long_name} ({' or '.join(KNOWN[name].aliases)})" for name in missing)
    has = ", ".join(dict.fromkeys(available)) or "no variable at all"
    return f"Missing: {wanted}. The data has: {has}."


def find_variable(dataset: xr.Dataset, variable: Variable) -> xr.DataArray | None:
    """Return the array that is `variable` by its name, GRIB number or CF name at its height, or None."""
    for name, array in dataset.data_vars.items():
        if str(name).casefold() in variable.aliases or array.attrs.get("GRIB_paramId") == variable.param_id:
            return array
    for array in dataset.data_vars.values():
        height = array.coords.get("height", array.coords.get("heightAboveGround"))
        at_height = height is not None and height.size == 1 and float(height.item()) == variable.height_m
        if at_height and array.attrs.get("standard_name") == variable.standard_name:
            return array
    return None


def _grid_of(dataset: xr.Dataset) -> list[str]:
    """Return what is wrong with the dataset's own latitudes and longitudes, where it has them."""
    axes = [
        next((array for name, array in dataset.coords.items() if str(name).casefold() in DIMENSION_NAMES[axis]), None)
        for axis in ("latitude", "longitude")
    ]
    return [] if axes[0] is None or axes[1] is None else grid_problems(axes[0].values, axes[1].values)


def _canonical_array(source: xr.DataArray, variable: Variable, problems: Problems) -> xr.DataArray | None:
    name = variable.name
    array = standard_dimensions(source)
    extra = [str(dim) for dim in array.dims if dim not in DIMENSION_NAMES]
    if extra:
        problems.append(f"`{name}` must have dimensions time, latitude, longitude. Got also: {', '.join(extra)}.")
    for dim in ("latitude", "longitude"):
        if dim not in array.dims or dim not in array.coords:
            problems.append(f"`{name}` must have a one-dimensional `{dim}` coordinate. Got: {tuple(source.dims)}.")
            return None
    step = forecast_step(array)
    if step:
        problems.append(f"`{name}` is a forecast with `{step}` and no `valid_time`; give it one, or use an analysis.")
    if extra or step:
        return None
    wrong_grid = grid_problems(array.latitude.values, array.longitude.values)
    problems.extend(sentence for sentence in wrong_grid if sentence not in problems)
    scaling = conversion(str(array.attrs.get("units", "")), variable.units)
    if scaling is None:
        problems.append(
            f"`{name}` must have `units` {' or '.join(accepted_units(variable.units))}. "
            f"Got: {array.attrs.get('units', 'no units')!r}."
        )
    _check_time(array, name, problems)
    if wrong_grid or scaling is None or "time" not in array.coords or array.time.dtype.kind != "M":
        return None
    factor, offset = scaling
    array = _ordered(array)
    values = array if (factor, offset) == (1.0, 0.0) else array * factor + offset
    kept = {dim: array.coords[dim] for dim in array.dims if dim in array.coords}
    result = xr.DataArray(values.data, dims=array.dims, coords=kept, name=name)
    return result.astype(np.float32)


def _check_time(array: xr.DataArray, name: str, problems: Problems) -> None:
    if "time" not in array.coords:
        problems.append(f"`{name}` must have a `time` coordinate that gives the valid time of each frame.")
    elif array.time.dtype.kind != "M":
        calendar = getattr(array.time.values.reshape(-1)[0], "calendar", None)
        got = f"calendar {calendar}" if calendar else f"values of type {array.time.dtype}"
        sentence = f"Times must be of the standard (Gregorian) calendar, with CF units. Got: {got}."
        if sentence not in problems:
            problems.append(sentence)


def _ordered(array: xr.DataArray) -> xr.DataArray:
    grid = Grid.from_coordinates(array.latitude.values, array.longitude.values)
    order = [dim for dim in ("time", "member", "latitude", "longitude") if dim in array.dims]
    array = array.transpose(*order)
    array = array.isel(
        latitude=np.argsort(array.latitude.values)[::-1],
        longitude=np.argsort(eastward(array.longitude.values)),
    )
    return array.assign_coords(latitude=list(grid.latitude), longitude=list(grid.longitude))
