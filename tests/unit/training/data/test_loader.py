import threading
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from storage.errors import ConfigurationError
from training.data.loader import Loader
from training.data.memory import MemoryPlan
from training.data.order import SampleOrder
from training.data.testing import MemoryFrames
from training.data.training_data import TrainingData
from weather.errors import TrainingDataError
from weather.grids import Grid

GRID = Grid.from_coordinates(np.array([-67.5, -22.5, 22.5, 67.5]), np.arange(8) * 45.0)
CPU = torch.device("cpu")
FRAME_BYTES = 2 * 4 * 8 * 4
YEARS = (2001,)


class _Watched(MemoryFrames):
    """Frames that count how often each chunk is read."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.reads = Counter[int]()

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        self.reads.update(np.unique(self.chunk_ids[indices]).tolist())
        return super().read(indices)


def _data(count: int, chunk_size: int, hours: int = 6, gap: int | None = None) -> TrainingData:
    """Return frames of 2001 whose values are the number of the frame."""
    times = np.datetime64("2001-01-01T00", "s") + np.arange(count) * np.timedelta64(6, "h")
    frames = np.broadcast_to(np.arange(count)[:, None, None, None], (count, 2, 4, 8)).astype(np.float32)
    if gap is not None:
        times, frames = np.delete(times, gap), np.delete(frames, gap, axis=0)
    reader = _Watched(GRID, ("u10", "v10"), times, frames, chunk_size)
    return TrainingData(reader, np.timedelta64(hours, "h"), features=("season_sin",))


def _memory_bytes(frames: int, chunk_size: int) -> int:
    """Return the memory for about so many frames in the pool."""
    return FRAME_BYTES * (frames + 60) + 5 * 4 * chunk_size * FRAME_BYTES


@pytest.mark.parametrize("hours", [6, 24])
@pytest.mark.parametrize("chunk_size", [1, 8, 40])
def test_an_epoch_has_every_sample_once_in_random_order(hours: int, chunk_size: int) -> None:
    data, batch_size = _data(1000, chunk_size, hours), 8
    order = SampleOrder(data, YEARS, batch_size, 0, _memory_bytes(300, chunk_size))
    samples = data.sample_indices(YEARS)
    for epoch in range(2):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        found = np.concatenate([order.indices(step) for step in steps])
        assert len(set(found.tolist())) == len(found) == len(samples) // batch_size * batch_size
        assert set(found.tolist()) <= set(samples.tolist())
    assert order.indices(0).tolist() != order.indices(order.steps_per_epoch).tolist()


def test_data_in_memory_is_permuted_as_a_whole() -> None:
    data = _data(200, 8)
    data.keep("host", CPU)
    order = SampleOrder(data, YEARS, 16, 0, 1)
    assert (order.lanes, order.reach) == (1, 198)
    assert np.ptp(order.indices(0)) > 120


@pytest.mark.parametrize("chunk_size", [1, 8])
def test_the_batches_are_those_of_the_data_in_bounded_memory(chunk_size: int) -> None:
    data, memory_bytes = _data(800, chunk_size, gap=333), _memory_bytes(240, chunk_size)
    order = SampleOrder(data, YEARS, 8, 1, memory_bytes)
    assert MemoryPlan.of(data, memory_bytes, 8).pool_frames < 400
    steps = range(3, 3 + 2 * order.steps_per_epoch)
    with Loader(data, order.indices, steps, CPU, memory_bytes) as batches:
        for step, batch in zip(steps, batches, strict=True):
            expected = data.batch(order.indices(step))
            for got, wanted in zip(
                (*batch.frames, batch.target, batch.features),
                (*expected.frames, expected.target, expected.features),
                strict=True,
            ):
                assert torch.equal(got, wanted)


def test_a_chunk_is_read_about_once_an_epoch() -> None:
    data, memory_bytes = _data(2000, 8), _memory_bytes(600, 8)
    order = SampleOrder(data, YEARS, 8, 0, memory_bytes)
    steps = range(order.steps_per_epoch)
    with Loader(data, order.indices, steps, CPU, memory_bytes) as batches:
        assert sum(1 for _ in batches) == len(steps)
    reads = cast("_Watched", data.reader).reads
    assert len(reads) == 183
    assert sum(reads.values()) / len(reads) < 2.2
    assert max(reads.values()) <= 6


def test_shares_of_two_processes_are_the_batch_of_one_and_read_different_chunks() -> None:
    data, memory_bytes = _data(2000, 8), _memory_bytes(600, 8)
    order = SampleOrder(data, YEARS, 8, 0, memory_bytes)
    assert order.lanes > 1
    chunks = [set[int](), set[int]()]
    for step in range(20):
        for share in (0, 1):
            part = order.indices(step)[4 * share : 4 * share + 4]
            chunks[share] |= set(data.reader.chunk_ids[part].tolist())
    assert len(chunks[0] & chunks[1]) < 0.2 * len(chunks[0])


def test_an_interrupted_loader_continues_with_the_same_batches() -> None:
    data, memory_bytes = _data(400, 8), _memory_bytes(200, 8)
    order = SampleOrder(data, YEARS, 8, 0, memory_bytes)
    with Loader(data, order.indices, range(30), CPU, memory_bytes) as batches:
        whole = [batch.target for batch in batches]
    again = SampleOrder(data, YEARS, 8, 0, memory_bytes)
    with Loader(data, again.indices, range(11, 30), CPU, memory_bytes) as batches:
        for first, second in zip(whole[11:], batches, strict=True):
            assert torch.equal(first, second.target)


@pytest.mark.parametrize("keep", ["host", "device"])
def test_frames_in_memory_give_the_same_batches(keep: Any) -> None:
    data = _data(100, 8)
    expected = data.batch(np.array([4, 50]))
    assert data.keep(keep, CPU) == "host"
    with Loader(data, lambda _: np.array([4, 50]), range(2), CPU) as batches:
        assert all(torch.equal(batch.target, expected.target) for batch in batches)
    assert torch.equal(data.batch(np.array([4, 50])).frames[1], expected.frames[1])


def test_frames_are_kept_if_they_fit() -> None:
    assert _data(100, 8).keep("auto", CPU, 100 * FRAME_BYTES) == "host"
    assert _data(100, 8).keep("auto", CPU, 99 * FRAME_BYTES) == "stream"


def test_an_error_of_a_thread_is_raised_by_the_step_and_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    data = _data(400, 8)
    good = data.reader.read

    def read(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        if 200 in indices:
            raise TrainingDataError("`u10` is not finite")
        return good(indices)

    monkeypatch.setattr(data.reader, "read", read)
    before, steps = threading.active_count(), range(300)
    done = list[int]()
    with Loader(data, lambda step: np.array([step + 1]), steps, CPU, _memory_bytes(40, 8)) as batches:
        counted = (done.append(step) for step, _ in enumerate(batches))
        with pytest.raises(TrainingDataError, match="`u10` is not finite"):
            list(counted)
    assert 150 < len(done) < 200
    assert threading.active_count() == before


def test_a_loader_that_is_left_early_ends_its_threads() -> None:
    data, before = _data(400, 8), threading.active_count()
    with Loader(data, lambda step: np.array([step + 1]), range(300), CPU, _memory_bytes(60, 8)) as batches:
        next(iter(batches))
    assert threading.active_count() == before


def test_too_little_memory_is_refused_with_the_least_that_is_enough() -> None:
    data = _data(400, 100)
    with pytest.raises(ConfigurationError, match=r"must be at least 0\.\d+ GiB .* chunks of 100 frames\. Got: 0\.000"):
        SampleOrder(data, YEARS, 8, 0, 1000)
    with pytest.raises(ConfigurationError, match=r"`batch_size` must be at most the number of samples, 398\. Got: 500"):
        SampleOrder(data, YEARS, 500, 0, 1 << 30)


@pytest.mark.parametrize("keep", ["device", "stream"])
def test_batches_are_made_on_a_device_that_is_not_the_cpu(keep: Any) -> None:
    data, device, indices = _data(400, 8), torch.device("meta"), np.array([3, 9, 200])
    assert data.keep(keep, device) == keep
    assert (data.kept is not None and data.kept.device.type == "meta") == (keep == "device")
    with Loader(data, lambda _: indices, range(2), device, _memory_bytes(300, 8)) as batches:
        for batch in batches:
            for part in (*batch.frames, batch.target):
                assert (part.device, part.dtype, part.shape) == (device, torch.float32, (3, 2, 4, 8))
            assert (batch.features.device, batch.features.shape) == (device, (3, 1, 4, 8))
