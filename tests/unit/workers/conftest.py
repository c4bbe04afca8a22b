from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.rows.database import Database
from jobs.settings import Settings
from models.forecaster import Forecaster
from models.shapes import Frames
from workers.loop import Worker


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.of(data=tmp_path, device="cpu", lease_seconds=30, max_attempts=2)


@pytest.fixture
def worker(settings: Settings, database: Database) -> Worker:
    return Worker(settings, database)


@pytest.fixture
def lose_a_member(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the second member of every later rollout NaN from the second lead time on."""
    step = Forecaster.step

    def lose(forecaster: Forecaster, frames: Frames, valid_time: np.datetime64, noise: torch.Tensor) -> torch.Tensor:
        states = step(forecaster, frames, valid_time, noise)
        if valid_time == np.datetime64("2018-09-15T06", "s"):
            states = torch.where(torch.arange(len(states))[:, None, None, None] == 1, torch.nan, states)
        return states

    return lambda: monkeypatch.setattr(Forecaster, "step", lose)
