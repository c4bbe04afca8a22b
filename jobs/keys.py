"""API keys as rows: shown once when made, kept as digests, revoked for good."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from jobs.clock import now
from jobs.database import Database
from jobs.tables import api_keys
from storage.errors import ConfigurationError

PREFIX = "wc_"
"""What every key begins with, so that one that leaked is recognised."""


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret; it owns the forecasts that are asked for with it."""

    id: str
    name: str
    created: float
    revoked: float | None


def create_key(database: Database, name: str) -> tuple[ApiKey, str]:
    """Make a key and return it with its secret, which is kept nowhere."""
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise ConfigurationError(f"`name` must have 1 to 100 printable characters. Got: {name!r}.")
    key_id, secret = f"key_{secrets.token_hex(5)}", PREFIX + secrets.token_urlsafe(32)
    with database.write() as connection:
        connection.execute(insert(api_keys).values(id=key_id, name=name, digest=_digest(secret), created=now()))
    return next(key for key in list_keys(database) if key.id == key_id), secret


def list_keys(database: Database) -> list[ApiKey]:
    """Return all keys, the oldest first."""
    query = select(api_keys).order_by(api_keys.c.created, api_keys.c.id)
    with database.read() as connection:
        return [ApiKey(row.id, row.name, row.created, row.revoked) for row in connection.execute(query)]


def revoke_key(database: Database, key_id: str) -> None:
    """Let a key open nothing from now on; raises `ConfigurationError` where there is no such key."""
    with database.write() as connection:
        known = connection.scalar(select(api_keys.c.id).where(api_keys.c.id == key_id))
        connection.execute(
            update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked.is_(None)).values(revoked=now())
        )
    if known is None:
        raise ConfigurationError(f"`key_id` must be one that `warmcast key list` shows. Got: {key_id!r}.")


def find_key_id(database: Database, secret: str) -> str | None:
    """Return the id of the key with this secret, or None where there is none that is valid."""
    query = select(api_keys.c.id).where(api_keys.c.digest == _digest(secret), api_keys.c.revoked.is_(None))
    with database.read() as connection:
        return connection.scalar(query)


def has_keys(database: Database) -> bool:
    """Return whether any key was ever made: from then on nobody is served without one, revoked or not."""
    with database.read() as connection:
        return connection.scalar(select(api_keys.c.id).limit(1)) is not None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
