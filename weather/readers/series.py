"""Frames of the weather from several files and stores, as one series in time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weather.errors import VerificationError
from weather.grids import Grid
from weather.readers.choice import Choice, choose
from weather.readers.containers import SourceError
from weather.readers.files import Problems, read_records
from weather.readers.provenance import ChosenSource, format_numbers, list_sources
from weather.readers.records import Record
from weather.regrid import regrid
from weather.times import format_time


@dataclass(frozen=True)
class Frames:
    """Frames of the weather, and the records that they were made of.

    `fields` has the variables as float32 on (time, [member,] latitude, longitude), in canonical form: units of `KNOWN`,
    latitudes from north to south, longitudes ascending within [0, 360), `time` is valid time in UTC. `notes` say which
    members were left out.
    """

    fields: xr.Dataset
    records: Sequence[Record]
    members: tuple[int | None, ...] = (None,)
    notes: tuple[str, ...] = ()

    def list_sources(self) -> tuple[ChosenSource, ...]:
        """Return the sources that the frames were read from, an entry for each time and file."""
        return tuple(list_sources(self.records, self.members, self.notes))


class Series:
    """The frames that a choice of records offers; values are decoded when they are loaded.

    `loaded` are the frames that were loaded last.
    """

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.variables, self.times = choice.variables, choice.times
        self.loaded: Frames | None = None

    @property
    def members(self) -> tuple[int | None, ...]:
        """Labels of the members that all times have, or `(None,)`; raises `SourceError` if there are none."""
        return self.choice.members_of(self.times)

    @property
    def is_ensemble(self) -> bool:
        """Whether each frame has several members."""
        return len(self.members) > 1

    def newest_time(self) -> np.datetime64:
        """Return the newest time of which a frame has values; raises `SourceError` if none has."""
        for time in reversed(self.times):
            labels = self.choice.labels[time]
            ordered = [None] if None in labels else sorted(label for label in labels if label is not None)
            if any(self.choice.has_values(time, label) for label in ordered):
                return time
        raise SourceError("No frame has any value.")

    def load(self, times: Sequence[np.datetime64]) -> Frames:
        """Decode the frames of `times`, in this order, of the members that all of them have.

        Raises `SourceError` if they cannot be decoded, are not on one grid, or have two different values for one time.
        """
        members, notes = self._members_with_values(times)
        frames = [[self._frame(time, member) for member in members] for time in times]
        records = [record for frame in frames for of_member in frame for record in of_member.values()]
        grid = records[0].points.grid
        for record in records:
            if not record.points.grid.matches(grid):
                raise SourceError(
                    f"All frames must be on one grid. Got: {grid} in `{records[0].source}` and {record.points.grid} in "
                    f"`{record.source}`."
                )
        fields = np.empty((len(times), len(members), len(self.variables), *grid.shape), np.float32)
        for time_index, frame in enumerate(frames):
            for member_index, of_member in enumerate(frame):
                for channel, name in enumerate(self.variables):
                    fields[time_index, member_index, channel] = self.choice.pop(of_member[name])
        self.loaded = Frames(self._to_dataset(fields, times, members, grid), records, members, notes)
        return self.loaded

    def _members_with_values(self, times: Sequence[np.datetime64]) -> tuple[tuple[int | None, ...], tuple[str, ...]]:
        """Return the members that all `times` have with values, and notes on those that are left out."""
        common = self.choice.members_of(times)
        if common == (None,):
            return common, ()
        filled = tuple(member for member in common if all(self.choice.has_values(time, member) for time in times))
        if not filled:
            raise SourceError(f"No member has values at all of {', '.join(map(format_time, times))}.")
        labels = {label for time in times for label in self.choice.labels[time]} - {None}
        reasons = {"is not in every frame": labels - set(common), "has no value": set(common) - set(filled)}
        notes = [
            f"left out: member {format_numbers(number for number in left_out if number is not None)}, which {reason}"
            for reason, left_out in reasons.items()
            if left_out
        ]
        return filled, tuple(notes)

    def _to_dataset(
        self,
        fields: NDArray[np.float32],
        times: Sequence[np.datetime64],
        members: Sequence[int | None],
        grid: Grid,
    ) -> xr.Dataset:
        """Return `fields` (time, member, variable, latitude, longitude) as variables; several members are labelled."""
        coordinates: dict[str, object] = {
            "time": np.array(times, "datetime64[ns]"),
            "latitude": list(grid.latitude),
            "longitude": list(grid.longitude),
        }
        dims: tuple[str, ...] = ("time", "latitude", "longitude")
        if len(members) > 1:
            coordinates["member"], dims = list(members), ("time", "member", "latitude", "longitude")
        else:
            fields = fields[:, 0]
        channels = np.moveaxis(fields, -3, 0)
        return xr.Dataset({name: (dims, channels[index]) for index, name in enumerate(self.variables)}, coordinates)

    def _frame(self, time: np.datetime64, member: int | None) -> dict[str, Record]:
        frame = self.choice.frame(time, member)
        if frame is None:
            raise SourceError(f"The frame of {format_time(time)} has no value at all.")
        return frame


@contextmanager
def open_series(
    sources: Sequence[str], variables: Sequence[str], fail: Callable[[Sequence[str]], Exception]
) -> Iterator[Series]:
    """Yield the series of all sources, open for the time of the block; `fail` makes the error from the problems.

    A `SourceError` in the block becomes that error too.
    """
    problems = Problems()
    with ExitStack() as stack:
        records = read_records(sources, variables, problems, stack)
        if problems:
            raise fail(list(dict.fromkeys(problems)))
        try:
            yield Series(choose(records, variables))
        except SourceError as error:
            raise fail([str(error)]) from error


def read_truth(
    sources: Sequence[str], variables: Sequence[str], grid: Grid, times: Sequence[np.datetime64]
) -> dict[np.datetime64, NDArray[np.float32]]:
    """Return the frames of `sources` by time: those of `times` that exist, (variable, latitude, longitude) on `grid`.

    Raises `VerificationError` that lists the problems: unreadable sources, none of the times, values that are not
    finite.
    """

    def fail(problems: Sequence[str]) -> VerificationError:
        return VerificationError(f"Cannot verify against {' and '.join(sources)}: {' '.join(problems)}")

    with open_series(sources, variables, fail) as series:
        if series.is_ensemble:
            raise VerificationError(f"The truth must have no members. Got: {len(series.members)} of them.")
        wanted = [time for time in times if time in series.times]
        if not wanted:
            raise VerificationError(
                f"The truth must have a time of the forecast, {times[0]} to {times[-1]}. "
                f"Got: {series.times[0]} to {series.times[-1]}."
            )
        fields = series.load(wanted).fields
    _require_finite(fields, variables)
    regridded = regrid(fields, grid)
    stacked = np.stack([regridded[name].transpose("time", ...).values for name in variables], axis=1)
    return dict(zip(wanted, stacked, strict=True))


def _require_finite(frames: xr.Dataset, variables: Sequence[str]) -> None:
    for name in variables:
        for time, values in zip(frames.time.values.astype("datetime64[s]"), frames[name].values, strict=True):
            bad = int((~np.isfinite(values)).sum())
            if bad:
                raise VerificationError(
                    f"The truth must be finite. Not finite at {time}: {bad} of {values.size} values of `{name}`."
                )
