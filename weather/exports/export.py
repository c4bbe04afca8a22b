"""The export of a stored forecast, planned: its size is known, and each of its blocks, before any of it is made."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

from storage.errors import ConfigurationError
from weather.exports.grib import GribMessages
from weather.exports.netcdf import NetcdfForm, encode_record
from weather.exports.part import Part, Selection, select
from weather.exports.stored import StoredFields

Form = Literal["nc", "grib2"]
"""NetCDF-3 or GRIB 2, by the end of a file's name."""
FORMS: tuple[Form, ...] = get_args(Form)

_MAX_LEAD_TIME_BYTES = 256_000_000
"""The fields of a lead time are in memory together."""


@dataclass(frozen=True)
class Block:
    """Bytes of an export from `start` up to, but not including, `stop`: a lead time, or the header."""

    lead_index: int | None
    start: int
    stop: int


@dataclass(frozen=True)
class ExportPlan:
    """An export of lead times of a selection: its header, and the bytes of each lead time after it."""

    form: Form
    selection: Selection
    header: bytes
    lead_time_bytes: tuple[int, ...]

    @classmethod
    def of(cls, stored: StoredFields, part: Part, form: Form, at_most: int) -> "ExportPlan":
        """Plan the export of a part of a store, with complete lead times of the first `at_most`.

        Raises `ConfigurationError` for a part that the store does not have, that `form` cannot hold, or that is too
        large, and `DamagedError`.
        """
        selection = select(stored, part, at_most)
        if selection.lead_time_bytes > _MAX_LEAD_TIME_BYTES:
            raise ConfigurationError(
                f"The export has {selection.lead_time_bytes / 1e6:.0f} MB a lead time, and at most "
                f"{_MAX_LEAD_TIME_BYTES / 1e6:.0f} MB are accepted. Choose fewer members or parameters, or a box."
            )
        if form == "grib2":
            return cls(form, selection, b"", tuple(GribMessages(stored, selection).count_bytes()))
        netcdf = NetcdfForm.of(stored, selection)
        return cls(form, selection, netcdf.header, (netcdf.record_bytes,) * len(selection.lead_indices))

    @property
    def size_bytes(self) -> int:
        """The size of the whole export."""
        return len(self.header) + sum(self.lead_time_bytes)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Yield the blocks of the export, in order, that have bytes from `start` up to, but not including, `stop`."""
        ends = list(accumulate(self.lead_time_bytes, initial=len(self.header)))
        every = [Block(None, 0, len(self.header))]
        every += map(Block, self.selection.lead_indices, ends, ends[1:])
        for block in every:
            first, last = max(block.start, start), min(block.stop, self.size_bytes if stop is None else stop)
            if first < last:
                yield block

    def encode(self, stored: StoredFields, block: Block) -> bytes:
        """Return the bytes of a block; raises `DamagedError` if a chunk of its lead time is missing or damaged."""
        if block.lead_index is None:
            return self.header
        if self.form == "grib2":
            return GribMessages(stored, self.selection).encode(block.lead_index)
        return encode_record(stored, self.selection, block.lead_index, len(self.header))
