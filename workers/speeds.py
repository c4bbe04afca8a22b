"""How fast this worker is, and how much it holds: measured while it walks forecasts, told to the rows now and then."""

import logging
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import fmean, median

import torch
from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.folders import ForecastFolder
from jobs.planning import FIELDS_A_MEMBER, Machine, Speed, Storage
from jobs.request import ForecastRequest
from jobs.speeds import learn_speed, learn_storage
from weather.store import EnsembleStore
from weather.store_template import Layout

TELL_SECONDS = 10.0
"""How often a worker that walks a long forecast tells of its speed."""

_log = logging.getLogger(__name__)


@dataclass
class _Walk:
    """What was measured since it was last told; `beside` is what lies between the ends of two steps, less their own."""

    request: ForecastRequest
    held_bytes: int
    told: float
    ended: float | None = None
    warm_start: list[float] = field(default_factory=list)
    flow: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


class SpeedMeter:
    """Measures each walk of one process; `machine` is what its speeds hold for."""

    def __init__(self, database: Database, device: torch.device) -> None:
        kind = f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
        self.machine = Machine(kind[:100], torch.get_num_threads())
        self._database, self._device = database, device
        self._walk: _Walk | None = None
        self._used_to: set[tuple[str, int]] = set()

    @contextmanager
    def walking(self, request: ForecastRequest, layout: Layout) -> Iterator[None]:
        """Measure the steps until the end of the block; what was measured is told however it ends."""
        held = FIELDS_A_MEMBER * layout.size_bytes // layout.num_lead_times
        self._walk = _Walk(request, held, time.perf_counter())
        self._forget_peak()
        try:
            yield
        finally:
            self._tell(self._walk)
            self._walk = None

    def stepped(self, warm_start_seconds: float, flow_seconds: float, ended: float) -> None:
        """Hear what one lead time of a group took on the device, and when it ended; called by one thread.

        The first of a checkpoint and group size in a process is not counted: it also prepares the later ones.
        """
        walk = self._walk
        if walk is None:
            return
        if walk.ended is not None:
            walk.beside.append(ended - walk.ended - warm_start_seconds - flow_seconds)
        walk.ended = ended
        kind = (walk.request.checkpoint_digest, walk.request.group_size)
        if kind in self._used_to:
            if warm_start_seconds:  # groups that begin with the same state share their first one
                walk.warm_start.append(warm_start_seconds)
            walk.flow.append(flow_seconds)
        self._used_to.add(kind)
        if ended - walk.told > TELL_SECONDS:
            self._tell(walk)
            walk.told = ended

    def stored(self, request: ForecastRequest, store: EnsembleStore, folder: ForecastFolder, *, learn: bool) -> int:
        """Return the bytes of members on disk; where asked to `learn`, tell what they say of later ones."""
        sizes = {PurePosixPath(name): size_bytes for name, size_bytes in folder.store.files()}
        chunks = sum(
            size for path, size in sizes.items() if path.parts[0] in store.layout.variables and path.name != "zarr.json"
        )
        metadata = sum(size for path, size in sizes.items() if path.name == "zarr.json")
        if learn:
            storage = Storage(request.group_size, chunks / store.layout.size_bytes, metadata)
            with self._excused():
                learn_storage(self._database, request.checkpoint_digest, self.machine, storage)
        return sum(sizes.values())

    def _tell(self, walk: _Walk) -> None:
        request = walk.request
        if walk.warm_start and walk.flow and walk.beside:
            speed = Speed(
                request.group_size,
                median(walk.warm_start),
                median(walk.flow) / request.sampling.nfe,
                max(fmean(walk.beside), 0.0),
                max(self._peak() - walk.held_bytes, 0),
            )
            with self._excused():
                learn_speed(self._database, request.checkpoint_digest, self.machine, speed, len(walk.flow))
            for measured in (walk.warm_start, walk.flow, walk.beside):
                measured.clear()

    @contextmanager
    def _excused(self) -> Iterator[None]:
        """Do without the rows where the database is away: the forecast matters more."""
        try:
            yield
        except SQLAlchemyError as error:
            _log.warning("The database was not reached, speeds were not told: %s", error)

    def _forget_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def _peak(self) -> int:
        """Return the most bytes that were held since the walk began; of the process, where the system says no more."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        with suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
