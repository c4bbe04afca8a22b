"""Locks of PostgreSQL that last until a transaction ends; SQLite needs none, as its writers follow each other."""

from enum import IntEnum

from sqlalchemy import Connection, func, select


class Lock(IntEnum):
    """Key of an advisory lock; the numbers must stay, since several versions may use one database."""

    MIGRATION = 0x7761726D
    QUEUE = 0x7761726E
    FORGOTTEN_WORKERS = 0x7761726F


def lock_until_end(connection: Connection, lock: Lock) -> None:
    """Wait until no other transaction holds the lock, and hold it until this transaction ends.

    What is read afterwards contains all that earlier holders have written.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(int(lock))))
