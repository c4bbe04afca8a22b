"""`warmcast bench engine --host-only`: what a worker's host does for a forecast, with a device that costs nothing."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import host_path_process
from benchmarks.engine_processes import BenchmarkError
from benchmarks.host_path_process import NOISE_SHARE
from benchmarks.measurement import publish_results
from benchmarks.workbench import write_untrained_checkpoint
from models.noise import ForecastNoise, NoiseStream
from weather.manifest import WHITE, read_manifest
from weather.stores.chunks import ChunkFormat


@dataclass(frozen=True)
class _Sizes:
    """Grid and members of the forecasts that are measured, their numbers of lead times, and how often they run.

    After about ten forecasts the memory allocator of a process has reached its steady state.
    """

    grid: tuple[int, int]
    members: int
    short: int
    long: int
    repeats: int
    warm_ups: int


_WHOLE = _Sizes((121, 240), 50, 10, 60, repeats=5, warm_ups=6)
_TINY = _Sizes((17, 32), 4, 2, 4, repeats=1, warm_ups=0)
_START_LEAD_TIMES = 2
_PHASES = ("encode", "write", "wait", "diagnostics", "summary")
"""Phases whose shares of the time are in the table: several threads may be in the first at once."""


def bench_host_path(*, json_path: Path | None, tiny: bool, threads: int | None, against: Path | None) -> dict[str, Any]:
    """Time forecasts of 50 members on 121 × 240 with a device whose step only adds noise to its input.

    Diagnostics and summary count as work of the device and are left out, but in the rows with `products`.

    - `host_ratio`: time of a lead time over that of drawing the same noise, and of encoding and writing the same
      chunks, each flushed to the disk, with as many threads and nothing else.
    - `before_ratio`, `before_products_ratio`: time of a lead time in the tree `against` over that in this one, without
      and with diagnostics and summary; for a checkout of the code before a change.
    - `host_memory_growth`: peak of resident memory of 60 lead times over that of six times 10.
    """
    sizes, count = _TINY if tiny else _WHOLE, threads or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="warmcast-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        checkpoint = write_untrained_checkpoint(work / "untrained", *sizes.grid)
        trees = {"this": None} if against is None else {"before": against, "this": None}
        hosts: list[_Host] = []
        for tree, path in trees.items():
            host = stack.enter_context(_Host.start(work / tree, checkpoint, count, tree, path))
            host.run(sizes.members, _START_LEAD_TIMES)
            hosts.insert(0, host)
        limit = stack.enter_context(_Limit.open(work / "limit", checkpoint, sizes, count))
        rows, growth = _measure(hosts, limit, sizes)
    title = (
        f"{sizes.members} members on {sizes.grid[0]} × {sizes.grid[1]}, a device that costs nothing, {count} threads"
    )
    return publish_results(title, rows, compute_host_ratios(rows) | {"host_memory_growth": growth}, json_path)


def compute_host_ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the ratios of the rows of `bench_host_path`; those of a tree before only if it was measured."""
    seconds = {(row["tree"], row["products"]): row["lead time s"] for row in rows}
    this, with_products = seconds["this", False], seconds["this", True]
    ratios = {"host_ratio": this / seconds["limit", False]}
    if ("before", False) in seconds:
        ratios["before_ratio"] = seconds["before", False] / this
        ratios["before_products_ratio"] = seconds["before", True] / with_products
    return ratios


