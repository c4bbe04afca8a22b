"""Carry out `warmcast key` and `warmcast audit`, which need no application."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jobs.audit import COMMAND_LINE, acting_as, list_audit
from jobs.installation import open_installation
from jobs.keys import create_key, limit_key, list_keys, revoke_key, rotate_key
from jobs.limits import default_limits, list_states, read_usage, with_own
from jobs.rows.database import Database
from jobs.rows.states import Role
from jobs.settings import Settings
from jobs.validity import parse_past


def create_api_key(
    *,
    name: str,
    limits: Mapping[str, int | None] | None = None,
    role: Literal["reader", "submitter", "operator"] = "submitter",
    of: str | None = None,
    expires: str | None = None,
    data: Path | None,
) -> dict[str, Any]:
    """Create an API key; only the returned receipt contains its secret. Limits that are None are the settings'.

    `of` is the owner whose forecasts a reader reads; `expires` is a duration such as `90d`, or a time.
    """
    database = _open_database(data)
    with acting_as(COMMAND_LINE), database.write() as connection:
        key, secret = create_key(connection, name, limits, role=Role(role), of=of, expires=expires)
    database.close()
    return asdict(key) | {"secret": secret}


def rotate_api_key(*, key_id: str, overlap: str, expires: str | None, data: Path | None) -> dict[str, Any]:
    """Give a key a new secret, which only the returned receipt contains; the one until now is valid for `overlap`."""
    database = _open_database(data)
    with acting_as(COMMAND_LINE), database.write() as connection:
        key, secret = rotate_key(connection, key_id, overlap, expires)
    database.close()
    return asdict(key) | {"secret": secret}


def limit_api_key(*, key_id: str, limits: Mapping[str, int | None], data: Path | None) -> dict[str, Any]:
    """Set limits of a key, None to the settings' value, and return the key as `list_api_keys` does."""
    database = _open_database(data)
    with acting_as(COMMAND_LINE), database.write() as connection:
        limit_key(connection, key_id, limits)
    database.close()
    return next(key for key in list_api_keys(data=data)["keys"] if key["id"] == key_id)


def list_api_keys(*, data: Path | None) -> dict[str, Any]:
    """Return all keys without their secrets, with their limits and how much of them is used.

    `limits` of a key holds its own; `used` of those in `in_force` is None where nothing is counted.
    """
    database, defaults = _open_database(data), default_limits(Settings.read(data).limits)
    with database.read() as connection:
        keys = []
        for key in list_keys(connection):
            limits = with_own(defaults, key.limits)
            states = list_states(limits, read_usage(connection, key.id))
            in_force = {state.name: {"value": state.value, "used": state.used} for state in states}
            keys.append(asdict(key) | {"in_force": in_force, "high_priority": limits.high_priority})
    database.close()
    return {"keys": keys}


def revoke_api_key(*, key_id: str, data: Path | None) -> dict[str, Any]:
    """Revoke a key."""
    database = _open_database(data)
    with acting_as(COMMAND_LINE):
        database.write_at_any_cost(partial(revoke_key, key_id=key_id))
    database.close()
    return {"id": key_id}


def show_audit(*, since: str | None, key: str | None, limit: int, data: Path | None) -> dict[str, Any]:
    """Return the newest entries of the audit log; `since` is a time, or a duration before now."""
    database = _open_database(data)
    with database.read() as connection:
        start = None if since is None else parse_past(since, time.time())
        entries = [asdict(entry) for entry in list_audit(connection, limit, since=start, actor=key)]
    database.close()
    return {"entries": entries}


def _open_database(data: Path | None) -> Database:
    return open_installation(Settings.read(data).storage).database
