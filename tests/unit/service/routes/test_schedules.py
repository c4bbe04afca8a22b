"""Schedules over HTTP: made, changed, paused, listed and deleted; what they submit, and their newest forecast."""

from pathlib import Path

import numpy as np
import pytest

from jobs.rows.database import Database
from tests.clock import MovableClock
from tests.simulated import Waves, install_waves

pytestmark = pytest.mark.usefixtures("threads")

HOUR = 3600
_SMALL = {"model": "untrained", "members": 2, "lead_time": "12h", "sampler": {"nfe": 2}}


@pytest.fixture
def waves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Waves:
    return install_waves(tmp_path, monkeypatch)


def _now(database: Database, clock: MovableClock) -> np.datetime64:
    del clock
    from jobs.schedule_runs import read_clock

    with database.read() as connection:
        return np.datetime64(int(read_clock(connection)), "s")
