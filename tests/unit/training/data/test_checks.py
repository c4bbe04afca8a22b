from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.data.checks import check_frames
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from weather.errors import TrainingDataError
from weather.grids import gaussian_grid
from weather.testing import travelling_waves

GRID = gaussian_grid("t21")
TIMES = np.datetime64("2018-12-30T00", "s") + np.arange(80) * np.timedelta64(6, "h")
Frames = NDArray[np.float32]


def _data(spoil: Callable[[Frames], Any] = lambda _: None, *, kept: bool = True) -> TrainingData:
    """Return waves over the turn of a year, spoilt by a function that changes them in place."""
    waves = travelling_waves(GRID, list(TIMES))
    frames = np.stack([waves[name].values for name in ("u10", "v10")], axis=1).astype(np.float32)
    spoil(frames)
    data = TrainingData(MemoryFrames(GRID, ("u10", "v10"), TIMES, frames), np.timedelta64(6, "h"))
    data.keep("host" if kept else "stream", torch.device("cpu"))
    return data


def _repeat(frames: Frames) -> None:
    frames[64, 1] = frames[63, 1]


def _flatten(frames: Frames) -> None:
    frames[70, 0] = 3.0


def _exceed(frames: Frames) -> None:
    frames[3, 1, 5, 6] = 400.0


def _blank(frames: Frames) -> None:
    frames[79, 0, 8:20, 10:40] = 0.0


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_repeat, "`v10` is the same at 2019-01-14T18:00 and 2019-01-15T00:00, at every point"),
        (_flatten, "`u10` at 2019-01-16T12:00 is 3 m s-1 everywhere"),
        (_exceed, "`v10` must be within -150 and 150 m s-1 at 2018-12-30T18:00. Got: "),
        (_blank, "`u10` at 2019-01-18T18:00 is 0 m s-1 at all points around "),
    ],
)
def test_frames_that_are_no_weather_are_named_unless_the_periods_leave_them_out(
    spoil: Callable[[Frames], None], named: str
) -> None:
    with pytest.raises(TrainingDataError) as refused:
        check_frames(_data(spoil), (2018, 2019))
    assert named in str(refused.value)
    assert "give the years of `data` as periods without them" in str(refused.value)
    check_frames(_data(spoil), ("2018-12-31/2019-01-14T12",))


def test_weather_passes_whatever_its_gaps() -> None:
    check_frames(_data(), (2018, 2019))
    check_frames(_data(), ("2018-12-30/2018-12-31", "2019-01-10"))
    check_frames(_data(), (1990,))


def test_frames_that_are_streamed_are_not_read_for_it() -> None:
    check_frames(_data(_repeat, kept=False), (2018, 2019))


def test_few_of_many_problems_are_named() -> None:
    def spoil(frames: Frames) -> None:
        frames[:] = 1.0

    with pytest.raises(TrainingDataError) as refused:
        check_frames(_data(spoil), (2018, 2019))
    assert "There are 313 more." in str(refused.value)
    assert len(str(refused.value)) < 1000
