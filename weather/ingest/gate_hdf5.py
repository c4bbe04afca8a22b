"""Refuse HDF5 files that refer to other files. Opens the file with HDF5 itself: for the limited child only."""

from pathlib import Path

import h5py

from weather.readers.containers import DAMAGE, DamagedError, TooLargeError, UnsupportedError, join_lines

_MAX_DEPTH = 4
_MAX_ITEMS = 10_000


def check_hdf5(path: Path, name: str) -> None:
    """Raise `SourceError` if the structure of an HDF5 file is refused; only plain data sets in groups are accepted."""
    try:
        with h5py.File(path, "r") as file:
            num_items = _check_group(file, name, depth=0, num_items=0)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if isinstance(error, UnsupportedError | TooLargeError):
            raise
        raise DamagedError(f"`{name}` cannot be read as NetCDF: {join_lines(error)}. {DAMAGE}") from error
    if not num_items:
        raise UnsupportedError(f"`{name}` is an HDF5 file without any variable.")


def _check_group(group: h5py.Group, name: str, depth: int, num_items: int) -> int:
    """Check the items of a group and of its groups, and return their number plus `num_items`.

    Raises `UnsupportedError` for links and for values in other files, and `TooLargeError` for too many items.
    """
    if depth > _MAX_DEPTH:
        raise UnsupportedError(f"`{name}`: its groups are nested more than {_MAX_DEPTH} deep.")
    for key in group:
        num_items += 1
        if num_items > _MAX_ITEMS:
            raise TooLargeError(f"`{name}` has more than {_MAX_ITEMS} variables and groups.")
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise UnsupportedError(f"`{name}`: `{key}` is a soft or external link, and only data is accepted.")
        item = group[key]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise UnsupportedError(f"`{name}`: `{key}` keeps its values in another file. Write them into this one.")
        if isinstance(item, h5py.Group):
            num_items = _check_group(item, name, depth + 1, num_items)
    return num_items
