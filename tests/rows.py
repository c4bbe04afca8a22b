"""Functions of rows for tests: each call runs in a transaction of its own."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from jobs import callers, events, forecasts, keys, limits, quality, retention, totals
from jobs.dispatching import leases, live_workers, sharing
from jobs.forecasts import ForecastRecord
from jobs.planning import measured
from jobs.rows.database import Database

P = ParamSpec("P")
R = TypeVar("R")


def _in_read(function: Callable[Concatenate[Connection, P], R]) -> Callable[Concatenate[Database, P], R]:
    @wraps(function)
    def call(database: Database, *args: P.args, **kwargs: P.kwargs) -> R:
        with database.read() as connection:
            return function(connection, *args, **kwargs)

    return call


def _in_write(function: Callable[Concatenate[Connection, P], R]) -> Callable[Concatenate[Database, P], R]:
    @wraps(function)
    def call(database: Database, *args: P.args, **kwargs: P.kwargs) -> R:
        with database.write() as connection:
            return function(connection, *args, **kwargs)

    return call


insert_forecast = _in_write(forecasts.insert_forecast)
find_by_idempotency_key = _in_read(forecasts.find_by_idempotency_key)
list_forecasts = _in_read(forecasts.list_forecasts)
count_open = _in_read(limits.count_open)
read_limits = _in_read(limits.read_limits)
read_usage = _in_read(limits.read_usage)
read_forecast = _in_read(forecasts.read_forecast)
cancel_forecast = _in_write(forecasts.cancel_forecast)

append_event = _in_write(events.append_event)
list_events = _in_read(events.list_events)
delete_old_events = _in_write(events.delete_old_events)

rebalance = _in_write(leases.rebalance)
commit = _in_write(leases.commit)
renew = _in_write(leases.renew)
is_open = _in_read(leases.is_open)
release = _in_write(leases.release)
retry_or_fail = _in_write(leases.retry_or_fail)
finish = _in_write(leases.finish)
fail = _in_write(leases.fail)

list_events = _in_read(events.list_events)

should_rebalance = _in_read(sharing.should_rebalance)
may_receive_groups = _in_read(sharing.may_receive_groups)
count_needed_workers = _in_read(sharing.count_needed_workers)

record_heartbeat = _in_write(live_workers.record_heartbeat)
list_live_workers = _in_read(live_workers.list_live_workers)
mark_idle = _in_write(live_workers.mark_idle)
mark_busy = _in_write(live_workers.mark_busy)
count_idle_workers = _in_read(live_workers.count_idle_workers)
sum_counters = _in_read(live_workers.sum_counters)
read_gauges = _in_read(live_workers.read_gauges)
count_live_workers = _in_read(live_workers.count_live_workers)

load_estimator = _in_read(measured.load_estimator)
record_speed = _in_write(measured.record_speed)
record_compression = _in_write(measured.record_compression)
save_batch_size = _in_write(measured.save_batch_size)
read_batch_size = _in_read(measured.read_batch_size)
choose_group_size = _in_read(measured.choose_group_size)

create_key = _in_write(keys.create_key)
list_keys = _in_read(keys.list_keys)
limit_key = _in_write(keys.limit_key)
revoke_key = _in_write(keys.revoke_key)
find_caller = _in_read(callers.find_caller)
rotate_key = _in_write(keys.rotate_key)


def find_key_id(database: Database, secret: str) -> str | None:
    """Return the id of the valid key that has this secret, or None."""
    caller = find_caller(database, secret)
    return None if caller is None or caller.fault else caller.key_id


has_keys = _in_read(keys.has_keys)

expire_data = _in_write(retention.expire_data)

save_diagnostics = _in_write(quality.save_diagnostics)
read_diagnostics = _in_read(quality.read_diagnostics)
latest_diagnostics = _in_read(quality.latest_diagnostics)
save_verification = _in_write(quality.save_verification)
list_verifications = _in_read(quality.list_verifications)
latest_verifications = _in_read(quality.latest_verifications)

count_by_status = _in_read(totals.count_by_status)
count_queue = _in_read(totals.count_queue)
store_bytes = _in_read(totals.store_bytes)
duration_histograms = _in_read(totals.duration_histograms)


def claim_all(database: Database) -> list[leases.Lease]:
    """Claim all groups of the next forecast, or its finishing work."""
    return leases.claim(database, "worker", 1e6, 3)


def commit_lead_times(
    database: Database, number: int, claimed: Sequence[leases.Lease] | None = None
) -> Sequence[leases.Lease]:
    """Commit the first lead times of all groups of the next forecast, claimed unless they are; return the leases."""
    claimed = claimed or claim_all(database)
    for committed in range(1, number + 1):
        for lease in claimed:
            commit(database, lease, committed, 1e6)
    return claimed


def succeed(
    database: Database,
    record: ForecastRecord,
    receipt: Mapping[str, Any] | None = None,
    store_bytes: int = 0,
    claimed: Sequence[leases.Lease] | None = None,
) -> ForecastRecord:
    """Complete a forecast, which must be the next one or the `claimed` one, successfully; return its record."""
    commit_lead_times(database, record.num_lead_times, claimed)
    (finishing,) = claim_all(database)
    finish(database, finishing, receipt or {}, store_bytes)
    return read_forecast(database, record.id)
