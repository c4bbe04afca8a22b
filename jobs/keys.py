"""API keys, stored as digests: the secret is returned once, when a key is created; a revoked key cannot be restored."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from jobs.limits import LIMIT_NAMES
from jobs.rows.clock import now
from jobs.rows.tables import api_keys
from storage.errors import ConfigurationError

PREFIX = "wc_"
"""Prefix of every secret, by which leaked ones can be found."""

_LARGEST = {"open_forecasts": 2**31 - 1, "uploads": 2**31 - 1, "high_priority": 1}


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret; its id is the owner of the forecasts submitted with it.

    `limits` holds the limits that differ from those of the settings, by name.
    """

    id: str
    name: str
    created: float
    revoked: float | None
    limits: Mapping[str, int]


def create_key(connection: Connection, name: str, limits: Mapping[str, int | None] | None = None) -> tuple[ApiKey, str]:
    """Create a key, with limits that differ from those of the settings, and return it with its secret.

    The secret is not stored. Raises `ConfigurationError` for a name or a limit that is not possible.
    """
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise ConfigurationError(f"`name` must have 1 to 100 printable characters. Got: {name!r}.")
    own = _checked(limits or {})
    key_id, secret = f"key_{secrets.token_hex(5)}", PREFIX + secrets.token_urlsafe(32)
    connection.execute(insert(api_keys).values(id=key_id, name=name, digest=_digest(secret), created=now(), **own))
    return read_key(connection, key_id), secret


def limit_key(connection: Connection, key_id: str, limits: Mapping[str, int | None]) -> ApiKey:
    """Set limits of a key and return it; None is the value of the settings. Forecasts that wait or run are kept.

    Raises `ConfigurationError` if no such key exists, or a limit is not possible.
    """
    read_key(connection, key_id)
    if limits:
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**_checked(limits)))
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
    connection.execute(
        update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None)).values(revoked=now())
    )


def find_key_id(connection: Connection, secret: str) -> str | None:
    """Return the id of the valid key that has this secret, or None."""
    query = select(api_keys.c.id).where(api_keys.c.digest == _digest(secret), api_keys.c.revoked.is_(None))
    return connection.scalar(query)


def find_key_digest(connection: Connection, key_id: str) -> str | None:
    """Return the digest of the secret of a valid key, or None."""
    query = select(api_keys.c.digest).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
    return connection.scalar(query)


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


def _key(row: Row[Any]) -> ApiKey:
    own = {name: row._mapping[name] for name in LIMIT_NAMES}
    return ApiKey(row.id, row.name, row.created, row.revoked, {name: v for name, v in own.items() if v is not None})


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
