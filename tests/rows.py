"""Functions of rows for tests: each call runs in a transaction of its own."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from jobs import forecasts, keys, retention
from jobs.dispatching import leases, live_workers, sharing
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


read_forecast = _in_read(forecasts.read_forecast)
cancel_forecast = _in_write(forecasts.cancel_forecast)

rebalance = _in_write(leases.rebalance)
commit = _in_write(leases.commit)
renew = _in_write(leases.renew)
is_open = _in_read(leases.is_open)
release = _in_write(leases.release)
finish = _in_write(leases.finish)
fail = _in_write(leases.fail)

should_rebalance = _in_read(sharing.should_rebalance)
may_receive_groups = _in_read(sharing.may_receive_groups)
count_needed_workers = _in_read(sharing.count_needed_workers)

record_heartbeat = _in_write(live_workers.record_heartbeat)
count_live_workers = _in_read(live_workers.count_live_workers)

record_speed = _in_write(measured.record_speed)
record_compression = _in_write(measured.record_compression)
save_batch_size = _in_write(measured.save_batch_size)
read_batch_size = _in_read(measured.read_batch_size)
choose_group_size = _in_read(measured.choose_group_size)

create_key = _in_write(keys.create_key)
list_keys = _in_read(keys.list_keys)
revoke_key = _in_write(keys.revoke_key)
find_key_id = _in_read(keys.find_key_id)
has_keys = _in_read(keys.has_keys)

expire_data = _in_write(retention.expire_data)
