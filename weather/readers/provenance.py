"""The provenance of frames: which records of which files they were made of."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from weather.readers.records import Record
from weather.schema import FrozenModel


class ChosenSource(FrozenModel):
    """The records of one file that went into a frame: of one valid time, run, type and experiment version."""

    file: str = Field(description="File, as it was named.")
    variables: tuple[str, ...] = Field(description="Variables that were taken from it.")
    valid_time: str = Field(description="Valid time of the frame, UTC.")
    run: str | None = Field(None, description="Start of the run, UTC; null if the file does not say.")
    step_hours: float | None = Field(None, description="Hours from the run to the valid time; null if not said.")
    type: str = Field("", description="`analysis`, `forecast`, or empty if the file does not say.")
    version: str = Field("", description="Experiment version, such as 0001 or 0005 of ERA5; empty without one.")
    members: tuple[int, ...] = Field((), description="Labels of the members; empty for a single analysis.")
    notes: tuple[str, ...] = Field((), description="What should be known of the choice, as phrases.")

    def with_short_file(self) -> "ChosenSource":
        """Return the source with the last part of its path or URL."""
        return self.model_copy(update={"file": self.file.rstrip("/").rpartition("/")[2]})

    def __str__(self) -> str:
        """Return the source as a phrase: variables, valid time, file and origin."""
        origin = [self.type] if self.type else []
        if self.run is not None and self.step_hours:
            origin += [f"run {self.run[:16]}", f"step {self.step_hours:g} h"]
        if self.version:
            origin.append(f"version {self.version}")
        if self.members:
            origin.append(f"members {format_numbers(self.members)}")
        details = f" ({', '.join(origin)})" if origin else ""
        return f"{', '.join(self.variables)} of {self.valid_time[:16]} from {self.file}{details}"


def list_sources(records: Iterable[Record], members: Sequence[int | None], notes: Sequence[str]) -> list[ChosenSource]:
    """Return the chosen `records` as sources, by time and file; variables and members are merged.

    `members` are the labels that the frames have, and `notes` hold for all of them.
    """
    labels = tuple(member for member in members if member is not None)
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        label = None if labels else record.member
        groups[record.valid_time, record.source, record.rank, record.data_type, record.version, label].append(record)
    several_runs = len({key[0] - key[2][0] for key in groups}) > 1
    sources = []
    for key in sorted(groups, key=lambda key: (key[0], key[1], key[2], str(key[5]))):
        group = groups[key]
        first = group[0]
        own = [note for record in group for note in record.notes]
        chosen_members = {record.member for record in group if record.member is not None} if labels else ()
        sources.append(
            ChosenSource(
                file=first.source,
                variables=tuple(dict.fromkeys(record.variable for record in group)),
                valid_time=str(np.datetime_as_string(first.valid_time, "s")),
                run=None if first.run is None or np.isnat(first.run) else str(np.datetime_as_string(first.run, "s")),
                step_hours=first.step_hours,
                type=first.data_type,
                version=first.version,
                members=tuple(sorted(chosen_members)),
                notes=tuple(dict.fromkeys([*own, *_notes(first, several_runs, key[5]), *notes])),
            )
        )
    return sources


def _notes(record: Record, several_runs: bool, label: int | None) -> list[str]:
    notes = []
    if record.step_hours:
        notes.append(f"a forecast of {record.step_hours:g} h, not an analysis")
        if several_runs:
            notes.append("the other frame is of another run")
    if record.is_preliminary:
        notes.append("of the preliminary experiment version")
    if label:  # 0 is the control member, and what the Climate Data Store writes without an ensemble
        notes.append(f"member {label} alone, used as a single analysis")
    return notes


def with_file_names(sources: Iterable[ChosenSource], rename: Callable[[str], str]) -> tuple[ChosenSource, ...]:
    """Return sources with `rename` applied to every text in them."""

    def replace(source: ChosenSource) -> ChosenSource:
        texts = {name: rename(value) for name, value in source if isinstance(value, str)}
        return source.model_copy(update={**texts, "notes": tuple(map(rename, source.notes))})

    return tuple(map(replace, sources))


def format_numbers(numbers: Iterable[int]) -> str:
    """Return numbers with consecutive ones as ranges: `0-3, 7`."""
    parts, ordered = list[str](), sorted(set(numbers))
    start = 0
    for index, number in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != number + 1:
            parts.append(f"{ordered[start]}-{number}" if index > start else str(number))
            start = index + 1
    return ", ".join(parts)
