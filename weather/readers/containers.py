"""Find out what a source is, fetch it if it is remote, and unpack it: paths, URLs, zips, gzip and bzip2 files."""

import bz2
import gzip
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import fsspec

Format = Literal["GRIB", "NetCDF", "Zarr", "zipped Zarr"]
Packing = Literal["gzip", "bzip2", "zip"]

MAX_UNPACKED_BYTES = 4_000_000_000
"""Most bytes that a compressed or zipped source may have after unpacking."""
_MAX_DEPTH = 2
_HEADER_BYTES = 4096
"""GRIB may start this far into a file: after WMO headers or padding."""
_BLOCK = 1 << 20
_NETCDF_MAGIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
_ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata")
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}


class SourceError(ValueError):
    """A source cannot be used; the message is a sentence that names it."""


@dataclass(frozen=True)
class Opened:
    """A source that can be parsed: format, local path or store address, and the group inside it."""

    format: Format
    location: str
    group: str | None = None


def open_source(source: str, stack: ExitStack) -> list[Opened]:
    """Return what a path or URL holds, fetched and unpacked into temporary files that `stack` removes.

    A zip may hold several files. Raises `SourceError` if it cannot be opened or is of an unsupported format.
    """
    scheme, separator, rest = source.partition("://")
    if not separator:
        return open_path(Path(source), source, stack)
    if scheme == "file":
        return open_path(Path(rest if rest.startswith("/") else f"/{rest}"), source, stack)
    return _open_url(source, scheme, stack)


def open_path(path: Path, name: str, stack: ExitStack, depth: int = 0) -> list[Opened]:
    """Return what a local file or folder holds; messages call it `name`."""
    if path.is_dir():
        if any((path / metadata).is_file() for metadata in _ZARR_METADATA):
            return [Opened("Zarr", str(path))]
        raise SourceError(f"`{name}` is a folder but no Zarr store: it has neither zarr.json nor .zgroup.")
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
    except OSError as error:
        raise SourceError(f"`{name}` cannot be opened: {error.strerror}.") from error
    detected = detect_format(start)
    if detected in ("GRIB", "NetCDF"):
        return [Opened(cast(Format, detected), str(path))]
    if detected is None or depth == _MAX_DEPTH:
        raise SourceError(
            f"`{name}` must be GRIB, NetCDF or Zarr, or one of them in a zip, gzip or bzip2 file. Got: a file of "
            f"{path.stat().st_size} bytes of neither."
        )
    if detected == "zip":
        return _open_zip(path, name, stack, depth)
    return open_path(_decompress(path, name, detected, stack), name, stack, depth + 1)


def detect_format(start: bytes) -> Literal["GRIB", "NetCDF", "gzip", "bzip2", "zip"] | None:
    """Return the format or packing of a file by its first bytes, or None if it is of no supported one."""
    if start.startswith(_NETCDF_MAGIC):
        return "NetCDF"
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(b"\x1f\x8b"):
        return "gzip"
    if start.startswith(b"BZh"):
        return "bzip2"
    return "GRIB" if find_grib_start(start) is not None else None


def find_grib_start(content: bytes) -> int | None:
    """Return the position of the first GRIB message of edition 1 or 2 in the first bytes of a file, or None."""
    position = content.find(b"GRIB")
    while position >= 0:
        if content[position + 7 : position + 8] in (b"\x01", b"\x02") or len(content) < position + 8:
            return position
        position = content.find(b"GRIB", position + 4)
    return None


def _open_zip(path: Path, name: str, stack: ExitStack, depth: int) -> list[Opened]:
    """Return the Zarr store of a zip, at its root or in one folder, or the files that it holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            stores = sorted(
                {member.filename.rpartition("/")[0] for member in members if _is_metadata(member.filename)}, key=len
            )
            if stores:
                return [Opened("zipped Zarr", str(path), stores[0] or None)]
            files = [member for member in members if not _is_hidden(member.filename)]
            if sum(member.file_size for member in files) > MAX_UNPACKED_BYTES:
                raise SourceError(f"`{name}` holds more than {MAX_UNPACKED_BYTES} bytes after unpacking.")
            folder = _temporary_folder(stack)
            opened = []
            for index, member in enumerate(files):
                target = folder / str(index)
                with archive.open(member) as packed, target.open("wb") as file:
                    _copy(cast(BinaryIO, packed), file, name)
                opened += open_path(target, f"{name}/{member.filename}", stack, depth + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise SourceError(
            f"`{name}` cannot be read as a zip: {error}. The file may be damaged or cut short."
        ) from error
    if not opened:
        raise SourceError(f"`{name}` is a zip without any file.")
    return opened


def _is_metadata(member: str) -> bool:
    return member.rpartition("/")[2] in _ZARR_METADATA


def _is_hidden(member: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in member.split("/"))


def _decompress(path: Path, name: str, packing: str, stack: ExitStack) -> Path:
    target = _temporary_folder(stack) / "content"
    opener = gzip.open if packing == "gzip" else bz2.open
    try:
        with opener(path, "rb") as packed, target.open("wb") as file:
            _copy(cast(BinaryIO, packed), file, name)
    except (EOFError, OSError) as error:
        raise SourceError(
            f"`{name}` cannot be read as {packing}: {error}. The file may be damaged or cut short."
        ) from error
    return target


def _copy(packed: BinaryIO, file: BinaryIO, name: str) -> None:
    size = 0
    while block := packed.read(_BLOCK):
        size += len(block)
        if size > MAX_UNPACKED_BYTES:
            raise SourceError(f"`{name}` holds more than {MAX_UNPACKED_BYTES} bytes after unpacking.")
        file.write(block)


def _temporary_folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warmcast-source-")))


def _open_url(source: str, scheme: str, stack: ExitStack) -> list[Opened]:
    """Return a remote Zarr store as it is, or a remote file fetched whole."""
    try:
        system, path = fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise SourceError(
            f"`{source}` needs the package {_PACKAGES.get(scheme, 'of its file system')}: "
            "pip install 'warmcast[cloud]'."
        ) from error
    except ValueError as error:
        raise SourceError(
            f"`{source}` must be a path, or a URL of file, http, https, gs or s3. Got: {error}."
        ) from error
    try:
        if any(system.exists(f"{path.rstrip('/')}/{name}") for name in _ZARR_METADATA):
            return [Opened("Zarr", source)]
        target = _temporary_folder(stack) / "content"
        with system.open(path, "rb") as remote, target.open("wb") as file:
            _copy(remote, file, source)
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(
            f"`{source}` cannot be fetched: {text}. It must be the URL of a file or a Zarr store."
        ) from error
    return open_path(target, source, stack)
