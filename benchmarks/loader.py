"""`warmcast bench loader`: memory and speed of the loader of training data over a store that does not fit in memory."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr

from benchmarks.measurement import publish_results, resident_bytes
from training.data.loader import Loader
from training.data.loading import load_training_data
from training.data.memory import MemoryPlan
from training.data.order import SampleOrder
from training.data.standin import make_store

_VARIABLES = {"u10": "10m_u_component_of_wind", "v10": "10m_v_component_of_wind"}
_BATCH_SIZE = 16


@dataclass(frozen=True)
class _Size:
    grid: str
    times: int
    chunk_times: int
    memory_bytes: int


_FULL = _Size("240x121", 18_496, 8, 1 << 30)
"""4 GiB of values, and a loader of 1 GiB."""
_TINY = _Size("64x32", 800, 8, 6 << 20)


def bench_loader(*, json: Path | None, tiny: bool) -> dict[str, Any]:
    """Load an epoch of 10 m wind from a store of WeatherBench 2's layout, of four times the loader's memory.

    Ratios: the largest resident memory in the last twentieth of the epoch over that in the second one; the loader's own
    memory over what it is given; samples a second over the frames a second of reading every chunk once, with as many
    threads, by Zarr alone; and chunks read over chunks in the store. `tiny` makes everything small for tests; its
    results mean nothing.
    """
    size = _TINY if tiny else _FULL
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder:
        path = Path(folder) / "era5.zarr"
        names = tuple(_VARIABLES.values())
        make_store(path, size.grid, times=size.times, chunk_times=size.chunk_times, variables=names)
        epoch = _load_epoch(path, size)
        bare_seconds = _read_chunks(path, epoch["threads"])
    gigabytes = 4 * len(_VARIABLES) * np.prod([int(side) for side in size.grid.split("x")]) * size.times / 2**30
    ratios = {
        "memory_growth": epoch["last_bytes"] / epoch["tenth_bytes"],
        "memory_share": (epoch["largest_bytes"] - epoch["first_bytes"]) / size.memory_bytes,
        "bare_ratio": bare_seconds / epoch["seconds"],
        "reads_a_chunk": epoch["reads_a_chunk"],
    }
    rows = [
        {"": "loader, samples a second", "value": epoch["samples"] / epoch["seconds"]},
        {"": "chunks alone, frames a second", "value": size.times / bare_seconds},
        {"": "resident MB before the loader", "value": epoch["first_bytes"] / 1e6},
        {"": "resident MB before 10 %", "value": epoch["tenth_bytes"] / 1e6},
        {"": "resident MB before 100 %", "value": epoch["last_bytes"] / 1e6},
    ]
    title = f"An epoch over {gigabytes:.3g} GiB with {size.memory_bytes / 2**30:.3g} GiB of memory"
    return publish_results(title, rows, ratios, json)


def _load_epoch(path: Path, size: _Size) -> dict[str, Any]:
    """Load an epoch, and return its duration, samples, resident memory on the way, and how often chunks are read."""
    with load_training_data([path], tuple(_VARIABLES), features=("sin_latitude",)) as data:
        years = tuple(set((data.valid_times.astype("datetime64[Y]").astype(int) + 1970).tolist()))
        order = SampleOrder(data, years, _BATCH_SIZE, 0, size.memory_bytes)
        threads = MemoryPlan.of(data, size.memory_bytes, _BATCH_SIZE).num_threads
        chunks, read = list[int](), data.reader.read

        def count(indices: Any) -> Any:
            chunks.append(len(np.unique(data.reader.chunk_ids[indices])))
            return read(indices)

        data.reader.read = count  # type: ignore[method-assign]  # counts the chunks
        steps = range(order.steps_per_epoch)
        first_bytes, measured, part = resident_bytes(), list[int](), len(steps) // 20
        started = time.perf_counter()
        with Loader(data, order.indices, steps, torch.device("cpu"), size.memory_bytes) as batches:
            for _ in batches:
                measured.append(resident_bytes())
        seconds = time.perf_counter() - started
        return {
            "seconds": seconds,
            "samples": len(steps) * _BATCH_SIZE,
            "threads": threads,
            "first_bytes": first_bytes,
            "tenth_bytes": max(measured[part : 2 * part]),
            "last_bytes": max(measured[-part - 4 : -4]),
            "largest_bytes": max(measured),
            "reads_a_chunk": sum(chunks) / (int(data.reader.chunk_ids[-1]) + 1),
        }


def _read_chunks(path: Path, threads: int) -> float:
    """Return the seconds in which Zarr alone reads every chunk of the variables once, in order."""
    group: Any = zarr.open_group(path, mode="r")
    arrays = [group[name] for name in _VARIABLES.values()]
    chunk = arrays[0].chunks[0]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for array in arrays:
            starts = range(0, array.shape[0], chunk)
            for _ in pool.map(partial(_read_chunk, array, chunk), starts):
                pass
    return time.perf_counter() - started


def _read_chunk(array: Any, chunk: int, start: int) -> float:
    return float(array[start : start + chunk][0, 0, 0])
