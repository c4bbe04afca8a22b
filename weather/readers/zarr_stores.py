"""Open Zarr stores in folders, zips and at addresses, without arrays that Zarr cannot read and nobody needs."""

import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore, WrapperStore, ZipStore

from weather.readers.addresses import open_remote_store
from weather.readers.containers import Opened, SourceError, UnsupportedError, join_lines
from weather.readers.conventions import role_of
from weather.variables import KNOWN


def open_zarr_store(opened: Opened, stack: ExitStack, **options: Any) -> xr.Dataset:
    """Return the data set of a store, which is open as long as `stack`; `options` are those of `xarray.open_zarr`.

    Arrays of types and codecs that Zarr does not know are left out. Raises `UnsupportedError` if one of them is a known
    variable or a coordinate.
    """
    is_zip = opened.format == "zipped Zarr"
    store = stack.enter_context(_open_store(opened))
    options |= {"group": opened.group, "chunks": None}
    consolidated = False if is_zip else None  # zarr 3.1 looks for it at the root of a zip only
    try:
        dataset: xr.Dataset = xr.open_zarr(store, consolidated=consolidated, **options)
    except (SourceError, json.JSONDecodeError, FileNotFoundError):
        raise
    except (ValueError, KeyError, TypeError):
        unreadable = _find_unreadable(store, opened)
        if not unreadable:
            raise
        dataset = xr.open_zarr(_StoreWithout(store, unreadable), consolidated=False, **options)
        for name, error in unreadable.items():
            if name in dataset.dims or role_of(name, {}) != "extra" or _is_known(name):
                raise UnsupportedError(
                    f"`{opened.name}`: its array `{name}` cannot be read: {join_lines(error)}. Numbers, times and "
                    "texts in the codecs that zarr knows are accepted."
                ) from error
    return stack.enter_context(dataset)


class _StoreWithout(WrapperStore[Store]):
    """A store that does not list some names."""

    def __init__(self, store: Store, hidden: Any = ()) -> None:
        super().__init__(store)
        self._hidden = frozenset(hidden)

    def _with_store(self, store: Store) -> "_StoreWithout":
        return _StoreWithout(store, self._hidden)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder of the store."""
        async for name in self._store.list_dir(prefix):
            if name not in self._hidden:
                yield name


def _open_store(opened: Opened) -> Store:
    if opened.format == "zipped Zarr":
        return ZipStore(opened.location, mode="r")
    return (
        open_remote_store(opened.location) if "://" in opened.location else LocalStore(opened.location, read_only=True)
    )


def _find_unreadable(store: Store, opened: Opened) -> dict[str, Exception]:
    """Return the names in a group that Zarr cannot read, each with its error."""
    group = zarr.open_group(store, path=opened.group, mode="r", use_consolidated=False)
    unreadable = dict[str, Exception]()
    for name in zarr.core.sync.sync(_list_names(store, opened.group or "")):
        try:
            group[name]
        except SourceError:
            raise
        except (ValueError, TypeError, NotImplementedError) as error:
            unreadable[name] = error
        except KeyError:  # a file that is no array, such as the metadata of the group
            continue
    return unreadable


async def _list_names(store: Store, prefix: str) -> list[str]:
    return [name async for name in store.list_dir(prefix)]


def _is_known(name: str) -> bool:
    plain = name.casefold().removeprefix("var_")
    return any(plain in variable.aliases for variable in KNOWN.values())
