"""The engine of a worker: its device, the forecasters of the checkpoint used last, and the computation of groups."""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from jobs.counters import GPU_MEMORY, Tally
from jobs.dispatching.leases import Lease
from jobs.dispatching.live_workers import Machine
from jobs.mode import Mode, read_mode, settle_mode
from jobs.planning.measured import read_batch_size, save_batch_size, save_compile_seconds
from jobs.request import ForecastRequest
from jobs.rows.database import Database
from jobs.rows.states import Phase
from jobs.settings import Settings
from models.batches import BatchedStepper, measure_best_batch_size
from models.checkpoint import load_checkpoint
from models.compilation import Compiler
from models.forecaster import Forecaster
from models.noise import ForecastNoise
from weather.bundled import find_checkpoint
from weather.errors import CheckpointError
from weather.manifest import Manifest
from weather.stores.create import check_rng
from workers.attempt import Attempt
from workers.claimed_forecast import ClaimedForecast
from workers.device import count_host_threads, find_device, keep_freed_memory, shorten_turns, side_stream
from workers.forecasters import Forecasters
from workers.recorded_products import recorded_on
from workers.rollouts import GroupStates, Rollouts
from workers.room import Room
from workers.timing import SpeedMeter, StepClock
from workers.transfers import Transfers


class Engine:
    """Compute member groups on one device; keep the forecasters of the checkpoint used last, and measure speeds."""

    def __init__(
        self, settings: Settings, database: Database, tally: Tally, room: Room | None = None, lane: int = 0
    ) -> None:
        self._settings, self._database, self._tally = settings, database, tally
        self._room, self._lane = room or Room(), lane
        self.device, self._version = find_device(settings.worker.device), importlib.metadata.version("warmcast")
        keep_freed_memory()
        shorten_turns(self.device)
        self._apply, self._beside = recorded_on(self.device), side_stream(self.device, is_urgent=True)
        self._transfers = Transfers(self.device)
        if settings.worker.threads:
            torch.set_num_threads(settings.worker.threads)
        self._host_threads = settings.worker.host_threads or count_host_threads(self.device)
        self._eager = self._mode = Mode(compiled=False, precision=settings.worker.precision)
        self.meter = SpeedMeter(database, self.device)
        compiled = settings.worker.compile == "on" or (settings.worker.compile == "auto" and self.device.type == "cuda")
        cache = settings.storage.data.resolve() / "compiled"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
        self._compiler = Compiler(cache / "attempts") if compiled else None
        self._checkpoint: tuple[Manifest, Forecasters] | None = None

    @property
    def machine(self) -> Machine:
        """Kind of device with the last forecast's mode, and number of CPU threads, for which speeds are measured."""
        machine = self.meter.machine
        return Machine(self._mode.device_kind(machine.device_kind)[:100], machine.threads)

    def has_room(self) -> bool:
        """Return whether this lane may begin with a forecast, beside what the others compute on the device."""
        return self._room.has_room(self._lane)

    def record_memory(self) -> None:
        """Set the gauge of GPU memory, in the first lane of a process; nothing on the CPU."""
        if self.device.type == "cuda" and self._lane == 0:
            self._tally.set(GPU_MEMORY, value=torch.cuda.memory_allocated(self.device))

    def compute(
        self,
        forecast: ClaimedForecast,
        claimed: Sequence[Lease],
        *,
        record_progress: Callable[[], None],
        should_stop: Callable[[], bool],
        should_rebalance: Callable[[], bool],
        report_phase: Callable[[Phase], None] = lambda _phase: None,
    ) -> None:
        """Compute the claimed groups together up to the last lead time, and write them in other threads.

        Returns early, between two lead times, if `should_rebalance` returns true: groups have to move between workers;
        and between two groups, if `should_stop` returns true. What is computed by then is written.
        `report_phase` is called with what begins, and `record_progress` before each evaluation, or before each time
        step that is launched at once; it may end the computation by raising. Raises `CheckpointError` for a forecast of
        other random numbers, or of a checkpoint that has changed.
        """
        request, store = forecast.request, forecast.store
        check_rng(store.attributes)
        if not self._has_loaded(request):
            report_phase(Phase.LOADING_MODEL)
        manifest, forecasters = self.load_checkpoint(request)
        report_phase(Phase.ROLLOUT)
        self._mode = self._settle_mode(forecast, forecasters)
        clock = StepClock(self._tally, request.checkpoint, self.device, record_progress, self.meter.record_step)
        forecaster = forecasters.find(self._mode, request.sampling).with_observer(clock)
        batches = BatchedStepper(forecaster, request.group_size)
        attempt = self._begin_attempt(forecast, claimed, clock)
        committed = {lease.group: lease.committed for lease in claimed}
        noise = ForecastNoise.of(manifest.model, manifest.noise, seed=request.seed, init_time=forecast.state.init_time)
        rollouts = Rollouts(batches, forecast.state, store, committed, noise, self._host_threads, self._transfers)
        best = self._read_batch_size(request.checkpoint_digest) or request.group_size
        with (
            self._room.hold(self._lane, request.group_size, best),
            self.meter.measure(request, store.layout, manifest, self.machine),
            attempt,
        ):
            for states in _advance(rollouts, min(committed.values()), store.layout.num_lead_times, should_rebalance):
                attempt.put(states, clock.end_step(), self._describe_computation(forecaster, batches.size))
                if should_stop():
                    break
        if batches.size < request.group_size and not self._room.is_shared(self._lane):
            self._save_batch_size(request.checkpoint_digest, batches.size)

    def _begin_attempt(self, forecast: ClaimedForecast, claimed: Sequence[Lease], clock: StepClock) -> Attempt:
        """Return what writes the lead times of the claimed groups."""
        return Attempt(
            self._database,
            forecast,
            claimed,
            self._settings.worker.lease_seconds,
            clock,
            threads=self._host_threads,
            device=self.device,
            apply=self._apply,
            beside=self._beside,
        )

    def wait_for_compilation(self) -> None:
        """Wait until no networks are being compiled beside the computation."""
        if self._checkpoint is not None:
            self._checkpoint[1].wait()

    def _settle_mode(self, forecast: ClaimedForecast, forecasters: Forecasters) -> Mode:
        """Return the mode of a forecast: that which it has, or compiled if the networks are, or else eager.

        While a forecast is computed eagerly, the networks are compiled for the next one.
        """
        request, forecast_id = forecast.request, forecast.folder.forecast_id
        compiled = self._eager.model_copy(update={"compiled": True})
        with self._database.read() as connection:
            mode = read_mode(connection, forecast_id)
        if mode is None:
            wanted = compiled if forecasters.is_compiled(compiled, request.group_size) else self._eager
            with self._database.write() as connection:
                mode = settle_mode(connection, forecast_id, wanted)
        if not mode.compiled:
            forecasters.compile_beside(compiled, request.sampling, request.group_size)
        return mode

    def _describe_computation(self, forecaster: Forecaster, batch_size: int) -> dict[str, Any]:
        """Return what, besides the request, the last bits of the values depend on."""
        execution, compiler = forecaster.execution, self._compiler
        failure = compiler.failure if compiler is not None and self._mode.compiled else None
        return {
            "device": self.meter.machine.device_kind,
            "threads": torch.get_num_threads(),
            "batch_size": batch_size,
            "precision": execution.precision,
            "compiled": execution.is_compiled,
            **({} if failure is None else {"compilation_failure": failure}),
            "torch": torch.__version__,
            "warmcast": self._version,
        }

    def load_checkpoint(self, request: ForecastRequest) -> tuple[Manifest, Forecasters]:
        """Return manifest and forecasters of a request's checkpoint, loaded unless it is that of the request before.

        After loading it also finds the best group size, if none is known. Raises `CheckpointError` if the checkpoint
        has changed since the forecast was accepted.
        """
        if not self._has_loaded(request):
            path = find_checkpoint(request.checkpoint, self._settings.storage.checkpoint_folders)
            networks, manifest = load_checkpoint(path, self.device)
            if manifest.digest != request.checkpoint_digest:
                raise CheckpointError(f"Checkpoint `{path}` has changed since the forecast was accepted. Submit again.")
            save = partial(self._save_compile_seconds, manifest.digest)
            forecasters = Forecasters(networks, self.device, self._compiler, save)
            self._find_batch_size(forecasters, manifest)
            self._checkpoint = (manifest, forecasters)
        assert self._checkpoint is not None
        return self._checkpoint

    def _has_loaded(self, request: ForecastRequest) -> bool:
        return self._checkpoint is not None and self._checkpoint[0].digest == request.checkpoint_digest

    def _find_batch_size(self, forecasters: Forecasters, manifest: Manifest) -> None:
        """Measure, once per checkpoint and kind of device, the best group size for later forecasts, and save it.

        Steps are made as those of an eager forecast are: in the precision of this worker, and recorded where they are.
        """
        if self._settings.worker.group_size is None and self._read_batch_size(manifest.digest) is None:
            shortest = manifest.sampling.replace(nfe=manifest.sampling.nfe // manifest.sampling.num_steps)
            forecaster = forecasters.find(self._eager, shortest)
            size = measure_best_batch_size(forecaster)
            forecaster.discard_recordings()
            self._save_batch_size(manifest.digest, size)

    def _read_batch_size(self, checkpoint_digest: str) -> int | None:
        with self._database.read() as connection:
            return read_batch_size(connection, checkpoint_digest, self.meter.machine.device_kind)

    def _save_batch_size(self, checkpoint_digest: str, members: int) -> None:
        with self._database.write() as connection:
            save_batch_size(connection, checkpoint_digest, self.meter.machine.device_kind, members)

    def _save_compile_seconds(self, checkpoint_digest: str, seconds: float) -> None:
        with self._database.write() as connection:
            save_compile_seconds(connection, checkpoint_digest, self.meter.machine.device_kind, seconds)


def _advance(
    rollouts: Rollouts, first: int, num_lead_times: int, should_rebalance: Callable[[], bool]
) -> Iterator[GroupStates]:
    """Yield the states of all groups of each lead time, until `should_rebalance` returns true between two of them."""
    for lead_index in range(first, num_lead_times):
        if lead_index > first and should_rebalance():
            return
        yield from rollouts.advance(lead_index)
