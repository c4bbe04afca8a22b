from collections.abc import Callable

from jobs.dispatching.leases import Lease, claim
from jobs.forecasts import ForecastRecord
from jobs.phases import report_phase
from jobs.rows.database import Database
from jobs.rows.states import Phase
from tests.clock import MovableClock
from tests.rows import cancel_forecast, claim_all, commit_lead_times, read_forecast

Insert = Callable[..., ForecastRecord]


def _claim(database: Database, worker: str) -> list[Lease]:
    return claim(database, worker, 30.0, 3)


def _report(database: Database, forecast_id: str, worker: str, phase: Phase) -> Phase | None:
    with database.write() as connection:
        report_phase(connection, forecast_id, worker, phase)
    return read_forecast(database, forecast_id).phase


def test_a_claim_begins_with_the_initial_state_and_the_finishing_work_with_finalising(
    database: Database, insert_rows: Insert
) -> None:
    forecast = insert_rows()
    assert forecast.phase is None
    claimed = claim_all(database)
    assert read_forecast(database, forecast.id).phase == Phase.READING_STATE
    assert _report(database, forecast.id, "worker", Phase.ROLLOUT) == Phase.ROLLOUT
    commit_lead_times(database, 4, claimed)
    claim_all(database)
    assert read_forecast(database, forecast.id).phase == Phase.FINALISING


def test_a_worker_that_begins_does_not_hide_that_another_is_further(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    forecast = insert_rows()
    _claim(database, "first")
    _report(database, forecast.id, "first", Phase.ROLLOUT)
    assert _report(database, forecast.id, "second", Phase.LOADING_MODEL) == Phase.ROLLOUT
    clock.advance(31)
    _claim(database, "second")
    assert read_forecast(database, forecast.id).phase == Phase.READING_STATE, "the first worker is lost"
    assert _report(database, forecast.id, "second", Phase.LOADING_MODEL) == Phase.LOADING_MODEL


def test_a_forecast_that_has_ended_keeps_its_phase(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()
    claim_all(database)
    cancel_forecast(database, forecast.id, forecast.owner)
    assert _report(database, forecast.id, "worker", Phase.ROLLOUT) == Phase.READING_STATE
