"""The runtime of a worker process: claims work, owns the device, and walks a forecast's groups to their end."""

import importlib.metadata
import json
import logging
import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence

import torch

from jobs import forecasts, leases, workers
from jobs.batch_sizes import remember, remembered
from jobs.database import Database
from jobs.deadlines import fail_overdue
from jobs.errors import LeaseLostError
from jobs.folders import ForecastFolder
from jobs.leases import Lease
from jobs.measures import GPU_MEMORY, NONFINITE, Tally
from jobs.places import data_place
from jobs.planning import Machine
from jobs.request import ForecastRequest
from jobs.settings import Settings
from jobs.sharing import is_uneven
from jobs.states import Kind
from models.batches import Batches
from models.build import Networks
from models.checkpoint import load_checkpoint
from models.execution import Execution
from models.forecaster import Forecaster
from storage.errors import WarmcastError
from weather.bundled import find_checkpoint
from weather.errors import CheckpointError
from weather.manifest import Manifest
from workers.allocator import keep_freed_memory
from workers.attempt import Attempt
from workers.background import BackgroundWriter
from workers.causes import problem_of
from workers.clock import Lap, StepClock
from workers.devices import find_device
from workers.heartbeat import Heartbeat
from workers.opened_forecast import OpenedForecast
from workers.publishing import publish_committed
from workers.speeds import SpeedMeter
from workers.trial import best_batch_size
from workers.walk import Computed, Walk

RETRY_SECONDS = 5.0
"""How long work rests after an error of the machine."""

_log = logging.getLogger(__name__)


