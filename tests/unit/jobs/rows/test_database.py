import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import insert, make_url, select, text, update
from sqlalchemy.exc import OperationalError

from jobs.forecasts import ForecastRecord
from jobs.rows import database as module
from jobs.rows.database import Database
from jobs.rows.tables import batch_sizes
from storage.errors import DataDirectoryError
from tests.helpers import wait_until
from tests.proxy import TcpProxy
from tests.rows import read_batch_size, read_forecast, save_batch_size
from tests.servers import PostgresServer, free_port


def _count(database: Database) -> int:
    return read_batch_size(database, "c", "cpu") or 0


def test_a_transaction_is_committed_at_the_end_of_the_block(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(batch_sizes).values(checkpoint_digest="c", device="cpu", members=1))
        assert _count(database) == 0, "another connection sees rows that are not committed"
    assert _count(database) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_transaction_is_rolled_back_on_any_exception(error: type[BaseException], database: Database) -> None:
    save_batch_size(database, "c", "cpu", 1)

    def fail() -> None:
        with database.write() as connection:
            connection.execute(update(batch_sizes).values(members=2))
            raise error

    with pytest.raises(error):
        fail()
    assert _count(database) == 1


def test_a_connection_is_usable_again_after_an_error(database: Database) -> None:
    for _ in range(50):  # more than the pool has connections
        with pytest.raises(ZeroDivisionError), database.write():
            raise ZeroDivisionError
    save_batch_size(database, "c", "cpu", 3)
    assert _count(database) == 3


def test_concurrent_transactions_on_the_same_row_run_one_after_another(database: Database) -> None:
    """Each reads a number and writes its successor; without a lock, updates would be lost."""
    save_batch_size(database, "c", "cpu", 0)

    def increase() -> None:
        for _ in range(10):
            with database.write() as connection:
                number = connection.scalar(select(batch_sizes.c.members).with_for_update())
                connection.execute(update(batch_sizes).values(members=(number or 0) + 1))

    threads = [threading.Thread(target=increase) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _count(database) == 50


def test_a_read_does_not_wait_for_a_writer_nor_a_writer_for_a_read(database: Database) -> None:
    save_batch_size(database, "c", "cpu", 1)
    with database.read() as reader:
        assert reader.scalar(select(batch_sizes.c.members)) == 1
        with database.write() as writer:
            writer.execute(update(batch_sizes).values(members=2))
            assert _count(database) == 1
        assert _count(database) == 2


def test_a_second_object_for_the_same_database_reads_the_same_rows(
    database: Database, database_url: str, insert_rows: Callable[..., ForecastRecord]
) -> None:
    forecast = insert_rows()
    other = Database(database_url)
    assert read_forecast(other, forecast.id) == forecast
    other.close()


def test_repeated_migrations_change_nothing(database: Database, insert_rows: Callable[..., ForecastRecord]) -> None:
    forecast = insert_rows()
    threads = [threading.Thread(target=database.migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_forecast(database, forecast.id) == forecast


def test_a_closed_database_can_be_used_again(database: Database) -> None:
    save_batch_size(database, "c", "cpu", 1)
    database.close()
    assert _count(database) == 1


def test_sqlite_keeps_commits_through_a_crash_and_enforces_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/warmcast.db")
    with database.read() as connection:
        found = {name: connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")}
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()


@pytest.mark.parametrize("name", ["with space", "50%", "Böen", "a?b=c"])
def test_the_folder_of_sqlite_may_have_any_name(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    database = Database(f"sqlite:///{quote(str(folder)) if '?' in name else folder}/warmcast.db")
    database.migrate()
    save_batch_size(database, "c", "cpu", 1)
    database.close()


def test_a_database_that_cannot_be_reached_is_named_as_the_cause(tmp_path: Path) -> None:
    unreachable = (
        f"sqlite:///{tmp_path}/missing/warmcast.db",
        f"postgresql+pg8000://warmcast@127.0.0.1:{free_port()}/warmcast",
    )
    for url in unreachable:
        database = Database(url)
        with pytest.raises(DataDirectoryError, match="The database cannot be used: "):
            database.migrate()
        database.close()


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "warmcast.db").write_text("no database" * 1000)
    database = Database(f"sqlite:///{tmp_path}/warmcast.db")
    with pytest.raises(DataDirectoryError, match=r"The database cannot be used: .*not a database"):
        database.migrate()
    database.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make database connections, and the server's part of them, wait for one second only."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr(module, "_SERVER_TIMEOUTS", dict.fromkeys(module._SERVER_TIMEOUTS, 1.0))


@pytest.mark.usefixtures("impatient", "forgotten_sockets")
def test_a_server_that_is_not_reached_any_more_is_an_error_of_the_database_and_used_again_later(
    postgres: PostgresServer,
) -> None:
    url = make_url(postgres.new_database())
    with TcpProxy(url.port or 0) as proxy:
        database = Database(url.set(port=proxy.port).render_as_string(hide_password=False))
        with database.read() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        proxy.cut()
        for _ in range(2):  # with an open connection, then with a new one
            with pytest.raises(OperationalError), database.read() as connection:
                connection.execute(text("SELECT 1"))
        proxy.restore()
        with database.read() as connection:
            assert connection.scalar(text("SELECT 1")) == 1
        database.close()


@pytest.mark.usefixtures("impatient", "forgotten_sockets")
def test_a_process_that_is_not_reached_any_more_keeps_no_lock(postgres: PostgresServer) -> None:
    url = make_url(postgres.new_database())
    other = Database(url.render_as_string(hide_password=False))
    other.migrate()
    save_batch_size(other, "c", "cpu", 1)
    with TcpProxy(url.port or 0) as proxy:
        lost = Database(url.set(port=proxy.port).render_as_string(hide_password=False))
        with pytest.raises(OperationalError):
            _lock_and_lose(lost, proxy, lambda: wait_until(lambda: _saves(other, 3), 30))
        proxy.restore()
        lost.close()
    assert _count(other) == 3
    other.close()


def _lock_and_lose(database: Database, proxy: TcpProxy, wait: Callable[[], None]) -> None:
    """Lock rows in a transaction, lose the connection, wait, and try to commit."""
    with database.write() as connection:
        connection.execute(update(batch_sizes).values(members=2))
        proxy.cut()
        wait()


def _saves(database: Database, members: int) -> bool:
    try:
        save_batch_size(database, "c", "cpu", members)
    except OperationalError:
        return False
    return True
