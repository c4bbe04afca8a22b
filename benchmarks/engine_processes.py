"""What the engine does in processes of their own: two workers at one forecast, and the memory that one holds."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.engine_peers import Bare, Plain
from benchmarks.engine_place import Place
from jobs.forecasts import look_up
from jobs.states import OPEN
from models.checkpoint import load_checkpoint
from models.execution import Execution
from workers.allocator import keep_freed_memory
from workers.runtime import Runtime

_LOOK_SECONDS, _IDLE_SECONDS = 0.002, 0.01
_ASK_SECONDS = 1.0
"""Between two questions whether a forecast has ended: each takes time from the workers."""
_START_SECONDS = 300
_WARM_UP = 6
"""So many forecasts until the allocator of a worker has found the room that it goes on with."""
_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True)
class Size:
    """A forecast's size."""

    members: int
    num_lead_times: int
    nfe: int


def two_workers(folder: Path, checkpoint: Path, size: Size, repeats: int) -> float:
    """Return the time of a forecast's evaluations alone by two processes over that of it by two one-thread workers.

    Both are those of the slower process. They take turns, and the median of all turns counts: a machine's speed changes
    by the minute, and from core to core.
    """
    context = multiprocessing.get_context("spawn")
    awake, over, spent = context.Event(), context.Event(), context.Queue()
    with Place.of(folder, checkpoint, threads=1) as place:
        work_begins, workers = _begin(_work, awake, over, folder, checkpoint)
        begin, peers = _begin(_evaluate, checkpoint, size, spent, repeats)
        work_begins.wait(_START_SECONDS)
        ratios: list[float] = []
        for _ in range(repeats):
            awake.set()
            shared = _seconds(place, size)
            awake.clear()
            begin.wait(_START_SECONDS)
            ratios.append(max(spent.get(timeout=_START_SECONDS) for _ in peers) / shared)
        over.set()
        _join(workers + peers)
    return median(ratios)


@contextmanager
def plain_loop(checkpoint: Path) -> Iterator[Callable[[Path, Size], float]]:
    """Give what runs the plain loop of this process's threads to a store, and returns its seconds."""
    context = multiprocessing.get_context("spawn")
    asked: Queue[tuple[Path, Size] | None] = context.Queue()
    spent: Queue[float] = context.Queue()
    process = context.Process(target=_loop, args=(checkpoint, torch.get_num_threads(), asked, spent), daemon=True)
    process.start()

    def run(store: Path, size: Size) -> float:
        asked.put((store, size))
        return spent.get(timeout=1200)

    yield run
    asked.put(None)
    _join([process])


def peak_bytes(folder: Path, checkpoint: Path, sizes: list[Size]) -> list[int]:
    """Return the resident bytes of a worker at their highest during a forecast of each size, once it is warmed up."""
    context = multiprocessing.get_context("spawn")
    peaks: Queue[int] = context.Queue()
    process = context.Process(target=_measure, args=(folder, checkpoint, sizes, peaks))
    process.start()
    found = [peaks.get(timeout=1200) for _ in sizes]
    process.join()
    return found


def _begin(target: Callable[..., None], *arguments: Any) -> tuple[Barrier, list[Any]]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=target, args=(barrier, *arguments), daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    return barrier, processes


def _join(processes: list[Any]) -> None:
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _seconds(place: Place, size: Size) -> float:
    """Submit a forecast and return the seconds from then until it had ended, by the database's clock."""
    forecast_id = place.submit(members=size.members, num_lead_times=size.num_lead_times, nfe=size.nfe)
    while (record := look_up(place.database, forecast_id)).status in OPEN:
        time.sleep(_ASK_SECONDS)
    assert record.finished is not None
    return record.finished - record.created


def _work(barrier: Barrier, awake: Event, over: Event, folder: Path, checkpoint: Path) -> None:
    """Work where `folder` says, while awake, until it is over."""
    with Place.of(folder, checkpoint, threads=1) as place:
        runtime = Runtime(place.settings, place.database)
        runtime.run()
        barrier.wait(_START_SECONDS)
        while not over.is_set():
            if awake.wait(_ASK_SECONDS) and not runtime.run():
                time.sleep(_IDLE_SECONDS)


def _evaluate(barrier: Barrier, checkpoint: Path, size: Size, spent: "Queue[float]", repeats: int) -> None:
    """Make half of a forecast's evaluations, again and again, with a worker's memory."""
    keep_freed_memory()
    torch.set_num_threads(1)
    networks, _ = load_checkpoint(checkpoint, torch.device("cpu"))
    bare = Bare(networks, Execution(), 8)
    bare.run(1, 1, 2)
    for _ in range(repeats):
        barrier.wait(_START_SECONDS)
        spent.put(bare.run(size.members // 16, size.num_lead_times, size.nfe))


def _loop(checkpoint: Path, threads: int, asked: "Queue[tuple[Path, Size] | None]", spent: "Queue[float]") -> None:
    torch.set_num_threads(threads)
    plain = Plain(load_checkpoint(checkpoint, torch.device("cpu"))[0])
    while task := asked.get():
        store, size = task
        spent.put(plain.run(store, size.members, size.num_lead_times, size.nfe, 8))


def _measure(folder: Path, checkpoint: Path, sizes: list[Size], peaks: "Queue[int]") -> None:
    with Place.of(folder, checkpoint, threads=1) as place:
        runtime = Runtime(place.settings, place.database)
        for _ in range(_WARM_UP):
            place.run(runtime, members=8, num_lead_times=10, nfe=2)
        for size in sizes:
            asked = {"members": size.members, "num_lead_times": size.num_lead_times, "nfe": size.nfe}
            peaks.put(_peak(partial(place.run, runtime, **asked)))


def _peak(work: Callable[[], object]) -> int:
    """Return the most resident bytes of this process while `work` runs."""
    over, highest = threading.Event(), [_resident()]

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            highest.append(max(highest.pop(), _resident()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    over.set()
    watcher.join()
    return highest[0]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
