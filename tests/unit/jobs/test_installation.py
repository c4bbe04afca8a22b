import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from jobs.forecasts import ForecastRecord
from jobs.identity_file import IDENTITY_FILE, PlaceGuard, read_identity
from jobs.installation import Installation, adopt, open_installation
from jobs.rows.database import Database
from jobs.settings import Settings, StorageSettings
from storage.errors import DataDirectoryError, InstallationError
from storage.lock import lock_folder
from storage.paths import storage_path
from tests.rows import list_keys
from tests.servers import PostgresServer, free_port
from warmcast.cli import app

Insert = Callable[..., ForecastRecord]
DIFFERENT = "`warmcast storage adopt`"


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a new installation, with a database of each supported kind."""
    settings = Settings.of(data=tmp_path / "data")
    if request.param == "sqlite":
        return settings
    server: PostgresServer = request.getfixturevalue("postgres")
    return settings.replace(database_url=server.new_database())


def _open(settings: Settings) -> Installation:
    """Open an installation and close its database, which can be used again."""
    installation = open_installation(settings.storage)
    installation.database.close()
    return installation


def _other_database(settings: Settings, request: pytest.FixtureRequest, folder: Path) -> Settings:
    """Return the same settings with a new database of the same kind."""
    if settings.storage.database_url is None:
        return settings.replace(database_url=f"sqlite:///{folder}/other.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return settings.replace(database_url=server.new_database())


def _folders(data: Path) -> list[str]:
    return sorted(path.name for path in data.iterdir())


def _add_forecast(data: Path, name: str) -> Path:
    folder = data / "forecasts" / name
    (folder / "ensemble.zarr").mkdir(parents=True)
    return folder


def _insert_row(database: Database, forecast_id: str) -> None:
    row = {"id": forecast_id, "data": "available"}
    columns = {
        "owner": "local", "request_digest": "0", "request": "{}", "status": "successful", "priority": "normal",
        "num_lead_times": 1, "lead_times": 1, "summarised": 1, "created": 1.0,
    }  # fmt: skip  # one column per line would be ten lines
    values = row | columns
    names, parameters = ", ".join(values), ", ".join(f":{name}" for name in values)
    with database.write() as connection:
        connection.execute(text(f"INSERT INTO forecast ({names}) VALUES ({parameters})"), values)


def test_a_new_installation_gets_an_identity_on_both_sides_and_keeps_it(settings: Settings) -> None:
    first, second = _open(settings), _open(settings)
    assert len(first.identity) == 32
    assert first.identity == second.identity == read_identity(storage_path(settings.storage.data))
    other = settings.replace(
        data=settings.storage.data.parent / "third",
        database_url="sqlite:///" + str(settings.storage.data.parent / "third.db"),
    )
    assert _open(other).identity != first.identity


def test_processes_that_start_a_new_installation_at_the_same_time_agree(settings: Settings) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(_open(settings).identity)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len(set(found)) == 1


def test_a_first_start_that_ended_between_the_two_sides_is_completed(settings: Settings) -> None:
    identity = _open(settings).identity
    (settings.storage.data / IDENTITY_FILE).unlink()
    database = Database(settings.storage.sql_url)
    with database.write() as connection:
        connection.execute(text("UPDATE installation SET is_bound = :no"), {"no": False})
    database.close()
    assert _open(settings).identity == identity == read_identity(storage_path(settings.storage.data))


def test_another_database_is_refused_and_nothing_is_created_or_changed(
    settings: Settings, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    _open(settings)
    folder = _add_forecast(settings.storage.data, "fc_kept")
    other = _other_database(settings, request, tmp_path)
    with pytest.raises(
        InstallationError, match=r"but `.*data` belongs to installation [0-9a-f]{8}\. Correct "
    ) as error:
        _open(other)
    assert DIFFERENT in str(error.value)
    assert folder.exists()
    assert not (tmp_path / "other.db").exists()
    _open(other.replace(data=tmp_path / "elsewhere"))
    with pytest.raises(InstallationError, match=r"belongs to installation \w{8}, but .* belongs to installation \w{8}"):
        _open(other)


def test_another_data_folder_is_refused(settings: Settings, tmp_path: Path) -> None:
    url = settings.storage.sql_url
    _open(settings)
    for name in ("empty", "absent"):
        other = settings.replace(data=tmp_path / name, database_url=url)
        with pytest.raises(InstallationError, match=rf"but `.*{name}` belongs to no installation"):
            _open(other)
    assert not (tmp_path / "absent").exists()


def test_passwords_are_not_in_the_message(settings: Settings, postgres: PostgresServer, tmp_path: Path) -> None:
    _open(settings)
    url = postgres.new_database().replace("warmcast@", "warmcast:secret@")
    with pytest.raises(InstallationError) as error:
        _open(settings.replace(database_url=url))
    assert "secret" not in str(error.value)


def test_a_damaged_identity_is_refused(settings: Settings) -> None:
    _open(settings)
    for content in ("", "{}", "[]", '"x"', "null", "{"):
        (settings.storage.data / IDENTITY_FILE).write_text(content)
        with pytest.raises(InstallationError, match=r"installation\.json` is damaged"):
            read_identity(storage_path(settings.storage.data))
    with pytest.raises(InstallationError, match=r"installation\.json` is damaged"):
        _open(settings)


@pytest.mark.parametrize("in_common", [True, False])
def test_sides_of_an_earlier_version_are_bound_if_they_have_a_forecast_in_common(
    settings: Settings, in_common: bool
) -> None:
    settings.storage.data.mkdir()
    database = Database(settings.storage.sql_url)
    database.migrate()
    _insert_row(database, "fc_1")
    database.close()
    _add_forecast(settings.storage.data, "fc_2")
    if in_common:
        _add_forecast(settings.storage.data, "fc_1")
        assert len(_open(settings).identity) == 32
    else:
        with pytest.raises(InstallationError, match=r"has 1 forecasts with data, but .* has 1 others"):
            _open(settings)
        assert read_identity(storage_path(settings.storage.data)) is None


def test_a_missing_or_empty_database_of_an_earlier_version_with_forecasts_is_not_created(tmp_path: Path) -> None:
    folder = _add_forecast(tmp_path, "fc_1")
    for empty in (False, True):
        if empty:
            (tmp_path / "warmcast.db").touch()
        with pytest.raises(InstallationError, match=r"warmcast\.db` does not exist, but"):
            open_installation(StorageSettings(data=tmp_path))
        assert (tmp_path / "warmcast.db").exists() == empty
    assert folder.exists()


def test_adoption_joins_what_was_apart_and_parts_it_from_what_it_belonged_to(
    settings: Settings, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    old_identity = _open(settings).identity
    other = _other_database(settings, request, tmp_path)
    elsewhere = other.replace(data=tmp_path / "elsewhere")
    _open(elsewhere)
    identity = adopt(other.storage)
    assert identity != old_identity
    assert _open(other).identity == identity
    for parted in (settings, elsewhere):
        with pytest.raises(InstallationError, match="belongs to installation"):
            _open(parted)
    adopt(settings.storage)
    _open(settings)


def test_adoption_is_refused_while_the_folder_is_served(settings: Settings) -> None:
    _open(settings)
    with (
        lock_folder(settings.storage.data, DataDirectoryError("first")),
        pytest.raises(DataDirectoryError, match=r"is served by another process\. Stop it"),
    ):
        adopt(settings.storage)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Installation]:
    """An open installation on SQLite, with an API key, and connections in its pool."""
    installation = open_installation(StorageSettings(data=tmp_path))
    with installation.database.read(), installation.database.read():
        pass
    yield installation
    installation.database.close()


def _write_other_database(path: Path) -> None:
    folder = path.parent / "other"
    open_installation(StorageSettings(data=folder)).database.close()
    path.unlink(missing_ok=True)
    shutil.move(folder / "warmcast.db", path)


def _overwrite(path: Path) -> None:
    other = path.parent / "other.db"
    _write_other_database(other)
    path.write_bytes(other.read_bytes())
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _replace_by(content: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        path.write_bytes(content)

    return replace


CHANGES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "moved": lambda path: path.rename(path.with_name("moved.db")),
    "an empty file": _replace_by(b""),
    "no database": _replace_by(b"no database" * 1000),
    "another installation's": _write_other_database,
    "overwritten": _overwrite,
    "a copy of itself": lambda path: (shutil.copy(path, f"{path}.copy"), Path(f"{path}.copy").replace(path)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_transaction_begins_once_the_database_was_changed(change: str, opened: Installation) -> None:
    path = Path(str(opened.data), "warmcast.db")
    CHANGES[change](path)
    exists = path.exists()
    for transaction in (opened.database.read, opened.database.write) * 3:
        with pytest.raises(InstallationError, match="restart the service"), transaction() as connection:
            connection.execute(text("SELECT 1"))
    assert path.exists() == exists, "a missing database must not be created"
    if exists and path.stat().st_size == 0:
        assert path.read_bytes() == b""


def test_a_database_that_is_moved_back_is_used_again(opened: Installation) -> None:
    path = Path(str(opened.data), "warmcast.db")
    moved = path.with_name("moved.db")
    path.rename(moved)
    with pytest.raises(InstallationError):
        list_keys(opened.database)
    moved.rename(path)
    assert list_keys(opened.database) == []


def test_no_transaction_begins_while_the_data_folder_is_away(tmp_path: Path, settings: Settings) -> None:
    """Unmounting leaves an empty folder; here it is renamed, and the database is elsewhere."""
    if settings.storage.database_url is None:
        settings = settings.replace(database_url=f"sqlite:///{tmp_path}/rows.db")
    installation, data = open_installation(settings.storage), settings.storage.data
    assert list_keys(installation.database) == []
    for leave in ("nothing", "an empty folder", "another installation's"):
        data.rename(tmp_path / "away")
        if leave != "nothing":
            data.mkdir()
        if leave == "another installation's":
            (data / IDENTITY_FILE).write_text(json.dumps({"identity": "f" * 32}))
        for _ in range(2):
            with pytest.raises(InstallationError, match="unmounted, moved or replaced"):
                list_keys(installation.database)
        shutil.rmtree(data, ignore_errors=True)
        (tmp_path / "away").rename(data)
        assert list_keys(installation.database) == []
    installation.database.close()


def test_a_postgresql_that_becomes_another_installations_is_noticed(postgres: PostgresServer, tmp_path: Path) -> None:
    settings = StorageSettings.model_validate({"data": tmp_path, "database_url": postgres.new_database()})
    installation = open_installation(settings)
    assert list_keys(installation.database) == []
    administrator = Database(settings.sql_url)
    for statement in ("UPDATE installation SET identity = 'other'", "DROP TABLE installation"):
        with administrator.write() as connection:
            connection.execute(text(statement))
        administrator.close()
        installation.database.close()  # as its server does when it restarts, or the database is restored
        with pytest.raises(InstallationError, match="another installation"):
            list_keys(installation.database)
    installation.database.close()


def test_the_guard_of_object_storage_reads_at_intervals_and_keeps_its_result_while_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Place:
        identity, reads, is_away = "a", 0, False

        def __truediv__(self, _name: str) -> "Place":
            return self

        def read_bytes(self) -> bytes:
            self.reads += 1
            if self.is_away:
                raise ConnectionError
            return json.dumps({"identity": self.identity}).encode()

    seconds = iter(range(1000))
    monkeypatch.setattr("jobs.identity_file.time.monotonic", lambda: next(seconds) / 2)
    place = Place()
    guard = PlaceGuard(place, "a")  # type: ignore[arg-type] # the guard reads one file only
    for _ in range(100):  # at least half a second apart
        guard.check()
    assert 4 <= place.reads <= 11
    place.is_away = True
    for _ in range(50):
        guard.check()
    place.is_away, place.identity = False, "b"
    outcomes = []
    for _ in range(50):
        try:
            guard.check()
            outcomes.append(True)
        except InstallationError:
            outcomes.append(False)
    assert outcomes == sorted(outcomes, reverse=True), "it stays refused"
    assert not outcomes[-1]


def _different(data: Path) -> None:
    (data / "warmcast.db").unlink()


def _newer(data: Path) -> None:
    database = Database(StorageSettings(data=data).sql_url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()


WRONG_DATABASES = [(_different, DIFFERENT), (_newer, "A newer version of Warmcast has changed it; use that")]


@pytest.mark.parametrize("command", ["serve", "api", "key list"])
@pytest.mark.parametrize(("change", "sentence"), WRONG_DATABASES)
def test_every_command_that_opens_both_ends_in_one_sentence(
    command: str, change: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    open_installation(StorageSettings(data=tmp_path)).database.close()
    change(tmp_path)
    options = [] if command == "key list" else ["--port", str(free_port())]
    ended = CliRunner().invoke(app, [*command.split(), *options, "--data", str(tmp_path)])
    assert ended.exit_code == 2, ended.output
    assert ended.stderr.startswith("Error: ")
    assert ended.stderr.count("\n") == 1
    assert sentence in ended.stderr
    assert (tmp_path / "warmcast.db").exists() == (change is _newer)


def test_a_second_service_on_the_same_data_ends_in_one_sentence(tmp_path: Path) -> None:
    with lock_folder(tmp_path, DataDirectoryError("first")):
        ended = CliRunner().invoke(app, ["serve", "--port", str(free_port()), "--data", str(tmp_path)])
    assert (ended.exit_code, ended.stderr.count("\n")) == (2, 1)
    assert "is served by another process. Choose another --data." in ended.stderr
    assert not (tmp_path / "warmcast.db").exists()


@pytest.mark.parametrize(("change", "sentence"), WRONG_DATABASES)
def test_a_worker_with_the_wrong_database_ends_in_one_sentence(
    change: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    open_installation(StorageSettings(data=tmp_path)).database.close()
    change(tmp_path)
    program = [sys.executable, "-m", "workers.polling", str(os.getpid())]
    environment = os.environ | {"WARMCAST_DATA": str(tmp_path)}
    ended = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert sentence in ended.stderr
    assert (tmp_path / "warmcast.db").exists() == (change is _newer)


def test_a_foreign_sqlite_file_is_not_opened_twice(opened: Installation) -> None:
    """SQLite drops its locks when any other descriptor of the file is closed in the process: only `stat` is used."""
    held = sqlite3.connect(str(opened.data / "warmcast.db"), isolation_level=None, timeout=0.1)
    with opened.database.write():
        list_keys(opened.database)
        opened.database.check_installation()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            held.execute("BEGIN IMMEDIATE")
    held.close()
