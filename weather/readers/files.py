"""Read what the sources of a request hold: all records of the requested variables, and every problem met."""

import sqlite3  # noqa: F401  # before eccodes, which loads an older SQLite for the whole process
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.readers.array_blocks import read_array_blocks
from weather.readers.arrays import read_arrays
from weather.readers.containers import DAMAGE, DamagedError, Opened, SourceError, join_lines
from weather.readers.grib import read_grib
from weather.readers.points import PointsError
from weather.readers.records import Contents, Record, RecordBlock, group_records
from weather.readers.sources import open_source
from weather.readers.zarr_stores import open_zarr_store
from weather.variables import KNOWN

UNREADABLE = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError),
    *(TypeError, AttributeError, ArithmeticError, AssertionError),  # for attributes of types that they do not expect
    *(zipfile.BadZipFile, eccodes.CodesInternalError, struct.error, zlib.error),
)
"""What the parsing libraries raise for damaged files."""


class Problems(list[str]):
    """Sentences that say what is wrong with an input, collected to be reported together."""

    def add_once(self, sentence: str) -> None:
        """Append a sentence, unless it is in the list already."""
        if sentence not in self:
            self.append(sentence)


def read_records(
    sources: Sequence[str], variables: Sequence[str], problems: Problems, stack: ExitStack
) -> list[Record]:
    """Return the records of `variables` in all sources; their values can be read until `stack` is closed.

    Variables may be in different sources. Sources that cannot be read, fields that cannot be understood and variables
    that no source has are added to `problems`.
    """
    contents = [part for source in sources for part in read_source(source, variables, problems, stack)]
    records = [record for part in contents for record in part.records]
    missing = find_missing(contents, variables)
    if missing:
        problems.append(missing)
    return records


def read_blocks(
    sources: Sequence[str], variables: Sequence[str], problems: Problems, stack: ExitStack
) -> list[RecordBlock]:
    """Return the same as `read_records` in blocks, for data of many times."""
    contents = [part for source in sources for part in read_source(source, variables, problems, stack, in_blocks=True)]
    missing = find_missing(contents, variables)
    if missing:
        problems.append(missing)
    return [block for part in contents for block in part.blocks]


def read_source(
    source: str, variables: Sequence[str], problems: Problems, stack: ExitStack, *, in_blocks: bool = False
) -> list[Contents]:
    """Return what one source has, a part for each file in it; what cannot be read is added to `problems`."""
    try:
        opened = open_source(source, stack)
    except SourceError as error:
        problems.append(str(error))
        return []
    contents = [part for item in opened if (part := _parse(item, variables, problems, stack, in_blocks)) is not None]
    for part in contents:
        for problem in part.problems:
            problems.add_once(problem)
    return contents


def find_missing(contents: Sequence[Contents], variables: Sequence[str]) -> str | None:
    """Return a sentence on the variables that no source has; None if there are none, or problems explain them."""
    found = {record.variable for part in contents for record in part.records}
    found |= {block.example.variable for part in contents for block in part.blocks}
    missing = [name for name in variables if name not in found]
    if not contents or not missing or any(part.problems for part in contents):
        return None
    return describe_missing(missing, [*sorted(found), *(name for part in contents for name in part.others)])


def describe_missing(missing: Sequence[str], available: Sequence[str]) -> str:
    """Return a sentence with the variables that are missing, their accepted names, and the names that the data has."""
    wanted = "; ".join(f"{KNOWN[name].long_name} ({' or '.join(KNOWN[name].aliases[:4])})" for name in missing)
    present = ", ".join(dict.fromkeys(available)) or "no variable at all"
    return f"Missing: {wanted}. The data has: {present}."


def _parse(
    opened: Opened, variables: Sequence[str], problems: Problems, stack: ExitStack, in_blocks: bool
) -> Contents | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # users cannot change what the libraries warn of in others' files
            if opened.format == "GRIB":
                contents = read_grib(Path(opened.location), opened.name, variables)
                return replace(contents, records=[], blocks=group_records(contents.records)) if in_blocks else contents
            read = read_array_blocks if in_blocks else read_arrays
            return read(open_dataset(opened, stack), opened.name, variables)
    except SourceError as error:
        problems.append(str(error))
    except UNREADABLE as error:
        problems.append(describe_damage(opened.name, opened.format, error))
    return None


def describe_damage(source: str, kind: str, error: Exception) -> str:
    """Return the sentence for a source that a parsing library cannot read."""
    return f"`{source}` cannot be read as {kind}: {join_lines(error)}. {DAMAGE}"


def open_dataset(opened: Opened, stack: ExitStack) -> xr.Dataset:
    """Open a NetCDF file or a Zarr store; nothing is decoded, neither times nor the indexes of unrelated variables."""
    options: dict[str, Any] = {"decode_times": False, "create_default_indexes": False}
    if opened.format == "NetCDF":
        dataset: xr.Dataset = xr.open_dataset(opened.location, engine="netcdf4", **options)
        return stack.enter_context(dataset)
    return open_zarr_store(opened, stack, **options)


def read_values(record: Record) -> NDArray[np.float32]:
    """Return the values of a record; raises `SourceError` if they cannot be decoded."""
    with _name_source(record.source):
        return record.read()


def read_block_values(block: RecordBlock, offsets: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the values of records of a block at ascending offsets; raises `SourceError` if they cannot be decoded."""
    with _name_source(block.example.source):
        return block.read(offsets)


@contextmanager
def _name_source(source: str) -> Iterator[None]:
    try:
        yield
    except PointsError as error:
        raise SourceError(f"`{source}`: {error}") from error
    except SourceError:
        raise
    except UNREADABLE as error:
        raise DamagedError(f"The values of `{source}` cannot be read: {join_lines(error)}. {DAMAGE}") from error
