"""Choose, from all records of all sources, the ones that frames of the weather are made of.

The rules depend neither on the order of sources nor on that of records in them. Only instantaneous states at the
variable's own level are used. All variables of a frame come from one run. Of several runs, the shortest step is chosen;
within a run, an analysis before a forecast, then the final experiment version before the preliminary one, and all
variables come from the same of these, where they can. A record without any value is none; equal records count once, and
different ones of equal preference are an error. Members are paired by their label.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from weather.readers.containers import SourceError
from weather.readers.files import read_values
from weather.readers.records import Record
from weather.times import format_time
from weather.variables import KNOWN

Place = tuple[np.datetime64, int | None]
"""Valid time and member of a frame; the member is None for a single analysis."""
Candidates = dict[Place, dict[str, list[Record]]]
_EQUAL_FRACTION = 1e-4
"""Records are equal if they differ by at most this part of the variable's valid range: packing rounds that much."""


@dataclass(frozen=True)
class Choice:
    """The records that can be frames: the `candidates` of each place that has every variable from one run.

    `times` are those with such a place, ascending. `reasons` says, by the `id` of a record, why it is in no frame; it
    grows as frames are made.
    """

    variables: tuple[str, ...]
    times: tuple[np.datetime64, ...]
    candidates: Mapping[Place, Mapping[str, Sequence[Record]]]
    labels: Mapping[np.datetime64, frozenset[int | None]]
    reasons: dict[int, str]
    values: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)
    frames: dict[Place, dict[str, Record] | None] = field(default_factory=dict, repr=False)

    def members_of(self, times: Iterable[np.datetime64]) -> tuple[int | None, ...]:
        """Return the labels of the members that all `times` have, or `(None,)` for single analyses.

        Single analyses are preferred to members. Raises `SourceError` if the times have no member in common.
        """
        by_time = {time: self.labels[time] for time in sorted(times)}
        if all(None in labels for labels in by_time.values()):
            return (None,)
        common = set[int | None].intersection(*map(set, by_time.values())) - {None}
        if not common:
            listed = "; ".join(f"{format_time(time)}: {_format_members(labels)}" for time, labels in by_time.items())
            raise SourceError(f"All frames must have a member in common, by its number. Got: {listed}.")
        return tuple(sorted(member for member in common if member is not None))

    def frame(self, time: np.datetime64, member: int | None) -> dict[str, Record] | None:
        """Return the record of each variable, or None if no run has values of all of them.

        Raises `SourceError` if records of equal preference differ.
        """
        place = time, member
        if place not in self.frames:
            self.frames[place] = self._choose_frame(self.candidates[place])
        return self.frames[place]

    def has_values(self, time: np.datetime64, member: int | None) -> bool:
        """Return whether each variable of a frame has a value."""
        frame = self.frame(time, member)
        return frame is not None and all(self._is_filled(record) for record in frame.values())

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

    def _choose_frame(self, candidates: Mapping[str, Sequence[Record]]) -> dict[str, Record] | None:
        if all(len(records) == 1 for records in candidates.values()):
            return {name: records[0] for name, records in candidates.items()}
        ranks = sorted({record.rank for records in candidates.values() for record in records})
        for _, of_step in groupby(ranks, key=lambda rank: rank[0]):
            best = dict[str, Record]()
            for rank in of_step:
                merged = {
                    name: self._merge([record for record in records if record.rank == rank])
                    for name, records in candidates.items()
                }
                at_rank = {name: record for name, record in merged.items() if record is not None}
                if len(at_rank) == len(self.variables):
                    return at_rank
                best = at_rank | best
            if len(best) == len(self.variables):
                return best
        return None

    def _is_filled(self, record: Record) -> bool:
        """Return whether a record has any value; one without is released."""
        is_filled = bool(np.isfinite(self.read(record)).any())
        if not is_filled:
            self._drop(record, "without any value")
        return is_filled

    def _merge(self, records: Sequence[Record]) -> Record | None:
        """Return the one of equal records that has values; None if there is none."""
        filled = [record for record in records if self._is_filled(record)]
        if not filled:
            return None
        filled.sort(key=self._order)
        for other in filled[1:]:
            if not self._is_equal(filled[0], other):
                raise SourceError(_describe_conflict(filled[0], other))
            self._drop(other, f"equal to that of `{filled[0].describe()}`")
        return filled[0]

    def _order(self, record: Record) -> tuple[bytes, str, str]:
        """Return a key that orders equal records by what is in them, so that their order in the input never matters."""
        digest = hashlib.sha256(self.read(record).tobytes()).digest()
        return digest, record.describe(), f"{record.run} {record.step} {record.member} {record.unit} {record.notes}"

    def _is_equal(self, first: Record, second: Record) -> bool:
        low, high = KNOWN[first.variable].valid_range
        tolerance = _EQUAL_FRACTION * (high - low)
        return first.points.grid.matches(second.points.grid) and np.allclose(
            self.read(first), self.read(second), rtol=0, atol=tolerance, equal_nan=True
        )

    def _drop(self, record: Record, reason: str) -> None:
        self.reasons[id(record)] = reason
        self.values.pop(id(record), None)


