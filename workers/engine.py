"""The engine of a worker: its device, the networks of the checkpoint used last, and the computation of groups."""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from jobs.counters import GPU_MEMORY, Tally
from jobs.dispatching.leases import Lease
from jobs.dispatching.live_workers import Machine
from jobs.planning.measured import read_batch_size, save_batch_size
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.settings import Settings
from models.batches import BatchedStepper, measure_best_batch_size
from models.checkpoint import load_checkpoint
from models.compilation import Compiler
from models.execution import Execution
from models.forecaster import Forecaster
from models.networks import Networks
from models.noise import ForecastNoise
from weather.bundled import find_checkpoint
from weather.errors import CheckpointError
from weather.manifest import Manifest
from weather.stores.create import check_rng
from workers.attempt import Attempt
from workers.background import BackgroundWriter
from workers.claimed_forecast import ClaimedForecast
from workers.device import find_device, keep_freed_memory
from workers.rollouts import GroupStates, Rollouts
from workers.timing import PhaseMarks, SpeedMeter, StepClock

Piece = tuple[GroupStates, PhaseMarks, Mapping[str, Any]]
"""A lead time of a group, the times of its phases, and how it was computed."""


class Engine:
    """Compute member groups on one device; keep the networks of the checkpoint used last, and measure speeds."""

    def __init__(self, settings: Settings, database: Database, tally: Tally) -> None:
        self._settings, self._database, self._tally = settings, database, tally
        self.device = find_device(settings.worker.device)
        keep_freed_memory()
        if settings.worker.threads:
            torch.set_num_threads(settings.worker.threads)
        self.meter = SpeedMeter(database, self.device)
        compiled = settings.worker.compile == "on" or (settings.worker.compile == "auto" and self.device.type == "cuda")
        cache = settings.storage.data.resolve() / "compiled"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        self._execution = Execution(Compiler(cache / "attempts") if compiled else None, settings.worker.precision)
        self._checkpoint: tuple[Manifest, Networks] | None = None

    @property
    def machine(self) -> Machine:
        """Kind of device and number of CPU threads, for which speeds are measured."""
        return self.meter.machine

    def record_memory(self) -> None:
        """Set the gauge of GPU memory; nothing on the CPU."""
        if self.device.type == "cuda":
            self._tally.set(GPU_MEMORY, value=torch.cuda.memory_allocated(self.device))

    def compute(
        self,
        forecast: ClaimedForecast,
        claimed: Sequence[Lease],
        *,
        record_progress: Callable[[], None],
        should_stop: Callable[[], bool],
        should_rebalance: Callable[[], bool],
    ) -> None:
        """Compute the claimed groups together up to the last lead time, and write them in a second thread.

        Returns early, between two lead times, if `should_rebalance` returns true: groups have to move between workers;
        and between two groups, if `should_stop` returns true. What is computed by then is written.
        `record_progress` is called before each evaluation, and may end the computation by raising. Raises
        `CheckpointError` for a forecast of other random numbers, or of a checkpoint that has changed.
        """
        request, store = forecast.request, forecast.store
        check_rng(store.attributes)
        manifest, networks = self._load_checkpoint(request)
        clock = StepClock(self._tally, request.checkpoint, self.device, record_progress, self.meter.record_step)
        forecaster = Forecaster(networks, request.sampling, self.device, self._execution, clock)
        batches = BatchedStepper(forecaster, request.group_size)
        attempt = Attempt(self._database, forecast, claimed, self._settings.worker.lease_seconds, clock)
        committed = {lease.group: lease.committed for lease in claimed}
        noise = ForecastNoise.of(manifest.model, manifest.noise, seed=request.seed, init_time=forecast.state.init_time)
        rollouts = Rollouts(batches, forecast.state, store, committed, noise)
        with (
            self.meter.measure(request, store.layout, manifest),
            BackgroundWriter[Piece](lambda piece: attempt.write(*piece)) as writer,
        ):
            for states in _advance(rollouts, min(committed.values()), store.layout.num_lead_times, should_rebalance):
                writer.put((states, clock.end_step(), self._describe_computation(batches.size)))
                if should_stop():
                    break
        if batches.size < request.group_size:
            self._save_batch_size(request.checkpoint_digest, batches.size)

    def _describe_computation(self, batch_size: int) -> dict[str, Any]:
        """Return what, besides the request, the last bits of the values depend on."""
        execution, compiler = self._execution, self._execution.compiler
        return {
            "device": self.machine.device_kind,
            "threads": torch.get_num_threads(),
            "batch_size": batch_size,
            "precision": execution.precision,
            "compiled": execution.is_compiled,
            **({} if compiler is None or compiler.failure is None else {"compilation_failure": compiler.failure}),
            "torch": torch.__version__,
            "warmcast": importlib.metadata.version("warmcast"),
        }

    def _load_checkpoint(self, request: ForecastRequest) -> tuple[Manifest, Networks]:
        """Return manifest and networks of a request's checkpoint, loaded unless they are those of the request before.

        After loading it also finds the best group size, if none is known. Raises `CheckpointError` if the checkpoint
        has changed since the forecast was accepted.
        """
        if self._checkpoint is None or self._checkpoint[0].digest != request.checkpoint_digest:
            path = find_checkpoint(request.checkpoint, self._settings.storage.checkpoint_folders)
            networks, manifest = load_checkpoint(path, self.device)
            if manifest.digest != request.checkpoint_digest:
                raise CheckpointError(f"Checkpoint `{path}` has changed since the forecast was accepted. Submit again.")
            self._find_batch_size(networks, manifest)
            self._checkpoint = (manifest, networks)
        return self._checkpoint

    def _find_batch_size(self, networks: Networks, manifest: Manifest) -> None:
        """Measure, once per checkpoint and kind of device, the best group size for later forecasts, and save it."""
        with self._database.read() as connection:
            known = read_batch_size(connection, manifest.digest, self.machine.device_kind)
        if self._settings.worker.group_size is None and known is None:
            shortest = manifest.sampling.replace(nfe=manifest.sampling.nfe // manifest.sampling.num_steps)
            size = measure_best_batch_size(Forecaster(networks, shortest, self.device))
            self._save_batch_size(manifest.digest, size)

    def _save_batch_size(self, checkpoint_digest: str, members: int) -> None:
        with self._database.write() as connection:
            save_batch_size(connection, checkpoint_digest, self.machine.device_kind, members)


def _advance(
    rollouts: Rollouts, first: int, num_lead_times: int, should_rebalance: Callable[[], bool]
) -> Iterator[GroupStates]:
    """Yield the states of all groups of each lead time, until `should_rebalance` returns true between two of them."""
    for lead_index in range(first, num_lead_times):
        if lead_index > first and should_rebalance():
            return
        yield from rollouts.advance(lead_index)
