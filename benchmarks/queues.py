"""`warmcast bench queue`: the time that the queue's operations take with many forecasts over that with few."""

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, insert, make_url, text

from benchmarks.measurement import publish_results, shortest_seconds_of_each
from jobs.checks import find_due
from jobs.dispatching.dispatch import LocalDispatcher
from jobs.dispatching.leases import claim, fail
from jobs.dispatching.reconcile import reconcile
from jobs.forecasts import insert_forecast, list_forecasts
from jobs.limits import Admission, Limits, NewForecast, lock_queue
from jobs.planning.measured import load_estimator
from jobs.request import ForecastRequest
from jobs.retention import expire_data
from jobs.rows.database import Database
from jobs.rows.states import Kind, Priority, Status
from jobs.rows.tables import diagnostics, forecasts, work
from jobs.settings import Settings
from service.metrics import RowsCollector
from weather.manifest import Sampling

_SIZES, _TINY_SIZES = (10, 1000, 10_000), (10, 200)
_LEAD_TIMES, _PAGE, _ATTEMPTS = 4, 2, 3
_OWNERS = ("key_0", "key_1")
_LIMITS = Limits(10**6, 10**12, 10**15, 10**15, 4, high_priority=True)


def bench_queue(*, json: Path | None, tiny: bool, database_url: str | None) -> dict[str, Any]:
    """Measure operations of databases with few and with many forecasts, as many of them stored as waiting.

    The ratios are the times with the most forecasts over those with the fewest; 1 is perfect. The databases are SQLite,
    or are created on the server of PostgreSQL of the database at `database_url`, and dropped at the end. `tiny`
    measures 200 forecasts at most, for tests.
    """
    sizes = _TINY_SIZES if tiny else _SIZES
    with ExitStack() as stack:
        opened = {size: stack.enter_context(_new_database(database_url)) for size in sizes}
        for size, database in opened.items():
            _fill(database, size)
        works = {f"{name} {size}": work for size, base in opened.items() for name, work in _works(base).items()}
        seconds = shortest_seconds_of_each(works, 2 if tiny else 7)
    rows: list[dict[str, Any]] = []
    ratios: dict[str, float] = {}
    for name in dict.fromkeys(key.split()[0] for key in seconds):
        times = {size: seconds[f"{name} {size}"] for size in sizes}
        ratios[f"{name}_ratio"] = times[sizes[-1]] / times[sizes[0]]
        milliseconds = {f"{size}: ms": 1000 * value for size, value in times.items()}
        rows.append({"operation": name, **milliseconds, "ratio": ratios[f"{name}_ratio"]})
    return publish_results(
        "Time of an operation by the number of forecasts that wait, and are stored", rows, ratios, json
    )


@contextmanager
def _new_database(server: str | None) -> Iterator[Database]:
    """Open a new, migrated database, which is removed at the end: SQLite, or on the server of a database at a URL."""
    name = f"warmcast_bench_{secrets.token_hex(4)}"
    with ExitStack() as stack:
        if server is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="warmcast-bench-"))
            url = f"sqlite:///{folder}/{name}.db"
        else:
            url = make_url(server).set(database=name).render_as_string(hide_password=False)
            _execute(server, f"CREATE DATABASE {name}")
            stack.callback(_execute, server, f"DROP DATABASE {name}")
        database = Database(url)
        stack.callback(database.close)
        database.migrate()
        yield database


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _works(database: Database) -> dict[str, Callable[[], object]]:
    """Return the operations by name; they leave as many forecasts waiting as they find, and one more stored."""
    collector = RowsCollector(Settings.of(database_url="sqlite://"), database)
    admission = Admission(_LIMITS, max_open=10**6)

    def accept() -> None:
        with database.write() as connection:
            insert_forecast(connection, f"fc_{secrets.token_hex(12)}", _OWNERS[0], _request(), _LEAD_TIMES)
            lock_queue(connection)
            admission.check(connection, _OWNERS[0], NewForecast(60, 1000, Priority.NORMAL), is_counted=True)

    def claim_next() -> None:
        leases = claim(database, "worker", 60.0, _ATTEMPTS)
        with database.write() as connection:
            fail(connection, leases[0], {"type": "worker-lost"})

    def in_read(function: Callable[[Connection], object]) -> Callable[[], object]:
        def read() -> object:
            with database.read() as connection:
                return function(connection)

        return read

    def expire() -> None:
        with database.write() as connection:
            expire_data(connection, 1e6)

    return {
        "accept": accept,
        "claim": claim_next,
        "plan": in_read(lambda connection: load_estimator(connection).wait_seconds(_OWNERS[0])),
        "list": in_read(lambda connection: _list_middle(connection)),
        "reconcile": lambda: reconcile(database, LocalDispatcher(), _ATTEMPTS),
        "expire": expire,
        "check": in_read(lambda connection: find_due(connection, before=1e12)),
        "metrics": lambda: list(collector.collect()),
    }


def _list_middle(connection: Connection) -> object:
    newest = list_forecasts(connection, _OWNERS[0], [Status.SUCCESSFUL], _PAGE)
    return list_forecasts(connection, _OWNERS[0], None, _PAGE, before=newest[-1].id)


def _fill(database: Database, number: int) -> None:
    """Insert so many waiting forecasts, and as many stored ones of all final statuses."""
    with database.write() as connection:
        _insert_many(connection, number, Status.ACCEPTED)
        for status in (Status.SUCCESSFUL, Status.FAILED, Status.DISMISSED):
            _insert_many(connection, -(-number // 3), status)
    with database.write() as connection:
        connection.execute(text("ANALYZE"))


def _insert_many(connection: Connection, number: int, status: Status) -> None:
    request, ended = _request(), status != Status.ACCEPTED
    now = time.time() - 86400
    common = {
        "request": request.model_dump(mode="json"), "request_digest": request.digest, "status": status,
        "num_lead_times": _LEAD_TIMES, "expected_bytes": 1000, "store_bytes": 900 if ended else None,
        "model": request.checkpoint, "checkpoint_digest": request.checkpoint_digest, "group_size": request.group_size,
        "num_groups": request.num_groups, "nfe": request.sampling.nfe, "evaluations": 60,
    }  # fmt: skip  # one column per line would be 12 lines
    rows = []
    for index in range(number):
        created = now + index
        times = {"started": created + 1, "first_lead_time": created + 2, "finished": created + 3} if ended else {}
        owner = _OWNERS[index % len(_OWNERS)]
        rows.append(common | times | {"id": f"fc_{secrets.token_hex(12)}", "owner": owner, "created": created})
    connection.execute(insert(forecasts), rows)
    groups = [
        {"forecast_id": row["id"], "kind": Kind.GROUP, "group_index": index, "done": status == Status.SUCCESSFUL}
        for row in rows
        for index in range(request.num_groups)
    ]
    connection.execute(insert(work), groups)
    if ended:
        figures = [
            {"forecast_id": row["id"], "model": "planet", "lead_hours": 6 * lead, "figures": {"variables": {}}}
            for row in rows
            for lead in range(1, _LEAD_TIMES + 1)
        ]
        connection.execute(insert(diagnostics), figures)


def _request() -> ForecastRequest:
    return ForecastRequest(
        checkpoint="planet",
        checkpoint_digest="0" * 64,
        initial_state_digest="0" * 64,
        sources=("random numbers",),
        init_time="2018-09-15T00:00:00",
        lead_hours=24,
        members=5,
        group_size=2,
        seed=3,
        sampling=Sampling(nfe=2),
    )