def _describe_conflict(first: Record, second: Record) -> str:
    places = sorted((first.describe(), second.describe()))
    where = f"both in `{places[0]}`" if places[0] == places[1] else f"in `{places[0]}` and in `{places[1]}`"
    grids = sorted({str(record.points.grid) for record in (first, second)})
    what = "has two different values" if len(grids) == 1 else f"is on two grids, {' and '.join(grids)},"
    return f"`{first.variable}` {what} for one time, {format_time(first.valid_time)}: {where}. Leave one of them out."


def choose(records: Iterable[Record], variables: Sequence[str]) -> Choice:
    """Return what can be chosen from `records`; raises `SourceError` if no time has every variable from one run."""
    usable, unusable = list[Record](), list[Record]()
    for record in records:
        (unusable if record.unusable else usable).append(record)
    require_each(variables, usable, unusable)
    candidates, rejected = _complete(_candidates(usable, variables), variables)
    labels: dict[np.datetime64, set[int | None]] = defaultdict(set)
    for time, member in candidates:
        labels[time].add(member)
    if not labels:
        raise SourceError(_describe_incomplete(usable, variables))
    return Choice(
        variables=tuple(variables),
        times=tuple(sorted(labels)),
        candidates=candidates,
        labels={time: frozenset(of_time) for time, of_time in labels.items()},
        reasons={id(record): record.unusable for record in unusable}
        | {id(record): "without the other variables of its time and run" for record in rejected},
    )


def require_each(variables: Sequence[str], usable: Sequence[Record], unusable: Sequence[Record]) -> None:
    """Raise `SourceError` that says of each variable without a usable record why those that are there are not."""
    sentences = []
    for name in variables:
        if all(record.variable != name for record in usable):
            found = [record for record in unusable if record.variable == name]
            reasons = sorted({f"in `{record.source}`, it is {record.unusable}" for record in found})
            sentences.append(f"`{name}` cannot be used: {'; '.join(reasons) or 'no source has it'}.")
    if sentences:
        raise SourceError(" ".join(sentences))


def _candidates(usable: Sequence[Record], variables: Sequence[str]) -> Candidates:
    """Return the usable records by time and member, then by variable; a single label is no ensemble."""
    is_ensemble = len({record.member for record in usable} - {None}) > 1
    result: Candidates = defaultdict(dict)
    order = {name: index for index, name in enumerate(variables)}
    for record in sorted(usable, key=lambda record: order[record.variable]):
        member = record.member if is_ensemble else None
        result[record.valid_time, member].setdefault(record.variable, []).append(record)
    return result


def _complete(candidates: Candidates, variables: Sequence[str]) -> tuple[Candidates, list[Record]]:
    """Return the candidates of the steps that have every variable, and the records that have no such step."""
    complete, rejected = Candidates(), list[Record]()
    for place, by_variable in candidates.items():
        steps = [{record.rank[0] for record in by_variable.get(name, ())} for name in variables]
        common = set.intersection(*steps)
        kept = {
            name: [record for record in records if record.rank[0] in common] for name, records in by_variable.items()
        }
        if common:
            complete[place] = kept
        rejected += [record for records in by_variable.values() for record in records if record.rank[0] not in common]
    return complete, rejected


def _describe_incomplete(usable: Sequence[Record], variables: Sequence[str]) -> str:
    """Return a sentence why no time has every variable from one run and member: those that each variable has."""
    of_variable = [[record for record in usable if record.variable == name] for name in variables]
    times = set.intersection(*({record.valid_time for record in records} for records in of_variable))
    if times:
        newest = max(times)
        listed = "; ".join(
            f"`{name}`: {' and '.join(sorted({_format_origin(record) for record in at_time}))}"
            for name, records in zip(variables, of_variable, strict=True)
            if (at_time := [record for record in records if record.valid_time == newest])
        )
        return (
            f"All variables of a frame must be of one run and member. Got, at {format_time(newest)}: {listed}. "
            "Add the missing variable of the same run."
        )
    spans = "; ".join(f"`{name}`: {_format_span(of)}" for name, of in zip(variables, of_variable, strict=True))
    return f"No time has all of {', '.join(variables)}. Got: {spans}."


def _format_origin(record: Record) -> str:
    step = "no step" if record.step is None else f"step {record.step / np.timedelta64(1, 'h'):g} h"
    return step if record.member is None else f"member {record.member}, {step}"


def _format_members(labels: Iterable[int | None]) -> str:
    numbers = sorted(label for label in labels if label is not None)
    parts = ["a single analysis"] if None in labels else []
    if numbers:
        parts.append(f"members {', '.join(map(str, numbers[:10]))}{' …' if len(numbers) > 10 else ''}")
    return " and ".join(parts)


def _format_span(records: Sequence[Record]) -> str:
    times = sorted({record.valid_time for record in records})
    return (
        " and ".join(format_time(time) for time in times)
        if len(times) < 3
        else f"{format_time(times[0])} to {format_time(times[-1])}"
    )
