"""Read addresses: fetch a file over HTTP or from a bucket, and open a remote Zarr store."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import httpx
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import FsspecStore, WrapperStore

from weather.readers.containers import ZARR_METADATA, SourceError, join_lines

SECONDS = 60.0
"""Longest silence of a server."""
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_BLOCK_BYTES = 1 << 20
_MAX_METADATA_BYTES = 100_000_000
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}
_HTTP = ("http", "https")
_SCHEMES = "file, http, https, gs or s3"


class AddressError(SourceError):
    """An address cannot be read: the server, the network or the file at it; nothing is said of its bytes."""


class _RefusedError(Exception):
    """A server refuses a request."""


class _TransientError(Exception):
    """An error of a server that may pass."""


def find_store(address: str) -> bool:
    """Return whether a Zarr store is at an address.

    Raises `AddressError` if the server does not answer, or the store cannot be read without a list of its folders,
    which the server does not give.
    """
    with _name_errors(address):
        read, list_folder = _open_address(address)
        metadata = read("zarr.json")
        if metadata is None:
            if read(".zmetadata") is not None:
                return True
            if read(".zgroup") is None:
                return False
        elif metadata.get("consolidated_metadata"):
            return True
        if not list_folder():
            raise AddressError(
                f"`{address}` is a Zarr store whose server lists no folders, and it has no consolidated metadata. "
                "Write it with consolidated metadata (`zarr.consolidate_metadata`), or fetch the folder first."
            )
    return True


def fetch_file(address: str, target: Path) -> None:
    """Copy the file at an address to `target`; raises `AddressError`."""
    with _name_errors(address):
        if _scheme(address) in _HTTP:
            _download(address, target)
        else:
            system, path = fsspec.core.url_to_fs(address, **_storage_options(address))
            system.get_file(path, str(target))


def open_remote_store(address: str) -> Store:
    """Return the Zarr store at an address; reading it raises `AddressError`, also if a server is silent."""
    with _name_errors(address):
        store = FsspecStore.from_url(address, storage_options=_storage_options(address) or None, read_only=True)
    return _NamingStore(store, address)


class _NamingStore(WrapperStore[Store]):
    """A store whose errors name its address; failures that may pass are tried again."""

    def __init__(self, store: Store, address: str = "") -> None:
        super().__init__(store)
        self._address = address

    def _with_store(self, store: Store) -> "_NamingStore":
        return _NamingStore(store, self._address)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the content of a key, or None if the store has no such key."""
        for attempt in range(1, _ATTEMPTS + 1):
            reading = self._store.get(key, prototype or default_buffer_prototype(), byte_range)
            try:
                return await asyncio.wait_for(reading, SECONDS)
            except Exception as error:  # each file system raises errors of its own libraries
                if attempt == _ATTEMPTS or not _may_pass(error):
                    raise AddressError(_describe(f"{self._address.rstrip('/')}/{key}", error)) from error
                await asyncio.sleep(_PAUSE_SECONDS)
        raise AssertionError

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder of the store."""
        try:
            async for name in self._store.list_dir(prefix):
                yield name
        except Exception as error:  # each file system raises errors of its own libraries
            raise AddressError(_describe(f"{self._address.rstrip('/')}/{prefix}", error)) from error


def _may_pass(error: Exception) -> bool:
    if isinstance(error, TimeoutError | httpx.TimeoutException | FileNotFoundError | PermissionError):
        return False
    status = getattr(error, "status", None)
    return status >= 500 if isinstance(status, int) else True


@contextmanager
def _name_errors(address: str) -> Iterator[None]:
    try:
        yield
    except AddressError:
        raise
    except ImportError as error:
        package = _PACKAGES.get(_scheme(address), "of its file system")
        raise AddressError(f"`{address}` needs the package {package}: pip install 'warmcast[cloud]'.") from error
    except Exception as error:  # each file system raises errors of its own libraries
        raise AddressError(_describe(address, error)) from error


def _describe(address: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"`{address}` does not exist. It must be the address of a file or a Zarr store."
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"`{address}` cannot be fetched: the server sent nothing for {SECONDS:g} s. Try again later."
    status = getattr(error, "status", None)
    text = f"the server answered {status}" if isinstance(status, int) else join_lines(error)
    return f"`{address}` cannot be fetched: {text}. It must be the address of a file or a Zarr store that you may read."


def _open_address(address: str) -> tuple[Callable[[str], dict[str, Any] | None], Callable[[], object]]:
    """Return functions that read Zarr metadata in the folder at an address, None if there is none, and list it."""
    scheme = _scheme(address)
    if scheme not in fsspec.available_protocols():
        raise AddressError(f"`{address}` must be a path, or an address that begins with {_SCHEMES}. Got: {scheme}.")
    system, root = fsspec.core.url_to_fs(address, **_storage_options(address))

    def read(name: str) -> dict[str, Any] | None:
        if scheme in _HTTP:
            return _parse_metadata(_read_http(address, name))
        return _parse_metadata(_read_bucket(system, f"{root.rstrip('/')}/{name}"))

    return read, lambda: _list_folder(system, root)


def _scheme(address: str) -> str:
    return address.partition("://")[0]


def _storage_options(address: str) -> dict[str, Any]:
    """Return the options of a file system: buckets of S3 are read without a signature if there are no credentials."""
    if _PACKAGES.get(_scheme(address)) != "s3fs" or find_spec("botocore") is None:
        return {}
    from botocore.session import get_session

    return {} if get_session().get_credentials() else {"anon": True}


def _list_folder(system: Any, path: str) -> list[Any]:
    try:
        entries: list[Any] = system.ls(path, detail=False)
    except Exception:  # each file system raises errors of its own libraries
        return []
    return [entry for entry in entries if not str(entry).endswith(ZARR_METADATA)]


def _read_bucket(system: Any, path: str) -> bytes | None:
    try:
        content: bytes = system.cat_file(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return None
    return content


def _parse_metadata(content: bytes | None) -> dict[str, Any] | None:
    """Return the metadata of a Zarr store, or None for anything else, such as a page that a server sends instead."""
    try:
        parsed = json.loads(content or b"null")
    except ValueError:
        return None
    is_zarr = isinstance(parsed, Mapping) and ("zarr_format" in parsed or "zarr_consolidated_format" in parsed)
    return dict(parsed) if is_zarr else None


def _read_http(address: str, name: str) -> bytes | None:
    """Return a file in the folder at an address if it looks like JSON; None for others, and if it is not given."""
    url = httpx.URL(address)
    url = url.copy_with(path=f"{url.path.rstrip('/')}/{name}")
    content = b""
    with httpx.stream("GET", url, timeout=SECONDS, follow_redirects=True) as response:
        if response.status_code != httpx.codes.OK:
            return None
        for block in response.iter_bytes(_BLOCK_BYTES):
            content += block
            if not content.lstrip().startswith(b"{") or len(content) > _MAX_METADATA_BYTES:
                return None
    return content


def _download(address: str, target: Path) -> None:
    """Copy a file over HTTP; failures that may pass are tried again."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _try_download(address, target)
        except (_TransientError, httpx.TransportError) as error:
            if attempt == _ATTEMPTS or not _may_pass(error):
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _try_download(address: str, target: Path) -> None:
    headers = {"Accept-Encoding": "identity"}
    with httpx.stream("GET", address, headers=headers, timeout=SECONDS, follow_redirects=True) as response:
        status = f"{response.status_code} {response.reason_phrase}".strip()
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise FileNotFoundError(address)
        if response.status_code >= 500:
            raise _TransientError(f"the server answered {status}")
        if response.status_code != httpx.codes.OK:
            raise _RefusedError(f"the server answered {status}")
        with target.open("wb") as file:
            for block in response.iter_bytes(_BLOCK_BYTES):
                file.write(block)
