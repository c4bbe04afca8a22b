"""Refuse HDF5 files that refer to other files. Opens the file with HDF5 itself: for the limited child only."""

from pathlib import Path

import h5py

from weather.readers.containers import (
    DAMAGE,
    MAX_ARRAYS,
    MAX_ATTRIBUTES,
    DamagedError,
    SourceError,
    TooLargeError,
    UnsupportedError,
    join_lines,
)
from weather.readers.zips import printable

_MAX_DEPTH = 4


def check_hdf5(path: Path, name: str) -> None:
    """Raise `SourceError` if the structure of an HDF5 file is refused; only plain data sets in groups are accepted."""
    try:
        with h5py.File(path, "r") as file:
            walk = _Walk(name)
            walk.check_group(file, depth=0)
    except SourceError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DamagedError(f"`{name}` cannot be read as NetCDF: {join_lines(error)}. {DAMAGE}") from error
    if not walk.num_items:
        raise UnsupportedError(f"`{name}` is an HDF5 file without any variable.")


class _Walk:
    """A walk through all groups of a file, which counts what it passes."""

    def __init__(self, name: str) -> None:
        self._name, self._num_attributes = name, 0
        self.num_items = 0

    def check_group(self, group: h5py.Group, depth: int) -> None:
        """Check a group and all that it has."""
        if depth > _MAX_DEPTH:
            raise UnsupportedError(f"`{self._name}`: its groups are nested more than {_MAX_DEPTH} deep.")
        self._count_attributes(group)
        for key in group:
            self.num_items += 1
            if self.num_items > MAX_ARRAYS:
                raise TooLargeError(
                    f"`{self._name}` has more than {MAX_ARRAYS} variables and groups. Select variables first."
                )
            self._check_item(group, key, depth)

    def _check_item(self, group: h5py.Group, key: str, depth: int) -> None:
        label = f"`{self._name}`: `{printable(key)}`"
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise UnsupportedError(f"{label} is a soft or external link, and only data is accepted.")
        item = group[key]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise UnsupportedError(f"{label} keeps its values in another file. Write them into this one.")
        if isinstance(item, h5py.Group):
            self.check_group(item, depth + 1)
        else:
            self._count_attributes(item)

    def _count_attributes(self, item: h5py.HLObject) -> None:
        self._num_attributes += len(item.attrs)
        if self._num_attributes > MAX_ATTRIBUTES:
            raise TooLargeError(f"`{self._name}` has more than {MAX_ATTRIBUTES} attributes.")
