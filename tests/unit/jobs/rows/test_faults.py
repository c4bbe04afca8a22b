import errno
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from jobs.rows.database import Database
from jobs.rows.faults import is_disk_full, lacks_tables, translate_fault
from storage.reserve import DiskReserve
from tests.rows import read_batch_size, save_batch_size
from tests.servers import PostgresServer


@pytest.fixture
def postgresql(postgres: PostgresServer) -> Iterator[Database]:
    database = Database(postgres.new_database())
    yield database
    database.close()


def _raise(database: Database, state: str) -> None:
    with database.write() as connection:
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"))


def test_a_full_disk_of_postgresql_is_an_error_of_a_full_disk(postgresql: Database) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        _raise(postgresql, "53100")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("state", ["53300", "57P01", "57P03", "58030", "40001", "40P01", "55P03", "25006", "XX000"])
def test_a_postgresql_that_cannot_work_is_an_operational_error(state: str, postgresql: Database) -> None:
    with pytest.raises(OperationalError):
        _raise(postgresql, state)


@pytest.mark.parametrize("state", ["42601", "22003", "23505", "P0001"])
def test_a_fault_of_a_statement_stays_what_it_is(state: str, postgresql: Database) -> None:
    with pytest.raises(DBAPIError) as caught:
        _raise(postgresql, state)
    assert not isinstance(caught.value, OperationalError)


def test_a_damaged_sqlite_file_is_an_operational_error(tmp_path: Path) -> None:
    path = tmp_path / "warmcast.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(OperationalError), database.read() as connection:
        connection.execute(text("SELECT * FROM forecast")).all()
    database.close()


def _fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


def _write_rows(database: Database) -> None:
    for number in range(10_000):
        save_batch_size(database, f"{number:064}", "cpu", 1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a file system")
def test_a_change_that_must_be_made_uses_the_reserve(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], check=True)
    try:
        database, reserve = Database(f"sqlite:///{tmp_path}/warmcast.db"), DiskReserve(tmp_path, 1_000_000)
        database.migrate()
        assert reserve.hold()
        database.reserve = reserve
        with pytest.raises(OSError, match="No space left"):
            _fill(tmp_path)
        with pytest.raises(OSError, match="No space left"):
            _write_rows(database)
        change = text("INSERT INTO batch_size VALUES ('must', 'cpu', 7)")
        database.write_at_any_cost(lambda connection: connection.execute(change))
        assert read_batch_size(database, "must", "cpu") == 7
        assert not reserve.is_held
        database.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_an_error_of_the_driver_that_sqlite_did_not_raise_stays_what_it_is() -> None:
    fault = sqlite3.ProgrammingError("Cannot operate on a closed database.")
    assert not hasattr(fault, "sqlite_errorcode")
    error = DBAPIError("SELECT 1", None, fault)
    assert not is_disk_full(error)
    assert not lacks_tables(error)
    assert translate_fault(error) is error
