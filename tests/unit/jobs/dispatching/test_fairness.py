from collections.abc import Callable

from jobs.dispatching.leases import Lease, claim
from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Kind, Priority
from tests.rows import commit, finish, read_forecast, release

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


def test_forecasts_of_two_owners_are_computed_alternately(database: Database, submit_forecast: Submit) -> None:
    first = [submit_forecast(owner="first", members=1).id for _ in range(10)]
    second = [submit_forecast(owner="second", members=1).id for _ in range(10)]
    done = [_next(database) for _ in range(20)]
    assert done[0::2] == first
    assert done[1::2] == second


def test_an_owner_without_earlier_forecasts_is_next_although_others_have_waited_longer(
    database: Database, submit_forecast: Submit
) -> None:
    many = [submit_forecast(owner="many", members=1).id for _ in range(3)]
    assert _next(database) == many[0]
    late = submit_forecast(owner="late", members=1).id
    assert [_next(database) for _ in range(3)] == [late, *many[1:]]


def test_the_owner_with_the_fewest_running_forecasts_is_next(database: Database, submit_forecast: Submit) -> None:
    running = {owner: [submit_forecast(owner=owner, members=1).id for _ in range(3)] for owner in ("x", "y")}
    taken = [_claim(database, worker)[0].forecast_id for worker in "abc"]
    assert taken == [running["x"][0], running["y"][0], running["x"][1]]
    assert _claim(database, "d")[0].forecast_id == running["y"][1]


def test_priority_precedes_fairness_and_age(database: Database, submit_forecast: Submit) -> None:
    low = submit_forecast(owner="x", members=1, priority=Priority.LOW).id
    normal = submit_forecast(owner="y", members=1).id
    high = [submit_forecast(owner="z", members=1, priority=Priority.HIGH).id for _ in range(3)]
    assert [_next(database) for _ in range(5)] == [*high, normal, low]
    assert read_forecast(database, high[0]).priority == Priority.HIGH


def test_a_running_forecast_precedes_waiting_ones_of_higher_priority(
    database: Database, submit_forecast: Submit
) -> None:
    begun = submit_forecast(owner="x", priority=Priority.LOW).id
    leases = _claim(database, "a")
    submit_forecast(owner="y", priority=Priority.HIGH)
    release(database, leases, counts=False)
    assert {lease.forecast_id for lease in _claim(database, "b")} == {begun}


def test_a_repeated_key_returns_the_same_forecast_whatever_the_priority(
    database: Database, submit_forecast: Submit
) -> None:
    first = submit_forecast(key="once", priority=Priority.LOW)
    again = submit_forecast(key="once", priority=Priority.HIGH)
    assert (again.id, again.priority) == (first.id, Priority.LOW)
