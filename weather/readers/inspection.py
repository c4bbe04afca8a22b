"""What files hold, what is chosen from them for a forecast, and why the rest is not: `warmcast inspect`."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from pydantic import Field

from weather.errors import InitialStateError
from weather.initial_state import InitialState, load_state
from weather.manifest import ModelSpec
from weather.readers.choice import Choice, choose
from weather.readers.containers import SourceError
from weather.readers.files import Problems, find_missing, read_source
from weather.readers.provenance import ChosenSource
from weather.readers.records import Contents, Record
from weather.readers.series import Frames, Series
from weather.schema import FrozenModel


class TimeRange(FrozenModel):
    """Different times, UTC."""

    first: str
    last: str
    count: int


class StepRange(FrozenModel):
    """Different steps of forecasts, in hours."""

    first: float
    last: float
    count: int


class FoundRecords(FrozenModel):
    """Records of one file that differ only in variable, time, step and member."""

    file: str = Field(description="File, as it was named.")
    variables: tuple[str, ...]
    level: str = Field(description="Kind and value of the level, such as `height 10 m`; `unstated` without one.")
    valid_times: TimeRange | None = Field(description="Valid times; null if the file gives none.")
    runs: TimeRange | None = Field(description="Starts of the runs; null if the file does not say.")
    step_hours: StepRange | None = Field(description="Hours from run to valid time; null if the file does not say.")
    members: tuple[int, ...] = Field(description="Labels of the members; empty without members.")
    type: str = Field(description="`analysis`, `forecast`, or empty if the file does not say.")
    statistic: str = Field(description="How values were made; only the `instantaneous state` can start a forecast.")
    version: str = Field(description="Experiment version; empty without one.")
    grid: str = Field(description="Numbers of latitudes and longitudes, and whether there are rows at the poles.")
    unit: str = Field(description="Unit as the file states it; empty if it does not.")
    records: int = Field(description="Number of records of each variable.")


class UnusedRecords(FrozenModel):
    """Records of one file that are not used, all for one reason."""

    file: str
    variables: tuple[str, ...]
    reason: str = Field(description="Why they are not used, as a phrase.")
    records: int = Field(description="Number of records.")


class Inspection(FrozenModel):
    """What files hold, what is chosen from them for a forecast, and why the rest is not."""

    files: tuple[str, ...]
    can_start: bool = Field(description="Whether a forecast can start from the files.")
    init_time: str | None = Field(description="Initial time of that forecast, UTC; null if none can start.")
    found: tuple[FoundRecords, ...] = Field(description="Records of the requested variables.")
    other_fields: dict[str, tuple[str, ...]] = Field(description="Names of the other fields of each file.")
    chosen: tuple[ChosenSource, ...] = Field(
        description="What a forecast would start from, or what was chosen before it was refused."
    )
    unused: tuple[UnusedRecords, ...] = Field(description="Records that are not used, with the reason.")
    warnings: tuple[str, ...] = Field(description="What is unusual, as sentences.")
    problems: tuple[str, ...] = Field(description="Why no forecast can start, as sentences; empty if one can.")


def inspect_sources(
    sources: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None = None,
    variables: Sequence[str] | None = None,
) -> Inspection:
    """Return what `sources` hold of `variables`, by default the model's, and what a forecast would start from.

    Values are decoded only where the choice depends on them. Never raises for what is wrong with a source: that is
    among the problems.
    """
    problems, warnings = Problems(), Problems()
    with ExitStack() as stack:
        parts = [(source, read_source(source, spec.variable_names, problems, stack)) for source in sources]
        contents = [part for _, of_source in parts for part in of_source]
        missing = find_missing(contents, spec.variable_names)
        if missing:
            problems.append(missing)
        records = [record for part in contents for record in part.records]
        listed = records if variables is None else [record for record in records if record.variable in variables]
        more = [name for name in variables or () if name not in spec.variable_names]
        if more:
            for source in sources:
                extra = read_source(source, more, warnings, stack)
                listed = [*listed, *(record for part in extra for record in part.records)]
        state, frames, reasons = _choose(records, sources, spec, init_time, problems)
    return Inspection(
        files=tuple(sources),
        can_start=state is not None,
        init_time=None if state is None else _format_time(state.init_time),
        found=tuple(fold_records(listed)),
        other_fields=_list_other_fields(parts),
        chosen=() if frames is None else frames.list_sources(),
        unused=tuple(_list_unused(records, reasons)),
        warnings=(*warnings, *(() if state is None else state.warnings)),
        problems=tuple(problems),
    )


def _choose(
    records: Sequence[Record],
    sources: Sequence[str],
    spec: ModelSpec,
    init_time: np.datetime64 | None,
    problems: Problems,
) -> tuple[InitialState | None, Frames | None, Mapping[int, str]]:
    """Return the state that a forecast would start from, its frames, and why each other record is not used, by `id`.

    If no forecast can start, the state is None and the problems are added; the frames are those that were refused.
    Until frames are chosen, only records that can never be used have a reason.
    """
    reasons = {id(record): record.unusable for record in records if record.unusable}
    if problems:
        return None, None, reasons
    state = series = None
    try:
        choice = choose(records, spec.variable_names)
        reasons, series = choice.reasons, Series(choice)
        state = load_state(series, spec, init_time, sources)
    except SourceError as error:
        problems.append(str(error))
    except InitialStateError as error:
        problems.extend(error.problems)
    if series is None or series.loaded is None:
        return None, None, reasons
    return state, series.loaded, {**_explain(records, choice, series.loaded.records), **reasons}


def _explain(records: Iterable[Record], choice: Choice, chosen: Sequence[Record]) -> dict[int, str]:
    """Return why each usable record that is not among the `chosen` ones is not used, by its `id`."""

    def place(record: Record) -> tuple[str, np.datetime64, int | None]:
        is_member = (record.valid_time, record.member) in choice.candidates
        return record.variable, record.valid_time, record.member if is_member else None

    best = {place(record): record for record in chosen}
    times, ids = {record.valid_time for record in chosen}, {id(record) for record in chosen}
    reasons = {}
    for record in records:
        if id(record) in ids:
            continue
        if record.valid_time not in times:
            reasons[id(record)] = "of another time"
        elif place(record) not in best:
            reasons[id(record)] = "of a member that is left out"
        else:
            reasons[id(record)] = _compare(record, best[place(record)])
    return reasons


def _compare(record: Record, chosen: Record) -> str:
    """Return why `chosen` was preferred to `record`, which is of the same variable, time and member."""
    (step, is_forecast, is_preliminary), best = record.rank, chosen.rank
    if step > best[0]:
        return f"a longer step: {record.step_hours or 0:g} h, and {chosen.step_hours or 0:g} h is there"
    if step < best[0]:
        return "of a run that lacks values of another variable"
    if is_forecast > best[1]:
        return "a forecast, and an analysis is there"
    if is_preliminary > best[2]:
        return "of the preliminary experiment version, and the final one is there"
    return "of an origin that lacks values of another variable"


def fold_records(records: Iterable[Record]) -> list[FoundRecords]:
    """Return the records as rows: those that differ only in time, step and member are one, and so are variables."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        kind = (record.data_type, str(record.statistic), record.version, str(record.points.grid), record.unit)
        groups[record.source, str(record.level), *kind, record.variable].append(record)
    rows: dict[FoundRecords, list[str]] = defaultdict(list)
    for (*_, variable), group in groups.items():
        rows[_fold(group)].append(variable)
    return [row.model_copy(update={"variables": tuple(names)}) for row, names in rows.items()]


