"""From one latitude–longitude grid to another, conserving area means."""

import xarray as xr
import xarray_regrid  # noqa: F401 - registers `Dataset.regrid`

from weather.grids import Grid


def regrid(fields: xr.Dataset, target: Grid) -> xr.Dataset:
    """Return canonical `fields` on `target`: each value is the area-weighted mean of what its cell covers.

    Fields that are on `target` already are returned as they are, but for its exact coordinates.
    """
    source = Grid.from_coordinates(fields.latitude.values, fields.longitude.values)
    coordinates = {"latitude": list(target.latitude), "longitude": list(target.longitude)}
    if source.matches(target):
        return fields.assign_coords(coordinates)
    regridded = fields.regrid.conservative(
        xr.Dataset(coords=coordinates), latitude_coord="latitude", time_dim=None, skipna=False
    )
    dims = [dim for dim in ("time", "member", "latitude", "longitude") if dim in fields.dims]
    result: xr.Dataset = regridded.transpose(*dims).sel(coordinates).astype("float32")
    return result
