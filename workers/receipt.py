"""The end of a forecast: complete its products, write its receipt and mark it successful."""

import importlib.metadata
import json
import time
from typing import Any

import torch

from jobs.counters import NONFINITE, Tally
from jobs.dispatching import leases
from jobs.dispatching.leases import Lease
from jobs.rows.database import Database
from workers.claimed_forecast import ClaimedForecast, publish_committed
from workers.engine import Engine


def finish_forecast(
    database: Database, lease: Lease, forecast: ClaimedForecast, engine: Engine, tally: Tally, *, started: float
) -> None:
    """Publish the remaining lead times, write missing products and the receipt, and mark the forecast successful.

    `started` is in seconds since 1970. Raises `LeaseLostError` if the lease is lost; the forecast then stays open.
    """
    request, folder, store = forecast.request, forecast.folder, forecast.store
    for group in range(store.layout.num_groups):
        publish_committed(store, folder, group, store.layout.num_lead_times)
    lost = forecast.write_missing_products(database)
    receipt = _receipt(forecast, engine, lost, time.time() - started)
    store_bytes = engine.meter.measure_store(request, store, folder, learn=request.output.is_exact and not lost)
    folder.receipt.write((json.dumps(receipt, indent=1) + "\n").encode())
    with database.write() as connection:
        leases.finish(connection, lease, receipt, store_bytes)
    tally.count(NONFINITE, request.checkpoint, by=len(lost))
    folder.clear_attempts()


def _receipt(forecast: ClaimedForecast, engine: Engine, lost: list[int], seconds: float) -> dict[str, Any]:
    """Return the receipt: request, lost members, versions and device, which suffice to reproduce the forecast."""
    return {
        "request": forecast.request.model_dump(mode="json", exclude={"initial_state", "warnings"}),
        "nonfinite_members": lost,
        "warnings": list(forecast.request.warnings),
        "seconds": round(seconds, 3),
        "warmcast": importlib.metadata.version("warmcast"),
        "torch": torch.__version__,
        "device": str(engine.device),
        "threads": torch.get_num_threads(),
        "compiled": engine.execution.compiled,
        "precision": engine.execution.precision,
    }
