"""Batch sizes: the number of members that a kind of device computes fastest together, measured once and stored."""

from sqlalchemy import Connection, delete, func, insert, select

from jobs.tables import batch_sizes

DEFAULT_GROUP_SIZE = 8
"""Members of a group for a checkpoint that no device has been measured with."""


def save_batch_size(connection: Connection, checkpoint_digest: str, device_kind: str, members: int) -> None:
    """Store the best batch size of a checkpoint on a kind of device, in place of an earlier one."""
    key = {"checkpoint_digest": checkpoint_digest, "device": device_kind}
    connection.execute(delete(batch_sizes).filter_by(**key))
    connection.execute(insert(batch_sizes).values(**key, members=members))


def read_batch_size(connection: Connection, checkpoint_digest: str, device_kind: str) -> int | None:
    """Return the best batch size of a checkpoint on a kind of device, or None if it was not measured."""
    query = select(batch_sizes.c.members).filter_by(checkpoint_digest=checkpoint_digest, device=device_kind)
    members: int | None = connection.scalar(query)
    return members


def choose_group_size(connection: Connection, checkpoint_digest: str) -> int:
    """Return the group size of a new forecast: the smallest of the best batch sizes of all kinds of device."""
    query = select(func.min(batch_sizes.c.members)).filter_by(checkpoint_digest=checkpoint_digest)
    return connection.scalar(query) or DEFAULT_GROUP_SIZE
