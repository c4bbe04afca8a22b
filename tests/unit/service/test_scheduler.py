"""The scheduler: verification, retention, and kills between any two transactions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from jobs.audit import Action
from jobs.rows.database import Database
from jobs.rows.schedule_tables import schedule_runs
from jobs.rows.states import Data
from jobs.rows.tables import audit, forecasts, verifications
from jobs.schedule_runs import claim_runs, postpone_run, read_clock, save_submission
from jobs.schedule_verifications import claim_verifications, postpone_verification, save_scores
from jobs.settings import Settings
from tests.clock import MovableClock
from tests.in_process import InProcess
from tests.rows import expire_data, read_forecast, succeed
from tests.simulated import NAME, STEP, Waves, install, run_tick

_HOUR = 3600
_FORECAST = {"model": "untrained", "members": 2, "lead_time": "12h", "sampler": {"nfe": 2}, "retention_hours": 1}


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path, untrained_checkpoint: Path) -> Settings:
    """Settings of a service on SQLite, or on PostgreSQL with the parameter `postgresql`."""
    on_server = getattr(request, "param", "sqlite") == "postgresql"
    url = request.getfixturevalue("postgres").new_database() if on_server else None
    folder = str(untrained_checkpoint.parent)
    return Settings.of(data=tmp_path, checkpoints=folder, reconcile_seconds=3600, database_url=url)


@pytest.fixture
def waves(api: InProcess, database: Database, tmp_path: Path) -> Waves:
    waves = Waves(tmp_path)
    install(api, database, waves)
    return waves


def _make(api: InProcess, database: Database, **fields: Any) -> np.datetime64:
    """Make a schedule with one cycle, the present one, and return that."""
    with database.read() as connection:
        cycle = np.datetime64(int(read_clock(connection) // (6 * _HOUR)) * 6 * _HOUR, "s")
    body = {"name": "a", "dataset": NAME, "forecast": _FORECAST, "stop": str(cycle)} | fields
    assert api.post("/v1/schedules", json=body).status_code == 201
    return cycle


def _run(database: Database) -> Any:
    with database.read() as connection:
        return connection.execute(select(schedule_runs)).one()


def test_data_is_kept_until_the_forecast_is_verified(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    cycle = _make(api, database)
    waves.add(cycle - STEP, cycle)
    run_tick(api)
    record = succeed(database, read_forecast(database, _run(database).forecast_id))
    clock.advance(13 * _HOUR)
    expire_data(database, None)
    assert read_forecast(database, record.id).data == Data.AVAILABLE
    outcomes = list[str]()
    run_tick(api, outcomes.append)
    assert (_run(database).verification, outcomes) == ("waiting", [])
    clock.advance(20 * _HOUR)
    run_tick(api, outcomes.append)
    assert (_run(database).verification, outcomes) == ("missed", ["verification_missed"])
    expire_data(database, None)
    assert read_forecast(database, record.id).data == Data.EXPIRED


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
def test_scores_of_one_claim_are_stored_once(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    cycle = _make(api, database)
    waves.add(cycle - STEP, cycle)
    run_tick(api)
    record = succeed(database, read_forecast(database, _run(database).forecast_id))
    clock.advance(13 * _HOUR)
    with database.write() as connection:
        (first,) = claim_verifications(connection, 2)
        assert claim_verifications(connection, 2) == []
    clock.advance(130)
    with database.write() as connection:
        (second,) = claim_verifications(connection, 2)
        assert save_scores(connection, second, "untrained", {"a": 1}, 2)
    with database.write() as connection:
        assert not save_scores(connection, first, "untrained", {"a": 2}, 2)
        assert postpone_verification(connection, first) is None
        assert connection.scalars(select(verifications.c.scores)).all() == [{"a": 1}]
        verified = connection.scalar(select(func.count()).where(audit.c.action == Action.VERIFY))
    assert verified == 0  # no actor in this test
    assert api.get(f"/v1/forecast/{record.id}/diagnostics").json()["verifications"][0]["reference"] == NAME


@pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
def test_a_run_whose_process_was_lost_finds_its_forecast(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    cycle = _make(api, database, catch_up="skip")
    waves.add(cycle - STEP, cycle)
    run_tick(api)
    accepted = _run(database).forecast_id
    lost = {"state": "waiting", "forecast_id": None, "next_attempt": 0.0, "claimed_until": 0.0}
    for hours in (0, 30):  # the second time, the run is over
        clock.advance(hours * _HOUR)
        with database.write() as connection:
            connection.execute(update(schedule_runs).values(lost))
        run_tick(api)
        assert (_run(database).state, _run(database).forecast_id) == ("submitted", accepted)
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(forecasts)) == 1


def test_a_claim_that_was_taken_over_changes_nothing(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    del waves
    _make(api, database)
    run_tick(api)
    clock.advance(900)
    with database.write() as connection:
        (first,) = claim_runs(connection, 4, 4, {})
        assert claim_runs(connection, 4, 4, {}) == []
    clock.advance(130)
    with database.write() as connection:
        (second,) = claim_runs(connection, 4, 4, {})
        assert not save_submission(connection, first, "fc_1", 0.0)
        assert not postpone_run(connection, first)
        assert postpone_run(connection, second)
    assert (_run(database).state, _run(database).forecast_id) == ("waiting", None)


def test_a_data_set_that_is_away_is_reported_and_tried_again(
    api: InProcess, database: Database, clock: MovableClock, waves: Waves
) -> None:
    cycle = _make(api, database)
    waves.is_away = True
    run_tick(api)
    run = _run(database)
    assert (run.state, run.attempts, run.problem["type"]) == ("waiting", 1, "/problems/source-unavailable")
    waves.is_away = False
    clock.advance(1000)
    run_tick(api)
    assert (_run(database).attempts, _run(database).problem) == (1, None), "it is there, without this analysis"
    waves.refusal = "it sends another hour"
    waves.add(cycle - STEP, cycle)
    clock.advance(1000)
    run_tick(api)
    run = _run(database)
    assert (run.state, run.attempts, (run.problem or {}).get("type")) == ("waiting", 2, "/problems/source-unusable")
    waves.refusal = None
    clock.advance(1000)
    run_tick(api)
    assert _run(database).state == "submitted"
