from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from jobs.forecasts import ForecastRecord
from jobs.rows.database import Database


@pytest.fixture
def submit_forecast(
    submit_small: Callable[..., ForecastRecord], database: Database, tmp_path: Path
) -> Callable[..., ForecastRecord]:
    """Submit a small forecast to the `database` fixture; takes `key`, `owner` and fields of the request."""
    return partial(submit_small, database, tmp_path)
