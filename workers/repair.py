"""Carry out `warmcast repair`: make damaged files of successful forecasts anew, and keep those that are as before."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from jobs.checks import list_damaged, record_check
from jobs.folders import ForecastFolder
from jobs.forecasts import ForecastRecord, read_forecast
from jobs.installation import Installation, open_installation
from jobs.rows.states import Data, Status
from jobs.scrub import Check, Pace, check_forecast
from jobs.settings import Settings
from jobs.stored_files import expected_files, files_digest
from storage.errors import WarmcastError
from weather.errors import DamagedError
from weather.ingest.exchange import INITIAL_STATE
from weather.stores.checks import Files, check_content
from weather.stores.layout import ENSEMBLE, SUMMARY
from workers.recomputation import Content, Recomputation


def repair_forecasts(
    *, forecast_ids: Sequence[str], data: Path | None, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Check forecasts, by default those that are known to be damaged, and make their damaged files anew.

    A file is kept only if it has the checksum that was recorded when the forecast was complete. Returns what was
    repaired and what remains damaged, and why; `report` gets this for each forecast.
    """
    settings = Settings.read()
    if data is not None:
        settings = settings.replace(data=data)
    installation, found = open_installation(settings.storage), list[dict[str, Any]]()
    try:
        with installation.database.read() as connection:
            selected = list(forecast_ids) or list_damaged(connection)
        for forecast_id in selected:
            found.append(_repair(settings, installation, forecast_id))
            report(found[-1])
    finally:
        installation.database.close()
    return {"forecasts": found, "damaged": [entry["id"] for entry in found if entry["damage"]]}


def _repair(settings: Settings, installation: Installation, forecast_id: str) -> dict[str, Any]:
    """Repair one forecast and record what remains damaged; return a description."""
    database, folder = installation.database, ForecastFolder(installation.data, forecast_id)
    with database.read() as connection:
        record = read_forecast(connection, forecast_id)
    before, reason, repaired = _check(installation, record), None, list[str]()
    after = before
    if before.damage:
        try:
            for name, content in _make_files(settings, record, folder, before):
                with database.read() as connection:
                    if read_forecast(connection, forecast_id).data != Data.AVAILABLE:
                        break
                (folder.path / name).remove()
                (folder.path / name).write(content)
                repaired.append(name)
        except WarmcastError as error:
            reason = str(error)
        after = _check(installation, record)
    with database.write() as connection:
        record_check(connection, forecast_id, after.damage)
    if after.damage and reason is None:
        reason = "The recomputed values are not those that were lost; the receipt says how those were computed."
    return {
        "id": forecast_id,
        "repaired": [*before.renewed, *repaired],
        "damage": [{"file": error.file, "reason": error.reason} for error in after.damage],
        "reason": reason,
    }


def _check(installation: Installation, record: ForecastRecord) -> Check:
    return check_forecast(installation.data, record, Pace(math.inf))


def _make_files(settings: Settings, record: ForecastRecord, folder: ForecastFolder, check: Check) -> Iterator[Content]:
    """Yield the damaged files that could be made as they were; raises `WarmcastError` if nothing can be made."""
    damaged = {error.file for error in check.damage}
    if record.status != Status.SUCCESSFUL:
        raise DamagedError(record.id, f"is {record.status}: only a successful forecast can be repaired")
    if files_digest(record) is None:
        raise DamagedError(record.id, "was computed by a version that did not record the checksums of its files")
    files = expected_files(folder, record)
    recomputation = Recomputation.of(settings, record, folder)
    made = _as_they_were(recomputation.make_metadata(), damaged, files)
    yield from made
    pieces, summarised = _parts(damaged)
    if not pieces and not summarised:
        return
    if any(name.startswith(f"{INITIAL_STATE}/") for name in damaged):
        raise DamagedError(INITIAL_STATE, "is damaged, and the members cannot be computed without it")
    yield from _as_they_were(_make_fields(recomputation, pieces, summarised), damaged, files)


def _as_they_were(made: Iterator[Content], damaged: set[str], files: Files) -> Iterator[Content]:
    """Yield those files that are damaged and have the recorded checksum."""
    for name, content in made:
        if name in damaged:
            try:
                check_content(name, [content], files[name])
            except DamagedError:
                continue
            yield name, content


def _parts(damaged: set[str]) -> tuple[dict[int, list[int]], set[int]]:
    """Return the damaged lead time indices of each group, and those of the summary, by the names of the chunks."""
    pieces, summarised = dict[int, list[int]](), set[int]()
    for name in damaged:
        store, _, key = name.partition("/")
        array, _, index = key.partition("/c.")
        numbers = [int(number) for number in index.split(".") if number]
        is_mark = array in {"complete", "members"}
        if store == ENSEMBLE and (is_mark or len(numbers) == 5):
            lead_index, group = numbers[:2] if is_mark else numbers[1:3]
            pieces.setdefault(group, []).append(lead_index)
        if store == SUMMARY and (is_mark or len(numbers) >= 4):
            summarised.add(numbers[0] if is_mark else numbers[1])
    return pieces, summarised


def _make_fields(
    recomputation: Recomputation, pieces: Mapping[int, Sequence[int]], summarised: set[int]
) -> Iterator[Content]:
    """Compute the groups and lead times that are needed, and yield the chunks of members and summary.

    Exact members continue from the lead times before the first damaged one; all others start from the initial state.
    """
    if recomputation.record.request.output.is_exact:
        if pieces:
            first = {group: min(indices) for group, indices in sorted(pieces.items())}
            yield from recomputation.make_fields(first, max(chain(*pieces.values())), ())
        for lead_index in sorted(summarised):
            yield from recomputation.make_summary(lead_index, recomputation.read_groups(lead_index))
        return
    groups = range(recomputation.layout.num_groups) if summarised else sorted(pieces)
    last = max((*chain(*pieces.values()), *summarised))
    yield from recomputation.make_fields(dict.fromkeys(groups, 0), last, summarised)
