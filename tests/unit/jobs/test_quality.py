import math
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import DatabaseError

from jobs.forecasts import ForecastRecord
from jobs.quality import save_diagnostics as save_in
from jobs.rows.database import Database
from jobs.rows.tables import forecasts
from tests.clock import MovableClock
from tests.rows import (
    latest_diagnostics,
    latest_verifications,
    list_verifications,
    read_diagnostics,
    save_diagnostics,
    save_verification,
)

Insert = Callable[..., ForecastRecord]


def test_diagnostics_are_read_in_the_order_of_lead_times(database: Database, insert_rows: Insert) -> None:
    forecast, other = insert_rows(), insert_rows()
    for lead_hours in (12, 6, 24):
        save_diagnostics(database, forecast.id, "planet", {lead_hours: {"spread": lead_hours / 10, "drift": None}})
    save_diagnostics(database, other.id, "planet", {18: {"spread": 0.0}})
    found = read_diagnostics(database, forecast.id)
    assert list(found) == [6, 12, 24]
    assert found[12] == {"spread": 1.2, "drift": None}
    assert read_diagnostics(database, "fc_unknown") == {}


def test_the_first_diagnostics_of_a_lead_time_are_kept(database: Database, insert_rows: Insert) -> None:
    """A worker that takes over may compute a lead time again; the transaction of its commit must not break."""
    forecast = insert_rows()
    save_diagnostics(database, forecast.id, "planet", {6: {"spread": 1.0}})
    save_diagnostics(database, forecast.id, "planet", {6: {"spread": 2.0}})
    assert read_diagnostics(database, forecast.id) == {6: {"spread": 1.0}}


def test_diagnostics_that_exist_already_do_not_undo_the_rest_of_the_transaction(
    database: Database, insert_rows: Insert
) -> None:
    forecast = insert_rows()
    with database.write() as connection:
        save_in(connection, forecast.id, "planet", {12: {"spread": 1.0}})
        save_in(connection, forecast.id, "planet", {6: {"spread": 2.0}, 12: {"spread": 3.0}, 18: {"spread": 4.0}})
    assert read_diagnostics(database, forecast.id) == {6: {"spread": 2.0}, 12: {"spread": 1.0}, 18: {"spread": 4.0}}


def test_concurrent_workers_save_diagnostics_of_a_lead_time_once(database: Database, insert_rows: Insert) -> None:
    forecast, errors = insert_rows(), list[Exception]()

    def save(worker: int) -> None:
        try:
            save_diagnostics(database, forecast.id, "planet", {6: {"worker": worker}})
        except Exception as error:  # a test thread: the main thread asserts that there is none
            errors.append(error)

    threads = [threading.Thread(target=save, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(read_diagnostics(database, forecast.id)) == [6]


def test_the_latest_diagnostics_are_those_of_the_newest_forecast_of_each_model(
    database: Database, insert_rows: Insert
) -> None:
    first, second, third = insert_rows(), insert_rows(), insert_rows()
    save_diagnostics(database, first.id, "planet", {6: {"spread": 1.0}})
    save_diagnostics(database, first.id, "planet", {12: {"spread": 2.0}})
    save_diagnostics(database, second.id, "planet", {6: {"spread": 3.0}})
    save_diagnostics(database, third.id, "large", {6: {"spread": 4.0}})
    latest = sorted(latest_diagnostics(database, (6, 12, 24)))
    assert latest == [("large", 6, {"spread": 4.0}), ("planet", 6, {"spread": 3.0}), ("planet", 12, {"spread": 2.0})]
    assert latest_diagnostics(database, (12,)) == [("planet", 12, {"spread": 2.0})]
    assert latest_diagnostics(database, ()) == []


def test_a_verification_is_returned_as_it_is_listed(
    database: Database, insert_rows: Insert, clock: MovableClock
) -> None:
    forecast = insert_rows()
    first = save_verification(database, forecast.id, "planet", "era5", {"crps": {"u10": [0.5, None]}})
    clock.advance(60)
    second = save_verification(database, forecast.id, "planet", "era5", {"crps": {"u10": [0.4, 0.6]}})
    assert list_verifications(database, forecast.id) == [first, second]
    assert (first.reference, first.scores) == ("era5", {"crps": {"u10": [0.5, None]}})
    assert 59 < second.created - first.created < 70
    assert list_verifications(database, insert_rows().id) == []


def test_the_latest_verification_is_that_of_each_model_against_each_reference(
    database: Database, insert_rows: Insert
) -> None:
    first, second = insert_rows(), insert_rows()
    save_verification(database, second.id, "planet", "era5", {"crps": 1})
    save_verification(database, first.id, "planet", "era5", {"crps": 2})
    save_verification(database, first.id, "planet", "gfs", {"crps": 3})
    save_verification(database, first.id, "large", "gfs", {"crps": 4})
    assert sorted(latest_verifications(database)) == [
        ("large", "gfs", {"crps": 4}),
        ("planet", "era5", {"crps": 2}),
        ("planet", "gfs", {"crps": 3}),
    ]


def test_scores_of_an_unknown_forecast_are_refused(database: Database) -> None:
    with pytest.raises(DatabaseError, match=r"(?i)foreign key"):
        save_verification(database, "fc_unknown", "planet", "era5", {})
    assert latest_verifications(database) == []


def test_quality_is_removed_with_its_forecast(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()
    save_diagnostics(database, forecast.id, "planet", {6: {}})
    save_verification(database, forecast.id, "planet", "era5", {})
    with database.write() as connection:
        connection.execute(delete(forecasts).where(forecasts.c.id == forecast.id))
    assert read_diagnostics(database, forecast.id) == {}
    assert latest_diagnostics(database, (6,)) == []
    assert latest_verifications(database) == []


def test_numbers_that_are_not_finite_are_kept_as_null(database: Database, insert_rows: Insert) -> None:
    forecast = insert_rows()
    values = {"eta": [1.0, math.inf, math.nan], "deep": {"ratio": -math.inf, "count": 3, "name": "NaN"}, "none": None}
    kept = {"eta": [1.0, None, None], "deep": {"ratio": None, "count": 3, "name": "NaN"}, "none": None}
    assert save_verification(database, forecast.id, "planet", "era5", values).scores == kept
    save_diagnostics(database, forecast.id, "planet", {6: values})
    assert read_diagnostics(database, forecast.id) == {6: kept}


def test_callers_cannot_add_references_without_end(database: Database, insert_rows: Insert) -> None:
    record = insert_rows()
    for index in range(30):
        save_verification(database, record.id, "planet", f"invented-{index:02d}", {"index": index})
    assert [(reference, scores["index"]) for _, reference, scores in latest_verifications(database)] == [
        (f"invented-{index}", index) for index in range(29, 19, -1)
    ]
