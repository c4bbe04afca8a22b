import numpy as np
import pytest

from training.data.frames import list_runs


@pytest.mark.parametrize("max_frames", [1, 3, 8, 100])
@pytest.mark.parametrize("chunk_size", [1, 4, 50])
def test_runs_are_whole_adjacent_chunks_of_limited_size(max_frames: int, chunk_size: int) -> None:
    chunk_ids = np.arange(37) // chunk_size
    indices = np.delete(np.arange(37), np.arange(9, 17))
    runs = list(list_runs(indices, chunk_ids, max_frames))
    assert np.concatenate(runs).tolist() == indices.tolist()
    owners = [set(chunk_ids[run].tolist()) for run in runs]
    assert sum(map(len, owners)) == len(set.union(*owners))
    for run, chunks in zip(runs, owners, strict=True):
        assert len(run) <= max_frames or len(chunks) == 1
        assert max(chunks) - min(chunks) < len(chunks)


def test_no_frames_make_no_run() -> None:
    assert list(list_runs(np.empty(0, np.int64), np.arange(3), 2)) == []
