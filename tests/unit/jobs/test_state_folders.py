"""Kept initial states: rows and folders through crashes, expiry and databases that were restored."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from jobs.errors import IdempotencyError, LimitExceededError, StateNotFoundError
from jobs.folders import state_folder
from jobs.kept_states import KeptState, count_states, list_kept_states, mark_deleted, read_state
from jobs.limits import Admission
from jobs.retention import ABANDONED_SECONDS
from jobs.rows.database import Database
from jobs.rows.tables import kept_states
from jobs.state_folders import (
    delete_state,
    describe_state,
    keep_state,
    load_grid,
    load_kept_state,
    sweep_states,
)
from models.testing import tiny_spec
from tests.clock import MovableClock
from tests.helpers import random_state
from tests.limits import LARGE_LIMITS
from tests.rows import create_key
from weather.errors import DamagedError

ADMISSION = Admission(LARGE_LIMITS, 10)


def _keep(
    database: Database, data: Path, *, owner: str = "one", key: str | None = None, admission: Admission = ADMISSION
) -> KeptState:
    state, spec = random_state(), tiny_spec()
    description = describe_state(state, "untrained", spec)
    return keep_state(database, data, owner, state, description, spec.grid, key, admission)[0]


def _folders(data: Path, parent: str = "states") -> list[str]:
    return sorted(path.name for path in (data / parent).iterdir()) if (data / parent).exists() else []


def _age(folder: Path, seconds: float) -> None:
    changed = folder.stat().st_mtime - seconds
    os.utime(folder, (changed, changed))


def test_a_kept_state_is_read_back_with_its_grid(database: Database, tmp_path: Path) -> None:
    record = _keep(database, tmp_path)
    with database.read() as connection:
        assert read_state(connection, record.id, "one") == record
        assert count_states(connection, "one") == (1, record.size_bytes)
        assert count_states(connection, "two") == (0, 0)
        assert list_kept_states(connection, "two", 10) == []
    assert load_kept_state(tmp_path, record).digest == record.description.digest
    assert load_grid(tmp_path, record) == tiny_spec().grid.grid
    (state_folder(tmp_path, record.id) / "grid.json").write(b"{}")
    with pytest.raises(DamagedError):
        load_grid(tmp_path, record)


def test_a_key_keeps_one_state_and_the_second_folder_is_removed(database: Database, tmp_path: Path) -> None:
    first = _keep(database, tmp_path, key="k")
    assert _keep(database, tmp_path, key="k").id == first.id
    assert _keep(database, tmp_path, owner="two", key="k").id != first.id
    assert len(_folders(tmp_path)) == 2
    with database.write() as connection:
        connection.execute(update(kept_states).values(request_digest="another"))
    with pytest.raises(IdempotencyError):
        _keep(database, tmp_path, key="k")
    assert len(_folders(tmp_path)) == 2
    delete_state(database, tmp_path, first.id, "one")
    assert _keep(database, tmp_path, key="k").id != first.id


def test_a_refused_state_leaves_neither_row_nor_folder(database: Database, tmp_path: Path) -> None:
    key, _ = create_key(database, "one")
    with pytest.raises(LimitExceededError, match="keeps 0 initial states, of at most 0"):
        _keep(database, tmp_path, owner=key.id, admission=replace(ADMISSION, max_states=0))
    assert _folders(tmp_path) == []
    with database.read() as connection:
        assert count_states(connection, key.id) == (0, 0)


def test_only_its_owner_deletes_a_state(database: Database, tmp_path: Path) -> None:
    record = _keep(database, tmp_path)
    with pytest.raises(StateNotFoundError):
        delete_state(database, tmp_path, record.id, "two")
    assert _folders(tmp_path) == [record.id]
    delete_state(database, tmp_path, record.id, "one")
    with database.read() as connection:
        assert connection.execute(select(kept_states)).all() == []


def test_the_sweep_completes_a_deletion_that_a_crash_has_interrupted(database: Database, tmp_path: Path) -> None:
    record, other = _keep(database, tmp_path), _keep(database, tmp_path)
    with database.write() as connection:
        mark_deleted(connection, record.id, "one")
        with pytest.raises(StateNotFoundError):
            read_state(connection, record.id, "one")
    sweep_states(database, tmp_path, None)
    assert _folders(tmp_path) == [other.id]
    with database.read() as connection:
        assert connection.execute(select(kept_states.c.id)).scalars().all() == [other.id]


def test_states_expire_some_hours_after_they_were_made(database: Database, tmp_path: Path, clock: MovableClock) -> None:
    _keep(database, tmp_path)
    sweep_states(database, tmp_path, 2.0)
    assert len(_folders(tmp_path)) == 1
    clock.advance(2 * 3600 + 60)
    sweep_states(database, tmp_path, 2.0)
    assert _folders(tmp_path) == []


def test_folders_without_a_row_are_moved_aside_and_back(database: Database, tmp_path: Path) -> None:
    record = _keep(database, tmp_path)
    with database.write() as connection:
        row = connection.execute(select(kept_states)).one()._asdict()
        connection.execute(kept_states.delete())
    sweep_states(database, tmp_path, None)
    assert _folders(tmp_path) == [record.id]
    _age(tmp_path / "states" / record.id, ABANDONED_SECONDS + 60)
    sweep_states(database, tmp_path, None)
    assert (_folders(tmp_path), _folders(tmp_path, "lost")) == ([], [record.id])
    with database.write() as connection:
        connection.execute(kept_states.insert().values(row))
    sweep_states(database, tmp_path, None)
    assert (_folders(tmp_path), _folders(tmp_path, "lost")) == ([record.id], [])
