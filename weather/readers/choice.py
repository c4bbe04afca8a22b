"""Choose, from all records of all sources, the ones that frames of the weather are made of.

The rules depend neither on the order of sources nor on that of records in them. Only instantaneous states at the
variable's own level are used. Of several records of one variable, valid time and member, the shortest step is chosen
(an analysis before a forecast), then the final experiment version before the preliminary one; all variables of a frame
come from the same of these, where they can. A record without any value is none; equal records count once, and
different ones of equal preference are an error. Members are paired by their label.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from weather.readers.containers import SourceError
from weather.readers.files import read_values
from weather.readers.records import Record
from weather.times import format_time
from weather.variables import KNOWN

Place = tuple[np.datetime64, int | None]
"""Valid time and member of a frame; the member is None for a single analysis."""
_EQUAL_FRACTION = 1e-4
"""Records are equal if they differ by at most this part of the variable's valid range: packing rounds that much."""


@dataclass(frozen=True)
class Choice:
    """The records that can be frames: `times` and `members` that every variable has, and the candidates of each.

    `members` is `(None,)` for single analyses. `rejected` are the records that cannot be a frame.
    """

    variables: tuple[str, ...]
    times: tuple[np.datetime64, ...]
    members: tuple[int | None, ...]
    candidates: Mapping[Place, Mapping[str, Sequence[Record]]]
    rejected: Sequence[Record]
    values: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def frame(self, time: np.datetime64, member: int | None) -> dict[str, Record] | None:
        """Return the record of each variable, or None if one has no value at all.

        Raises `SourceError` if records of equal preference differ.
        """
        candidates = self.candidates[time, member]
        ranks = sorted({record.rank for records in candidates.values() for record in records})
        if len(ranks) == 1 and all(len(records) == 1 for records in candidates.values()):
            return {name: records[0] for name, records in candidates.items()}
        best = dict[str, Record]()
        for rank in ranks:
            at_rank = {
                name: record
                for name, records in candidates.items()
                if (record := self._merge([record for record in records if record.rank == rank])) is not None
            }
            if len(at_rank) == len(self.variables):
                return at_rank
            best = at_rank | best
        return best if len(best) == len(self.variables) else None

    def read(self, record: Record) -> NDArray[np.float32]:
        """Return the values of a record, which are decoded once as long as they are not taken by `pop`."""
        key = id(record)
        if key not in self.values:
            self.values[key] = read_values(record)
        return self.values[key]

    def pop(self, record: Record) -> NDArray[np.float32]:
        """Return the values of a record and release them."""
        values = self.read(record)
        del self.values[id(record)]
        return values

    def _merge(self, records: Sequence[Record]) -> Record | None:
        """Return the one of equal records that has values; None if there is none."""
        filled = [record for record in records if np.isfinite(self.read(record)).any()]
        if not filled:
            return None
        filled.sort(key=lambda record: hashlib.sha256(self.read(record).tobytes()).digest())
        low, high = KNOWN[filled[0].variable].valid_range
        for other in filled[1:]:
            first, second = (self.read(record) for record in (filled[0], other))
            same_points = filled[0].points.grid.matches(other.points.grid)
            if not same_points or not np.allclose(
                first, second, rtol=0, atol=_EQUAL_FRACTION * (high - low), equal_nan=True
            ):
                raise SourceError(_describe_conflict(filled[0], other))
        return filled[0]


def _describe_conflict(first: Record, second: Record) -> str:
    places = first.describe(), second.describe()
    where = f"both in `{places[0]}`" if places[0] == places[1] else f"in `{places[0]}` and in `{places[1]}`"
    return (
        f"`{first.variable}` has two different values for one time, {format_time(first.valid_time)}: {where}. "
        "Leave one of them out."
    )


def choose(records: Iterable[Record], variables: Sequence[str]) -> Choice:
    """Return what can be chosen from `records`; raises `SourceError` if no time has every variable."""
    usable, rejected = list[Record](), list[Record]()
    for record in records:
        (rejected if record.unusable else usable).append(record)
    for name in variables:
        if all(record.variable != name for record in usable):
            reasons = sorted(
                {f"in `{record.source}`, it is {record.unusable}" for record in rejected if record.variable == name}
            )
            raise SourceError(f"`{name}` cannot be used: {'; '.join(reasons)}.")
    candidates = _candidates(usable, variables)
    members = _common_members(candidates, variables)
    complete = {
        place: by_variable
        for place, by_variable in candidates.items()
        if place[1] in members and len(by_variable) == len(variables)
    }
    times = [
        time
        for time in sorted({place[0] for place in complete})
        if all((time, member) in complete for member in members)
    ]
    if not times:
        spans = "; ".join(f"`{name}`: {_format_span(usable, name)}" for name in variables)
        raise SourceError(f"No time has all of {', '.join(variables)}. Got: {spans}.")
    return Choice(tuple(variables), tuple(times), members, complete, rejected)


def _candidates(usable: Sequence[Record], variables: Sequence[str]) -> dict[Place, dict[str, list[Record]]]:
    """Return the usable records by time and member, then by variable; a single label is no ensemble."""
    labels = {record.member for record in usable} - {None}
    result: dict[Place, dict[str, list[Record]]] = defaultdict(dict)
    order = {name: index for index, name in enumerate(variables)}
    for record in sorted(usable, key=lambda record: order[record.variable]):
        member = record.member if len(labels) > 1 else None
        result[record.valid_time, member].setdefault(record.variable, []).append(record)
    return result


def _common_members(
    candidates: Mapping[Place, Mapping[str, Sequence[Record]]], variables: Sequence[str]
) -> tuple[int | None, ...]:
    """Return the labels that every time with members has, or `(None,)` for single analyses.

    Single analyses are preferred to members. Raises `SourceError` if times have no member in common.
    """
    by_time: dict[np.datetime64, set[int | None]] = defaultdict(set)
    for (time, member), by_variable in candidates.items():
        if len(by_variable) == len(variables):
            by_time[time].add(member)
    if not by_time or all(None in labels for labels in by_time.values()):
        return (None,)
    common = set.intersection(*by_time.values()) - {None}
    if not common:
        listed = "; ".join(
            f"{format_time(time)}: {_format_members(labels)}" for time, labels in sorted(by_time.items())
        )
        raise SourceError(f"All frames must have a member in common, by its number. Got: {listed}.")
    return tuple(sorted(member for member in common if member is not None))


def _format_members(labels: set[int | None]) -> str:
    numbers = sorted(label for label in labels if label is not None)
    parts = ["a single analysis"] if None in labels else []
    if numbers:
        parts.append(f"members {', '.join(map(str, numbers[:10]))}{' …' if len(numbers) > 10 else ''}")
    return " and ".join(parts)


def _format_span(records: Sequence[Record], name: str) -> str:
    times = sorted({record.valid_time for record in records if record.variable == name})
    return (
        " and ".join(format_time(time) for time in times)
        if len(times) < 3
        else f"{format_time(times[0])} to {format_time(times[-1])}"
    )
