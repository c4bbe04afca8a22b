"""API keys, stored as digests: the secret is returned once, when a key is created; a revoked key cannot be restored."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from jobs.rows.clock import now
from jobs.rows.tables import api_keys
from storage.errors import ConfigurationError

PREFIX = "wc_"
"""Prefix of every secret, by which leaked ones can be found."""


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret; its id is the owner of the forecasts submitted with it."""

    id: str
    name: str
    created: float
    revoked: float | None


def create_key(connection: Connection, name: str) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret, which is not stored."""
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise ConfigurationError(f"`name` must have 1 to 100 printable characters. Got: {name!r}.")
    key_id, secret = f"key_{secrets.token_hex(5)}", PREFIX + secrets.token_urlsafe(32)
    connection.execute(insert(api_keys).values(id=key_id, name=name, digest=_digest(secret), created=now()))
    return next(key for key in list_keys(connection) if key.id == key_id), secret


def list_keys(connection: Connection) -> list[ApiKey]:
    """Return all keys, including revoked ones, oldest first."""
    query = select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
    return [ApiKey(row.id, row.name, row.created, row.revoked) for row in connection.execute(query)]


def revoke_key(connection: Connection, key_id: str) -> None:
    """Revoke a key; requests with it are refused from then on. Raises `ConfigurationError` if no such key exists."""
    known = connection.scalar(select(api_keys.c.id).where(api_keys.c.id == key_id))
    if known is None:
        raise ConfigurationError(f"`key_id` must be one that `warmcast key list` prints. Got: {key_id!r}.")
    connection.execute(
        update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None)).values(revoked=now())
    )


def find_key_id(connection: Connection, secret: str) -> str | None:
    """Return the id of the valid key that has this secret, or None."""
    query = select(api_keys.c.id).where(api_keys.c.digest == _digest(secret), api_keys.c.revoked.is_(None))
    return connection.scalar(query)


def has_keys(connection: Connection) -> bool:
    """Return whether any key was ever created, including revoked ones; if so, every request needs a key."""
    return connection.scalar(select(api_keys.c.id).limit(1)) is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
