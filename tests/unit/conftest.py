from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from jobs.database import Database
from jobs.forecasts import ForecastRecord


@pytest.fixture
def submitted(
    submit_small: Callable[..., ForecastRecord], database: Database, tmp_path: Path
) -> Callable[..., ForecastRecord]:
    """Submit a small forecast to the room's database; `key`, `owner` and fields of the request may be given."""
    return partial(submit_small, database, tmp_path)
