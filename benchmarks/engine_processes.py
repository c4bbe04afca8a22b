"""Measurements that need separate processes: two workers on one forecast, the plain loop, and peak memory."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from queue import Empty
from statistics import median
from typing import Any, TypeVar

import torch

from benchmarks.engine_peers import BareEvaluations, PlainLoop
from benchmarks.measurement import peak_resident_bytes
from benchmarks.workbench import Workbench
from jobs.forecasts import read_forecast
from jobs.rows.states import OPEN
from models.checkpoint import load_checkpoint
from models.execution import Execution
from storage.errors import WarmcastError
from workers.device import keep_freed_memory
from workers.loop import Worker

_IDLE_SECONDS = 0.01
_POLL_SECONDS = 1.0
"""Interval between queries whether a forecast has ended; long, because each query takes time from the workers."""
_START_SECONDS = 300

T = TypeVar("T")


class BenchmarkError(WarmcastError):
    """A process of the benchmark failed."""


@dataclass(frozen=True)
class Size:
    """The size of a forecast."""

    members: int
    num_lead_times: int
    nfe: int


def measure_two_workers(folder: Path, checkpoint: Path, size: Size, repeats: int) -> float:
    """Return the time of a forecast's evaluations alone over that of the forecast, both on two one-thread processes.

    The slower of the two processes counts. Both quantities are measured alternately, and the median of their ratios is
    returned, because the speed of a machine varies over minutes and between cores.
    """
    context = _context()
    active, stopped, durations = context.Event(), context.Event(), context.Queue()
    with Workbench.open(folder, checkpoint, threads=1) as bench:
        worker_barrier, workers = _start_pair(_run_worker, active, stopped, folder, checkpoint)
        peer_barrier, peers = _start_pair(_run_evaluations, checkpoint, size, durations, repeats)
        worker_barrier.wait(_START_SECONDS)
        ratios: list[float] = []
        for _ in range(repeats):
            active.set()
            shared = _seconds(bench, size, workers)
            active.clear()
            peer_barrier.wait(_START_SECONDS)
            ratios.append(max(receive(durations, peers) for _ in peers) / shared)
        stopped.set()
        _join_all(workers + peers)
    return median(ratios)


@contextmanager
def start_plain_loop(checkpoint: Path) -> Iterator[Callable[[Path, Size], float]]:
    """Start a process for the plain loop; yield a function that runs it to a store and returns the seconds."""
    context = _context()
    tasks: Queue[tuple[Path, Size] | None] = context.Queue()
    durations: Queue[float] = context.Queue()
    process = context.Process(
        target=_run_plain_loop, args=(checkpoint, torch.get_num_threads(), tasks, durations), daemon=True
    )
    process.start()

    def run(store: Path, size: Size) -> float:
        tasks.put((store, size))
        return receive(durations, [process])

    yield run
    tasks.put(None)
    _join_all([process])


def measure_peak_bytes(folder: Path, checkpoint: Path, sizes: list[Size], warm_ups: int) -> list[int]:
    """Return the peak of resident bytes of a worker during a forecast of each size, after `warm_ups` others.

    After 6 forecasts the memory allocator of a worker has reached its steady state.
    """
    context = _context()
    peaks: Queue[int] = context.Queue()
    process = context.Process(target=_run_forecasts, args=(folder, checkpoint, sizes, warm_ups, peaks))
    process.start()
    measured = [receive(peaks, [process]) for _ in sizes]
    _join_all([process])
    return measured


def receive(results: "Queue[T]", processes: list[Any], seconds: float = 1200) -> T:
    """Return the next result that one of `processes` puts into `results`.

    Raises `BenchmarkError` if a process ended with an exit code other than 0, or if no result arrives in `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return results.get(timeout=min(_POLL_SECONDS, seconds))
        except Empty:
            _check_processes(processes)
    raise BenchmarkError(f"A process of the benchmark sent no result within {seconds:g} s.")


def _context() -> ForkServerContext:
    """Return the context of processes that are forked from one that has imported this module, which takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _check_processes(processes: list[Any]) -> None:
    for process in processes:
        if process.exitcode:
            raise BenchmarkError(f"A process of the benchmark ended with code {process.exitcode}.")


def _start_pair(target: Callable[..., None], *arguments: Any) -> tuple[Barrier, list[Any]]:
    context = _context()
    barrier = context.Barrier(3)
    processes = [context.Process(target=target, args=(barrier, *arguments), daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    return barrier, processes


def _join_all(processes: list[Any]) -> None:
    for process in processes:
        process.join()
    _check_processes(processes)


def _seconds(bench: Workbench, size: Size, workers: list[Any]) -> float:
    """Submit a forecast and return the seconds from then until its end, by the database's clock."""
    forecast_id = bench.submit(members=size.members, num_lead_times=size.num_lead_times, nfe=size.nfe)
    while True:
        with bench.database.read() as connection:
            record = read_forecast(connection, forecast_id)
        if record.status not in OPEN:
            break
        _check_processes(workers)
        time.sleep(_POLL_SECONDS)
    assert record.finished is not None
    return record.finished - record.created


def _run_worker(barrier: Barrier, active: Event, stopped: Event, folder: Path, checkpoint: Path) -> None:
    """Run a worker on the data in `folder` while `active` is set, until `stopped` is set."""
    with Workbench.open(folder, checkpoint, threads=1) as bench:
        worker = Worker(bench.settings, bench.database)
        worker.run()
        barrier.wait(_START_SECONDS)
        while not stopped.is_set():
            if active.wait(_POLL_SECONDS) and not worker.run():
                time.sleep(_IDLE_SECONDS)


def _run_evaluations(barrier: Barrier, checkpoint: Path, size: Size, durations: "Queue[float]", repeats: int) -> None:
    """Evaluate the networks for half of a forecast, `repeats` times; put the seconds of each time into `durations`.

    Each time starts when all processes wait at `barrier`, so that they evaluate at once.
    """
    keep_freed_memory()
    torch.set_num_threads(1)
    networks, _ = load_checkpoint(checkpoint, torch.device("cpu"))
    bare = BareEvaluations(networks, Execution(), 8)
    bare.run(1, 1, 2)
    for _ in range(repeats):
        barrier.wait(_START_SECONDS)
        durations.put(bare.run(size.members // 16, size.num_lead_times, size.nfe))


def _run_plain_loop(
    checkpoint: Path, threads: int, tasks: "Queue[tuple[Path, Size] | None]", durations: "Queue[float]"
) -> None:
    torch.set_num_threads(threads)
    plain = PlainLoop(load_checkpoint(checkpoint, torch.device("cpu"))[0])
    while task := tasks.get():
        store, size = task
        durations.put(plain.run(store, size.members, size.num_lead_times, size.nfe, 8))


def _run_forecasts(folder: Path, checkpoint: Path, sizes: list[Size], warm_ups: int, peaks: "Queue[int]") -> None:
    with Workbench.open(folder, checkpoint, threads=1) as bench:
        worker = Worker(bench.settings, bench.database)
        for _ in range(warm_ups):
            bench.run(worker, members=8, num_lead_times=10, nfe=2)
        for size in sizes:
            forecast = {"members": size.members, "num_lead_times": size.num_lead_times, "nfe": size.nfe}
            peaks.put(peak_resident_bytes(partial(bench.run, worker, **forecast)))