class Runtime:
    """One worker: a process, a device, the checkpoint and the forecast that it opened last."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._tally = Tally()
        self._settings, self._database, self._data = settings, database, data_place(settings)
        self._device = find_device(settings.device)
        self._told, self._telling = -math.inf, threading.Lock()
        self._checkpoint: tuple[str, Networks] | None = None
        self._forecast: OpenedForecast | None = None
        keep_freed_memory()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        self._meter = SpeedMeter(database, self._device)
        compiled = settings.compile == "on" or (settings.compile == "auto" and self._device.type == "cuda")
        self._execution = Execution(compiled, settings.precision)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.data.resolve() / "compiled"))

    def run(self) -> bool:
        """Claim and do this worker's share of the free work of one forecast; returns whether there was any.

        A soft stop (`SystemExit`) hands the work back; whatever goes wrong is written to the forecast or retried.
        """
        settings = self._settings
        self.tell_alive()
        limits = (settings.lease_seconds, settings.max_attempts)
        claimed = leases.claim(self._database, self.name, *limits, 2 + 3 * settings.poll_seconds)
        if not claimed:
            return False
        forecast_id = claimed[0].forecast_id
        beat = (settings.lease_seconds, settings.heartbeat_seconds, settings.stall_seconds, self.tell_alive)
        try:
            while claimed:
                with Heartbeat(self._database, claimed, *beat) as heartbeat:
                    self._do(claimed, heartbeat)
                claimed = leases.even_out(self._database, self.name, claimed, *limits)
        except LeaseLostError:
            _log.info("forecast %s: taken over, called off or late", forecast_id)
            fail_overdue(self._database)
            leases.release(self._database, claimed, counts=False)
        except WarmcastError as error:
            _log.warning("forecast %s: %s", forecast_id, error)
            self._fail(claimed[0], error)
        except (SystemExit, KeyboardInterrupt):
            leases.release(self._database, claimed, counts=False)
            raise
        except Exception as error:
            _log.exception("forecast %s: this attempt ends", forecast_id)
            leases.give_up(self._database, claimed, problem_of(error), settings.max_attempts, RETRY_SECONDS)
        self.tell_alive(now=True)
        return True

    @property
    def machine(self) -> Machine:
        """What this worker's speeds hold for."""
        return self._meter.machine

    def tell_alive(self, *, now: bool = False) -> None:
        """Tell the database of this worker and what it has counted, now and then."""
        with self._telling:
            if now or time.monotonic() - self._told > workers.FRESH_SECONDS / 3:
                if self._device.type == "cuda":
                    self._tally.set(GPU_MEMORY, value=torch.cuda.memory_allocated(self._device))
                workers.seen(self._database, self.name, str(self._device), self._tally.samples(), self.machine)
                self._told = time.monotonic()

    def _do(self, claimed: Sequence[Lease], heartbeat: Heartbeat) -> None:
        record = forecasts.look_up(self._database, claimed[0].forecast_id)
        if self._forecast is None or self._forecast.folder.forecast_id != record.id:
            self._forecast = OpenedForecast.open(record.request, ForecastFolder(self._data, record.id))
        if claimed[0].kind == Kind.FINISH:
            self._finish(claimed[0], self._forecast, record.started or record.created)
            self._forecast = None
        else:
            self._walk(claimed, self._forecast, heartbeat)

    def _walk(self, claimed: Sequence[Lease], forecast: OpenedForecast, heartbeat: Heartbeat) -> None:
        """Walk the claimed groups side by side; a thread beside writes what is computed.

        Ends before the last lead time where groups should go to other workers, or come from them.
        """
        request, store = forecast.request, forecast.store
        networks = self._networks(request)
        clock = StepClock(self._tally, request.checkpoint, self._device, heartbeat.beat, self._meter.stepped)
        forecaster = Forecaster(networks, request.sampling, self._device, self._execution, clock)
        batches = Batches(forecaster, request.group_size)
        attempt = Attempt(self._database, forecast, claimed, self._settings.lease_seconds, clock)
        committed = {lease.group: lease.committed for lease in claimed}
        walk = Walk(batches, forecast.state, store, committed, request.seed)
        with (
            self._meter.walking(request, store.layout),
            BackgroundWriter[tuple[Computed, Lap]](lambda piece: attempt.write(*piece)) as writer,
        ):
            first = min(committed.values())
            for lead_index in range(first, store.layout.num_lead_times):
                if lead_index > first and self._is_uneven(claimed[0].forecast_id):
                    break
                for computed in walk.lead_time(lead_index):
                    writer.put((computed, clock.lap()))
        if batches.size < request.group_size:
            remember(self._database, request.checkpoint_digest, self.machine.device, batches.size)

    def _is_uneven(self, forecast_id: str) -> bool:
        return is_uneven(self._database, forecast_id, self.name, self._settings.max_attempts)

    def _finish(self, lease: Lease, forecast: OpenedForecast, started: float) -> None:
        """Publish what is left, write the receipt, end the forecast."""
        request, folder, store = forecast.request, forecast.folder, forecast.store
        layout, model = store.layout, request.checkpoint
        for group in range(layout.num_groups):
            publish_committed(store, folder, group, layout.num_lead_times)
        lost = forecast.complete(self._database)
        receipt = {
            "request": request.model_dump(mode="json"),
            "nonfinite_members": lost,
            "seconds": round(time.time() - started, 3),
            "warmcast": importlib.metadata.version("warmcast"),
            "torch": torch.__version__,
            "device": str(self._device),
            "threads": torch.get_num_threads(),
            "compiled": self._execution.compiled,
            "precision": self._execution.precision,
        }
        store_bytes = self._meter.stored(request, store, folder, learn=request.output.is_exact and not lost)
        folder.receipt.write((json.dumps(receipt, indent=1) + "\n").encode())
        leases.finish(self._database, lease, receipt, store_bytes)
        self._tally.count(NONFINITE, model, by=len(lost))
        folder.clear_attempts()

    def _networks(self, request: ForecastRequest) -> Networks:
        """Return the networks of a request's checkpoint, loaded once; raises `CheckpointError` where it has changed."""
        if self._checkpoint is None or self._checkpoint[0] != request.checkpoint_digest:
            path = find_checkpoint(request.checkpoint, self._settings.checkpoint_folders)
            networks, manifest = load_checkpoint(path, self._device)
            if manifest.digest != request.checkpoint_digest:
                raise CheckpointError(f"Checkpoint `{path}` has changed since the forecast was accepted. Ask again.")
            self._try_batch_size(networks, manifest)
            self._checkpoint = (manifest.digest, networks)
        return self._checkpoint[1]

    def _try_batch_size(self, networks: Networks, manifest: Manifest) -> None:
        """Find out once how large the groups of later forecasts should be on this kind of device."""
        device = self.machine.device
        if self._settings.group_size is None and remembered(self._database, manifest.digest, device) is None:
            shortest = manifest.sampling.changed(nfe=manifest.sampling.nfe // manifest.sampling.num_steps)
            size = best_batch_size(Forecaster(networks, shortest, self._device))
            remember(self._database, manifest.digest, device, size)

    def _fail(self, lease: Lease, error: WarmcastError) -> None:
        try:
            leases.fail(self._database, lease, problem_of(error))
        except LeaseLostError:
            _log.info("forecast %s: had been taken over or called off", lease.forecast_id)
