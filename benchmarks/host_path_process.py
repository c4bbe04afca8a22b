"""A process that computes forecasts on a device that costs nothing, so that what is measured is the host's work.

It runs as a script with the packages of any tree first in `PYTHONPATH`, also of one before this benchmark: all that it
uses of them has had these names since then. Commands are JSON lines on the standard input, results such lines on the
standard output.
"""

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measurement import peak_resident_bytes
from benchmarks.workbench import Workbench
from jobs.counters import STEP_SECONDS, Tally
from jobs.dispatching import leases
from jobs.folders import ForecastFolder
from jobs.forecasts import read_forecast
from jobs.settings import WorkerSettings
from models import rollout
from models.forecaster import Forecaster
from storage.opening import open_storage
from workers.attempt import Attempt
from workers.claimed_forecast import ClaimedForecast
from workers.engine import Engine

NOISE_SHARE = 0.1
"""What a step of the free device adds to its input: this share of the noise."""


def free_step(forecaster: Forecaster, frames: Any, _valid_time: object, noise: torch.Tensor) -> torch.Tensor:
    """Return the newest frame plus scaled noise, in place of what networks would compute."""
    observer: Any = forecaster._observer  # its name in all trees
    observer.before_evaluation("flow", len(noise))
    return torch.add(frames[0], noise, alpha=NOISE_SHARE)


_write_products: Any = Attempt._write_products


def free_device() -> None:
    """Make the device free in this process: a step costs one addition, and the search for lost members nothing."""
    _replace(Forecaster, "step", free_step)
    if guard := getattr(rollout, "ValidRange", None):
        _replace(guard, "mask_lost_members", lambda _range, states: states)


def leave_out_products(left_out: bool) -> None:
    """Leave out diagnostics and summary, which a GPU computes, or else let this CPU compute them, from now on."""
    _replace(Attempt, "_write_products", (lambda _attempt, _lead_index: None) if left_out else _write_products)


def _replace(owner: type, name: str, function: Any) -> None:
    assert callable(getattr(owner, name))
    setattr(owner, name, function)


class ForecastRuns:
    """Computes forecasts of one group as a worker does: with noise, chunks on the disk and rows."""

    def __init__(self, bench: Workbench) -> None:
        self._bench, self._tally = bench, Tally()
        self._data = open_storage(bench.settings.storage.data, bench.settings.storage.store)
        self.engine = Engine(bench.settings, bench.database, self._tally)

    def run(self, members: int, num_lead_times: int, *, nfe: int = 2, with_memory: bool = False) -> dict[str, Any]:
        """Compute a forecast; return its store, seconds, seconds by phase, and on demand the peak of memory.

        The peak is of resident bytes; measuring it takes some of the time.
        """
        forecast_id = self._bench.submit(members=members, num_lead_times=num_lead_times, nfe=nfe, group_size=members)
        claimed = leases.claim(self._bench.database, "bench", 600.0, 3, 0.0)
        with self._bench.database.read() as connection:
            request = read_forecast(connection, forecast_id).request
        folder = ForecastFolder(self._data, forecast_id)
        forecast = ClaimedForecast.open(request, folder, 0.0)
        before, began, peak = self._phases(), time.perf_counter(), 0
        compute = partial(
            self.engine.compute,
            forecast,
            claimed,
            record_progress=lambda: None,
            should_stop=lambda: False,
            should_rebalance=lambda: False,
        )
        if with_memory:
            peak = peak_resident_bytes(compute)
        else:
            compute()
        seconds = time.perf_counter() - began
        while finishing := leases.claim(self._bench.database, "bench", 600.0, 3, 0.0):
            with self._bench.database.write() as connection:
                leases.finish(connection, finishing[0], {}, 0)
        phases = {name: value - before.get(name, 0.0) for name, value in self._phases().items()}
        return {"store": str(folder.store), "seconds": seconds, "peak": peak, "phases": phases}

    def _phases(self) -> dict[str, float]:
        return {
            sample.labels[1]: value
            for sample, value in self._tally.samples().items()
            if (sample.metric, sample.part) == (STEP_SECONDS.name, "sum")
        }


def main() -> None:
    """Run the forecasts that the standard input names, each by its members, lead times, products and memory.

    The latter two say whether diagnostics and summary are computed, and whether the peak of memory is measured.
    """
    data, checkpoint, threads = sys.argv[1:]
    free_device()
    options: dict[str, Any] = {"threads": 1}  # those of PyTorch, which stands for the device
    if "host_threads" in WorkerSettings.model_fields:
        options["host_threads"] = int(threads)
    with Workbench.open(Path(data), Path(checkpoint), **options) as bench:
        runs = ForecastRuns(bench)
        for line in sys.stdin:
            members, num_lead_times, with_products, with_memory = json.loads(line)
            leave_out_products(not with_products)
            result = runs.run(members, num_lead_times, with_memory=with_memory)
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
