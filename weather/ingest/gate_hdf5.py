"""HDF5 that points outside itself is refused before anything is read from it. For the limited child only."""

from pathlib import Path

import h5py


def hdf5_problem(path: Path) -> str | None:
    """Return what is wrong with the structure of an HDF5 file, or None; only plain data sets and groups are taken."""
    with h5py.File(path, "r") as file:
        return _group_problem(file, depth=0)


def _group_problem(group: h5py.Group, depth: int) -> str | None:
    if depth > 4:
        return "it has groups within groups, five deep and more"
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            return f"`{name}` is a link to another place"
        item = group[name]
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            return f"`{name}` keeps its values in another file"
        wrong = _group_problem(item, depth + 1) if isinstance(item, h5py.Group) else None
        if wrong:
            return wrong
    return None
