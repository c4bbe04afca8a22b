"""Find the arrays of a variable in a NetCDF or Zarr data set: by name, GRIB number, CF name, or along a dimension."""

import re
from collections.abc import Iterator

import xarray as xr

from weather.readers.conventions import mark_slice, role_of
from weather.variables import Variable


def find_arrays(dataset: xr.Dataset, variable: Variable) -> list[xr.DataArray]:
    """Return the arrays of `variable`: by name or GRIB number, else those of its CF standard name at its height."""
    arrays = [*dataset.data_vars.values(), *_slices(dataset, variable)]
    named = [
        array
        for array in arrays
        if _plain_name(str(array.name)) in variable.aliases or array.attrs.get("GRIB_paramId") == variable.param_id
    ]
    if named:
        return named
    return [
        array
        for array in arrays
        if array.attrs.get("standard_name") == variable.standard_name
        and (variable.height_m is None or _has_height(array, dataset, variable.height_m))
    ]


def _plain_name(name: str) -> str:
    """Return a name in small letters, without the prefix of RDA's files."""
    return name.casefold().removeprefix("var_")


def _slices(dataset: xr.Dataset, variable: Variable) -> Iterator[xr.DataArray]:
    """Yield `variable` of arrays that have variables along a dimension, with names as its coordinate."""
    for name, array in dataset.data_vars.items():
        for dim in array.dims:
            labels = dataset.variables.get(dim)
            if labels is not None and labels.ndim == 1 and labels.dtype.kind in "SUO" and dim != name:
                for index, label in enumerate(labels.values):
                    text = label.decode() if isinstance(label, bytes) else str(label)
                    if _plain_name(text) in variable.aliases:
                        yield mark_slice(array.isel({dim: index}, drop=True).rename(text), str(name))


def _has_height(array: xr.DataArray, dataset: xr.Dataset, height_m: float) -> bool:
    """Return whether an array has a coordinate of heights, or its long name contains `height_m`, such as `10 m`."""
    names = (*array.dims, *array.coords, *str(array.attrs.get("coordinates", "")).split())
    has_coordinate = any(
        role_of(str(name), dataset[name].attrs) == "height" for name in names if name in dataset.variables
    )
    text = rf"\b{height_m:g}[ -]?(m|met(re|er)s?)\b"
    return has_coordinate or bool(re.search(text, str(array.attrs.get("long_name", "")), re.IGNORECASE))
