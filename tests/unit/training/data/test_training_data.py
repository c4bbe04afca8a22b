from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.data.loader import Loader
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from weather.features import feature_fields
from weather.grids import Grid
from weather.periods import select_times

GRID = Grid.from_coordinates(np.array([-67.5, -22.5, 22.5, 67.5]), np.arange(8) * 45.0)
CPU = torch.device("cpu")


def _data(times: NDArray[Any], hours: int, **options: Any) -> TrainingData:
    """Return frames whose values are their index."""
    frames = np.broadcast_to(np.arange(len(times))[:, None, None, None], (len(times), 2, 4, 8)).astype(np.float32)
    reader = MemoryFrames(GRID, ("u10", "v10"), times, frames, chunk_size=4)
    return TrainingData(reader, np.timedelta64(hours, "h"), **options)


def _times(first: str, count: int, hours: int) -> NDArray[Any]:
    return np.datetime64(first, "s") + np.arange(count) * np.timedelta64(hours, "h")


def test_all_frames_of_a_sample_are_in_the_years() -> None:
    data = _data(_times("2000-12-30T00", 9, 24), 24)
    assert data.sample_indices((2000, 2001)).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert data.sample_indices((2000,)).tolist() == []
    assert data.sample_indices((2001,)).tolist() == [3, 4, 5, 6, 7]
    assert data.sample_indices((1999,)).tolist() == data.sample_indices(()).tolist() == []


@pytest.mark.parametrize("hours", [6, 12, 24])
@pytest.mark.parametrize("context_frames", [2, 3])
def test_samples_of_every_phase_are_frames_one_time_step_apart(hours: int, context_frames: int) -> None:
    data = _data(_times("2001-01-01T00", 40, 6), hours, context_frames=context_frames)
    step, samples = hours // 6, data.sample_indices((2001,))
    assert samples.tolist() == list(range((context_frames - 1) * step, 40 - step))
    batch = data.batch(samples)
    assert len(batch.frames) == context_frames
    for age, frame in enumerate(batch.frames):
        assert frame[:, 0, 0, 0].tolist() == (samples - age * step).tolist()
    assert batch.target[:, 1, 3, 7].tolist() == (samples + step).tolist()


def test_a_gap_removes_only_the_samples_that_it_touches() -> None:
    whole = _times("2001-01-01T00", 40, 6)
    for hours in (6, 12):
        data = _data(np.delete(whole, 20), hours)
        step = hours // 6
        newest = {str(time) for time in data.valid_times[data.sample_indices((2001,))]}
        expected = {i for i in range(step, 40 - step) if 20 not in (i - step, i, i + step)}
        assert newest == {str(whole[i]) for i in expected}


def test_no_sample_of_a_record_of_runs_and_single_dates_crosses_a_gap_or_the_end_of_a_period() -> None:
    runs = [("2014-01-20T00", 1), ("2018-09-14T18", 21), ("2024-10-21T18", 1), ("2024-10-22T06", 8), ("2026-03-24", 60)]
    data = _data(np.concatenate([_times(first, count, 6) for first, count in runs]), 6)
    assert len(data.sample_indices(("2014-01-01/2026-12-31",))) == 19 + 6 + 58
    periods = ("2018-09-10/2018-09-16T12", "2024-10-20/2026-03-27")
    samples = data.sample_indices(periods)
    assert len(samples) == 6 + 6 + 14
    selected = data.valid_times[data.sample_frames(samples)]
    assert np.all(np.diff(selected, axis=0) == -np.timedelta64(6, "h"))
    assert np.all(select_times(selected, periods))


def test_frames_some_steps_later_are_found_by_time() -> None:
    data = _data(np.delete(_times("2001-01-01T00", 10, 6), 4), 12)
    found = data.shift(np.arange(9), 2)
    for index, other in enumerate(found):
        wanted = data.valid_times[index] + np.timedelta64(24, "h")
        assert (wanted in data.valid_times) == (other >= 0)
        assert other < 0 or data.valid_times[other] == wanted
    assert data.shift(np.array([-1, 0]), 1).tolist()[0] == -1


def test_features_are_those_of_the_newest_frames() -> None:
    data = _data(_times("2001-01-01T00", 40, 6), 6, features=("season_sin", "insolation"))
    batch = data.batch(np.array([7, 30]))
    for row, index in enumerate((7, 30)):
        expected = feature_fields(("season_sin", "insolation"), GRID, data.valid_times[index])
        np.testing.assert_array_equal(batch.features[row].numpy(), expected)


def test_parts_of_a_batch_are_its_samples() -> None:
    batch = _data(_times("2001-01-01T00", 40, 6), 6).batch(np.array([3, 9, 5]))
    part = batch.part(slice(1, 3))
    assert len(part) == 2
    assert part.target[:, 0, 0, 0].tolist() == [10, 6]
    assert part.frames[1][:, 0, 0, 0].tolist() == [8, 4]


def test_the_loader_yields_the_batches_of_its_steps_in_order() -> None:
    data = _data(_times("2001-01-01T00", 40, 6), 6)
    with Loader(data, lambda step: np.array([step, step + 1]), range(3, 9), CPU) as batches:
        newest = [batch.frames[0][:, 0, 0, 0].tolist() for batch in batches]
    assert newest == [[step, step + 1] for step in range(3, 9)]


@pytest.mark.parametrize("is_kept", [True, False])
def test_further_time_steps_follow_the_target_in_order(is_kept: bool) -> None:
    times = np.delete(_times("2001-01-01T00", 40, 6), 20)
    data = _data(times, 6, features=("season_sin",))
    if is_kept:
        data.keep("host", CPU)
    followed = data.followed_by(3)
    samples = followed.sample_indices((2001,))
    assert len(data.sample_indices((2001,))) == 35
    assert samples.tolist() == [*range(1, 16), *range(21, 35)]
    batches = [followed.batch(samples[:8])]
    with Loader(followed, lambda _: samples[:8], range(1), CPU) as loader:
        batches += loader
    for batch in batches:
        assert [frame[:, 0, 0, 0].tolist() for frame in batch.frames] == [[*range(1, 9)], [*range(8)]]
        for step, following in enumerate(batch.following, start=1):
            assert following.target[:, 0, 0, 0].tolist() == [*range(2 + step, 10 + step)]
            expected = [feature_fields(("season_sin",), GRID, times[index + step])[0] for index in samples[:8]]
            np.testing.assert_array_equal(following.features[:, 0], expected)
        assert batch.target[:, 0, 0, 0].tolist() == [*range(2, 10)]
        assert [len(part.following[2].target) for part in (batch, batch.part(slice(2, 5)))] == [8, 3]
