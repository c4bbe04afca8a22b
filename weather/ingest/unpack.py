"""Unpack untrusted files and check the structure of what they hold; for the limited child only."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weather.ingest.gate_hdf5 import check_hdf5
from weather.ingest.gate_netcdf3 import check_netcdf3
from weather.ingest.gate_zarr import unpack_store
from weather.ingest.gates import check_grib
from weather.readers.containers import Opened, Unpacking, read_start
from weather.readers.sources import open_path
from weather.readers.zips import open_zip

_HDF5 = b"\x89HDF"


def unpack_checked(file: Path, name: str, variables: Sequence[str], unpacking: Unpacking) -> list[Opened]:
    """Return the files and folders that a file holds, unpacked and checked; messages call it `name`.

    Stores have what is needed to read `variables`. Raises `SourceError` if anything is damaged, not accepted or beyond
    the limits of `unpacking`.
    """
    return [_check(opened, variables, unpacking) for opened in open_path(file, name, unpacking)]


def _check(opened: Opened, variables: Sequence[str], unpacking: Unpacking) -> Opened:
    path = Path(opened.location)
    if opened.format == "GRIB":
        check_grib(path, opened.name)
    elif opened.format == "NetCDF":
        check = check_hdf5 if read_start(path, opened.name).startswith(_HDF5) else check_netcdf3
        check(path, opened.name)
    elif opened.format == "zipped Zarr":
        with open_zip(path, opened.name, unpacking.limits) as archive:
            store = unpack_store(archive, opened.group or "", opened.name, variables, unpacking)
        return replace(opened, format="Zarr", location=str(store), group=None)
    return opened
