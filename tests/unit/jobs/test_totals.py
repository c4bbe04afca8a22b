from collections.abc import Callable

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.totals import DURATIONS, count_by_status, count_queue, duration_histograms
from tests.rows import cancel_forecast


def test_ended_forecasts_are_counted_by_model_and_status(
    database: Database, submit_forecast: Callable[..., ForecastRecord]
) -> None:
    record = submit_forecast()
    with database.read() as connection:
        assert count_queue(connection)[0] == 1
        assert count_by_status(connection) == []
    cancel_forecast(database, record.id, "local")
    with database.read() as connection:
        assert count_queue(connection)[0] == 0
        assert count_by_status(connection) == [(record.request.checkpoint, "dismissed", 1)]
        assert all(duration_histograms(connection, kind) == {} for kind in DURATIONS[:2])
