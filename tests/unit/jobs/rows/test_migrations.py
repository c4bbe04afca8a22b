import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hatchling.builders.wheel import WheelBuilder
from sqlalchemy import Connection, Engine, MetaData, create_engine, func, inspect, select, text

from jobs.dispatching.leases import claim
from jobs.request import ForecastRequest
from jobs.rows import schedule_tables
from jobs.rows.database import Database
from jobs.rows.states import Data, Priority, Status
from jobs.rows.tables import metadata
from storage.errors import DataDirectoryError
from tests.counters import assert_counters_fit
from tests.rows import append_event, commit, find_key_id, list_events, list_keys, load_estimator, read_forecast

FOLDER = Path(str(resources.files("jobs.rows"))) / "migrations"
REVISIONS = [f"{number:04d}" for number in range(1, 24)]
ON_POSTGRESQL = REVISIONS[::5]
"""Revisions from which an ordinary run migrates rows on PostgreSQL too; `make campaign` does from all."""
SECRET_DIGEST = "84d8be3cfe4f2d2e4bd4ad0a1b0c1bb6e7d3c2a6a4a4ea9a9ee4b9d9e9b5c1d2"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _upgrade(url: str, revision: str) -> None:
    with _engine(url) as engine, engine.begin() as connection:
        command.upgrade(_config(connection), revision)


