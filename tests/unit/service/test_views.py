from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database
from jobs.rows.states import Status
from service.views import view_forecast


@pytest.fixture
def record(submit_small: Callable[..., ForecastRecord], tmp_path: Path) -> ForecastRecord:
    database = Database(f"sqlite:///{tmp_path / 'rows.db'}")
    database.migrate()
    return submit_small(database, tmp_path)


def test_a_forecast_with_lost_members_has_a_warning(record: ForecastRecord) -> None:
    ended = replace(record, status=Status.SUCCESSFUL, receipt={"nonfinite_members": [3, 7]}, finished=record.created)
    (warning,) = view_forecast(ended, "http://here", record.created, None).warnings
    assert warning.code == "members-lost"
    assert "Members 3, 7 " in warning.message


def test_a_complete_ensemble_has_no_warning(record: ForecastRecord) -> None:
    assert view_forecast(record, "http://here", record.created, None).warnings == []
    ended = replace(record, status=Status.SUCCESSFUL, receipt={"nonfinite_members": []}, finished=record.created)
    assert view_forecast(ended, "http://here", record.created, None).warnings == []
