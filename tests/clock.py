"""The clock of a test's database, which the test can set forward instead of waiting for a lease or a deadline to end.

Production code reads the clock in SQL (`jobs.rows.clock`) and has no offset. The functions that it calls are replaced
in the test's database only: on SQLite in each connection that is opened, on PostgreSQL by a function that precedes the
built-in one in the search path.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text

_JULIAN_DAY_OF_1970 = 2440587.5
_POSTGRESQL = (
    "CREATE TABLE clock (ahead double precision NOT NULL)",
    "INSERT INTO clock VALUES (0)",
    """
    CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + make_interval(secs => (SELECT ahead FROM clock))'
    """,
)


class MovableClock:
    """The clock of the database at one URL; it runs ahead of the real one by the seconds that the test has added."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._postgresql: Engine | None = None

    def advance(self, seconds: float) -> None:
        """Set the clock forward, for all connections of the database at once."""
        self._ahead += seconds
        if self._postgresql is not None:
            with self._postgresql.begin() as connection:
                connection.execute(text("UPDATE clock SET ahead = :ahead"), {"ahead": self._ahead})

    def _julian_day(self, _moment: str) -> float:
        return _JULIAN_DAY_OF_1970 + (time.time() + self._ahead) / 86400

    def _replace_in_sqlite(self, connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.create_function("julianday", 1, self._julian_day)

    def _replace_in_postgresql(self, url: str) -> None:
        self._postgresql = create_engine(url)
        name = self._postgresql.url.database
        with self._postgresql.begin() as connection:
            for statement in _POSTGRESQL:
                connection.execute(text(statement))
            connection.execute(text(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog'))


@contextmanager
def movable_clock(url: str) -> Iterator[MovableClock]:
    """Replace the clock of the database at `url`, for connections that are opened from then on."""
    clock = MovableClock()
    if make_url(url).get_backend_name() == "sqlite":
        event.listen(Engine, "connect", clock._replace_in_sqlite)
        try:
            yield clock
        finally:
            event.remove(Engine, "connect", clock._replace_in_sqlite)
    else:
        clock._replace_in_postgresql(url)
        try:
            yield clock
        finally:
            assert clock._postgresql is not None
            clock._postgresql.dispose()