@dataclass(frozen=True)
class _Host:
    """A process that computes forecasts on a free device with the packages of one tree."""

    tree: str
    process: "subprocess.Popen[bytes]"

    @classmethod
    @contextmanager
    def start(cls, data: Path, checkpoint: Path, threads: int, tree: str, packages: Path | None) -> Iterator["_Host"]:
        """Start the process with the packages in the folder `packages`, by default those of this process."""
        folder = Path(__file__).parents[1] if packages is None else packages.resolve()
        command = [sys.executable, host_path_process.__file__, data, checkpoint, threads]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        with subprocess.Popen(
            list(map(str, command)), env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        ) as process:
            yield cls(tree, process)
            assert process.stdin is not None
            process.stdin.close()

    def run(
        self, members: int, num_lead_times: int, *, products: bool = False, with_memory: bool = False
    ) -> dict[str, Any]:
        """Compute a forecast, and return what `ForecastRuns.run` does. Raises `BenchmarkError` if the process ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        command = json.dumps([members, num_lead_times, products, with_memory]) + "\n"
        with suppress(BrokenPipeError):
            self.process.stdin.write(command.encode())
        line = self.process.stdout.readline()
        if not line:
            raise BenchmarkError(f"The process of the tree `{self.tree}` ended with code {self.process.wait()}.")
        result: dict[str, Any] = json.loads(line)
        return result


class _Limit:
    """The least that a forecast takes: noise is drawn, and chunks are encoded, written and flushed to the disk."""

    def __init__(self, folder: Path, checkpoint: Path, sizes: _Sizes, threads: int) -> None:
        self._folder, self._members = folder, sizes.members
        bounds = np.linspace(0, sizes.members, threads + 1).astype(int).tolist()
        self._rows = [slice(*pair) for pair in itertools.pairwise(bounds)]
        model = read_manifest(checkpoint).model
        self._noise = ForecastNoise.of(model, WHITE, seed=0, init_time=np.datetime64("2018-09-15T00", "s"))
        self._format = ChunkFormat("field", (1, 1, sizes.members, *sizes.grid))
        self._drawing, self._writing = ThreadPoolExecutor(threads), ThreadPoolExecutor(threads)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, checkpoint: Path, sizes: _Sizes, threads: int) -> Iterator["_Limit"]:
        """Create the folder of chunks; the threads end with the context."""
        folder.mkdir()
        limit = cls(folder, checkpoint, sizes, threads)
        with limit._drawing, limit._writing:
            yield limit

    def run(self, num_lead_times: int) -> float:
        """Return the seconds for a forecast; chunks are written while the noise of the next lead time is drawn."""
        streams = [NoiseStream(self._noise, range(self._members)[rows]) for rows in self._rows]
        states = np.random.default_rng(0).normal(0, 5, (self._members, *self._noise.shape)).astype(np.float32)
        written: list[Future[None]] = []
        began = time.perf_counter()
        drawn = self._draw(streams)
        for lead_index in range(num_lead_times):
            noise = drawn()
            drawn = self._draw(streams)
            states = states + np.float32(NOISE_SHARE) * noise
            wait(written[: -states.shape[1]])
            written += [
                self._writing.submit(self._write, f"{lead_index}.{i}", states[:, i]) for i in range(states.shape[1])
            ]
        for each in written:
            each.result()
        seconds = time.perf_counter() - began
        drawn()
        return seconds

    def _draw(self, streams: Sequence[NoiseStream]) -> Callable[[], NDArray[np.float32]]:
        """Begin to draw the noise of a lead time; return a function that waits for it."""
        noise = np.empty((self._members, *self._noise.shape), np.float32)
        parts = [
            self._drawing.submit(stream.draw_into, noise[rows])
            for stream, rows in zip(streams, self._rows, strict=True)
        ]

        def result() -> NDArray[np.float32]:
            for part in parts:
                part.result()
            return noise

        return result

    def _write(self, name: str, values: NDArray[np.float32]) -> None:
        with (self._folder / name).open("wb") as file:
            file.write(self._format.encode(values))
            file.flush()
            os.fsync(file.fileno())


def _measure(hosts: Sequence[_Host], limit: _Limit, sizes: _Sizes) -> tuple[list[dict[str, Any]], float]:
    """Return a row for each process, the shortest of alternate runs, and the growth of memory in the first process."""
    limit.run(_START_LEAD_TIMES)
    best: dict[tuple[str, bool], dict[str, Any]] = {}
    for repeat in range(sizes.repeats):
        # what ran before costs a process up to a fifth: each is the first at times
        for host, products in itertools.product(hosts[:: 1 if repeat % 2 else -1], (False, True)):
            result = host.run(sizes.members, sizes.long, products=products)
            kept = best.setdefault((host.tree, products), result)
            best[host.tree, products] = min(result, kept, key=lambda each: float(each["seconds"]))
            shutil.rmtree(Path(result["store"]).parent, ignore_errors=True)
        seconds = limit.run(sizes.long)
        kept = best.setdefault(("limit", False), {"seconds": seconds, "phases": {}})
        kept["seconds"] = min(seconds, kept["seconds"])
    for _ in range(sizes.warm_ups):
        hosts[0].run(sizes.members, sizes.long)
    # as many lead times of each, because the peak depends on how far output lags behind, which varies
    short, long = (
        max(hosts[0].run(sizes.members, number, with_memory=True)["peak"] for _ in range(sizes.long // number))
        for number in (sizes.short, sizes.long)
    )
    field_bytes = 4 * sizes.members * 2 * sizes.grid[0] * sizes.grid[1]
    rows = [
        {
            "tree": tree,
            "products": products,
            "lead time s": result["seconds"] / sizes.long,
            "MB a second": field_bytes * sizes.long / result["seconds"] / 1e6,
            **{f"{phase} %": 100 * result["phases"].get(phase, 0.0) / result["seconds"] for phase in _PHASES},
        }
        for (tree, products), result in best.items()
    ]
    return rows, long / short
