"""Stores of a service as xarray datasets."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import xarray as xr


def open_store(url: str, headers: Mapping[str, str]) -> xr.Dataset:
    """Open a Zarr store that may still grow; each computation reads its chunks again.

    The values are dask arrays if dask is installed, else arrays that are read when they are used. xarray's own cache
    would keep the NaN of lead times that were not complete at the first use.
    """
    has_dask = find_spec("dask") is not None
    options: dict[str, Any] = {"storage_options": {"headers": dict(headers)}} if headers else {}
    options |= {"engine": "zarr", "consolidated": True, "zarr_format": 3}
    return xr.open_dataset(url, chunks={} if has_dask else None, cache=False, **options)
