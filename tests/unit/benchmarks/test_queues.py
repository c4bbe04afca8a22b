from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks.queues import _fill, _new_database, _works
from jobs.limits import count_open
from jobs.rows.tables import forecasts
from tests.servers import PostgresServer
from tests.unit.benchmarks.conftest import Benchmark

OPERATIONS = ["accept", "claim", "plan", "list", "reconcile", "expire", "check", "metrics"]


def test_each_operation_has_its_times_and_their_ratio(bench: Callable[[str], Benchmark]) -> None:
    benchmark = bench("queue")
    assert [row["operation"] for row in benchmark.rows] == OPERATIONS
    for row in benchmark.rows:
        ratio = row["200: ms"] / row["10: ms"]
        assert row["ratio"] == pytest.approx(ratio)
        assert benchmark.result[f"{row['operation']}_ratio"] == pytest.approx(ratio)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_operations_keep_the_number_of_waiting_forecasts(kind: str, request: pytest.FixtureRequest) -> None:
    server = None
    if kind == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        server = postgres.new_database()
    with _new_database(server) as database:
        _fill(database, 12)
        works = _works(database)
        for name in OPERATIONS * 2:
            works[name]()
        with database.read() as connection:
            statuses: list[Any] = list(connection.scalars(select(forecasts.c.status)))
            assert count_open(connection) == statuses.count("accepted") == 12
            assert len(statuses) == 12 + 12 + 2