def _rows(request: ForecastRequest) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table, with every column; an earlier revision has some of them."""
    forecast: dict[str, Any] = {
        "owner": "local", "idempotency_key": None, "request_digest": request.digest,
        "request": request.model_dump(mode="json"), "status": "running", "priority": "high", "num_lead_times": 4,
        "lead_times": 0, "summarised": 1, "error": None, "receipt": None, "data": "deleted", "store_bytes": 7,
        "expected_bytes": 3_000_000_000_000, "deadline": None, "created": 1537000000.25, "started": None,
        "first_lead_time": None, "finished": None, "model": "demo", "checkpoint_digest": "c" * 64, "group_size": 2,
        "num_groups": 3, "nfe": 2, "evaluations": 60, "number": 1, "checked": 1.0, "damaged_files": 1,
        "damage": {"why": "gone"}, "mode": {"compiled": False, "precision": "bfloat16"},
        "batch_id": None, "batch_index": None,
        "labels": {"project": "harbour"}, "retention_hours": 6.5, "phase": "rollout",
        "alerts": [{"variable": "u10", "value": 5.0, "probability": 0.5, "places": [{"name": "a", "longitude": 4.0,
                    "latitude": 52.0}]}], "alert_state": {"evaluated": 2, "reached": [[None]], "highest": [[0.25]]},
        "callback": None,
    }  # fmt: skip  # one column per line would be 70 lines
    group: dict[str, Any] = {
        "forecast_id": "fc_running", "kind": "group", "epoch": 3, "attempts": 1, "lease_until": None, "worker": None,
        "committed": 2, "done": False,
    }  # fmt: skip  # one column per line would be 70 lines
    return {
        "forecast": [
            forecast | {"id": "fc_running", "lead_times": 2, "started": 1537000001.0, "idempotency_key": "Schlüssel"},
            forecast | {"id": "fc_waiting", "status": "accepted", "owner": "key_0"},
            forecast | {"id": "fc_failed", "status": "failed", "error": {"type": "worker-lost", "detail": "“lost”"}},
        ],
        "work": [group | {"id": index + 1, "group_index": index} for index in range(3)],
        "event": [
            {"id": 5, "forecast_id": "fc_running", "kind": "lead_time", "detail": {"lead_times": 2}, "created": 1.5},
        ],
        "batch": [
            {"id": "ba_0", "owner": "local", "idempotency_key": "key", "request_digest": "d" * 64,
             "request": {"seed": 1}, "init_times": ["2018-09-15T00:00:00"], "created": 1.5},
        ],
        "worker": [
            {"id": "host-1", "device": "cpu", "started": 1.0, "seen": 2.0, "kind": "cpu", "threads": 2,
             "idle_until": 3.0},
        ],
        "api_key": [{"id": "key_0", "name": "desk", "digest": SECRET_DIGEST, "created": 1.0, "revoked": None,
                     "open_forecasts": 5, "uploads": None, "forecast_evaluations": 10**12, "day_evaluations": None,
                     "kept_bytes": None, "high_priority": True, "role": "submitter", "reads": None, "expires": 2e9,
                     "last_used": None, "previous_digest": "b" * 64, "previous_until": 5.0}],
        "diagnostic": [
            {"id": 1, "forecast_id": "fc_running", "model": "demo", "lead_hours": 6, "figures": {"spread": [0.1, None]}}
        ],
        "verification": [
            {"id": 1, "forecast_id": "fc_failed", "model": "demo", "reference": "era5", "scores": {"crps": 1},
             "created": 1.0},
        ],
        "batch_verification": [
            {"id": 1, "batch_id": "ba_0", "reference": "era5", "starts": ["fc_0"], "scores": {"crps": 1},
             "created": 1.0},
        ],
        "worker_sample": [{"worker": "host-1", "sample": '["m", ["demo"], ""]', "value": 31.0}],
        "speed": [
            {"checkpoint_digest": "c" * 64, "device": "cpu", "threads": 2, "group_size": 8, "warm_start_seconds": 1.0,
             "flow_seconds": 2.0, "beside_seconds": 0.5, "memory_bytes": None, "store_ratio": None,
             "metadata_bytes": None, "updated": 1.0}
        ],
        "batch_size": [{"checkpoint_digest": "c" * 64, "device": "cpu", "members": 8}],
        "compilation": [{"checkpoint_digest": "c" * 64, "device": "cpu", "seconds": 29.5}],
        "state": [
            {"id": "st_0", "owner": "local", "idempotency_key": "key", "request_digest": "d" * 64,
             "description": {"digest": "e" * 64}, "size_bytes": 10**10, "created": 1.5, "deleted": None},
        ],
        schedule_tables.schedules.name: [
            {"id": "sc_0", "owner": "local", "idempotency_key": None, "request_digest": "d" * 64, "name": "a",
             "source": "api", "dataset": "gfs", "every_hours": 6, "offset_hours": 0, "start": 1537000000, "stop": None,
             "catch_up": 1, "wait_hours": 12.0, "late_hours": 9.0, "verify": True, "forecast": {"members": 2},
             "state": "active", "reason": None, "next_cycle": 4 * 10**9, "created": 1.5, "changed": 1.5},
        ],
        schedule_tables.schedule_runs.name: [
            {"id": 1, "schedule_id": "sc_0", "init_time": 1537000000, "begins": 1537000000.5, "dataset": "gfs",
             "state": "submitted", "caught_up": False, "epoch": 1, "attempts": 0, "ready": 1.5, "next_attempt": None,
             "claimed_until": None, "problem": None, "forecast_id": "fc_running", "created": 1.5, "finished": 2.5,
             "verification": "waiting", "verify_from": 3.5, "verify_until": 4.5, "next_verification": 3.5,
             "verification_epoch": 0, "verification_attempts": 0, "verification_problem": None,
             "verified_times": None},
        ],
        schedule_tables.dataset_polls.name: [{"name": "gfs", "polled": 1.5, "newest": None, "error": None}],
        "installation": [{"id": 1, "identity": "1" * 32, "is_bound": True}],
    }  # fmt: skip  # one column per line would be 70 lines


Content = dict[str, list[Mapping[str, Any]]]


def _insert(url: str, request: ForecastRequest) -> Content:
    """Insert rows in the tables of the present revision, and return them as they are read back."""
    rows = _rows(request)
    with _engine(url) as engine, engine.begin() as connection:
        present = MetaData()
        present.reflect(connection)
        for table in present.sorted_tables:
            if table.name in rows:
                columns = table.columns.keys()
                values = [{name: row[name] for name in columns} for row in rows[table.name]]
                connection.execute(table.insert(), values)
        if engine.dialect.name == "postgresql":  # rows with ids that a sequence has not given
            for name in {
                "work",
                "event",
                "diagnostic",
                "verification",
                "batch_verification",
                "schedule_run",
            } & present.tables.keys():
                last = select(func.max(present.tables[name].c.id)).scalar_subquery()
                connection.execute(select(func.setval(f"{name}_id_seq", last)))
    return _read(url)


def _read(url: str, like: Content | None = None) -> Content:
    """Return all rows of all tables that have some; only those tables and columns that `like` has, if it is given."""
    content: Content = {}
    with _engine(url) as engine, engine.begin() as connection:
        present = MetaData()
        present.reflect(connection)
        for name, table in present.tables.items():
            if name == "alembic_version" or (like is not None and name not in like):
                continue
            columns = list(like[name][0]) if like is not None else table.columns.keys()
            key = [column.name for column in table.primary_key]
            query = select(*(table.c[column] for column in columns)).order_by(*(table.c[column] for column in key))
            if rows := list(connection.execute(query).mappings()):
                content[name] = rows
    return content


def _schema(connection: Connection) -> dict[str, Any]:
    """Return tables, columns, keys, indexes and constraints of a database; the order of columns has no meaning."""
    found = inspect(connection)

    def described(table: str) -> dict[str, Any]:
        columns = {column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(table)}
        return {
            "columns": columns,
            "key": found.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(constraint["column_names"] for constraint in found.get_unique_constraints(table)),
            "indexes": sorted(
                (str(index["name"]), tuple(index["column_names"]))
                for index in found.get_indexes(table)
                if not index.get("duplicates_constraint")
            ),
            "foreign": [
                (key["constrained_columns"], key["referred_table"], key["options"].get("ondelete"))
                for key in found.get_foreign_keys(table)
            ],
        }

    return {table: described(table) for table in found.get_table_names() if table != "alembic_version"}


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each supported kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/warmcast.db"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@pytest.fixture
def other_url(database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of another empty database of the same kind."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path}/other.db"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


def _migrate(url: str) -> None:
    database = Database(url)
    try:
        database.migrate()
    finally:
        database.close()


def test_the_revisions_are_one_line() -> None:
    script = ScriptDirectory.from_config(_config())
    assert [revision.revision for revision in reversed(list(script.walk_revisions()))] == REVISIONS
    assert script.get_heads() == [REVISIONS[-1]]


def test_the_migrations_make_the_schema_that_the_program_uses(database_url: str, other_url: str) -> None:
    for revision in REVISIONS:
        _upgrade(database_url, revision)
    with _engine(database_url) as engine, engine.begin() as connection:
        migrated = _schema(connection)
    with _engine(other_url) as engine, engine.begin() as connection:
        metadata.create_all(connection)
        assert _schema(connection) == migrated


@pytest.mark.parametrize(
    ("database_url", "revision"),
    [
        *(("sqlite", revision) for revision in REVISIONS),
        *(
            pytest.param("postgresql", revision, marks=() if revision in ON_POSTGRESQL else pytest.mark.campaign)
            for revision in REVISIONS
        ),
    ],
    indirect=["database_url"],
)
def test_rows_of_every_revision_are_kept_and_their_forecasts_are_computed_after_the_migration(
    revision: str, database_url: str, make_request: Callable[..., ForecastRequest]
) -> None:
    _upgrade(database_url, revision)
    before = _insert(database_url, make_request())
    assert len(before["forecast"]) == 3
    database = Database(database_url)
    database.migrate()
    assert _read(database_url, like=before) == before
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        if revision < "0008":  # from then on, no forecast is inserted that has ended
            assert_counters_fit(connection)
    record = read_forecast(database, "fc_running")
    assert record.request == make_request()
    assert (record.status, record.lead_times) == (Status.RUNNING, 2)
    assert record.priority == (Priority.HIGH if revision >= "0005" else Priority.NORMAL)
    assert record.data == (Data.DELETED if revision >= "0002" else Data.AVAILABLE)
    leases = claim(database, "new", 30.0, 3)
    assert [(lease.forecast_id, lease.epoch, lease.committed) for lease in leases] == [("fc_running", 4, 2)] * 3
    assigned = [list(commit(database, lease, 3, 30.0)) for lease in leases]
    summarised = 1 if revision >= "0006" else 2
    assert assigned == [list(range(summarised, 2)), [], [2]]
    append_event(database, "fc_running", list_events(database, "fc_running")[0].kind)
    ids = [event.id for event in list_events(database, "fc_running")]
    assert ids == sorted(set(ids))
    assert ids[0] == 5
    assert find_key_id(database, "no secret") is None
    kept = [(key.role, key.reads) for key in list_keys(database)]
    assert kept == ([("submitter", None)] if revision >= "0002" else [])
    assert set(load_estimator(database).speeds) == ({"c" * 64} if revision >= "0003" else set())
    database.close()


def test_processes_that_migrate_at_the_same_time_migrate_once(
    database_url: str, make_request: Callable[..., ForecastRequest]
) -> None:
    _upgrade(database_url, "0001")
    before = _insert(database_url, make_request())
    errors: list[Exception] = []

    def migrate() -> None:
        try:
            _migrate(database_url)
        except Exception as error:  # of a test's thread: the main thread asserts that there is none
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert _read(database_url, like=before) == before


def test_a_migration_that_fails_changes_nothing_and_can_be_repeated(
    database_url: str, make_request: Callable[..., ForecastRequest]
) -> None:
    _upgrade(database_url, "0001")
    before = _insert(database_url, make_request())
    with _engine(database_url) as engine, engine.begin() as connection:
        connection.execute(text("CREATE TABLE batch_size (other INTEGER)"))  # of revision 0004
    with pytest.raises(DataDirectoryError, match=r"The database cannot be used: .*batch_size"):
        _migrate(database_url)
    with _engine(database_url) as engine, engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
        assert "data" not in {column["name"] for column in inspect(connection).get_columns("forecast")}
        connection.execute(text("DROP TABLE batch_size"))
    _migrate(database_url)
    assert _read(database_url, like=before) == before


def test_a_database_of_a_newer_version_is_refused_and_not_changed(database: Database) -> None:
    database.migrate()
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DataDirectoryError, match=r"The database cannot be used: .*9999"):
        database.migrate()
    with database.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_every_migration_is_in_the_wheel() -> None:
    root = next((folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists()), None)
    assert root is not None
    builder = WheelBuilder(str(root))
    included = {file.distribution_path for file in builder.recurse_included_files()}
    names = {f"jobs/rows/migrations/{path.relative_to(FOLDER)}" for path in FOLDER.rglob("*.py")}
    assert len(names) >= len(REVISIONS) + 1
    assert names <= included


@pytest.mark.smoke
def test_an_installed_package_creates_its_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/warmcast.db"
    _migrate(url)
    with _engine(url) as engine, engine.begin() as connection:
        assert set(metadata.tables) < set(inspect(connection).get_table_names())
