"""Counters of each owner and day, on each kind of database."""

from collections.abc import Callable

from sqlalchemy import update

from jobs.forecasts import ForecastRecord
from jobs.request import UploadSource
from jobs.rows.database import Database
from jobs.rows.tables import forecasts, work
from jobs.usage import Counts, list_usage
from tests.clock import MovableClock
from tests.rows import cancel_forecast


def test_forecasts_are_counted_on_the_days_of_acceptance_and_of_the_end(
    database: Database, insert_rows: Callable[..., ForecastRecord], clock: MovableClock
) -> None:
    """5 members, 4 lead times and 3 evaluations each are 60; of three groups, one has computed 2 lead times."""
    first, second = insert_rows(owner="one"), insert_rows(owner="one", initial_state=UploadSource(source="upload"))
    insert_rows(owner="two")
    clock.advance(2 * 86400)
    with database.write() as connection:
        connection.execute(
            update(work).where(work.c.forecast_id == first.id, work.c.group_index == 0).values(committed=2)
        )
    cancel_forecast(database, first.id, "one")
    with database.write() as connection:
        connection.execute(
            update(forecasts).where(forecasts.c.id == second.id).values(status="successful", finished=first.created)
        )
    with database.read() as connection:
        one, two = list_usage(connection, None, 30)
        (recent,) = list_usage(connection, "one", 1)
        assert list_usage(connection, "three", 30) == []
    assert (one.owner, one.open_forecasts, two.owner, two.open_forecasts) == ("one", 0, "two", 1)
    assert one.total == Counts(accepted=2, uploads=1, successful=1, failed=0, dismissed=1, evaluations=70)
    day = int(first.created // 86400)
    assert one.days == {
        day: Counts(accepted=2, uploads=1, successful=1, failed=0, dismissed=0, evaluations=60),
        day + 2: Counts(accepted=0, uploads=0, successful=0, failed=0, dismissed=1, evaluations=10),
    }
    assert two.total == Counts(accepted=1, uploads=0, successful=0, failed=0, dismissed=0, evaluations=0)
    assert recent.total == one.total
    assert list(recent.days) == [day + 2]
