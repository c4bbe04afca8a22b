"""Frames of the weather at many times, as years of training data have: found by arithmetic, read many at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weather.grids import Grid
from weather.readers.choice import choose, require_each
from weather.readers.containers import SourceError
from weather.readers.files import Problems, read_block_values, read_blocks
from weather.readers.records import RecordBlock
from weather.times import format_time

Times = NDArray[np.datetime64]
Select = Callable[[Times], NDArray[np.bool_]]
"""Which of some valid times are wanted."""

_CHOICE_TIMES = 1000
"""Number of times whose records are compared together, where several records are of one time."""


@dataclass(frozen=True)
class _Entries:
    """Where the records of one variable are, ascending by time: number of the block, and offset in it."""

    times: Times
    blocks: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def at(self, positions: NDArray[np.int64]) -> "_Entries":
        """Return some of the entries."""
        return _Entries(self.times[positions], self.blocks[positions], self.offsets[positions])


class LongSeries:
    """The frames of all times that have every variable, ascending by `times`; they are analyses on one `grid`.

    Which record is taken where several are of one time follows the rules of `weather.readers.choice`. Frames with equal
    `chunk_ids` are stored together in the files, and should be read together.
    """

    def __init__(self, blocks: Sequence[RecordBlock], variables: Sequence[str], select: Select | None = None) -> None:
        self.variables = tuple(variables)
        self._blocks = _list_analyses(_list_usable(blocks, variables))
        self.grid = _find_grid(self._blocks)
        found = [self._find_entries(name, select) for name in variables]
        self._entries = self._choose(found)
        self.times = self._entries[0].times
        self.chunk_ids = self._number_chunks()

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the frames (frame, variable, latitude, longitude) at different, ascending indices.

        Values are in the canonical unit and on `grid`; missing ones are NaN. Raises `SourceError` if they cannot be
        read.
        """
        frames = np.empty((len(indices), len(self.variables), *self.grid.shape), np.float32)
        for channel, entries in enumerate(self._entries):
            numbers, offsets = entries.blocks[indices], entries.offsets[indices]
            for number in dict.fromkeys(numbers.tolist()):
                places = np.flatnonzero(numbers == number)
                places = places[np.argsort(offsets[places])]
                frames[places, channel] = read_block_values(self._blocks[number], offsets[places])
        return frames

    def source(self, index: int, channel: int) -> str:
        """Return the source of a frame of a variable."""
        return self._blocks[int(self._entries[channel].blocks[index])].example.source

    def list_packings(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Return factor and offset of each frame and variable (`RecordBlock.packing`), None unless all are packed."""
        packings = [block.packing for block in self._blocks]
        if any(packings[number] is None for entries in self._entries for number in np.unique(entries.blocks)):
            return None
        table = np.array([packing or (np.nan, np.nan) for packing in packings])
        factor, offset = np.stack([table[entries.blocks] for entries in self._entries], axis=1).transpose(2, 0, 1)
        return factor, offset

    def _find_entries(self, name: str, select: Select | None) -> _Entries:
        """Return the entries of one variable at the selected times."""
        times, numbers, offsets = [np.empty(0, "datetime64[s]")], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for number, block in enumerate(self._blocks):
            if block.example.variable != name:
                continue
            wanted = ~np.isnat(block.valid_times)
            if select is not None:
                wanted &= select(block.valid_times)
            kept = np.flatnonzero(wanted)
            times.append(block.valid_times[kept])
            offsets.append(kept)
            numbers.append(np.full(len(kept), number))
        entries = _Entries(np.concatenate(times), np.concatenate(numbers), np.concatenate(offsets))
        return entries.at(np.argsort(entries.times, kind="stable"))

    def _choose(self, found: Sequence[_Entries]) -> list[_Entries]:
        """Return one entry for each variable and time, at the times that have every variable."""
        common = found[0].times
        for entries in found:
            common = np.intersect1d(common, entries.times)
        first = [np.searchsorted(entries.times, common) for entries in found]
        counts = [
            np.searchsorted(entries.times, common, "right") - start for entries, start in zip(found, first, strict=True)
        ]
        steps = np.array([block.example.rank[0].astype(np.int64) for block in self._blocks])
        step = [steps[entries.blocks[start]] for entries, start in zip(found, first, strict=True)]
        is_clear = np.all([count == 1 for count in counts], axis=0) & np.all([each == step[0] for each in step], axis=0)
        clear = [entries.at(start[is_clear]) for entries, start in zip(found, first, strict=True)]
        chosen = self._choose_records(found, common[~is_clear])
        together = [_join(first, second) for first, second in zip(clear, chosen, strict=True)]
        if not len(together[0].times):
            raise SourceError(self._describe_missing(found))
        return together

    def _describe_missing(self, found: Sequence[_Entries]) -> str:
        """Return a sentence that no selected time has every variable."""
        held = [block.valid_times[~np.isnat(block.valid_times)] for block in self._blocks]
        spans = [times for times in held if len(times)]
        first, last = min(times.min() for times in spans), max(times.max() for times in spans)
        counts = ", ".join(f"`{name}` at {len(part.times)}" for name, part in zip(self.variables, found, strict=True))
        return (
            f"No selected time has all of {', '.join(self.variables)}. Got: {counts} of the selected times; the data "
            f"covers {format_time(first)} to {format_time(last)}."
        )

    def _choose_records(self, found: Sequence[_Entries], times: Times) -> list[_Entries]:
        """Return the entries of the records that are chosen at times with several, which are read to compare them."""
        chosen = [list[tuple[np.datetime64, int, int]]() for _ in found]
        for start in range(0, len(times), _CHOICE_TIMES):
            part, places, records = times[start : start + _CHOICE_TIMES], dict[int, tuple[int, int]](), []
            for entries in found:
                for position in np.flatnonzero(np.isin(entries.times, part)):
                    place = int(entries.blocks[position]), int(entries.offsets[position])
                    records.append(self._blocks[place[0]].record(place[1]))
                    places[id(records[-1])] = place
            try:
                choice = choose(records, self.variables)
            except SourceError:
                if len(times) == len(part) and all(np.isin(entries.times, times).all() for entries in found):
                    raise
                continue
            for time in choice.times:
                frame = choice.frame(time, None) or {}
                for channel, record in enumerate(frame[name] for name in self.variables if frame):
                    chosen[channel].append((time, *places[id(record)]))
                choice.values.clear()
        return [_to_entries(of_variable) for of_variable in chosen]

    def _number_chunks(self) -> NDArray[np.int64]:
        begins = np.zeros(len(self.times), bool)
        sizes = np.array([block.chunk_size for block in self._blocks])
        for entries in self._entries:
            chunks = entries.offsets // sizes[entries.blocks]
            begins[1:] |= (np.diff(chunks) != 0) | (np.diff(entries.blocks) != 0)
        return np.cumsum(begins)


@contextmanager
def open_long_series(
    sources: Sequence[str],
    variables: Sequence[str],
    fail: Callable[[Sequence[str]], Exception],
    select: Select | None = None,
) -> Iterator[LongSeries]:
    """Yield the frames of all sources at the selected times, by default all; `fail` makes the error from the problems.

    A `SourceError` in the block becomes that error too. Only coordinates are read before frames are.
    """
    problems = Problems()
    with ExitStack() as stack:
        blocks = read_blocks(sources, variables, problems, stack)
        if problems:
            raise fail(list(dict.fromkeys(problems)))
        try:
            yield LongSeries(blocks, variables, select)
        except SourceError as error:
            raise fail([str(error)]) from error


def _list_usable(blocks: Sequence[RecordBlock], variables: Sequence[str]) -> list[RecordBlock]:
    usable = [block for block in blocks if not block.example.unusable]
    rejected = [block.example for block in blocks if block.example.unusable]
    require_each(variables, [block.example for block in usable], rejected)
    return usable


def _list_analyses(blocks: Sequence[RecordBlock]) -> list[RecordBlock]:
    """Return the blocks of single analyses; a single label is no ensemble."""
    labels = {block.example.member for block in blocks} - {None}
    if len(labels) < 2:
        return list(blocks)
    analyses = [block for block in blocks if block.example.member is None]
    if {block.example.variable for block in analyses} != {block.example.variable for block in blocks}:
        raise SourceError(f"The data must hold analyses. Got: {len(labels)} members of each.")
    return analyses


def _find_grid(blocks: Sequence[RecordBlock]) -> Grid:
    """Return the grid of all blocks; raises `SourceError` if they are not on one."""
    first = blocks[0].example
    for block in blocks:
        other = block.example
        if other.points is not first.points and not other.points.grid.matches(first.points.grid):
            raise SourceError(
                f"All frames must be on one grid. Got: {first.points.grid} in `{first.source}` and "
                f"{other.points.grid} in `{other.source}`."
            )
    return first.points.grid


def _join(first: _Entries, second: _Entries) -> _Entries:
    joined = _Entries(
        np.concatenate([first.times, second.times]),
        np.concatenate([first.blocks, second.blocks]),
        np.concatenate([first.offsets, second.offsets]),
    )
    return joined.at(np.argsort(joined.times, kind="stable"))


def _to_entries(places: Sequence[tuple[np.datetime64, int, int]]) -> _Entries:
    times, blocks, offsets = zip(*places, strict=True) if places else ((), (), ())
    return _Entries(
        np.array(times, "datetime64[s]"),
        np.array(blocks, np.int64).reshape(-1),
        np.array(offsets, np.int64).reshape(-1),
    )
