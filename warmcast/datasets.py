"""Stores of a service as xarray datasets."""

import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.storage import ZipStore

from warmcast.errors import InputFileError


def open_store(url: str, headers: Mapping[str, str]) -> xr.Dataset:
    """Open a Zarr store that may still grow; each computation reads its chunks again.

    The values are dask arrays if dask is installed, else arrays that are read when they are used. xarray's own cache
    would keep the NaN of lead times that were not complete at the first use.
    """
    has_dask = find_spec("dask") is not None
    options: dict[str, Any] = {"storage_options": {"headers": dict(headers)}} if headers else {}
    options |= {"engine": "zarr", "consolidated": True, "zarr_format": 3}
    return xr.open_dataset(url, chunks={} if has_dask else None, cache=False, **options)


def open_zip(path: Path) -> xr.Dataset:
    """Open a store that is one zip, as `download` saves it; raises `InputFileError` if the file is not such a zip."""
    if not path.is_file():
        raise InputFileError(f"The zip of a store must be a file. Got: `{path}`, which is {_kind_of(path)}.")
    try:
        dataset: xr.Dataset = xr.open_zarr(ZipStore(path, mode="r"), zarr_format=3, consolidated=True, chunks=None)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputFileError(
            f"The file must be the whole zip of a store, such as `ensemble.zarr.zip`. Got: `{path}` ({error})."
        ) from error
    return dataset


def _kind_of(path: Path) -> str:
    return "a folder" if path.is_dir() else "missing"