def _fold(records: Sequence[Record]) -> FoundRecords:
    """Return the row of records of one kind, without its variable."""
    first = records[0]
    steps = sorted({step for record in records if (step := record.step_hours) is not None})
    return FoundRecords(
        file=first.source,
        variables=(),
        level=str(first.level),
        valid_times=_time_range(record.valid_time for record in records),
        runs=_time_range(record.run for record in records if record.run is not None),
        step_hours=StepRange(first=steps[0], last=steps[-1], count=len(steps)) if steps else None,
        members=tuple(sorted({record.member for record in records if record.member is not None})),
        type=first.data_type,
        statistic=str(first.statistic),
        version=first.version,
        grid=str(first.points.grid),
        unit=first.unit,
        records=len(records),
    )


def _time_range(times: Iterable[np.datetime64]) -> TimeRange | None:
    different = sorted({time for time in times if not np.isnat(time)})
    if not different:
        return None
    return TimeRange(first=_format_time(different[0]), last=_format_time(different[-1]), count=len(different))


def _format_time(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, "s"))


def _list_unused(records: Iterable[Record], reasons: Mapping[int, str]) -> list[UnusedRecords]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for record in records:
        if id(record) in reasons:
            groups[record.source, reasons[id(record)]].append(record.variable)
    return [
        UnusedRecords(file=file, variables=tuple(dict.fromkeys(names)), reason=reason, records=len(names))
        for (file, reason), names in groups.items()
    ]


def _list_other_fields(parts: Iterable[tuple[str, Sequence[Contents]]]) -> dict[str, tuple[str, ...]]:
    """Return the names of the fields of each file that are of no variable of the model."""
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for source, contents in parts:
        for part in contents:
            names[source].update(dict.fromkeys(part.others))
    return {source: tuple(of_source) for source, of_source in names.items() if of_source}


def rename_files(inspection: Inspection, rename: Callable[[str], str]) -> Inspection:
    """Return an inspection with `rename` applied to every text in it."""

    def replace(value: Any) -> Any:
        if isinstance(value, str):
            return rename(value)
        if isinstance(value, Mapping):
            return {rename(key): replace(part) for key, part in value.items()}
        return [replace(part) for part in value] if isinstance(value, list | tuple) else value

    return Inspection.model_validate(replace(inspection.model_dump()))
