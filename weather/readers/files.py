"""Read files and stores of weather: detect the format of each, and return its fields in canonical form."""

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cfgrib
import cfgrib.messages
import eccodes
import xarray as xr
import zarr

from weather.readers.canonical import Problems, describe_missing, to_canonical
from weather.variables import KNOWN

Format = Literal["GRIB", "NetCDF", "Zarr", "zipped Zarr"]

_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"GRIB", "GRIB"),
    (b"CDF\x01", "NetCDF"),
    (b"CDF\x02", "NetCDF"),
    (b"CDF\x05", "NetCDF"),
    (b"\x89HDF\r\n\x1a\n", "NetCDF"),
    (b"PK\x03\x04", "zipped Zarr"),
)

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    zipfile.BadZipFile,
    cfgrib.DatasetBuildError,
    eccodes.CodesInternalError,
)
"""What the parsing libraries raise for damaged files."""


def read_fields(source: str, variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return the canonical fields of a GRIB, NetCDF or Zarr path, or of a Zarr's URL; None if there is a problem.

    URLs are those of fsspec. Values are loaded lazily if the format allows it. Problems are added to `problems`.
    """
    kind = detect_format(source, problems)
    if kind is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # users cannot act on the libraries' warnings about their input files
            if kind == "GRIB":
                return read_grib(source, variables, problems)
            return to_canonical(_open(source, kind), variables, problems)
    except UNREADABLE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        advice = "Check the URL" if "://" in source else "The file may be damaged or cut short"
        problems.append(f"`{source}` cannot be read as {kind}: {text}. {advice}.")
        return None


def detect_format(source: str, problems: Problems) -> Format | None:
    """Return the format of `source` by its first bytes, or None and a problem; a URL is assumed to be a Zarr store."""
    if "://" in source:
        return "Zarr"
    path = Path(source)
    if path.is_dir():
        if any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            return "Zarr"
        problems.append(f"`{source}` is a folder but no Zarr store: it has neither zarr.json nor .zgroup.")
        return None
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        problems.append(f"`{source}` cannot be opened: {error.strerror}.")
        return None
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    problems.append(f"`{source}` must be GRIB, NetCDF or Zarr. Got: a file of {path.stat().st_size} bytes of neither.")
    return None


def _open(source: str, kind: Format) -> xr.Dataset:
    if kind == "NetCDF":
        return xr.open_dataset(source, engine="netcdf4", decode_timedelta=False)
    store = zarr.storage.ZipStore(source, mode="r") if kind == "zipped Zarr" else source
    dataset: xr.Dataset = xr.open_zarr(store, chunks=None, decode_timedelta=False)
    return dataset


def read_grib(source: str, variables: Sequence[str], problems: Problems) -> xr.Dataset | None:
    """Return the canonical fields of a GRIB file, each found by its parameter number; None if there is a problem."""
    dataset = xr.Dataset()
    for name in variables:
        options = {
            "indexpath": "",
            "errors": "raise",
            "time_dims": ("valid_time",),
            "filter_by_keys": {"paramId": KNOWN[name].param_id},
        }
        part = xr.open_dataset(source, engine="cfgrib", decode_timedelta=False, backend_kwargs=options)
        for array in part.values():
            dataset[name] = array.drop_vars("heightAboveGround", errors="ignore")
    missing = [name for name in variables if name not in dataset]
    if missing:
        problems.append(describe_missing(missing, _inventory(source)))
        return None
    return to_canonical(dataset, variables, problems)


def _inventory(source: str) -> list[str]:
    """Return the short names and level types of all messages of a GRIB file."""
    stream = cfgrib.messages.FileStream(source, errors="ignore")
    names = {f"{message['shortName']} ({message['typeOfLevel']})" for _, message in stream.items()}
    return sorted(names)
