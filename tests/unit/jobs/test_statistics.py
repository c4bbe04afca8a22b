from collections.abc import Callable

from jobs.database import Database
from jobs.forecasts import ForecastRecord, dismiss
from jobs.statistics import DURATIONS, count_by_status, durations, queue


def test_a_forecast_that_has_ended_is_counted_by_its_model_on_either_database(
    database: Database, submitted: Callable[..., ForecastRecord]
) -> None:
    record = submitted()
    with database.read() as connection:
        assert queue(connection)[0] == 1
        assert count_by_status(connection) == []
    dismiss(database, record.id, "local")
    with database.read() as connection:
        assert queue(connection)[0] == 0
        assert count_by_status(connection) == [(record.request.checkpoint, "dismissed", 1)]
        assert all(durations(connection, kind) == {} for kind in DURATIONS[:2])
