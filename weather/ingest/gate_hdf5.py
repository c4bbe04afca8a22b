"""Refuse HDF5 files that refer to other files. Opens the file with HDF5 itself: for the limited child only."""

from pathlib import Path

import h5py

_MAX_DEPTH = 4


def find_hdf5_problem(path: Path) -> str | None:
    """Return why the structure of an HDF5 file is refused, or None; only plain data sets in groups are accepted."""
    with h5py.File(path, "r") as file:
        return _group_problem(file, depth=0)


def _group_problem(group: h5py.Group, depth: int) -> str | None:
    if depth > _MAX_DEPTH:
        return f"its groups are nested more than {_MAX_DEPTH} deep"
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            return f"`{name}` is a soft or external link"
        item = group[name]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            return f"`{name}` keeps its values in another file"
        problem = _group_problem(item, depth + 1) if isinstance(item, h5py.Group) else None
        if problem:
            return problem
    return None
