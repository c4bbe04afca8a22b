"""Initial states that their owners keep for several forecasts: what they are, and their rows."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from pydantic import Field
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from jobs.audit import Action, append_audit
from jobs.errors import IdempotencyError, StateNotFoundError
from jobs.rows.clock import now, time_of_query
from jobs.rows.pages import select_newest
from jobs.rows.tables import kept_states
from weather.manifest import GridSpec, ModelSpec
from weather.readers.provenance import ChosenSource
from weather.schema import FrozenModel


class StateDescription(FrozenModel):
    """What a kept initial state is, without its fields."""

    digest: str = Field(description="SHA-256 of the frames and their time.")
    init_time: str = Field(description="Initial time, UTC: that of the newest frame.")
    model: str = Field(description="Name of the checkpoint whose grid and variables the state has.")
    grid_digest: str = Field(description="SHA-256 of the latitudes and longitudes.")
    latitudes: int
    longitudes: int
    variables: tuple[str, ...]
    time_step_hours: int
    frames: int = Field(description="Number of frames, one time step apart.")
    analyses: int = Field(description="Number of analyses: 1, or the members of an ensemble of analyses.")
    sources: tuple[str, ...]
    choice: tuple[ChosenSource, ...]
    warnings: tuple[str, ...]

    @property
    def request_digest(self) -> str:
        """SHA-256 of what two requests under one idempotency key must have in common."""
        content = self.model_dump(mode="json", include={"digest", "sources", "grid_digest", "variables"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def find_misfits(self, spec: ModelSpec) -> list[str]:
        """Return why a forecast of a checkpoint cannot start from the state, as sentences; empty if it can."""
        misfits = []
        if self.variables != spec.variable_names:
            needed, own = ", ".join(spec.variable_names), ", ".join(self.variables)
            misfits.append(f"The checkpoint needs the variables {needed}, the state has {own}.")
        if self.grid_digest != digest_grid(spec.grid):
            latitudes, longitudes = spec.grid.grid.shape
            misfits.append(
                f"The grid of the checkpoint has {latitudes} × {longitudes} points, that of the state, which is "
                f"another, {self.latitudes} × {self.longitudes}."
            )
        if self.time_step_hours != spec.time_step_hours:
            misfits.append(
                f"The frames of the checkpoint are {spec.time_step_hours} h apart, those of the state "
                f"{self.time_step_hours} h."
            )
        if self.frames < spec.context_frames:
            misfits.append(f"The checkpoint needs {spec.context_frames} frames, the state has {self.frames}.")
        return misfits


@dataclass(frozen=True)
class KeptState:
    """The row of a kept initial state; its frames are in its folder."""

    id: str
    owner: str
    description: StateDescription
    size_bytes: int
    created: float


def new_state_id() -> str:
    """Return a random id that cannot be guessed."""
    return f"st_{secrets.token_hex(12)}"


def insert_state(
    connection: Connection,
    state_id: str,
    owner: str,
    description: StateDescription,
    size_bytes: int,
    idempotency_key: str | None = None,
) -> KeptState:
    """Insert the row of a state whose folder is written, and return the record.

    If `owner` has used `idempotency_key` before, nothing is inserted and the earlier state is returned, which has
    another id. Raises `IdempotencyError` if the key was used for another state.
    """
    row = {
        "id": state_id,
        "owner": owner,
        "idempotency_key": idempotency_key,
        "request_digest": description.request_digest,
        "description": description.model_dump(mode="json"),
        "size_bytes": size_bytes,
    }
    try:
        with connection.begin_nested():
            connection.execute(insert(kept_states).values(**row, created=now()))
            append_audit(connection, Action.KEEP_STATE, state_id)
    except IntegrityError:
        earlier = find_state_by_key(connection, owner, idempotency_key, description) if idempotency_key else None
        if earlier is None:
            raise
        return earlier
    return read_state(connection, state_id, owner)


def find_state_by_key(
    connection: Connection, owner: str, idempotency_key: str, description: StateDescription
) -> KeptState | None:
    """Return the state that `owner` made with this idempotency key, or None.

    Raises `IdempotencyError` if it was another state.
    """
    query = select(kept_states).where(
        kept_states.c.owner == owner, kept_states.c.idempotency_key == idempotency_key, kept_states.c.deleted.is_(None)
    )
    row = connection.execute(query).one_or_none()
    if row is not None and row.request_digest != description.request_digest:
        raise IdempotencyError(
            f"`Idempotency-Key` {idempotency_key!r} was used for another request, state {row.id}. Use a new key."
        )
    return None if row is None else _record(row)


def read_state(connection: Connection, state_id: str, owner: str) -> KeptState:
    """Return the record of a state; raise `StateNotFoundError` if none exists, or `owner` is not its owner."""
    query = select(kept_states).where(
        kept_states.c.id == state_id, kept_states.c.owner == owner, kept_states.c.deleted.is_(None)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise StateNotFoundError(f"There is no initial state {state_id!r}.")
    return _record(row)


def list_kept_states(connection: Connection, owner: str, limit: int, before: str | None = None) -> list[KeptState]:
    """Return at most `limit` states of an owner, newest first.

    `before` is the id of the last state of the preceding page; an id of no state of the owner gives none.
    """
    query = select_newest(kept_states, owner, limit, before).where(kept_states.c.deleted.is_(None))
    return [_record(row) for row in connection.execute(query)]


def count_states(connection: Connection, owner: str) -> tuple[int, int]:
    """Return the number of states that an owner keeps, and their bytes."""
    query = select(func.count(), func.coalesce(func.sum(kept_states.c.size_bytes), 0))
    row = connection.execute(
        query.where(kept_states.c.owner == owner, kept_states.c.deleted.is_(None)),
    ).one()
    return int(row[0]), int(row[1])


def sum_state_bytes(connection: Connection, owners: Sequence[str] | None) -> dict[str, int]:
    """Return the bytes of the states that owners keep, or all owners, without those that keep none."""
    query = select(kept_states.c.owner, func.sum(kept_states.c.size_bytes)).where(kept_states.c.deleted.is_(None))
    if owners is not None:
        query = query.where(kept_states.c.owner.in_(owners))
    return {row[0]: int(row[1]) for row in connection.execute(query.group_by(kept_states.c.owner))}


def mark_deleted(connection: Connection, state_id: str, owner: str) -> None:
    """Mark a state as deleted: it counts as missing from then on. Raises `StateNotFoundError` as `read_state` does."""
    changed = connection.execute(
        update(kept_states)
        .where(kept_states.c.id == state_id, kept_states.c.owner == owner, kept_states.c.deleted.is_(None))
        .values(deleted=now(), idempotency_key=None)
    )
    if not changed.rowcount:
        raise StateNotFoundError(f"There is no initial state {state_id!r}.")
    append_audit(connection, Action.DELETE, state_id)


def expire_states(connection: Connection, keep_hours: float | None) -> None:
    """Mark states that were made more than `keep_hours` ago as deleted; None expires nothing."""
    if keep_hours is not None:
        connection.execute(
            update(kept_states)
            .where(kept_states.c.deleted.is_(None), kept_states.c.created < time_of_query() - keep_hours * 3600)
            .values(deleted=now(), idempotency_key=None)
        )


def list_deleted_states(connection: Connection) -> list[str]:
    """Return the ids of the states that are marked as deleted, of all owners."""
    return [row.id for row in connection.execute(select(kept_states.c.id).where(kept_states.c.deleted.is_not(None)))]


def list_state_ids(connection: Connection) -> set[str]:
    """Return the ids of all rows of states, of all owners, with those that are marked as deleted."""
    return {row.id for row in connection.execute(select(kept_states.c.id))}


def remove_row(connection: Connection, state_id: str) -> None:
    """Remove the row of a state that is marked as deleted, whose folder does not exist any more."""
    connection.execute(delete(kept_states).where(kept_states.c.id == state_id, kept_states.c.deleted.is_not(None)))


def digest_grid(grid: GridSpec) -> str:
    """Return the SHA-256 of the latitudes and longitudes of a grid."""
    content = np.array([*grid.latitude, *grid.longitude]).tobytes()
    return hashlib.sha256(f"{len(grid.latitude)} ".encode() + content).hexdigest()


def _record(row: Row[Any]) -> KeptState:
    values = {field.name: row._mapping[field.name] for field in fields(KeptState)}
    return KeptState(**values | {"description": StateDescription.model_validate(values["description"])})
