"""Which workers are alive: rows that each worker keeps fresh."""

from sqlalchemy import delete, func, insert, select, update

from jobs.clock import now
from jobs.database import Database
from jobs.tables import workers

FRESH_SECONDS = 30.0


def seen(database: Database, name: str, device: str) -> None:
    """Tell that a worker is alive; workers that have not done so for a day are forgotten."""
    with database.write() as connection:
        known = connection.execute(update(workers).where(workers.c.id == name).values(seen=now()))
        if not known.rowcount:
            connection.execute(insert(workers).values(id=name, device=device, started=now(), seen=now()))
            connection.execute(delete(workers).where(workers.c.seen < now() - 86400))


def count_alive(database: Database) -> int:
    """Return how many workers told that they are alive in the last 30 s."""
    query = select(func.count()).select_from(workers).where(workers.c.seen > now() - FRESH_SECONDS)
    with database.read() as connection:
        return connection.scalar(query) or 0
