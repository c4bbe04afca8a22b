"""The identity of an installation, which its database and its data place share: neither is used with another's.

The data place is the data folder, or the bucket prefix of `WARMCAST_STORE`. The row of the identity is inserted first,
and is bound once the file in the data place exists too, so that a crash between the two is completed by the next start.
"""

import secrets
from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, delete, insert, inspect, make_url, select, update
from sqlalchemy.exc import IntegrityError

from jobs.identity_file import IDENTITY_FILE, REMEDY, PlaceGuard, identity_content, read_identity
from jobs.rows.database import Database
from jobs.rows.states import Data
from jobs.rows.tables import forecasts, installation
from jobs.settings import StorageSettings
from storage.errors import DataDirectoryError, InstallationError, is_disk_full
from storage.lock import lock_folder
from storage.opening import open_storage
from storage.paths import StoragePath
from storage.reserve import DiskReserve


@dataclass(frozen=True)
class Installation:
    """The database and the data place of one installation; every transaction checks that they still are."""

    identity: str
    database: Database
    data: StoragePath


def open_installation(settings: StorageSettings) -> Installation:
    """Open the database, migrated, and the data place; a new installation gets its identity.

    Raises `InstallationError` if they are not of one installation, before anything is created or changed.
    """
    try:
        return _open(_Sides.of(settings))
    except OSError as error:
        if not is_disk_full(error) or not DiskReserve(settings.data, settings.reserve_bytes).give_up():
            raise
        return _open(_Sides.of(settings))


def _open(sides: "_Sides") -> Installation:
    settings = sides.settings
    try:
        sides.check_database_exists()
        sides.create_folder()
        sides.database.migrate()
        identity = sides.bind()
        reserve = DiskReserve(settings.data, settings.reserve_bytes)
        sides.database.bind(identity, PlaceGuard(sides.data, identity).check, reserve)
    except BaseException:
        sides.database.close()
        raise
    return Installation(identity, sides.database, sides.data)


def adopt(settings: StorageSettings) -> str:
    """Give the database and the data place a new common identity, whatever they had, and return it.

    Neither can then be used with what it belonged to before. Raises `DataDirectoryError` while a service with its own
    worker runs on the data folder.
    """
    in_use = DataDirectoryError(f"`{settings.data}` is served by another process. Stop it before its data is adopted.")
    sides, identity = _Sides.of(settings), secrets.token_hex(16)
    with lock_folder(settings.data, in_use):
        sides.create_folder()
        sides.database.migrate()
        with sides.database.write() as connection:
            connection.execute(delete(installation))
            _insert(connection, identity)
        (sides.data / IDENTITY_FILE).write(identity_content(identity))
        sides.confirm()
    sides.database.close()
    return identity


def survey(settings: StorageSettings) -> dict[str, Any]:
    """Return the identities of both sides, and their forecasts with data; nothing is created or changed.

    `without_folder` are ids of forecasts with data that have no folder, `without_row` those of folders without a row.
    A database that does not exist, or has no tables yet, has no identity and no forecasts.
    """
    sides = _Sides.of(settings)
    try:
        return sides.survey()
    finally:
        sides.database.close()


