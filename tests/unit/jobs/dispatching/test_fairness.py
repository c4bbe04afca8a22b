import random
from collections.abc import Callable

import pytest
from sqlalchemy import update

from jobs.dispatching.fairness import list_waiting, next_forecast
from jobs.dispatching.leases import Lease, claim
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Kind, Priority
from jobs.rows.tables import forecasts
from tests.clock import MovableClock
from tests.rows import cancel_forecast, commit, finish, read_forecast, release

Submit = Callable[..., ForecastRecord]


def _claim(database: Database, worker: str) -> list[Lease]:
    return claim(database, worker, 30.0, 3)


def _next(database: Database, worker: str = "a") -> str:
    """Claim the next forecast, compute all of it, and return its id."""
    leases = _claim(database, worker)
    for lead in range(1, 5):
        for lease in leases:
            commit(database, lease, lead, 30.0)
    (last,) = _claim(database, worker)
    assert (last.kind, last.forecast_id) == (Kind.FINISH, leases[0].forecast_id)
    finish(database, last, {}, 0)
    return last.forecast_id


def _read_next(database: Database) -> str | None:
    with database.read() as connection:
        return next_forecast(connection, 3)


def test_forecasts_of_two_owners_are_computed_alternately(database: Database, insert_rows: Submit) -> None:
    first = [insert_rows(owner="first", members=1).id for _ in range(10)]
    second = [insert_rows(owner="second", members=1).id for _ in range(10)]
    done = [_next(database) for _ in range(20)]
    assert done[0::2] == first
    assert done[1::2] == second


def test_an_owner_without_earlier_forecasts_is_next_although_others_have_waited_longer(
    database: Database, insert_rows: Submit
) -> None:
    many = [insert_rows(owner="many", members=1).id for _ in range(3)]
    assert _next(database) == many[0]
    late = insert_rows(owner="late", members=1).id
    assert [_next(database) for _ in range(3)] == [late, *many[1:]]


def test_the_owner_with_the_fewest_running_forecasts_is_next(database: Database, insert_rows: Submit) -> None:
    running = {owner: [insert_rows(owner=owner, members=1).id for _ in range(3)] for owner in ("x", "y")}
    taken = [_claim(database, worker)[0].forecast_id for worker in "abc"]
    assert taken == [running["x"][0], running["y"][0], running["x"][1]]
    assert _claim(database, "d")[0].forecast_id == running["y"][1]


def test_priority_precedes_fairness_and_age(database: Database, insert_rows: Submit) -> None:
    low = insert_rows(owner="x", members=1, priority=Priority.LOW).id
    normal = insert_rows(owner="y", members=1).id
    high = [insert_rows(owner="z", members=1, priority=Priority.HIGH).id for _ in range(3)]
    assert [_next(database) for _ in range(5)] == [*high, normal, low]
    assert read_forecast(database, high[0]).priority == Priority.HIGH


def test_a_running_forecast_precedes_waiting_ones_of_higher_priority(database: Database, insert_rows: Submit) -> None:
    begun = insert_rows(owner="x", priority=Priority.LOW).id
    leases = _claim(database, "a")
    insert_rows(owner="y", priority=Priority.HIGH)
    release(database, leases, counts=False)
    assert {lease.forecast_id for lease in _claim(database, "b")} == {begun}


def test_a_repeated_key_returns_the_same_forecast_whatever_the_priority(
    database: Database, insert_rows: Submit
) -> None:
    first = insert_rows(key="once", priority=Priority.LOW)
    again = insert_rows(key="once", priority=Priority.HIGH)
    assert (again.id, again.priority) == (first.id, Priority.LOW)


def test_no_forecast_is_next_without_free_work(database: Database, insert_rows: Submit) -> None:
    assert _read_next(database) is None
    insert_rows()
    _claim(database, "a")
    assert _read_next(database) is None


def test_the_next_forecast_is_the_one_that_is_claimed(database: Database, insert_rows: Submit) -> None:
    for owner, priority in (("x", Priority.LOW), ("y", Priority.NORMAL), ("x", Priority.HIGH), ("z", Priority.NORMAL)):
        insert_rows(owner=owner, priority=priority)
    for worker in "abcd":
        expected = _read_next(database)
        assert {lease.forecast_id for lease in _claim(database, worker)} == {expected}
    assert _read_next(database) is None


def test_forecasts_of_one_owner_are_computed_in_the_order_of_their_acceptance(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    ids = []
    for _ in range(5):
        ids.append(insert_rows(members=1).id)
        clock.advance(1)
    assert [_next(database) for _ in range(5)] == ids


def test_forecasts_of_the_same_moment_have_a_fixed_order(database: Database, insert_rows: Submit) -> None:
    """Without a fixed order, two concurrent workers could each lock the row that the other one needs."""
    ids = sorted(insert_rows(members=1).id for _ in range(5))
    with database.write() as connection:
        connection.execute(update(forecasts).values(created=1000.0))
    assert [_next(database) for _ in range(5)] == ids


def test_an_owner_with_many_forecasts_does_not_delay_another_for_longer_than_one(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    for _ in range(6):
        insert_rows(owner="many", members=1)
    order = []
    for turn in range(8):
        if turn in (2, 5):
            insert_rows(owner="few", members=1)
        order.append(read_forecast(database, _next(database)).owner)
        clock.advance(1)
    assert order == ["many", "many", "few", "many", "many", "few", "many", "many"]


@pytest.mark.parametrize("end", ["cancel", "deadline", "attempts"])
def test_a_forecast_that_has_ended_is_never_next(
    end: str, database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    first, second = insert_rows(owner="x", members=1, deadline_seconds=200.0), insert_rows(owner="y", members=1)
    if end == "cancel":
        cancel_forecast(database, first.id, "x")
    elif end == "deadline":
        clock.advance(201)
    else:
        for _ in range(3):
            assert {lease.forecast_id for lease in _claim(database, "a")} == {first.id}
            clock.advance(31)
    assert _read_next(database) == second.id


def _list_waiting(database: Database) -> list[str]:
    with database.read() as connection:
        return list_waiting(connection)


@pytest.mark.parametrize("seed", range(4))
def test_the_waiting_forecasts_are_listed_in_the_order_in_which_they_are_claimed(
    database: Database, insert_rows: Submit, seed: int
) -> None:
    draw = random.Random(seed)
    owners, priorities = draw.choices("xyz", k=15), draw.choices(list(Priority), k=15)
    for owner, priority in zip(owners, priorities, strict=True):
        insert_rows(owner=owner, priority=priority, members=1)
    for number in range(3):
        _claim(database, f"first {number}")
    expected = _list_waiting(database)
    assert len(expected) == 12
    assert [_claim(database, f"worker {number}")[0].forecast_id for number in range(12)] == expected
    assert _list_waiting(database) == []


def test_a_forecast_whose_deadline_has_passed_has_no_place(
    database: Database, insert_rows: Submit, clock: MovableClock
) -> None:
    late, waiting = insert_rows(deadline_seconds=60.0).id, insert_rows().id
    assert _list_waiting(database) == [late, waiting]
    clock.advance(61)
    assert _list_waiting(database) == [waiting]
