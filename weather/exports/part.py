"""The part of a forecast that an export has: fields, members, valid times and a region."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from weather.errors import StoreError
from weather.exports.stored import StoredFields
from weather.region import Region
from weather.times import ANY_TIME, Interval

_MEMBERS = re.compile(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?")
_STATISTIC = re.compile(r"_(?:mean|spread|quantiles|above|below)$")


@dataclass(frozen=True)
class Part:
    """What an export is requested to have: all fields, members, lead times and points by default.

    `names` are those of fields, or of variables, whose statistics are meant in a summary. `members` is a text such as
    `0-9,12`.
    """

    names: tuple[str, ...] = ()
    members: str = ""
    times: Interval = ANY_TIME
    region: Region | None = None


@dataclass(frozen=True)
class Selection:
    """A part of a certain store: `positions` of each field's own dimension, lead times, rows and columns.

    `latitude` and `longitude` are degrees; longitudes ascend without a jump. `num_values` is that of `read_numbers`.
    """

    positions: Mapping[str, tuple[int, ...]]
    lead_indices: tuple[int, ...]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    num_values: NDArray[np.int64]

    @property
    def lead_time_bytes(self) -> int:
        """Bytes of all fields at one lead time."""
        return 4 * len(self.rows) * len(self.columns) * sum(map(len, self.positions.values()))

    def read(self, stored: StoredFields, name: str, lead_index: int) -> NDArray[np.float32]:
        """Return a field of the store at a lead time, float32 (position, latitude, longitude), in the region.

        Raises `DamagedError` if a chunk is missing or damaged.
        """
        return stored.read(name, lead_index, self.positions[name])[:, self.rows][:, :, self.columns]


def select(stored: StoredFields, part: Part, at_most: int) -> Selection:
    """Return a part of a store, with complete lead times of the first `at_most`.

    Raises `ConfigurationError` for fields, members, times or a region that it does not have, and `StoreError` if no
    lead time is complete.
    """
    names = _select_fields(stored, part.names)
    members = _select_members(stored, part.members)
    positions = {
        name: members if stored.fields[name].dimension == "number" else tuple(range(_count(stored, name)))
        for name in names
    }
    numbers = stored.read_numbers(at_most)
    if not len(numbers):
        raise StoreError(f"`{stored.path.name}` has no complete lead time yet.")
    latitude, longitude = stored.coordinates["latitude"], stored.coordinates["longitude"]
    rows, columns = np.arange(len(latitude)), np.arange(len(longitude))
    if part.region is not None:
        rows = part.region.rows_inside(latitude)
        columns, longitude = part.region.columns_inside(longitude)
        if not len(rows) or not len(columns):
            raise ConfigurationError("`bbox` must contain at least one grid point. Enlarge it.", ("bbox",))
    indices = _select_lead_times(stored, part.times, len(numbers))
    return Selection(positions, indices, rows, columns, latitude[rows], longitude, numbers)


def _count(stored: StoredFields, name: str) -> int:
    array = stored.fields[name]
    return 1 if array.dimension is None else array.shape[2]


def _select_fields(stored: StoredFields, names: Sequence[str]) -> list[str]:
    variables = {name: _STATISTIC.sub("", name) for name in stored.fields}
    for name in names:
        if name not in stored.fields and name not in variables.values():
            accepted = ", ".join(dict.fromkeys([*variables.values(), *stored.fields]))
            raise ConfigurationError(f"`parameter-name` may have {accepted}. Got: {name!r}.", ("parameter-name",))
    return [name for name in stored.fields if not names or name in names or variables[name] in names]


def _select_members(stored: StoredFields, text: str) -> tuple[int, ...]:
    """Return the positions of the members that a text such as `0-9,12` names, in the order of the store."""
    if not stored.is_ensemble:
        if text:
            raise ConfigurationError("A summary has no `members`: its values are of all of them.", ("members",))
        return ()
    members: list[int] = stored.coordinates["number"].tolist()
    if not text:
        return tuple(range(len(members)))
    wanted = set[int]()
    for item in text.split(","):
        found = _MEMBERS.fullmatch(item)
        first = int(found[1]) if found else -1
        last = int(found[2]) if found and found[2] else first
        chosen = {member for member in members if first <= member <= last}
        if found is None or first not in chosen or last not in chosen:
            raise ConfigurationError(
                f"`members` must be a list such as 0-9,12 of members of the forecast, which has {_describe(members)}. "
                f"Got: {text!r}.",
                ("members",),
            )
        wanted |= chosen
    return tuple(position for position, member in enumerate(members) if member in wanted)


def _describe(members: Sequence[int]) -> str:
    if len(members) == members[-1] - members[0] + 1:
        return f"{members[0]}-{members[-1]}"
    return f"{len(members)} from {members[0]} to {members[-1]}"


def _select_lead_times(stored: StoredFields, times: Interval, num_complete: int) -> tuple[int, ...]:
    valid = stored.init_time + stored.lead_hours[:num_complete].astype("timedelta64[h]")
    indices = tuple(index for index, time in enumerate(valid) if times.contains(time))
    if not indices:
        raise ConfigurationError(
            f"`datetime` must include the valid time of a complete lead time: {valid[0]}Z to {valid[-1]}Z. "
            f"Got: {times}.",
            ("datetime",),
        )
    return indices
