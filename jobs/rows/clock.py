"""The database's own clock, so that leases do not depend on the clocks of workers."""

from typing import Any

from sqlalchemy import ColumnElement, Float, ScalarSelect, case, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class DatabaseClock(FunctionElement[float]):
    """SQL expression: seconds since 1970 by the clock of the database, at the moment of the statement."""

    type = Float()
    inherit_cache = True


@compiles(DatabaseClock)
def _compile_for_postgresql(_element: DatabaseClock, _compiler: Any, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())"


@compiles(DatabaseClock, "sqlite")
def _compile_for_sqlite(_element: DatabaseClock, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def now() -> DatabaseClock:
    """Return the SQL expression of the current time, in seconds since 1970."""
    return DatabaseClock()


def now_after(earlier: ColumnElement[Any]) -> ColumnElement[float]:
    """Return the SQL expression of the current time, or `earlier` if the clock has been set back before it.

    If `earlier` is null, it is the current time.
    """
    return case((earlier > now(), earlier), else_=now())


def time_of_query() -> ScalarSelect[float]:
    """Return the SQL expression of the time at which a query begins; rows can be found by it in an index.

    PostgreSQL evaluates `now` anew for each row, and so reads all rows to compare them with it.
    """
    return select(DatabaseClock()).scalar_subquery()
