from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.database import Database
from jobs.forecasts import ForecastRecord
from jobs.states import Status
from service.views import view


@pytest.fixture
def record(submit_small: Callable[..., ForecastRecord], tmp_path: Path) -> ForecastRecord:
    database = Database(f"sqlite:///{tmp_path / 'rows.db'}")
    database.migrate()
    return submit_small(database, tmp_path)


def test_callers_are_warned_of_lost_members(record: ForecastRecord) -> None:
    ended = replace(record, status=Status.SUCCESSFUL, receipt={"nonfinite_members": [3, 7]}, finished=record.created)
    (warning,) = view(ended, "http://here", record.created, None).warnings
    assert warning.code == "members-lost"
    assert "Members 3, 7 " in warning.message


def test_callers_of_a_whole_ensemble_are_not_warned(record: ForecastRecord) -> None:
    assert view(record, "http://here", record.created, None).warnings == []
    ended = replace(record, status=Status.SUCCESSFUL, receipt={"nonfinite_members": []}, finished=record.created)
    assert view(ended, "http://here", record.created, None).warnings == []
