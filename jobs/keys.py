"""API keys, stored as digests: a secret is returned once, when it is made; a revoked key cannot be restored."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from jobs.audit import Action, append_audit
from jobs.limits import LIMIT_NAMES
from jobs.rows.clock import now
from jobs.rows.states import Role
from jobs.rows.tables import api_keys
from jobs.validity import parse_duration, parse_expiry
from storage.errors import ConfigurationError

LOCAL_OWNER = "local"
"""Owner of the forecasts that are submitted without a key."""

PREFIX = "wc_"
"""Prefix of every secret, by which leaked ones can be found."""

_LARGEST = {"open_forecasts": 2**31 - 1, "uploads": 2**31 - 1, "high_priority": 1}


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secrets; its id is the owner of the forecasts submitted with it.

    A reader reads the forecasts of the owner `reads`. `limits` holds the limits that differ from those of the settings,
    by name. `previous_until` is when the secret before the last rotation becomes void.
    """

    id: str
    name: str
    created: float
    revoked: float | None
    limits: Mapping[str, int]
    role: Role = Role.SUBMITTER
    reads: str | None = None
    expires: float | None = None
    last_used: float | None = None
    previous_until: float | None = None


def create_key(
    connection: Connection,
    name: str,
    limits: Mapping[str, int | None] | None = None,
    *,
    role: Role = Role.SUBMITTER,
    of: str | None = None,
    expires: str | None = None,
) -> tuple[ApiKey, str]:
    """Create a key, with limits that differ from those of the settings, and return it with its secret.

    `of` is the owner whose forecasts a reader reads. `expires` is a duration such as `90d`, or a time. The secret is
    not stored. Raises `ConfigurationError` for a name, a limit, an owner or a time that is not possible.
    """
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise ConfigurationError(f"`name` must have 1 to 100 printable characters. Got: {name!r}.")
    values: dict[str, Any] = _checked(limits or {}) | {"role": role, "reads": _check_owner(connection, role, of)}
    values["expires"] = None if expires is None else parse_expiry(expires, _read_clock(connection))
    key_id, secret = f"key_{secrets.token_hex(5)}", _new_secret()
    connection.execute(insert(api_keys).values(id=key_id, name=name, digest=digest_of(secret), created=now(), **values))
    append_audit(connection, Action.CREATE_KEY, key_id)
    return read_key(connection, key_id), secret


def rotate_key(
    connection: Connection, key_id: str, overlap: str = "24h", expires: str | None = None
) -> tuple[ApiKey, str]:
    """Give a key a new secret, and return both; the secret until now stays valid for `overlap`, an older one does not.

    With `expires` the key has another time at which it expires. Raises `ConfigurationError` if no such key exists, it
    is revoked, or it has expired and would remain so.
    """
    key, time = read_key(connection, key_id), _read_clock(connection)
    until = time + parse_duration(overlap, "overlap")
    end = key.expires if expires is None else parse_expiry(expires, time)
    if key.revoked is not None or (end is not None and end <= time):
        fault = "is revoked. Create a new one." if key.revoked else "has expired. Give it another time with --expires."
        raise ConfigurationError(f"`key_id` must be a key that is valid. Got: {key_id!r}, which {fault}")
    secret = _new_secret()
    values = {
        "previous_digest": api_keys.c.digest,
        "previous_until": until,
        "digest": digest_of(secret),
        "expires": end,
    }
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**values))
    append_audit(connection, Action.ROTATE_KEY, key_id)
    return read_key(connection, key_id), secret


def limit_key(connection: Connection, key_id: str, limits: Mapping[str, int | None]) -> ApiKey:
    """Set limits of a key and return it; None is the value of the settings. Forecasts that wait or run are kept.

    Raises `ConfigurationError` if no such key exists, or a limit is not possible.
    """
    read_key(connection, key_id)
    if limits:
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**_checked(limits)))
        append_audit(connection, Action.LIMIT_KEY, key_id)
    return read_key(connection, key_id)


def list_keys(connection: Connection) -> list[ApiKey]:
    """Return all keys, including revoked ones, oldest first."""
    return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created, api_keys.c.id))]


def read_key(connection: Connection, key_id: str) -> ApiKey:
    """Return a key; raises `ConfigurationError` if no such key exists."""
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id)).one_or_none()
    if row is None:
        raise ConfigurationError(f"`key_id` must be one that `warmcast key list` prints. Got: {key_id!r}.")
    return _key(row)


def revoke_key(connection: Connection, key_id: str) -> None:
    """Revoke a key; requests with it are refused from then on. Raises `ConfigurationError` if no such key exists."""
    read_key(connection, key_id)
    changed = connection.execute(
        update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None)).values(revoked=now())
    )
    if changed.rowcount:
        append_audit(connection, Action.REVOKE_KEY, key_id)


def has_keys(connection: Connection) -> bool:
    """Return whether any key was ever created, including revoked ones; if so, every request needs a key."""
    return connection.scalar(select(api_keys.c.id).limit(1)) is not None


def _checked(limits: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return limits; raise `ConfigurationError` if one of them does not exist, or its value is not possible."""
    for name, value in limits.items():
        if name not in LIMIT_NAMES:
            raise ConfigurationError(f"`{name}` is not a limit of a key. Expected one of: {', '.join(LIMIT_NAMES)}.")
        largest = _LARGEST.get(name, 2**63 - 1)
        if value is not None and not 0 <= value <= largest:
            raise ConfigurationError(f"`{name}` must be a number from 0 to {largest}. Got: {value}.")
    return dict(limits)


def _check_owner(connection: Connection, role: Role, owner: str | None) -> str | None:
    """Return the owner whose forecasts a reader reads; raise `ConfigurationError` if there can be none, or must be."""
    if role != Role.READER:
        if owner is not None:
            raise ConfigurationError(f"`of` must be left out unless the role is reader. Got: {owner!r}.")
        return None
    if owner is None:
        raise ConfigurationError("`of` must be the key whose forecasts a reader reads, or `local`. Got: nothing.")
    if owner != LOCAL_OWNER and read_key(connection, owner).role == Role.READER:
        raise ConfigurationError(f"`of` must be a key that submits forecasts. Got: {owner!r}, which is a reader.")
    return owner


def _read_clock(connection: Connection) -> float:
    return float(connection.scalar(select(now())) or 0.0)


def _new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _key(row: Row[Any]) -> ApiKey:
    own = {name: row._mapping[name] for name in LIMIT_NAMES}
    return ApiKey(
        row.id,
        row.name,
        row.created,
        row.revoked,
        {name: v for name, v in own.items() if v is not None},
        Role(row.role),
        row.reads,
        row.expires,
        row.last_used,
        row.previous_until,
    )


def digest_of(secret: str) -> str:
    """Return the digest of a secret, which is stored in its place."""
    return hashlib.sha256(secret.encode()).hexdigest()
