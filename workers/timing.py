"""Measure the speed, memory and disk space of a worker's forecasts, and save them for estimates and metrics."""

import logging
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import fmean, median

import torch
from sqlalchemy.exc import SQLAlchemyError

from jobs.counters import EVALUATIONS, STEP_SECONDS, Tally
from jobs.dispatching.live_workers import Machine
from jobs.folders import ForecastFolder
from jobs.planning.estimates import Compression, Speed, fields_per_member
from jobs.planning.measured import record_compression, record_speed
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from weather.manifest import Manifest
from weather.stores.ensemble import EnsembleStore
from weather.stores.layout import Layout

SAVE_SECONDS = 10.0
"""Interval at which the speed is saved while a long forecast is computed."""

_log = logging.getLogger(__name__)


@dataclass
class _Measurements:
    """Seconds of each step since the last save, where a step is one lead time of one group.

    `overhead` is the time from the end of one step to the end of the next, less the next one's warm start and flow.
    """

    request: ForecastRequest
    machine: Machine
    held_bytes: int
    saved: float
    ended: float | None = None
    warm_start: list[float] = field(default_factory=list)
    flow: list[float] = field(default_factory=list)
    overhead: list[float] = field(default_factory=list)


class SpeedMeter:
    """Measure the steps of each forecast that a process computes, and the bytes of its store, for this `machine`."""

    def __init__(self, database: Database, device: torch.device) -> None:
        kind = f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
        self.machine = Machine(kind[:100], torch.get_num_threads())
        self._database, self._device = database, device
        self._current: _Measurements | None = None
        self._warmed_up: set[tuple[str, int, str]] = set()

    @contextmanager
    def measure(self, request: ForecastRequest, layout: Layout, manifest: Manifest, machine: Machine) -> Iterator[None]:
        """Measure the steps within the block, and save the speed of `machine` at its end, also after an exception."""
        held = fields_per_member(manifest) * layout.size_bytes // layout.num_lead_times
        self._current = _Measurements(request, machine, held, time.perf_counter())
        self._reset_peak_memory()
        try:
            yield
        finally:
            self._save(self._current)
            self._current = None

    def record_step(self, warm_start_seconds: float, flow_seconds: float, ended: float) -> None:
        """Record the device time of one lead time of a group, and when it ended; must be called by one thread only.

        The first step of a checkpoint and group size in a process is left out, as it includes warm-up.
        """
        current = self._current
        if current is None:
            return
        if current.ended is not None:
            current.overhead.append(ended - current.ended - warm_start_seconds - flow_seconds)
        current.ended = ended
        kind = (current.request.checkpoint_digest, current.request.group_size, current.machine.device_kind)
        if kind in self._warmed_up:
            if warm_start_seconds:  # groups that start from the same state share their first warm start
                current.warm_start.append(warm_start_seconds)
            current.flow.append(flow_seconds)
        self._warmed_up.add(kind)
        if ended - current.saved > SAVE_SECONDS:
            self._save(current)
            current.saved = ended

    def measure_store(
        self, request: ForecastRequest, store: EnsembleStore, folder: ForecastFolder, *, learn: bool
    ) -> int:
        """Return the bytes of an ensemble store; with `learn`, also save its compression for later estimates."""
        sizes = {PurePosixPath(name): size_bytes for name, size_bytes in folder.store.files()}
        chunks = sum(
            size for path, size in sizes.items() if path.parts[0] in store.layout.variables and path.name != "zarr.json"
        )
        metadata = sum(size for path, size in sizes.items() if path.name == "zarr.json")
        if learn:
            compression = Compression(request.group_size, chunks / store.layout.size_bytes, metadata)
            with self._ignore_database_errors(), self._database.write() as connection:
                record_compression(connection, request.checkpoint_digest, self.machine, compression)
        return sum(sizes.values())

    def _save(self, current: _Measurements) -> None:
        """Save the speed since the last save, if each of its parts was measured, and reset the measurements."""
        request = current.request
        if current.warm_start and current.flow and current.overhead:
            speed = Speed(
                request.group_size,
                median(current.warm_start),
                median(current.flow) / request.sampling.nfe,
                max(fmean(current.overhead), 0.0),
                max(self._peak_memory() - current.held_bytes, 0),
            )
            with self._ignore_database_errors(), self._database.write() as connection:
                record_speed(connection, request.checkpoint_digest, current.machine, speed, len(current.flow))
            for seconds in (current.warm_start, current.flow, current.overhead):
                seconds.clear()

    @contextmanager
    def _ignore_database_errors(self) -> Iterator[None]:
        """Log errors of the database instead of raising them, so that a forecast does not fail because of its speed."""
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            _log.warning("The database cannot be used; speeds are not saved: %s", error)

    def _reset_peak_memory(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def _peak_memory(self) -> int:
        """Return the peak of memory in bytes since the last reset; without `/proc`, since the start of the process."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        with suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


Mark = float | torch.cuda.Event
RecordStep = Callable[[float, float, float], None]
"""Called with the seconds of warm start and flow of a step, and the time when it ended."""


@dataclass(frozen=True)
class PhaseMarks:
    """Times at which the phases of a group's lead time start, and at which the last one ends.

    Phases that are launched at once have one mark, and each has its share of the time up to the next.
    """

    marks: tuple[tuple[Mapping[str, float], Mark], ...]
    end: Mark

    def seconds(self) -> Mapping[str, float]:
        """Return the seconds of each phase; wait until the device has completed them."""
        ends = [mark for _, mark in self.marks[1:]] + [self.end]
        total: defaultdict[str, float] = defaultdict(float)
        for (shares, mark), over in zip(self.marks, ends, strict=True):
            for phase, share in shares.items():
                total[phase] += share * _seconds(mark, over)
        return dict(total)


class StepClock:
    """Count network evaluations and time the phases of each lead time of a group, as an `EvaluationObserver`.

    `before_each` is called before every evaluation and may end the rollout by raising. `record_step` is called for each
    lead time of a group once the device has completed it.
    """

    def __init__(
        self, tally: Tally, model: str, device: torch.device, before_each: Callable[[], None], record_step: RecordStep
    ) -> None:
        self._tally, self._model, self._device = tally, model, device
        self._before_each, self._record_step = before_each, record_step
        self._marks: list[tuple[Mapping[str, float], Mark]] = []

    def before_evaluation(self, network: str, members: int) -> None:
        """Count one evaluation per member; if `network` is not that of the last evaluation, time a new phase from now.

        Calls `before_each` first, which may raise.
        """
        self._before_each()
        self._tally.count(EVALUATIONS, self._model, by=members)
        if not self._marks or network not in self._marks[-1][0]:
            self._marks.append(({network: 1.0}, self._mark()))

    def before_step(self, warm_start: int, flow: int) -> None:
        """Count the evaluations of a time step that is launched at once; all of them take the same share of its time.

        Calls `before_each` first, which may raise.
        """
        self._before_each()
        total = warm_start + flow
        self._tally.count(EVALUATIONS, self._model, by=total)
        self._marks.append(({"warm_start": warm_start / total, "flow": flow / total}, self._mark()))

    def end_step(self) -> PhaseMarks:
        """End the last phase of a group's lead time, return the marks of all its phases, and reset the clock."""
        marks, self._marks = PhaseMarks(tuple(self._marks), self._mark()), []
        return marks

    def record(self, marks: PhaseMarks) -> None:
        """Add the seconds of a step's phases to the metrics; wait until the device has completed them."""
        phases = marks.seconds()
        for phase, seconds in phases.items():
            self._tally.observe(STEP_SECONDS, self._model, phase, value=seconds)
        ended = marks.end if isinstance(marks.end, float) else time.perf_counter()
        self._record_step(phases.get("warm_start", 0.0), phases.get("flow", 0.0), ended)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the seconds of the block, which runs on the host, to the metrics as the phase `name`."""
        began = time.perf_counter()
        yield
        self._tally.observe(STEP_SECONDS, self._model, name, value=time.perf_counter() - began)

    def _mark(self) -> Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def _seconds(begin: Mark, end: Mark) -> float:
    if isinstance(begin, float) and isinstance(end, float):
        return end - begin
    assert not isinstance(begin, float)
    assert not isinstance(end, float)
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000
