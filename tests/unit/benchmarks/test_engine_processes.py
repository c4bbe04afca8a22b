import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from benchmarks.engine_processes import BenchmarkError, Size, receive, start_plain_loop


@pytest.fixture
def results() -> Iterator["Queue[float]"]:
    queue: Queue[float] = multiprocessing.get_context("spawn").Queue()
    yield queue
    queue.close()


def _start(target: Any, *arguments: object) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def test_the_result_of_a_process_is_received_after_it_has_ended(results: "Queue[float]") -> None:
    results.put(2.5)
    process = _start(os.getpid)
    process.join()
    assert receive(results, [process]) == 2.5


def test_results_are_received_in_their_order(results: "Queue[float]") -> None:
    for value in (1.0, 2.0, 3.0):
        results.put(value)
    assert [receive(results, []) for _ in range(3)] == [1, 2, 3]


def test_a_process_that_fails_ends_the_wait_with_its_exit_code(results: "Queue[float]") -> None:
    ended, failed = _start(os.getpid), _start(os._exit, 7)
    for process in (ended, failed):
        process.join()
    with pytest.raises(BenchmarkError, match=r"ended with code 7"):
        receive(results, [ended, failed])


def test_a_process_that_is_killed_ends_the_wait(results: "Queue[float]") -> None:
    process = _start(time.sleep, 60)
    process.kill()
    process.join()
    with pytest.raises(BenchmarkError, match=r"ended with code -9"):
        receive(results, [process])


def test_a_result_that_never_arrives_is_awaited_no_longer_than_its_limit(results: "Queue[float]") -> None:
    with pytest.raises(BenchmarkError, match=r"sent no result within 0\.01 s"):
        receive(results, [], seconds=0.01)


def test_the_plain_loop_runs_in_a_process_of_its_own_until_the_block_ends(
    untrained_checkpoint: Path, tmp_path: Path
) -> None:
    before = set(multiprocessing.active_children())
    with start_plain_loop(untrained_checkpoint) as plain:
        assert len(set(multiprocessing.active_children()) - before) == 1
        for name, members in (("a", 3), ("b", 9)):
            assert plain(tmp_path / f"{name}.zarr", Size(members, 2, 2)) > 0
    assert set(multiprocessing.active_children()) <= before
    for name, members in (("a", 3), ("b", 9)):
        with xr.open_zarr(tmp_path / f"{name}.zarr", consolidated=False) as ensemble:
            assert ensemble.u10.shape == (2, members, 16, 32)
            assert np.isfinite(ensemble.u10.values).all()
