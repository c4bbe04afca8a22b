"""Pages of the rows of an owner, newest first."""

from typing import Any

from sqlalchemy import Select, Table, select, tuple_


def select_newest(table: Table, owner: str, limit: int | None, before: str | None) -> Select[Any]:
    """Return the query of at most `limit` rows of an owner, newest first; the table has `id`, `owner` and `created`.

    `before` is the id of the last row of the preceding page; an id of no row of the owner gives none.
    """
    query = select(table).where(table.c.owner == owner)
    if before is not None:
        last = table.alias()
        created = select(last.c.created).where(last.c.id == before, last.c.owner == owner).scalar_subquery()
        query = query.where(tuple_(table.c.created, table.c.id) < tuple_(created, before))
    return query.order_by(table.c.created.desc(), table.c.id.desc()).limit(limit)
