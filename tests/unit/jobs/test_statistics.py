from collections.abc import Callable

from jobs.database import Database
from jobs.forecasts import ForecastRecord, cancel_forecast
from jobs.statistics import DURATIONS, count_by_status, count_queue, duration_histograms


def test_a_forecast_that_has_ended_is_counted_by_its_model_on_either_database(
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
