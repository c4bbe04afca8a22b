"""A zip of known size and fixed bytes, of which any range is made when it is sent; nothing is compressed again.

Each member is a header and its content, and an index is at the end, with a CRC-32 of each content: what a zip of
`zipfile` with `ZIP_STORED` has. Dates are those of 1980, so that equal files are equal zips.
"""

import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import accumulate

from weather.errors import DamagedError

_HEADER, _INDEX_ENTRY, _END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
_LARGE_END, _LARGE_LOCATOR = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_LARGE_OFFSET = struct.Struct("<2HQ")
_VERSION, _LARGE_VERSION, _UNIX = 20, 45, 3 << 8
_MIDNIGHT, _FIRST_DAY = 0, (1 << 5) | 1
_FILE_MODE = 0o100644 << 16
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class ZipMember:
    """A file in a zip: its name and size, and its content if that is not read from a store."""

    name: str
    size_bytes: int
    content: bytes | None = None


class ZipPlan:
    """The zip of some members, in their order; several threads may use it.

    It keeps the checksums of contents that were read, so that the index is made without reading them again.
    """

    def __init__(self, members: Sequence[ZipMember]) -> None:
        self._members = tuple(members)
        self._names = [member.name.encode() for member in members]
        sizes = (
            _HEADER.size + len(name) + member.size_bytes for name, member in zip(self._names, members, strict=True)
        )
        self._starts = [*accumulate(sizes, initial=0)]
        self._checksums: dict[int, int] = {}

    @property
    def size_bytes(self) -> int:
        """The size of the whole zip."""
        entries = (
            _INDEX_ENTRY.size + len(name) + (_LARGE_OFFSET.size if start >= _MAX_32 else 0)
            for name, start in zip(self._names, self._starts, strict=False)
        )
        index_bytes = sum(entries)
        large = _LARGE_END.size + _LARGE_LOCATOR.size if self._is_large(index_bytes) else 0
        return self._starts[-1] + index_bytes + large + _END.size

    @property
    def num_members(self) -> int:
        """The number of files in the zip."""
        return len(self._members)

    @cached_property
    def digest(self) -> str:
        """A digest of the names and sizes of all members, and of the contents that are known."""
        digest = sha256()
        for member in self._members:
            digest.update(f"{member.name} {member.size_bytes}\n".encode())
            digest.update(member.content or b"")
        return digest.hexdigest()[:32]

    def blocks(self, start: int, stop: int, read: Callable[[str], bytes]) -> Iterator[bytes]:
        """Yield the bytes from `start` up to, but not including, `stop`, in blocks of one member each.

        `read` returns the content of the file of a name; raises `DamagedError` if it has another size.
        """
        number = bisect_right(self._starts, start) - 1
        while number < len(self._members) and self._starts[number] < stop:
            content = self._read(number, read)
            block = self._header(number) + content
            first = self._starts[number]
            yield block[max(start - first, 0) : stop - first]
            number += 1
        first = self._starts[-1]
        if stop > first:
            for number in range(len(self._members)):
                if number not in self._checksums:
                    self._read(number, read)
            yield self._index()[max(start - first, 0) : stop - first]

    def _read(self, number: int, read: Callable[[str], bytes]) -> bytes:
        member = self._members[number]
        content = read(member.name) if member.content is None else member.content
        if len(content) != member.size_bytes:
            raise DamagedError(member.name, f"is damaged: it has {len(content)} bytes instead of {member.size_bytes}")
        self._checksums[number] = zlib.crc32(content)
        return content

    def _header(self, number: int) -> bytes:
        name, size = self._names[number], self._members[number].size_bytes
        fields = (_VERSION, 0, 0, _MIDNIGHT, _FIRST_DAY, self._checksums[number], size, size, len(name), 0)
        return _HEADER.pack(b"PK\3\4", *fields) + name

    def _index(self) -> bytes:
        """Return the index of all members and the end of the zip."""
        entries = b"".join(map(self._index_entry, range(len(self._members))))
        count, start = len(self._members), self._starts[-1]
        end = b""
        if self._is_large(len(entries)):
            sizes = (_LARGE_END.size - 12, _LARGE_VERSION, _LARGE_VERSION, 0, 0, count, count, len(entries), start)
            end = _LARGE_END.pack(b"PK\6\6", *sizes)
            end += _LARGE_LOCATOR.pack(b"PK\6\7", 0, start + len(entries), 1)
        short = min(count, _MAX_16), min(count, _MAX_16), min(len(entries), _MAX_32), min(start, _MAX_32)
        return entries + end + _END.pack(b"PK\5\6", 0, 0, *short, 0)

    def _index_entry(self, number: int) -> bytes:
        name, size, start = self._names[number], self._members[number].size_bytes, self._starts[number]
        extra = _LARGE_OFFSET.pack(1, 8, start) if start >= _MAX_32 else b""
        version = _LARGE_VERSION if extra else _VERSION
        fields = (_UNIX | version, version, 0, 0, _MIDNIGHT, _FIRST_DAY, self._checksums[number], size, size)
        offset = min(start, _MAX_32)
        entry = _INDEX_ENTRY.pack(b"PK\1\2", *fields, len(name), len(extra), 0, 0, 0, _FILE_MODE, offset)
        return entry + name + extra

    def _is_large(self, index_bytes: int) -> bool:
        return len(self._members) >= _MAX_16 or max(self._starts[-1], index_bytes) >= _MAX_32
