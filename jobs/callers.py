"""Find the caller that a secret of an API key stands for, and note when keys are used."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, or_, select, update

from jobs.keys import LOCAL_OWNER, digest_of
from jobs.rows.clock import now
from jobs.rows.states import Role
from jobs.rows.tables import api_keys


@dataclass(frozen=True)
class Caller:
    """The holder of an API key, or a caller on the same machine while no key exists, whose id is `LOCAL_OWNER`.

    `owner` is the owner of the forecasts that the caller reads, and submits if its role allows that. `fault` says why
    the secret is void: it has expired or was replaced. `is_lasting` says that time alone will not make it void.
    """

    key_id: str
    role: Role
    owner: str
    expires: float | None = None
    fault: str | None = None
    is_lasting: bool = True


LOCAL_CALLER = Caller(LOCAL_OWNER, Role.OPERATOR, LOCAL_OWNER)
"""Everybody on the same machine, while no key exists."""


def find_caller(connection: Connection, secret: str) -> Caller | None:
    """Return the caller that has this secret of a key that is not revoked, or None; see `fault`."""
    digest = digest_of(secret)
    has_secret = or_(api_keys.c.digest == digest, api_keys.c.previous_digest == digest)
    row = connection.execute(_SELECT.where(has_secret, api_keys.c.revoked.is_(None))).one_or_none()
    return None if row is None else _caller(row, is_previous=row.digest != digest)


def find_key(connection: Connection, key_id: str) -> tuple[Caller, tuple[str, ...]] | None:
    """Return the caller of a key that is neither revoked nor expired, and the digests of its valid secrets; or None."""
    row = connection.execute(_SELECT.where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None))).one_or_none()
    if row is None or (caller := _caller(row, is_previous=False)).fault is not None:
        return None
    has_two = row.previous_digest is not None and row.time < row.previous_until
    return caller, (row.digest, row.previous_digest) if has_two else (row.digest,)


def save_use(connection: Connection, key_ids: Collection[str]) -> None:
    """Note that keys are used now."""
    connection.execute(update(api_keys).where(api_keys.c.id.in_(key_ids)).values(last_used=now()))


_COLUMNS = ("id", "role", "reads", "expires", "digest", "previous_digest", "previous_until")
_SELECT = select(*(api_keys.c[name] for name in _COLUMNS), now().label("time"))


def _caller(row: Any, *, is_previous: bool) -> Caller:
    fault = None
    if row.expires is not None and row.expires <= row.time:
        end = datetime.fromtimestamp(row.expires, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        fault = f"The API key has expired, at {end}."
    elif is_previous and row.previous_until <= row.time:
        fault = "The secret of the API key was replaced by another one, and is no longer valid."
    is_lasting = row.expires is None and not is_previous
    return Caller(row.id, Role(row.role), row.reads or row.id, row.expires, fault, is_lasting)
