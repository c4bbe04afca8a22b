import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.exc import OperationalError

from jobs.dispatching.leases import Lease
from jobs.errors import LeaseLostError
from jobs.rows.database import Database
from jobs.rows.states import Kind
from tests.helpers import wait_until
from workers import lease_keeper
from workers.lease_keeper import STALLED, LeaseKeeper

LEASE = Lease("work", "forecast", Kind.GROUP, 0, 1, 0)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Replace the queries of leases by functions; returns the list of the queries that are made."""

    def replace(*, renew: Callable[[], bool] = lambda: True, is_open: Callable[[], bool] = lambda: True) -> list[str]:
        queries: list[str] = []

        def answer(name: str, function: Callable[[], bool]) -> Callable[..., bool]:
            return lambda *_: (queries.append(name), function())[1]

        monkeypatch.setattr(lease_keeper, "renew", answer("renew", renew))
        monkeypatch.setattr(lease_keeper, "is_open", answer("is_open", is_open))
        return queries

    return replace


@contextmanager
def _keeper(database: Database, *, renew_seconds: float = 0.05, stall_seconds: float = 60) -> Iterator[LeaseKeeper]:
    with LeaseKeeper(
        database,
        [LEASE],
        lease_seconds=10,
        renew_seconds=renew_seconds,
        stall_seconds=stall_seconds,
        record_heartbeat=lambda: None,
    ) as keeper:
        yield keeper


def test_leases_are_renewed_again_and_again(database: Database, answers: Callable[..., list[str]]) -> None:
    queries = answers()
    with _keeper(database) as keeper:
        wait_until(lambda: queries.count("renew") >= 3)
        keeper.record_progress()


@pytest.mark.parametrize("lost", [{"renew": lambda: False}, {"is_open": lambda: False}])
def test_the_computation_ends_where_a_lease_is_lost_or_the_forecast_has_ended(
    database: Database, answers: Callable[..., list[str]], lost: dict[str, Callable[[], bool]]
) -> None:
    queries = answers(**lost)
    (query,) = lost
    with _keeper(database, renew_seconds=0.05 if query == "renew" else 1.5) as keeper:
        wait_until(lambda: query in queries)
        number = len(queries)
        wait_until(lambda: keeper._lost.is_set())
        with pytest.raises(LeaseLostError):
            keeper.record_progress()
        assert len(queries) == number


def test_leases_are_renewed_after_the_database_was_unreachable(
    database: Database, answers: Callable[..., list[str]]
) -> None:
    failures = iter([True, True])

    def renew() -> bool:
        if next(failures, False):
            raise OperationalError("UPDATE work", {}, OSError("connection refused"))
        return True

    queries = answers(renew=renew)
    with _keeper(database) as keeper:
        wait_until(lambda: queries.count("renew") >= 3)
        keeper.record_progress()


def test_a_computation_without_progress_ends_the_process(
    database: Database, answers: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    answers()
    with _keeper(database, stall_seconds=0.1):
        wait_until(lambda: bool(codes))
    assert codes[0] == STALLED
