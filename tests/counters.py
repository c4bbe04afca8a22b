"""The counters of the database compared with the rows that they count."""

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Any

from sqlalchemy import Connection, Row, select

from jobs.rows.states import OPEN, Data, Status
from jobs.rows.tables import ended, forecasts, usage, waiting_work
from jobs.totals import DURATIONS


def assert_counters_fit(connection: Connection) -> None:
    """Assert that the counters of all owners are those of the rows; evaluations of a day depend on history, too."""
    rows = connection.execute(select(forecasts)).all()
    assert _read_usage(connection) == _count_usage(rows)
    assert _read_waiting(connection) == _count_waiting(rows)
    assert _read_ended(connection) == _count_ended(rows)


def _kept_bytes(row: Row[Any]) -> int:
    if row.data != Data.AVAILABLE:
        return 0
    if row.store_bytes is not None:
        return int(row.store_bytes)
    planned = row.expected_bytes or 0
    return planned if row.status in OPEN else planned * row.lead_times // row.num_lead_times


def _count_usage(rows: Any) -> dict[str, tuple[float, ...]]:
    counted: dict[str, tuple[float, ...]] = {}
    for owner in {row.owner for row in rows}:
        own = [row for row in rows if row.owner == owner]
        stored = [row.store_bytes or 0 for row in own if row.data == Data.AVAILABLE]
        counted[owner] = (
            sum(row.status == Status.ACCEPTED for row in own),
            sum(row.status == Status.RUNNING for row in own),
            max(row.started or 0.0 for row in own),
            sum(map(_kept_bytes, own)),
            sum(stored),
        )
    return counted


def _read_usage(connection: Connection) -> dict[str, tuple[float, ...]]:
    rows = connection.execute(select(usage))
    return {row.owner: (row.waiting, row.running, row.last_started, row.kept_bytes, row.store_bytes) for row in rows}


def _count_waiting(rows: Any) -> dict[tuple[str, str, int], tuple[int, ...]]:
    sums: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        if row.status == Status.ACCEPTED:
            steps = row.num_groups * row.num_lead_times
            total = sums[row.owner, row.checkpoint_digest, row.group_size]
            for index, value in enumerate((steps, steps * row.nfe, row.expected_bytes or 0)):
                total[index] += value
    return {key: tuple(values) for key, values in sums.items()}


def _read_waiting(connection: Connection) -> dict[tuple[str, str, int], tuple[int, ...]]:
    rows = connection.execute(select(waiting_work))
    found = {
        (row.owner, row.checkpoint_digest, row.group_size): (row.steps, row.flow_steps, row.expected_bytes)
        for row in rows
    }
    return {key: values for key, values in found.items() if any(values)}


def _count_ended(rows: Any) -> Counter[tuple[str, str, str, str]]:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for row in rows:
        if row.status not in OPEN:
            counted[row.owner, row.model, "status", row.status] += 1
        for kind, begin, end in (
            (DURATIONS[0], row.created, row.started),
            (DURATIONS[1], row.started, row.finished),
            (DURATIONS[2], row.created, row.first_lead_time),
        ):
            if begin is not None and end is not None:
                bound = kind.bounds[bisect_left(kind.buckets, end - begin)]
                counted[row.owner, row.model, kind.counter, bound] += 1
    return counted


def _read_ended(connection: Connection) -> Counter[tuple[str, str, str, str]]:
    return Counter(
        {(row.owner, row.model, row.name, row.bucket): row.number for row in connection.execute(select(ended))}
    )
