"""How many members of a checkpoint a kind of device computes together best: tried once, remembered."""

from sqlalchemy import delete, func, insert, select

from jobs.database import Database
from jobs.tables import batch_sizes

DEFAULT_GROUP_SIZE = 8
"""Members of a group where nothing has been tried yet."""


def save_batch_size(database: Database, checkpoint_digest: str, device: str, members: int) -> None:
    """Keep what was found, in the place of what was there."""
    key = {"checkpoint_digest": checkpoint_digest, "device": device}
    with database.write() as connection:
        connection.execute(delete(batch_sizes).filter_by(**key))
        connection.execute(insert(batch_sizes).values(**key, members=members))


def read_batch_size(database: Database, checkpoint_digest: str, device: str) -> int | None:
    """Return what was found for a device, if it was tried."""
    query = select(batch_sizes.c.members).filter_by(checkpoint_digest=checkpoint_digest, device=device)
    with database.read() as connection:
        members: int | None = connection.scalar(query)
    return members


def choose_group_size(database: Database, checkpoint_digest: str) -> int:
    """Return the size of a new forecast's groups: one that suits all devices that have been tried."""
    query = select(func.min(batch_sizes.c.members)).filter_by(checkpoint_digest=checkpoint_digest)
    with database.read() as connection:
        return connection.scalar(query) or DEFAULT_GROUP_SIZE
