from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.rows.database import Database
from jobs.rows.versions import DatabaseVersion
from tests.rows import save_batch_size


@pytest.fixture
def version(database: Database) -> Iterator[DatabaseVersion]:
    with closing(DatabaseVersion(database)) as version:
        yield version


def test_each_commit_of_any_connection_and_nothing_else_changes_the_version(
    database: Database, database_url: str, version: DatabaseVersion
) -> None:
    if database.path is None:
        save_batch_size(database, "c", "cpu", 1)
        assert version.read() is None, "PostgreSQL has no version"
        return
    seen = [version.read()]
    with closing(Database(database_url)) as other:
        for number, each in enumerate((database, other, database), 1):
            save_batch_size(each, "c", "cpu", number)
            seen.append(version.read())
            with each.read(), other.read():
                pass
            assert version.read() == seen[-1]
        with pytest.raises(KeyError), other.write():
            raise KeyError
        assert version.read() == seen[-1]
    assert None not in seen
    assert len(set(seen)) == len(seen)


def test_a_database_that_was_replaced_has_no_version(tmp_path: Path, database: Database) -> None:
    if database.path is None:
        pytest.skip("a database of a server has no file")
    database.bind("here", lambda: None, database.reserve)
    with closing(DatabaseVersion(database)) as version:
        assert version.read() is not None
        database.path.rename(tmp_path / "moved.db")
        assert version.read() is None