@dataclass(frozen=True)
class _Sides:
    """The database and the data place that settings name, which may be of different installations."""

    settings: StorageSettings
    database: Database
    data: StoragePath

    @classmethod
    def of(cls, settings: StorageSettings) -> Self:
        return cls(settings, Database(settings.sql_url), open_storage(settings.data, settings.store))

    @property
    def _database_name(self) -> str:
        return str(self.database.path or make_url(self.settings.sql_url).render_as_string(hide_password=True))

    def create_folder(self) -> None:
        """Create the folder of an SQLite database."""
        if self.database.path is not None:
            self.database.path.parent.mkdir(parents=True, exist_ok=True)

    def check_database_exists(self) -> None:
        """Refuse to create an SQLite database for a data place that has an identity or forecasts already."""
        path = self.database.path
        if path is not None and not (path.exists() and path.stat().st_size):
            identity = read_identity(self.data)
            if identity is not None or self._folders():
                raise self._difference("does not exist", _belongs(identity))

    def bind(self) -> str:
        """Return the common identity of both sides; sides without one that may belong together get it."""
        row, in_place = self._read_row(), read_identity(self.data)
        if row is None and in_place is None:
            self._check_first_use()
            row, in_place = self._insert_new(), read_identity(self.data)
        elif row is None:  # unless another process has inserted it between the two readings
            row = self._read_row()
        if row is None:
            raise self._difference(_belongs(None), _belongs(in_place))
        identity, is_bound = row
        if in_place is None and not is_bound:
            (self.data / IDENTITY_FILE).write_if_absent(identity_content(identity))
            in_place = read_identity(self.data)
        if in_place != identity:
            raise self._difference(_belongs(identity), _belongs(in_place))
        if not is_bound:
            self.confirm()
        return identity

    def _read_row(self) -> tuple[str, bool] | None:
        with self.database.read() as connection:
            return _read_row(connection)

    def confirm(self) -> None:
        """Record that the data place has the identity of the database."""
        with self.database.write() as connection:
            connection.execute(update(installation).values(is_bound=True))

    def survey(self) -> dict[str, Any]:
        """Return what `survey` does."""
        row, known, available = self._read_rows() if self._has_tables() else (None, set(), set())
        of_database, of_place = row and row[0], read_identity(self.data)
        folders = self._folders()
        return {
            "database": self._database_name,
            "database_identity": of_database,
            "data": str(self.data),
            "data_identity": of_place,
            "is_same": of_database is not None and of_database == of_place,
            "forecasts": len(available),
            "without_folder": sorted(available - folders),
            "without_row": sorted(folders - known),
        }

    def _has_tables(self) -> bool:
        path = self.database.path
        if path is not None and not (path.exists() and path.stat().st_size):
            return False
        with self.database.read() as connection:
            return inspect(connection).has_table(installation.name)

    def _read_rows(self) -> tuple[tuple[str, bool] | None, Set[str], Set[str]]:
        """Return the row of the identity, and the ids of all forecasts and of those with data."""
        with self.database.read() as connection:
            rows = connection.execute(select(forecasts.c.id, forecasts.c.data)).all()
            available = {row.id for row in rows if row.data == Data.AVAILABLE}
            return _read_row(connection), {row.id for row in rows}, available

    def _insert_new(self) -> tuple[str, bool]:
        """Insert a new identity, unless another process has inserted one, and return the row."""
        with self.database.write() as connection:
            try:
                with connection.begin_nested():
                    _insert(connection, secrets.token_hex(16))
            except IntegrityError:
                pass  # PostgreSQL; on SQLite only one transaction writes
            row = _read_row(connection)
        assert row is not None
        return row

    def _check_first_use(self) -> None:
        """Refuse two sides without an identity that have forecasts, but none in common."""
        folders, (_, known, available) = self._folders(), self._read_rows()
        if (folders or available) and not folders & known:
            raise self._difference(f"has {len(available)} forecasts with data", f"has {len(folders)} others")

    def _folders(self) -> Set[str]:
        return {folder.name for folder in (self.data / "forecasts").folders() if folder.name.startswith("fc_")}

    def _difference(self, of_database: str, of_place: str) -> InstallationError:
        return InstallationError(
            f"The database `{self._database_name}` {of_database}, but `{self.data}` {of_place}. {REMEDY}"
        )


def _belongs(identity: str | None) -> str:
    return "belongs to no installation" if identity is None else f"belongs to installation {identity[:8]}"


def _insert(connection: Connection, identity: str) -> None:
    if connection.scalar(select(installation.c.id)) is None:
        connection.execute(insert(installation).values(id=1, identity=identity, is_bound=False))


def _read_row(connection: Connection) -> tuple[str, bool] | None:
    row = connection.execute(select(installation.c.identity, installation.c.is_bound)).one_or_none()
    return None if row is None else (row.identity, row.is_bound)
