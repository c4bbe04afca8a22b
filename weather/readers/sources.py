"""Open a source of weather data: a path or an address of GRIB, NetCDF or Zarr, or of a packed file that holds them."""

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from weather.readers.addresses import fetch_file, find_store
from weather.readers.containers import (
    ACCEPTED,
    HEADER_BYTES,
    ZARR_METADATA,
    Limits,
    Opened,
    SourceError,
    TooLargeError,
    Unpacking,
    UnsupportedError,
    decompress,
    describe_unsupported,
    detect_format,
    read_blocks,
    read_start,
)
from weather.readers.zips import list_contents, open_zip, printable

_MAX_PACKINGS = 2
"""A zip of gzip files is accepted, and a gzip file of a zip; a zip in a zip is not."""


def open_source(source: str, stack: ExitStack) -> list[Opened]:
    """Return what a path or an address holds, fetched and unpacked into temporary files that `stack` removes.

    A zip may hold several files. Raises `SourceError` if it cannot be opened or is of an unsupported format.
    """
    scheme, separator, _ = source.partition("://")
    if not separator:
        return open_path(Path(source), source, Unpacking(stack))
    if scheme == "file":
        return open_path(Path(unquote(urlsplit(source).path)), source, Unpacking(stack))
    if find_store(source):
        return [Opened("Zarr", source, name=source)]
    unpacking = Unpacking(stack, Limits(max_bytes=200_000_000_000))
    fetched = unpacking.new_path()
    fetch_file(source, fetched)
    return open_path(fetched, source, Unpacking(stack))


def open_path(path: Path, name: str, unpacking: Unpacking, packings: tuple[str, ...] = ()) -> list[Opened]:
    """Return the data files in a local file or folder, which messages call `name`; archives are unpacked.

    `packings` are the archives that the file itself was in, outermost first. Raises `UnsupportedError` for a file of
    another format or packed too often.
    """
    if path.is_dir():
        if any((path / metadata).is_file() for metadata in ZARR_METADATA):
            return [Opened("Zarr", str(path), name=name)]
        raise UnsupportedError(f"`{name}` is a folder but no Zarr store: it has neither zarr.json nor .zgroup.")
    start = read_start(path, name)
    detected = detect_format(start)
    if detected is None:
        raise UnsupportedError(describe_unsupported(name, start, path.stat().st_size))
    if detected == "GRIB" or detected == "NetCDF":
        return [Opened(detected, str(path), name=name)]
    if detected in packings or len(packings) == _MAX_PACKINGS:
        chain = " in ".join((detected, *reversed(packings)))
        raise UnsupportedError(f"`{name}` must be {ACCEPTED}. Got: {chain}.")
    packings = (*packings, detected)
    if detected == "zip":
        return _open_zip(path, name, unpacking, packings)
    return open_path(decompress(path, name, detected, unpacking), name, unpacking, packings)


def _open_zip(path: Path, name: str, unpacking: Unpacking, packings: tuple[str, ...]) -> list[Opened]:
    """Return the Zarr stores of a zip, and the files that it holds; files of other formats beside them are left out."""
    with open_zip(path, name, unpacking.limits) as archive:
        contents = list_contents(archive)
        opened = [Opened("zipped Zarr", str(path), store or None, name) for store in contents.stores]
        refused: SourceError | None = None
        for member in contents.files:
            if len(opened) > unpacking.limits.max_files:
                break
            label = f"{name}/{printable(member.filename)}"
            with archive.open(member) as packed:
                start = packed.read(HEADER_BYTES)
            if detect_format(start) is None:
                refused = refused or UnsupportedError(describe_unsupported(label, start, member.file_size))
                continue
            with archive.open(member) as packed:
                blocks = read_blocks(cast(BinaryIO, packed))
                target = unpacking.save(blocks, label, member.compress_size)
            opened += open_path(target, label, unpacking, packings)
    if len(opened) > unpacking.limits.max_files:
        raise TooLargeError(f"`{name}` has more than {unpacking.limits.max_files} files and stores to read.")
    if not opened:
        raise refused or UnsupportedError(f"`{name}` is a zip without any file.")
    return opened
