"""Count what the header of an untrusted file of classic NetCDF declares, before a library reads it.

The format is that of the NetCDF User's Guide, "File Format Specifications": CDF-1, CDF-2 and CDF-5.
"""

import mmap
from pathlib import Path

from weather.readers.containers import DAMAGE, MAX_ARRAYS, MAX_ATTRIBUTES, DamagedError, TooLargeError

_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_MAX_DIMENSIONS_OF_VARIABLE = 32


def check_netcdf3(path: Path, name: str) -> None:
    """Raise `SourceError` if the header of a classic NetCDF file is cut short, or declares too many items."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _Header(content, name).check()


class _Header:
    """A header that is read from its start to its end."""

    def __init__(self, content: mmap.mmap, name: str) -> None:
        version = content[3]
        self._content, self._name, self._position = content, name, 4
        self._count_bytes, self._offset_bytes = 8 if version == 5 else 4, 4 if version == 1 else 8
        self._num_attributes = 0

    def check(self) -> None:
        """Pass all dimensions, attributes and variables."""
        self._skip(self._count_bytes)
        for _ in range(self._read_list(_DIMENSIONS, "dimensions")):
            self._skip_text()
            self._skip(self._count_bytes)
        self._skip_attributes()
        for _ in range(self._read_list(_VARIABLES, "variables")):
            self._skip_text()
            num_dimensions = self._read(self._count_bytes)
            if num_dimensions > _MAX_DIMENSIONS_OF_VARIABLE:
                raise TooLargeError(f"`{self._name}` declares a variable of {num_dimensions} dimensions.")
            self._skip(num_dimensions * self._count_bytes)
            self._skip_attributes()
            self._skip(4 + self._count_bytes + self._offset_bytes)

    def _skip_attributes(self) -> None:
        number = self._read_list(_ATTRIBUTES, "attributes")
        self._num_attributes += number
        self._check_number(self._num_attributes, MAX_ATTRIBUTES, "attributes")
        for _ in range(number):
            self._skip_text()
            kind = self._read(4)
            if kind not in _TYPE_BYTES:
                raise self._damaged(f"has an attribute of type {kind}")
            self._skip_padded(_TYPE_BYTES[kind] * self._read(self._count_bytes))

    def _read_list(self, expected: int, items: str) -> int:
        """Return the number of items of a list; an absent one has none."""
        tag, number = self._read(4), self._read(self._count_bytes)
        if tag != expected and (tag, number) != (0, 0):
            raise self._damaged(f"has no list of {items}")
        self._check_number(number, MAX_ATTRIBUTES if expected == _ATTRIBUTES else MAX_ARRAYS, items)
        return number

    def _check_number(self, number: int, most: int, items: str) -> None:
        if number > most:
            raise TooLargeError(f"`{self._name}` has {number} {items}, and at most {most} are accepted.")

    def _skip_text(self) -> None:
        self._skip_padded(self._read(self._count_bytes))

    def _skip_padded(self, length: int) -> None:
        self._skip(length + -length % 4)

    def _read(self, size: int) -> int:
        start = self._position
        self._skip(size)
        return int.from_bytes(self._content[start : self._position])

    def _skip(self, size: int) -> None:
        self._position += size
        if self._position > len(self._content):
            raise self._damaged("ends within its header")

    def _damaged(self, problem: str) -> DamagedError:
        return DamagedError(f"`{self._name}` cannot be read as NetCDF: it {problem}. {DAMAGE}")
